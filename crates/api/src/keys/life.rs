//! Requests that change what a key is good for: versions, states, deletion, destruction, copies that leave it.

use keyark_model::Time;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

#[derive(Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct KeyDelete {
    pub id: String,
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
    /// Days until it is gone: 7 to 30, default 30.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pending_days: Option<u32>,
    /// The exact name or id again: at once.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub confirm: Option<String>,
}

#[derive(Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct KeyUndelete {
    pub id: String,
}

/// Cancel the destruction of a version, or of every version for which it is scheduled.
#[derive(Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct KeyUndestroy {
    pub id: String,
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
    /// Absent: every version.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version: Option<i64>,
}

/// A copy of one version as a key of its own, in the same state, with the same attributes but for links and aliases.
#[derive(Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct KeyClone {
    pub id: String,
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
    /// From 0; -1 or absent: the newest.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version: Option<i64>,
    /// Made up when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub new_key_name: Option<String>,
    /// In place of the source's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub meta: Option<Map<String, Value>>,
    /// Answer the material too; not for unexportable keys.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub include_material: bool,
    /// Accepted for compatibility, without effect.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id_size: Option<u32>,
}

/// Make the next version, or import it with `material`.
#[derive(Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct KeyVersionCreate {
    pub id: String,
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub material: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub encoding: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub format: Option<String>,
    /// What becomes of the replaced version: absent (stays), ProtectStop or Deactivated.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub replaced_state: Option<String>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub include_material: bool,
}

#[derive(Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct KeyVersionList {
    pub id: String,
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub skip: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<i64>,
}

macro_rules! transitions {
    ($($(#[$doc:meta])* $name:ident;)*) => {
        $($(#[$doc])*
        #[derive(Debug, Default, Serialize, Deserialize, JsonSchema)]
        #[serde(rename_all = "camelCase", deny_unknown_fields)]
        pub struct $name {
            pub id: String,
            #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
            pub kind: Option<String>,
            /// From 0; -1 or absent: the newest.
            #[serde(skip_serializing_if = "Option::is_none")]
            pub version: Option<i64>,
            #[serde(skip_serializing_if = "Option::is_none")]
            pub message: Option<String>,
        })*
    };
}

transitions! {
    /// Pre-Active becomes Active.
    KeyActivate;
    /// Nothing may be done with it until it is resumed.
    KeySuspend;
    /// Suspended becomes Active again.
    KeyResume;
    /// Old data may still be read with it, nothing new protected.
    KeyDeactivate;
    /// Deactivated becomes Active again.
    KeyReactivate;
    /// Marks it as archived; its state stays.
    KeyArchive;
    /// Takes the archive mark away.
    KeyRecover;
}

#[derive(Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct KeyRevoke {
    pub id: String,
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version: Option<i64>,
    /// Unspecified, KeyCompromise, CACompromise, AffiliationChanged, Superseded, CessationOfOperation, PrivilegeWithdrawn.
    pub reason: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub compromise_occurrence_date: Option<Time>,
}

#[derive(Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct KeyDestroy {
    pub id: String,
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
    /// Absent: every version.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version: Option<i64>,
    /// Days until the material is destroyed: 7 to 30, default 30. Until then it is not used, and `undestroy` cancels.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pending_days: Option<u32>,
    /// The exact name or id again: at once.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub confirm: Option<String>,
}

#[derive(Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct KeyExport {
    pub id: String,
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version: Option<i64>,
    /// hex (default) or base64, of symmetric keys.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub encoding: Option<String>,
    /// raw, pkcs8 or, of RSA keys, pkcs1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub format: Option<String>,
    /// Wrapped by this key of the domain: AES-KWP, or RSA-OAEP with SHA-256; base64.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub wrap_key_name: Option<String>,
}
