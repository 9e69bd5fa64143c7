//! The index: what is in each block, so that one record costs the index and one block.

use std::collections::BTreeMap;

use keyark_model::{Digest, DomainId, Id, Kind};
use minicbor::decode::Decoder;
use minicbor::encode::Encoder;

use crate::block::MAX_RAW;
use crate::error::{ArchiveError, Result};
use crate::footer::Counts;

const VERSION: u64 = 1;

/// What the items of a block are. The numbers are part of the format.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
#[repr(u8)]
pub enum BlockType {
    Keks = 1,
    Records = 2,
    Tombstones = 3,
    Entries = 4,
    Audit = 5,
}

impl BlockType {
    fn from_code(code: u8) -> Option<BlockType> {
        use BlockType::{Audit, Entries, Keks, Records, Tombstones};
        [Keks, Records, Tombstones, Entries, Audit].into_iter().find(|t| *t as u8 == code)
    }

    /// Bytes of the keys that order its items.
    fn key_length(self) -> usize {
        match self {
            BlockType::Records | BlockType::Tombstones => RECORD_KEY,
            BlockType::Keks | BlockType::Entries | BlockType::Audit => 8,
        }
    }
}

/// Bytes of kind ‖ id.
pub const RECORD_KEY: usize = 17;

/// kind ‖ id: what orders records inside a domain.
pub fn record_key(kind: Kind, id: Id) -> [u8; RECORD_KEY] {
    let mut key = [kind as u8; RECORD_KEY];
    key[1..].copy_from_slice(id.as_bytes());
    key
}

/// One block: where its frame lies in the plaintext, what it hashes to, and which items it holds.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct BlockPlace {
    pub kind: BlockType,
    pub domain: DomainId,
    pub offset: u64,
    pub length: u64,
    pub raw_length: u64,
    pub sha256: Digest,
    pub count: u64,
    /// Key of the first item: kind ‖ id, or a generation or sequence number in 8 bytes.
    pub first: Vec<u8>,
    pub last: Vec<u8>,
    /// Sorted concatenation of kind ‖ id of the records that the entries change; empty in other blocks.
    pub touches: Vec<u8>,
}

impl BlockPlace {
    /// Whether the block's entries change that record.
    pub fn touches(&self, key: &[u8; RECORD_KEY]) -> bool {
        let keys = self.touches.as_chunks::<RECORD_KEY>().0;
        keys.binary_search(key).is_ok()
    }
}

/// The whole index, in the order of the blocks.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Index {
    pub blocks: Vec<BlockPlace>,
    pub counts: Counts,
    /// The description that the clear header hides.
    pub description: Option<String>,
}

impl Index {
    /// The CBOR of the index.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut e = Encoder::new(Vec::new());
        self.encode(&mut e).expect("writing into a vector does not fail");
        e.into_writer()
    }

    fn encode(&self, e: &mut Encoder<Vec<u8>>) -> EncodeResult {
        e.array(7)?.u64(VERSION)?.array(self.blocks.len() as u64)?;
        for b in &self.blocks {
            e.array(10)?.u8(b.kind as u8)?.bytes(b.domain.as_bytes())?.u64(b.offset)?.u64(b.length)?;
            e.u64(b.raw_length)?
                .bytes(&b.sha256.0)?
                .u64(b.count)?
                .bytes(&b.first)?
                .bytes(&b.last)?
                .bytes(&b.touches)?;
        }
        e.array(self.counts.records.len() as u64)?;
        for (kind, n) in &self.counts.records {
            e.array(2)?.u8(*kind as u8)?.u64(*n)?;
        }
        e.u64(self.counts.tombstones)?.u64(self.counts.entries)?.u64(self.counts.audit)?;
        match &self.description {
            None => e.null()?,
            Some(text) => e.str(text)?,
        };
        Ok(())
    }

    /// From the inflated bytes of an index whose frame starts at `end` in the plaintext. Everything that reading relies on is checked:
    /// blocks without gaps up to `end`, their types, domains and keys in order, sizes under the limit.
    pub fn parse(bytes: &[u8], end: u64) -> Result<Index> {
        let mut d = Decoder::new(bytes);
        let index = decode(&mut d).map_err(|e| match e {
            Wrong::Cbor => ArchiveError::IndexDamaged("it is not the CBOR it should be"),
            Wrong::Kind(code) => ArchiveError::UnknownKind(code),
        })?;
        if d.position() != bytes.len() {
            return Err(ArchiveError::IndexDamaged("bytes follow it"));
        }
        index.check(end)?;
        Ok(index)
    }

    fn check(&self, end: u64) -> Result<()> {
        let mut offset = 0u64;
        for (at, b) in self.blocks.iter().enumerate() {
            crate::block::check_raw("a block", b.raw_length, MAX_RAW)?;
            if b.offset != offset || b.length > end {
                return Err(ArchiveError::IndexDamaged("its blocks leave gaps or overlap"));
            }
            offset += b.length;
            let keys = [&b.first, &b.last];
            let touching = b.kind != BlockType::Entries && !b.touches.is_empty();
            if keys.iter().any(|k| k.len() != b.kind.key_length()) || b.first > b.last || b.count == 0 || touching {
                return Err(ArchiveError::IndexDamaged("a block's keys are not of its type"));
            }
            if let Some(before) = at.checked_sub(1).map(|i| &self.blocks[i])
                && !in_order(before, b)
            {
                return Err(ArchiveError::OutOfOrder { what: "a block of the index" });
            }
        }
        if offset != end {
            return Err(ArchiveError::IndexDamaged("its blocks do not end where it starts"));
        }
        self.check_entries()?;
        self.check_counts()
    }

    /// Blocks of entries interleave across domains; within one domain they ascend.
    fn check_entries(&self) -> Result<()> {
        let mut last: BTreeMap<(BlockType, DomainId), &[u8]> = BTreeMap::new();
        for b in self.blocks.iter().filter(|b| b.kind >= BlockType::Entries) {
            let before = last.insert((b.kind, b.domain), &b.last);
            if before.is_some_and(|before| before >= &b.first[..]) {
                return Err(ArchiveError::OutOfOrder { what: "a block of log entries" });
            }
            let (keys, rest) = b.touches.as_chunks::<RECORD_KEY>();
            if !rest.is_empty() || !keys.is_sorted_by(|a, b| a < b) {
                return Err(ArchiveError::IndexDamaged("a block's list of records is not sorted"));
            }
        }
        Ok(())
    }

    fn check_counts(&self) -> Result<()> {
        let sum =
            |t: BlockType| self.blocks.iter().filter(|b| b.kind == t).fold(0u64, |n, b| n.saturating_add(b.count));
        let c = &self.counts;
        let records = c.records.values().fold(0u64, |n, k| n.saturating_add(*k));
        let same = sum(BlockType::Records) == records
            && sum(BlockType::Tombstones) == c.tombstones
            && sum(BlockType::Entries) == c.entries
            && sum(BlockType::Audit) == c.audit;
        if same { Ok(()) } else { Err(ArchiveError::IndexDamaged("its counts are not those of its blocks")) }
    }

    /// The numbers of the blocks of one type.
    pub fn blocks_of(&self, kind: BlockType) -> std::ops::Range<usize> {
        let start = self.blocks.partition_point(|b| b.kind < kind);
        start..self.blocks.partition_point(|b| b.kind <= kind)
    }

    /// The one block of sorted items that may hold the key.
    pub fn find(&self, kind: BlockType, domain: DomainId, key: &[u8]) -> Option<usize> {
        let range = self.blocks_of(kind);
        let blocks = &self.blocks[range.clone()];
        let at = blocks.partition_point(|b| (b.domain, &b.last[..]) < (domain, key));
        let block = blocks.get(at)?;
        (block.domain == domain && &block.first[..] <= key).then_some(range.start + at)
    }
}

fn in_order(before: &BlockPlace, b: &BlockPlace) -> bool {
    match (before.kind.cmp(&b.kind), b.kind) {
        (std::cmp::Ordering::Less, _) => true,
        (std::cmp::Ordering::Equal, BlockType::Entries | BlockType::Audit) => true,
        (std::cmp::Ordering::Equal, _) => (before.domain, &before.last) < (b.domain, &b.first),
        (std::cmp::Ordering::Greater, _) => false,
    }
}

type EncodeResult = std::result::Result<(), minicbor::encode::Error<std::convert::Infallible>>;

enum Wrong {
    Cbor,
    Kind(u64),
}

impl From<minicbor::decode::Error> for Wrong {
    fn from(_: minicbor::decode::Error) -> Wrong {
        Wrong::Cbor
    }
}

/// Reads the head of a definite array of exactly `length`.
pub(crate) fn array(d: &mut Decoder<'_>, length: u64) -> std::result::Result<(), minicbor::decode::Error> {
    match d.array()? {
        Some(n) if n == length => Ok(()),
        _ => Err(minicbor::decode::Error::message("an array of another length")),
    }
}

fn decode(d: &mut Decoder<'_>) -> std::result::Result<Index, Wrong> {
    array(d, 7)?;
    if d.u64()? != VERSION {
        return Err(Wrong::Cbor);
    }
    let mut index = Index::default();
    for _ in 0..d.array()?.ok_or(Wrong::Cbor)? {
        array(d, 10)?;
        index.blocks.push(BlockPlace {
            kind: BlockType::from_code(d.u8()?).ok_or(Wrong::Cbor)?,
            domain: d.decode()?,
            offset: d.u64()?,
            length: d.u64()?,
            raw_length: d.u64()?,
            sha256: d.decode()?,
            count: d.u64()?,
            first: d.bytes()?.to_vec(),
            last: d.bytes()?.to_vec(),
            touches: d.bytes()?.to_vec(),
        });
    }
    for _ in 0..d.array()?.ok_or(Wrong::Cbor)? {
        array(d, 2)?;
        let code = d.u64()?;
        let kind = u8::try_from(code).ok().and_then(Kind::from_code).ok_or(Wrong::Kind(code))?;
        if index.counts.records.insert(kind, d.u64()?).is_some() {
            return Err(Wrong::Cbor);
        }
    }
    index.counts.tombstones = d.u64()?;
    index.counts.entries = d.u64()?;
    index.counts.audit = d.u64()?;
    index.description = if d.datatype()? == minicbor::data::Type::Null {
        d.null()?;
        None
    } else {
        Some(d.str()?.to_owned())
    };
    Ok(index)
}
