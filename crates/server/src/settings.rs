//! Settings: one TOML file, each overridable by `KEYARK_…` and a flag; the defaults are safe.

use std::net::SocketAddr;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// Everything that can be set.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// The data folder.
    pub data: PathBuf,
    /// Where to listen; loopback by default.
    pub listen: SocketAddr,
    /// False: plain HTTP, refused on any address but loopback.
    pub tls: bool,
    /// Names and addresses in the server certificate besides `localhost` and the listening address.
    pub names: Vec<String>,
    /// Writes are refused while less than this many bytes of disk are free.
    pub disk_reserve: u64,
    /// Largest JSON body in bytes.
    pub largest_body: usize,
    /// Largest uploaded file in bytes.
    pub largest_upload: u64,
    /// When a usage record is on disk.
    pub audit: AuditMode,
    /// Days that usage records are kept.
    pub audit_days: u32,
}

/// When a read or a cryptographic operation is on disk in the usage log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum AuditMode {
    /// Within 200 ms of its answer; a power cut may take the last moments.
    #[default]
    Batched,
    /// Before it is answered.
    BeforeAnswer,
}

impl Default for Settings {
    fn default() -> Self {
        Settings {
            data: PathBuf::from("keyark-data"),
            listen: SocketAddr::from(([127, 0, 0, 1], 9443)),
            tls: true,
            names: Vec::new(),
            disk_reserve: 64 << 20,
            largest_body: 16 << 20,
            largest_upload: 64 << 30,
            audit: AuditMode::Batched,
            audit_days: 30,
        }
    }
}
