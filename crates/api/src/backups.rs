//! Backups: taken, verified, downloaded, uploaded, inspected, restored.

use std::collections::{BTreeMap, BTreeSet};

use keyark_model::Time;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::endpoint::{FileBody, NoBody};
use crate::{Page, endpoint};

#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Backup {
    /// system or domain.
    pub scope: String,
    pub account: String,
    #[serde(rename = "domainID", skip_serializing_if = "Option::is_none")]
    pub domain_id: Option<String>,
    /// Of the archive format.
    pub version: String,
    pub id: String,
    pub created_at: Time,
    /// "In Progress", "Completed" (read back and opened), "Failed: …" or "Canceled".
    pub status: String,
    #[serde(rename = "tiedToHSM")]
    pub tied_to_hsm: bool,
    pub backup_key: String,
    pub product_version: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub description: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub finished_at: Option<Time>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub duration_ms: Option<i64>,
    /// Bytes of the archive.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub size: u64,
    /// SHA-256 of the archive.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub checksum: String,
    /// Kind → records.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub counts: BTreeMap<String, u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub since: Option<String>,
    #[serde(default, skip_serializing_if = "Value::is_null")]
    pub filters: Value,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub progress: Option<JobProgress>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub job_id: Option<String>,
    pub uploaded: bool,
    /// Whether it holds the write whose position was asked for, with all that it continues. A selection never says so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub covers: Option<bool>,
    /// What an administrator should know, such as `backup_key_not_escrowed`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
}

fn is_zero(n: &u64) -> bool {
    *n == 0
}

/// How far a job is.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize, JsonSchema)]
pub struct JobProgress {
    pub done: u64,
    /// 0 while it is not known.
    pub total: u64,
    pub percent: u8,
}

/// One kind of resource to take, with conditions.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Filter {
    /// `Keys`, `cte_policies`, `users_groups` or `secrets`.
    pub resource_type: String,
    /// For `Keys` the body of query-keys; for the others the parameters of their lists.
    #[serde(default, skip_serializing_if = "Value::is_null")]
    pub resource_query: Value,
}

#[derive(Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct BackupCreate {
    /// system (default) or domain.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scope: Option<String>,
    /// Id of a backup key; the default of the scope when absent.
    #[serde(alias = "keyid", alias = "backup_key_id", skip_serializing_if = "Option::is_none")]
    pub backup_key: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// Only for scope domain; none: everything in it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub filters: Vec<Filter>,
    /// Needs an HSM root of trust.
    #[serde(rename = "tiedToHSM", default, skip_serializing_if = "std::ops::Not::not")]
    pub tied_to_hsm: bool,
    /// An earlier backup of the same scope: only what changed after it, and tombstones.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub since: Option<String>,
}

#[derive(Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct BackupList {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub skip: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scope: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<String>,
}

#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct BackupGet {
    pub id: String,
    /// The `keyark-position` header of an earlier write's answer: says in `covers` whether this backup holds that write.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub position: Option<String>,
}

#[derive(Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct BackupDelete {
    pub id: String,
    /// The id again; needed when later backups continue this one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub confirm: Option<String>,
}

#[derive(Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct BackupStatusGet {}

/// The latest operation of the caller's domain.
#[derive(Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct OperationStatus {
    pub scope: String,
    pub account: String,
    #[serde(rename = "domainID", skip_serializing_if = "Option::is_none")]
    pub domain_id: Option<String>,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub operation: String,
    /// Of the operation (its job), not of the backup.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub id: String,
    #[serde(rename = "backupID", default, skip_serializing_if = "String::is_empty")]
    pub backup_id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub started: Option<Time>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub finished: Option<Time>,
    /// "None" before the first operation.
    pub status: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub progress: Option<JobProgress>,
    #[serde(rename = "tiedToHSM")]
    pub tied_to_hsm: bool,
    /// Such as `backup_key_not_escrowed` and `clock_doubtful`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
}

#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct BackupDownload {
    pub id: String,
}

#[derive(Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct BackupUpload {
    /// Accepted; the file says it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scope: Option<String>,
    /// An upload in parts that is complete; the body is empty then.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub upload_id: Option<String>,
}

#[derive(Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct BackupInspect {}

/// What an archive says of itself; `verdict` tells how far that is to be believed.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct BackupFacts(pub Value);

/// What to restore, and how.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RestoreQuery {
    pub id: String,
    /// merge (default) or exact.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mode: Option<String>,
    /// fail (default), skip, overwrite, rename, or newVersion: a secret that is here gets the archived value as its newest.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub conflict: Option<String>,
    /// `kind:id` of records to restore, such as `keys:0193…`; none: everything.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub items: Vec<String>,
    /// Bring back what was deleted here since.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub include_deleted: bool,
    /// Ids of keys whose destroyed material comes back.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub include_destroyed: BTreeSet<String>,
    /// Users and groups too; users arrive disabled.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub include_users: bool,
    /// Root, out of a system backup: id of a domain that is deleted by now.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from_domain: Option<String>,
    /// The new, empty domain that receives it; name or id.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub into_domain: Option<String>,
    /// Key id of a signer that is not pinned here but is to be believed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub signer: Option<String>,
    /// Lines of the plan to pass over and to show (1000).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub skip: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<u64>,
}

/// What a restore will do.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RestorePlan {
    /// Give it to restore: it refuses when what the plan names has changed.
    pub digest: String,
    pub backup: String,
    pub scope: String,
    /// Ids of the archives in the order in which they are applied: a whole backup, then what continues it.
    pub chain: Vec<String>,
    /// Action → lines.
    pub actions: BTreeMap<String, u64>,
    pub total: u64,
    pub resources: Vec<Value>,
    /// Why the whole would be refused as things stand: quotas.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub problems: Vec<String>,
    pub negative_facts: Vec<Value>,
    /// Later backups that were uploaded here but do not open: what was deleted or destroyed by then is not known.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub not_looked_into: Vec<String>,
    /// Of a system restore: what is kept from the running system because no archive holds it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub carried_over: Vec<String>,
}

#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct BackupRestore {
    pub id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mode: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub conflict: Option<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub items: Vec<String>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub include_deleted: bool,
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub include_destroyed: BTreeSet<String>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub include_users: bool,
    /// Root, out of a system backup: id of a domain that is deleted by now.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from_domain: Option<String>,
    /// The new, empty domain that receives it; name or id.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub into_domain: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub signer: Option<String>,
    /// Digest of the plan that was looked at.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub digest: Option<String>,
    /// System: the word `system`; exact: the domain's name or id.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub confirm: Option<String>,
    /// Accepted for compatibility, without effect: never into an older product, every older format is accepted.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub force: bool,
}

#[derive(Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct BackupContents {
    pub id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
    /// With `*` and `?`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub skip: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<i64>,
}

/// A record in an archive.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct BackupItem {
    pub kind: String,
    pub id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    pub revision: u64,
    pub domain: String,
}

endpoint! {
    backup_create: BackupCreate => Backup, POST "/v1/backups" | "/v1/backups/", Json 202, BackupRead, "backup create", "Takes a backup, reads it back and verifies it.";
    backup_list: BackupList => Page<Backup>, GET "/v1/backups" | "/v1/backups/", Query 200, BackupRead, "backup list", "Lists backups.";
    backup_get: BackupGet => Backup, GET "/v1/backups/{id}", Query 200, BackupRead, "backup get", "Shows a backup.";
    backup_delete: BackupDelete => NoBody, DELETE "/v1/backups/{id}", Query 204, BackupRead, "backup delete", "Deletes a backup and its archive.";
    backup_status: BackupStatusGet => OperationStatus, GET "/v1/backupStatus" | "/v1/backups/status", Query 200, BackupRead, "backup status", "Shows the latest backup or restore operation of the domain.";
    backup_download: BackupDownload => FileBody, GET "/v1/backups/{id}/download", Query 200, BackupRead, "backup download", "Downloads the archive; takes Range.";
    backup_upload: BackupUpload => Backup, POST "/v1/backups/upload", File 201, BackupRead, "backup upload", "Uploads an archive.";
    backup_inspect: BackupInspect => BackupFacts, POST "/v1/backups/inspect", File 200, BackupRead, "backup inspect", "Shows what an archive says of itself, without any key.";
    backup_plan: RestoreQuery => RestorePlan, POST "/v1/backups/{id}/plan", Json 200, BackupRead, "backup plan", "Shows what a restore would do.";
    backup_restore: BackupRestore => Backup, POST "/v1/backups/{id}/restore", Json 202, BackupRead, "backup restore", "Restores, whole or not at all.";
    backup_contents: BackupContents => Page<BackupItem>, GET "/v1/backups/{id}/contents", Query 200, BackupRead, "backup contents", "Lists what an archive holds.";
}
