//! Work that is done by the clock, as records.

use crate::{DomainId, Id, Time};

/// Work that is done by the clock. Its record stands in root, whatever its domain.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct ScheduleHeader {
    /// Not called `name` in the header: each domain has names of its own.
    #[serde(rename = "title")]
    pub name: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub description: String,
    /// `database_backup`, `key_rotation`, `verification`, `drill`, `retention`.
    pub operation: String,
    /// Five fields of cron.
    pub run_at: String,
    /// A name of the time zone database.
    pub time_zone: String,
    pub disabled: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start_date: Option<Time>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub end_date: Option<Time>,
    /// Where it was made: what it does happens there.
    pub domain: DomainId,
    pub created_at: Time,
    pub updated_at: Time,
    /// What the operation is told, as it came.
    pub params: serde_json::Value,
    /// The last time that was due and was looked after.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub handled: Option<Time>,
    /// The last runs, newest last.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub runs: Vec<Run>,
}

impl ScheduleHeader {
    /// Whether it runs by the clock at a moment.
    pub fn is_on(&self, now: Time) -> bool {
        !self.disabled && self.start_date.is_none_or(|at| at <= now) && self.end_date.is_none_or(|at| now <= at)
    }
}

/// One run of a schedule.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Run {
    pub id: Id,
    pub at: Time,
    /// The job that did the work; none if it could not begin.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub job: Option<Id>,
    /// The backup that was made, if one was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backup: Option<Id>,
    /// Why it could not begin, or its backup not be sent.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub failure: String,
    /// The jobs that sent the backup away, each after the one before failed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub transfers: Vec<Id>,
}
