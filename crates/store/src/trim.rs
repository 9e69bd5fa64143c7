//! Moves the base of the log forward, and forgets audit fields that are past their retention.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use keyark_crypto::lthash::{LtElement, LtHash};
use keyark_model::{Digest, Kind, Shipping};
use rusqlite::{Connection, OptionalExtension, params};

use crate::entry_row::{ChangeRow, EntryRow, SELECT_ENTRY, entry_of_row};
use crate::error::Fault;
use crate::options::{DomainHead, Head};
use crate::state::load_base;
use crate::writer::Writer;

/// Entries that one transaction trims: commits come between.
const CHUNK: u64 = 2_000;

/// How far a trim has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Trimmed {
    /// The base now.
    pub base: Head,
    /// Whether it is where it was asked to be, or as far as running snapshots let it.
    pub done: bool,
}

/// One step of a trim.
pub(crate) fn trim_some(writer: &mut Writer, up_to: u64) -> Result<Trimmed, Fault> {
    let base = writer.state.base;
    let held = writer.shared.oldest_held().unwrap_or(u64::MAX);
    let goal = up_to.min(writer.state.head.seq).min(held);
    if goal <= base.seq {
        return Ok(Trimmed { base, done: true });
    }
    let step = goal.min(base.seq + CHUNK);
    let new = writer.transaction(|conn, _| move_base(conn, base.seq, step))?;
    writer.state.base = new;
    writer.shared.signal(|wal| {
        wal.commits += 1;
        wal.long = true;
    });
    Ok(Trimmed { base: new, done: step == goal })
}

fn move_base(conn: &Connection, from: u64, to: u64) -> Result<Head, Fault> {
    let mut bases: HashMap<i64, (DomainHead, LtHash)> = HashMap::new();
    let mut entries = conn.prepare_cached(&format!("{SELECT_ENTRY} WHERE seq > ?1 AND seq <= ?2 ORDER BY seq"))?;
    let mut rows = entries.query([from, to])?;
    while let Some(row) = rows.next()? {
        let entry = entry_of_row(row)?;
        let (head, lanes) = match bases.entry(entry.domain) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(new) => new.insert(load_base_domain(conn, entry.domain)?.unwrap_or_default()),
        };
        *head = DomainHead { domain_seq: entry.domain_seq, hash: entry.hashes.domain, seq: entry.seq };
        count_entry(conn, &entry, lanes)?;
    }
    for (domain, (head, lanes)) in &bases {
        store_base_domain(conn, *domain, head, lanes)?;
    }
    let mut base = load_base(conn)?;
    (base.hash, base.time) = conn.query_row("SELECT hash, time FROM entry WHERE seq = ?1", [to], |r| {
        Ok((Digest(r.get(0)?), keyark_model::Time(r.get(1)?)))
    })?;
    base.seq = to;
    conn.execute("UPDATE base SET seq = ?1, hash = ?2, time = ?3", params![to, base.hash.0, base.time.0])?;
    cut_history(conn, to)?;
    Ok(base)
}

/// What an entry changed in its domain's digest: what came, less what it superseded.
pub(crate) fn count_entry(conn: &Connection, entry: &EntryRow, lanes: &mut LtHash) -> Result<(), Fault> {
    for (idx, change) in entry.changes.iter().enumerate() {
        if change.kind.shipping() == Shipping::Never {
            continue;
        }
        if !change.delete {
            lanes.add(&element_written(conn, entry, idx, change)?);
        }
        if let Some(old) = element_superseded(conn, entry.domain, entry.seq, change)? {
            lanes.remove(&old);
        }
    }
    Ok(())
}

fn element_written(conn: &Connection, entry: &EntryRow, idx: usize, change: &ChangeRow) -> Result<LtElement, Fault> {
    let current = conn
        .prepare_cached(
            "SELECT header, body, revision FROM record WHERE kind = ?1 AND id = ?2 AND seq = ?3 AND idx = ?4",
        )?
        .query_row(params![change.kind as u8, change.id.as_bytes(), entry.seq, idx], |r| element_of(r, change))
        .optional()?;
    if let Some(found) = current {
        return found;
    }
    conn.prepare_cached(
        "SELECT header, body, revision, stub FROM history WHERE id = ?1 AND seq = ?2 AND idx = ?3
         AND slot = (SELECT no FROM slot WHERE domain = ?4 AND kind = ?5)",
    )?
    .query_row(params![change.id.as_bytes(), entry.seq, idx, entry.domain, change.kind as u8], |r| {
        element_of(r, change)
    })
    .optional()?
    .unwrap_or_else(|| Err(Fault::Damaged(format!("what entry {} wrote is neither current nor kept", entry.seq))))
}

fn element_superseded(
    conn: &Connection,
    domain: i64,
    until: u64,
    change: &ChangeRow,
) -> Result<Option<LtElement>, Fault> {
    conn.prepare_cached(
        "SELECT header, body, revision, stub FROM history WHERE id = ?1 AND until = ?2
         AND slot = (SELECT no FROM slot WHERE domain = ?3 AND kind = ?4)",
    )?
    .query_row(params![change.id.as_bytes(), until, domain, change.kind as u8], |r| element_of(r, change))
    .optional()?
    .transpose()
}

fn element_of(row: &rusqlite::Row<'_>, change: &ChangeRow) -> rusqlite::Result<Result<LtElement, Fault>> {
    element_from(row, change.kind, change.id)
}

/// The element of a row (header, body, revision, stub): whole or, when purged, from its stub.
pub(crate) fn element_from(
    row: &rusqlite::Row<'_>,
    kind: Kind,
    id: keyark_model::Id,
) -> rusqlite::Result<Result<LtElement, Fault>> {
    let revision = row.get(2)?;
    if let (Some(header), Some(body)) = (row.get_ref(0)?.as_blob_or_null()?, row.get_ref(1)?.as_blob_or_null()?) {
        return Ok(Ok(LtElement::new(kind, id, revision, header, body)));
    }
    let stub: [u8; 64] = row.get(3)?;
    let half = |part: &[u8]| Digest(part.try_into().expect("half of 64 bytes is 32"));
    Ok(Ok(LtElement { kind, id, revision, header: half(&stub[..32]), body: half(&stub[32..]) }))
}

/// History grows in the order of `until`, so what is superseded up to the base is a prefix.
fn cut_history(conn: &Connection, base: u64) -> Result<(), Fault> {
    let keep: Option<i64> = conn
        .prepare_cached("SELECT hid FROM history WHERE until > ?1 ORDER BY hid LIMIT 1")?
        .query_row([base], |r| r.get(0))
        .optional()?;
    conn.prepare_cached("DELETE FROM history WHERE hid < ?1")?.execute([keep.unwrap_or(i64::MAX)])?;
    Ok(())
}

/// Where a domain's log starts and the digest of its records there.
pub(crate) fn load_base_domain(conn: &Connection, domain: i64) -> Result<Option<(DomainHead, LtHash)>, Fault> {
    let mut statement =
        conn.prepare_cached("SELECT domain_seq, hash, seq, lanes FROM base_domain WHERE domain = ?1")?;
    let mut rows = statement.query([domain])?;
    let Some(row) = rows.next()? else { return Ok(None) };
    let lanes = LtHash::from_bytes(row.get_ref(3)?.as_blob().map_err(rusqlite::Error::from)?)
        .ok_or_else(|| Fault::Damaged("digest lanes of the base".into()))?;
    Ok(Some((DomainHead { domain_seq: row.get(0)?, hash: Digest(row.get(1)?), seq: row.get(2)? }, lanes)))
}

/// Writes a domain's base.
pub(crate) fn store_base_domain(
    conn: &Connection,
    domain: i64,
    head: &DomainHead,
    lanes: &LtHash,
) -> Result<(), Fault> {
    conn.prepare_cached(
        "INSERT OR REPLACE INTO base_domain (domain, domain_seq, hash, seq, lanes) VALUES (?1, ?2, ?3, ?4, ?5)",
    )?
    .execute(params![domain, head.domain_seq, head.hash.0, head.seq, &lanes.to_bytes()[..]])?;
    Ok(())
}

/// Deletes the rows of trimmed entries up to `up_to`, some at a time; gives how many are left to delete.
pub(crate) fn forget_some(writer: &mut Writer, up_to: u64) -> Result<u64, Fault> {
    let goal = up_to.min(writer.state.base.seq);
    writer.transaction(|conn, _| {
        let first: Option<u64> = conn.query_row("SELECT min(seq) FROM entry", [], |r| r.get(0))?;
        let Some(first) = first.filter(|first| *first <= goal) else { return Ok(0) };
        let step = goal.min(first + CHUNK - 1);
        conn.execute("DELETE FROM entry WHERE seq <= ?1", [step])?;
        Ok(goal - step)
    })
}
