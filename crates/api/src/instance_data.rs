//! What backup instances hold: the points and the data of a date, restored here or taken elsewhere in a file.

use std::collections::{BTreeMap, BTreeSet};

use keyark_model::Time;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::backup_instances::{BackupInstance, InstanceWork};
use crate::backups::Backup;
use crate::{Page, endpoint};

#[derive(Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct BackupInstancePoints {
    pub id: String,
}

/// What one destination holds: from and to when without a gap.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PointStretch {
    pub destination: String,
    /// Which life of the system.
    pub incarnation: String,
    pub from: Time,
    pub to: Time,
    /// Nothing was left out up to then.
    pub known_until: Time,
    pub full_archives: u64,
    pub segments: u64,
    pub bytes: u64,
    /// Ids of the backup keys that have a door into it.
    pub backup_keys: Vec<String>,
    /// Whether backup keys of this system open all of it today.
    pub opens: bool,
}

#[derive(Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct BackupInstanceExtract {
    pub id: String,
    /// As it was after the last change up to then; absent: the newest point.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub at: Option<Time>,
    /// Id or name; absent: the first that has the point.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub destination: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
}

#[derive(Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct BackupInstanceRestore {
    pub id: String,
    /// As it was after the last change up to then; absent: the newest point.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub at: Option<Time>,
    /// Id or name; absent: the first that has the point.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub destination: Option<String>,
    /// Only these, as kind:id, keys without the kind; absent: everything.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub items: Vec<String>,
    /// Id or name of another domain in which the caller may restore; absent: into the instance's own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub into_domain: Option<String>,
    /// What happens to what exists, there or under the same id elsewhere: fail (default), skip, overwrite, rename or newVersion.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub conflict: Option<String>,
    /// Bring back what was deleted since.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub include_deleted: bool,
    /// Ids of keys whose material comes back although it was destroyed since.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub include_destroyed: BTreeSet<String>,
    /// Of an uploaded instance whose signer is not pinned here: that signer, by name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub signer: Option<String>,
}

#[derive(Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct BackupInstanceDownload {
    pub id: String,
    /// As it was after the last change up to then; absent: the newest point.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub at: Option<Time>,
    /// Id or name; absent: the first that has the point.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub destination: Option<String>,
}

/// A moment's data on its way into a file.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct InstanceDownload {
    pub id: String,
    pub job_id: String,
    /// The backup to download when the job is completed.
    pub backup: String,
    /// Opens the file. Shown once and stored nowhere: without it nobody ever opens the file.
    pub encryption_key: String,
}

#[derive(Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct BackupInstanceUpload {
    /// The downloaded file, as it was uploaded here as a backup: its id.
    pub backup: String,
    /// The key that was shown at the download.
    pub encryption_key: String,
    /// The new instance's name.
    pub alias: String,
}

#[derive(Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct BackupInstanceData {
    pub id: String,
    /// A day in UTC, like 2026-05-01.
    pub date: String,
    /// keys or secrets; absent: both.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
    /// full, incremental, rotated, changed, destroyed or deleted; absent: all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub category: Option<String>,
    /// Id or name; absent: the first that has the day.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub destination: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub skip: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<i64>,
}

/// What an instance holds of a day.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct InstanceData {
    pub date: String,
    pub destination: String,
    /// The exact points in time that were compared.
    pub from: Time,
    pub to: Time,
    /// Kind → category → how many.
    pub counts: BTreeMap<String, BTreeMap<String, u64>>,
    pub skip: u64,
    pub limit: u64,
    pub total: u64,
    pub resources: Vec<InstanceItem>,
}

/// A key or secret in one list of a day.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct InstanceItem {
    pub kind: String,
    pub id: String,
    /// Empty where only its end is known.
    pub name: String,
    /// full, incremental (created on that day), rotated, changed (in its state), destroyed or deleted.
    pub category: String,
    /// The newest.
    pub version: u64,
    pub state: String,
}

endpoint! {
    backup_instance_points: BackupInstancePoints => Page<PointStretch>, GET "/v1/backup-instances/{id}/points", Query 200, BackupRead, "backup-instance points", "Lists what its destinations can restore.";
    backup_instance_data: BackupInstanceData => InstanceData, GET "/v1/backup-instances/{id}/data", Query 200, BackupRead, "backup-instance data", "Shows what it holds of a date: keys and secrets, and what became of them on that day.";
    backup_instance_download: BackupInstanceDownload => InstanceDownload, POST "/v1/backup-instances/{id}/download", Json 202, BackupRead, "backup-instance download", "Makes a file of a moment under a fresh key, which is shown once.";
    backup_instance_upload: BackupInstanceUpload => BackupInstance, POST "/v1/backup-instances/upload", Json 201, BackupRead, "backup-instance upload", "Makes an instance of an uploaded file and its key.";
    backup_instance_restore: BackupInstanceRestore => InstanceWork, POST "/v1/backup-instances/{id}/restore", Json 202, BackupRead, "backup-instance restore", "Restores keys, secrets or all of a moment into the domain.";
    backup_instance_extract: BackupInstanceExtract => Backup, POST "/v1/backup-instances/{id}/backups", Json 202, BackupRead, "backup-instance extract", "Makes a backup out of a moment: it is planned, restored and downloaded like any other.";
}
