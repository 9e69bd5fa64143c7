//! Settings: one TOML file, each overridable by `KEYARK_…` and a flag; the defaults are safe.

use std::net::SocketAddr;
use std::path::PathBuf;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use keyark_model::Time;
use keyark_model::protection::midnight;
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
    /// Hours that a destination which does not answer keeps destroyed content in the log, 24 at least; after that it needs a full
    /// archive.
    pub log_max_lag: u32,
    /// At whose midnight backup instances make their daily full archive.
    pub time_zone: Zone,
    /// Webhooks on this machine may be plain HTTP.
    pub webhooks_http: bool,
}

/// A time zone by its name in the time zone database.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Zone(String);

impl TryFrom<String> for Zone {
    type Error = String;
    fn try_from(name: String) -> Result<Zone, String> {
        match TimeZone::get(&name) {
            Ok(_) => Ok(Zone(name)),
            Err(_) => Err(format!("{name:?} is no time zone; write one like Europe/Berlin or UTC")),
        }
    }
}

impl From<Zone> for String {
    fn from(zone: Zone) -> String {
        zone.0
    }
}

impl Zone {
    /// The midnight before a moment.
    pub fn midnight(&self, at: Time) -> Time {
        let day = || {
            let zone = TimeZone::get(&self.0).ok()?;
            Timestamp::from_microsecond(at.0).ok()?.to_zoned(zone).start_of_day().ok()
        };
        day().map_or_else(|| midnight(at), |day| Time(day.timestamp().as_microsecond()))
    }
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

impl Settings {
    /// Seconds of `log_max_lag`.
    pub fn max_lag(&self) -> i64 {
        i64::from(self.log_max_lag.max(24)) * 3600
    }
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
            log_max_lag: 72,
            time_zone: Zone("UTC".into()),
            webhooks_http: false,
        }
    }
}

#[cfg(test)]
mod tests {
    use keyark_model::Time;

    use super::Zone;

    #[test]
    fn a_day_begins_where_the_administrator_lives() {
        let midnight = |zone: &str, at: &str| {
            let zone: Zone = serde_json::from_value(zone.into()).unwrap();
            zone.midnight(at.parse::<Time>().unwrap()).to_string()[..16].to_owned()
        };
        assert_eq!(midnight("UTC", "2026-03-29T12:00:00Z"), "2026-03-29T00:00");
        assert_eq!(midnight("Europe/Berlin", "2026-03-28T23:30:00Z"), "2026-03-28T23:00");
        // After the clock was put forward the day began an hour "earlier" in UTC than the next one will.
        assert_eq!(midnight("Europe/Berlin", "2026-03-29T22:30:00Z"), "2026-03-29T22:00");
        assert!(serde_json::from_value::<Zone>("Mars/Olympus".into()).is_err());
    }
}
