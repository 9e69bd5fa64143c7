//! Legal holds: nothing that a backup instance sent goes away while somebody said that it must stay.

use keyark_model::protection::LegalHold;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::backup_instances::BackupInstance;
use crate::endpoint;

/// Why and since when a backup instance is held.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct HoldShown {
    pub reason: String,
    /// Who set it.
    pub by: String,
    pub since: keyark_model::Time,
}

impl From<LegalHold> for HoldShown {
    fn from(LegalHold { reason, by, since }: LegalHold) -> HoldShown {
        HoldShown { reason, by, since }
    }
}

#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct BackupInstanceHold {
    pub id: String,
    /// Why it must stay, for people: a case, a letter.
    pub reason: String,
}

#[derive(Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct BackupInstanceLift {
    pub id: String,
    /// The id or alias again: retention goes on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub confirm: Option<String>,
}

endpoint! {
    backup_instance_hold: BackupInstanceHold => BackupInstance, POST "/v1/backup-instances/{id}/hold", Json 200, BackupRead, "backup-instance hold", "Lets nothing go that it sent: neither retention nor anybody else, until the hold is lifted.";
    backup_instance_lift: BackupInstanceLift => BackupInstance, DELETE "/v1/backup-instances/{id}/hold", Query 200, BackupRead, "backup-instance lift", "Lifts its legal hold: retention goes on.";
}
