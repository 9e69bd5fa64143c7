//! Listing secrets and their versions by conditions that must all hold.

use std::collections::HashMap;
use std::ops::ControlFlow;

use keyark_api::secrets::{Secret, SecretList, SecretVersionList};
use keyark_api::{ErrorCode, Page, PageQuery};
use keyark_model::{DomainId, Id, Kind, Record, Time};

use super::material::DataType;
use super::record::{SecretHeader, SecretState, SecretVersion};
use super::{key_name, shown};
use crate::app::ctx::{Ctx, wildcard};
use crate::app::error::{AppError, Result};
use crate::app::keys::key_id_of;
use crate::app::records::Stored;
use crate::app::{App, Handle, Reply};

/// The conditions of a list, read once.
#[derive(Default)]
struct Conditions {
    names: Vec<String>,
    data_types: Vec<DataType>,
    object_type: Option<String>,
    labels: Vec<(String, Option<String>)>,
    key: Option<Id>,
    states: Vec<SecretState>,
    fingerprint: Option<String>,
}

impl Conditions {
    /// The key is looked up by the caller.
    fn read(r: &SecretList, key: Option<Id>) -> Result<Conditions> {
        let state = |word: &String| {
            let found = SecretState::ALL.into_iter().find(|s| s.word().eq_ignore_ascii_case(word));
            found.ok_or_else(|| AppError::invalid("state is Active, Deleted or Destroyed"))
        };
        let label = |text: &String| match text.split_once('=') {
            Some((label, value)) => (label.to_owned(), Some(value.to_owned())),
            None => (text.clone(), None),
        };
        Ok(Conditions {
            names: r.name.clone(),
            data_types: r.data_type.iter().map(|t| DataType::from_word(t)).collect::<Result<_>>()?,
            object_type: r.object_type.clone(),
            labels: r.labels.iter().map(label).collect(),
            key,
            states: r.state.iter().map(state).collect::<Result<_>>()?,
            fingerprint: r.sha256_fingerprint.clone(),
        })
    }

    fn fit(&self, h: &SecretHeader) -> bool {
        let labelled = |(label, wanted): &(String, Option<String>)| {
            h.labels.get(label).is_some_and(|value| wanted.as_ref().is_none_or(|w| w == value))
        };
        (self.names.is_empty() || self.names.iter().any(|p| wildcard(p, &h.name)))
            && (self.data_types.is_empty() || self.data_types.contains(&h.data_type))
            && self.object_type.as_ref().is_none_or(|t| t.eq_ignore_ascii_case(h.data_type.object_type()))
            && self.labels.iter().all(labelled)
            && self.key.is_none_or(|key| h.versions.iter().any(|v| v.key_id == key))
            && (self.states.is_empty() || self.states.contains(&h.state()))
            && self
                .fingerprint
                .as_ref()
                .is_none_or(|f| h.versions.iter().any(|v| v.sha256.to_string().eq_ignore_ascii_case(f)))
    }
}

/// Puts secrets in the order that was asked for; they come in the order of their creation.
fn sort(found: &mut [Stored<SecretHeader>], order: Option<&str>) -> Result<()> {
    let Some(order) = order else { return Ok(()) };
    let (field, backwards) = order.strip_prefix('-').map_or((order, false), |field| (field, true));
    match field {
        "name" => found.sort_by(|a, b| a.header.name.cmp(&b.header.name)),
        "createdAt" => found.sort_by_key(|s| s.header.created_at),
        "updatedAt" => found.sort_by_key(|s| s.header.updated_at),
        _ => return Err(AppError::invalid("sort is name, createdAt or updatedAt, with - in front for the other way")),
    }
    if backwards {
        found.reverse();
    }
    Ok(())
}

impl Ctx {
    /// The headers of the secrets that fit, without copying any body.
    fn secrets_fitting(
        &self,
        domain: DomainId,
        conditions: &Conditions,
        now: Time,
    ) -> Result<Vec<Stored<SecretHeader>>> {
        let mut found = Vec::new();
        let mut failed = None;
        self.core.store.scan(domain, Kind::Secret, |view| {
            match serde_json::from_slice::<SecretHeader>(view.header) {
                Ok(header) if !header.gone(now) && conditions.fit(&header) => {
                    let record = Record {
                        kind: view.kind,
                        id: view.id,
                        domain: view.domain,
                        revision: view.revision,
                        seq: view.seq,
                        time: view.time,
                        header: Box::default(),
                        body: Box::default(),
                    };
                    found.push(Stored { record, header });
                }
                Ok(_) => {}
                Err(e) => {
                    failed = Some(AppError::internal(format!("header of {} {}: {e}", view.kind, view.id)));
                    return ControlFlow::Break(());
                }
            }
            ControlFlow::Continue(())
        })?;
        failed.map_or(Ok(found), Err)
    }

    /// Shows versions; each key's name is looked up once.
    fn secrets_shown<'a>(
        &self,
        page: impl Iterator<Item = (&'a Stored<SecretHeader>, &'a SecretVersion)>,
    ) -> Result<Vec<Secret>> {
        let mut names: HashMap<Id, Option<String>> = HashMap::new();
        let mut out = Vec::new();
        for (stored, version) in page {
            let name = match names.get(&version.key_id) {
                Some(known) => known.clone(),
                None => {
                    let name = key_name(&self.core, stored.record.domain, version.key_id)?;
                    names.insert(version.key_id, name.clone());
                    name
                }
            };
            out.push(shown(stored, version, name));
        }
        Ok(out)
    }
}

impl Handle<SecretList> for App {
    async fn handle(&self, ctx: &Ctx, r: SecretList) -> Result<Reply<Page<Secret>>> {
        let domain = ctx.domain()?;
        let query = PageQuery::from_wire(r.skip, r.limit);
        let key = match r.key.as_deref() {
            None => None,
            Some(text) => match key_id_of(&ctx.core, domain, text) {
                Ok(id) => Some(id),
                Err(e) if e.code == ErrorCode::NotFound => match text.parse::<Id>() {
                    // Secrets outlive their key: they are still found by its id.
                    Ok(id) => Some(id),
                    Err(_) => return Ok(Reply::json(query.of(Vec::new()))),
                },
                Err(e) => return Err(e),
            },
        };
        let mut found = ctx.secrets_fitting(domain, &Conditions::read(&r, key)?, ctx.now)?;
        sort(&mut found, r.sort.as_deref())?;
        let page = query.of(found);
        let newest = page.resources.iter().filter_map(|s| Some((s, s.header.versions.last()?)));
        let resources = ctx.secrets_shown(newest)?;
        Ok(Reply::json(Page { skip: page.skip, limit: page.limit, total: page.total, resources }))
    }
}

impl Handle<SecretVersionList> for App {
    async fn handle(&self, ctx: &Ctx, r: SecretVersionList) -> Result<Reply<Page<Secret>>> {
        let stored = ctx.secret_load(&r.id)?;
        let page = PageQuery::from_wire(r.skip, r.limit).of(stored.header.versions.iter().collect());
        let resources = ctx.secrets_shown(page.resources.iter().map(|version| (&stored, *version)))?;
        Ok(Reply::json(Page { skip: page.skip, limit: page.limit, total: page.total, resources }))
    }
}

#[cfg(test)]
mod tests {
    use keyark_api::secrets::SecretList;
    use serde_json::json;

    use super::{Conditions, SecretHeader};

    fn fits(list: serde_json::Value) -> Option<bool> {
        let header: SecretHeader = serde_json::from_value(json!({
            "name": "db-password",
            "data_type": "password",
            "created_at": "2026-05-01T03:00:00Z",
            "updated_at": "2026-05-01T03:00:00Z",
            "history": [{ "version": 0, "created_at": "2026-05-01T03:00:00Z", "size": 4, "key_version": 1,
                "key_id": "0196a1b2-0000-7000-8000-000000000001", "sha256": "ab".repeat(32) }],
            "labels": { "team": "billing" },
            "recovery_days": 30
        }))
        .unwrap();
        let list: SecretList = serde_json::from_value(list).unwrap();
        let key = list.key.as_ref().map(|k| k.parse().unwrap());
        Conditions::read(&list, key).ok().map(|c| c.fit(&header))
    }

    #[test]
    fn every_condition_must_hold() {
        for (list, expected) in [
            (json!({}), Some(true)),
            (json!({ "name": ["db-*"] }), Some(true)),
            (json!({ "name": ["x*", "db-?assword"] }), Some(true)),
            (json!({ "name": ["db"] }), Some(false)),
            (json!({ "dataType": ["Password"] }), Some(true)),
            (json!({ "dataType": ["seed"] }), Some(false)),
            (json!({ "dataType": ["text"] }), None),
            (json!({ "objectType": "Secret Data" }), Some(true)),
            (json!({ "objectType": "Opaque Object" }), Some(false)),
            (json!({ "labels": ["team"] }), Some(true)),
            (json!({ "labels": ["team=billing"] }), Some(true)),
            (json!({ "labels": ["team=billing", "site"] }), Some(false)),
            (json!({ "labels": ["team=sales"] }), Some(false)),
            (json!({ "state": ["active"] }), Some(true)),
            (json!({ "state": ["Deleted"] }), Some(false)),
            (json!({ "state": ["Gone"] }), None),
            (json!({ "key": "0196a1b2-0000-7000-8000-000000000001" }), Some(true)),
            (json!({ "key": "0196a1b2-0000-7000-8000-000000000002" }), Some(false)),
            (json!({ "sha256_fingerprint": "AB".repeat(32) }), Some(true)),
            (json!({ "sha256_fingerprint": "ab" }), Some(false)),
        ] {
            assert_eq!(fits(list.clone()), expected, "{list}");
        }
    }
}
