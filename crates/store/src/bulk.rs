//! Builds a new database file from sorted records, for a restore of a system: nothing is served from it yet.

use std::path::{Path, PathBuf};

use keyark_model::{Digest, DomainId, Id, Kind, Time};
use rusqlite::{Connection, params};

use crate::bulk_facts::{FactsThread, SlotFacts};
use crate::bulk_names::Names;
use crate::entries::AuditEntry;
use crate::entry_row::insert_history;
use crate::error::{Fault, OpenError};
use crate::failpoint::failpoint;
use crate::lock::LockFile;
use crate::migrate::stamp;
use crate::options::{DomainHead, Head, Identity};
use crate::read::{Count, RecordView, Tombstone};
use crate::schema::{RECORD_INDEXES, rid};
use crate::state::{DomainState, SlotState, store_domain};
use crate::store::{new_database, store_base, store_identity};
use crate::trim::store_base_domain;

/// A database in the making. Until `finish` no store opens it.
pub struct BulkLoader {
    conn: Connection,
    path: PathBuf,
    base: Head,
    heads: Vec<(DomainId, DomainHead)>,
    domains: Vec<(DomainId, DomainState)>,
    last: Option<(DomainId, Kind, Id)>,
    next_slot: i64,
    facts: FactsThread,
    records: u64,
    _lock: LockFile,
}

/// Behind every record: no more of them may come.
const END: (DomainId, Kind, Id) = (DomainId(uuid::Uuid::max()), Kind::Setting, Id(uuid::Uuid::max()));

/// What was loaded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Loaded {
    pub records: u64,
    pub domains: Vec<LoadedDomain>,
}

/// One domain of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoadedDomain {
    pub domain: DomainId,
    /// To compare with the digest in the archive.
    pub digest: Digest,
    pub counts: Vec<(Kind, Count)>,
}

/// Why records cannot be loaded.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    #[error("{kind} {id} is not in the order of (domain, kind, id): sort the records first")]
    Order { kind: Kind, id: Id },
    #[error("an id stands twice among the records: take another archive")]
    Duplicate,
    #[error("the name {name:?} stands twice among the {kind} of a domain: take another archive")]
    NameTaken { kind: Kind, name: String },
    #[error("the header of {kind} {id} is not one JSON object with a valid name, aliases and versions")]
    BadHeader { kind: Kind, id: Id },
    #[error("entry {seq} is no history: the log starts at {base}")]
    NoHistory { seq: u64, base: u64 },
    #[error(transparent)]
    Open(#[from] OpenError),
    #[error(transparent)]
    Fault(#[from] Fault),
}

impl From<rusqlite::Error> for LoadError {
    fn from(e: rusqlite::Error) -> Self {
        match e.sqlite_error_code() {
            Some(rusqlite::ErrorCode::ConstraintViolation) => LoadError::Duplicate,
            _ => LoadError::Fault(e.into()),
        }
    }
}

impl From<std::io::Error> for LoadError {
    fn from(e: std::io::Error) -> Self {
        LoadError::Fault(Fault::Full(e.to_string()))
    }
}

impl BulkLoader {
    /// Makes the file, which must not exist. `base` is where the new log starts: seq 0 and a hash of zeros, unless the
    /// incarnation goes on counting; `heads` are the domains' own, where they do.
    pub fn create(
        path: &Path,
        identity: &Identity,
        base: Head,
        heads: Vec<(DomainId, DomainHead)>,
        now: Time,
    ) -> Result<BulkLoader, LoadError> {
        let lock = LockFile::take(path)?;
        let folder = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let conn = new_database(path)?;
        // No store opens a file without our mark.
        conn.pragma_update(None, "application_id", 0)?;
        conn.pragma_update(None, "cache_size", -(16 << 10))?;
        conn.execute_batch("BEGIN")?;
        store_identity(&conn, identity, now)?;
        store_base(&conn, &base)?;
        Ok(BulkLoader {
            conn,
            path: path.to_owned(),
            base,
            heads,
            domains: Vec::new(),
            last: None,
            next_slot: 1,
            facts: FactsThread::start(folder.to_owned())?,
            records: 0,
            _lock: lock,
        })
    }

    /// Where the new log starts.
    pub fn base(&self) -> Head {
        self.base
    }

    /// Adds a record; they come in the order of (domain, kind, id). Its `seq` is not used: it will be the base's. What
    /// is wrong with headers and names is found by `finish`.
    pub fn add(&mut self, record: &RecordView<'_>) -> Result<(), LoadError> {
        let (kind, id) = (record.kind, record.id);
        let place = (record.domain, kind, id);
        if self.last.is_some_and(|last| last >= place) {
            return Err(LoadError::Order { kind, id });
        }
        if self.last.is_none_or(|last| (last.0, last.1) != (record.domain, kind)) {
            self.open_slot(record.domain, kind)?;
        }
        self.last = Some(place);
        let slot = self.slot();
        let (no, n) = (slot.slot, slot.next);
        slot.next += 1;
        slot.records += 1;
        self.conn
            .prepare_cached(
                "INSERT INTO record (rid, slot, kind, id, revision, seq, idx, time, header, body)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, 0, ?7, ?8, ?9)",
            )?
            .execute(params![
                rid(no, n),
                no,
                kind as u8,
                id.as_bytes(),
                record.revision,
                self.base.seq,
                record.time.0,
                record.header,
                record.body,
            ])?;
        let n = u32::try_from(n).map_err(|_| Fault::Database("over 2^32 records of one kind in one domain".into()))?;
        self.facts.add(self.domains.len() - 1, no, n, record);
        self.records += 1;
        Ok(())
    }

    /// Adds a tombstone; in any order, after the records. Of two of one record in one domain the later stands.
    pub fn add_tombstone(&mut self, gone: &Tombstone) -> Result<(), LoadError> {
        self.last = Some(END);
        let at = self.domain_at(gone.domain);
        let no = match self.domains[at].1.slot(gone.kind) {
            Some(slot) => slot.slot,
            None => self.new_slot(at, gone.kind)?,
        };
        self.conn
            .prepare_cached(
                "INSERT INTO tombstone (kind, id, slot, revision, seq, idx, time, name)
                 VALUES (?1, ?2, ?3, ?4, ?5, 0, ?6, ?7)
                 ON CONFLICT (kind, id, slot) DO UPDATE SET revision = excluded.revision, time = excluded.time,
                 name = excluded.name WHERE excluded.time >= time",
            )?
            .execute(params![
                gone.kind as u8,
                gone.id.as_bytes(),
                no,
                gone.revision,
                self.base.seq,
                gone.time.0,
                gone.name
            ])?;
        Ok(())
    }

    /// Adds the audit fields of an entry that is history: at or before the base, in ascending order, after the records.
    pub fn add_history(&mut self, entry: &AuditEntry) -> Result<(), LoadError> {
        if entry.seq > self.base.seq {
            return Err(LoadError::NoHistory { seq: entry.seq, base: self.base.seq });
        }
        self.last = Some(END);
        let at = self.domain_at(entry.domain);
        insert_history(&self.conn, entry, self.domains[at].1.no)?;
        Ok(())
    }

    /// Makes the indexes, writes the base and brings the file to disk. Then it may be opened or switched to.
    pub fn finish(mut self) -> Result<Loaded, LoadError> {
        for at in 0..self.heads.len() {
            let (id, head) = self.heads[at];
            let at = self.domain_at(id);
            self.domains[at].1.head = head;
        }
        let facts = self.facts.finish();
        self.conn.execute_batch(RECORD_INDEXES)?;
        let facts = facts.join().expect("gathering cannot panic: parcels are cut where they were joined")?;
        load_names(&self.conn, facts.names, &facts.slots)?;
        let mut loaded = Loaded { records: self.records, domains: Vec::new() };
        for (at, (id, mut state)) in self.domains.into_iter().enumerate() {
            state.lanes = facts.sums.get(at).cloned().unwrap_or_default();
            for slot in &mut state.slots {
                slot.weight = facts.slots.iter().find(|f| f.slot == slot.slot).map_or(0, |f| f.weight);
            }
            store_domain(&self.conn, id, &state)?;
            store_base_domain(&self.conn, state.no, &state.head, &state.lanes)?;
            let count = |s: &SlotState| (s.kind, Count { records: s.records, weight: s.weight });
            let counts = state.slots.iter().filter(|s| s.records > 0).map(count).collect();
            loaded.domains.push(LoadedDomain { domain: id, digest: state.lanes.digest(), counts });
        }
        failpoint("load-commit");
        self.conn.execute_batch("COMMIT")?;
        failpoint("load-stamp");
        stamp(&self.conn)?;
        self.conn.close().map_err(|(_, e)| e)?;
        let synced = std::fs::File::open(&self.path).and_then(|f| f.sync_all());
        synced.map_err(|source| OpenError::Io { path: self.path.clone(), source })?;
        Ok(loaded)
    }

    /// The slot of the last domain that records go into.
    fn slot(&mut self) -> &mut SlotState {
        let slots = self.domains.last_mut().map(|(_, state)| &mut state.slots);
        slots.and_then(|s| s.last_mut()).expect("a slot is opened before its first record")
    }

    fn domain_at(&mut self, id: DomainId) -> usize {
        let known = self.domains.iter().position(|(known, _)| *known == id);
        known.unwrap_or_else(|| self.open_domain(id))
    }

    fn open_domain(&mut self, id: DomainId) -> usize {
        let no = self.domains.len() as i64 + 1;
        self.domains.push((id, DomainState::new(no)));
        self.domains.len() - 1
    }

    fn open_slot(&mut self, domain: DomainId, kind: Kind) -> Result<(), LoadError> {
        if self.domains.last().is_none_or(|(id, _)| *id != domain) {
            self.open_domain(domain);
        }
        self.new_slot(self.domains.len() - 1, kind)?;
        Ok(())
    }

    fn new_slot(&mut self, at: usize, kind: Kind) -> Result<i64, LoadError> {
        let slot = self.next_slot;
        self.next_slot += 1;
        let state = &mut self.domains[at].1;
        state.slots.push(SlotState { slot, kind, records: 0, weight: 0, next: 1 });
        self.conn
            .prepare_cached("INSERT INTO slot (no, domain, kind) VALUES (?1, ?2, ?3)")?
            .execute(params![slot, state.no, kind as u8])?;
        Ok(slot)
    }
}

/// Writes the names of all slots, sorted: they go to the end of their table.
fn load_names(conn: &Connection, names: Names, slots: &[SlotFacts]) -> Result<(), LoadError> {
    let mut insert = conn.prepare("INSERT INTO name (slot, name, rid) VALUES (?1, ?2, ?3)")?;
    let (mut before, mut last) = (None, String::new());
    names.each(|slot, name, n| {
        if before == Some(slot) && last == name {
            let kind = slots.iter().find(|s| s.slot == slot).map_or(Kind::Key, |s| s.kind);
            return Err(LoadError::NameTaken { kind, name: name.to_owned() });
        }
        insert.execute(params![slot, name, rid(slot, u64::from(n))])?;
        before = Some(slot);
        last.clear();
        last.push_str(name);
        Ok(())
    })
}
