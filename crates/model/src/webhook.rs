//! Programs elsewhere that are told of alarms.

use std::collections::BTreeSet;

use crate::Time;

/// A receiver of alarms. Its record stands in root; the body holds its whole address and the secret that signs what is sent.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct WebhookHeader {
    pub name: String,
    /// Scheme, host and port: the rest of an address may be a secret.
    pub address: String,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub disabled: bool,
    pub created_at: Time,
    /// When somebody changed it; deliveries do not count.
    pub updated_at: Time,
    /// What it was told of and is not over.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub known: BTreeSet<AlarmName>,
    /// Deliveries that arrived.
    pub delivered: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delivered_at: Option<Time>,
}

/// What tells one alarm from another: its message may change while it stands.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
pub struct AlarmName {
    pub code: String,
    pub resource: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub destination: Option<String>,
}
