//! Negative facts: what the target knows to have been deleted, destroyed, compromised or disabled does not come back
//! unless it is asked for (rules E5). Compromised stays compromised in any case.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::ops::ControlFlow;

use keyark_crypto::SecretBytes;
use keyark_crypto::algorithm::{AlgorithmError, KeyBody};
use keyark_model::key::{KeyHeader, VersionHeader, mentions_an_end};
use keyark_model::people::{GroupHeader, UserHeader};
use keyark_model::protection::{InstanceHeader, LegalHold};
use keyark_model::record::mentions;
use keyark_model::system::CounterHeader;
use keyark_model::{DomainId, Id, Kind};
use keyark_store::{Fault, Store, Tombstone};
use serde::Serialize;

use crate::options::RestoreOptions;
use crate::source::{Opened, SourceError};

/// What a target knows.
#[derive(Default)]
pub struct Facts {
    deleted: HashMap<(Kind, Id), Tombstone>,
    /// Key → versions whose material was destroyed here.
    destroyed: HashMap<Id, BTreeSet<u32>>,
    /// Key → versions that are compromised here, as they stand here.
    compromised: HashMap<Id, BTreeMap<u32, VersionHeader>>,
    disabled: HashSet<Id>,
    /// Group → its members here: who is not among them was taken out, or never was in.
    members: HashMap<Id, HashSet<Id>>,
    /// Backup instance → its legal hold here.
    held: HashMap<Id, LegalHold>,
    /// Key → encryptions counted here.
    counted: HashMap<Id, CounterHeader>,
}

/// One fact that changes what a restore does.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Fact {
    pub fact: &'static str,
    pub kind: &'static str,
    pub id: Id,
    pub detail: String,
    /// True: the caller asked for it to come back all the same.
    pub waived: bool,
}

/// What the facts make of one record.
#[derive(Debug, PartialEq, Eq)]
pub enum Ruling {
    Keep,
    /// It stays away.
    Leave(String),
    /// It comes back with another header, without the material of these versions.
    Change {
        header: Vec<u8>,
        without: BTreeSet<u32>,
    },
}

impl Facts {
    /// Reads what a store knows of one domain, or of all.
    pub fn of_store(store: &Store, domain: Option<DomainId>) -> Result<Facts, Fault> {
        let mut facts = Facts::default();
        for gone in store.tombstones(domain, 0, u64::MAX)? {
            // Of all domains: what moved from one to another stands.
            if domain.is_some() || store.get_any(gone.kind, gone.id)?.is_none() {
                facts.deleted.insert((gone.kind, gone.id), gone);
            }
        }
        for d in store.domains()?.into_iter().filter(|d| domain.is_none_or(|only| only == *d)) {
            facts.learn_keys(store, d)?;
            store.scan(d, Kind::Group, |record| {
                if let Ok(group) = serde_json::from_slice::<GroupHeader>(record.header) {
                    facts.members.insert(record.id, group.members.into_iter().collect());
                }
                ControlFlow::Continue(())
            })?;
            store.scan(d, Kind::Counter, |record| {
                if let Ok(counter) = serde_json::from_slice::<CounterHeader>(record.header) {
                    facts.counted.insert(record.id, counter);
                }
                ControlFlow::Continue(())
            })?;
            store.scan(d, Kind::BackupInstance, |record| {
                if let Ok(InstanceHeader { hold: Some(hold), .. }) = serde_json::from_slice(record.header) {
                    facts.held.insert(record.id, hold);
                }
                ControlFlow::Continue(())
            })?;
            store.scan(d, Kind::User, |record| {
                if serde_json::from_slice::<UserHeader>(record.header).is_ok_and(|u| u.disabled) {
                    facts.disabled.insert(record.id);
                }
                ControlFlow::Continue(())
            })?;
        }
        Ok(facts)
    }

    /// Learns which keys of a domain were destroyed or compromised: nor do they come back so elsewhere.
    pub fn learn_keys(&mut self, store: &Store, domain: DomainId) -> Result<(), Fault> {
        store.scan(domain, Kind::Key, |record| {
            // Of a million headers only those that mention such a state are read.
            if mentions(record.header, b"Destroyed") || mentions(record.header, b"Compromised") {
                self.learn_key(record.id, record.header);
            }
            ControlFlow::Continue(())
        })?;
        Ok(())
    }

    /// Learns what a later archive knows: of one domain, or of all.
    pub fn learn_archive(&mut self, opened: &Opened<'_>, domain: Option<DomainId>) -> Result<(), SourceError> {
        let ours = |d: DomainId| domain.is_none_or(|only| only == d);
        let mut deleted = HashMap::new();
        for gone in opened.unlocked.tombstones()? {
            let gone = fact_of(gone?);
            if ours(gone.domain) {
                deleted.insert((gone.kind, gone.id), gone);
            }
        }
        opened.unlocked.each_record::<SourceError>(|r| {
            match r.kind {
                _ if !ours(r.domain) => return Ok(()),
                Kind::Key if mentions(r.header, b"Destroyed") || mentions(r.header, b"Compromised") => {
                    self.learn_key(r.id, r.header);
                }
                Kind::User if serde_json::from_slice::<UserHeader>(r.header).is_ok_and(|u| u.disabled) => {
                    self.disabled.insert(r.id);
                }
                _ => {}
            }
            deleted.remove(&(r.kind, r.id));
            Ok(())
        })?;
        for (key, gone) in deleted {
            self.deleted.entry(key).or_insert(gone);
        }
        Ok(())
    }

    /// Whether a record is known to be deleted.
    pub fn knows_deleted(&self, kind: Kind, id: Id) -> bool {
        self.deleted.contains_key(&(kind, id))
    }

    /// Every deletion that is known, for a system that replaces this one.
    pub fn deleted(&self) -> impl Iterator<Item = &Tombstone> {
        self.deleted.values()
    }

    fn learn_key(&mut self, id: Id, header: &[u8]) {
        let Ok(header) = serde_json::from_slice::<KeyHeader>(header) else { return };
        for version in header.versions {
            if version.state.is_destroyed() {
                self.destroyed.entry(id).or_default().insert(version.version);
            }
            if version.state.is_compromised() {
                self.compromised.entry(id).or_default().insert(version.version, version);
            }
        }
    }

    /// What becomes of a record of the archive, and the facts that decided it.
    pub fn rule(&self, kind: Kind, id: Id, header: &[u8], options: &RestoreOptions) -> (Ruling, Vec<Fact>) {
        let (ruling, mut found) = self.rule_known(kind, id, header, options);
        let (header, without) = match &ruling {
            Ruling::Leave(_) => return (ruling, found),
            Ruling::Keep => (header, BTreeSet::new()),
            Ruling::Change { header, without } => (&**header, without.clone()),
        };
        let Some((header, detail)) = without_end(kind, header) else { return (ruling, found) };
        found.push(Fact { fact: "scheduled", kind: kind.word(), id, detail, waived: true });
        (Ruling::Change { header, without }, found)
    }

    fn rule_known(&self, kind: Kind, id: Id, header: &[u8], options: &RestoreOptions) -> (Ruling, Vec<Fact>) {
        let fact = |fact, detail: String, waived| Fact { fact, kind: kind.word(), id, detail, waived };
        let mut found = Vec::new();
        if let Some(gone) = self.deleted.get(&(kind, id)) {
            let detail = format!("deleted at {}", gone.time);
            found.push(fact("deleted", detail.clone(), options.include_deleted));
            if !options.include_deleted {
                return (Ruling::Leave(format!("{detail}; includeDeleted brings it back")), found);
            }
        }
        match kind {
            Kind::Key if self.destroyed.contains_key(&id) || self.compromised.contains_key(&id) => {
                let ruling = self.rule_key(id, header, options, &fact, &mut found);
                (ruling, found)
            }
            Kind::User if self.disabled.contains(&id) => {
                found.push(fact("disabled", "disabled here".into(), false));
                match crate::people::user_arrives(header) {
                    Some(header) => (Ruling::Change { header, without: BTreeSet::new() }, found),
                    None => (Ruling::Leave("its header cannot be read".into()), found),
                }
            }
            Kind::Group if self.members.contains_key(&id) => {
                let ruling = self.rule_group(id, header, options, &fact, &mut found);
                (ruling, found)
            }
            Kind::BackupInstance if self.held.contains_key(&id) => {
                (self.rule_instance(id, header, &fact, &mut found), found)
            }
            Kind::Counter if self.counted.contains_key(&id) => (self.rule_counter(id, header), found),
            _ => (Ruling::Keep, found),
        }
    }

    /// Whoever is not in the group here does not come back into it.
    fn rule_group(
        &self,
        id: Id,
        header: &[u8],
        options: &RestoreOptions,
        fact: &dyn Fn(&'static str, String, bool) -> Fact,
        found: &mut Vec<Fact>,
    ) -> Ruling {
        let Ok(mut group) = serde_json::from_slice::<GroupHeader>(header) else {
            return Ruling::Leave("its header cannot be read".into());
        };
        let here = &self.members[&id];
        for member in group.members.iter().filter(|m| !here.contains(m)) {
            let detail = format!("local|{member} is not in {:?} here", group.name);
            found.push(fact("removed", detail, options.include_deleted));
        }
        if options.include_deleted || group.members.iter().all(|m| here.contains(m)) {
            return Ruling::Keep;
        }
        group.members.retain(|m| here.contains(m));
        changed_header(&group)
    }

    /// What is held stays so.
    fn rule_instance(
        &self,
        id: Id,
        header: &[u8],
        fact: &dyn Fn(&'static str, String, bool) -> Fact,
        found: &mut Vec<Fact>,
    ) -> Ruling {
        let Ok(mut instance) = serde_json::from_slice::<InstanceHeader>(header) else {
            return Ruling::Leave("its header cannot be read".into());
        };
        if instance.hold.is_some() {
            return Ruling::Keep;
        }
        found.push(fact("held", format!("{:?} is under a legal hold here and stays so", instance.alias), false));
        instance.hold = self.held.get(&id).cloned();
        changed_header(&instance)
    }

    /// Counts never go back: the larger one stands.
    fn rule_counter(&self, id: Id, header: &[u8]) -> Ruling {
        let Ok(mut counter) = serde_json::from_slice::<CounterHeader>(header) else {
            return Ruling::Leave("its header cannot be read".into());
        };
        let before = counter.clone();
        counter.at_least(&self.counted[&id]);
        if counter == before { Ruling::Keep } else { changed_header(&counter) }
    }

    fn rule_key(
        &self,
        id: Id,
        header: &[u8],
        options: &RestoreOptions,
        fact: &dyn Fn(&'static str, String, bool) -> Fact,
        found: &mut Vec<Fact>,
    ) -> Ruling {
        let Ok(mut key) = serde_json::from_slice::<KeyHeader>(header) else {
            return Ruling::Leave("its header cannot be read".into());
        };
        let mut without = BTreeSet::new();
        let mut changed = false;
        let waived = options.include_destroyed.contains(&id);
        let (destroyed, compromised) = (self.destroyed.get(&id), self.compromised.get(&id));
        for version in &mut key.versions {
            let number = version.version;
            if destroyed.is_some_and(|d| d.contains(&number)) && !version.state.is_destroyed() {
                found.push(fact("destroyed", format!("version {number} was destroyed here"), waived));
                if !waived {
                    without.insert(number);
                    version.state = keyark_model::key::State::Destroyed;
                    changed = true;
                }
            }
            if let Some(here) = compromised.and_then(|c| c.get(&number))
                && !version.state.is_compromised()
            {
                found.push(fact("compromised", format!("version {number} is compromised here and stays so"), false));
                version.state = match version.state.is_destroyed() {
                    true => keyark_model::key::State::DestroyedCompromised,
                    false => keyark_model::key::State::Compromised,
                };
                version.revocation = here.revocation.clone();
                version.dates.compromise = here.dates.compromise;
                version.dates.compromise_occurrence = here.dates.compromise_occurrence;
                changed = true;
            }
        }
        if !changed {
            return Ruling::Keep;
        }
        match serde_json::to_vec(&key) {
            Ok(header) => Ruling::Change { header, without },
            Err(_) => Ruling::Leave("its header cannot be written".into()),
        }
    }
}

/// The header without the day on which it would end: what a restore brings back must not go away by itself a minute
/// later, when that day has passed. With what was scheduled; none if nothing was.
fn without_end(kind: Kind, header: &[u8]) -> Option<(Vec<u8>, String)> {
    let mut ends = Vec::new();
    let header = match kind {
        Kind::Key if mentions_an_end(header) => {
            let mut key: KeyHeader = serde_json::from_slice(header).ok()?;
            ends.extend(key.deletion_date.take().map(|at| format!("its deletion at {at}")));
            for version in &mut key.versions {
                if let Some(at) = version.destruction() {
                    ends.push(format!("the destruction of version {} at {at}", version.version));
                    version.dates.destroy = None;
                }
            }
            serde_json::to_vec(&key).ok()?
        }
        Kind::Secret if mentions(header, b"\"deletion_date\"") => {
            let mut secret: serde_json::Map<String, serde_json::Value> = serde_json::from_slice(header).ok()?;
            let at = secret.remove("deletion_date")?;
            secret.remove("deleted_at");
            ends.push(format!("its deletion at {}", at.as_str().unwrap_or_default()));
            serde_json::to_vec(&secret).ok()?
        }
        _ => return None,
    };
    (!ends.is_empty()).then(|| (header, format!("{} was scheduled; it comes back without", ends.join(" and "))))
}

fn changed_header(header: &impl Serialize) -> Ruling {
    match serde_json::to_vec(header) {
        Ok(header) => Ruling::Change { header, without: BTreeSet::new() },
        Err(_) => Ruling::Leave("its header cannot be written".into()),
    }
}

/// A key's body without the material of some versions.
pub fn body_without(header: &[u8], body: SecretBytes, without: &BTreeSet<u32>) -> Result<SecretBytes, AlgorithmError> {
    if without.is_empty() {
        return Ok(body);
    }
    let key: KeyHeader = serde_json::from_slice(header).map_err(|_| AlgorithmError::CheckFailed)?;
    let mut material = KeyBody::decode(key.spec, &body)?;
    for version in without {
        material.destroy(*version);
    }
    Ok(material.encode())
}

/// What an archive knows to be deleted, as a store knows it.
pub(crate) fn fact_of(gone: keyark_archive::Tombstone) -> Tombstone {
    let keyark_archive::Tombstone { kind, domain, id, revision, time, name } = gone;
    Tombstone { kind, id, domain, revision, seq: 0, time, name }
}
