//! Reading the log: whole entries for shipping, audit fields for people.

use std::collections::HashMap;

use keyark_model::{ChangeContent, Digest, DomainId, Entry, Id, Incarnation, Kind, Outcome, Time};
use rusqlite::{Connection, OptionalExtension, Statement, params};

use crate::entry_row::{Around, ChangeRow, EntryRow, SELECT_ENTRY, entry_of_row, read_content};
use crate::error::Fault;
use crate::options::Head;
use crate::pool::Reader;
use crate::state::{load_base, load_head};
use crate::store::Store;
use crate::trim::load_base_domain;

/// Why entries cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EntriesError {
    /// Asked for entries that have been trimmed.
    #[error("the log starts at {} now: what was before is in a full archive", .0.seq)]
    Trimmed(Head),
    #[error(transparent)]
    Fault(#[from] Fault),
}

/// An entry as the audit log shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuditEntry {
    pub seq: u64,
    pub time: Time,
    pub domain: DomainId,
    pub domain_seq: u64,
    pub actor: String,
    pub request_id: String,
    pub action: String,
    pub target: String,
    pub outcome: Outcome,
    /// Kind, id, revision, and whether it was deleted.
    pub changes: Vec<(Kind, Id, u64, bool)>,
    pub hash: Digest,
}

impl Store {
    /// Entries after `after_seq`, at most `limit`, of the whole system or of one domain, with whatever content is
    /// still there. Before anything leaves the machine, call `Entry::withhold_unshipped`.
    pub fn entries(&self, after_seq: u64, limit: u64, domain: Option<DomainId>) -> Result<Vec<Entry>, EntriesError> {
        let conn = self.reader()?;
        let mut trimmed = None;
        let entries = conn.consistent(|| {
            let base = load_base(&conn)?;
            if after_seq < base.seq {
                trimmed = Some(base);
                return Ok(Vec::new());
            }
            read_entries(&conn, &base, after_seq, limit, domain)
        })?;
        trimmed.map_or(Ok(entries), |base| Err(EntriesError::Trimmed(base)))
    }

    /// Audit fields of entries with `seq` beyond `after` (below it when `newest_first`), trimmed entries included.
    pub fn audit(
        &self,
        after: Option<u64>,
        limit: u64,
        domain: Option<DomainId>,
        newest_first: bool,
    ) -> Result<Vec<AuditEntry>, Fault> {
        let conn = self.reader()?;
        let no = match domain.map(|d| conn.pool().domain(&conn, d)).transpose()? {
            Some(None) => return Ok(Vec::new()),
            no => no.flatten(),
        };
        let (beyond, order) = if newest_first { ("<", "DESC") } else { (">", "ASC") };
        let after = after.unwrap_or(if newest_first { i64::MAX as u64 } else { 0 });
        let condition = if no.is_some() { "domain = ?3 AND" } else { "?3 IS NULL AND" };
        let sql = format!("{SELECT_ENTRY} WHERE {condition} seq {beyond} ?1 ORDER BY seq {order} LIMIT ?2");
        let rows = rows_of(&mut *conn.prepare_cached(&sql)?, params![after, limit.min(i64::MAX as u64), no])?;
        rows.into_iter().map(|row| Ok(audit_of(domain_of(&conn, row.domain)?, row))).collect()
    }
}

/// An entry's place in the system's log, with hash and time as its own scope has them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Placed {
    pub seq: u64,
    /// The system's number, or the domain's own.
    pub number: u64,
    pub hash: Digest,
    pub time: Time,
}

impl Store {
    /// Where an entry stands that is known by its number: the system's, or a domain's own. None if it was trimmed or is still
    /// to come; the entry at which the log starts is known.
    pub fn placed(&self, domain: Option<DomainId>, number: u64) -> Result<Option<Placed>, Fault> {
        let conn = self.reader()?;
        conn.consistent(|| match domain {
            None => system_placed(&conn, number),
            Some(domain) => domain_placed(&conn, domain, number),
        })
    }

    /// The position before the first entry that is not older than `time`: what came since is behind it.
    pub fn audit_start(&self, time: Time) -> Result<u64, Fault> {
        let conn = self.reader()?;
        let (first, last): (Option<u64>, Option<u64>) =
            conn.query_row("SELECT min(seq), max(seq) FROM entry", [], |r| Ok((r.get(0)?, r.get(1)?)))?;
        let (Some(mut low), Some(mut high)) = (first, last.map(|last| last + 1)) else { return Ok(0) };
        // Times ascend with positions, of which some may be missing before the base.
        let mut at = conn.prepare_cached("SELECT seq, time FROM entry WHERE seq >= ?1 ORDER BY seq LIMIT 1")?;
        while low < high {
            let middle = low + (high - low) / 2;
            let found: Option<(u64, i64)> = at.query_row([middle], |r| Ok((r.get(0)?, r.get(1)?))).optional()?;
            match found {
                Some((seq, then)) if then < time.0 => low = seq + 1,
                _ => high = middle,
            }
        }
        Ok(low - 1)
    }

    /// How many entries of a domain `audit` shows in all.
    pub fn audit_count(&self, domain: DomainId) -> Result<u64, Fault> {
        let conn = self.reader()?;
        let Some(no) = conn.pool().domain(&conn, domain)? else { return Ok(0) };
        Ok(conn.prepare_cached("SELECT count(*) FROM entry WHERE domain = ?1")?.query_row([no], |r| r.get(0))?)
    }
}

fn system_placed(conn: &Reader, number: u64) -> Result<Option<Placed>, Fault> {
    let base = load_base(conn)?;
    if number <= base.seq {
        return Ok((number == base.seq).then_some(Placed { seq: base.seq, number, hash: base.hash, time: base.time }));
    }
    let row =
        |r: &rusqlite::Row<'_>| Ok(Placed { seq: number, number, hash: Digest(r.get(0)?), time: Time(r.get(1)?) });
    Ok(conn.prepare_cached("SELECT hash, time FROM entry WHERE seq = ?1")?.query_row([number], row).optional()?)
}

fn domain_placed(conn: &Reader, domain: DomainId, number: u64) -> Result<Option<Placed>, Fault> {
    let Some(no) = conn.pool().domain(conn, domain)? else { return Ok(None) };
    let base = load_base(conn)?;
    let start = load_base_domain(conn, no)?.map(|(head, _)| head);
    if let Some(head) = start.filter(|head| head.domain_seq == number) {
        return Ok(Some(Placed { seq: head.seq, number, hash: head.hash, time: base.time }));
    }
    // A domain's numbers ascend with those of the system: look for it by halves.
    let mut at = conn.prepare_cached(
        "SELECT seq, domain_seq, domain_hash, time FROM entry WHERE domain = ?1 AND seq > ?2 ORDER BY seq LIMIT 1",
    )?;
    let (mut low, mut high) = (base.seq, load_head(conn)?.seq);
    while low < high {
        let middle = low + (high - low) / 2;
        let row = |r: &rusqlite::Row<'_>| {
            let placed = Placed { seq: r.get(0)?, number: r.get(1)?, hash: Digest(r.get(2)?), time: Time(r.get(3)?) };
            Ok(placed)
        };
        match at.query_row(params![no, middle], row).optional()? {
            Some(found) if found.number == number => return Ok(Some(found)),
            Some(found) if found.number < number => low = found.seq,
            _ => high = middle,
        }
    }
    Ok(None)
}

fn audit_of(domain: DomainId, row: EntryRow) -> AuditEntry {
    AuditEntry {
        seq: row.seq,
        time: row.time,
        domain,
        domain_seq: row.domain_seq,
        actor: row.actor,
        request_id: row.request_id,
        action: row.action,
        target: row.target,
        outcome: row.outcome,
        changes: row.changes.iter().map(|c| (c.kind, c.id, c.revision, c.delete)).collect(),
        hash: row.hashes.global,
    }
}

fn read_entries(
    conn: &Reader,
    base: &Head,
    after_seq: u64,
    limit: u64,
    domain: Option<DomainId>,
) -> Result<Vec<Entry>, Fault> {
    let limit = limit.min(i64::MAX as u64);
    let rows = match domain {
        None => {
            let mut all = conn.prepare_cached(&format!("{SELECT_ENTRY} WHERE seq > ?1 ORDER BY seq LIMIT ?2"))?;
            rows_of(&mut all, params![after_seq, limit])?
        }
        Some(domain) => {
            let Some(no) = conn.pool().domain(conn, domain)? else { return Ok(Vec::new()) };
            let sql = format!("{SELECT_ENTRY} WHERE domain = ?3 AND seq > ?1 ORDER BY seq LIMIT ?2");
            rows_of(&mut *conn.prepare_cached(&sql)?, params![after_seq, limit, no])?
        }
    };
    let mut chain = Chain::new(conn, *base)?;
    rows.into_iter()
        .map(|row| {
            let around = chain.around(conn, &row)?;
            let seq = row.seq;
            row.into_entry(around, |idx, change| content_at(conn, around.domain, seq, idx, change))
        })
        .collect()
}

/// The content of a change where it stands now.
pub(crate) fn content_at(
    conn: &Reader,
    domain: DomainId,
    seq: u64,
    idx: usize,
    change: &ChangeRow,
) -> Result<ChangeContent, Fault> {
    let slot = conn.pool().slot(conn, domain, change.kind)?;
    read_content(conn, slot, seq, idx, change)
}

fn rows_of(statement: &mut Statement<'_>, values: &[&dyn rusqlite::ToSql]) -> Result<Vec<EntryRow>, Fault> {
    let mut rows = statement.query(values)?;
    let mut out = Vec::new();
    while let Some(row) = rows.next()? {
        out.push(entry_of_row(row)?);
    }
    Ok(out)
}

pub(crate) fn domain_of(conn: &Connection, no: i64) -> Result<DomainId, Fault> {
    conn.prepare_cached("SELECT id FROM domain WHERE no = ?1")?
        .query_row([no], |r| Ok(DomainId::from_bytes(r.get(0)?)))
        .optional()?
        .ok_or_else(|| Fault::Damaged(format!("domain number {no} is not known")))
}

/// Finds the previous hashes of entries that are read in order.
struct Chain {
    incarnation: Incarnation,
    base: Head,
    last: Option<(u64, Digest)>,
    domains: HashMap<i64, (DomainId, u64, Digest)>,
}

impl Chain {
    fn new(conn: &Connection, base: Head) -> Result<Self, Fault> {
        let incarnation =
            conn.query_row("SELECT incarnation FROM identity", [], |r| Ok(Incarnation::from_bytes(r.get(0)?)))?;
        Ok(Chain { incarnation, base, last: None, domains: HashMap::new() })
    }

    fn around(&mut self, conn: &Connection, row: &EntryRow) -> Result<Around, Fault> {
        let prev = match self.last {
            Some((seq, hash)) if seq + 1 == row.seq => hash,
            _ if self.base.seq + 1 == row.seq => self.base.hash,
            _ => hash_at(conn, "hash", row.seq - 1)?,
        };
        let (domain, domain_prev) = match self.domains.get(&row.domain) {
            Some(&(id, seq, hash)) if seq == row.domain_prev => (id, hash),
            _ => (domain_of(conn, row.domain)?, self.domain_prev(conn, row)?),
        };
        self.last = Some((row.seq, row.hashes.global));
        self.domains.insert(row.domain, (domain, row.seq, row.hashes.domain));
        Ok(Around { incarnation: self.incarnation, domain, prev, domain_prev })
    }

    fn domain_prev(&self, conn: &Connection, row: &EntryRow) -> Result<Digest, Fault> {
        if row.domain_prev > self.base.seq {
            return hash_at(conn, "domain_hash", row.domain_prev);
        }
        Ok(load_base_domain(conn, row.domain)?.map_or(Digest::ZERO, |(head, _)| head.hash))
    }
}

fn hash_at(conn: &Connection, column: &str, seq: u64) -> Result<Digest, Fault> {
    conn.prepare_cached(&format!("SELECT {column} FROM entry WHERE seq = ?1"))?
        .query_row([seq], |r| Ok(Digest(r.get(0)?)))
        .optional()?
        .ok_or_else(|| Fault::Damaged(format!("entry {seq} is missing")))
}
