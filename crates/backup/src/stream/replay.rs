//! Entries of the log become increments: sorted archives of what changed, which restores read like any others.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::path::Path;

use keyark_archive::{
    ArchiveError, Base, Chain, Closing, Decimal, Door, EntryRef, Header, Kek, Positions, ReadAt, RecordRef,
    StoredEntry, Times, Tombstone, Unlocked,
};
use keyark_crypto::chain::{check_changes, hash_entry};
use keyark_crypto::random;
use keyark_model::{
    ArchiveId, Carrier, Change, ChangeContent, Digest, DomainId, Entry, EntryScope, Id, Kind, Record, RecordFacts, Time,
};
use keyark_store::AuditEntry;

use super::catalogue::Until;
use super::parts::{Keks, Part, Parts};
use super::point::PointError;
use super::segment::{own_hash, own_number, own_prev};

/// What a change weighs besides its content.
const OVERHEAD: usize = 200;

/// Some records of one domain: all that is read of a point where nothing else is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chosen {
    pub domain: DomainId,
    pub records: BTreeSet<(Kind, Id)>,
}

/// The state on its way from a full archive to a point.
pub(super) struct Replay<'a> {
    /// Bytes of changes that are held before they are written as a part.
    hold: usize,
    domain: Option<DomainId>,
    chosen: Option<&'a Chosen>,
    /// Header of what the next part continues.
    base: Header,
    /// The last entry that was taken; of chosen records the last one that changed any of them.
    pub number: u64,
    pub time: Time,
    hash: Digest,
    /// The last entry that was gone past, and its hash: the next one joins it.
    passed: (u64, Digest),
    keks: Keks,
    records: BTreeMap<(DomainId, Kind, Id), Record>,
    gone: BTreeMap<(DomainId, Kind, Id), Tombstone>,
    audit: Vec<(u64, DomainId, Time, Vec<u8>)>,
    weight: usize,
    run_start: Digest,
    /// Content that was purged before it was shipped, and came again by no later change.
    missing: HashSet<(Kind, Id)>,
    digests: BTreeMap<DomainId, Vec<u8>>,
    parts: Parts<'a>,
}

impl<'a> Replay<'a> {
    /// Starts at the state of a full archive, which is the first part.
    pub fn start<S: ReadAt>(
        folder: &'a Path,
        hold: usize,
        full: &Unlocked<'_, S>,
        part: Part,
    ) -> Result<Replay<'a>, PointError> {
        let mut replay = Replay::at(Parts::within(folder, Some(part)), hold, full, None);
        let stated = &full.archive().footer().record_digests;
        replay.digests = stated.iter().map(|(d, bytes)| (*d, bytes.0.clone())).collect();
        replay.learn(full.keks()?);
        Ok(replay)
    }

    /// Starts at what a full archive has of chosen records: the first part will hold nothing else.
    pub fn of_chosen<S: ReadAt>(
        folder: &'a Path,
        hold: usize,
        full: &Unlocked<'_, S>,
        chosen: &'a Chosen,
    ) -> Result<Replay<'a>, PointError> {
        let mut replay = Replay::at(Parts::within(folder, None), hold, full, Some(chosen));
        let only = chosen.records.iter().map(|(kind, id)| format!("{}:{id}", kind.word())).collect::<Vec<_>>();
        replay.base.filters = BTreeMap::from([("items".into(), only.join(" "))]);
        replay.learn(full.keks_of(Some(chosen.domain))?);
        for (kind, id) in &chosen.records {
            if let Some(record) = full.record(chosen.domain, *kind, *id)? {
                replay.weight += record.header.len() + record.body.len() + OVERHEAD;
                replay.records.insert((chosen.domain, *kind, *id), record);
            }
        }
        Ok(replay)
    }

    fn at<S: ReadAt>(parts: Parts<'a>, hold: usize, full: &Unlocked<'_, S>, chosen: Option<&'a Chosen>) -> Replay<'a> {
        let (header, footer) = (full.archive().header(), full.archive().footer());
        Replay {
            hold,
            domain: header.domain,
            chosen,
            base: header.clone(),
            number: header.positions.last.0,
            time: header.times.map_or(header.created_at, |t| t.last),
            hash: footer.chain.after,
            passed: (header.positions.last.0, footer.chain.after),
            keks: BTreeMap::new(),
            records: BTreeMap::new(),
            gone: BTreeMap::new(),
            audit: Vec::new(),
            weight: 0,
            run_start: footer.chain.after,
            missing: HashSet::new(),
            digests: BTreeMap::new(),
            parts,
        }
    }

    fn learn(&mut self, keks: Vec<Kek>) {
        for kek in keks {
            self.keks.entry((kek.domain, kek.generation)).or_insert(kek.key);
        }
    }

    /// Takes a segment's entries up to the point; false: the point was reached inside it.
    pub fn segment<S: ReadAt>(&mut self, segment: &Unlocked<'_, S>, until: Until) -> Result<bool, PointError> {
        let (header, footer) = (segment.archive().header(), segment.archive().footer());
        let joins = header.positions.first.0 == self.passed.0 + 1;
        let Some(chosen) = self.chosen.filter(|_| joins) else {
            self.learn(segment.keks()?);
            return self.walk(segment, segment.entries()?, until, true);
        };
        // The signed footer says what joins: entries that change nothing chosen need not be read.
        if footer.chain.before != self.passed.1 {
            return Err(PointError::Joint { before: self.passed.0, after: header.positions.first.0 });
        }
        let mut near = segment.entries_near(chosen.domain, &chosen.records)?.peekable();
        if near.peek().is_some() {
            self.learn(segment.keks_of(Some(chosen.domain))?);
        }
        let on = self.walk(segment, near, until, false)?;
        self.passed = (header.positions.last.0, footer.chain.after);
        Ok(on)
    }

    fn walk<S: ReadAt>(
        &mut self,
        segment: &Unlocked<'_, S>,
        entries: impl Iterator<Item = Result<StoredEntry, ArchiveError>>,
        until: Until,
        joining: bool,
    ) -> Result<bool, PointError> {
        let mut ended = false;
        for stored in entries {
            let stored = stored?;
            let (entry, scope) = Entry::decode(&stored.bytes).map_err(|e| PointError::Entry(e.to_string()))?;
            let expected = self.domain.map_or(EntryScope::System, |_| EntryScope::Domain);
            if scope != expected || entry.incarnation != self.base.incarnation {
                return Err(PointError::Entry("it is of another scope or life of the system".into()));
            }
            // Entries that the full archive shows already: the first one that it does not show says whether they join.
            if own_number(&entry, self.domain) <= self.passed.0 {
                continue;
            }
            let beyond = match until {
                Until::Newest => false,
                Until::Number(n) => own_number(&entry, self.domain) > n,
                Until::Time(t) => entry.time > t,
            };
            if beyond {
                ended = true;
                break;
            }
            self.entry(entry, joining)?;
        }
        if !ended && self.chosen.is_none() && self.number == segment.archive().header().positions.last.0 {
            let stated = &segment.archive().footer().record_digests;
            self.digests.extend(stated.iter().map(|(d, bytes)| (*d, bytes.0.clone())));
        }
        Ok(!ended)
    }

    fn entry(&mut self, entry: Entry, joining: bool) -> Result<(), PointError> {
        let (number, hash) = (own_number(&entry, self.domain), own_hash(&entry, self.domain));
        if joining && (number != self.passed.0 + 1 || own_prev(&entry, self.domain) != self.passed.1) {
            return Err(PointError::Joint { before: self.passed.0, after: number });
        }
        check_changes(&entry).map_err(|e| PointError::Entry(e.to_string()))?;
        self.passed = (number, hash);
        if self.chosen.is_none() && self.domain.is_none() {
            self.remember(&entry);
        }
        let chosen = self.chosen;
        let wanted =
            |c: &Change| chosen.is_none_or(|w| w.domain == entry.domain && w.records.contains(&(c.kind, c.id)));
        let changes: Vec<Change> = entry.changes.into_iter().filter(wanted).collect();
        if chosen.is_none() || !changes.is_empty() {
            (self.number, self.time, self.hash) = (number, entry.time, hash);
        }
        for change in changes {
            self.change(entry.domain, entry.time, change);
        }
        if self.weight >= self.hold {
            self.flush()?;
        }
        Ok(())
    }

    fn change(&mut self, domain: DomainId, time: Time, change: Change) {
        let Change { kind, id, revision, content, .. } = change;
        let carrier = self.domain.map_or(Carrier::System, |_| Carrier::DomainStream);
        if !kind.travels(carrier) {
            return;
        }
        self.digests.remove(&domain);
        let key = (domain, kind, id);
        match content {
            ChangeContent::Put { header, body } => {
                self.weight += header.len() + body.len() + OVERHEAD;
                self.missing.remove(&(kind, id));
                self.gone.remove(&key);
                self.records.insert(key, Record { kind, id, domain, revision, seq: 0, time, header, body });
            }
            ChangeContent::Delete => {
                self.weight += OVERHEAD;
                self.missing.remove(&(kind, id));
                let name = self.records.remove(&key).and_then(|r| name_of(&r.header));
                self.gone.insert(key, Tombstone { kind, domain, id, revision, time, name });
            }
            ChangeContent::Withheld => {
                self.records.remove(&key);
                self.missing.insert((kind, id));
            }
        }
    }

    /// What people read of the entry.
    fn remember(&mut self, e: &Entry) {
        let changes = e.changes.iter();
        let audit = AuditEntry {
            seq: e.seq,
            time: e.time,
            domain: e.domain,
            domain_seq: e.domain_seq,
            actor: e.actor.clone(),
            request_id: e.request_id.clone(),
            action: e.action.clone(),
            target: e.target.clone(),
            outcome: e.outcome,
            changes: changes.map(|c| (c.kind, c.id, c.revision, c.content == ChangeContent::Delete)).collect(),
            hash: hash_entry(e).global,
        };
        let bytes = crate::history::encode(&audit);
        self.weight += bytes.len() + OVERHEAD;
        self.audit.push((e.seq, e.domain, e.time, bytes));
    }

    /// What was deleted gets the name that it had in the parts before.
    fn name_gone(&mut self) -> Result<(), PointError> {
        let nameless = self.gone.iter().filter(|(_, t)| t.name.is_none()).map(|(key, _)| *key).collect();
        self.parts.each_of(nameless, |r| {
            if let Some(gone) = self.gone.get_mut(&(r.domain, r.kind, r.id)) {
                gone.name = name_of(r.header);
            }
        })
    }

    /// Writes what is held as the next part.
    fn flush(&mut self) -> Result<(), PointError> {
        self.name_gone()?;
        let id = ArchiveId(random::uuid_v7(self.time));
        let mut header = Header::new(id, self.base.system, self.base.incarnation, self.time);
        if let Some(domain) = self.domain {
            header = header.of_domain(domain);
        }
        header.kind = self.base.kind;
        header.creator = "system".into();
        header.filters = self.base.filters.clone();
        header.positions = Positions { first: Decimal(self.number), last: Decimal(self.number) };
        header.times = Some(Times { first: self.time, last: self.time });
        let continues = Base { id: self.base.id, position: self.base.positions.last };
        header.base = Some(continues).filter(|_| !self.parts.is_empty());
        header.doors = vec![Door::backup_key(id)];
        let (records, gone) = (std::mem::take(&mut self.records), std::mem::take(&mut self.gone));
        let audit = std::mem::take(&mut self.audit);
        let chain = Chain { before: self.run_start, after: self.hash };
        let closing = Closing { chain, record_digests: self.digests.clone() };
        self.parts.add(header.clone(), &self.keks, |writer| {
            for record in records.into_values() {
                writer.record(&RecordRef::of(&record))?;
            }
            for tombstone in gone.into_values() {
                writer.tombstone(&tombstone)?;
            }
            for (seq, domain, time, bytes) in audit {
                writer.audit_entry(&EntryRef { seq, domain, time, bytes: &bytes })?;
            }
            Ok(closing)
        })?;
        (self.run_start, self.weight, self.base) = (self.hash, 0, header);
        Ok(())
    }

    /// The parts up to the point, each the base of the next.
    pub fn finish(mut self) -> Result<Vec<Part>, PointError> {
        if !self.missing.is_empty() {
            let mut all: Vec<String> = self.missing.iter().map(|(kind, id)| format!("{kind} {id}")).collect();
            all.sort();
            return Err(PointError::Purged(all.join(", ")));
        }
        if self.parts.is_empty() || self.hash != self.run_start || self.number != self.base.positions.last.0 {
            self.flush()?;
        }
        Ok(self.parts.into_all())
    }
}

fn name_of(header: &[u8]) -> Option<String> {
    RecordFacts::of_header(header).ok()?.name
}

/// Whether a segment's entries are whole and join, from the hash before its first to the hash after its last.
pub(super) fn check_segment<S: ReadAt>(segment: &Unlocked<'_, S>) -> Result<(), PointError> {
    let (header, footer) = (segment.archive().header(), segment.archive().footer());
    let (mut hash, mut number) = (footer.chain.before, header.positions.first.0 - 1);
    for stored in segment.entries()? {
        let (entry, _) = Entry::decode(&stored?.bytes).map_err(|e| PointError::Entry(e.to_string()))?;
        if own_number(&entry, header.domain) != number + 1 || own_prev(&entry, header.domain) != hash {
            return Err(PointError::Joint { before: number, after: own_number(&entry, header.domain) });
        }
        check_changes(&entry).map_err(|e| PointError::Entry(e.to_string()))?;
        (number, hash) = (number + 1, own_hash(&entry, header.domain));
    }
    match (number, hash) == (header.positions.last.0, footer.chain.after) {
        true => Ok(()),
        false => Err(PointError::Joint { before: number, after: header.positions.last.0 }),
    }
}

impl From<ArchiveError> for PointError {
    fn from(e: ArchiveError) -> Self {
        PointError::Archive(e)
    }
}
