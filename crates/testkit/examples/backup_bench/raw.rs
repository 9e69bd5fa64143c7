//! The limits: the steps of a backup on the same bytes by one thread, and a plain SQLite load of the same tables.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::ops::ControlFlow;
use std::path::Path;
use std::time::Instant;

use keyark_archive::block::{Deflater, Inflater, TARGET};
use keyark_crypto::aead::Gcm;
use keyark_crypto::hash::Sha256;
use keyark_crypto::random;
use keyark_model::{Digest, Kind};
use keyark_store::{RecordView, Store};
use rusqlite::{Connection, params};

use crate::base::{domain, name};
use crate::clock::{Spent, timed};
use crate::figures::Outcome;

/// Bytes at which a segment is sealed.
const SEGMENT: usize = 1 << 20;

/// The steps of a backup, and of reading it back.
pub struct RawBackup {
    pub write: Spent,
    pub read: Spent,
    pub stored: u64,
}

/// Frames behind each other in one sealed segment: compressed and raw length of each.
#[derive(Default)]
struct Segment {
    length: usize,
    frames: Vec<(usize, usize)>,
}

struct Sink {
    deflater: Deflater,
    gcm: Gcm,
    hash: Sha256,
    file: File,
    piece: Vec<u8>,
    sealed: Vec<u8>,
    segments: Vec<Segment>,
    raw: u64,
}

fn nonce(number: usize) -> [u8; 12] {
    let mut nonce = [0; 12];
    nonce[..8].copy_from_slice(&(number as u64).to_be_bytes());
    nonce
}

impl Sink {
    fn record(&mut self, r: &RecordView<'_>) -> Outcome {
        self.piece.extend_from_slice(r.id.as_bytes());
        self.piece.extend_from_slice(&r.revision.to_be_bytes());
        self.piece.extend_from_slice(&r.time.0.to_be_bytes());
        self.piece.extend_from_slice(r.header);
        self.piece.extend_from_slice(r.body);
        if self.piece.len() >= TARGET { self.compress() } else { Ok(()) }
    }

    fn compress(&mut self) -> Outcome {
        if self.piece.is_empty() {
            return Ok(());
        }
        let frame = self.deflater.deflate(&self.piece)?;
        self.sealed.extend_from_slice(frame);
        if let Some(segment) = self.segments.last_mut() {
            segment.frames.push((frame.len(), self.piece.len()));
        }
        self.raw += self.piece.len() as u64;
        self.piece.clear();
        if self.sealed.len() >= SEGMENT { self.seal() } else { Ok(()) }
    }

    fn seal(&mut self) -> Outcome {
        self.gcm.seal(nonce(self.segments.len()), &[], &mut self.sealed);
        self.hash.update(&self.sealed);
        self.file.write_all(&self.sealed)?;
        if let Some(segment) = self.segments.last_mut() {
            segment.length = self.sealed.len();
        }
        self.segments.push(Segment::default());
        self.sealed.clear();
        Ok(())
    }
}

/// Scan, compress, seal, hash, write, fsync; then read, hash, open, inflate.
pub fn backup(store: &Store, path: &Path) -> Outcome<RawBackup> {
    let key = random::secret();
    let mut sink = Sink {
        deflater: Deflater::new()?,
        gcm: Gcm::new(&key),
        hash: Sha256::default(),
        file: File::create(path)?,
        piece: Vec::with_capacity(2 * TARGET),
        sealed: Vec::with_capacity(2 * SEGMENT),
        segments: vec![Segment::default()],
        raw: 0,
    };
    let ((), write) = timed(|| {
        scan(store, |r| sink.record(r))?;
        sink.compress()?;
        sink.seal()?;
        Ok(sink.file.sync_all()?)
    })?;
    let digest = sink.hash.finish();
    let ((), read) = timed(|| read_back(path, &Gcm::new(&key), &sink.segments, digest, sink.raw))?;
    Ok(RawBackup { write, read, stored: sink.segments.iter().map(|s| s.length as u64).sum() })
}

fn read_back(path: &Path, gcm: &Gcm, segments: &[Segment], digest: Digest, expected: u64) -> Outcome {
    let (mut file, mut hash, mut inflater) = (File::open(path)?, Sha256::default(), Inflater::new()?);
    let (mut buffer, mut out, mut raw) = (Vec::<u8>::new(), Vec::new(), 0u64);
    for (n, segment) in segments.iter().enumerate().filter(|(_, s)| s.length > 0) {
        buffer.resize(segment.length, 0);
        file.read_exact(&mut buffer)?;
        hash.update(&buffer);
        let mut rest: &[u8] = gcm.open(nonce(n + 1), &[], &mut buffer)?;
        for (length, inflated) in &segment.frames {
            let (frame, after) = rest.split_at(*length);
            inflater.inflate(frame, *inflated as u64, &mut out).ok_or("a raw frame does not inflate")?;
            raw += out.len() as u64;
            rest = after;
        }
    }
    match hash.finish() == digest && raw == expected {
        true => Ok(()),
        false => Err("the raw steps do not give back what they were given".into()),
    }
}

/// Every key of the store, in order.
fn scan(store: &Store, mut each: impl FnMut(&RecordView<'_>) -> Outcome) -> Outcome {
    let mut outcome = Ok(());
    store.scan(domain(), Kind::Key, |r| {
        outcome = each(r);
        if outcome.is_ok() { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    })?;
    outcome
}

/// Loads the rows of the store into the same tables: sorted, without a journal, indexes last, one fsync. Gives seconds,
/// without the scan that the rows come from.
pub fn load(store: &Store, path: &Path) -> Outcome<f64> {
    let begun = Instant::now();
    scan(store, |r| {
        std::hint::black_box(r.header.len());
        Ok(())
    })?;
    let scanned = begun.elapsed().as_secs_f64();

    let begun = Instant::now();
    let conn = Connection::open(path)?;
    conn.execute_batch(
        "PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF; PRAGMA locking_mode = EXCLUSIVE;
         PRAGMA cache_size = -16384;
         CREATE TABLE record (rid INTEGER PRIMARY KEY, slot INTEGER, kind INTEGER, id BLOB, revision INTEGER,
         seq INTEGER, idx INTEGER, time INTEGER, header BLOB, body BLOB);
         CREATE TABLE name (slot INTEGER, name TEXT, rid INTEGER, PRIMARY KEY (slot, name)) WITHOUT ROWID; BEGIN",
    )?;
    let mut rows = 0u64;
    let mut insert = conn.prepare("INSERT INTO record VALUES (?1, 1, 4, ?2, ?3, 0, 0, ?4, ?5, ?6)")?;
    scan(store, |r| {
        insert.execute(params![rows, r.id.as_bytes(), r.revision, r.time.0, r.header, r.body])?;
        rows += 1;
        Ok(())
    })?;
    drop(insert);
    let mut names: Vec<_> = (0..rows).map(|n| (name(n), n)).collect();
    names.sort_unstable();
    let mut insert = conn.prepare("INSERT INTO name VALUES (1, ?1, ?2)")?;
    for (name, n) in &names {
        insert.execute(params![name, n])?;
    }
    drop(insert);
    conn.execute_batch(
        "CREATE UNIQUE INDEX record_id ON record (kind, id);
         CREATE UNIQUE INDEX record_key ON record (slot, id); COMMIT",
    )?;
    conn.close().map_err(|(_, e)| e)?;
    File::open(path)?.sync_all()?;
    let all = begun.elapsed().as_secs_f64();
    std::fs::remove_file(path)?;
    Ok(all - scanned)
}
