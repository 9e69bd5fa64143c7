//! Backup instances: standing orders that protect a domain or the system continuously.

use keyark_model::Time;
use keyark_model::protection::{InstanceState, InstanceType};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::endpoint::NoBody;
use crate::holds::HoldShown;
use crate::{Page, endpoint};

#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct BackupInstance {
    pub id: String,
    pub alias: String,
    /// default, extended, system or upload.
    #[serde(rename = "type")]
    #[schemars(with = "String")]
    pub instance_type: InstanceType,
    /// disabled, enabled, expired or released.
    #[schemars(with = "String")]
    pub state: InstanceState,
    /// system or domain.
    pub scope: String,
    pub account: String,
    #[serde(rename = "domainID", skip_serializing_if = "Option::is_none")]
    pub domain_id: Option<String>,
    /// Days that can be asked for, today included.
    pub range_days: u32,
    pub created_at: Time,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub enabled_at: Option<Time>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<Time>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub backup_key: Option<String>,
    /// Names its folder at each destination.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stream: Option<String>,
    /// How many destinations must have a point before it counts as protected.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub quorum: Option<u32>,
    /// Seconds between two looks for what is new.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub interval: Option<u32>,
    /// Everything up to then is at as many destinations as the quorum asks for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub protected_until: Option<Time>,
    pub destinations: Vec<InstanceDestination>,
    /// Of an uploaded instance: the backup with its data.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub backup: Option<String>,
    /// While it is under a legal hold nothing of it goes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hold: Option<HoldShown>,
    /// What stands in the way of protection.
    pub warnings: Vec<String>,
}

/// How far an instance is at one destination.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct InstanceDestination {
    pub id: String,
    pub name: String,
    /// Everything up to then is there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub protected_until: Option<Time>,
    /// Seconds since then.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lag: Option<i64>,
    /// Objects and bytes sent since the server started.
    pub objects: u64,
    pub bytes: u64,
    /// Why the last try failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// The last verification, and how many objects were not as they should be.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub verified_at: Option<Time>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub findings: Option<u64>,
    /// The last drill that ended well.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub drilled_at: Option<Time>,
}

#[derive(Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct BackupInstanceCreate {
    /// extended (default): of the caller's domain; system: of everything, from the root domain.
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    pub instance_type: Option<String>,
    pub alias: String,
    /// 7 to 600 days; 30 by default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub range_days: Option<u32>,
    /// Days until it expires; absent: never.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub duration_days: Option<u32>,
}

#[derive(Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct BackupInstanceList {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub skip: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<i64>,
}

#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct BackupInstanceGet {
    pub id: String,
}

#[derive(Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct BackupInstanceEnable {
    pub id: String,
    /// A new alias.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub alias: Option<String>,
    /// Ids or names of destinations.
    pub destinations: Vec<String>,
    /// Absent: the default backup key of the scope.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub backup_key: Option<String>,
    /// How many destinations must have a point before it counts as protected; absent: all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub quorum: Option<u32>,
    /// Seconds between two looks for what is new: 1 to 300, 5 by default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub interval: Option<u32>,
}

#[derive(Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct BackupInstanceExtend {
    pub id: String,
    /// The new range; it can only grow.
    pub range_days: u32,
}

#[derive(Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct BackupInstanceRenew {
    pub id: String,
    /// Days from now, or from its end if that is later.
    pub duration_days: u32,
}

#[derive(Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct BackupInstanceDelete {
    pub id: String,
    /// The id or alias again, if it was enabled: what was sent stays at its destinations.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub confirm: Option<String>,
}

#[derive(Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct BackupInstanceVerify {
    pub id: String,
    /// Id or name; absent: the first.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub destination: Option<String>,
    /// quick: the list alone; sample: every byte of the objects whose turn it is; full (default): every byte.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub depth: Option<String>,
    /// Of a sample: into so many parts, one a day, the objects are divided; 2 to 366.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub days: Option<u32>,
    /// Of a sample: a day, like 2026-05-01, whose part is read; absent: today's, in UTC.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub day: Option<String>,
    /// Copy what is missing or damaged from another destination of the instance, and delete what is damaged; runs of schedules do.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub heal: bool,
}

#[derive(Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct BackupInstanceDrill {
    pub id: String,
    /// Id or name; absent: the first.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub destination: Option<String>,
    /// The moment to restore; absent: the newest.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub at: Option<Time>,
}

#[derive(Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct BackupInstanceRotateKey {
    pub id: String,
    /// The backup key that opens everything from here on; absent: the default one of the scope.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub backup_key: Option<String>,
    /// Take the old key's doors away, with `confirm`.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub revoke_old: bool,
    /// The id or alias again.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub confirm: Option<String>,
}

#[derive(Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct BackupInstanceReset {
    pub id: String,
    /// The id or alias again: its data is deleted everywhere.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub confirm: Option<String>,
}

/// Work on an instance that has begun; its job's result says what was found.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct InstanceWork {
    pub id: String,
    pub job_id: String,
}

endpoint! {
    backup_instance_create: BackupInstanceCreate => BackupInstance, POST "/v1/backup-instances", Json 201, BackupRead, "backup-instance create", "Makes a backup instance, disabled.";
    backup_instance_list: BackupInstanceList => Page<BackupInstance>, GET "/v1/backup-instances", Query 200, BackupRead, "backup-instance list", "Lists backup instances.";
    backup_instance_get: BackupInstanceGet => BackupInstance, GET "/v1/backup-instances/{id}", Query 200, BackupRead, "backup-instance get", "Shows a backup instance and how far it is.";
    backup_instance_enable: BackupInstanceEnable => BackupInstance, POST "/v1/backup-instances/{id}/enable", Json 200, BackupRead, "backup-instance enable", "Starts protecting: a full archive at once, then every change.";
    backup_instance_extend: BackupInstanceExtend => BackupInstance, POST "/v1/backup-instances/{id}/extend", Json 200, BackupRead, "backup-instance extend", "Makes the range longer.";
    backup_instance_renew: BackupInstanceRenew => BackupInstance, POST "/v1/backup-instances/{id}/renew", Json 200, BackupRead, "backup-instance renew", "Moves its end.";
    backup_instance_delete: BackupInstanceDelete => NoBody, DELETE "/v1/backup-instances/{id}", Query 204, BackupRead, "backup-instance delete", "Ends a backup instance; what was sent stays where it is.";
    backup_instance_verify: BackupInstanceVerify => InstanceWork, POST "/v1/backup-instances/{id}/verify", Json 202, BackupRead, "backup-instance verify", "Looks for what was altered, cut, exchanged, left out or set back.";
    backup_instance_drill: BackupInstanceDrill => InstanceWork, POST "/v1/backup-instances/{id}/drill", Json 202, BackupRead, "backup-instance drill", "Restores a moment into a throw-away store and proves it, with a signed report.";
    backup_instance_rotate_key: BackupInstanceRotateKey => InstanceWork, POST "/v1/backup-instances/{id}/rotate-key", Json 202, BackupRead, "backup-instance rotate-key", "Lets another backup key open all that was sent, and all that will be.";
    backup_instance_reset: BackupInstanceReset => InstanceWork, POST "/v1/backup-instances/{id}/reset", Json 202, BackupRead, "backup-instance reset", "Deletes its data everywhere; it is disabled then.";
}
