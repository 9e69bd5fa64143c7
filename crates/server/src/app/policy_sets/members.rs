//! What sets may hold: their types, the members of each, and which other sets those name.

use keyark_api::policy_sets::{ClassificationTag, SetProcess, SetResource, SetUser};
use serde::{Deserialize, Serialize};

use crate::app::error::{AppError, Result};
use crate::app::policies::check::texts_check;

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
    pub(super) fn unique_name(self, name: &str) -> String {
        format!("{}/{name}", self.word())
    }
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

fn filled(text: &Option<String>) -> bool {
    text.as_ref().is_some_and(|t| !t.is_empty())
}

/// Checks the members against the type of set and gives them the form in which they are stored: the type written
/// as documented, the list of the set's own type present, no places.
pub(super) fn members_check(set_type: SetType, mut m: Members) -> Result<Members> {
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
pub(super) fn named_by(members: &Members) -> Vec<(SetType, &str)> {
    let processes = members.processes.iter().flatten();
    let named = processes.flat_map(|p| {
        [(SetType::Signatures, p.signature.as_deref()), (SetType::Resources, p.resource_set_id.as_deref())]
    });
    named.filter_map(|(set, name)| Some((set, name.filter(|n| !n.is_empty())?))).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::{MOST_MEMBERS, Members, SetType, members_check};

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
}
