//! The file of the usage log: batches of records in SQLite, each record chained to the one before.
//!
//! A batch is one row, whatever its size: that costs the disk and the processor far less than a row a record, and
//! retention drops whole batches. Only the hash after a batch is stored; those in between follow from the records.

use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use keyark_crypto::{hash, random};
use keyark_model::{Digest, DomainId, Time};
use keyark_store::FreeSpace;
use minicbor::Decoder;
use rusqlite::{Connection, OpenFlags, OptionalExtension as _, TransactionBehavior, params};

use super::error::UsageError;
use super::record::UsageRecord;

/// Records in one row at most.
pub const BATCH: usize = 1000;
const SCHEMA: i64 = 1;
/// "KyUs", so that `file` and we know the database.
const APPLICATION: i64 = 0x4b79_5573;
/// Retention and the writer take turns.
const PATIENCE: Duration = Duration::from_secs(10);
const CACHE_KIB: i64 = 512;

/// `base` is where the chain starts: the last record that retention dropped. `log` tells this file from every other.
const TABLES: &str = "
CREATE TABLE batch (
    first INTEGER PRIMARY KEY, count INTEGER NOT NULL, newest INTEGER NOT NULL,
    hash BLOB NOT NULL, records BLOB NOT NULL
);
CREATE TABLE batch_domain (domain BLOB NOT NULL, first INTEGER NOT NULL, PRIMARY KEY (domain, first)) WITHOUT ROWID;
CREATE TABLE base (
    one INTEGER PRIMARY KEY CHECK (one = 1), log TEXT NOT NULL, position INTEGER NOT NULL, hash BLOB NOT NULL
);
";

/// A place in the chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    /// Number of the last record, counted from 1; 0 before the first.
    pub position: u64,
    /// SHA-256(hash before ‖ the record's CBOR); zeros before the first.
    pub hash: Digest,
}

impl Head {
    fn follow(self, record: &[u8]) -> Head {
        Head { position: self.position + 1, hash: hash::sha256(&[&self.hash.0, record]) }
    }
}

/// Room that the log must leave on the disk.
#[derive(Clone)]
pub struct Room {
    pub reserve: u64,
    pub free_space: FreeSpace,
}

/// The one connection that appends.
pub struct UsageFile {
    conn: Connection,
    path: PathBuf,
    room: Room,
    head: Head,
    log: String,
}

impl UsageFile {
    /// Opens or makes the file. `durable`: an append returns when it is on disk, not only in the system's memory.
    pub fn open(path: &Path, durable: bool, room: Room) -> Result<UsageFile, UsageError> {
        let made = std::fs::OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(path);
        made.map_err(|e| UsageError::Io { path: path.into(), reason: e.to_string() })?;
        let conn = connect(path)?;
        conn.pragma_update(None, "journal_mode", "WAL")?;
        conn.pragma_update(None, "synchronous", if durable { "FULL" } else { "NORMAL" })?;
        match conn.pragma_query_value(None, "user_version", |r| r.get::<_, i64>(0))? {
            0 => conn.execute_batch(&format!(
                "BEGIN IMMEDIATE; {TABLES} INSERT INTO base VALUES (1, '{:032x}', 0, zeroblob(32));
                 PRAGMA application_id = {APPLICATION}; PRAGMA user_version = {SCHEMA}; COMMIT;",
                u128::from_be_bytes(random::bytes())
            ))?,
            SCHEMA => {}
            _ => return Err(UsageError::Newer { path: path.into() }),
        }
        let head = load_head(&conn)?;
        let log = conn.query_row("SELECT log FROM base", [], |r| r.get(0))?;
        Ok(UsageFile { conn, path: path.into(), room, head, log })
    }

    /// The end of the chain.
    pub fn head(&self) -> Head {
        self.head
    }

    /// 128 random bits in hexadecimal, drawn when the file was made.
    pub fn log(&self) -> &str {
        &self.log
    }

    /// Appends all or nothing.
    pub fn append(&mut self, records: &[UsageRecord]) -> Result<(), UsageError> {
        if records.is_empty() {
            return Ok(());
        }
        if (self.room.free_space)(&self.path).is_ok_and(|free| free < self.room.reserve) {
            return Err(UsageError::Full);
        }
        let mut head = self.head;
        let tx = self.conn.transaction_with_behavior(TransactionBehavior::Immediate)?;
        for part in records.chunks(BATCH) {
            let first = head.position + 1;
            let mut bytes = Vec::with_capacity(part.len() * 160);
            let mut domains: Vec<DomainId> = Vec::new();
            for record in part {
                let start = bytes.len();
                record.encode(&mut bytes);
                head = head.follow(&bytes[start..]);
                if !domains.contains(&record.domain) {
                    domains.push(record.domain);
                }
            }
            let newest = part.iter().map(|r| r.time.0).max().unwrap_or_default();
            tx.prepare_cached("INSERT INTO batch VALUES (?1, ?2, ?3, ?4, ?5)")?.execute(params![
                first,
                part.len() as u64,
                newest,
                head.hash.0,
                bytes
            ])?;
            for domain in domains {
                tx.prepare_cached("INSERT INTO batch_domain VALUES (?1, ?2)")?
                    .execute(params![domain.as_bytes(), first])?;
            }
        }
        tx.commit()?;
        self.head = head;
        Ok(())
    }
}

fn connect(path: &Path) -> Result<Connection, UsageError> {
    let conn = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
    conn.busy_timeout(PATIENCE)?;
    conn.pragma_update(None, "cache_size", -CACHE_KIB)?;
    Ok(conn)
}

/// A connection that only reads.
fn reader(path: &Path) -> Result<Connection, UsageError> {
    let conn = connect(path)?;
    conn.pragma_update(None, "query_only", true)?;
    Ok(conn)
}

fn load_base(conn: &Connection) -> Result<Head, UsageError> {
    Ok(conn.query_row("SELECT position, hash FROM base", [], |r| {
        Ok(Head { position: r.get(0)?, hash: Digest(r.get(1)?) })
    })?)
}

fn load_head(conn: &Connection) -> Result<Head, UsageError> {
    let last = conn
        .query_row("SELECT first + count - 1, hash FROM batch ORDER BY first DESC LIMIT 1", [], |r| {
            Ok(Head { position: r.get(0)?, hash: Digest(r.get(1)?) })
        })
        .optional()?;
    last.map_or_else(|| load_base(conn), Ok)
}

fn damaged(position: u64) -> impl Fn(minicbor::decode::Error) -> UsageError {
    move |e| UsageError::Damaged(format!("record {position}: {e}"))
}

/// Shows a domain's records with numbers below `before` to `see`, newest first, until it answers false.
pub fn read_newest_first(
    path: &Path,
    domain: DomainId,
    before: Option<u64>,
    mut see: impl FnMut(u64, UsageRecord) -> bool,
) -> Result<(), UsageError> {
    let before = before.unwrap_or(u64::MAX).min(i64::MAX as u64);
    let conn = reader(path)?;
    let mut statement = conn.prepare(
        "SELECT batch.first, records FROM batch_domain JOIN batch ON batch.first = batch_domain.first
         WHERE domain = ?1 AND batch_domain.first < ?2 ORDER BY batch_domain.first DESC",
    )?;
    let mut rows = statement.query(params![domain.as_bytes(), before])?;
    while let Some(row) = rows.next()? {
        let first: u64 = row.get(0)?;
        let bytes = row.get_ref(1)?.as_blob().map_err(rusqlite::Error::from)?;
        let mut decoder = Decoder::new(bytes);
        let mut batch = Vec::new();
        while decoder.position() < bytes.len() {
            let position = first + batch.len() as u64;
            batch.push(UsageRecord::decode(&mut decoder).map_err(damaged(position))?);
        }
        for (at, record) in batch.into_iter().enumerate().rev() {
            let position = first + at as u64;
            if record.domain == domain && position < before && !see(position, record) {
                return Ok(());
            }
        }
    }
    Ok(())
}

/// Walks the whole chain. Answers the first position where it is broken, if any: where a batch does not give the hash
/// that is stored after it, its first record. `anchors` are places known from elsewhere (the change log); one past the
/// end says that the end was cut off.
pub fn verify(path: &Path, anchors: &[Head]) -> Result<Option<u64>, UsageError> {
    let conn = reader(path)?;
    let mut head = load_base(&conn)?;
    let wrong = |at: Head| anchors.iter().any(|a| a.position == at.position && a.hash != at.hash);
    if wrong(head) {
        return Ok(Some(head.position));
    }
    let mut statement = conn.prepare("SELECT first, count, hash, records FROM batch ORDER BY first")?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        let (first, count, stored): (u64, u64, [u8; 32]) = (row.get(0)?, row.get(1)?, row.get(2)?);
        if first != head.position + 1 {
            return Ok(Some(head.position + 1));
        }
        let bytes = row.get_ref(3)?.as_blob().map_err(rusqlite::Error::from)?;
        let mut decoder = Decoder::new(bytes);
        let mut anchor_missed = None;
        while decoder.position() < bytes.len() {
            let start = decoder.position();
            if UsageRecord::decode(&mut decoder).is_err() {
                return Ok(Some(head.position + 1));
            }
            head = head.follow(&bytes[start..decoder.position()]);
            if wrong(head) && anchor_missed.is_none() {
                anchor_missed = Some(first);
            }
        }
        if head.hash.0 != stored || head.position + 1 != first + count || anchor_missed.is_some() {
            return Ok(Some(first));
        }
    }
    let cut = anchors.iter().any(|a| a.position > head.position);
    Ok(cut.then_some(head.position + 1))
}

/// Drops the oldest batches whose every record is older than `before`; how many records went.
pub fn trim(path: &Path, before: Time) -> Result<u64, UsageError> {
    let mut conn = connect(path)?;
    let tx = conn.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let kept: Option<i64> =
        tx.query_row("SELECT min(first) FROM batch WHERE newest >= ?1", [before.0], |r| r.get(0))?;
    let kept = kept.unwrap_or(i64::MAX);
    let last = tx
        .query_row(
            "SELECT first + count - 1, hash FROM batch WHERE first < ?1 ORDER BY first DESC LIMIT 1",
            [kept],
            |r| Ok(Head { position: r.get(0)?, hash: Digest(r.get(1)?) }),
        )
        .optional()?;
    let Some(last) = last else { return Ok(0) };
    let base = load_base(&tx)?;
    tx.execute("UPDATE base SET position = ?1, hash = ?2", params![last.position, last.hash.0])?;
    tx.execute("DELETE FROM batch WHERE first < ?1", [kept])?;
    tx.execute("DELETE FROM batch_domain WHERE first < ?1", [kept])?;
    tx.commit()?;
    Ok(last.position - base.position)
}
