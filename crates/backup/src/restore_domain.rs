//! Carries out a plan: everything in one batch, or nothing.

use std::collections::{HashMap, HashSet};

use keyark_archive::RecordRef;
use keyark_crypto::SecretBytes;
use keyark_crypto::algorithm::AlgorithmError;
use keyark_crypto::keyring::KeyringError;
use keyark_crypto::seal::RecordName;
use keyark_model::{DomainId, Id, Kind, Record, RecordFacts};
use keyark_store::{Must, Write};
use serde_json::Value;

use crate::facts::{Ruling, body_without};
use crate::people::{group_arrives, user_arrives};
use crate::plan::{Action, Plan, PlanInput, PlanItem};
use crate::progress::{Cancelled, Progress};
use crate::source::SourceError;

/// Seals a body for the destination.
pub type Seal<'a> = dyn Fn(&RecordName, &[u8], &[u8]) -> Result<Box<[u8]>, KeyringError> + 'a;

/// A record here with the newest value of an archived one as its newest version: header and body. None if that cannot be.
pub type Append<'a> = dyn Fn(Record, &[u8], &SecretBytes) -> Option<(Vec<u8>, SecretBytes)> + 'a;

/// What the destination does with records.
pub struct Target<'a> {
    pub seal: &'a Seal<'a>,
    pub append: &'a Append<'a>,
}

/// Why a plan was not carried out. Nothing was written.
#[derive(Debug, thiserror::Error)]
pub enum RestoreError {
    #[error("the plan refuses {0} records; look at it and choose a conflict rule, or fewer items")]
    Refused(u64),
    #[error("{secret} needs the key {key}, which is neither here nor comes along; restore that first or together")]
    NeedsKey { secret: Id, key: Id },
    #[error("what the plan names has changed since it was made; make a new plan")]
    Changed,
    #[error(transparent)]
    Source(#[from] SourceError),
    #[error(transparent)]
    Keyring(#[from] KeyringError),
    #[error("a key of the archive cannot be read: {0}")]
    Key(#[from] AlgorithmError),
    #[error("the header of {kind} {id} cannot be rewritten")]
    Header { kind: Kind, id: Id },
    #[error(transparent)]
    Store(#[from] keyark_store::Fault),
    #[error(transparent)]
    Cancelled(#[from] Cancelled),
}

/// The writes of a plan and what must still be true when they are made.
#[derive(Debug, Default)]
pub struct Writes {
    pub must: Vec<Must>,
    pub changes: Vec<Write>,
}

/// Turns a plan into writes. The bodies are opened under the archive's KEKs and sealed for the destination.
pub fn writes(
    input: &PlanInput<'_>,
    plan: &Plan,
    target: &Target<'_>,
    progress: &Progress,
) -> Result<Writes, RestoreError> {
    let lacking = plan.items.iter().find_map(|i| Some((i.id, i.needs?)));
    if let Some((secret, key)) =
        lacking.filter(|_| plan.items.iter().all(|i| i.action != Action::Refuse || i.needs.is_some()))
    {
        return Err(RestoreError::NeedsKey { secret, key });
    }
    if plan.count(Action::Refuse) > 0 {
        return Err(RestoreError::Refused(plan.count(Action::Refuse)));
    }
    let lines: HashMap<(Kind, Id), &PlanItem> = plan.items.iter().map(|i| ((i.kind, i.id), i)).collect();
    let arriving: HashSet<Id> =
        plan.items.iter().filter(|i| i.kind == Kind::User && i.action == Action::Create).map(|i| i.id).collect();
    progress.set_total(plan.items.len() as u64);
    let mut out = Writes::default();
    for item in plan.items.iter().filter(|i| i.action == Action::Delete) {
        out.changes.push(Write::Delete { kind: item.kind, id: item.id, revision: item.revision });
    }
    let arrives = |id: Id| arriving.contains(&id);
    input.links.each_record::<RestoreError>(|record, link| {
        if record.domain == input.from
            && let Some(line) = lines.get(&(record.kind, record.id))
            && matches!(line.action, Action::Create | Action::Overwrite | Action::Rename | Action::NewVersion)
        {
            progress.step()?;
            let body = input.links.body(&record, link)?;
            out.changes.push(restored(input, plan, target, &record, body, line, &arrives)?);
        }
        Ok(())
    })?;
    Ok(out)
}

fn restored(
    input: &PlanInput<'_>,
    plan: &Plan,
    target: &Target<'_>,
    r: &RecordRef<'_>,
    mut body: SecretBytes,
    line: &PlanItem,
    arrives: &dyn Fn(Id) -> bool,
) -> Result<Write, RestoreError> {
    let unreadable = || RestoreError::Header { kind: r.kind, id: r.id };
    let mut header = r.header.to_vec();
    if let (Ruling::Change { header: changed, without }, _) = input.facts.rule(r.kind, r.id, r.header, input.options) {
        body = body_without(r.header, body, &without)?;
        header = changed;
    }
    match r.kind {
        Kind::User => {
            header = user_arrives(&header).ok_or_else(unreadable)?;
            body = SecretBytes::new(Vec::new());
        }
        Kind::Group => {
            let known = |id: Id| {
                arrives(id)
                    || [input.into, DomainId::ROOT]
                        .iter()
                        .any(|d| input.store.get(*d, Kind::User, id).is_ok_and(|u| u.is_some()))
            };
            header = group_arrives(&header, known).ok_or_else(unreadable)?;
        }
        _ => {}
    }
    if line.action == Action::NewVersion {
        let current = input.store.get(input.into, r.kind, r.id)?.ok_or(RestoreError::Changed)?;
        (header, body) = (target.append)(current, &header, &body).ok_or_else(unreadable)?;
    }
    if !plan.rewritten.is_empty() {
        header = rewritten(&header, line, plan).ok_or_else(unreadable)?;
    }
    let id = line.new_id.unwrap_or(r.id);
    let version = RecordFacts::of_header(&header).map_err(|_| unreadable())?.version;
    let name = RecordName { domain: input.into, kind: r.kind, id, version, revision: line.revision };
    let body = (target.seal)(&name, &header, body.expose())?;
    Ok(Write::Put { kind: r.kind, id, revision: line.revision, header: header.into(), body, purge: false })
}

/// Puts new ids in the place of old ones wherever a header names them, and the new name.
fn rewritten(header: &[u8], line: &PlanItem, plan: &Plan) -> Option<Vec<u8>> {
    let mut value: Value = serde_json::from_slice(header).ok()?;
    replace(&mut value, &|text| {
        let id: Id = text.parse().ok()?;
        plan.rewritten.get(&id).map(Id::to_string)
    });
    if let Some(name) = &line.new_name {
        let object = value.as_object_mut()?;
        object.insert("name".into(), Value::String(name.clone()));
        // Aliases stay with the record that has them already.
        object.remove("aliases");
    }
    serde_json::to_vec(&value).ok()
}

fn replace(value: &mut Value, with: &dyn Fn(&str) -> Option<String>) {
    match value {
        Value::String(text) => {
            if let Some(new) = with(text) {
                *text = new;
            }
        }
        Value::Array(all) => all.iter_mut().for_each(|v| replace(v, with)),
        Value::Object(map) => map.values_mut().for_each(|v| replace(v, with)),
        _ => {}
    }
}
