//! The plan of a restore into a running domain: a function of archive, target and options, with a digest.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::ops::ControlFlow;

use keyark_archive::RecordRef;
use keyark_crypto::hash::sha256;
use keyark_model::{Carrier, Digest, DomainId, Id, Kind, RecordFacts};
use keyark_store::{Fault, Store};
use serde::Serialize;

use crate::conflict::secret_keys;
use crate::facts::{Fact, Facts, Ruling};
use crate::links::Links;
use crate::options::{Mode, RestoreOptions};
use crate::source::SourceError;

/// What happens to one record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Action {
    Create,
    Overwrite,
    Skip,
    Rename,
    /// A secret gets the archived value as its newest version.
    #[serde(rename = "newVersion")]
    NewVersion,
    /// With one of these the whole restore is refused.
    Refuse,
    Delete,
}

impl Action {
    /// As the wire shows it.
    pub const fn word(self) -> &'static str {
        match self {
            Action::Create => "create",
            Action::Overwrite => "overwrite",
            Action::Skip => "skip",
            Action::Rename => "rename",
            Action::NewVersion => "newVersion",
            Action::Refuse => "refuse",
            Action::Delete => "delete",
        }
    }
}

/// One line of a plan.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PlanItem {
    #[serde(serialize_with = "word")]
    pub kind: Kind,
    pub id: Id,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    pub action: Action,
    pub reason: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub new_id: Option<Id>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub new_name: Option<String>,
    /// The revision here that the plan was made against; 0: it is not here.
    pub current: u64,
    /// Revision that the record will have.
    pub revision: u64,
    /// The key without which it is refused.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub needs: Option<Id>,
}

fn word<S: serde::Serializer>(kind: &Kind, s: S) -> Result<S::Ok, S::Error> {
    s.serialize_str(kind.word())
}

/// The plan.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Plan {
    /// SHA-256 over everything below: execution refuses when the ground has moved.
    pub digest: Digest,
    pub domain: DomainId,
    pub options: RestoreOptions,
    pub actions: BTreeMap<Action, u64>,
    pub items: Vec<PlanItem>,
    pub negative_facts: Vec<Fact>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub not_looked_into: Vec<String>,
    /// What arrives weighs so much in the quotas. Not what is here already: that changes with every unrelated write.
    pub weights: BTreeMap<String, u64>,
    #[serde(skip)]
    pub rewritten: HashMap<Id, Id>,
}

/// What a plan is made of.
pub struct PlanInput<'a> {
    pub links: &'a Links<'a, 'a>,
    /// Whose records of the archive.
    pub from: DomainId,
    pub store: &'a Store,
    pub into: DomainId,
    pub options: &'a RestoreOptions,
    /// What the target knows, and what later archives know.
    pub facts: &'a Facts,
    /// Later archives that do not open, with the reason.
    pub not_looked_into: &'a [String],
    /// Whether the restorer may put people into a group of this name.
    pub may_grant: &'a dyn Fn(&str) -> bool,
}

impl Plan {
    /// How many lines have an action.
    pub fn count(&self, action: Action) -> u64 {
        self.actions.get(&action).copied().unwrap_or(0)
    }
}

/// Makes the plan.
pub fn plan(input: &PlanInput<'_>) -> Result<Plan, PlanError> {
    let mut planner = Planner {
        input,
        facts: input.facts,
        items: Vec::new(),
        negative: Vec::new(),
        seen: HashSet::new(),
        taken: HashSet::new(),
        rewritten: HashMap::new(),
        arriving_keys: HashSet::new(),
        weights: BTreeMap::new(),
    };
    for kind in [Kind::Key, Kind::Secret] {
        planner.weights.insert(kind.word().into(), 0);
    }
    input.links.each_record::<PlanError>(|record, _| match record.domain == input.from {
        true => Ok(planner.consider(&record)?),
        false => Ok(()),
    })?;
    planner.secrets_need_keys(input)?;
    if input.options.mode == Mode::Exact {
        planner.deletions()?;
    }
    Ok(planner.finish())
}

/// Why no plan could be made.
#[derive(Debug, thiserror::Error)]
pub enum PlanError {
    #[error(transparent)]
    Source(#[from] SourceError),
    #[error(transparent)]
    Store(#[from] Fault),
}

pub(crate) struct Planner<'a> {
    pub(crate) input: &'a PlanInput<'a>,
    facts: &'a Facts,
    pub(crate) items: Vec<PlanItem>,
    negative: Vec<Fact>,
    /// Ids of the archive, for `exact`.
    seen: HashSet<(Kind, Id)>,
    /// Names given to renamed records.
    pub(crate) taken: HashSet<(Kind, String)>,
    pub(crate) rewritten: HashMap<Id, Id>,
    arriving_keys: HashSet<Id>,
    weights: BTreeMap<String, u64>,
}

impl Planner<'_> {
    fn consider(&mut self, r: &RecordRef<'_>) -> Result<(), Fault> {
        let options = self.input.options;
        if !r.kind.travels(Carrier::Domain) {
            return Ok(());
        }
        self.seen.insert((r.kind, r.id));
        let asked_as = if r.kind == Kind::Counter { Kind::Key } else { r.kind };
        if !options.wants(asked_as, r.id) {
            return Ok(());
        }
        let facts = RecordFacts::of_header(r.header).unwrap_or_default();
        let name = facts.name.clone();
        let people = matches!(r.kind, Kind::User | Kind::Group);
        if people && !options.include_users {
            self.line(r, name, Action::Skip, "users and groups are left alone; includeUsers restores them", 0, 0);
            return Ok(());
        }
        if r.kind == Kind::Group && !name.as_deref().is_some_and(|n| (self.input.may_grant)(n)) {
            self.line(r, name, Action::Skip, "the restorer may not give membership of this group", 0, 0);
            return Ok(());
        }
        let store = self.input.store;
        let here = store.get_any(r.kind, r.id)?;
        let same = |current: &keyark_model::Record| {
            (current.domain, current.revision) == (self.input.into, r.revision) && *current.header == *r.header
        };
        if let Some(current) = here.as_ref().filter(|c| r.kind != Kind::Counter && same(c)) {
            self.line(r, name, Action::Skip, "unchanged", current.revision, current.revision);
            return Ok(());
        }
        let (ruling, found) = self.facts.rule(r.kind, r.id, r.header, options);
        self.negative.extend(found);
        if let Ruling::Leave(reason) = ruling {
            self.line(r, name, Action::Skip, &reason, 0, 0);
            return Ok(());
        }
        if r.kind == Kind::Counter {
            return self.counter(r, here.map(|h| h.revision));
        }
        match here {
            Some(current) if current.domain == self.input.into => {
                if r.kind == Kind::Group {
                    self.line(
                        r,
                        name,
                        Action::Skip,
                        "existing groups keep their members",
                        current.revision,
                        current.revision,
                    );
                } else if r.kind == Kind::User {
                    // Overwriting would disable people who work here now, the last administrator among them.
                    let why = "existing users keep their password and state";
                    self.line(r, name, Action::Skip, why, current.revision, current.revision);
                } else {
                    self.conflict(r, facts, "its id exists here with other content", current.revision)?;
                }
                return Ok(());
            }
            Some(_) => return self.conflict(r, facts, "its id exists in another domain", 0),
            None => {}
        }
        for text in facts.name.iter().chain(&facts.aliases) {
            if let Some(other) = store.find(self.input.into, r.kind, text)? {
                if r.kind == Kind::Group {
                    self.line(r, name, Action::Skip, "existing groups keep their members", 0, 0);
                    return Ok(());
                }
                let why = format!("its name {text:?} is taken here by {}", other.id);
                return self.conflict(r, facts, &why, 0);
            }
        }
        let revision = store.tombstone(r.kind, r.id)?.map_or(1, |t| t.revision + 1);
        self.arrives(r, facts.weight);
        self.line(r, name, Action::Create, "not here", 0, revision);
        Ok(())
    }

    /// A count comes with its key when there is none here; one that is here stands, unless the key comes back anew.
    fn counter(&mut self, r: &RecordRef<'_>, here: Option<u64>) -> Result<(), Fault> {
        let gone = self.input.store.tombstone(r.kind, r.id)?.map_or(0, |t| t.revision);
        match here {
            _ if self.arriving_keys.contains(&r.id) && self.rewritten.contains_key(&r.id) => {
                let new_id = self.rewritten[&r.id];
                if let Some(there) = self.input.store.get_any(r.kind, new_id)? {
                    self.line(r, None, Action::Skip, "counts never go back", there.revision, there.revision);
                    return Ok(());
                }
                let gone = self.input.store.tombstone(r.kind, new_id)?.map_or(0, |t| t.revision);
                self.line(r, None, Action::Rename, "counts the encryptions of its key", 0, gone + 1);
                if let Some(line) = self.items.last_mut() {
                    line.new_id = Some(new_id);
                }
            }
            None if self.arriving_keys.contains(&r.id) => {
                self.line(r, None, Action::Create, "counts the encryptions of its key", 0, gone + 1);
            }
            None => self.line(r, None, Action::Skip, "its key does not come along", 0, 0),
            Some(revision) => self.line(r, None, Action::Skip, "counts never go back", revision, revision),
        }
        Ok(())
    }

    pub(crate) fn arrives(&mut self, r: &RecordRef<'_>, weight: u64) {
        if r.kind == Kind::Key {
            self.arriving_keys.insert(r.id);
        }
        if let Some(sum) = self.weights.get_mut(r.kind.word()) {
            *sum += weight;
        }
    }

    /// A secret whose encryption key is neither here nor comes along is refused.
    fn secrets_need_keys(&mut self, input: &PlanInput<'_>) -> Result<(), PlanError> {
        let coming: HashMap<Id, usize> = self
            .items
            .iter()
            .enumerate()
            .filter(|(_, i)| i.kind == Kind::Secret && !matches!(i.action, Action::Skip | Action::Refuse))
            .map(|(n, i)| (i.id, n))
            .collect();
        if coming.is_empty() {
            return Ok(());
        }
        let mut missing: Vec<(usize, Id)> = Vec::new();
        input.links.each_record::<PlanError>(|r, _| {
            let Some(line) = coming.get(&r.id).filter(|_| r.kind == Kind::Secret) else { return Ok(()) };
            for key in secret_keys(r.header) {
                if !self.arriving_keys.contains(&key) && input.store.get(input.into, Kind::Key, key)?.is_none() {
                    missing.push((*line, key));
                }
            }
            Ok(())
        })?;
        for (line, key) in missing {
            self.items[line].action = Action::Refuse;
            self.items[line].needs = Some(key);
            self.items[line].reason =
                format!("the key {key} that encrypts it is not here; restore it first or together");
        }
        Ok(())
    }

    fn deletions(&mut self) -> Result<(), Fault> {
        let input = self.input;
        for kind in Kind::ALL.iter().filter(|k| k.travels(Carrier::Domain)) {
            if matches!(kind, Kind::User | Kind::Group) && !input.options.include_users {
                continue;
            }
            let (seen, items) = (&self.seen, &mut self.items);
            input.store.scan(input.into, *kind, |record| {
                if !seen.contains(&(*kind, record.id)) && !matches!(kind, Kind::Group | Kind::Counter) {
                    items.push(PlanItem {
                        kind: *kind,
                        id: record.id,
                        name: RecordFacts::of_header(record.header).ok().and_then(|f| f.name),
                        action: Action::Delete,
                        reason: "did not exist at the point".into(),
                        new_id: None,
                        new_name: None,
                        current: record.revision,
                        revision: record.revision + 1,
                        needs: None,
                    });
                }
                ControlFlow::Continue(())
            })?;
        }
        Ok(())
    }

    pub(crate) fn line(
        &mut self,
        r: &RecordRef<'_>,
        name: Option<String>,
        action: Action,
        why: &str,
        current: u64,
        revision: u64,
    ) {
        self.items.push(PlanItem {
            kind: r.kind,
            id: r.id,
            name,
            action,
            reason: why.to_owned(),
            new_id: None,
            new_name: None,
            current,
            revision,
            needs: None,
        });
    }

    fn finish(self) -> Plan {
        let mut actions: BTreeMap<Action, u64> = BTreeMap::new();
        for item in &self.items {
            *actions.entry(item.action).or_default() += 1;
        }
        let mut plan = Plan {
            digest: Digest::ZERO,
            domain: self.input.into,
            options: self.input.options.clone(),
            actions,
            items: self.items,
            negative_facts: self.negative,
            not_looked_into: self.input.not_looked_into.to_vec(),
            weights: self.weights,
            rewritten: self.rewritten,
        };
        let bytes = serde_json::to_vec(&plan).expect("a plan has no value that JSON lacks");
        plan.digest = sha256(&[b"keyark/plan/1", &bytes]);
        plan
    }
}
