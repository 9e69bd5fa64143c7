//! The records of one position, in order, however long reading them takes.

use std::collections::VecDeque;

use keyark_model::{Digest, DomainId, Id, Kind, Record, Shipping, Time};
use rusqlite::{OptionalExtension, params};

use crate::error::Fault;
use crate::options::{DomainHead, Head};
use crate::pool::Reader;
use crate::read::{Count, RECORD, Tombstone, each_tombstone, view_of};
use crate::state::{DomainState, load_base, load_domains, load_head};
use crate::store::Store;

/// Records that are read at a time.
const CHUNK: usize = 512;

/// The store as it was after one entry. While it lives, the log is not trimmed past it.
///
/// It starts as one read transaction. When the WAL grows past `Options::snapshot_wal_bytes` it lets that go and reads
/// on in key ranges, taking what has changed since from the log's history: the records are the same either way.
pub struct Snapshot {
    store: Store,
    reader: Reader,
    in_transaction: bool,
    head: Head,
    domains: Vec<(DomainId, DomainState)>,
}

/// Why a snapshot cannot be read to its end.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SnapshotError {
    /// The position is before the log's base or after its end.
    #[error("position {asked} is not in the log, which holds {} to {}: restore it from an archive", .base.seq, .head.seq)]
    OutOfRange { asked: u64, base: Head, head: Head },
    /// The record was destroyed while the snapshot was read.
    #[error("{kind} {id} was destroyed while it was read: take a new snapshot")]
    Purged { kind: Kind, id: Id },
    #[error(transparent)]
    Fault(#[from] Fault),
}

impl From<rusqlite::Error> for SnapshotError {
    fn from(e: rusqlite::Error) -> Self {
        SnapshotError::Fault(e.into())
    }
}

impl Store {
    /// The store as it is now, with the heads, digests and counts of this very position.
    pub fn snapshot(&self) -> Result<Snapshot, SnapshotError> {
        self.snapshot_inner(None)
    }

    /// The records as they were after entry `seq`, anywhere between the base and the head. Content that was purged
    /// since is missing: meeting it is an error.
    pub fn snapshot_at(&self, seq: u64) -> Result<Snapshot, SnapshotError> {
        self.snapshot_inner(Some(seq))
    }

    fn snapshot_inner(&self, at: Option<u64>) -> Result<Snapshot, SnapshotError> {
        let reader = self.reader()?;
        // No trim may pass between reading the head and holding its position.
        self.shared().hold(0);
        let held = hold_position(self, &reader, at);
        self.shared().release(0);
        let (head, domains) = held?;
        Ok(Snapshot { store: self.clone(), reader, in_transaction: at.is_none(), head, domains })
    }
}

fn hold_position(
    store: &Store,
    reader: &Reader,
    at: Option<u64>,
) -> Result<(Head, Vec<(DomainId, DomainState)>), SnapshotError> {
    reader.prepare_cached("BEGIN")?.execute([])?;
    let read = || {
        let (base, head, domains) = (load_base(reader)?, load_head(reader)?, load_domains(reader)?);
        let Some(asked) = at else { return Ok((head, domains)) };
        if asked < base.seq || asked > head.seq {
            return Err(SnapshotError::OutOfRange { asked, base, head });
        }
        if asked == base.seq {
            return Ok((base, domains));
        }
        let found = reader
            .prepare_cached("SELECT hash, time FROM entry WHERE seq = ?1")?
            .query_row([asked], |r| Ok(Head { seq: asked, hash: Digest(r.get(0)?), time: Time(r.get(1)?) }))
            .optional()?;
        let head = found.ok_or_else(|| Fault::Damaged(format!("entry {asked} is missing")))?;
        Ok((head, domains))
    };
    let read = read();
    if at.is_some() || read.is_err() {
        reader.prepare_cached("COMMIT")?.execute([])?;
    }
    let (head, domains) = read?;
    store.shared().hold(head.seq);
    Ok((head, domains))
}

impl Drop for Snapshot {
    fn drop(&mut self) {
        self.store.shared().release(self.head.seq);
        // A connection that cannot end its transaction is closed instead of going back to the pool.
        let _ = self.end_transaction();
    }
}

impl Snapshot {
    /// The position, its hash and time.
    pub fn head(&self) -> Head {
        self.head
    }

    /// Every domain. For `snapshot_at`, also those that came later.
    pub fn domains(&self) -> impl Iterator<Item = DomainId> + '_ {
        self.domains.iter().map(|(id, _)| *id)
    }

    /// The end of a domain's own log. Only for `Store::snapshot`: `snapshot_at` has the present one.
    pub fn domain_head(&self, domain: DomainId) -> DomainHead {
        self.state(domain).map_or(DomainHead::default(), |d| d.head)
    }

    /// The record digest of a domain. Only for `Store::snapshot`: `snapshot_at` has the present one.
    pub fn digest(&self, domain: DomainId) -> Digest {
        self.state(domain).map(|d| d.lanes.clone()).unwrap_or_default().digest()
    }

    /// How many records. Only for `Store::snapshot`: `snapshot_at` has the present number.
    pub fn count(&self, domain: DomainId, kind: Kind) -> Count {
        let slot = self.state(domain).and_then(|d| d.slot(kind));
        slot.map_or(Count::default(), |s| Count { records: s.records, weight: s.weight })
    }

    fn state(&self, domain: DomainId) -> Option<&DomainState> {
        self.domains.iter().find(|(id, _)| *id == domain).map(|(_, state)| state)
    }

    /// The records of every kind that is shipped, of one domain or all, in the order of (domain, kind, id).
    pub fn records(&mut self, domain: Option<DomainId>) -> Records<'_> {
        let mut ranges = Vec::new();
        for (id, state) in &self.domains {
            let mut slots: Vec<_> = state.slots.iter().filter(|s| s.kind.shipping() != Shipping::Never).collect();
            slots.sort_unstable_by_key(|s| s.kind);
            if domain.is_none_or(|only| only == *id) {
                ranges.extend(slots.iter().map(|s| (*id, s.kind, s.slot)));
            }
        }
        ranges.reverse();
        Records { snapshot: self, ranges, after: None, ready: VecDeque::new() }
    }

    /// What was deleted after `after_seq`, up to this position, in the order of (domain, kind, id). Ask before reading
    /// records: a later deletion or a record that came back in between may be missed after that.
    pub fn each_tombstone<E: From<Fault>>(
        &self,
        domain: Option<DomainId>,
        after_seq: u64,
        f: impl FnMut(Tombstone) -> Result<(), E>,
    ) -> Result<(), E> {
        each_tombstone(&self.reader, domain, (after_seq, self.head.seq), f)
    }

    fn end_transaction(&mut self) -> Result<(), Fault> {
        if std::mem::take(&mut self.in_transaction) {
            self.reader.prepare_cached("COMMIT")?.execute([])?;
        }
        Ok(())
    }

    /// Some records of a slot behind `after`, and where to go on; `None` at its end.
    fn chunk(&mut self, range: Range, after: Option<Id>) -> Result<(Vec<Record>, Option<Id>), SnapshotError> {
        let shared = self.store.shared();
        if self.in_transaction && shared.wal_bytes() > shared.options.snapshot_wal_bytes {
            self.end_transaction()?;
        }
        if self.in_transaction {
            let found = self.current(range, after)?;
            let next = last_if_full(&found);
            return Ok((found, next));
        }
        self.reader.prepare_cached("BEGIN")?.execute([])?;
        let both = self.current(range, after).and_then(|current| Ok((current, self.past(range, after)?)));
        self.reader.prepare_cached("COMMIT")?.execute([])?;
        let (current, past) = both?;
        // Only up to where both lists are complete; what is behind comes with the next chunk.
        let next = match (last_if_full(&current), last_if_full(&past)) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        };
        let mut merged: Vec<Record> = current.into_iter().chain(past).collect();
        merged.retain(|r| next.is_none_or(|next| r.id <= next));
        merged.sort_unstable_by_key(|r| r.id);
        Ok((merged, next))
    }

    /// Records that stand as they stood then.
    fn current(&self, (domain, kind, slot): Range, after: Option<Id>) -> Result<Vec<Record>, SnapshotError> {
        let condition = if after.is_some() { "AND id > ?3" } else { "AND ?3 IS NULL" };
        let sql = format!("{RECORD} WHERE slot = ?1 AND seq <= ?2 {condition} ORDER BY id LIMIT ?4");
        let mut statement = self.reader.prepare_cached(&sql)?;
        let after = after.map(|id| *id.as_bytes());
        let mut rows = statement.query(params![slot, self.head.seq, after, CHUNK])?;
        let mut out = Vec::new();
        while let Some(row) = rows.next()? {
            out.push(view_of(row, domain, kind)?.to_record());
        }
        Ok(out)
    }

    /// Records that were changed or deleted since, as they stood then.
    fn past(&self, (domain, kind, slot): Range, after: Option<Id>) -> Result<Vec<Record>, SnapshotError> {
        let condition = if after.is_some() { "AND id > ?3" } else { "AND ?3 IS NULL" };
        let sql = format!(
            "SELECT id, revision, seq, time, header, body FROM history
             WHERE slot = ?1 AND seq <= ?2 AND until > ?2 {condition} ORDER BY id LIMIT ?4"
        );
        let mut statement = self.reader.prepare_cached(&sql)?;
        let after = after.map(|id| *id.as_bytes());
        let mut rows = statement.query(params![slot, self.head.seq, after, CHUNK])?;
        let mut out = Vec::new();
        while let Some(row) = rows.next()? {
            if row.get_ref(4)? == rusqlite::types::ValueRef::Null {
                return Err(SnapshotError::Purged { kind, id: Id::from_bytes(row.get(0)?) });
            }
            out.push(view_of(row, domain, kind)?.to_record());
        }
        Ok(out)
    }
}

fn last_if_full(found: &[Record]) -> Option<Id> {
    (found.len() >= CHUNK).then(|| found.last().map(|r| r.id)).flatten()
}

type Range = (DomainId, Kind, i64);

/// The records of a snapshot. After an error it ends.
pub struct Records<'s> {
    snapshot: &'s mut Snapshot,
    /// What is still to be read; the next one last.
    ranges: Vec<Range>,
    after: Option<Id>,
    ready: VecDeque<Record>,
}

impl Iterator for Records<'_> {
    type Item = Result<Record, SnapshotError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(record) = self.ready.pop_front() {
                return Some(Ok(record));
            }
            let range = *self.ranges.last()?;
            match self.snapshot.chunk(range, self.after) {
                Ok((records, next)) => {
                    self.ready = records.into();
                    self.after = next;
                    if next.is_none() {
                        self.ranges.pop();
                    }
                }
                Err(e) => {
                    self.ranges.clear();
                    return Some(Err(e));
                }
            }
        }
    }
}
