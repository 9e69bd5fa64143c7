//! The sets that policies of file encryption clients name: of users, processes, resources and signatures.

use keyark_model::Time;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::endpoint::NoBody;
use crate::{Page, endpoint};

/// A set of one of the four types, with the members of its type. Signature sets spell their times with underscores.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
pub struct PolicySet {
    pub id: String,
    pub uri: String,
    pub account: String,
    #[serde(rename = "createdAt", default, skip_serializing_if = "Option::is_none")]
    pub created_at: Option<Time>,
    #[serde(rename = "updatedAt", default, skip_serializing_if = "Option::is_none")]
    pub updated_at: Option<Time>,
    #[serde(rename = "created_at", default, skip_serializing_if = "Option::is_none")]
    pub created_at_snake: Option<Time>,
    #[serde(rename = "updated_at", default, skip_serializing_if = "Option::is_none")]
    pub updated_at_snake: Option<Time>,
    pub name: String,
    #[serde(default)]
    pub description: String,
    /// Of resource sets: Directory or Classification; of signature sets: Application or Container-Image.
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

/// A user or group of the client's system: at least one of the fields but `index`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct SetUser {
    /// Place in the set, from 0; given by the server.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub index: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub uname: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub uid: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gname: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gid: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub os_domain: Option<String>,
}

/// A program of the client's system: at least one of directory, file, signature and resource set.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct SetProcess {
    /// Place in the set, from 0; given by the server.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub index: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub directory: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub file: Option<String>,
    /// A signature set, by id or name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub signature: Option<String>,
    /// A resource set, by id or name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resource_set_id: Option<String>,
}

/// Files of the client's system: a directory, a file pattern or both.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct SetResource {
    /// Place in the set, from 0; given by the server.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub index: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub directory: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub file: Option<String>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub include_subfolders: bool,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub hdfs: bool,
}

/// Files chosen by what was found in them.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ClassificationTag {
    pub name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub attributes: Vec<TagAttribute>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct TagAttribute {
    pub name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub data_type: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub operator: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub value: Option<String>,
}

#[derive(Debug, Default, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PolicySetCreate {
    /// usersets, processsets, resourcesets or signaturesets.
    pub set_type: String,
    /// 1 to 256 characters, none of `< > \`; unique among the sets of its type.
    pub name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// Resource sets: Directory (default) or Classification; signature sets: Application (default) or Container-Image.
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
    /// Of user sets.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub users: Option<Vec<SetUser>>,
    /// Of process sets.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub processes: Option<Vec<SetProcess>>,
    /// Of resource sets of type Directory.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resources: Option<Vec<SetResource>>,
    /// Of resource sets of type Classification.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub classification_tags: Option<Vec<ClassificationTag>>,
    /// Of signature sets: paths of programs, or names of images.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source_list: Option<Vec<String>>,
}

#[derive(Debug, Default, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PolicySetList {
    /// usersets, processsets, resourcesets or signaturesets.
    pub set_type: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub skip: Option<u64>,
    /// Default 10; -1 means all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<i64>,
    /// With `*` and `?`; repeated = any of them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub name: Vec<String>,
    /// Of resource and signature sets.
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
    /// name, createdAt or updatedAt, with `-` in front for the other way; default createdAt.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sort: Option<String>,
}

#[derive(Debug, Default, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PolicySetGet {
    /// usersets, processsets, resourcesets or signaturesets.
    pub set_type: String,
    /// Id or name.
    pub id: String,
}

/// What is absent stays; a list that is given replaces the one that was.
#[derive(Debug, Default, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PolicySetUpdate {
    /// usersets, processsets, resourcesets or signaturesets.
    pub set_type: String,
    /// Id or name.
    pub id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub users: Option<Vec<SetUser>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub processes: Option<Vec<SetProcess>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resources: Option<Vec<SetResource>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub classification_tags: Option<Vec<ClassificationTag>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source_list: Option<Vec<String>>,
}

#[derive(Debug, Default, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PolicySetDelete {
    /// usersets, processsets, resourcesets or signaturesets.
    pub set_type: String,
    /// Id or name.
    pub id: String,
}

endpoint! {
    policy_set_create: PolicySetCreate => PolicySet, POST "/v1/transparent-encryption/{set_type}" | "/v1/transparent-encryption/{set_type}/", Json 201, PolicyWrite, "policysets create", "Creates a set of users, processes, resources or signatures.";
    policy_set_list: PolicySetList => Page<PolicySet>, GET "/v1/transparent-encryption/{set_type}" | "/v1/transparent-encryption/{set_type}/", Query 200, PolicyRead, "policysets list", "Lists the sets of one type.";
    policy_set_get: PolicySetGet => PolicySet, GET "/v1/transparent-encryption/{set_type}/{id}", Query 200, PolicyRead, "policysets get", "Shows a set by id or name.";
    policy_set_update: PolicySetUpdate => PolicySet, PATCH "/v1/transparent-encryption/{set_type}/{id}", Json 200, PolicyWrite, "policysets modify", "Changes a set or replaces its members.";
    policy_set_delete: PolicySetDelete => NoBody, DELETE "/v1/transparent-encryption/{set_type}/{id}", Query 204, PolicyWrite, "policysets delete", "Deletes a set that nothing names.";
}
