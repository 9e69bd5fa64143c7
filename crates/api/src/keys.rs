//! Keys: made, imported, listed, changed, rotated, exported, destroyed.

use std::collections::BTreeMap;

use keyark_model::Time;
use keyark_model::key::Alias;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

mod life;
mod list;

use crate::endpoint::NoBody;
use crate::protection::Holder;
use crate::{Page, endpoint};

pub use life::{
    KeyActivate, KeyArchive, KeyClone, KeyDeactivate, KeyDelete, KeyDestroy, KeyExport, KeyReactivate, KeyRecover,
    KeyResume, KeyRevoke, KeySuspend, KeyUndelete, KeyUndestroy, KeyVersionCreate, KeyVersionList,
};
pub use list::{KeyLabel, KeyLabels, KeyList, KeyQuery};

/// One version of a key as the wire shows it; the newest one unless another was asked for.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Key {
    pub id: String,
    pub uri: String,
    pub account: String,
    pub application: String,
    pub dev_account: String,
    pub created_at: Time,
    pub updated_at: Time,
    pub name: String,
    pub version: u32,
    pub versions_count: u64,
    pub algorithm: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub size: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub curveid: Option<String>,
    pub usage_mask: u32,
    pub object_type: String,
    pub state: String,
    pub uuid: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub muid: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key_id: Option<String>,
    #[serde(skip_serializing_if = "String::is_empty", default)]
    pub description: String,
    #[serde(skip_serializing_if = "BTreeMap::is_empty", default)]
    pub labels: BTreeMap<String, String>,
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub aliases: Vec<Alias>,
    /// With `ownerId` and `permissions`.
    #[serde(skip_serializing_if = "Map::is_empty", default)]
    pub meta: Map<String, Value>,
    pub unexportable: bool,
    pub undeletable: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub activation_date: Option<Time>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub process_start_date: Option<Time>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub protect_stop_date: Option<Time>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub deactivation_date: Option<Time>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub archive_date: Option<Time>,
    /// When the material was destroyed, or will be; `undestroy` cancels that.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub destroy_date: Option<Time>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub compromise_date: Option<Time>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub compromise_occurrence_date: Option<Time>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub revocation_reason: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub revocation_message: Option<String>,
    /// What was said with the last change of the state.
    #[serde(skip_serializing_if = "String::is_empty", default)]
    pub state_message: String,
    /// When it will be deleted; `undelete` cancels that.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub deletion_date: Option<Time>,
    /// When this server last used this version; kept in memory and in the usage log.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_used_at: Option<Time>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sha256_fingerprint: Option<String>,
    /// The first three bytes of the fingerprint, in hexadecimal, for comparing by eye. Derived from the key: it is not
    /// the encryption of zeros that other products call so.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key_check_value: Option<String>,
    /// SPKI in PEM, of asymmetric keys.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub publickey: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub links: Vec<KeyLink>,
    /// Of destroyed material: what is known here that may still hold it, and until when.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub held_by: Vec<Holder>,
    /// Only when asked for and allowed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub material: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub format: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub encoding: Option<String>,
    /// Id of the key that wraps `material`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub wrapped_by: Option<String>,
}

/// A relation to another key of the domain.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct KeyLink {
    pub id: String,
    #[serde(rename = "type")]
    pub kind: String,
    /// Id of the other key.
    pub target: String,
}

/// Create a key, or import one with `material`.
#[derive(Debug, Default, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct KeyCreate {
    /// 1 to 256 characters, none of `< > \`; made up when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// AES (default), RSA, EC, HMAC-SHA256, HMAC-SHA384, HMAC-SHA512, ED25519, X25519, ML-KEM-768, ML-KEM-1024, CHACHA20-POLY1305.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub algorithm: Option<String>,
    /// Bits.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub size: Option<u32>,
    /// secp256r1, secp384r1, secp521r1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub curveid: Option<String>,
    /// Sum of KMIP's bits; default by algorithm.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub usage_mask: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub object_type: Option<String>,
    /// Id to import the key with; a UUID.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// Another word for `id`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub uuid: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub muid: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// `{alias, type}`; type is string or uri.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub aliases: Vec<NewAlias>,
    /// Free; `ownerId` and `permissions` have a meaning.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub meta: Option<Map<String, Value>>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub unexportable: bool,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub undeletable: bool,
    /// State of an imported key; new keys are Active, or Pre-Active until `activationDate`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub state: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub activation_date: Option<Time>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub process_start_date: Option<Time>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub protect_stop_date: Option<Time>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub deactivation_date: Option<Time>,
    /// Makes this an import: hex (default) or base64 for symmetric keys, PEM for others.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub material: Option<String>,
    /// hex or base64.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub encoding: Option<String>,
    /// raw, pkcs8 or pkcs1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub format: Option<String>,
    /// The material comes wrapped by this key of the domain (AES-KWP, or RSA-OAEP with SHA-256); base64.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub wrap_key_name: Option<String>,
    /// Answer the material too; not for unexportable keys.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub include_material: bool,
    /// The caller becomes the owner.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub assign_self_as_owner: bool,
    /// Accepted for compatibility, without effect.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id_size: Option<u32>,
    /// Accepted for compatibility, without effect.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub template_id: Option<String>,
    /// Accepted for compatibility, without effect.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub xts: Option<bool>,
}

/// An alias to add.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct NewAlias {
    pub alias: String,
    /// string (default) or uri.
    #[serde(rename = "type", default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub index: Option<u32>,
}

/// A change of one alias.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AliasChange {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub alias: Option<String>,
    /// string (default) or uri.
    #[serde(rename = "type", default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub index: Option<u32>,
}

/// Names one key, and a version of it.
#[derive(Debug, Default, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct KeyGet {
    /// Id, name or alias.
    pub id: String,
    /// How to read `id`: id, name or alias; all in turn by default.
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
    /// From 0; -1 or absent: the newest.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fields: Option<String>,
}

#[derive(Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct KeyUpdate {
    pub id: String,
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub usage_mask: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// Merged; null removes a label.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub labels: Option<BTreeMap<String, Option<String>>>,
    /// Merged; null removes a member.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub meta: Option<Map<String, Value>>,
    /// Each adds an alias; one with an `index` changes that alias, and one with nothing else removes it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub aliases: Vec<AliasChange>,
    /// True only: it cannot be taken back.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unexportable: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub undeletable: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub activation_date: Option<Time>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub process_start_date: Option<Time>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub protect_stop_date: Option<Time>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub deactivation_date: Option<Time>,
}

#[derive(Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct KeyAliasAdd {
    pub id: String,
    pub alias: String,
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
}

#[derive(Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct KeyAliasDelete {
    pub id: String,
    pub index: u32,
}

#[derive(Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct KeyLinkList {
    pub id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub skip: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<i64>,
}

#[derive(Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct KeyLinkAdd {
    pub id: String,
    #[serde(rename = "type")]
    pub kind: String,
    /// Id or name of the other key.
    pub target: String,
}

#[derive(Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct KeyLinkDelete {
    pub id: String,
    pub link: String,
}

endpoint! {
    key_create: KeyCreate => Key, POST "/v1/vault/keys2" | "/v1/vault/keys2/" | "/v1/vault/keys" | "/v1/vault/keys/", Json 201, KeyWrite, "keys create", "Creates a key, or imports one with its material.";
    key_list: KeyList => Page<Key>, GET "/v1/vault/keys2" | "/v1/vault/keys2/" | "/v1/vault/keys" | "/v1/vault/keys/", Query 200, KeyRead, "keys list", "Lists keys by conditions that must all hold.";
    key_query: KeyQuery => Page<Key>, POST "/v1/vault/query-keys" | "/v1/vault/query-keys/", Json 200, KeyRead, "keys query", "Lists keys by conditions in a body.";
    key_labels: KeyLabels => Page<KeyLabel>, GET "/v1/vault/key-labels", Query 200, KeyRead, "keys labels", "Lists the labels in use.";
    key_get: KeyGet => Key, GET "/v1/vault/keys2/{id}" | "/v1/vault/keys/{id}", Query 200, KeyRead, "keys get", "Shows a key by id, name or alias.";
    key_update: KeyUpdate => Key, PATCH "/v1/vault/keys2/{id}" | "/v1/vault/keys/{id}", Json 200, KeyWrite, "keys modify", "Changes a key's attributes.";
    key_delete: KeyDelete => NoBody, DELETE "/v1/vault/keys2/{id}" | "/v1/vault/keys/{id}", Query 204, KeyWrite, "keys delete", "Schedules a key's deletion, or deletes at once when named twice.";
    key_undelete: KeyUndelete => Key, POST "/v1/vault/keys2/{id}/undelete" | "/v1/vault/keys/{id}/undelete", Json 200, KeyWrite, "keys undelete", "Cancels a scheduled deletion.";
    key_version_create: KeyVersionCreate => Key, POST "/v1/vault/keys2/{id}/versions" | "/v1/vault/keys/{id}/versions" | "/v1/vault/keys2/{id}/rotate" | "/v1/vault/keys/{id}/rotate", Json 201, KeyWrite, "keys rotate", "Makes the next version of a key.";
    key_version_list: KeyVersionList => Page<Key>, GET "/v1/vault/keys2/{id}/versions" | "/v1/vault/keys/{id}/versions", Query 200, KeyRead, "keys versions", "Lists the versions of a key.";
    key_activate: KeyActivate => Key, POST "/v1/vault/keys2/{id}/activate" | "/v1/vault/keys/{id}/activate", Json 200, KeyWrite, "keys activate", "Activates a version.";
    key_suspend: KeySuspend => Key, POST "/v1/vault/keys2/{id}/suspend" | "/v1/vault/keys/{id}/suspend", Json 200, KeyWrite, "keys suspend", "Suspends a version.";
    key_resume: KeyResume => Key, POST "/v1/vault/keys2/{id}/resume" | "/v1/vault/keys/{id}/resume", Json 200, KeyWrite, "keys resume", "Resumes a suspended version.";
    key_deactivate: KeyDeactivate => Key, POST "/v1/vault/keys2/{id}/deactivate" | "/v1/vault/keys/{id}/deactivate", Json 200, KeyWrite, "keys deactivate", "Deactivates a version.";
    key_reactivate: KeyReactivate => Key, POST "/v1/vault/keys2/{id}/reactivate" | "/v1/vault/keys/{id}/reactivate", Json 200, KeyWrite, "keys reactivate", "Reactivates a deactivated version.";
    key_revoke: KeyRevoke => Key, POST "/v1/vault/keys2/{id}/revoke" | "/v1/vault/keys/{id}/revoke", Json 200, KeyWrite, "keys revoke", "Revokes a version: compromised for good, or deactivated.";
    key_archive: KeyArchive => Key, POST "/v1/vault/keys2/{id}/archive" | "/v1/vault/keys/{id}/archive", Json 200, KeyWrite, "keys archive", "Marks a version as archived.";
    key_recover: KeyRecover => Key, POST "/v1/vault/keys2/{id}/recover" | "/v1/vault/keys/{id}/recover", Json 200, KeyWrite, "keys recover", "Takes the archive mark away.";
    key_destroy: KeyDestroy => Key, POST "/v1/vault/keys2/{id}/destroy" | "/v1/vault/keys/{id}/destroy", Json 200, KeyWrite, "keys destroy", "Schedules the destruction of a version's material or of all, or destroys at once when named twice.";
    key_undestroy: KeyUndestroy => Key, POST "/v1/vault/keys2/{id}/undestroy" | "/v1/vault/keys/{id}/undestroy", Json 200, KeyWrite, "keys undestroy", "Cancels a scheduled destruction.";
    key_clone: KeyClone => Key, POST "/v1/vault/keys2/{id}/clone" | "/v1/vault/keys/{id}/clone", Json 201, KeyWrite, "keys clone", "Copies a version as a key of its own.";
    key_export: KeyExport => Key, POST "/v1/vault/keys2/{id}/export" | "/v1/vault/keys/{id}/export", Json 200, KeyExport, "keys export", "Exports a key's material, in clear or wrapped.";
    key_alias_add: KeyAliasAdd => Key, POST "/v1/vault/keys2/{id}/aliases" | "/v1/vault/keys/{id}/aliases", Json 201, KeyWrite, "keys alias-add", "Adds an alias.";
    key_alias_delete: KeyAliasDelete => NoBody, DELETE "/v1/vault/keys2/{id}/aliases/{index}" | "/v1/vault/keys/{id}/aliases/{index}", Query 204, KeyWrite, "keys alias-delete", "Removes an alias.";
    key_link_list: KeyLinkList => Page<KeyLink>, GET "/v1/vault/keys2/{id}/links" | "/v1/vault/keys/{id}/links", Query 200, KeyRead, "keys links", "Lists a key's links.";
    key_link_add: KeyLinkAdd => KeyLink, POST "/v1/vault/keys2/{id}/links" | "/v1/vault/keys/{id}/links", Json 201, KeyWrite, "keys link-add", "Links a key to another.";
    key_link_delete: KeyLinkDelete => NoBody, DELETE "/v1/vault/keys2/{id}/links/{link}" | "/v1/vault/keys/{id}/links/{link}", Query 204, KeyWrite, "keys link-delete", "Removes a link.";
}
