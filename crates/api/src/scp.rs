//! Transfers of backups to other machines over SSH: this system's public key, connections, and the transfers themselves.

use keyark_model::Time;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::endpoint::NoBody;
use crate::{Page, endpoint};

/// The key that lets this system in where it stands in `authorized_keys`. Each domain has its own.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct ScpPublicKey {
    /// One line of `authorized_keys`.
    pub public_key: String,
    /// As `ssh-keygen -l` shows it.
    pub fingerprint: String,
}

#[derive(Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ScpPublicKeyGet {}

#[derive(Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ScpPublicKeyRotate {
    /// `rotate`, once what will break is known: without it that is listed and nothing happens.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub confirm: Option<String>,
}

#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct ScpPublicKeyRotated {
    pub success: bool,
    /// What logs in with the old key, and cannot before the new one stands in `authorized_keys` there.
    pub broken: Vec<String>,
}

/// A request that says where files go: a host and a folder there.
macro_rules! with_place {
    ($(#[$meta:meta])* $name:ident { $($(#[$of:meta])* $field:ident: $type:ty,)* }) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
        #[serde(deny_unknown_fields)]
        pub struct $name {
            $($(#[$of])* pub $field: $type,)*
            /// Name or address of the host.
            #[serde(skip_serializing_if = "Option::is_none")]
            pub host: Option<String>,
            /// 22 by default.
            #[serde(skip_serializing_if = "Option::is_none")]
            pub port: Option<u16>,
            #[serde(skip_serializing_if = "Option::is_none")]
            pub username: Option<String>,
            /// key (default; this domain's own, see `scp public-key get`) or password.
            #[serde(skip_serializing_if = "Option::is_none")]
            pub auth_method: Option<String>,
            /// Sealed, and never shown again.
            #[serde(skip_serializing_if = "Option::is_none")]
            pub password: Option<String>,
            /// Public key of the host, as ssh-keyscan shows it: nothing is sent to a host that has another one.
            #[serde(skip_serializing_if = "Option::is_none")]
            pub public_key: Option<String>,
            /// The folder there, from the root or from the user's own folder.
            #[serde(skip_serializing_if = "Option::is_none")]
            pub path_to: Option<String>,
            /// sftp (default) or scp.
            #[serde(skip_serializing_if = "Option::is_none")]
            pub protocol: Option<String>,
        }

        impl $name {
            /// What it says of the place.
            pub fn place(&self) -> ScpPlace {
                ScpPlace {
                    host: self.host.clone(),
                    port: self.port,
                    username: self.username.clone(),
                    auth_method: self.auth_method.clone(),
                    password: self.password.clone(),
                    public_key: self.public_key.clone(),
                    path_to: self.path_to.clone(),
                    protocol: self.protocol.clone(),
                }
            }
        }
    };
}

with_place! {
    /// A place as a request says it.
    ScpPlace {}
}

with_place! {
    ScpConnectionCreate {
        name: String,
        #[serde(skip_serializing_if = "Option::is_none")]
        description: Option<String>,
        /// backup/restore.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        products: Vec<String>,
        #[serde(default, skip_serializing_if = "Value::is_null")]
        labels: Value,
        #[serde(default, skip_serializing_if = "Value::is_null")]
        meta: Value,
    }
}

with_place! {
    ScpConnectionUpdate {
        /// Id or name.
        id: String,
        #[serde(skip_serializing_if = "Option::is_none")]
        description: Option<String>,
        #[serde(default, skip_serializing_if = "Value::is_null")]
        labels: Value,
        #[serde(default, skip_serializing_if = "Value::is_null")]
        meta: Value,
    }
}

with_place! {
    /// Tries a place that is no connection yet.
    ScpConnectionTest {}
}

with_place! {
    BackupScp {
        /// Id of the backup.
        id: String,
        /// Id or name of a connection; without it the fields of a place.
        #[serde(skip_serializing_if = "Option::is_none")]
        connection: Option<String>,
    }
}

#[derive(Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ScpConnectionList {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub skip: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<i64>,
    /// With * and ?.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
}

#[derive(Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ScpConnectionGet {
    /// Id or name.
    pub id: String,
}

#[derive(Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ScpConnectionDelete {
    /// Id or name.
    pub id: String,
}

#[derive(Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ScpConnectionTry {
    /// Id or name.
    pub id: String,
}

/// What came of trying a place.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct ScpConnectionTested {
    pub connection_ok: bool,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub connection_error: String,
}

#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct ScpConnection {
    pub id: String,
    pub uri: String,
    pub account: String,
    #[serde(rename = "createdAt")]
    pub created_at: Time,
    #[serde(rename = "updatedAt")]
    pub updated_at: Time,
    pub name: String,
    pub description: String,
    pub products: Vec<String>,
    pub host: String,
    pub port: u16,
    pub username: String,
    /// key or password.
    pub auth_method: String,
    /// Of the host.
    pub public_key: String,
    pub path_to: String,
    /// sftp or scp.
    pub protocol: String,
    #[serde(default, skip_serializing_if = "Value::is_null")]
    pub labels: Value,
    #[serde(default, skip_serializing_if = "Value::is_null")]
    pub meta: Value,
    /// Absent: it was never tried.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_connection_ok: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_connection_error: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_connection_at: Option<Time>,
}

/// Kept for four days; the audit log has it for longer.
#[derive(Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct BackupScpStatus {
    /// Id of the backup.
    pub id: String,
    /// Id of one transfer; absent: all of the backup, newest first.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scpid: Option<String>,
}

/// One transfer of a backup.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct ScpTransfer {
    pub id: String,
    pub host: String,
    /// in_progress, completed or failed. Completed: the file was read back there and is the same.
    pub connection_status: String,
    #[serde(rename = "createdAt")]
    pub created_at: Time,
    #[serde(rename = "updatedAt")]
    pub updated_at: Time,
    /// The file there.
    pub path: String,
    /// sftp or scp.
    pub protocol: String,
    /// The job that sends it; it has the same id.
    #[serde(rename = "jobId")]
    pub job_id: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub error: String,
}

/// One transfer, or all.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum ScpTransfers {
    One(ScpTransfer),
    All(Vec<ScpTransfer>),
}

endpoint! {
    scp_public_key_get: ScpPublicKeyGet => ScpPublicKey, GET "/v1/scp/public-key", Query 200, BackupRead, "scp public-key get", "Shows the public key that hosts must know; the first time it is made.";
    scp_public_key_rotate: ScpPublicKeyRotate => ScpPublicKeyRotated, POST "/v1/scp/public-key/rotate" | "/v1/scp/public-key", Json 200, DomainBackup, "scp public-key rotate", "Makes a new key; hosts that know the old one must be told.";
    scp_connection_create: ScpConnectionCreate => ScpConnection, POST "/v1/connectionmgmt/services/scp/connections" | "/v1/connectionmgmt/services/scp/connections/", Json 201, DomainBackup, "connectionmgmt scp create", "Names a host and a folder there that backups are sent to.";
    scp_connection_list: ScpConnectionList => Page<ScpConnection>, GET "/v1/connectionmgmt/services/scp/connections" | "/v1/connectionmgmt/services/scp/connections/", Query 200, BackupRead, "connectionmgmt scp list", "Lists connections.";
    scp_connection_get: ScpConnectionGet => ScpConnection, GET "/v1/connectionmgmt/services/scp/connections/{id}", Query 200, BackupRead, "connectionmgmt scp get", "Shows a connection and how it went last.";
    scp_connection_update: ScpConnectionUpdate => ScpConnection, PATCH "/v1/connectionmgmt/services/scp/connections/{id}", Json 200, DomainBackup, "connectionmgmt scp modify", "Changes a connection.";
    scp_connection_delete: ScpConnectionDelete => NoBody, DELETE "/v1/connectionmgmt/services/scp/connections/{id}", Query 204, DomainBackup, "connectionmgmt scp delete", "Deletes a connection.";
    scp_connection_try: ScpConnectionTry => ScpConnectionTested, POST "/v1/connectionmgmt/services/scp/connections/{id}/test", Json 200, DomainBackup, "connectionmgmt scp test", "Logs in, writes, reads back and takes away again.";
    scp_connection_test: ScpConnectionTest => ScpConnectionTested, POST "/v1/connectionmgmt/services/scp/connection-test", Json 200, DomainBackup, "connectionmgmt scp try", "Tries a place before a connection is made of it.";
    backup_scp: BackupScp => ScpTransfer, POST "/v1/backups/{id}/scp", Json 202, BackupRead, "backup scp", "Sends a backup to another machine, and reads it back there.";
    backup_scp_status: BackupScpStatus => ScpTransfers, GET "/v1/backups/{id}/scp" | "/v1/backups/{id}/scp/{scpid}", Query 200, BackupRead, "backup scp status", "Shows how transfers of a backup went.";
}
