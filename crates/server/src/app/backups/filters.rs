//! Filters of domain backups: which records come along, and why.

use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, HashMap};

use keyark_api::backups::Filter;
use keyark_api::keys::KeyQuery;
use keyark_model::key::{Algorithm, KeyHeader};
use keyark_model::people::{GroupHeader, UserHeader};
use keyark_model::{DomainId, Id, Kind, RecordFacts};
use serde_json::Value;

use crate::app::ctx::{Ctx, wildcard};
use crate::app::error::{AppError, Result};
use crate::app::keys::{KeyConditions, key_fits};
use crate::app::policies;
use crate::app::policy_sets::set_find;

/// What was selected: by the filter itself, or because something selected needs it.
#[derive(Default)]
pub struct Selected {
    ids: HashMap<(Kind, Id), Option<Id>>,
}

impl Selected {
    pub fn contains(&self, kind: Kind, id: Id) -> bool {
        // The count of a key's encryptions belongs to the key.
        let kind = if kind == Kind::Counter { Kind::Key } else { kind };
        self.ids.contains_key(&(kind, id))
    }

    /// Id → the record that brought it along.
    pub fn included_by(&self) -> BTreeMap<String, String> {
        self.ids.iter().filter_map(|((_, id), by)| by.map(|by| (id.to_string(), by.to_string()))).collect()
    }

    /// Resolves filters against a domain. With a `Keys` filter, keys that selected ones link to, and keys named by
    /// selected policies and secrets come along; without one no key does.
    pub fn of(ctx: &Ctx, domain: DomainId, filters: &[Filter]) -> Result<Selected> {
        let mut selected = Selected::default();
        let mut with_keys = false;
        for filter in filters {
            match filter.resource_type.as_str() {
                "Keys" => {
                    with_keys = true;
                    selected.keys(ctx, domain, &filter.resource_query)?;
                }
                "cte_policies" => selected.policies(ctx, domain, &filter.resource_query)?,
                "secrets" => selected.secrets(ctx, domain, &filter.resource_query)?,
                "users_groups" => selected.people(ctx, domain, &filter.resource_query)?,
                other => {
                    return Err(AppError::invalid(format!(
                        "resourceType {other:?} is not known; it is Keys, cte_policies, secrets or users_groups"
                    )));
                }
            }
        }
        if with_keys {
            selected.dependencies(ctx, domain)?;
        }
        Ok(selected)
    }

    fn keys(&mut self, ctx: &Ctx, domain: DomainId, query: &Value) -> Result<()> {
        let query: KeyQuery = read(query, "Keys")?;
        let mut conditions = KeyConditions::of_query(&query);
        // A list that matches nothing is seen at once; a backup that left keys out for a letter is not.
        for algorithm in &mut conditions.algorithms {
            *algorithm =
                algorithm.parse::<Algorithm>().map_err(|e| AppError::invalid(e.to_string()))?.word().to_owned();
        }
        for stored in ctx.core.load_all::<KeyHeader>(domain)? {
            if key_fits(&conditions, &stored.header, ctx.now) {
                self.ids.insert((Kind::Key, stored.id()), None);
            }
        }
        Ok(())
    }

    fn policies(&mut self, ctx: &Ctx, domain: DomainId, query: &Value) -> Result<()> {
        #[derive(Default, serde::Deserialize)]
        #[serde(deny_unknown_fields, default)]
        struct Query {
            name: Option<String>,
            policy_type: Option<String>,
            never_deny: Option<bool>,
        }
        let query: Query = read(query, "cte_policies")?;
        for stored in ctx.core.load_all::<policies::PolicyHeader>(domain)? {
            let h = &stored.header;
            let fits = query.name.as_ref().is_none_or(|p| wildcard(p, &h.name))
                && query.policy_type.as_ref().is_none_or(|t| t.eq_ignore_ascii_case(h.policy_type.word()))
                && query.never_deny.is_none_or(|n| n == h.never_deny);
            if fits {
                self.ids.insert((Kind::CtePolicy, stored.id()), None);
                // The sets that its rules name belong to it.
                for (set_type, set) in policies::check::named_sets(&h.rules) {
                    if let Ok(record) = set_find(&ctx.core, domain, set_type, set) {
                        self.ids.entry((Kind::CteSet, record.id())).or_insert(Some(stored.id()));
                    }
                }
            }
        }
        Ok(())
    }

    fn secrets(&mut self, ctx: &Ctx, domain: DomainId, query: &Value) -> Result<()> {
        #[derive(Default, serde::Deserialize)]
        #[serde(deny_unknown_fields, default)]
        struct Query {
            name: Option<String>,
            names: Vec<String>,
        }
        let query: Query = read(query, "secrets")?;
        ctx.core.store.scan(domain, Kind::Secret, |record| {
            let name = RecordFacts::of_header(record.header).ok().and_then(|f| f.name).unwrap_or_default();
            let patterns: Vec<&String> = query.names.iter().chain(&query.name).collect();
            if patterns.is_empty() || patterns.iter().any(|p| wildcard(p, &name)) {
                self.ids.insert((Kind::Secret, record.id), None);
            }
            std::ops::ControlFlow::Continue(())
        })?;
        Ok(())
    }

    fn people(&mut self, ctx: &Ctx, domain: DomainId, query: &Value) -> Result<()> {
        #[derive(Default, serde::Deserialize)]
        #[serde(deny_unknown_fields, default)]
        struct Query {
            name: Option<String>,
            username: Option<String>,
            email: Option<String>,
        }
        let query: Query = read(query, "users_groups")?;
        let fits = |p: &Option<String>, text: &str| p.as_ref().is_none_or(|p| wildcard(p, text));
        for user in ctx.core.load_all::<UserHeader>(domain)? {
            let h = &user.header;
            if fits(&query.name, &h.full_name) && fits(&query.username, &h.username) && fits(&query.email, &h.email) {
                self.ids.insert((Kind::User, user.id()), None);
            }
        }
        for group in ctx.core.load_all::<GroupHeader>(domain)? {
            let member = group.header.members.iter().find(|m| self.contains(Kind::User, **m)).copied();
            if let Some(member) = member {
                self.ids.insert((Kind::Group, group.id()), Some(member));
            }
        }
        Ok(())
    }

    /// Follows links, policies and secrets to the keys they need, until nothing new comes.
    fn dependencies(&mut self, ctx: &Ctx, domain: DomainId) -> Result<()> {
        let mut queue: Vec<(Kind, Id)> = self.ids.keys().copied().collect();
        while let Some((kind, id)) = queue.pop() {
            let needs: Vec<String> = match kind {
                Kind::Key => {
                    let key = ctx.core.load::<KeyHeader>(domain, id)?;
                    key.header.links.iter().map(|l| l.target.to_string()).collect()
                }
                Kind::CtePolicy => policies::policy_keys(&ctx.core.load::<policies::PolicyHeader>(domain, id)?.header),
                Kind::Secret => {
                    let secret = ctx.core.load::<crate::app::secrets::SecretHeader>(domain, id)?;
                    secret.header.versions.iter().map(|v| v.key_id.to_string()).collect()
                }
                _ => Vec::new(),
            };
            for name in needs {
                let Ok(key) = ctx.core.load_any::<KeyHeader>(domain, &name) else { continue };
                let place = (Kind::Key, key.id());
                if let Entry::Vacant(free) = self.ids.entry(place) {
                    free.insert(Some(id));
                    queue.push(place);
                }
            }
        }
        Ok(())
    }
}

fn read<T: serde::de::DeserializeOwned + Default>(query: &Value, what: &str) -> Result<T> {
    match query {
        Value::Null => Ok(T::default()),
        query => T::deserialize(query)
            .map_err(|e| AppError::invalid(format!("the resourceQuery of {what} cannot be read: {e}"))),
    }
}
