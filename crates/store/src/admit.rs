//! Decides whether a batch may be written: everything is checked before anything is.

use std::collections::HashMap;

use keyark_crypto::chain::{ChangeKey, change_digest};
use keyark_model::{Change, ChangeContent, DomainId, Entry, Id, Kind, Position, RecordFacts, Time};
use rusqlite::{OptionalExtension, params};

use crate::batch::{Batch, Committed, Draft, Must, Write};
use crate::error::{CommitError, Fault};
use crate::salts::Salts;
use crate::stage::{Live, Planned, Stage, Standing, facts_of, names_of};

impl Stage<'_> {
    /// One plan for each change of the batch in order, or why the batch falls. Writes nothing.
    pub(crate) fn admit(&self, batch: &Batch) -> Result<Vec<Planned>, CommitError> {
        for must in &batch.must {
            if !self.holds(must)? {
                return Err(CommitError::Unmet(must.clone()));
            }
        }
        let mut plans = Vec::new();
        let mut written = HashMap::new();
        for draft in &batch.entries {
            for write in &draft.changes {
                let (kind, id) = write.key();
                if written.insert((kind, id), plans.len()).is_some() {
                    return Err(CommitError::Twice { kind, id });
                }
                plans.push(self.plan(draft.domain, write)?);
            }
        }
        self.check_names(batch, &plans, &written)?;
        self.check_weights(batch, &plans)?;
        Ok(plans)
    }

    /// Preconditions on what stands before the batch.
    fn holds(&self, must: &Must) -> Result<bool, CommitError> {
        Ok(match must {
            Must::Exists { kind, id } => matches!(self.standing(*kind, *id)?, Standing::Live(_)),
            Must::Absent { kind, id } => !matches!(self.standing(*kind, *id)?, Standing::Live(_)),
            Must::Unchanged { kind, id, revision } => {
                matches!(self.standing(*kind, *id)?, Standing::Live(live) if live.revision == *revision)
            }
            Must::NoneOf { domain, kind } => self.slot(*domain, *kind).is_none_or(|s| s.records == 0),
            Must::WeightAtMost { .. } => true,
        })
    }

    fn plan(&self, domain: DomainId, write: &Write) -> Result<Planned, CommitError> {
        let (kind, id) = write.key();
        let before = self.standing(kind, id)?;
        let current = match &before {
            Standing::Live(live) if self.owner(live.slot) != Some(domain) => {
                return Err(CommitError::Elsewhere { kind, id });
            }
            Standing::Live(live) => live.revision,
            Standing::Gone { revision } => *revision,
            Standing::Never => 0,
        };
        let live = matches!(before, Standing::Live(_));
        let (follows, facts, purge) = match write {
            Write::Put { revision, header, purge, .. } => {
                let facts = RecordFacts::of_header(header).map_err(|_| CommitError::BadHeader { kind, id })?;
                (*revision == current + 1, Some(facts), *purge)
            }
            Write::Delete { revision, .. } => (live && *revision == current + 1, None, false),
            Write::Reseal { revision, .. } => {
                let facts = match &before {
                    Standing::Live(live) => Some(facts_of(&live.header)?),
                    _ => None,
                };
                (live && *revision == current, facts, false)
            }
        };
        if !follows {
            return Err(CommitError::Conflict { kind, id, current });
        }
        Ok(Planned { before, facts, purge })
    }

    /// Names are unique in the state after the batch, so two records may swap theirs in one.
    fn check_names(
        &self,
        batch: &Batch,
        plans: &[Planned],
        written: &HashMap<(Kind, Id), usize>,
    ) -> Result<(), CommitError> {
        let mut claimed: HashMap<(DomainId, Kind, &str), Id> = HashMap::new();
        let writes = batch.entries.iter().flat_map(|d| d.changes.iter().map(|w| (d.domain, w)));
        for ((domain, write), plan) in writes.zip(plans) {
            let ((kind, id), Write::Put { .. }, Some(facts)) = (write.key(), write, &plan.facts) else { continue };
            for name in names_of(facts) {
                let taken = |by| CommitError::NameTaken { kind, name: name.to_owned(), by };
                if plans.len() > 1
                    && let Some(by) = claimed.insert((domain, kind, name), id)
                {
                    return Err(taken(by));
                }
                let Some(slot) = self.slot(domain, kind) else { continue };
                let own = match &plan.before {
                    Standing::Live(Live { rid, .. }) => Some(*rid),
                    _ => None,
                };
                if let Some(by) = self.name_holder(slot.slot, name, own)? {
                    // Whoever has it now keeps it unless this batch takes it away.
                    let keeps = written.get(&(kind, by)).is_none_or(|&at| {
                        plans[at].facts.as_ref().is_some_and(|facts| names_of(facts).contains(&name))
                    });
                    if keeps {
                        return Err(taken(by));
                    }
                }
            }
        }
        Ok(())
    }

    /// The record other than `own` that has a name.
    fn name_holder(&self, slot: i64, name: &str, own: Option<i64>) -> Result<Option<Id>, Fault> {
        let rid: Option<i64> = self
            .conn
            .prepare_cached("SELECT rid FROM name WHERE slot = ?1 AND name = ?2")?
            .query_row(params![slot, name], |r| r.get(0))
            .optional()?;
        let Some(rid) = rid.filter(|rid| Some(*rid) != own) else { return Ok(None) };
        let id = self
            .conn
            .prepare_cached("SELECT id FROM record WHERE rid = ?1")?
            .query_row([rid], |r| Ok(Id::from_bytes(r.get(0)?)))
            .optional()?;
        id.map(Some).ok_or_else(|| Fault::Damaged(format!("the name {name:?} has no record")))
    }

    fn check_weights(&self, batch: &Batch, plans: &[Planned]) -> Result<(), CommitError> {
        for must in &batch.must {
            let Must::WeightAtMost { domain, kind, limit } = must else { continue };
            let mut weight = self.slot(*domain, *kind).map_or(0, |s| i128::from(s.weight));
            let writes = batch.entries.iter().flat_map(|d| d.changes.iter().map(|w| (d.domain, w)));
            for ((of, write), plan) in writes.zip(plans) {
                if (of, write.key().0) == (*domain, *kind) {
                    weight += plan.facts.as_ref().map_or(0, |f| i128::from(f.weight));
                    if let Standing::Live(live) = &plan.before {
                        weight -= i128::from(facts_of(&live.header)?.weight);
                    }
                }
            }
            if weight > i128::from(*limit) {
                return Err(CommitError::Unmet(must.clone()));
            }
        }
        Ok(())
    }

    /// Writes an admitted batch; the entries go to `page` for the log.
    pub(crate) fn write(
        &mut self,
        batch: &Batch,
        plans: Vec<Planned>,
        now: Time,
        salts: &mut Salts,
        page: &mut Vec<Entry>,
    ) -> Result<Committed, Fault> {
        let first = self.new.head.seq + u64::from(!batch.entries.is_empty());
        let mut plans = plans.into_iter();
        for draft in &batch.entries {
            let plans: Vec<Planned> = plans.by_ref().take(draft.changes.len()).collect();
            let entry = self.entry_of(draft, &plans, now, salts);
            self.project(&entry, plans)?;
            page.push(entry);
        }
        let head = self.new.head;
        let position = Position { incarnation: self.state.incarnation, seq: head.seq };
        Ok(Committed { first, position, time: head.time, hash: head.hash })
    }

    fn entry_of(&self, draft: &Draft, plans: &[Planned], now: Time, salts: &mut Salts) -> Entry {
        let (head, domain) = (self.new.head, self.domain_head(draft.domain));
        let change = |(write, plan): (&Write, &Planned)| {
            let (kind, id) = write.key();
            let (revision, put) = match (write, &plan.before) {
                (Write::Put { revision, header, body, .. }, _) => (*revision, Some((header, body))),
                (Write::Reseal { revision, body, .. }, Standing::Live(live)) => (*revision, Some((&live.header, body))),
                (Write::Delete { revision, .. } | Write::Reseal { revision, .. }, _) => (*revision, None),
            };
            let salt = salts.next();
            let key = ChangeKey { kind, domain: draft.domain, id, revision };
            let digest = change_digest(&salt, &key, put.map(|(header, body)| (&**header, &**body)));
            let content = match put {
                Some((header, body)) => ChangeContent::Put { header: header.clone(), body: body.clone() },
                None => ChangeContent::Delete,
            };
            Change { kind, id, revision, salt, digest, content }
        };
        Entry {
            incarnation: self.state.incarnation,
            seq: head.seq + 1,
            prev: head.hash,
            time: now.max(Time(head.time.0 + 1)),
            domain: draft.domain,
            domain_seq: domain.domain_seq + 1,
            domain_prev: domain.hash,
            actor: draft.actor.clone(),
            request_id: draft.request_id.clone(),
            action: draft.action.clone(),
            target: draft.target.clone(),
            outcome: draft.outcome,
            changes: draft.changes.iter().zip(plans).map(change).collect(),
        }
    }

    /// Plans for an entry that another node appended: it was admitted there.
    pub(crate) fn plans_of(&self, entry: &Entry) -> Result<Vec<Planned>, Fault> {
        let plan = |change: &Change| {
            let facts = match &change.content {
                ChangeContent::Put { header, .. } => Some(facts_of(header)?),
                ChangeContent::Delete | ChangeContent::Withheld => None,
            };
            Ok(Planned { before: self.standing(change.kind, change.id)?, facts, purge: false })
        };
        entry.changes.iter().map(plan).collect()
    }
}
