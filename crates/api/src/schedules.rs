//! Schedules: work that is done by the clock, under the names that programs for such schedulers know.

use keyark_model::Time;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::endpoint::NoBody;
use crate::{Page, endpoint};

#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct JobConfig {
    pub id: String,
    pub uri: String,
    pub account: String,
    #[serde(rename = "createdAt")]
    pub created_at: Time,
    #[serde(rename = "updatedAt")]
    pub updated_at: Time,
    pub name: String,
    pub description: String,
    /// database_backup, key_rotation, verification, drill or retention.
    pub operation: String,
    /// Five fields of cron: minute, hour, day of month, month, day of week.
    pub run_at: String,
    /// any: the node that has the time.
    pub run_on: String,
    /// A name of the time zone database.
    pub time_zone: String,
    pub disabled: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub start_date: Option<Time>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub end_date: Option<Time>,
    pub job_config_params: Value,
    /// When it is due next.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_run: Option<Time>,
}

#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DatabaseBackupParams {
    #[serde(default, rename = "tiedToHSM", skip_serializing_if = "std::ops::Not::not")]
    pub tied_to_hsm: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// Absent: the default one of the scope.
    #[serde(rename = "backupKey", skip_serializing_if = "Option::is_none")]
    pub backup_key: Option<String>,
    /// system (default) or domain.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scope: Option<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub filters: Vec<crate::backups::Filter>,
    /// Completed backups of this schedule that are kept; absent: all.
    #[serde(rename = "retentionCount", skip_serializing_if = "Option::is_none")]
    pub retention_count: Option<u32>,
    /// Sends each completed backup to `connection`; a transfer that fails is tried again.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub do_scp: bool,
    /// Id or name of a connection.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub connection: Option<String>,
}

#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct InstanceParams {
    /// Id or alias of the backup instance.
    pub instance: String,
    /// Id or name; absent: the first.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub destination: Option<String>,
    /// Of a verification: quick, sample or full (default).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub depth: Option<String>,
    /// Of a sample: within so many days everything is read, a part of it each day.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub days: Option<u32>,
}

/// Which keys get a new version: one, or all that fit.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct KeyRotationParams {
    /// Id or name of the key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// Every key whose name fits, with `*` for any run and `?` for any one character; those that end are left alone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
}

#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct JobConfigCreate {
    /// It stays.
    pub name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// database_backup, key_rotation, verification, drill or retention.
    pub operation: String,
    /// Five fields of cron: minute, hour, day of month, month, day of week.
    pub run_at: String,
    /// any.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub run_on: Option<String>,
    /// A name of the time zone database; UTC by default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub time_zone: Option<String>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub disabled: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub start_date: Option<Time>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub end_date: Option<Time>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub database_backup_params: Option<DatabaseBackupParams>,
    /// Of a verification, drill or retention.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub instance_params: Option<InstanceParams>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key_rotation_params: Option<KeyRotationParams>,
}

#[derive(Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct JobConfigList {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub skip: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub operation: Option<String>,
}

#[derive(Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct JobConfigGet {
    pub id: String,
}

#[derive(Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct JobConfigUpdate {
    pub id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub run_at: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub time_zone: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub disabled: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub start_date: Option<Time>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub end_date: Option<Time>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub database_backup_params: Option<DatabaseBackupParams>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub instance_params: Option<InstanceParams>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key_rotation_params: Option<KeyRotationParams>,
}

#[derive(Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct JobConfigDelete {
    pub id: String,
}

#[derive(Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct JobConfigRunNow {
    pub id: String,
}

#[derive(Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ScheduledJobList {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub skip: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<i64>,
    /// Runs of this schedule only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub job_config_id: Option<String>,
}

/// One run of a schedule.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct ScheduledJob {
    pub id: String,
    pub job_config_id: String,
    pub name: String,
    pub operation: String,
    #[serde(rename = "createdAt")]
    pub created_at: Time,
    /// in_progress, completed, failed or aborted.
    pub status: String,
    /// The job that did the work.
    #[serde(rename = "jobId", skip_serializing_if = "Option::is_none")]
    pub job_id: Option<String>,
    /// The backup that was made.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub backup: Option<String>,
    /// The last transfer of that backup, and how it went: in_progress, completed or failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scp: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scp_status: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

endpoint! {
    job_config_create: JobConfigCreate => JobConfig, POST "/v1/scheduler/job-configs", Json 201, BackupRead, "scheduler create", "Makes a schedule.";
    job_config_list: JobConfigList => Page<JobConfig>, GET "/v1/scheduler/job-configs", Query 200, BackupRead, "scheduler list", "Lists schedules.";
    job_config_get: JobConfigGet => JobConfig, GET "/v1/scheduler/job-configs/{id}", Query 200, BackupRead, "scheduler get", "Shows a schedule and when it is due next.";
    job_config_update: JobConfigUpdate => JobConfig, PATCH "/v1/scheduler/job-configs/{id}", Json 200, BackupRead, "scheduler modify", "Changes a schedule.";
    job_config_delete: JobConfigDelete => NoBody, DELETE "/v1/scheduler/job-configs/{id}", Query 204, BackupRead, "scheduler delete", "Deletes a schedule; what it made stays.";
    job_config_run_now: JobConfigRunNow => ScheduledJob, POST "/v1/scheduler/job-configs/{id}/run-now", Json 202, BackupRead, "scheduler run-now", "Runs a schedule now.";
    scheduled_job_list: ScheduledJobList => Page<ScheduledJob>, GET "/v1/scheduler/jobs", Query 200, BackupRead, "scheduler jobs", "Lists runs of schedules, newest first.";
}
