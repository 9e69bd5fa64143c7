//! Domains: tenants with their own users, keys, KEK, quotas and backups.

use keyark_model::Time;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::endpoint::NoBody;
use crate::{Page, endpoint};

/// How much a domain may hold; absent means no limit.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Quotas {
    /// Keys, each version counted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub keys: Option<u64>,
    /// Secrets.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secrets: Option<u64>,
    /// Days of range that its backup instances may have together; absent: none are granted.
    #[serde(default, rename = "backupRangeDays", skip_serializing_if = "Option::is_none")]
    pub backup_range_days: Option<u64>,
}

#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Domain {
    pub id: String,
    pub uri: String,
    pub account: String,
    pub application: String,
    pub dev_account: String,
    pub name: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub description: String,
    pub created_at: Time,
    pub updated_at: Time,
    #[serde(default)]
    pub meta: serde_json::Map<String, serde_json::Value>,
    #[serde(rename = "allow_user_management")]
    pub allow_user_management: bool,
    pub quotas: Quotas,
    #[serde(rename = "parent_ca_id", skip_serializing_if = "Option::is_none")]
    pub parent_ca_id: Option<String>,
    /// What it holds now: keys counted in versions, and secrets.
    pub usage: Usage,
}

#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize, JsonSchema)]
pub struct Usage {
    pub keys: u64,
    pub secrets: u64,
}

#[derive(Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DomainCreate {
    pub name: String,
    /// Users of root (`local|<uuid>` or names) who administer the new domain; default: the caller.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub admins: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// Whether the domain may have users of its own; default true.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub allow_user_management: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub meta: Option<serde_json::Map<String, serde_json::Value>>,
    /// Kept and shown; certificates of domains are not made here.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub parent_ca_id: Option<String>,
    /// Only empty: domains anchored in an HSM are not on offer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hsm_connection_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hsm_kek_label: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub quotas: Option<Quotas>,
}

#[derive(Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DomainList {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub skip: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<i64>,
    /// With `*` and `?`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
}

#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DomainGet {
    /// Id or name.
    pub id: String,
}

#[derive(Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DomainUpdate {
    pub id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub meta: Option<serde_json::Map<String, serde_json::Value>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub allow_user_management: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub quotas: Option<Quotas>,
}

#[derive(Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DomainDelete {
    pub id: String,
    /// Delete it with everything in it; needs `confirm`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub force: Option<bool>,
    /// The exact name or id again.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub confirm: Option<String>,
}

/// A generation of a domain's key-encryption key.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Kek {
    pub id: String,
    pub generation: u32,
    pub created_at: Time,
    /// Seals new bodies; older generations only open.
    pub current: bool,
    /// Seals accounted for durably; a generation is rotated before 2147483648.
    pub seals_reserved: u64,
}

#[derive(Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct KekList {
    /// Id or name of the domain; a caller sees its own domain's only.
    pub id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub skip: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<i64>,
}

#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct KekGet {
    /// Id or name of the domain.
    pub id: String,
    /// Id or generation of the KEK.
    pub kek: String,
}

#[derive(Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct KekRotate {
    pub id: String,
    /// The archive that was opened elsewhere, for the audit log.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub archive_opened: Option<String>,
}

endpoint! {
    domain_create: DomainCreate => Domain, POST "/v1/domains" | "/v1/domains/", Json 201, DomainWrite, "domains create", "Creates a domain below root.";
    domain_list: DomainList => Page<Domain>, GET "/v1/domains" | "/v1/domains/", Query 200, DomainRead, "domains list", "Lists domains.";
    domain_get: DomainGet => Domain, GET "/v1/domains/{id}", Query 200, DomainRead, "domains get", "Shows a domain.";
    domain_update: DomainUpdate => Domain, PATCH "/v1/domains/{id}", Json 200, DomainWrite, "domains modify", "Changes a domain or its quotas.";
    domain_delete: DomainDelete => NoBody, DELETE "/v1/domains/{id}", Query 204, DomainWrite, "domains delete", "Deletes an empty domain, or with force and confirm a full one.";
    kek_list: KekList => Page<Kek>, GET "/v1/domains/{id}/keks", Query 200, KekRead, "domains keks", "Lists the generations of the domain's key-encryption key.";
    kek_get: KekGet => Kek, GET "/v1/domains/{id}/keks/{kek}", Query 200, KekRead, "domains kek-get", "Shows one generation of the domain's key-encryption key.";
    kek_rotate: KekRotate => Kek, POST "/v1/domains/{id}/rotate-kek", Json 200, KekRotate, "domains rotate-kek", "Starts a new generation; bodies are sealed anew in the background.";
}
