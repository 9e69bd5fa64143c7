//! The sets that policies name: of users, processes, resources and signatures; one implementation for all four.

mod members;

use std::collections::BTreeSet;

use keyark_api::endpoint::NoBody;
use keyark_api::policy_sets::{
    PolicySet, PolicySetCreate, PolicySetDelete, PolicySetGet, PolicySetList, PolicySetUpdate,
};
use keyark_api::{ErrorCode, Page, PageQuery};
use keyark_model::{DomainId, Id, Kind, Time};
use keyark_store::Must;
use serde::{Deserialize, Serialize};

use super::core::Core;
use super::ctx::{Ctx, account_of, uri_of, wildcard};
use super::error::{AppError, Result};
use super::policies::check::named_sets;
use super::policies::{PolicyHeader, sort, texts_allowed};
use super::records::{Header, Stored};
use super::{App, Handle, Reply};

pub use members::{Members, SetType};
use members::{members_check, named_by};

/// Clear attributes of a set, its members among them; the body is empty and sealed.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct SetHeader {
    /// `<set type>/<name>`.
    pub name: String,
    pub set_type: SetType,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub description: String,
    pub created_at: Time,
    pub updated_at: Time,
    #[serde(flatten)]
    pub members: Members,
}

impl Header for SetHeader {
    const KIND: Kind = Kind::CteSet;
}

impl SetHeader {
    /// The name as the wire shows it.
    pub fn short_name(&self) -> &str {
        self.name.split_once('/').map_or(&self.name, |(_, name)| name)
    }
}

/// One set by id or name.
pub fn set_find(core: &Core, domain: DomainId, set_type: SetType, text: &str) -> Result<Stored<SetHeader>> {
    if let Ok(id) = text.parse::<Id>()
        && let Some(record) = core.store.get(domain, Kind::CteSet, id)?
    {
        let stored = core.read_header::<SetHeader>(record)?;
        if stored.header.set_type == set_type {
            return Ok(stored);
        }
    }
    core.load_named(domain, &set_type.unique_name(text)).map_err(|e| match e.code {
        ErrorCode::NotFound => AppError::not_found(format_args!("{} {text:?}", set_type.word())),
        _ => e,
    })
}

/// What the members name must be here, now and when they are committed.
fn members_named(core: &Core, domain: DomainId, members: &Members) -> Result<Vec<Must>> {
    let mut here = BTreeSet::new();
    for (set_type, text) in named_by(members) {
        here.insert(set_find(core, domain, set_type, text)?.id());
    }
    Ok(here.into_iter().map(|id| Must::Exists { kind: Kind::CteSet, id }).collect())
}

/// A set as the wire shows it.
fn shown(stored: &Stored<SetHeader>) -> PolicySet {
    let (h, domain, id) = (&stored.header, stored.record.domain, stored.id());
    let mut m = h.members.clone();
    m.users.iter_mut().flatten().zip(0..).for_each(|(u, n)| u.index = Some(n));
    m.processes.iter_mut().flatten().zip(0..).for_each(|(p, n)| p.index = Some(n));
    m.resources.iter_mut().flatten().zip(0..).for_each(|(r, n)| r.index = Some(n));
    let snake = h.set_type == SetType::Signatures;
    PolicySet {
        id: id.to_string(),
        uri: uri_of(domain, &format!("transparent-encryption:{}", h.set_type.word()), id),
        account: account_of(domain),
        created_at: (!snake).then_some(h.created_at),
        updated_at: (!snake).then_some(h.updated_at),
        created_at_snake: snake.then_some(h.created_at),
        updated_at_snake: snake.then_some(h.updated_at),
        name: h.short_name().into(),
        description: h.description.clone(),
        kind: m.kind,
        users: m.users,
        processes: m.processes,
        resources: m.resources,
        classification_tags: m.classification_tags,
        source_list: m.source_list,
    }
}

impl Ctx {
    fn set_load(&self, set_type: &str, id: &str) -> Result<Stored<SetHeader>> {
        set_find(&self.core, self.domain()?, SetType::from_word(set_type)?, id)
    }
}

impl Handle<PolicySetCreate> for App {
    async fn handle(&self, ctx: &Ctx, r: PolicySetCreate) -> Result<Reply<PolicySet>> {
        let (domain, set_type) = (ctx.domain()?, SetType::from_word(&r.set_type)?);
        let description = r.description.unwrap_or_default();
        texts_allowed(&r.name, &description)?;
        let members = members_check(
            set_type,
            Members {
                kind: r.kind,
                users: r.users,
                processes: r.processes,
                resources: r.resources,
                classification_tags: r.classification_tags,
                source_list: r.source_list,
            },
        )?;
        let must = members_named(&ctx.core, domain, &members)?;
        let header = SetHeader {
            name: set_type.unique_name(&r.name),
            set_type,
            description,
            created_at: ctx.now,
            updated_at: ctx.now,
            members,
        };
        let id = Core::new_id(ctx.now);
        let write = ctx.core.put(domain, id, 1, &header, b"")?;
        ctx.commit(header.name, must, vec![write]).await?;
        let stored = ctx.core.load::<SetHeader>(domain, id)?;
        Ok(Reply::json(shown(&stored)).at(stored.revision()))
    }
}

impl Handle<PolicySetList> for App {
    async fn handle(&self, ctx: &Ctx, r: PolicySetList) -> Result<Reply<Page<PolicySet>>> {
        let set_type = SetType::from_word(&r.set_type)?;
        let mut found = ctx.core.load_all::<SetHeader>(ctx.domain()?)?;
        found.retain(|s| {
            let h = &s.header;
            h.set_type == set_type
                && (r.name.is_empty() || r.name.iter().any(|pattern| wildcard(pattern, h.short_name())))
                && r.kind.as_ref().is_none_or(|k| h.members.kind.as_ref().is_some_and(|is| is.eq_ignore_ascii_case(k)))
        });
        sort(&mut found, r.sort.as_deref(), |s| s.header.short_name(), |s| (s.header.created_at, s.header.updated_at))?;
        let page = PageQuery::from_wire(r.skip, r.limit).of(found);
        let resources = page.resources.iter().map(shown).collect();
        Ok(Reply::json(Page { skip: page.skip, limit: page.limit, total: page.total, resources }))
    }
}

impl Handle<PolicySetGet> for App {
    async fn handle(&self, ctx: &Ctx, r: PolicySetGet) -> Result<Reply<PolicySet>> {
        let stored = ctx.set_load(&r.set_type, &r.id)?;
        Ok(Reply::json(shown(&stored)).at(stored.revision()))
    }
}

impl Handle<PolicySetUpdate> for App {
    async fn handle(&self, ctx: &Ctx, r: PolicySetUpdate) -> Result<Reply<PolicySet>> {
        let stored = ctx.set_load(&r.set_type, &r.id)?;
        ctx.check_match(stored.revision())?;
        let (domain, id) = (stored.record.domain, stored.id());
        let mut header = stored.header.clone();
        header.description = r.description.unwrap_or(header.description);
        texts_allowed(header.short_name(), &header.description)?;
        let old = header.members;
        header.members = members_check(
            header.set_type,
            Members {
                kind: old.kind,
                users: r.users.or(old.users),
                processes: r.processes.or(old.processes),
                resources: r.resources.or(old.resources),
                classification_tags: r.classification_tags.or(old.classification_tags),
                source_list: r.source_list.or(old.source_list),
            },
        )?;
        let must = members_named(&ctx.core, domain, &header.members)?;
        header.updated_at = ctx.now;
        let write = ctx.core.put_header(&stored, &header)?;
        ctx.commit(header.name, must, vec![write]).await?;
        let stored = ctx.core.load::<SetHeader>(domain, id)?;
        Ok(Reply::json(shown(&stored)).at(stored.revision()))
    }
}

impl Handle<PolicySetDelete> for App {
    async fn handle(&self, ctx: &Ctx, r: PolicySetDelete) -> Result<Reply<NoBody>> {
        let stored = ctx.set_load(&r.set_type, &r.id)?;
        ctx.check_match(stored.revision())?;
        let must = ctx.unnamed(&stored)?;
        let write = ctx.core.delete(&stored);
        ctx.commit(stored.header.name.clone(), must, vec![write]).await.map_err(|e| match e.code {
            // The only limits in this commit are those of `unnamed`.
            ErrorCode::QuotaExceeded => AppError::conflict("a policy or set was added in between; try again"),
            _ => e,
        })?;
        Ok(Reply::none())
    }
}

impl Ctx {
    /// Checks that no policy and no other set names a set, and says what keeps that true until the commit: nothing
    /// that was looked at has changed, and there is nothing more of its kind.
    fn unnamed(&self, set: &Stored<SetHeader>) -> Result<Vec<Must>> {
        let domain = set.record.domain;
        let policies = self.core.load_all::<PolicyHeader>(domain)?;
        let sets = self.core.load_all::<SetHeader>(domain)?;
        let is_set = |(set_type, text): &(SetType, &str)| {
            *set_type == set.header.set_type
                && (*text == set.header.short_name() || text.parse::<Id>().is_ok_and(|id| id == set.id()))
        };
        let by_policies = policies.iter().filter(|p| named_sets(&p.header.rules).iter().any(is_set));
        let by_sets = sets.iter().filter(|s| named_by(&s.header.members).iter().any(is_set));
        let by_policies = by_policies.map(|p| format!("policy {:?}", p.header.name));
        let users: Vec<String> =
            by_policies.chain(by_sets.map(|s| format!("set {:?}", s.header.name))).take(6).collect();
        if !users.is_empty() {
            let more = if users.len() > 5 { " and more" } else { "" };
            let named = users.iter().take(5).map(String::as_str).collect::<Vec<_>>().join(", ");
            return Err(AppError::new(
                ErrorCode::InUse,
                format!("the set is named by {named}{more}; take it out there first"),
            ));
        }
        let mut must = vec![
            Must::WeightAtMost { domain, kind: Kind::CtePolicy, limit: policies.len() as u64 },
            Must::WeightAtMost { domain, kind: Kind::CteSet, limit: sets.len().saturating_sub(1) as u64 },
        ];
        let seen = policies.iter().map(|p| (Kind::CtePolicy, p.id(), p.revision()));
        let others = sets.iter().filter(|s| s.id() != set.id()).map(|s| (Kind::CteSet, s.id(), s.revision()));
        must.extend(seen.chain(others).map(|(kind, id, revision)| Must::Unchanged { kind, id, revision }));
        Ok(must)
    }
}

#[cfg(test)]
mod tests {
    use keyark_model::RecordFacts;
    use serde_json::json;

    use super::{SetHeader, SetType, named_by};

    #[test]
    fn a_header_is_read_back_and_its_unique_name_has_the_type_in_front() {
        let header: SetHeader = serde_json::from_value(json!({
            "name": SetType::Processes.unique_name("a/b"), "set_type": "processsets",
            "created_at": "2026-05-01T03:00:00Z", "updated_at": "2026-05-01T03:00:00Z",
            "processes": [{ "signature": "s", "resource_set_id": "r" }, { "file": "f", "signature": "" }]
        }))
        .unwrap();
        assert_eq!(header.short_name(), "a/b");
        assert_eq!(named_by(&header.members), [(SetType::Signatures, "s"), (SetType::Resources, "r")]);
        let bytes = serde_json::to_vec(&header).unwrap();
        let facts = RecordFacts::of_header(&bytes).unwrap();
        assert_eq!((facts.name.as_deref(), facts.weight), (Some("processsets/a/b"), 1));
        let back: SetHeader = serde_json::from_slice(&bytes).unwrap();
        assert_eq!(back.members, header.members);
    }
}
