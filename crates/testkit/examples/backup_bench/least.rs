//! How much of an archive one record needs: both ends of the file, and the segments over the index and two blocks.

use std::collections::BTreeSet;

use keyark_archive::index::{BlockType, record_key};
use keyark_archive::{Archive, ReadAt, Unlocked};
use keyark_crypto::stream::{HEADER, Layout};
use keyark_model::{DomainId, Id, Kind};

use crate::figures::Outcome;

/// Bytes of header, footer and signature, and of the segments that cover the index, the domain's block of KEKs and the
/// key's block.
pub fn least_bytes<S: ReadAt>(
    archive: &Archive<S>,
    unlocked: &Unlocked<'_, S>,
    domain: DomainId,
    id: Id,
) -> Outcome<u64> {
    let (footer, index) = (archive.footer(), unlocked.index());
    let body = footer.body_length.0;
    let layout = Layout::of_stored(body).ok_or("no body has this length")?;
    let key = index.find(BlockType::Records, domain, &record_key(Kind::Key, id)).ok_or("no block of the key")?;
    let kek = index.find(BlockType::Keks, domain, &1u64.to_be_bytes()).ok_or("no block of the KEK")?;
    let blocks = [key, kek].map(|number| (index.blocks[number].offset, index.blocks[number].length));
    let ranges = blocks.into_iter().chain([(footer.index.offset.0, footer.index.length.0)]);
    let segments: BTreeSet<u32> =
        ranges.flat_map(|(offset, length)| layout.number_of(offset)..=layout.number_of(offset + length - 1)).collect();
    let covered: u64 = segments.into_iter().map(|number| layout.segment(number).length as u64).sum();
    Ok(archive.length() - body + HEADER as u64 + covered)
}
