//! Backup keys: they wrap the data-encryption keys of archives and are in no backup themselves.

use keyark_model::Time;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::endpoint::NoBody;
use crate::{Page, endpoint};

#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct BackupKey {
    /// system or domain.
    pub scope: String,
    pub account: String,
    #[serde(rename = "domainID", skip_serializing_if = "Option::is_none")]
    pub domain_id: Option<String>,
    /// Of the key file's format: "2".
    pub version: String,
    pub id: String,
    pub created_at: Time,
    pub is_default: bool,
    pub state: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub description: String,
    /// Whether a copy kept elsewhere was proven to open (within 180 days, under the present signing key).
    pub escrowed: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub checked_at: Option<Time>,
}

#[derive(Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct BackupKeyCreate {
    /// system (default) or domain.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scope: Option<String>,
    /// Make it the default of its scope; the first one is that anyway.
    #[serde(default, alias = "default", skip_serializing_if = "std::ops::Not::not")]
    pub is_default: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
}

#[derive(Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct BackupKeyList {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub skip: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scope: Option<String>,
    #[serde(alias = "default", skip_serializing_if = "Option::is_none")]
    pub is_default: Option<bool>,
}

#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct BackupKeyGet {
    pub id: String,
}

#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct BackupKeyDefault {
    pub id: String,
}

#[derive(Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct BackupKeyDelete {
    pub id: String,
    /// Although backups known here need it; with `confirm`.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub force: bool,
    /// The id again.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub confirm: Option<String>,
}

#[derive(Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct BackupKeyDownload {
    pub id: String,
    /// Absent: a passphrase of 128 bits is made and shown once.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub password: Option<String>,
    /// Stored in clear in the file.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
}

/// An exported backup key: a JWE that any JOSE library opens.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct BackupKeyFile {
    pub keyid: String,
    pub version: u32,
    pub created_at: Time,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
    pub file: String,
    pub file_name: String,
    /// Only if it was made here; it is stored nowhere.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub passphrase: Option<String>,
}

#[derive(Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct BackupKeyUpload {
    /// Text of the exported file.
    pub file: String,
    pub password: String,
    /// Accepted; the file says it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scope: Option<String>,
}

#[derive(Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct BackupKeyInspect {
    pub file: String,
}

/// What an exported file says of itself: claimed until it is opened.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct BackupKeyFacts {
    pub version: u32,
    pub keyid: String,
    pub created_at: Time,
    pub scope: String,
    #[serde(rename = "domainID", skip_serializing_if = "Option::is_none")]
    pub domain_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
}

#[derive(Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct BackupKeyCheck {
    pub file: String,
    pub password: String,
}

/// What a check found.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct BackupKeyChecked {
    pub keyid: String,
    pub opens: bool,
    /// Whether this system has the same key under this id; only then the check is remembered as a proof.
    pub known: bool,
    pub escrowed: bool,
    pub checked_at: Time,
}

#[derive(Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct BackupKeyShredPlan {
    pub id: String,
}

/// What would die with a backup key.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ShredPlan {
    /// Carrying it out takes this.
    pub digest: String,
    pub backup_key: String,
    /// What backup instances sent, wherever this key has a door.
    pub streams: Vec<ShreddedStream>,
    /// Ids of the backups known here that open with this key alone.
    pub backups: Vec<String>,
    /// Exports, downloads and other keys: what would still open the same data, as far as this system knows.
    pub still_open: Vec<String>,
    /// Destinations that could not be looked at, with the reason.
    pub not_looked_into: Vec<String>,
}

/// One stream at one destination.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ShreddedStream {
    pub destination: String,
    pub incarnation: String,
    pub stream: String,
    /// Files of this key that are deleted.
    pub epoch_files: u64,
    /// Epochs that no other key opens: every point that needs one of them dies.
    pub epochs_that_die: u64,
    /// The first and the last moment that can be restored from it now.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from: Option<Time>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub to: Option<Time>,
    /// Keys that open some of its epochs too.
    pub other_backup_keys: Vec<String>,
}

#[derive(Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct BackupKeyShred {
    pub id: String,
    /// Of the plan (`keyark backupkeys shred-plan`).
    pub digest: String,
    /// The id again.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub confirm: Option<String>,
}

/// A job whose result says what went, what is locked, and what would still open.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ShredJob {
    pub id: String,
    pub job_id: String,
}

endpoint! {
    backup_key_create: BackupKeyCreate => BackupKey, POST "/v1/backupkeys" | "/v1/backupkeys/", Json 201, BackupRead, "backupkeys create", "Creates a backup key.";
    backup_key_list: BackupKeyList => Page<BackupKey>, GET "/v1/backupkeys" | "/v1/backupkeys/", Query 200, BackupRead, "backupkeys list", "Lists backup keys.";
    backup_key_get: BackupKeyGet => BackupKey, GET "/v1/backupkeys/{id}", Query 200, BackupRead, "backupkeys get", "Shows a backup key.";
    backup_key_default: BackupKeyDefault => BackupKey, POST "/v1/backupkeys/{id}/default", Json 200, BackupRead, "backupkeys default", "Makes a backup key the default of its scope.";
    backup_key_delete: BackupKeyDelete => NoBody, DELETE "/v1/backupkeys/{id}", Query 204, BackupRead, "backupkeys delete", "Deletes a backup key that no known backup needs, or with force and confirm.";
    backup_key_download: BackupKeyDownload => BackupKeyFile, POST "/v1/backupkeys/{id}/download", Json 200, BackupRead, "backupkeys download", "Exports a backup key under a password.";
    backup_key_upload: BackupKeyUpload => BackupKey, POST "/v1/backupkeys/upload", Json 201, BackupRead, "backupkeys upload", "Imports an exported backup key.";
    backup_key_inspect: BackupKeyInspect => BackupKeyFacts, POST "/v1/backupkeys/inspect", Json 200, BackupRead, "backupkeys inspect", "Shows what an exported file says of itself, without its password.";
    backup_key_shred_plan: BackupKeyShredPlan => ShredPlan, POST "/v1/backupkeys/{id}/shred-plan", Json 200, BackupRead, "backupkeys shred-plan", "Shows which points and backups die with a backup key, and what would still open them.";
    backup_key_shred: BackupKeyShred => ShredJob, POST "/v1/backupkeys/{id}/shred", Json 202, BackupRead, "backupkeys shred", "Makes everything unreadable that a backup key opens: deletes its epoch files and the key.";
    backup_key_check: BackupKeyCheck => BackupKeyChecked, POST "/v1/backupkeys/check", Json 200, BackupRead, "backupkeys check", "Opens an exported file to prove that the key is kept elsewhere.";
}
