//! Profiles: which server, as whom, trusting whom; `~/.config/keyark/config.toml`, below flags and environment.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::failure::Failure;
use crate::files;
use crate::options::Given;

/// Where a server listens unless told otherwise.
pub const DEFAULT_URL: &str = "https://127.0.0.1:9443";
/// Where `keyark serve` keeps its data unless told otherwise.
pub const DEFAULT_DATA: &str = "keyark-data";

/// One server and account.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Profile {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub domain: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub auth_domain: Option<String>,
    /// The authority that signed the server's certificate.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ca: Option<PathBuf>,
    /// Fingerprint of the pinned anchor.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub anchor: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub output: Option<String>,
}

/// The configuration file.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// The profile used when none is named.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub profile: Option<String>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub profiles: BTreeMap<String, Profile>,
}

/// Where things of this person lie; the variables are those of the XDG base directories.
pub struct Places {
    config: PathBuf,
    state: PathBuf,
}

impl Places {
    pub fn of(given: &Given<'_>) -> Result<Places, Failure> {
        let place = |variable: &str, below: &str| {
            let chosen = given.variable(variable).map(PathBuf::from).filter(|p| p.is_absolute());
            let usual = || given.variable("HOME").map(|home| PathBuf::from(home).join(below));
            let base = chosen.or_else(usual);
            base.map(|b| b.join("keyark")).ok_or_else(|| Failure::Usage(format!("set HOME or {variable}")))
        };
        Ok(Places { config: place("XDG_CONFIG_HOME", ".config")?, state: place("XDG_STATE_HOME", ".local/state")? })
    }

    fn config_file(&self) -> PathBuf {
        self.config.join("config.toml")
    }

    /// The pinned anchor of a profile.
    pub fn anchor_file(&self, profile: &str) -> PathBuf {
        self.config.join(format!("{profile}.anchor.json"))
    }

    /// The sessions of a profile.
    pub fn session_file(&self, profile: &str) -> PathBuf {
        self.state.join(format!("{profile}.json"))
    }

    pub fn config(&self) -> Result<Config, Failure> {
        let path = self.config_file();
        let Some(bytes) = files::bytes_if_there(&path)? else { return Ok(Config::default()) };
        let text = String::from_utf8_lossy(&bytes);
        toml::from_str(&text).map_err(|e| Failure::Usage(format!("{}: {e}", path.display())))
    }

    pub fn save(&self, config: &Config) -> Result<(), Failure> {
        let text = toml::to_string_pretty(config).map_err(|e| Failure::Usage(e.to_string()))?;
        files::write_private(&self.config_file(), text.as_bytes())
    }
}

/// What a command uses: flag before variable before profile before default.
#[derive(Clone, Debug, Default)]
pub struct Connection {
    /// Name of the profile.
    pub profile: String,
    pub url: String,
    pub user: Option<String>,
    pub domain: Option<String>,
    pub auth_domain: Option<String>,
    pub ca: Option<PathBuf>,
    pub anchor: Option<String>,
    pub insecure: bool,
    pub output: Option<String>,
}

impl Connection {
    pub fn resolve(given: &Given<'_>, config: &Config) -> Result<Connection, Failure> {
        let named = given.text("profile").or_else(|| config.profile.clone());
        let name = named.unwrap_or_else(|| "default".into());
        if name.contains(['/', '\0']) || name.starts_with('.') {
            return Err(Failure::Usage(format!("{name:?} is no name for a profile: it becomes a file's name")));
        }
        let profile = config.profiles.get(&name).cloned().unwrap_or_default();
        Ok(Connection {
            profile: name,
            url: given.text("url").or(profile.url).unwrap_or_else(|| DEFAULT_URL.into()),
            user: given.text("user").or(profile.user),
            domain: given.text("domain").or(profile.domain),
            auth_domain: given.text("auth-domain").or(profile.auth_domain),
            ca: given.text("ca").map(PathBuf::from).or(profile.ca),
            anchor: profile.anchor,
            insecure: given.has("insecure"),
            output: given.text("output").or(profile.output),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::{Config, Profile};

    #[test]
    fn a_configuration_is_written_and_read_back() {
        let lab = Profile { url: Some("https://lab:9443".into()), user: Some("admin".into()), ..Profile::default() };
        let config = Config { profile: Some("lab".into()), profiles: [("lab".to_owned(), lab)].into() };
        let text = toml::to_string_pretty(&config).unwrap();
        assert_eq!(toml::from_str::<Config>(&text).unwrap(), config);
        assert!(toml::from_str::<Config>("[profiles.lab]\npassword = \"x\"").is_err(), "a password has no place there");
    }
}
