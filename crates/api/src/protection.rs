//! Where protection stands: instances, alarms, what was destroyed and still lies somewhere.

use keyark_model::Time;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::backup_instances::BackupInstance;
use crate::{Page, endpoint};

#[derive(Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ProtectionStatus {}

/// Where protection stands.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Protection {
    pub system_time: Time,
    pub instances: Vec<BackupInstance>,
    pub alarms: Vec<Alarm>,
}

/// Something that somebody must do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Alarm {
    /// A word that stays the same: `not_protected`, `too_old`, `destination_failing` …
    pub code: String,
    /// What it is about: an instance's alias, or the system.
    pub resource: String,
    /// Name of the destination that it is about, if one is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub destination: Option<String>,
    /// What is wrong, and what to do.
    pub message: String,
}

#[derive(Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AlarmList {}

/// Something that took a key's material or a secret's value along while that existed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Holder {
    /// backup, instance (its stream at one destination), or log: this system's own history, until every stream has what is in it.
    pub what: String,
    /// Id of a backup of this domain; system backups are named to root only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub backup: Option<String>,
    /// Alias of a backup instance of this domain; system instances are named to root only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub instance: Option<String>,
    /// Name of the destination, of an instance that is named.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub destination: Option<String>,
    /// system or domain.
    pub scope: String,
    /// When the backup was taken, or since when the instance protects.
    pub created_at: Time,
    /// It holds a selection, which may leave this one out.
    pub partial: bool,
    /// From then on it is not there any more, as retention stands now. Absent: until somebody deletes it, or the instance is reset.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub until: Option<Time>,
}

#[derive(Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ProtectionDestroyed {
    /// How many days to look back: 1 to 3660, 90 by default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub days: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub skip: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<i64>,
}

/// A key, a version of one, or a secret that ended. Copies that left unseen (downloads, copied buckets) are not known here.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Ended {
    /// keys or secrets.
    pub kind: String,
    pub id: String,
    /// Empty where it is not known any more.
    pub name: String,
    /// Of a destroyed version; absent: the whole record was deleted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version: Option<u64>,
    pub at: Time,
    /// It can be recovered from these.
    pub held_by: Vec<Holder>,
    /// From then on from none of them. Absent with holders: no end is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub until: Option<Time>,
}

endpoint! {
    protection_status: ProtectionStatus => Protection, GET "/v1/protection/status", Query 200, BackupRead, "protection status", "Shows where protection stands, and what somebody must do.";
    alarm_list: AlarmList => Page<Alarm>, GET "/v1/system/alarms", Query 200, BackupRead, "alarms list", "Lists what somebody must do.";
    protection_destroyed: ProtectionDestroyed => Page<Ended>, GET "/v1/protection/destroyed", Query 200, BackupRead, "protection destroyed", "Lists keys and secrets that were destroyed or deleted lately, what they can still be recovered from, and until when.";
}
