//! Destinations: the places that backup instances send archives to. They are the system's; domains use them by name.

use keyark_model::Time;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::endpoint::NoBody;
use crate::{Page, endpoint};

#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Destination {
    pub id: String,
    pub name: String,
    /// local, s3, azure or sftp.
    pub kind: String,
    /// Where it is, for the root domain alone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub address: Option<String>,
    /// governance or compliance: what is created there is locked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lock_mode: Option<String>,
    /// Days for which full archives and merged segments are locked; all else is for a day.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lock_days: Option<u32>,
    /// The most bytes that are sent there in a second.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bytes_per_second_out: Option<u32>,
    /// The most bytes that are fetched from there in a second.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bytes_per_second_in: Option<u32>,
    /// The most requests that are made there in a second.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub requests_per_second: Option<u32>,
    /// Requests that are under way there at once.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub parallelism: Option<u32>,
    /// When the credentials end: an alarm comes a fortnight before.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub credentials_expire_at: Option<Time>,
    pub created_at: Time,
}

#[derive(Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct DestinationCreate {
    pub name: String,
    /// local (default): a folder of the server's machine, or one that is mounted there; s3: a bucket; azure: a container;
    /// sftp: a folder of another machine.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
    /// Of a local destination: a folder that exists, from the root of the file system. Of sftp: a folder there that exists, from the
    /// root or from the user's own folder.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// Of an S3 destination.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bucket: Option<String>,
    /// In front of every name in the bucket or container, with a slash at its end.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prefix: Option<String>,
    /// Of an S3 destination; us-east-1 by default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub region: Option<String>,
    /// Of another S3 server than Amazon's, or another Azure Blob server than Azure's: its address.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub endpoint: Option<String>,
    /// Of an S3 destination: who this system is there. It must be able to create, read and list.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub access_key_id: Option<String>,
    /// Sealed, and never shown again.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub secret_access_key: Option<String>,
    /// Of an Azure destination: the storage account.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub account_name: Option<String>,
    /// Of an Azure destination: a container of the account, which exists.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub container: Option<String>,
    /// Of an Azure destination: a key of the storage account. Sealed, and never shown again.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub account_key: Option<String>,
    /// Of an Azure destination, in place of a key: a shared access signature for the container, which must be able to create, read and
    /// list. Its end is known from itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sas_token: Option<String>,
    /// Of sftp: name or address of the machine.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    /// Of sftp; 22 by default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub port: Option<u16>,
    /// Of sftp: the machine's own public key, as ssh-keyscan shows it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub host_key: Option<String>,
    /// Of sftp: who this system is there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub username: Option<String>,
    /// Of sftp: sealed, and never shown again. Without it the system's own key logs in, see `scp public-key get`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub password: Option<String>,
    /// Where an S3 bucket has object lock, or an Azure container version-level immutability: governance (somebody with a right of its
    /// own may lift a lock) or compliance (nobody may) lock what is created there; none (default) leaves it to the bucket.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lock_mode: Option<String>,
    /// With a lock mode: days for which full archives and merged segments are locked; all else is for a day.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lock_days: Option<u32>,
    /// The most bytes that are sent there in a second; 0 lifts the limit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bytes_per_second_out: Option<u32>,
    /// The most bytes that are fetched from there in a second; 0 lifts the limit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bytes_per_second_in: Option<u32>,
    /// The most requests that are made there in a second; 0 lifts the limit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub requests_per_second: Option<u32>,
    /// Requests that are under way there at once; 0 lets the kind of destination decide.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub parallelism: Option<u32>,
    /// When the credentials end: an alarm comes a fortnight before. New credentials without it have no known end.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub credentials_expire_at: Option<Time>,
}

#[derive(Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct DestinationList {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub skip: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<i64>,
}

#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DestinationGet {
    /// Id or name.
    pub id: String,
}

#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct DestinationUpdate {
    /// Id or name.
    pub id: String,
    /// The new name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// New credentials for S3, both together.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub access_key_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub secret_access_key: Option<String>,
    /// A new key of the storage account, for Azure.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub account_key: Option<String>,
    /// A new shared access signature, for Azure.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sas_token: Option<String>,
    /// A new password, for sftp.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub password: Option<String>,
    /// Where an S3 bucket has object lock, or an Azure container version-level immutability: governance (somebody with a right of its
    /// own may lift a lock) or compliance (nobody may) lock what is created there; none (default) leaves it to the bucket.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lock_mode: Option<String>,
    /// With a lock mode: days for which full archives and merged segments are locked; all else is for a day.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lock_days: Option<u32>,
    /// The most bytes that are sent there in a second; 0 lifts the limit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bytes_per_second_out: Option<u32>,
    /// The most bytes that are fetched from there in a second; 0 lifts the limit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bytes_per_second_in: Option<u32>,
    /// The most requests that are made there in a second; 0 lifts the limit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub requests_per_second: Option<u32>,
    /// Requests that are under way there at once; 0 lets the kind of destination decide.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub parallelism: Option<u32>,
    /// When the credentials end: an alarm comes a fortnight before. New credentials without it have no known end.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub credentials_expire_at: Option<Time>,
}

#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DestinationDelete {
    /// Id or name.
    pub id: String,
}

#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DestinationCheck {
    /// Id or name.
    pub id: String,
}

/// What a destination was found to do.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct DestinationChecked {
    /// Everything that protection needs works: writes, reads back, lists, does not overwrite.
    pub usable: bool,
    pub writes: bool,
    pub reads_back: bool,
    pub lists: bool,
    /// An object that is there cannot be written again.
    pub refuses_overwrite: bool,
    /// Retention can delete there; without it, retention runs elsewhere with credentials of its own.
    pub deletes: bool,
    /// The object of this check is locked until then, and stays; whether retention can delete is not known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub locked_until: Option<Time>,
    /// What went wrong, and what to do.
    pub problems: Vec<String>,
}

endpoint! {
    destination_create: DestinationCreate => Destination, POST "/v1/destinations", Json 201, BackupRead, "destination create", "Adds a place that backup instances send archives to.";
    destination_list: DestinationList => Page<Destination>, GET "/v1/destinations", Query 200, BackupRead, "destination list", "Lists destinations.";
    destination_get: DestinationGet => Destination, GET "/v1/destinations/{id}", Query 200, BackupRead, "destination get", "Shows a destination.";
    destination_update: DestinationUpdate => Destination, PATCH "/v1/destinations/{id}", Json 200, BackupRead, "destination update", "Changes a destination's name, credentials, lock or limits.";
    destination_delete: DestinationDelete => NoBody, DELETE "/v1/destinations/{id}", Query 204, BackupRead, "destination delete", "Forgets a destination; what lies there stays.";
    destination_check: DestinationCheck => DestinationChecked, POST "/v1/destinations/{id}/check", Json 200, BackupRead, "destination check", "Writes, reads back, lists, tries to overwrite, deletes.";
}
