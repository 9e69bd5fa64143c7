//! The system: what it is, its anchor, its audit log, activation after a restore.

use keyark_model::Time;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{Page, endpoint};

#[derive(Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SystemInfo {}

#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub struct Info {
    pub name: String,
    pub version: String,
    pub model: String,
    pub vendor: String,
    pub system: String,
    pub incarnation: String,
    pub system_time: Time,
    /// Sequence number of the newest entry.
    pub position: u64,
    /// active, or suspended after a restore until `keyark system activate`.
    pub outbound: String,
    /// Fingerprint of the anchor, to compare with the one that was pinned.
    pub anchor_fingerprint: String,
    /// Such as `backup_key_not_escrowed` and `clock_doubtful`.
    pub warnings: Vec<String>,
}

#[derive(Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ServicesStatus {}

/// Whether the parts of this server do their work, for load balancers and installers that have no token.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct Services {
    /// `started`, or `degraded` when one of the services is not. While a system restore runs the answer is 503.
    pub status: String,
    pub services: Vec<Service>,
}

#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct Service {
    /// `store` (reads and writes), `api`, `outbound` (what this server sends by itself).
    pub name: String,
    /// `started`; of the store `read_only` when the disk is full or the machine was set back to an older state; of outbound `suspended` after a restore.
    pub status: String,
}

#[derive(Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AnchorGet {}

/// The anchor: which keys may have signed the archives of this system.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct AnchorShown {
    pub fingerprint: String,
    pub anchor: Value,
}

#[derive(Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SystemActivate {
    /// The word `activate`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub confirm: Option<String>,
}

#[derive(Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ClockAccept {
    /// The word `accept`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub confirm: Option<String>,
}

#[derive(Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AuditList {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<i64>,
    /// Show entries before this position; they come newest first.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub before: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub action: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub username: Option<String>,
}

/// One entry of the change log as people read it.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct AuditRecord {
    pub id: String,
    pub position: u64,
    pub created_at: Time,
    pub action: String,
    pub target: String,
    pub success: bool,
    pub user_id: String,
    #[serde(rename = "requestID")]
    pub request_id: String,
    #[serde(rename = "domainID")]
    pub domain_id: String,
    /// `kind/id@revision`, with `deleted` behind it for tombstones.
    pub changes: Vec<String>,
    /// Hash of the chain up to here.
    pub hash: String,
}

endpoint! {
    system_info: SystemInfo => Info, GET "/v1/system/info", Query 200, Authenticated, "system info", "Shows what this system is.";
    system_services: ServicesStatus => Services, GET "/v1/system/services/status", Query 200, Public, "system services", "Shows whether the server's parts do their work.";
    system_anchor: AnchorGet => AnchorShown, GET "/v1/system/anchor", Query 200, Public, "system anchor", "Shows the anchor.";
    system_activate: SystemActivate => Info, POST "/v1/system/activate", Json 200, SystemWrite, "system activate", "Lets a restored system go out again.";
    clock_accept: ClockAccept => Info, POST "/v1/system/clock/accept", Json 200, SystemWrite, "system accept-clock", "Says that this machine's clock is right: retention and expiry go by it again.";
    audit_list: AuditList => Page<AuditRecord>, GET "/v1/audit/records", Query 200, AuditRead, "records list", "Lists the domain's audit log, newest first.";
}
