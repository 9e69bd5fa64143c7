//! The tables of a store, and how a connection to them is set up.

use std::path::Path;

use rusqlite::{Connection, OpenFlags};

use crate::options::Options;

/// The schema that this version writes.
pub(crate) const SCHEMA: i64 = 2;
/// "KyAr", so that `file` and we know the database.
pub(crate) const APPLICATION: i64 = 0x4b79_4172;
pub(crate) const PRODUCT: &str = env!("CARGO_PKG_VERSION");

/// A slot is one (domain, kind). A record's row id is `rid(slot, n)` with n counting up, so that the rows of a slot
/// lie together in the file and are in id order as long as ids are time-ordered: scans are sequential.
///
/// The content of a change stands once: in `record` while it is current, in `history` after. `history.until` is the
/// entry that superseded it and grows with `hid`, so trimming cuts a prefix.
///
/// A record that went away in one domain and came back in another leaves its tombstone in the first.
pub(crate) const TABLES: &str = "
CREATE TABLE identity (
    one INTEGER PRIMARY KEY CHECK (one = 1),
    system BLOB NOT NULL, incarnation BLOB NOT NULL,
    parent_incarnation BLOB, parent_seq INTEGER, parent_hash BLOB,
    created INTEGER NOT NULL, written_by TEXT NOT NULL
);
CREATE TABLE base (
    one INTEGER PRIMARY KEY CHECK (one = 1),
    seq INTEGER NOT NULL, hash BLOB NOT NULL, time INTEGER NOT NULL
);
CREATE TABLE base_domain (
    domain INTEGER PRIMARY KEY,
    domain_seq INTEGER NOT NULL, hash BLOB NOT NULL, seq INTEGER NOT NULL, lanes BLOB NOT NULL
);
CREATE TABLE domain (
    no INTEGER PRIMARY KEY, id BLOB NOT NULL UNIQUE,
    domain_seq INTEGER NOT NULL, hash BLOB NOT NULL, seq INTEGER NOT NULL,
    counts BLOB NOT NULL, lanes BLOB NOT NULL
);
CREATE TABLE slot (
    no INTEGER PRIMARY KEY, domain INTEGER NOT NULL, kind INTEGER NOT NULL,
    UNIQUE (domain, kind)
);
CREATE TABLE entry (
    seq INTEGER PRIMARY KEY, time INTEGER NOT NULL,
    domain INTEGER NOT NULL, domain_seq INTEGER NOT NULL, domain_prev INTEGER NOT NULL,
    actor NOT NULL, request_id NOT NULL, action TEXT NOT NULL, target NOT NULL, outcome INTEGER NOT NULL,
    domain_hash BLOB NOT NULL, hash BLOB NOT NULL, changes BLOB NOT NULL
);
CREATE INDEX entry_domain ON entry (domain);
CREATE TABLE record (
    rid INTEGER PRIMARY KEY, slot INTEGER NOT NULL, kind INTEGER NOT NULL, id BLOB NOT NULL,
    revision INTEGER NOT NULL, seq INTEGER NOT NULL, idx INTEGER NOT NULL, time INTEGER NOT NULL,
    header BLOB NOT NULL, body BLOB NOT NULL
);
CREATE TABLE history (
    hid INTEGER PRIMARY KEY, slot INTEGER NOT NULL, id BLOB NOT NULL,
    revision INTEGER NOT NULL, seq INTEGER NOT NULL, idx INTEGER NOT NULL, time INTEGER NOT NULL,
    until INTEGER NOT NULL, header BLOB, body BLOB, stub BLOB
);
CREATE INDEX history_key ON history (slot, id, seq, idx);
CREATE TABLE name (
    slot INTEGER NOT NULL, name TEXT NOT NULL, rid INTEGER NOT NULL,
    PRIMARY KEY (slot, name)
) WITHOUT ROWID;
CREATE TABLE tombstone (
    kind INTEGER NOT NULL, id BLOB NOT NULL, slot INTEGER NOT NULL,
    revision INTEGER NOT NULL, seq INTEGER NOT NULL, idx INTEGER NOT NULL, time INTEGER NOT NULL, name TEXT,
    PRIMARY KEY (kind, id, slot)
) WITHOUT ROWID;
CREATE INDEX tombstone_seq ON tombstone (seq);
";

/// The row id of the n-th record that a slot ever had: room for 2^40 of them in each of 2^23 slots.
pub(crate) fn rid(slot: i64, n: u64) -> i64 {
    (slot << 40) | n as i64
}

/// The slot of a row id.
pub(crate) fn slot_of(rid: i64) -> i64 {
    rid >> 40
}

/// Made after a bulk load, from sorted rows.
pub(crate) const RECORD_INDEXES: &str = "
CREATE UNIQUE INDEX record_id ON record (kind, id);
CREATE UNIQUE INDEX record_key ON record (slot, id);
";

/// The one connection that writes.
pub(crate) fn open_writer(path: &Path, options: &Options) -> rusqlite::Result<Connection> {
    let conn = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
    conn.set_prepared_statement_cache_capacity(64);
    // The lock file keeps other processes out, and the gate keeps our checkpoints out: a wait here is short.
    conn.busy_timeout(std::time::Duration::from_secs(30))?;
    conn.pragma_update(None, "journal_mode", "WAL")?;
    conn.pragma_update(None, "synchronous", crate::failpoint::synchronous())?;
    conn.pragma_update(None, "wal_autocheckpoint", 0)?;
    conn.pragma_update(None, "secure_delete", true)?;
    conn.pragma_update(None, "foreign_keys", false)?;
    conn.pragma_update(None, "temp_store", "MEMORY")?;
    conn.pragma_update(None, "cache_size", -i64::from(options.writer_cache_kib))?;
    if let Some(pages) = options.max_pages {
        conn.pragma_update(None, "max_page_count", pages)?;
    }
    Ok(conn)
}

/// A connection that only reads.
pub(crate) fn open_reader(path: &Path, options: &Options) -> rusqlite::Result<Connection> {
    let conn = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
    conn.set_prepared_statement_cache_capacity(64);
    conn.busy_timeout(std::time::Duration::from_secs(30))?;
    conn.pragma_update(None, "query_only", true)?;
    conn.pragma_update(None, "temp_store", "MEMORY")?;
    conn.pragma_update(None, "cache_size", -i64::from(options.reader_cache_kib))?;
    Ok(conn)
}
