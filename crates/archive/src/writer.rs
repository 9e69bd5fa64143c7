//! Writes an archive as a stream: sorted items in, one file out, a few MiB of memory.

use std::collections::BTreeMap;
use std::io::Write;

use keyark_crypto::Key256;
use keyark_crypto::hash::sha256;
use keyark_crypto::sign::Signer;
use keyark_model::{Digest, DomainId, Id, Kind};

use crate::block::{MAX_RAW, TARGET};
use crate::entries::EntryBlocks;
use crate::error::{ArchiveError, Result};
use crate::footer::{Chain, Counts, Footer, IndexPlace};
use crate::header::{FORMAT, Header};
use crate::index::{BlockPlace, BlockType, Index};
use crate::item::{EntryRef, Items, Key, RecordRef, Tombstone, WrappedKek};
use crate::json::{Decimal, Hex};
use crate::keys;
use crate::layout::{MAGIC, MAX_FOOTER, MAX_HEADER};
use crate::pipe::{Pipe, RawBlock};
use crate::segments::{Body, SegmentSink};
use crate::signature::Signature;

/// What is known only at the end.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Closing {
    /// The log's hashes before the first and after the last entry (of the domain's own chain in a domain's scope).
    pub chain: Chain,
    /// The order-independent digest of each domain's records.
    pub record_digests: BTreeMap<DomainId, Vec<u8>>,
}

impl Default for Closing {
    fn default() -> Self {
        Closing { chain: Chain { before: Digest::ZERO, after: Digest::ZERO }, record_digests: BTreeMap::new() }
    }
}

/// What was written.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Summary {
    /// Bytes of the file.
    pub length: u64,
    /// Bytes of all items before compression.
    pub raw_length: u64,
    pub counts: Counts,
    /// SHA-256 of the whole file.
    pub sha256: Digest,
    pub body_sha256: Digest,
}

/// An archive being written. The order is: KEKs, records, tombstones, entries, audit entries, `finish`; a writer that is
/// dropped before leaves a file that no reader accepts.
pub struct Writer<W> {
    header: Header,
    front: Vec<u8>,
    kek_key: Key256,
    pipe: Pipe<W>,
    open: Option<RawBlock>,
    /// Where the last sorted item stood.
    last: Option<(BlockType, DomainId, Key)>,
    entries: EntryBlocks,
    counts: Counts,
    /// Records by the number of their kind; joins the counts at the end.
    records: [u64; 256],
    raw_length: u64,
    largest_block: u64,
}

impl<W: Write + Send + 'static> Writer<W> {
    /// Writes the header and starts the body. `header.format` and `header.key_commitment` are set here; the wraps must be those of `dek`.
    pub fn new(sink: W, mut header: Header, dek: &Key256) -> Result<Writer<W>> {
        header.format = FORMAT;
        header.key_commitment = keys::commitment(dek);
        header.check().map_err(ArchiveError::BadDraft)?;
        if header.wraps.iter().any(|w| !w.is_declared(&header.doors, header.stream.is_some())) {
            return Err(ArchiveError::BadDraft("a wrap's factors are not those of a declared door"));
        }
        let front = front_of(&header)?;
        let segments = SegmentSink::start(sink, &front, &keys::body_key(dek), &sha256(&[&front]))?;
        Ok(Writer {
            header,
            front,
            kek_key: keys::kek_key(dek),
            pipe: Pipe::start(segments)?,
            open: None,
            last: None,
            entries: EntryBlocks::default(),
            counts: Counts::default(),
            records: [0; 256],
            raw_length: 0,
            largest_block: 0,
        })
    }

    /// A KEK generation under which bodies of this archive are sealed; ascending by (domain, generation), before all records.
    pub fn kek(&mut self, domain: DomainId, generation: u64, kek: &Key256) -> Result<()> {
        let wrapped = keys::kek_wrap(&self.kek_key, self.header.id, domain, generation, kek);
        let item = WrappedKek { domain, generation, wrapped: &wrapped };
        let key = Key::of_number(generation);
        self.sorted(BlockType::Keks, domain, key, wrapped.len(), |items| items.kek(&item))
    }

    /// A record; ascending by (domain, kind, id).
    pub fn record(&mut self, r: &RecordRef<'_>) -> Result<()> {
        let size = r.header.len() + r.body.len();
        self.sorted(BlockType::Records, r.domain, Key::of_record(r.kind, r.id), size, |items| items.record(r))?;
        self.records[usize::from(r.kind as u8)] += 1;
        Ok(())
    }

    /// A tombstone; ascending by (domain, kind, id), after all records.
    pub fn tombstone(&mut self, t: &Tombstone) -> Result<()> {
        let size = t.name.as_ref().map_or(0, String::len);
        self.sorted(BlockType::Tombstones, t.domain, Key::of_record(t.kind, t.id), size, |items| items.tombstone(t))?;
        self.counts.tombstones += 1;
        Ok(())
    }

    /// A log entry; ascending by `seq` over all domains. `touches`: the records that it changes.
    pub fn entry(&mut self, entry: &EntryRef<'_>, touches: &[(Kind, Id)]) -> Result<()> {
        self.any_entry(BlockType::Entries, entry, touches)?;
        self.counts.entries += 1;
        Ok(())
    }

    /// An audit entry; ascending by `seq` over all domains, after all log entries.
    pub fn audit_entry(&mut self, entry: &EntryRef<'_>) -> Result<()> {
        self.any_entry(BlockType::Audit, entry, &[])?;
        self.counts.audit += 1;
        Ok(())
    }

    /// Writes index, footer and signature; gives the sink back, flushed but not synced.
    pub fn finish(mut self, closing: &Closing, signer: &Signer) -> Result<(W, Summary)> {
        self.close_entries()?;
        self.close()?;
        let records = Kind::ALL.iter().map(|kind| (*kind, self.records[usize::from(*kind as u8)]));
        self.counts.records = records.filter(|(_, n)| *n > 0).collect();
        let mut written = self.pipe.finish()?;
        let description = if self.header.hidden { self.header.description.clone() } else { None };
        let index = Index { blocks: written.places, counts: self.counts.clone(), description }.to_bytes();
        let frame = written.deflater.deflate(&index)?;
        let place = IndexPlace {
            offset: Decimal(written.segments.position()),
            length: Decimal(frame.len() as u64),
            raw_length: Decimal(index.len() as u64),
            sha256: sha256(&[frame]),
        };
        written.segments.push(frame)?;
        let body = written.segments.finish()?;
        let mut footer = Footer {
            body_length: Decimal(body.length),
            body_sha256: body.sha256,
            index: place,
            largest_block: Decimal(self.largest_block),
            counts: None,
            tombstones: None,
            entries: None,
            audit: None,
            record_digests: closing.record_digests.iter().map(|(d, bytes)| (*d, Hex(bytes.clone()))).collect(),
            chain: closing.chain,
        };
        if !self.header.hidden {
            self.counts.write_into(&mut footer);
        }
        let (sink, length, sha256) = end(body, &self.front, &footer, signer)?;
        let summary = Summary {
            length,
            raw_length: self.raw_length,
            counts: self.counts,
            sha256,
            body_sha256: footer.body_sha256,
        };
        Ok((sink, summary))
    }

    fn sorted(
        &mut self,
        kind: BlockType,
        domain: DomainId,
        key: Key,
        size: usize,
        write: impl FnOnce(&mut Items<'_>),
    ) -> Result<()> {
        self.check(domain, size)?;
        let after =
            self.last.as_ref().is_none_or(|(k, d, last)| (*k, *d, last.as_slice()) < (kind, domain, key.as_slice()));
        if !after || kind >= BlockType::Entries {
            return Err(ArchiveError::OutOfOrder { what: "an item to be written" });
        }
        let fits = |b: &RawBlock| b.place.kind == kind && b.place.domain == domain && b.raw.len() < TARGET;
        if !self.open.as_ref().is_some_and(fits) {
            self.close()?;
        }
        let block = self.open.get_or_insert_with(|| RawBlock {
            place: empty_place(kind, domain, key.as_slice()),
            raw: self.pipe.buffer(),
        });
        write(&mut Items(&mut block.raw));
        block.place.count += 1;
        self.last = Some((kind, domain, key));
        Ok(())
    }

    fn any_entry(&mut self, kind: BlockType, entry: &EntryRef<'_>, touches: &[(Kind, Id)]) -> Result<()> {
        self.check(entry.domain, entry.bytes.len())?;
        let key = Key::of_number(entry.seq);
        if let Some((before, _, last)) = &self.last {
            if *before > kind || (*before == kind && last.as_slice() >= key.as_slice()) {
                return Err(ArchiveError::OutOfOrder { what: "an entry to be written" });
            }
            if *before != kind {
                self.close()?;
                self.close_entries()?;
            }
        }
        self.last = Some((kind, entry.domain, key));
        for block in self.entries.add(kind, entry, touches) {
            self.send(block)?;
        }
        Ok(())
    }

    fn check(&self, domain: DomainId, size: usize) -> Result<()> {
        if let Some(expected) = self.header.domain
            && expected != domain
        {
            return Err(ArchiveError::OtherDomain { found: domain, expected });
        }
        // A block is closed when it reaches its target, so an item may add this much to it.
        crate::block::check_raw("an item", size as u64, MAX_RAW - TARGET as u64 - 128)
    }

    fn close(&mut self) -> Result<()> {
        let Some(mut block) = self.open.take() else { return Ok(()) };
        if let Some((_, _, last)) = &self.last {
            block.place.last = last.as_slice().to_vec();
        }
        self.send(block)
    }

    fn close_entries(&mut self) -> Result<()> {
        self.entries.drain().into_iter().try_for_each(|block| self.send(block))
    }

    fn send(&mut self, block: RawBlock) -> Result<()> {
        let raw = block.raw.len() as u64;
        self.raw_length += raw;
        self.largest_block = self.largest_block.max(raw);
        self.pipe.send(block)
    }
}

/// A place without an offset, for items still to come.
pub(crate) fn empty_place(kind: BlockType, domain: DomainId, first: &[u8]) -> BlockPlace {
    BlockPlace {
        kind,
        domain,
        offset: 0,
        length: 0,
        raw_length: 0,
        sha256: Digest::ZERO,
        count: 0,
        first: first.to_vec(),
        last: first.to_vec(),
        touches: Vec::new(),
    }
}

/// MAGIC ‖ header length ‖ header.
fn front_of(header: &Header) -> Result<Vec<u8>> {
    let mut shown = header.clone();
    if shown.hidden {
        shown.description = None;
    }
    let json = serde_json::to_vec(&shown).map_err(|e| ArchiveError::Io(e.into()))?;
    crate::block::check_raw("the header", json.len() as u64, MAX_HEADER)?;
    Ok([&MAGIC[..], &(json.len() as u32).to_be_bytes(), &json].concat())
}

/// Footer, signature block, their lengths, MAGIC.
fn end<W: Write>(body: Body<W>, front: &[u8], footer: &Footer, signer: &Signer) -> Result<(W, u64, Digest)> {
    let json = serde_json::to_vec(footer).map_err(|e| ArchiveError::Io(e.into()))?;
    crate::block::check_raw("the footer", json.len() as u64, MAX_FOOTER)?;
    let block = Signature::make(signer, sha256(&[front]), body.sha256, sha256(&[&json])).to_bytes();
    let lengths = [json.len() as u32, block.len() as u32].map(u32::to_be_bytes);
    let end = [&json[..], &block, lengths.as_flattened(), &MAGIC].concat();
    let Body { mut sink, length, mut file, .. } = body;
    file.update(&end);
    sink.write_all(&end)?;
    sink.flush()?;
    Ok((sink, front.len() as u64 + length + end.len() as u64, file.finish()))
}
