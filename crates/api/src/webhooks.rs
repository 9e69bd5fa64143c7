//! Webhooks: programs elsewhere that are told of alarms (docs/webhooks.md).

use keyark_model::Time;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::endpoint::NoBody;
use crate::{Page, endpoint};

#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Webhook {
    pub id: String,
    pub name: String,
    /// Scheme, host and port; the rest of the URL is shown nowhere.
    pub address: String,
    pub disabled: bool,
    pub created_at: Time,
    pub updated_at: Time,
    /// Deliveries that arrived.
    pub delivered: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub delivered_at: Option<Time>,
    /// Why the last try failed, and when the next one comes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_try: Option<Time>,
    /// Signs what is sent. Shown once, when it is made.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub secret: Option<String>,
}

#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct WebhookCreate {
    pub name: String,
    /// https, without user and password. Plain http only to this machine, where the setting webhooks_http allows it.
    pub url: String,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub disabled: bool,
}

#[derive(Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct WebhookList {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub skip: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<i64>,
}

#[derive(Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct WebhookGet {
    /// Id or name.
    pub id: String,
}

#[derive(Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct WebhookUpdate {
    /// Id or name.
    pub id: String,
    /// Another receiver: it is told of everything that stands.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub disabled: Option<bool>,
    /// Make a new secret; the answer shows it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub rotate_secret: bool,
}

#[derive(Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct WebhookDelete {
    /// Id or name.
    pub id: String,
}

#[derive(Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct WebhookTest {
    /// Id or name.
    pub id: String,
}

/// What came of a test.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct WebhookTested {
    pub ok: bool,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub error: String,
}

endpoint! {
    webhook_create: WebhookCreate => Webhook, POST "/v1/system/webhooks", Json 201, SystemWrite, "webhook create", "Names a program that is told of alarms; the secret that signs what it gets is shown once.";
    webhook_list: WebhookList => Page<Webhook>, GET "/v1/system/webhooks", Query 200, SystemWrite, "webhook list", "Lists webhooks.";
    webhook_get: WebhookGet => Webhook, GET "/v1/system/webhooks/{id}", Query 200, SystemWrite, "webhook get", "Shows a webhook and how deliveries go.";
    webhook_update: WebhookUpdate => Webhook, PATCH "/v1/system/webhooks/{id}", Json 200, SystemWrite, "webhook modify", "Changes a webhook.";
    webhook_delete: WebhookDelete => NoBody, DELETE "/v1/system/webhooks/{id}", Query 204, SystemWrite, "webhook delete", "Deletes a webhook.";
    webhook_test: WebhookTest => WebhookTested, POST "/v1/system/webhooks/{id}/test", Json 200, SystemWrite, "webhook test", "Sends a webhook a test and says what it answered.";
}
