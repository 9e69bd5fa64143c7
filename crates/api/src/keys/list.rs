//! Which keys are meant: conditions in a query or a body, and the labels in use.

use std::collections::BTreeMap;

use keyark_model::Time;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// Which keys: all conditions must hold.
#[derive(Debug, Default, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct KeyList {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub skip: Option<u64>,
    /// Default 10; -1 means all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<i64>,
    /// With `*` and `?`; repeated = any of them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub name: Vec<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub id: Vec<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub alias: Vec<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub algorithm: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub size: Option<u32>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub state: Vec<String>,
    /// `label` or `label=value`; repeated = all of them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub labels: Vec<String>,
    /// Keys that allow all these uses.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub usage_mask: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub object_type: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub created_before: Option<Time>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub created_after: Option<Time>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unexportable: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub undeletable: Option<bool>,
    /// Only keys whose deletion is scheduled, or only others.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub deleting: Option<bool>,
    /// `createdAt` or `name`, with `-` in front for descending.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sort: Option<String>,
    /// `meta,links` adds these to the answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fields: Option<String>,
}

/// The same conditions in a body, with lists and `metaContains`.
#[derive(Debug, Default, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct KeyQuery {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub skip: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub names: Vec<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ids: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub algorithm: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub size: Option<u32>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub sizes: Vec<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub usage_mask: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub state: Option<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub states: Vec<String>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// Keys whose `meta` contains this object.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub meta_contains: Option<Map<String, Value>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub object_type: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub created_before: Option<Time>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub created_after: Option<Time>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unexportable: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub undeletable: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fields: Option<String>,
}

/// A label in use with its values.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct KeyLabel {
    pub label: String,
    pub values: Vec<String>,
}

#[derive(Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct KeyLabels {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub skip: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<i64>,
}
