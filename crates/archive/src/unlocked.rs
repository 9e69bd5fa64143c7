//! An archive with its key: KEKs, single records, everything in order, and the full check.

use std::collections::{BTreeMap, HashSet};
use std::sync::{Mutex, PoisonError};

use keyark_crypto::Key256;
use keyark_crypto::hash::sha256;
use keyark_crypto::stream::{HEADER, SegmentCipher};
use keyark_model::{DomainId, Id, Kind, Record};

use crate::archive::Archive;
use crate::block::{MAX_INDEX, check_raw};
use crate::body::{Body, BodyReader};
use crate::error::{ArchiveError, Result};
use crate::factors::{OpeningKey, list};
use crate::footer::Counts;
use crate::index::{BlockType, Index, record_key};
use crate::item::{Key, RecordRef, Tombstone, WrappedKek};
use crate::items::{count_items, each_item};
use crate::keys;
use crate::scan::{Entries, Owned};
use crate::source::ReadAt;

/// One KEK generation that bodies of the archive are sealed under.
pub struct Kek {
    pub domain: DomainId,
    pub generation: u64,
    pub key: Key256,
}

/// An archive whose index was decrypted and checked. Shared between threads freely; single records take turns.
pub struct Unlocked<'a, S> {
    archive: &'a Archive<S>,
    pub(crate) body: Body<'a, S>,
    kek_key: Key256,
    index: Index,
    reader: Mutex<BodyReader>,
}

impl<S: ReadAt> Archive<S> {
    /// Opens the body with a backup key or, in a stream, the key of its epoch. This trusts the footer: ask for `verdict` or
    /// `verify` first.
    pub fn unlock(&self, key: &OpeningKey<'_>) -> Result<Unlocked<'_, S>> {
        self.unlock_with_dek(&self.dek(key)?)
    }

    /// The DEK that a key unwraps.
    pub fn dek(&self, key: &OpeningKey<'_>) -> Result<Key256> {
        let header = self.header();
        let in_stream = header.stream.is_some();
        if let Some(wrap) = header.wraps.iter().find(|w| !w.is_declared(&header.doors, in_stream)) {
            return Err(ArchiveError::FewerFactors { wrap: list(wrap.factors.iter()) });
        }
        let named = |w: &&crate::factors::Wrap| w.factors.iter().any(|f| f.kind == key.kind && f.id == key.id);
        // A wrap by this key alone is preferred to one that needs more.
        let wrap = header.wraps.iter().filter(named).min_by_key(|w| w.factors.len()).ok_or_else(|| {
            let wraps = header.wraps.iter().flat_map(|w| &w.factors);
            let doors = header.doors.iter().flat_map(|d| &d.factors);
            ArchiveError::NeedsKey { needs: if header.wraps.is_empty() { list(doors) } else { list(wraps) } }
        })?;
        wrap.open(key, header.id, header.domain)
    }

    /// Opens the body with the DEK itself, for callers that undo nested wraps.
    pub fn unlock_with_dek(&self, dek: &Key256) -> Result<Unlocked<'_, S>> {
        if !keys::commits(dek, self.header().key_commitment) {
            return Err(ArchiveError::CommitmentDiffers);
        }
        let mut stream_header = [0; HEADER];
        self.source.read_at(self.parts.body_offset(), &mut stream_header)?;
        let cipher = SegmentCipher::of_header(&keys::body_key(dek), &self.header_hash().0, &stream_header)
            .map_err(|_| ArchiveError::BodyDamaged { segment: 0 })?;
        let body = Body { source: &self.source, offset: self.parts.body_offset(), layout: self.layout, cipher };
        let mut reader = BodyReader::new()?;
        let index = self.read_index(&body, &mut reader)?;
        Ok(Unlocked { archive: self, body, kek_key: keys::kek_key(dek), index, reader: Mutex::new(reader) })
    }

    fn read_index(&self, body: &Body<'_, S>, reader: &mut BodyReader) -> Result<Index> {
        let (header, footer) = (self.header(), self.footer());
        let place = &footer.index;
        let (offset, length) = (place.offset.0, place.length.0);
        if offset.checked_add(length) != Some(self.layout.plain_length()) || length == 0 {
            return Err(ArchiveError::FooterDamaged("its index does not end the body".into()));
        }
        check_raw("the index", place.raw_length.0, MAX_INDEX)?;
        let mut frame = Vec::new();
        reader.plain(body, offset, length, &mut frame)?;
        if sha256(&[&frame]) != place.sha256 {
            return Err(ArchiveError::IndexDamaged("its hash is not the one in the footer"));
        }
        let raw = reader.inflate(&frame, place.raw_length.0);
        let raw = raw.ok_or(ArchiveError::IndexDamaged("it does not inflate to its stated size"))?;
        let index = Index::parse(&raw, offset)?;
        if index.blocks.iter().map(|b| b.raw_length).max().unwrap_or(0) != footer.largest_block.0 {
            return Err(ArchiveError::IndexDamaged("its largest block is not the one in the footer"));
        }
        if !index.counts.agree(footer) {
            return Err(ArchiveError::IndexDamaged("its counts are not those of the footer"));
        }
        if let Some(expected) = header.domain
            && let Some(other) = index.blocks.iter().find(|b| b.domain != expected)
        {
            return Err(ArchiveError::OtherDomain { found: other.domain, expected });
        }
        Ok(index)
    }
}

impl<'a, S: ReadAt> Unlocked<'a, S> {
    pub fn archive(&self) -> &'a Archive<S> {
        self.archive
    }

    pub fn index(&self) -> &Index {
        &self.index
    }

    /// The description, also when the clear header hides it.
    pub fn description(&self) -> &str {
        let clear = self.archive.header().description.as_deref();
        self.index.description.as_deref().or(clear).unwrap_or_default()
    }

    /// Every KEK generation, ascending by (domain, generation).
    pub fn keks(&self) -> Result<Vec<Kek>> {
        self.keks_of(None)
    }

    /// Those of one domain, reading its blocks alone; none: of all.
    pub fn keks_of(&self, domain: Option<DomainId>) -> Result<Vec<Kek>> {
        let mut out = Vec::new();
        let blocks = &self.index.blocks;
        for number in self.index.blocks_of(BlockType::Keks).filter(|n| domain.is_none_or(|d| blocks[*n].domain == d)) {
            self.unwrap_keks(&self.one_block(number)?, number, |_| true, &mut out)?;
        }
        Ok(out)
    }

    /// One KEK generation, reading its domain's block alone.
    pub fn kek(&self, domain: DomainId, generation: u64) -> Result<Option<Key256>> {
        let mut out = Vec::new();
        if let Some(number) = self.index.find(BlockType::Keks, domain, Key::of_number(generation).as_slice()) {
            self.unwrap_keks(&self.one_block(number)?, number, |k| k.generation == generation, &mut out)?;
        }
        Ok(out.pop().map(|k| k.key))
    }

    fn unwrap_keks(
        &self,
        raw: &[u8],
        number: usize,
        wanted: impl Fn(&WrappedKek<'_>) -> bool,
        out: &mut Vec<Kek>,
    ) -> Result<()> {
        each_item(raw, number, &self.index.blocks[number], |k: WrappedKek<'_>| {
            if wanted(&k) {
                let (domain, generation) = (k.domain, k.generation);
                let id = self.archive.header().id;
                let key = keys::kek_unwrap(&self.kek_key, id, domain, generation, k.wrapped)
                    .ok_or(ArchiveError::BlockDamaged { block: number, what: "a KEK does not unwrap" })?;
                out.push(Kek { domain, generation, key });
            }
            Ok(())
        })
    }

    /// One record, reading only the segments that cover its block.
    pub fn record(&self, domain: DomainId, kind: Kind, id: Id) -> Result<Option<Record>> {
        let mut found = None;
        self.each_of::<ArchiveError>([(domain, kind, id)], |r| {
            found = Some(r.to_record());
            Ok(())
        })?;
        Ok(found)
    }

    /// Those of these records that it holds, in order, as views; blocks with none of them are not read.
    pub fn each_of<E: From<ArchiveError>>(
        &self,
        wanted: impl IntoIterator<Item = (DomainId, Kind, Id)>,
        mut f: impl FnMut(RecordRef<'_>) -> std::result::Result<(), E>,
    ) -> std::result::Result<(), E> {
        let mut blocks: BTreeMap<usize, HashSet<(Kind, Id)>> = BTreeMap::new();
        for (domain, kind, id) in wanted {
            if let Some(number) = self.index.find(BlockType::Records, domain, &record_key(kind, id)) {
                blocks.entry(number).or_default().insert((kind, id));
            }
        }
        for (number, records) in blocks {
            each_item(&self.one_block(number)?, number, &self.index.blocks[number], |r: RecordRef<'_>| {
                if records.contains(&(r.kind, r.id)) { f(r) } else { Ok(()) }
            })?;
        }
        Ok(())
    }

    /// Every record in order, as views: the fastest way through an archive. Stops at the caller's first error.
    pub fn each_record<E: From<ArchiveError>>(
        &self,
        mut f: impl FnMut(RecordRef<'_>) -> std::result::Result<(), E>,
    ) -> std::result::Result<(), E> {
        let mut reader = BodyReader::new()?;
        let mut raw = Vec::new();
        for number in self.index.blocks_of(BlockType::Records) {
            let place = &self.index.blocks[number];
            reader.block(&self.body, number, place, &mut raw)?;
            each_item(&raw, number, place, &mut f)?;
        }
        Ok(())
    }

    /// Every record in order.
    pub fn records(&self) -> Result<Owned<'_, 'a, S, Record>> {
        Owned::new(self, BlockType::Records)
    }

    /// Every tombstone in order.
    pub fn tombstones(&self) -> Result<Owned<'_, 'a, S, Tombstone>> {
        Owned::new(self, BlockType::Tombstones)
    }

    /// The log entries of all domains by `seq`.
    pub fn entries(&self) -> Result<Entries<'_, 'a, S>> {
        Entries::new(self, self.index.blocks_of(BlockType::Entries).collect())
    }

    /// The audit entries of all domains by `seq`.
    pub fn audit_entries(&self) -> Result<Entries<'_, 'a, S>> {
        Entries::new(self, self.index.blocks_of(BlockType::Audit).collect())
    }

    /// The log entries of the blocks in which one of these records changes; others of those blocks come with them.
    pub fn entries_near<'k>(
        &self,
        domain: DomainId,
        records: impl IntoIterator<Item = &'k (Kind, Id)>,
    ) -> Result<Entries<'_, 'a, S>> {
        let keys: Vec<_> = records.into_iter().map(|(kind, id)| record_key(*kind, *id)).collect();
        let blocks = &self.index.blocks;
        let touching = |n: &usize| blocks[*n].domain == domain && keys.iter().any(|key| blocks[*n].touches(key));
        Entries::new(self, self.index.blocks_of(BlockType::Entries).filter(touching).collect())
    }

    /// Reads everything once, forward: the body's hash, every block, every item's order, the counts per kind. `each` sees every
    /// record, so that the caller can compare its digests with the footer's.
    pub fn verify_full(&self, mut each: impl FnMut(&RecordRef<'_>)) -> Result<Counts> {
        let mut stream_header = [0; HEADER];
        self.body.source.read_at(self.body.offset, &mut stream_header)?;
        let mut reader = BodyReader::hashing(&stream_header)?;
        let mut counts = Counts::default();
        let mut raw = Vec::new();
        for (number, place) in self.index.blocks.iter().enumerate() {
            reader.block(&self.body, number, place, &mut raw)?;
            count_items(&raw, number, place, &mut counts, &mut each)?;
            if place.kind == BlockType::Keks {
                self.unwrap_keks(&raw, number, |_| true, &mut Vec::new())?;
            }
        }
        if reader.finish_hash(&self.body)? != Some(self.archive.footer().body_sha256) {
            return Err(ArchiveError::BodyReplaced);
        }
        if counts != self.index.counts {
            return Err(ArchiveError::IndexDamaged("its counts are not those of the records"));
        }
        Ok(counts)
    }

    fn one_block(&self, number: usize) -> Result<Vec<u8>> {
        let mut raw = Vec::new();
        // A reader left by a panic holds no half-read segment: `load` marks one as present only when it is whole.
        let mut reader = self.reader.lock().unwrap_or_else(PoisonError::into_inner);
        reader.block(&self.body, number, &self.index.blocks[number], &mut raw)?;
        Ok(raw)
    }
}
