//! The system's own records: keys that seal, secrets of this server, settings, backup keys and the catalogue of backups.

use std::collections::{BTreeMap, BTreeSet};

use crate::{Digest, DomainId, Id, Time};

/// A KEK as a record: wrapped by the MKEK, its body empty because the wrap binds everything.
#[derive(Clone, Debug, serde::Serialize, serde::Deserialize)]
pub struct KekHeader {
    /// "mkek", "local-kek" or "kek".
    pub purpose: String,
    pub generation: u32,
    /// Base64 of the key, wrapped by the root of trust (mkek) or by the MKEK.
    pub wrapped: String,
    pub reserved: u64,
    pub current: bool,
    #[serde(rename = "createdAt")]
    pub created_at: Time,
}

/// Secrets of this server alone; the body holds the secret.
#[derive(Clone, Debug, serde::Serialize, serde::Deserialize)]
pub struct NodeHeader {
    /// "jwt", "signing" or "tls".
    pub name: String,
    /// What of it is public (certificates in PEM).
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub public: String,
}

/// A setting of the system that an archive carries.
#[derive(Clone, Debug, serde::Serialize, serde::Deserialize)]
pub struct SettingHeader {
    pub name: String,
    pub value: serde_json::Value,
}

/// A backup key: the body holds its 32 bytes. Its record stands in root, whatever its scope.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct BackupKeyHeader {
    /// The domain whose archives it opens; none for the system's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub domain: Option<DomainId>,
    /// Further domains that uploaded its file: they restore with it, and nothing else.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub also: BTreeSet<DomainId>,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub description: String,
    /// HKDF of the key: two files with one key are known as such.
    pub fingerprint: Digest,
    pub default: bool,
    pub created_at: Time,
    /// When an exported file was last proven to open, and under which signing key: any change of it voids the proof.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub proven: Option<Proof>,
}

/// That a copy of a backup key is kept elsewhere and opens.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Proof {
    pub at: Time,
    pub by: String,
    /// Fingerprint of the signing key that the file's anchor pins.
    pub anchor: String,
}

/// What is counted of a key, per version.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CounterHeader {
    /// Encryptions that were reserved so far (rules C2).
    #[serde(default)]
    pub reserved: BTreeMap<u32, u64>,
    /// The last use, to the day.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub last_used: BTreeMap<u32, Time>,
}

impl CounterHeader {
    /// For each version the larger of both counts, and the later of both uses.
    pub fn at_least(&mut self, other: &CounterHeader) {
        for (version, count) in &other.reserved {
            let mine = self.reserved.entry(*version).or_default();
            *mine = (*mine).max(*count);
        }
        for (version, at) in &other.last_used {
            let mine = self.last_used.entry(*version).or_insert(*at);
            *mine = (*mine).max(*at);
        }
    }
}

/// The catalogue's line about one archive. Its record stands in root under the archive's id.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct BackupHeader {
    /// The domain that it is of; none for the system's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub domain: Option<DomainId>,
    /// Further domains that uploaded the same bytes: they restore from it.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub also: BTreeSet<DomainId>,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub description: String,
    pub created_at: Time,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub finished_at: Option<Time>,
    pub status: BackupStatus,
    /// Why it failed.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub failure: String,
    pub backup_key: Id,
    pub creator: String,
    pub product_version: String,
    /// The earlier backup that it continues.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<Id>,
    #[serde(default, skip_serializing_if = "serde_json::Value::is_null")]
    pub filters: serde_json::Value,
    /// Position of the state that it holds.
    #[serde(default)]
    pub seq: u64,
    #[serde(default)]
    pub size: u64,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub checksum: String,
    /// Kind → number of records.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub counts: BTreeMap<String, u64>,
    /// Came from elsewhere.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub uploaded: bool,
    pub job: Id,
}

/// How far a backup is. It is completed only when it was read back and verified.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum BackupStatus {
    #[serde(rename = "In Progress")]
    InProgress,
    Completed,
    Failed,
    Canceled,
}

impl BackupStatus {
    /// The same of a job, in the words of the wire.
    pub fn of_job(self) -> &'static str {
        match self {
            BackupStatus::InProgress => "in_progress",
            BackupStatus::Completed => "completed",
            BackupStatus::Failed => "failed",
            BackupStatus::Canceled => "aborted",
        }
    }
}

/// A long-running operation and how it ended. Its record stands in root.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct JobHeader {
    /// "Backup create", "Backup restore".
    pub operation: String,
    /// The domain that it works on; none for the system.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub domain: Option<DomainId>,
    pub actor: String,
    /// The backup that it makes or restores.
    pub resource: Id,
    pub started: Time,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub finished: Option<Time>,
    pub status: BackupStatus,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub failure: String,
    /// Number of the error's code; 0: it did not fail.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub code: u32,
    /// What a restore did.
    #[serde(default, skip_serializing_if = "serde_json::Value::is_null")]
    pub result: serde_json::Value,
}

fn is_zero(number: &u32) -> bool {
    *number == 0
}
