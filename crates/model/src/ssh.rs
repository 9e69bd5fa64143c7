//! Other machines that are reached over SSH: how they are known, and where backups are sent to.

use crate::Time;

/// A machine, and how it proves that it is the one that is meant.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Host {
    pub host: String,
    pub port: u16,
    /// Public keys of the host as OpenSSH writes them, one a line; a host's name in front, as `ssh-keyscan` writes it, is skipped.
    #[serde(rename = "hostKey")]
    pub key: String,
    pub user: String,
    pub login: Login,
}

/// What kind of secret this system has there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Login {
    Password,
    /// A private key in OpenSSH's format.
    Key,
}

impl Login {
    /// The word on the wire.
    pub fn word(self) -> &'static str {
        match self {
            Login::Password => "password",
            Login::Key => "key",
        }
    }
}

impl Host {
    /// Where it is, for people.
    pub fn shown(&self) -> String {
        format!("{}:{}", self.host, self.port)
    }
}

/// How a file travels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Protocol {
    #[default]
    Sftp,
    Scp,
}

impl Protocol {
    /// The word on the wire.
    pub fn word(self) -> &'static str {
        match self {
            Protocol::Sftp => "sftp",
            Protocol::Scp => "scp",
        }
    }
}

/// A folder of a host that backups are sent to.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Place {
    #[serde(flatten)]
    pub host: Host,
    pub protocol: Protocol,
    /// From the root, or from the user's own folder.
    pub path: String,
}

/// A place under a name, of one domain. The body holds the password, if it has one.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct ConnectionHeader {
    pub name: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub description: String,
    #[serde(flatten)]
    pub place: Place,
    #[serde(default, skip_serializing_if = "serde_json::Value::is_null")]
    pub labels: serde_json::Value,
    #[serde(default, skip_serializing_if = "serde_json::Value::is_null")]
    pub meta: serde_json::Value,
    pub created_at: Time,
    pub updated_at: Time,
    /// When it was tried last, and what was wrong.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tried: Option<(Time, String)>,
}
