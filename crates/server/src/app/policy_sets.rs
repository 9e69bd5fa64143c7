//! The sets that policies name: of users, processes, resources and signatures; one implementation for all four.

use std::collections::BTreeSet;

use keyark_api::endpoint::NoBody;
use keyark_api::policy_sets::{
    ClassificationTag, PolicySet, PolicySetCreate, PolicySetDelete, PolicySetGet, PolicySetList, PolicySetUpdate,
    SetProcess, SetResource, SetUser,
};
use keyark_api::{ErrorCode, Page, PageQuery};
use keyark_model::{DomainId, Id, Kind, Time};
use keyark_store::Must;
use serde::{Deserialize, Serialize};

use super::core::Core;
use super::ctx::{Ctx, account_of, uri_of, wildcard};
use super::error::{AppError, Result};
use super::policies::check::{named_sets, texts_check};
use super::policies::{PolicyHeader, sort, texts_allowed};
use super::records::{Header, Stored};
use super::{App, Handle, Reply};

/// Members of one set.
const MOST_MEMBERS: usize = 10_000;

/// The types of set, as paths write them.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub enum SetType {
    #[serde(rename = "usersets")]
    Users,
    #[serde(rename = "processsets")]
    Processes,
    #[serde(rename = "resourcesets")]
    Resources,
    #[serde(rename = "signaturesets")]
    Signatures,
}

impl SetType {
    pub const ALL: [SetType; 4] = [SetType::Users, SetType::Processes, SetType::Resources, SetType::Signatures];

    pub fn word(self) -> &'static str {
        match self {
            SetType::Users => "usersets",
            SetType::Processes => "processsets",
            SetType::Resources => "resourcesets",
            SetType::Signatures => "signaturesets",
        }
    }

    /// From a path; another word is a path that does not exist.
    pub fn from_word(word: &str) -> Result<SetType> {
        let found = SetType::ALL.into_iter().find(|t| t.word() == word);
        found.ok_or_else(|| AppError::not_found(format_args!("the type of set {word:?}")))
    }

    /// What `type` may say, the default first.
    fn kinds(self) -> &'static [&'static str] {
        match self {
            SetType::Resources => &["Directory", "Classification"],
            SetType::Signatures => &["Application", "Container-Image"],
            SetType::Users | SetType::Processes => &[],
        }
    }

    /// The unique name of the record: sets of different types may have the same name.
    fn unique_name(self, name: &str) -> String {
        format!("{}/{name}", self.word())
    }
}

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

/// What a set holds; which lists it has depends on its type.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Members {
    #[serde(rename = "type", default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub users: Option<Vec<SetUser>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub processes: Option<Vec<SetProcess>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resources: Option<Vec<SetResource>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub classification_tags: Option<Vec<ClassificationTag>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source_list: Option<Vec<String>>,
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

fn filled(text: &Option<String>) -> bool {
    text.as_ref().is_some_and(|t| !t.is_empty())
}

/// Checks the members against the type of set and gives them the form in which they are stored: the type written
/// as documented, the list of the set's own type present, no places.
fn members_check(set_type: SetType, mut m: Members) -> Result<Members> {
    if let Some(kind) = &m.kind {
        let known = set_type.kinds().iter().find(|k| k.eq_ignore_ascii_case(kind));
        m.kind = Some(known.map(|k| (*k).to_owned()).ok_or_else(|| match set_type.kinds() {
            [] => AppError::invalid(format!("{} have no type", set_type.word())),
            kinds => AppError::invalid(format!("type of {} is {}", set_type.word(), kinds.join(" or "))),
        })?);
    } else {
        m.kind = set_type.kinds().first().map(|k| (*k).to_owned());
    }
    let classified = m.kind.as_deref() == Some("Classification");
    for (field, given, allowed) in [
        ("users", m.users.is_some(), set_type == SetType::Users),
        ("processes", m.processes.is_some(), set_type == SetType::Processes),
        ("resources", m.resources.is_some(), set_type == SetType::Resources && !classified),
        ("classification_tags", m.classification_tags.is_some(), classified),
        ("source_list", m.source_list.is_some(), set_type == SetType::Signatures),
    ] {
        if given && !allowed {
            let of = m.kind.as_deref().map_or(String::new(), |kind| format!(" of type {kind}"));
            return Err(AppError::invalid(format!("{}{of} have no {field}", set_type.word())));
        }
    }
    match set_type {
        SetType::Users => {
            m.users.get_or_insert_default();
        }
        SetType::Processes => {
            m.processes.get_or_insert_default();
        }
        SetType::Resources if classified => {
            m.classification_tags.get_or_insert_default();
        }
        SetType::Resources => {
            m.resources.get_or_insert_default();
        }
        SetType::Signatures => {
            m.source_list.get_or_insert_default();
        }
    }
    m.users.iter_mut().flatten().for_each(|u| u.index = None);
    m.processes.iter_mut().flatten().for_each(|p| p.index = None);
    m.resources.iter_mut().flatten().for_each(|r| r.index = None);
    each_check(&m)?;
    texts_check(&serde_json::to_value(&m).map_err(AppError::internal)?, "a member")?;
    Ok(m)
}

fn each_check(m: &Members) -> Result<()> {
    let users = m.users.iter().flatten();
    let user = |u: &SetUser| {
        filled(&u.uname) || filled(&u.gname) || filled(&u.os_domain) || u.uid.is_some() || u.gid.is_some()
    };
    let process =
        |p: &SetProcess| filled(&p.directory) || filled(&p.file) || filled(&p.signature) || filled(&p.resource_set_id);
    let resource = |r: &SetResource| filled(&r.directory) || filled(&r.file);
    let tags = m.classification_tags.iter().flatten();
    let named = |t: &ClassificationTag| !t.name.is_empty() && t.attributes.iter().all(|a| !a.name.is_empty());
    for (good, needed) in [
        (users.clone().all(user), "a user has at least one of uname, uid, gname, gid and os_domain"),
        (
            m.processes.iter().flatten().all(process),
            "a process has at least one of directory, file, signature and resource_set_id",
        ),
        (m.resources.iter().flatten().all(resource), "a resource has a directory, a file or both"),
        (tags.clone().all(named), "a classification tag and each of its attributes has a name"),
        (m.source_list.iter().flatten().all(|s| !s.is_empty()), "a source is not empty"),
    ] {
        if !good {
            return Err(AppError::invalid(needed));
        }
    }
    let count = users.count()
        + m.processes.iter().flatten().count()
        + m.resources.iter().flatten().count()
        + tags.map(|t| 1 + t.attributes.len()).sum::<usize>()
        + m.source_list.iter().flatten().count();
    match count > MOST_MEMBERS {
        true => Err(AppError::invalid(format!("a set has at most {MOST_MEMBERS} members; split it"))),
        false => Ok(()),
    }
}

/// The sets that a set's members name.
fn named_by(members: &Members) -> Vec<(SetType, &str)> {
    let processes = members.processes.iter().flatten();
    let named = processes.flat_map(|p| {
        [(SetType::Signatures, p.signature.as_deref()), (SetType::Resources, p.resource_set_id.as_deref())]
    });
    named.filter_map(|(set, name)| Some((set, name.filter(|n| !n.is_empty())?))).collect()
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
    use serde_json::{Value, json};

    use super::{MOST_MEMBERS, Members, SetHeader, SetType, members_check, named_by};

    fn checked(set_type: SetType, members: Value) -> Option<Value> {
        let members: Members = serde_json::from_value(members).unwrap();
        members_check(set_type, members).ok().map(|m| serde_json::to_value(m).unwrap())
    }

    #[test]
    fn each_type_of_set_has_its_own_members() {
        use SetType::{Processes, Resources, Signatures, Users};
        for (set_type, given, stored) in [
            (Users, json!({}), Some(json!({ "users": [] }))),
            (
                Users,
                json!({ "users": [{ "index": 7, "uname": "root", "uid": 0 }] }),
                Some(json!({ "users": [{ "uname": "root", "uid": 0 }] })),
            ),
            (Users, json!({ "users": [{ "index": 7 }] }), None),
            (Users, json!({ "users": [{ "uname": "" }] }), None),
            (Users, json!({ "processes": [] }), None),
            (Users, json!({ "type": "Directory" }), None),
            (Processes, json!({ "processes": [{ "file": "*" }] }), Some(json!({ "processes": [{ "file": "*" }] }))),
            (Processes, json!({ "processes": [{}] }), None),
            (Processes, json!({ "users": [] }), None),
            (Resources, json!({}), Some(json!({ "type": "Directory", "resources": [] }))),
            (
                Resources,
                json!({ "type": "directory", "resources": [{ "directory": "/data", "include_subfolders": true }] }),
                Some(
                    json!({ "type": "Directory", "resources": [{ "directory": "/data", "include_subfolders": true }] }),
                ),
            ),
            (Resources, json!({ "resources": [{ "hdfs": true }] }), None),
            (Resources, json!({ "classification_tags": [{ "name": "t" }] }), None),
            (
                Resources,
                json!({ "type": "Classification", "classification_tags": [{ "name": "t" }] }),
                Some(json!({ "type": "Classification", "classification_tags": [{ "name": "t" }] })),
            ),
            (Resources, json!({ "type": "Classification", "classification_tags": [{ "name": "" }] }), None),
            (Resources, json!({ "type": "Classification", "resources": [] }), None),
            (Resources, json!({ "type": "Application" }), None),
            (
                Signatures,
                json!({ "type": "container-image", "source_list": ["nginx:1"] }),
                Some(json!({ "type": "Container-Image", "source_list": ["nginx:1"] })),
            ),
            (Signatures, json!({ "source_list": [""] }), None),
            (Signatures, json!({ "source_list": ["x".repeat(256)] }), None),
            (Signatures, json!({ "source_list": ["a\nb"] }), None),
        ] {
            assert_eq!(checked(set_type, given.clone()), stored, "{set_type:?} {given}");
        }
    }

    #[test]
    fn the_number_of_members_is_bounded() {
        let many = |n: usize| json!({ "source_list": vec!["a"; n] });
        assert!(checked(SetType::Signatures, many(MOST_MEMBERS)).is_some());
        assert!(checked(SetType::Signatures, many(MOST_MEMBERS + 1)).is_none());
    }

    #[test]
    fn words_in_paths_are_exact() {
        for set_type in SetType::ALL {
            assert_eq!(SetType::from_word(set_type.word()).unwrap(), set_type);
            assert_eq!(serde_json::to_value(set_type).unwrap(), json!(set_type.word()));
        }
        for word in ["policies", "Usersets", "clients", ""] {
            assert!(SetType::from_word(word).is_err(), "{word}");
        }
    }

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
