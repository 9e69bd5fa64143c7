//! Usage records: what was read, done with keys, logged in to, and refused.

use keyark_model::Time;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{Page, endpoint};

#[derive(Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ClientRecordList {
    /// Default 100, at most 10 000.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<i64>,
    /// Show records before this position; they come newest first.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub before: Option<u64>,
    /// Operation id, such as `encrypt`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub action: Option<String>,
    /// A user of this domain.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub username: Option<String>,
    /// Id or name of what it was done to, as recorded.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub success: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub created_after: Option<Time>,
}

/// One read, cryptographic operation, login or denied attempt. Kept on this server alone, for 30 days by default.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ClientRecord {
    pub id: String,
    /// Place in this server's usage log.
    pub position: u64,
    pub created_at: Time,
    pub action: String,
    /// What it was done to: the id of a key, the name in a path, the user name of a login.
    pub target: String,
    pub success: bool,
    /// Number of the error code; 0 for success.
    pub code: u32,
    /// Empty while the caller is unknown.
    pub user_id: String,
    #[serde(rename = "requestID")]
    pub request_id: String,
    #[serde(rename = "domainID")]
    pub domain_id: String,
    /// Address of the caller; absent for the local administration socket.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
}

endpoint! {
    client_record_list: ClientRecordList => Page<ClientRecord>, GET "/v1/audit/client-records", Query 200, AuditRead, "records client", "Lists reads, cryptographic operations, logins and refusals, newest first.";
}
