//! Which keys: one set of conditions for lists, queries and the filters of backups.

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use keyark_api::keys::{Key, KeyGet, KeyLabel, KeyLabels, KeyLink, KeyLinkList, KeyList, KeyQuery, KeyVersionList};
use keyark_api::{Page, PageQuery};
use keyark_model::key::{KeyHeader, UsageMask};
use keyark_model::{Kind, Time};
use serde_json::{Map, Value};

use super::{key_links, key_shown, version_of};
use crate::app::ctx::{Ctx, wildcard};
use crate::app::error::{AppError, Result};
use crate::app::records::Stored;
use crate::app::{App, Handle, Reply};

/// Conditions that must all hold; within one list, any of its values.
#[derive(Debug, Default, Clone)]
pub struct KeyConditions {
    pub names: Vec<String>,
    pub ids: Vec<String>,
    pub aliases: Vec<String>,
    pub algorithms: Vec<String>,
    pub sizes: Vec<u32>,
    pub states: Vec<String>,
    pub labels: BTreeMap<String, Option<String>>,
    pub usage_mask: Option<u32>,
    pub meta_contains: Option<Map<String, Value>>,
    pub object_type: Option<String>,
    pub created_before: Option<Time>,
    pub created_after: Option<Time>,
    pub unexportable: Option<bool>,
    pub undeletable: Option<bool>,
    pub deleting: Option<bool>,
}

impl KeyConditions {
    fn of_list(r: &KeyList) -> KeyConditions {
        let label = |text: &String| match text.split_once('=') {
            None => (text.clone(), None),
            Some((label, value)) => (label.to_owned(), Some(value.to_owned())),
        };
        KeyConditions {
            names: r.name.clone(),
            ids: r.id.clone(),
            aliases: r.alias.clone(),
            algorithms: r.algorithm.clone(),
            sizes: r.size.into_iter().collect(),
            states: r.state.clone(),
            labels: r.labels.iter().map(label).collect(),
            usage_mask: r.usage_mask,
            meta_contains: None,
            object_type: r.object_type.clone(),
            created_before: r.created_before,
            created_after: r.created_after,
            unexportable: r.unexportable,
            undeletable: r.undeletable,
            deleting: r.deleting,
        }
    }

    pub fn of_query(r: &KeyQuery) -> KeyConditions {
        KeyConditions {
            names: r.names.iter().chain(&r.name).cloned().collect(),
            ids: r.ids.clone(),
            aliases: Vec::new(),
            algorithms: r.algorithm.iter().cloned().collect(),
            sizes: r.sizes.iter().copied().chain(r.size).collect(),
            states: r.states.iter().chain(&r.state).cloned().collect(),
            labels: r.labels.iter().map(|(k, v)| (k.clone(), Some(v.clone()))).collect(),
            usage_mask: r.usage_mask,
            meta_contains: r.meta_contains.clone(),
            object_type: r.object_type.clone(),
            created_before: r.created_before,
            created_after: r.created_after,
            unexportable: r.unexportable,
            undeletable: r.undeletable,
            deleting: None,
        }
    }

    fn check(&self) -> Result<()> {
        self.usage_mask.map(UsageMask::new).transpose().map_err(|e| AppError::invalid(e.to_string()))?;
        Ok(())
    }

    fn is_empty(&self) -> bool {
        self.names.is_empty()
            && self.ids.is_empty()
            && self.aliases.is_empty()
            && self.algorithms.is_empty()
            && self.sizes.is_empty()
            && self.states.is_empty()
            && self.labels.is_empty()
            && self.meta_contains.is_none()
            && self.usage_mask.is_none()
            && self.object_type.is_none()
            && self.created_before.is_none()
            && self.created_after.is_none()
            && self.unexportable.is_none()
            && self.undeletable.is_none()
            && self.deleting.is_none()
    }
}

fn contains(outer: &Value, inner: &Value) -> bool {
    match (outer, inner) {
        (Value::Object(o), Value::Object(i)) => i.iter().all(|(k, v)| o.get(k).is_some_and(|found| contains(found, v))),
        (o, i) => o == i,
    }
}

/// Whether a key fits all conditions.
pub fn key_fits(c: &KeyConditions, h: &KeyHeader, now: Time) -> bool {
    let any = |list: &[String], fits: &dyn Fn(&str) -> bool| list.is_empty() || list.iter().any(|x| fits(x));
    let newest = h.newest();
    any(&c.names, &|p| wildcard(p, h.name.as_str()))
        && any(&c.ids, &|id| h.versions.iter().any(|v| v.id.to_string() == id))
        && any(&c.aliases, &|p| h.aliases.iter().any(|a| wildcard(p, a.alias.as_str())))
        && any(&c.algorithms, &|a| a == h.spec.algorithm().word())
        && (c.sizes.is_empty() || c.sizes.contains(&h.spec.size()))
        && any(&c.states, &|s| newest.is_some_and(|v| v.state_at(now).word().eq_ignore_ascii_case(s)))
        && c.labels.iter().all(|(k, v)| h.labels.get(k).is_some_and(|found| v.as_ref().is_none_or(|v| v == found)))
        && c.usage_mask.is_none_or(|m| h.usage_mask.bits() & m == m)
        && c.meta_contains.as_ref().is_none_or(|m| m.iter().all(|(k, v)| h.meta.get(k).is_some_and(|f| contains(f, v))))
        && c.object_type.as_ref().is_none_or(|t| t.eq_ignore_ascii_case(h.spec.object_type().word()))
        && c.created_before.is_none_or(|t| h.created_at < t)
        && c.created_after.is_none_or(|t| h.created_at > t)
        && c.unexportable.is_none_or(|b| h.unexportable == b)
        && c.undeletable.is_none_or(|b| h.undeletable == b)
        && c.deleting.is_none_or(|b| h.deletion_date.is_some() == b)
}

impl Ctx {
    /// A page of the keys that fit. Without conditions the total is known and only the page is read.
    fn keys_page(
        &self,
        conditions: &KeyConditions,
        page: PageQuery,
        sort: Option<&str>,
        fields: Option<&str>,
    ) -> Result<Page<Key>> {
        conditions.check()?;
        let domain = self.domain()?;
        let shown = |stored: &Stored<KeyHeader>| Ok(key_shown(self, stored, version_of(&stored.header, None)?, fields));
        let (mut passed, mut total, mut found) = (0, 0, Vec::new());
        let all = conditions.is_empty();
        let mut sorted: Vec<Stored<KeyHeader>> = Vec::new();
        let sort = match sort {
            None => None,
            Some("name" | "-name" | "createdAt" | "-createdAt") => sort,
            Some(_) => return Err(AppError::invalid("sort is createdAt or name, with - in front for descending")),
        };
        let mut failure = None;
        self.core.store.scan(domain, Kind::Key, |record| {
            if all && sort.is_none() && passed < page.skip {
                passed += 1;
                return ControlFlow::Continue(());
            }
            let stored = match self.core.read_header::<KeyHeader>(record.to_record()) {
                Ok(stored) => stored,
                Err(e) => {
                    failure = Some(e);
                    return ControlFlow::Break(());
                }
            };
            if !key_fits(conditions, &stored.header, self.now) {
                return ControlFlow::Continue(());
            }
            total += 1;
            if sort.is_some() {
                sorted.push(stored);
            } else if all {
                if found.len() as u64 >= page.limit {
                    return ControlFlow::Break(());
                }
                found.push(shown(&stored));
            } else if total > page.skip && (found.len() as u64) < page.limit {
                found.push(shown(&stored));
            }
            ControlFlow::Continue(())
        })?;
        if let Some(e) = failure {
            return Err(e);
        }
        if let Some(sort) = sort {
            match sort.trim_start_matches('-') {
                "name" => sorted.sort_by(|a, b| a.header.name.as_str().cmp(b.header.name.as_str())),
                _ => sorted.sort_by_key(|s| s.header.created_at),
            }
            if sort.starts_with('-') {
                sorted.reverse();
            }
            found = sorted.iter().skip(page.skip as usize).take(page.limit as usize).map(shown).collect();
        } else if all {
            total = self.core.store.count(domain, Kind::Key)?.records;
        }
        let resources = found.into_iter().collect::<Result<_>>()?;
        Ok(Page { skip: page.skip, limit: page.limit, total, resources })
    }
}

impl Handle<KeyList> for App {
    async fn handle(&self, ctx: &Ctx, r: KeyList) -> Result<Reply<Page<Key>>> {
        ctx.require(keyark_model::access::Right::KeyRead)?;
        let page = PageQuery::from_wire(r.skip, r.limit);
        let conditions = KeyConditions::of_list(&r);
        Ok(Reply::json(ctx.keys_page(&conditions, page, r.sort.as_deref(), r.fields.as_deref())?))
    }
}

impl Handle<KeyQuery> for App {
    async fn handle(&self, ctx: &Ctx, r: KeyQuery) -> Result<Reply<Page<Key>>> {
        let page = PageQuery::from_wire(r.skip, r.limit);
        Ok(Reply::json(ctx.keys_page(&KeyConditions::of_query(&r), page, None, r.fields.as_deref())?))
    }
}

impl Handle<KeyLabels> for App {
    async fn handle(&self, ctx: &Ctx, r: KeyLabels) -> Result<Reply<Page<KeyLabel>>> {
        let mut labels: BTreeMap<String, std::collections::BTreeSet<String>> = BTreeMap::new();
        for stored in ctx.core.load_all::<KeyHeader>(ctx.domain()?)? {
            for (label, value) in stored.header.labels {
                labels.entry(label).or_default().insert(value);
            }
        }
        let all = labels.into_iter().map(|(label, v)| KeyLabel { label, values: v.into_iter().collect() }).collect();
        Ok(Reply::json(PageQuery::from_wire(r.skip, r.limit).of(all)))
    }
}

impl Handle<KeyGet> for App {
    async fn handle(&self, ctx: &Ctx, r: KeyGet) -> Result<Reply<Key>> {
        let stored = ctx.key_load(&r.id, r.kind.as_deref())?;
        let version = version_of(&stored.header, r.version)?;
        let mut key = key_shown(ctx, &stored, version, Some(r.fields.as_deref().unwrap_or("meta")));
        if !stored.header.spec.is_symmetric()
            && let Some(found) = ctx.key_body(&stored)?.version(version.version)
        {
            key.publickey = Some(found.material.public_key_pem()?);
        }
        if version.state.is_destroyed() {
            key.held_by = ctx.key_holders(std::iter::once(version))?;
        }
        Ok(Reply::json(key).at(stored.revision()))
    }
}

impl Handle<KeyVersionList> for App {
    async fn handle(&self, ctx: &Ctx, r: KeyVersionList) -> Result<Reply<Page<Key>>> {
        let stored = ctx.key_load(&r.id, r.kind.as_deref())?;
        let all = stored.header.versions.iter().map(|v| key_shown(ctx, &stored, v, None)).collect();
        Ok(Reply::json(PageQuery::from_wire(r.skip, r.limit).of(all)))
    }
}

impl Handle<KeyLinkList> for App {
    async fn handle(&self, ctx: &Ctx, r: KeyLinkList) -> Result<Reply<Page<KeyLink>>> {
        let stored = ctx.key_load(&r.id, None)?;
        Ok(Reply::json(PageQuery::from_wire(r.skip, r.limit).of(key_links(&stored.header))))
    }
}
