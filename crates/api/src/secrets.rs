//! Secrets: text or bytes up to 64 KiB, each version encrypted under a named key of the same domain.

use std::collections::BTreeMap;

use keyark_model::Time;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::endpoint::NoBody;
use crate::protection::Holder;
use crate::{Page, endpoint};

/// A secret as the wire shows it, with one of its versions: the newest unless another was asked for.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Secret {
    pub id: String,
    pub uri: String,
    pub account: String,
    pub application: String,
    pub dev_account: String,
    pub created_at: Time,
    pub updated_at: Time,
    pub name: String,
    /// blob, password or seed.
    pub data_type: String,
    /// "Opaque Object" for blobs, "Secret Data" for passwords and seeds.
    pub object_type: String,
    /// From 0.
    pub version: u64,
    pub versions_count: u64,
    /// When this version was made.
    pub version_created_at: Time,
    /// Bytes of this version's value.
    pub size: u64,
    /// Id of the key that encrypts this version.
    pub key_id: String,
    /// That key's name; absent when the key is not here.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key_name: Option<String>,
    pub key_version: u64,
    #[serde(skip_serializing_if = "String::is_empty", default)]
    pub description: String,
    #[serde(skip_serializing_if = "BTreeMap::is_empty", default)]
    pub labels: BTreeMap<String, String>,
    #[serde(skip_serializing_if = "Map::is_empty", default)]
    pub meta: Map<String, Value>,
    pub unexportable: bool,
    pub undeletable: bool,
    /// Of destroyed values: what is known here that may still hold them, and until when.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub held_by: Vec<Holder>,
    /// Active, Deleted (recoverable until `deletionDate`) or Destroyed; of one version: Active or Destroyed.
    pub state: String,
    /// Days between a deletion and the end.
    pub recovery_days: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub deleted_at: Option<Time>,
    /// When it will be gone; `undelete` cancels that.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub deletion_date: Option<Time>,
    /// The same moment under another name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub recoverable_until: Option<Time>,
    /// When this version's value was destroyed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub destroy_date: Option<Time>,
    /// SHA-256 of the stored ciphertext: it says nothing about the value, and changes when the secret is re-wrapped.
    pub sha256_fingerprint: String,
    /// Only when asked for and allowed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub material: Option<String>,
    /// How `material` is written: utf8, hex, base64 or base64url.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub encoding: Option<String>,
}

#[derive(Debug, Default, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SecretCreate {
    /// 1 to 256 characters, none of `< > \`; unique among the domain's secrets.
    pub name: String,
    /// blob (default), password or seed.
    #[serde(alias = "data_type", skip_serializing_if = "Option::is_none")]
    pub data_type: Option<String>,
    /// The value: text for passwords, hex for seeds, base64url or base64 for blobs; 1 byte to 64 KiB.
    pub material: String,
    /// How `material` is written, if not as its data type says: utf8, hex, base64 or base64url.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub encoding: Option<String>,
    /// Id or name of the key that encrypts it: AES or ChaCha20-Poly1305, of the same domain.
    pub key: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub meta: Option<Map<String, Value>>,
    /// Its value never leaves the server.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub unexportable: bool,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub undeletable: bool,
    /// Days between a deletion and the end: 7 to 30, default 30.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub recovery_days: Option<u32>,
    /// Answer the value too.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub include_material: bool,
    /// When a secret of this name exists, answer it (200) and change nothing.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub return_existing: bool,
    /// Accepted for compatibility, without effect.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id_size: Option<u32>,
    /// Accepted for compatibility, without effect.
    #[serde(alias = "owner_id", skip_serializing_if = "Option::is_none")]
    pub owner_id: Option<String>,
}

/// Which secrets: all conditions must hold.
#[derive(Debug, Default, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SecretList {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub skip: Option<u64>,
    /// Default 10; -1 means all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<i64>,
    /// With `*` and `?`; repeated = any of them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub name: Vec<String>,
    /// blob, password or seed; repeated = any of them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub data_type: Vec<String>,
    /// "Opaque Object" or "Secret Data".
    #[serde(skip_serializing_if = "Option::is_none")]
    pub object_type: Option<String>,
    /// `label` or `label=value`; repeated = all of them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub labels: Vec<String>,
    /// Id or name of a key: secrets with a version encrypted under it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// Active, Deleted or Destroyed; repeated = any of them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub state: Vec<String>,
    #[serde(rename = "sha256_fingerprint", skip_serializing_if = "Option::is_none")]
    pub sha256_fingerprint: Option<String>,
    /// name, createdAt or updatedAt, with `-` in front for the other way; default createdAt.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sort: Option<String>,
}

#[derive(Debug, Default, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SecretGet {
    /// Id or name.
    pub id: String,
    /// From 0; -1 or absent: the newest.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version: Option<i64>,
    /// Answer the value too; needs the right to read values.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub include_material: bool,
}

#[derive(Debug, Default, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SecretUpdate {
    /// Id or name.
    pub id: String,
    /// The new name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// Merged; null removes a label.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub labels: Option<BTreeMap<String, Option<String>>>,
    /// Merged; null removes a member.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub meta: Option<Map<String, Value>>,
    /// True only: it cannot be taken back.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unexportable: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub undeletable: Option<bool>,
    /// 7 to 30.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub recovery_days: Option<u32>,
}

#[derive(Debug, Default, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SecretDelete {
    /// Id or name.
    pub id: String,
    /// Days until it is gone: 7 to 30; default: the secret's `recoveryDays`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pending_days: Option<u32>,
    /// The exact name or id again: at once.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub confirm: Option<String>,
}

#[derive(Debug, Default, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SecretExport {
    /// Id or name.
    pub id: String,
    /// From 0; -1 or absent: the newest.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version: Option<i64>,
    /// utf8, hex, base64 or base64url; default by data type.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub encoding: Option<String>,
}

/// The next version: a new value under the same name.
#[derive(Debug, Default, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SecretVersionCreate {
    /// Id or name.
    pub id: String,
    /// The new value, written as the data type says.
    pub material: String,
    /// How `material` is written, if not as its data type says: utf8, hex, base64 or base64url.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub encoding: Option<String>,
    /// Id or name of the key that encrypts this version; default: the key of the version before.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
}

#[derive(Debug, Default, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SecretVersionList {
    /// Id or name.
    pub id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub skip: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<i64>,
}

#[derive(Debug, Default, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SecretVersionGet {
    /// Id or name.
    pub id: String,
    /// From 0; -1: the newest.
    pub version: i64,
    /// Answer the value too; needs the right to read values.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub include_material: bool,
}

#[derive(Debug, Default, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SecretUndelete {
    /// Id or name.
    pub id: String,
}

/// The value of one version or of all is gone for good; the secret's name and history stay.
#[derive(Debug, Default, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SecretDestroy {
    /// Id or name.
    pub id: String,
    /// From 0; -1: the newest; absent: every version.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version: Option<i64>,
    /// The exact name or id again.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub confirm: Option<String>,
}

/// The same values under the newest version of their keys.
#[derive(Debug, Default, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SecretRewrap {
    /// Id or name.
    pub id: String,
    /// Id or name of another key for every version; default: each version's own key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
}

endpoint! {
    secret_create: SecretCreate => Secret, POST "/v1/vault/secrets" | "/v1/vault/secrets/", Json 201, SecretWrite, "secrets create", "Stores a secret under a key of the domain.";
    secret_list: SecretList => Page<Secret>, GET "/v1/vault/secrets" | "/v1/vault/secrets/", Query 200, SecretRead, "secrets list", "Lists secrets, never their values.";
    secret_get: SecretGet => Secret, GET "/v1/vault/secrets/{id}", Query 200, SecretRead, "secrets get", "Shows a secret by id or name.";
    secret_update: SecretUpdate => Secret, PATCH "/v1/vault/secrets/{id}", Json 200, SecretWrite, "secrets modify", "Changes a secret's attributes.";
    secret_delete: SecretDelete => NoBody, DELETE "/v1/vault/secrets/{id}", Query 204, SecretWrite, "secrets delete", "Deletes a secret, recoverable for some days, or at once when named twice.";
    secret_export: SecretExport => Secret, POST "/v1/vault/secrets/{id}/export", Json 200, SecretValue, "secrets export", "Reads a secret's value.";
    secret_version_create: SecretVersionCreate => Secret, POST "/v1/vault/secrets/{id}/versions" | "/v1/vault/secrets/{id}/rotate", Json 201, SecretWrite, "secrets version", "Stores the next version of a secret.";
    secret_version_list: SecretVersionList => Page<Secret>, GET "/v1/vault/secrets/{id}/versions", Query 200, SecretRead, "secrets listversion", "Lists the versions of a secret.";
    secret_version_get: SecretVersionGet => Secret, GET "/v1/vault/secrets/{id}/versions/{version}", Query 200, SecretRead, "secrets getversion", "Shows one version of a secret.";
    secret_undelete: SecretUndelete => Secret, POST "/v1/vault/secrets/{id}/undelete", Json 200, SecretWrite, "secrets undelete", "Takes a deletion back inside the recovery window.";
    secret_destroy: SecretDestroy => Secret, POST "/v1/vault/secrets/{id}/destroy", Json 200, SecretWrite, "secrets destroy", "Destroys the value of a version or of all, named twice.";
    secret_rewrap: SecretRewrap => Secret, POST "/v1/vault/secrets/{id}/rewrap", Json 200, SecretWrite, "secrets rewrap", "Encrypts a secret's values anew under the newest version of their key.";
}
