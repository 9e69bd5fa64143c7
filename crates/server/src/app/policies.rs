//! Policies of file encryption clients: checked against their type and the domain, stored, shown.

pub mod check;
mod rules;
pub mod types;

use std::collections::{BTreeSet, HashSet};

use keyark_api::endpoint::NoBody;
use keyark_api::policies::{
    Policy, PolicyCreate, PolicyDelete, PolicyGet, PolicyList, PolicyMetadata, PolicyRules, PolicyUpdate,
};
use keyark_api::{Page, PageQuery};
use keyark_model::key::KeyName;
use keyark_model::{DomainId, Id, Kind, Time};
use keyark_store::Must;
use serde::{Deserialize, Serialize};

use super::core::Core;
use super::ctx::{Ctx, account_of, uri_of, wildcard};
use super::error::{AppError, Result};
use super::keys::{APPLICATION, DEV_ACCOUNT, key_find};
use super::policy_sets::set_find;
use super::records::{Header, Stored};
use super::{App, Handle, Reply};
use check::{lookup_of, named_keys, named_sets, rules_check};
use rules::{rules_number, rules_settle};
use types::PolicyType;

/// Clear attributes of a policy, its rules among them; the body is empty and sealed, so that nobody who writes the
/// disk changes a rule.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct PolicyHeader {
    pub name: String,
    pub policy_type: PolicyType,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub description: String,
    pub created_at: Time,
    pub updated_at: Time,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub never_deny: bool,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub restrict_update: bool,
    #[serde(default)]
    pub rules: PolicyRules,
}

impl Header for PolicyHeader {
    const KIND: Kind = Kind::CtePolicy;
}

impl PolicyHeader {
    /// Whether a change is allowed; `force` overrides the mark.
    fn may_change(&self, force: bool) -> Result<()> {
        match self.restrict_update && !force {
            true => Err(AppError::conflict(
                "the policy's metadata restrict updates; change the policy itself with force_restrict_update",
            )),
            false => Ok(()),
        }
    }
}

/// The keys that a policy names, each by its id or its name (aliases are names too), once.
pub fn policy_keys(header: &PolicyHeader) -> Vec<String> {
    let named = named_keys(&header.rules);
    let bare =
        named.into_iter().map(|(key, key_type)| lookup_of(key, key_type).map_or(key, |(bare, _)| bare).to_owned());
    bare.collect::<BTreeSet<_>>().into_iter().collect()
}

/// What the rules name must be here, now and when they are committed.
fn rules_named(core: &Core, domain: DomainId, rules: &PolicyRules) -> Result<Vec<Must>> {
    let mut here: HashSet<(Kind, Id)> = HashSet::new();
    for (set_type, text) in named_sets(rules).into_iter().collect::<HashSet<_>>() {
        here.insert((Kind::CteSet, set_find(core, domain, set_type, text)?.id()));
    }
    for (key, key_type) in named_keys(rules).into_iter().collect::<HashSet<_>>() {
        let (text, kind) = lookup_of(key, key_type)?;
        here.insert((Kind::Key, key_find(core, domain, text, kind)?.id()));
    }
    Ok(here.into_iter().map(|(kind, id)| Must::Exists { kind, id }).collect())
}

/// A policy as the wire shows it.
fn shown(stored: &Stored<PolicyHeader>) -> Policy {
    let (h, domain) = (&stored.header, stored.record.domain);
    let mut rules = h.rules.clone();
    rules_number(&mut rules);
    Policy {
        id: stored.id().to_string(),
        uri: uri_of(domain, "transparent-encryption:policies", stored.id()),
        account: account_of(domain),
        application: APPLICATION.into(),
        dev_account: DEV_ACCOUNT.into(),
        created_at: h.created_at,
        updated_at: h.updated_at,
        name: h.name.clone(),
        description: h.description.clone(),
        policy_type: h.policy_type.word().into(),
        never_deny: h.never_deny,
        metadata: PolicyMetadata { restrict_update: h.restrict_update },
        version: stored.revision(),
        security_rules: rules.security_rules,
        key_rules: rules.key_rules,
        ldt_key_rules: rules.ldt_key_rules,
        idt_key_rules: rules.idt_key_rules,
        data_transform_rules: rules.data_transform_rules,
        signature_rules: rules.signature_rules,
    }
}

/// A name and a description that a policy or a set may have.
pub(super) fn texts_allowed(name: &str, description: &str) -> Result<()> {
    KeyName::check(name).map_err(|e| AppError::invalid(e.to_string()))?;
    match description.chars().count() {
        0..=4096 => Ok(()),
        _ => Err(AppError::invalid("a description has at most 4096 characters")),
    }
}

/// Puts what was listed in the order that was asked for; it comes in the order of creation.
pub(super) fn sort<T>(
    found: &mut [T],
    order: Option<&str>,
    name: fn(&T) -> &str,
    times: fn(&T) -> (Time, Time),
) -> Result<()> {
    let Some(order) = order else { return Ok(()) };
    let (field, backwards) = order.strip_prefix('-').map_or((order, false), |field| (field, true));
    match field {
        "name" => found.sort_by(|a, b| name(a).cmp(name(b))),
        "createdAt" => found.sort_by_key(|one| times(one).0),
        "updatedAt" => found.sort_by_key(|one| times(one).1),
        _ => return Err(AppError::invalid("sort is name, createdAt or updatedAt, with - in front for the other way")),
    }
    if backwards {
        found.reverse();
    }
    Ok(())
}

impl Ctx {
    fn policy_load(&self, id: &str) -> Result<Stored<PolicyHeader>> {
        self.core.load_any(self.domain()?, id)
    }

    /// Checks and stores the next revision of a policy.
    async fn policy_write(
        &self,
        stored: &Stored<PolicyHeader>,
        mut header: PolicyHeader,
    ) -> Result<Stored<PolicyHeader>> {
        let domain = stored.record.domain;
        rules_check(header.policy_type, &header.rules)?;
        let must = rules_named(&self.core, domain, &header.rules)?;
        header.updated_at = self.now;
        let write = self.core.put_header(stored, &header)?;
        self.commit(header.name, must, vec![write]).await?;
        self.core.load(domain, stored.id())
    }
}

impl Handle<PolicyCreate> for App {
    async fn handle(&self, ctx: &Ctx, r: PolicyCreate) -> Result<Reply<Policy>> {
        let domain = ctx.domain()?;
        let description = r.description.unwrap_or_default();
        texts_allowed(&r.name, &description)?;
        let mut header = PolicyHeader {
            name: r.name,
            policy_type: PolicyType::from_word(&r.policy_type)?,
            description,
            created_at: ctx.now,
            updated_at: ctx.now,
            never_deny: r.never_deny.unwrap_or(false),
            restrict_update: r.metadata.unwrap_or_default().restrict_update,
            rules: PolicyRules {
                security_rules: r.security_rules,
                key_rules: r.key_rules,
                ldt_key_rules: r.ldt_key_rules,
                idt_key_rules: r.idt_key_rules,
                data_transform_rules: r.data_transform_rules,
                signature_rules: r.signature_rules,
            },
        };
        rules_check(header.policy_type, &header.rules)?;
        rules_settle(&mut header.rules, &PolicyRules::default(), ctx.now);
        let must = rules_named(&ctx.core, domain, &header.rules)?;
        let id = Core::new_id(ctx.now);
        let write = ctx.core.put(domain, id, 1, &header, b"")?;
        ctx.commit(header.name, must, vec![write]).await?;
        let stored = ctx.core.load::<PolicyHeader>(domain, id)?;
        Ok(Reply::json(shown(&stored)).at(stored.revision()))
    }
}

impl Handle<PolicyList> for App {
    async fn handle(&self, ctx: &Ctx, r: PolicyList) -> Result<Reply<Page<Policy>>> {
        let types = r.policy_type.iter().map(|t| PolicyType::from_word(t)).collect::<Result<Vec<_>>>()?;
        let mut found = ctx.core.load_all::<PolicyHeader>(ctx.domain()?)?;
        found.retain(|p| {
            let h = &p.header;
            (r.name.is_empty() || r.name.iter().any(|pattern| wildcard(pattern, &h.name)))
                && (types.is_empty() || types.contains(&h.policy_type))
                && r.never_deny.is_none_or(|wanted| wanted == h.never_deny)
        });
        sort(&mut found, r.sort.as_deref(), |p| &p.header.name, |p| (p.header.created_at, p.header.updated_at))?;
        let page = PageQuery::from_wire(r.skip, r.limit).of(found);
        let resources = page.resources.iter().map(shown).collect();
        Ok(Reply::json(Page { skip: page.skip, limit: page.limit, total: page.total, resources }))
    }
}

impl Handle<PolicyGet> for App {
    async fn handle(&self, ctx: &Ctx, r: PolicyGet) -> Result<Reply<Policy>> {
        let stored = ctx.policy_load(&r.id)?;
        Ok(Reply::json(shown(&stored)).at(stored.revision()))
    }
}

impl Handle<PolicyUpdate> for App {
    async fn handle(&self, ctx: &Ctx, r: PolicyUpdate) -> Result<Reply<Policy>> {
        let stored = ctx.policy_load(&r.id)?;
        ctx.check_match(stored.revision())?;
        stored.header.may_change(r.force_restrict_update.unwrap_or(false))?;
        let mut header = stored.header.clone();
        header.description = r.description.unwrap_or(header.description);
        texts_allowed(&header.name, &header.description)?;
        header.never_deny = r.never_deny.unwrap_or(header.never_deny);
        header.restrict_update = r.metadata.map_or(header.restrict_update, |m| m.restrict_update);
        let old = header.rules;
        header.rules = PolicyRules {
            security_rules: r.security_rules.unwrap_or_else(|| old.security_rules.clone()),
            key_rules: r.key_rules.unwrap_or_else(|| old.key_rules.clone()),
            ldt_key_rules: r.ldt_key_rules.unwrap_or_else(|| old.ldt_key_rules.clone()),
            idt_key_rules: r.idt_key_rules.unwrap_or_else(|| old.idt_key_rules.clone()),
            data_transform_rules: r.data_transform_rules.unwrap_or_else(|| old.data_transform_rules.clone()),
            signature_rules: r.signature_rules.unwrap_or_else(|| old.signature_rules.clone()),
        };
        rules_settle(&mut header.rules, &old, ctx.now);
        let stored = ctx.policy_write(&stored, header).await?;
        Ok(Reply::json(shown(&stored)).at(stored.revision()))
    }
}

impl Handle<PolicyDelete> for App {
    async fn handle(&self, ctx: &Ctx, r: PolicyDelete) -> Result<Reply<NoBody>> {
        let stored = ctx.policy_load(&r.id)?;
        ctx.check_match(stored.revision())?;
        stored.header.may_change(false)?;
        let write = ctx.core.delete(&stored);
        ctx.commit(stored.header.name.clone(), vec![], vec![write]).await?;
        Ok(Reply::none())
    }
}

#[cfg(test)]
mod tests {
    use keyark_model::Time;
    use serde_json::json;

    use super::{PolicyHeader, policy_keys, sort, texts_allowed};

    fn policy(rules: serde_json::Value) -> PolicyHeader {
        serde_json::from_value(json!({
            "name": "p", "policy_type": "LDT", "created_at": "2026-05-01T03:00:00Z",
            "updated_at": "2026-05-01T03:00:00Z", "rules": rules
        }))
        .unwrap()
    }

    #[test]
    fn the_keys_of_a_policy_are_named_once_each() {
        assert!(policy_keys(&policy(json!({}))).is_empty());
        let header = policy(json!({
            "key_rules": [{ "key_id": "b" }, { "key_id": "a", "key_type": "alias" }, { "key_id": "clear_key" }],
            "ldt_key_rules": [{ "current_key": { "key_id": "clear_key" }, "transformation_key": { "key_id": "b" } }],
            "idt_key_rules": [{ "current_key": "kylo:kylo:vault:keys:c-v1", "current_key_type": "uri",
                "transformation_key": "0196a1b2-0000-7000-8000-000000000001", "transformation_key_type": "id" }]
        }));
        assert_eq!(policy_keys(&header), ["0196a1b2-0000-7000-8000-000000000001", "a", "b", "c"]);
    }

    #[test]
    fn a_header_is_read_back_and_restricted_policies_need_force() {
        let mut header = policy(json!({ "key_rules": [{ "key_id": "b", "id": "1" }] }));
        let back: PolicyHeader = serde_json::from_slice(&serde_json::to_vec(&header).unwrap()).unwrap();
        assert_eq!(back.rules, header.rules);
        assert!(header.may_change(false).is_ok());
        header.restrict_update = true;
        assert!(header.may_change(false).is_err() && header.may_change(true).is_ok());
    }

    #[test]
    fn what_was_listed_is_sorted_both_ways() {
        let order = |order: Option<&str>| {
            let mut all = [("b", Time(1), Time(9)), ("a", Time(2), Time(8)), ("c", Time(3), Time(7))];
            sort(&mut all, order, |one| one.0, |one| (one.1, one.2)).map(|()| all.map(|one| one.0).concat()).ok()
        };
        for (given, expected) in [
            (None, Some("bac")),
            (Some("name"), Some("abc")),
            (Some("-name"), Some("cba")),
            (Some("createdAt"), Some("bac")),
            (Some("-updatedAt"), Some("bac")),
            (Some("size"), None),
        ] {
            assert_eq!(order(given).as_deref(), expected, "{given:?}");
        }
    }

    #[test]
    fn names_and_descriptions_are_bounded() {
        for (name, description, good) in
            [("a", "", true), ("", "", false), ("a<", "", false), ("a", "x".repeat(4097).as_str(), false)]
        {
            assert_eq!(texts_allowed(name, description).is_ok(), good, "{name:?}");
        }
    }
}
