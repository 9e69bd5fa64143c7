//! `store check`: replays the log from its base and compares everything that is kept with what it gives.

use std::collections::HashMap;

use keyark_crypto::chain::{ChangeKey, change_digest, hash_entry};
use keyark_crypto::lthash::{LtElement, LtHash};
use keyark_model::{ChangeContent, DomainId, Id, Kind, Shipping, Time};
use rusqlite::params;

use crate::entries::{content_at, domain_of};
use crate::entry_row::{Around, EntryRow, SELECT_ENTRY, entry_of_row};
use crate::error::Fault;
use crate::options::{DomainHead, Head};
use crate::pool::Reader;
use crate::read::view_of;
use crate::schema::slot_of;
use crate::stage::{facts_of, names_of};
use crate::state::{DomainState, load_base, load_domains};
use crate::store::Store;
use crate::trim::{count_entry, load_base_domain};

/// Findings after which the check stops telling more.
const ENOUGH: usize = 1_000;

/// What a check found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CheckReport {
    /// Entries that were replayed, and records that were compared.
    pub entries: u64,
    pub records: u64,
    /// Empty: the store is what its log says.
    pub findings: Vec<Finding>,
}

/// One thing that is not as the log says.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Finding {
    #[error("entry {seq}: {problem}")]
    Entry { seq: u64, problem: String },
    #[error("{kind} {id}: {problem}")]
    Record { kind: Kind, id: Id, problem: String },
    #[error("domain {domain}: {problem}")]
    Domain { domain: DomainId, problem: String },
    #[error("database: {0}")]
    Database(String),
}

impl Store {
    /// Replays and compares; one read transaction, so the store goes on working. Takes seconds for a million entries.
    pub fn check(&self) -> Result<CheckReport, Fault> {
        let reader = self.reader()?;
        reader.consistent(|| {
            let mut check =
                Check { conn: &reader, report: CheckReport::default(), last: HashMap::new(), left: HashMap::new() };
            check.database()?;
            // Rows that cannot even be read end the check: what they should have said is not known.
            match check.all() {
                Err(Fault::Damaged(what)) => check.found(Finding::Database(what)),
                other => other?,
            }
            Ok(check.report)
        })
    }
}

/// The last change of a record after the base.
struct Last {
    domain: DomainId,
    seq: u64,
    idx: i64,
    revision: u64,
    delete: bool,
    time: Time,
}

/// A domain as the replay has it so far.
struct Replayed {
    id: DomainId,
    head: DomainHead,
    lanes: LtHash,
}

struct Check<'a> {
    conn: &'a Reader,
    report: CheckReport,
    last: HashMap<(Kind, Id), Last>,
    /// Deletions in a domain of what came back in another.
    left: HashMap<(DomainId, Kind, Id), Last>,
}

impl Check<'_> {
    fn found(&mut self, finding: Finding) {
        if self.report.findings.len() < ENOUGH {
            self.report.findings.push(finding);
        }
    }

    fn entry(&mut self, seq: u64, problem: &str) {
        self.found(Finding::Entry { seq, problem: problem.to_owned() });
    }

    /// SQLite's own view: pages, and indexes against tables.
    fn database(&mut self) -> Result<(), Fault> {
        let lines: Vec<String> = self
            .conn
            .prepare("PRAGMA integrity_check(20)")?
            .query_map([], |r| r.get(0))?
            .collect::<rusqlite::Result<_>>()?;
        lines.into_iter().filter(|line| line != "ok").for_each(|line| self.found(Finding::Database(line)));
        Ok(())
    }

    fn all(&mut self) -> Result<(), Fault> {
        let base = load_base(self.conn)?;
        let mut replayed = HashMap::new();
        self.replay(base, &mut replayed)?;
        let domains = load_domains(self.conn)?;
        for (id, state) in &domains {
            self.domain(*id, state, replayed.remove(&state.no))?;
        }
        for (_, unknown) in replayed {
            self.found(Finding::Domain { domain: unknown.id, problem: "its row is missing".into() });
        }
        self.tombstones(&base)?;
        // Records that were seen have been taken out: what is left should have been there.
        let missing: Vec<_> = self.last.iter().filter(|(_, l)| !l.delete).map(|(key, l)| (*key, l.seq)).collect();
        for ((kind, id), seq) in missing {
            let problem = format!("entry {seq} put it, but it is missing");
            self.found(Finding::Record { kind, id, problem });
        }
        Ok(())
    }

    fn replay(&mut self, base: Head, domains: &mut HashMap<i64, Replayed>) -> Result<(), Fault> {
        let conn = self.conn;
        let incarnation = conn.query_row("SELECT incarnation FROM identity", [], |r| {
            r.get(0).map(keyark_model::Incarnation::from_bytes)
        })?;
        let mut statement = conn.prepare(&format!("{SELECT_ENTRY} WHERE seq > ?1 ORDER BY seq"))?;
        let mut rows = statement.query([base.seq])?;
        let mut head = base;
        while let Some(row) = rows.next()? {
            let row = match entry_of_row(row) {
                Ok(row) => row,
                Err(fault) => {
                    self.entry(head.seq + 1, &fault.to_string());
                    continue;
                }
            };
            self.report.entries += 1;
            if row.seq != head.seq + 1 {
                self.entry(head.seq + 1, "is missing");
            }
            if row.time <= head.time && head.seq > 0 {
                self.entry(row.seq, "its time goes back");
            }
            let domain = match domains.entry(row.domain) {
                std::collections::hash_map::Entry::Occupied(known) => known.into_mut(),
                std::collections::hash_map::Entry::Vacant(new) => {
                    let (head, lanes) = load_base_domain(conn, row.domain)?.unwrap_or_default();
                    new.insert(Replayed { id: domain_of(conn, row.domain)?, head, lanes })
                }
            };
            let around = Around { incarnation, domain: domain.id, prev: head.hash, domain_prev: domain.head.hash };
            let before = domain.head;
            let counted = count_entry(conn, &row, &mut domain.lanes);
            domain.head = DomainHead { domain_seq: row.domain_seq, hash: row.hashes.domain, seq: row.seq };
            head = Head { seq: row.seq, hash: row.hashes.global, time: row.time };
            if let Err(fault) = counted {
                self.entry(row.seq, &fault.to_string());
            }
            if row.domain_seq != before.domain_seq + 1 {
                self.entry(row.seq, "does not follow on its domain's entry before");
            }
            self.changes(&row, around)?;
        }
        Ok(())
    }

    /// The hashes of an entry, the digests of its changes, and the revisions they make.
    fn changes(&mut self, row: &EntryRow, around: Around) -> Result<(), Fault> {
        let conn = self.conn;
        let entry = row.clone().into_entry(around, |_, _| Ok(ChangeContent::Withheld))?;
        if hash_entry(&entry) != row.hashes {
            self.entry(row.seq, "was altered, or an entry before it: its hash is not the one in the chain");
        }
        for (idx, change) in row.changes.iter().enumerate() {
            let content = match content_at(conn, around.domain, row.seq, idx, change) {
                Err(Fault::Damaged(problem)) => {
                    self.found(Finding::Record { kind: change.kind, id: change.id, problem });
                    ChangeContent::Withheld
                }
                content => content?,
            };
            let put = match &content {
                ChangeContent::Put { header, body } => Some((&**header, &**body)),
                ChangeContent::Delete | ChangeContent::Withheld => None,
            };
            let (kind, id, revision) = (change.kind, change.id, change.revision);
            let key = ChangeKey { kind, domain: around.domain, id, revision };
            if content != ChangeContent::Withheld && change_digest(&change.salt, &key, put) != change.digest {
                let problem = format!("what entry {} wrote was altered", row.seq);
                self.found(Finding::Record { kind, id, problem });
            }
            let last = Last {
                domain: around.domain,
                seq: row.seq,
                idx: idx as i64,
                revision,
                delete: change.delete,
                time: row.time,
            };
            let before = self.last.insert((kind, id), last);
            let follows = before
                .as_ref()
                .is_none_or(|b| revision == b.revision + 1 || (revision == b.revision && !b.delete && !change.delete));
            self.left.remove(&(around.domain, kind, id));
            if let Some(before) = before.filter(|b| b.delete && b.domain != around.domain) {
                self.left.insert((before.domain, kind, id), before);
            }
            if !follows {
                self.entry(row.seq, &format!("its revision {revision} of {kind} {id} does not follow"));
            }
        }
        Ok(())
    }

    /// Records, names, counts and digest of a domain against the replay.
    fn domain(&mut self, id: DomainId, state: &DomainState, replayed: Option<Replayed>) -> Result<(), Fault> {
        let (head, lanes) = match replayed {
            Some(r) => (r.head, r.lanes),
            None => load_base_domain(self.conn, state.no)?.unwrap_or_default(),
        };
        let problem = |what: &str| Finding::Domain { domain: id, problem: what.to_owned() };
        if state.head != head {
            self.found(problem("its head is not where its log ends"));
        }
        let mut sum = LtHash::default();
        for slot in &state.slots {
            let (records, weight, names) = self.slot(id, slot.kind, slot.slot, &mut sum)?;
            if (slot.records, slot.weight) != (records, weight) {
                self.found(problem(&format!("its counts of {} are wrong", slot.kind)));
            }
            let kept: u64 =
                self.conn.query_row("SELECT count(*) FROM name WHERE slot = ?1", [slot.slot], |r| r.get(0))?;
            if kept != names {
                self.found(problem(&format!("there are names of {} without a record", slot.kind)));
            }
        }
        if sum != lanes {
            self.found(problem("its records are not those that the log gives from the base"));
        }
        if sum != state.lanes {
            self.found(problem("its record digest is not that of its records"));
        }
        Ok(())
    }

    fn slot(&mut self, domain: DomainId, kind: Kind, slot: i64, sum: &mut LtHash) -> Result<(u64, u64, u64), Fault> {
        let (conn, base) = (self.conn, load_base(self.conn)?);
        let mut statement = conn.prepare(
            "SELECT id, revision, seq, time, header, body, idx, rid, kind, slot FROM record WHERE slot = ?1 ORDER BY id",
        )?;
        let mut rows = statement.query([slot])?;
        let (mut records, mut weight, mut names) = (0, 0, 0);
        while let Some(row) = rows.next()? {
            let view = view_of(row, domain, kind)?;
            let id = view.id;
            let problem = |what: &str| Finding::Record { kind, id, problem: what.to_owned() };
            records += 1;
            self.report.records += 1;
            if kind.shipping() != Shipping::Never {
                sum.add(&LtElement::new(kind, id, view.revision, view.header, view.body));
            }
            let (idx, rid): (i64, i64) = (row.get(6)?, row.get(7)?);
            if (row.get::<_, u8>(8)?, slot_of(rid)) != (kind as u8, slot) {
                self.found(problem("it is kept in the wrong place"));
            }
            match self.last.remove(&(kind, id)) {
                Some(last) if last.delete => self.found(problem("it was deleted, but is there")),
                Some(last) if last.domain != domain => self.found(problem("it belongs to another domain")),
                Some(last)
                    if (last.seq, last.idx, last.revision, last.time) != (view.seq, idx, view.revision, view.time) =>
                {
                    self.found(problem("it is not what the log wrote last"));
                }
                None if view.seq > base.seq => self.found(problem("no entry wrote it")),
                Some(_) | None => {}
            }
            match facts_of(view.header) {
                Ok(facts) => {
                    weight += facts.weight;
                    for name in names_of(&facts) {
                        names += 1;
                        let held: bool = conn
                            .prepare_cached(
                                "SELECT EXISTS (SELECT 1 FROM name WHERE slot = ?1 AND name = ?2 AND rid = ?3)",
                            )?
                            .query_row(params![slot, name, rid], |r| r.get(0))?;
                        if !held {
                            self.found(problem("it cannot be found by its name"));
                        }
                    }
                }
                Err(fault) => self.found(problem(&fault.to_string())),
            }
        }
        Ok((records, weight, names))
    }

    fn tombstones(&mut self, base: &Head) -> Result<(), Fault> {
        let conn = self.conn;
        let mut statement = conn.prepare(
            "SELECT tombstone.kind, tombstone.id, revision, tombstone.seq, domain.id FROM tombstone
             JOIN slot ON slot.no = tombstone.slot JOIN domain ON domain.no = slot.domain",
        )?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            let Some(kind) = Kind::from_code(row.get(0)?) else {
                self.found(Finding::Database("a tombstone of an unknown kind".into()));
                continue;
            };
            let (id, revision, seq) = (Id::from_bytes(row.get(1)?), row.get::<_, u64>(2)?, row.get::<_, u64>(3)?);
            let domain = DomainId::from_bytes(row.get(4)?);
            let newest = self.last.get(&(kind, id)).is_some_and(|last| last.domain == domain);
            let told = if newest { self.last.remove(&(kind, id)) } else { self.left.remove(&(domain, kind, id)) };
            let fits = match told {
                Some(last) => last.delete && (last.revision, last.seq) == (revision, seq),
                None => seq <= base.seq,
            };
            if !fits {
                self.found(Finding::Record {
                    kind,
                    id,
                    problem: "its tombstone is not what the log wrote last".into(),
                });
            }
        }
        let gone = self.last.iter().filter(|(_, l)| l.delete).map(|(key, _)| *key);
        let gone: Vec<_> = gone.chain(self.left.keys().map(|(_, kind, id)| (*kind, *id))).collect();
        for (kind, id) in gone {
            self.found(Finding::Record { kind, id, problem: "its tombstone is missing".into() });
        }
        Ok(())
    }
}
