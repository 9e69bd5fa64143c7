//! The contract: one struct per endpoint, in one file per noun; errors; the list that everything else walks.

pub mod address;
pub mod client;
pub mod endpoint;
pub mod error;
pub mod list;
pub mod openapi;
pub mod page;

pub mod auth;
pub mod backup_instances;
pub mod backupkeys;
pub mod backups;
pub mod crypto;
pub mod destinations;
pub mod domains;
pub mod groups;
pub mod holds;
pub mod instance_data;
pub mod jobs;
pub mod keys;
pub mod policies;
pub mod policy_sets;
pub mod protection;
pub mod records;
pub mod schedules;
pub mod scp;
pub mod secrets;
pub mod system;
pub mod uploads;
pub mod users;
pub mod webhooks;

pub use endpoint::{Body, Endpoint, EndpointInfo, Method};
pub use error::{ErrorBody, ErrorCode};
pub use page::{Page, PageQuery};
