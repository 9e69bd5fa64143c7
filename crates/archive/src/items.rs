//! The items of one inflated block, held against what the index says of it.

use keyark_model::Record;
use minicbor::decode::Decoder;

use crate::error::{ArchiveError, Result};
use crate::footer::Counts;
use crate::index::{BlockPlace, BlockType};
use crate::item::{EntryRef, Item, Key, RecordRef, StoredEntry, Tombstone, WrappedKek};

/// Decodes and checks a block of any type, adds its items to `counts`, and shows its records to `each`.
pub fn count_items(
    raw: &[u8],
    block: usize,
    place: &BlockPlace,
    counts: &mut Counts,
    mut each: impl FnMut(&RecordRef<'_>),
) -> Result<()> {
    match place.kind {
        BlockType::Keks => each_item(raw, block, place, |_: WrappedKek<'_>| Ok(())),
        BlockType::Records => each_item(raw, block, place, |r: RecordRef<'_>| {
            *counts.records.entry(r.kind).or_default() += 1;
            each(&r);
            Ok(())
        }),
        BlockType::Tombstones => each_item(raw, block, place, |_: Tombstone| {
            counts.tombstones += 1;
            Ok(())
        }),
        BlockType::Entries | BlockType::Audit => each_item(raw, block, place, |_: EntryRef<'_>| {
            *(if place.kind == BlockType::Entries { &mut counts.entries } else { &mut counts.audit }) += 1;
            Ok(())
        }),
    }
}

/// Decodes a block's items and holds them against the index: domain, order, first and last key, count, nothing behind.
pub(crate) fn each_item<'r, I: Item<'r>, E: From<ArchiveError>>(
    raw: &'r [u8],
    block: usize,
    place: &BlockPlace,
    mut f: impl FnMut(I) -> std::result::Result<(), E>,
) -> std::result::Result<(), E> {
    let damaged = |what| E::from(ArchiveError::BlockDamaged { block, what });
    if !I::TYPES.contains(&place.kind) {
        return Err(damaged("its items are of another type"));
    }
    let mut d = Decoder::new(raw);
    let mut last: Option<Key> = None;
    for _ in 0..place.count {
        let item = I::decode(&mut d).map_err(|_| damaged("an item is not the CBOR it should be"))?;
        if item.domain() != place.domain {
            return Err(damaged("an item is of another domain"));
        }
        let key = item.key();
        let follows = match &last {
            None => key.as_slice() == place.first,
            Some(before) => before.as_slice() < key.as_slice(),
        };
        if !follows {
            return Err(ArchiveError::OutOfOrder { what: "an item of a block" }.into());
        }
        last = Some(key);
        f(item)?;
    }
    if d.position() != raw.len() || last.is_none_or(|k| k.as_slice() != place.last) {
        return Err(damaged("its last item is not the one in the index"));
    }
    Ok(())
}

/// An item that owns its bytes.
pub trait Own: Sized {
    /// The items of one inflated block.
    #[doc(hidden)]
    fn of_block(raw: &[u8], block: usize, place: &BlockPlace) -> Result<Vec<Self>>;
}

impl Own for Record {
    fn of_block(raw: &[u8], block: usize, place: &BlockPlace) -> Result<Vec<Record>> {
        collect(raw, block, place, |r: RecordRef<'_>| r.to_record())
    }
}

impl Own for Tombstone {
    fn of_block(raw: &[u8], block: usize, place: &BlockPlace) -> Result<Vec<Tombstone>> {
        collect(raw, block, place, |t: Tombstone| t)
    }
}

impl Own for StoredEntry {
    fn of_block(raw: &[u8], block: usize, place: &BlockPlace) -> Result<Vec<StoredEntry>> {
        collect(raw, block, place, |e: EntryRef<'_>| StoredEntry {
            seq: e.seq,
            domain: e.domain,
            time: e.time,
            bytes: e.bytes.into(),
        })
    }
}

fn collect<'r, I: Item<'r>, T>(
    raw: &'r [u8],
    block: usize,
    place: &BlockPlace,
    own: impl Fn(I) -> T,
) -> Result<Vec<T>> {
    let mut out = Vec::new();
    each_item(raw, block, place, |item| {
        out.push(own(item));
        Ok::<(), ArchiveError>(())
    })?;
    Ok(out)
}
