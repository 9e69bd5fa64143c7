//! Jobs: long-running operations with progress, cancelled or waited for.

use keyark_model::Time;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::backups::JobProgress;
use crate::{Page, endpoint};

#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Job {
    pub id: String,
    pub operation: String,
    /// in_progress, completed, failed or aborted.
    pub status: String,
    pub started_at: Time,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub finished_at: Option<Time>,
    pub principal: String,
    #[serde(rename = "domainID", skip_serializing_if = "Option::is_none")]
    pub domain_id: Option<String>,
    /// Id of the backup.
    pub resource: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub progress: Option<JobProgress>,
    #[serde(default, skip_serializing_if = "Value::is_null")]
    pub result: Value,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub error: String,
    /// Number of the error's code, of a job that failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error_code: Option<u32>,
    pub cancellable: bool,
}

#[derive(Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct JobList {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub skip: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<i64>,
}

#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct JobGet {
    pub id: String,
}

#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct JobCancel {
    pub id: String,
}

endpoint! {
    job_list: JobList => Page<Job>, GET "/v1/jobs", Query 200, JobRead, "jobs list", "Lists jobs, newest first.";
    job_get: JobGet => Job, GET "/v1/jobs/{id}", Query 200, JobRead, "jobs get", "Shows a job.";
    job_cancel: JobCancel => Job, POST "/v1/jobs/{id}/cancel", Json 202, JobRead, "jobs cancel", "Cancels a job that has not passed its point of no return.";
}
