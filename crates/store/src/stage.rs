//! A transaction in the making: entries and the records they change, written but not yet committed.

use std::collections::HashMap;

use keyark_crypto::chain::{EntryHashes, hash_entry};
use keyark_crypto::lthash::LtElement;
use keyark_model::{Change, ChangeContent, DomainId, Entry, Id, Kind, RecordFacts, Shipping, Time};
use rusqlite::{Connection, OptionalExtension, params};

use crate::entry_row::insert_entry;
use crate::error::Fault;
use crate::options::{DomainHead, Head};
use crate::schema::rid;
use crate::state::{DomainState, SlotState, State, store_domain};

/// What stands under (kind, id).
pub(crate) enum Standing {
    Never,
    Gone { revision: u64 },
    Live(Live),
}

/// A record as it stands, with where it is kept.
pub(crate) struct Live {
    pub rid: i64,
    pub slot: i64,
    pub revision: u64,
    pub seq: u64,
    pub idx: i64,
    pub time: i64,
    pub header: Box<[u8]>,
    pub body: Box<[u8]>,
}

/// A change with what it meets: found when the batch was admitted, used when it is written.
pub(crate) struct Planned {
    pub before: Standing,
    /// Of the new header; `None` for a delete.
    pub facts: Option<RecordFacts>,
    /// Drop what the record was before instead of keeping it for the log.
    pub purge: bool,
}

/// Everything between BEGIN and COMMIT. Memory changes only through `Touched`, after the commit.
pub(crate) struct Stage<'a> {
    pub(crate) conn: &'a Connection,
    pub(crate) state: &'a State,
    pub(crate) new: Touched,
}

/// What a committed transaction changes in memory.
pub(crate) struct Touched {
    pub head: Head,
    pub domains: HashMap<DomainId, DomainState>,
    owners: Vec<(i64, (DomainId, Kind))>,
    next_domain: i64,
    next_slot: i64,
}

impl State {
    pub(crate) fn merge(&mut self, new: Touched) {
        self.head = new.head;
        self.domains.extend(new.domains);
        self.owners.extend(new.owners);
        self.next_domain = new.next_domain;
        self.next_slot = new.next_slot;
    }
}

impl<'a> Stage<'a> {
    pub(crate) fn new(conn: &'a Connection, state: &'a State) -> Self {
        let new = Touched {
            head: state.head,
            domains: HashMap::new(),
            owners: Vec::new(),
            next_domain: state.next_domain,
            next_slot: state.next_slot,
        };
        Stage { conn, state, new }
    }

    /// Writes the rows of the touched domains; the last thing before the commit.
    pub(crate) fn finish(self) -> Result<Touched, Fault> {
        for (id, domain) in &self.new.domains {
            store_domain(self.conn, *id, domain)?;
        }
        Ok(self.new)
    }

    /// The domain as it stands in this transaction.
    pub(crate) fn domain(&self, id: DomainId) -> Option<&DomainState> {
        self.new.domains.get(&id).or_else(|| self.state.domains.get(&id))
    }

    pub(crate) fn slot(&self, domain: DomainId, kind: Kind) -> Option<&SlotState> {
        self.domain(domain)?.slot(kind)
    }

    fn domain_mut(&mut self, id: DomainId) -> &mut DomainState {
        let Touched { domains, next_domain, .. } = &mut self.new;
        domains.entry(id).or_insert_with(|| {
            self.state.domains.get(&id).cloned().unwrap_or_else(|| {
                let no = *next_domain;
                *next_domain += 1;
                DomainState::new(no)
            })
        })
    }

    /// The slot, made when it is the domain's first record of this kind.
    fn slot_mut(&mut self, domain: DomainId, kind: Kind) -> Result<&mut SlotState, Fault> {
        let at = match self.domain_mut(domain).slots.iter().position(|s| s.kind == kind) {
            Some(at) => at,
            None => {
                let slot = self.new.next_slot;
                self.new.next_slot += 1;
                self.new.owners.push((slot, (domain, kind)));
                let conn = self.conn;
                let state = self.domain_mut(domain);
                conn.prepare_cached("INSERT INTO slot (no, domain, kind) VALUES (?1, ?2, ?3)")?
                    .execute(params![slot, state.no, kind as u8])?;
                state.slots.push(SlotState { slot, kind, records: 0, weight: 0, next: 1 });
                state.slots.len() - 1
            }
        };
        Ok(&mut self.domain_mut(domain).slots[at])
    }

    /// Whose records a slot holds.
    pub(crate) fn owner(&self, slot: i64) -> Option<DomainId> {
        let new = self.new.owners.iter().find(|(s, _)| *s == slot).map(|(_, owner)| owner);
        new.or_else(|| self.state.owners.get(&slot)).map(|(domain, _)| *domain)
    }

    /// What stands under (kind, id), in whatever domain.
    pub(crate) fn standing(&self, kind: Kind, id: Id) -> Result<Standing, Fault> {
        let mut live = self.conn.prepare_cached(
            "SELECT rid, slot, revision, seq, idx, time, header, body FROM record WHERE kind = ?1 AND id = ?2",
        )?;
        let found = live
            .query_row(params![kind as u8, id.as_bytes()], |r| {
                Ok(Live {
                    rid: r.get(0)?,
                    slot: r.get(1)?,
                    revision: r.get(2)?,
                    seq: r.get(3)?,
                    idx: r.get(4)?,
                    time: r.get(5)?,
                    header: r.get::<_, Vec<u8>>(6)?.into(),
                    body: r.get::<_, Vec<u8>>(7)?.into(),
                })
            })
            .optional()?;
        if let Some(found) = found {
            return Ok(Standing::Live(found));
        }
        let gone = self
            .conn
            .prepare_cached("SELECT max(revision) FROM tombstone WHERE kind = ?1 AND id = ?2")?
            .query_row(params![kind as u8, id.as_bytes()], |r| r.get::<_, Option<u64>>(0))?;
        Ok(gone.map_or(Standing::Never, |revision| Standing::Gone { revision }))
    }

    /// Where the next entry of a domain stands.
    pub(crate) fn domain_head(&self, domain: DomainId) -> DomainHead {
        self.domain(domain).map_or(DomainHead::default(), |d| d.head)
    }

    /// Writes an entry that follows on the head, and its changes; `plans` has one plan for each change.
    pub(crate) fn project(&mut self, entry: &Entry, plans: Vec<Planned>) -> Result<EntryHashes, Fault> {
        let hashes = hash_entry(entry);
        let domain = self.domain_mut(entry.domain);
        let (no, before) = (domain.no, domain.head.seq);
        domain.head = DomainHead { domain_seq: entry.domain_seq, hash: hashes.domain, seq: entry.seq };
        insert_entry(self.conn, entry, &hashes, no, before)?;
        for (idx, (change, plan)) in entry.changes.iter().zip(plans).enumerate() {
            self.project_change(entry, idx as i64, change, plan)?;
        }
        self.new.head = Head { seq: entry.seq, hash: hashes.global, time: entry.time };
        Ok(hashes)
    }

    fn project_change(&mut self, entry: &Entry, idx: i64, change: &Change, plan: Planned) -> Result<(), Fault> {
        let (kind, id) = (change.kind, change.id);
        let (place, purge) = (Place { seq: entry.seq, time: entry.time }, plan.purge);
        match (&change.content, plan.before) {
            (ChangeContent::Put { header, body }, before) => {
                let facts = plan.facts.ok_or_else(|| Fault::Damaged("a put without its header's facts".into()))?;
                self.count_element(entry.domain, change, header, body);
                match before {
                    Standing::Live(live) => {
                        self.supersede(entry.domain, kind, id, &live, place.seq, purge)?;
                        self.conn
                            .prepare_cached(
                                "UPDATE record SET revision = ?2, seq = ?3, idx = ?4, time = ?5, header = ?6, body = ?7
                                 WHERE rid = ?1",
                            )?
                            .execute(params![live.rid, change.revision, place.seq, idx, place.time.0, header, body])?;
                        if live.header != *header {
                            let old = facts_of(&live.header)?;
                            let slot = self.slot_mut(entry.domain, kind)?;
                            slot.weight = slot.weight + facts.weight - old.weight.min(slot.weight);
                            self.rename(live.slot, live.rid, Some(&old), Some(&facts))?;
                        }
                    }
                    gone => {
                        let slot = self.slot_mut(entry.domain, kind)?;
                        let (no, rid) = (slot.slot, rid(slot.slot, slot.next));
                        slot.next += 1;
                        slot.records += 1;
                        slot.weight += facts.weight;
                        self.conn
                            .prepare_cached(
                                "INSERT INTO record (rid, slot, kind, id, revision, seq, idx, time, header, body)
                                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)",
                            )?
                            .execute(params![
                                rid,
                                no,
                                kind as u8,
                                id.as_bytes(),
                                change.revision,
                                place.seq,
                                idx,
                                place.time.0,
                                header,
                                body
                            ])?;
                        self.rename(no, rid, None, Some(&facts))?;
                        if matches!(gone, Standing::Gone { .. }) {
                            self.conn
                                .prepare_cached("DELETE FROM tombstone WHERE kind = ?1 AND id = ?2 AND slot = ?3")?
                                .execute(params![kind as u8, id.as_bytes(), no])?;
                        }
                    }
                }
            }
            (ChangeContent::Delete, Standing::Live(live)) => {
                let old = facts_of(&live.header)?;
                self.supersede(entry.domain, kind, id, &live, place.seq, purge)?;
                self.conn.prepare_cached("DELETE FROM record WHERE rid = ?1")?.execute([live.rid])?;
                self.rename(live.slot, live.rid, Some(&old), None)?;
                let slot = self.slot_mut(entry.domain, kind)?;
                slot.records = slot.records.saturating_sub(1);
                slot.weight = slot.weight.saturating_sub(old.weight);
                self.conn
                    .prepare_cached(
                        "INSERT INTO tombstone (kind, id, slot, revision, seq, idx, time, name)
                         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
                    )?
                    .execute(params![
                        kind as u8,
                        id.as_bytes(),
                        live.slot,
                        change.revision,
                        place.seq,
                        idx,
                        place.time.0,
                        old.name
                    ])?;
            }
            (ChangeContent::Delete, _) => {
                return Err(Fault::Damaged(format!("{kind} {id} is deleted but is not there")));
            }
            (ChangeContent::Withheld, _) => {
                return Err(Fault::Damaged(format!("the content of {kind} {id} is missing from the log")));
            }
        }
        if purge {
            self.purge(kind, id)?;
        }
        Ok(())
    }

    fn count_element(&mut self, domain: DomainId, change: &Change, header: &[u8], body: &[u8]) {
        if change.kind.shipping() != Shipping::Never {
            let element = LtElement::new(change.kind, change.id, change.revision, header, body);
            self.domain_mut(domain).lanes.add(&element);
        }
    }

    /// Takes what stood out of the digest, and keeps it for the log unless it is to be forgotten. Of kinds that are
    /// never shipped nobody will ask again.
    fn supersede(
        &mut self,
        domain: DomainId,
        kind: Kind,
        id: Id,
        live: &Live,
        until: u64,
        purge: bool,
    ) -> Result<(), Fault> {
        if kind.shipping() == Shipping::Never {
            return Ok(());
        }
        let element = LtElement::new(kind, id, live.revision, &live.header, &live.body);
        self.domain_mut(domain).lanes.remove(&element);
        let kept = (!purge).then_some((&live.header, &live.body));
        self.conn
            .prepare_cached(
                "INSERT INTO history (slot, id, revision, seq, idx, time, until, header, body, stub)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)",
            )?
            .execute(params![
                live.slot,
                id.as_bytes(),
                live.revision,
                live.seq,
                live.idx,
                live.time,
                until,
                kept.map(|(header, _)| header),
                kept.map(|(_, body)| body),
                purge.then(|| stub_of(&element)),
            ])?;
        Ok(())
    }

    /// Forgets what a record was, in every domain where it ever stood.
    fn purge(&self, kind: Kind, id: Id) -> Result<(), Fault> {
        let new = self.new.owners.iter().map(|(slot, owner)| (slot, owner));
        let slots = self.state.owners.iter().chain(new).filter(|(_, (_, of))| *of == kind);
        slots.map(|(slot, _)| *slot).try_for_each(|slot| purge_history(self.conn, slot, id))
    }

    /// Moves a record's names. Another record of the same batch may have the name already, or may still have it.
    fn rename(
        &mut self,
        slot: i64,
        rid: i64,
        old: Option<&RecordFacts>,
        new: Option<&RecordFacts>,
    ) -> Result<(), Fault> {
        let (old, new) = (old.map(names_of).unwrap_or_default(), new.map(names_of).unwrap_or_default());
        for name in old.iter().filter(|name| !new.contains(name)) {
            self.conn
                .prepare_cached("DELETE FROM name WHERE slot = ?1 AND name = ?2 AND rid = ?3")?
                .execute(params![slot, name, rid])?;
        }
        for name in new.iter().filter(|name| !old.contains(name)) {
            self.conn
                .prepare_cached("INSERT OR REPLACE INTO name (slot, name, rid) VALUES (?1, ?2, ?3)")?
                .execute(params![slot, name, rid])?;
        }
        Ok(())
    }
}

#[derive(Clone, Copy)]
struct Place {
    seq: u64,
    time: Time,
}

/// Name and aliases, each once.
pub(crate) fn names_of(facts: &RecordFacts) -> Vec<&str> {
    let mut names: Vec<&str> = Vec::with_capacity(1 + facts.aliases.len());
    for name in facts.name.iter().chain(&facts.aliases) {
        if !names.contains(&name.as_str()) {
            names.push(name);
        }
    }
    names
}

/// The facts of a header that this store has accepted before.
pub(crate) fn facts_of(header: &[u8]) -> Result<RecordFacts, Fault> {
    RecordFacts::of_header(header).map_err(|e| Fault::Damaged(e.to_string()))
}

/// What is left of purged content: the digests of header and body, so that old record digests can be recomputed.
pub(crate) fn stub_of(element: &LtElement) -> [u8; 64] {
    let mut stub = [0; 64];
    stub[..32].copy_from_slice(&element.header.0);
    stub[32..].copy_from_slice(&element.body.0);
    stub
}

/// Forgets every earlier content of a record. `secure_delete` overwrites it in the pages.
pub(crate) fn purge_history(conn: &Connection, slot: i64, id: Id) -> Result<(), Fault> {
    let mut select =
        conn.prepare_cached("SELECT hid, header, body FROM history WHERE slot = ?1 AND id = ?2 AND header NOT NULL")?;
    let found: Vec<(i64, [u8; 64])> = select
        .query_map(params![slot, id.as_bytes()], |r| {
            let (header, body) = (r.get_ref(1)?.as_blob()?, r.get_ref(2)?.as_blob()?);
            // Only the two digests go into a stub; kind and revision stand in the row.
            Ok((r.get(0)?, stub_of(&LtElement::new(Kind::Key, id, 0, header, body))))
        })?
        .collect::<rusqlite::Result<_>>()?;
    for (hid, stub) in found {
        conn.prepare_cached("UPDATE history SET header = NULL, body = NULL, stub = ?2 WHERE hid = ?1")?
            .execute(params![hid, stub])?;
    }
    Ok(())
}
