//! Continuous protection as records: where archives go, and the standing orders that send them there.

use std::collections::BTreeMap;

use uuid::Uuid;

use crate::ssh::{Host, Login};
use crate::{DomainId, Id, Time};

/// A place that keeps archives. Its record stands in root; the body holds the credentials, if it needs any.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct DestinationHeader {
    pub name: String,
    #[serde(flatten)]
    pub address: Address,
    /// What is created there is locked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lock: Option<Lock>,
    #[serde(default, skip_serializing_if = "Pace::is_free")]
    pub pace: Pace,
    /// When its credentials end, if somebody said so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub credentials_expire_at: Option<Time>,
    pub created_at: Time,
}

/// How fast a destination may be used at most; without a number as fast as it goes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(default, rename_all = "camelCase", deny_unknown_fields)]
pub struct Pace {
    /// Sent there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bytes_per_second_out: Option<u32>,
    /// Fetched from there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bytes_per_second_in: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub requests_per_second: Option<u32>,
    /// Requests that are under way at once.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub parallelism: Option<u32>,
}

impl Pace {
    pub fn is_free(&self) -> bool {
        *self == Pace::default()
    }
}

/// How long what is created at a destination is locked there: nobody deletes or replaces it before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Lock {
    pub mode: LockMode,
    /// For full archives and merged segments; a day for all else.
    pub days: u32,
}

/// Whether somebody with a right of its own may lift a lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LockMode {
    Governance,
    Compliance,
}

/// Where a destination is.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
pub enum Address {
    /// A folder of the server's machine, or one that is mounted there.
    Local { path: String },
    /// A bucket of S3 or of a server that speaks it.
    S3 {
        bucket: String,
        /// In front of every name; empty or ending in `/`.
        #[serde(default, skip_serializing_if = "String::is_empty")]
        prefix: String,
        region: String,
        /// Of another server than Amazon's; buckets are then in the path.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        endpoint: Option<String>,
    },
    /// A folder of another machine, over SSH.
    Sftp {
        #[serde(flatten)]
        host: Host,
        /// From the root, or from the user's own folder.
        path: String,
    },
    /// A container of Azure Blob or of a server that speaks it.
    Azure {
        account: String,
        container: String,
        #[serde(default, skip_serializing_if = "String::is_empty")]
        prefix: String,
        /// Of another server than Azure's, with the account in its path if that server wants it there.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        endpoint: Option<String>,
    },
}

impl Address {
    /// For people; no credentials.
    pub fn shown(&self) -> String {
        let at = |endpoint: &Option<String>| endpoint.as_ref().map(|e| format!(" at {e}")).unwrap_or_default();
        match self {
            Address::Local { path } => path.clone(),
            Address::Sftp { host, path } => {
                let own = if path.starts_with('/') { "" } else { "/~/" };
                format!("sftp://{}@{}{own}{path}", host.user, host.shown())
            }
            Address::S3 { bucket, prefix, endpoint, .. } => format!("s3://{bucket}/{prefix}{}", at(endpoint)),
            Address::Azure { account, container, prefix, endpoint } => {
                format!("azure://{account}/{container}/{prefix}{}", at(endpoint))
            }
        }
    }

    /// Whether somebody must say who this system is there.
    pub fn needs_credentials(&self) -> bool {
        match self {
            Address::Local { .. } => false,
            Address::S3 { .. } | Address::Azure { .. } => true,
            // With a key it is the system's own.
            Address::Sftp { host, .. } => host.login == Login::Password,
        }
    }

    /// The word on the wire.
    pub fn kind(&self) -> &'static str {
        match self {
            Address::Local { .. } => "local",
            Address::S3 { .. } => "s3",
            Address::Sftp { .. } => "sftp",
            Address::Azure { .. } => "azure",
        }
    }
}

/// What a backup instance is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum InstanceType {
    /// One of each deployment, of the root domain: a week, for ever.
    Default,
    /// Of one domain, with a range and an end that were chosen.
    Extended,
    /// Of everything, for disaster recovery.
    System,
    /// One moment that came in a file: read only.
    Upload,
}

/// A backup instance: the standing order to protect a domain, or the system. Its record stands in root.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct InstanceHeader {
    pub alias: String,
    #[serde(rename = "type")]
    pub instance_type: InstanceType,
    /// Whose instance it is; none for the system's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub domain: Option<DomainId>,
    /// Days that can be asked for, today included.
    pub range_days: u32,
    pub created_at: Time,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<Time>,
    /// While it is enabled.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub order: Option<Order>,
    /// Of an uploaded instance: the backup with its data.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub upload: Option<Id>,
    /// Somebody said that nothing of it may go.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hold: Option<LegalHold>,
    /// What was proven last, by destination.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub proofs: BTreeMap<Id, Proofs>,
}

/// Why nothing goes that an instance sent.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct LegalHold {
    pub reason: String,
    pub by: String,
    pub since: Time,
}

/// What was proven of an instance at one destination.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Proofs {
    /// The last verification, and how much was wrong.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verified: Option<(Time, u64)>,
    /// The last drill that ended well.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub drilled: Option<Time>,
}

/// What an enabled instance does.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Order {
    /// Names its folder at each destination.
    pub stream: Uuid,
    pub enabled_at: Time,
    pub backup_key: Id,
    pub destinations: Vec<Id>,
    /// How many of them must have a point before it counts as protected.
    pub quorum: u32,
    /// Between two looks for what is new; seconds.
    pub interval: u32,
    /// It is being reset: nothing more is sent.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub ending: bool,
}

/// What an instance is now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum InstanceState {
    Disabled,
    Enabled,
    Expired,
    Released,
}

/// Days between the end of an instance and its release.
const RELEASE_DAYS: i64 = 15;

/// Days that a default or system instance keeps what its range hides.
const HIDDEN_DAYS: i64 = 30;
/// Days until the next full archive, until what is before it counts as old, and until a statement of that is carried out.
const FREE_DAYS: i64 = 4;
const DAY: i64 = 86_400_000_000;

/// The midnight before a moment, in UTC.
pub fn midnight(at: Time) -> Time {
    Time(at.0 - at.0.rem_euclid(DAY))
}

impl InstanceHeader {
    /// The first moment that can be asked for: today counts as one of the days.
    pub fn range_start(&self, now: Time) -> Time {
        Time(midnight(now).0 - (i64::from(self.range_days) - 1) * DAY)
    }

    /// How long the range must be for a moment to be inside it.
    pub fn range_needed(at: Time, now: Time) -> i64 {
        (midnight(now).0 - midnight(at).0) / DAY + 1
    }

    /// From when on everything is kept; none: nothing goes but what is superfluous. An extended instance keeps all until
    /// it is released.
    pub fn keep_from(&self, now: Time) -> Option<Time> {
        match self.instance_type {
            InstanceType::Extended | InstanceType::Upload => None,
            InstanceType::Default | InstanceType::System => Some(Time(self.range_start(now).0 - HIDDEN_DAYS * DAY)),
        }
    }

    /// From when on its destinations hold nothing that ended at a moment: the first full archive without it leaves by then, and
    /// a statement of that has lain there. None: not as long as nobody resets the instance, or it is held.
    pub fn free_of(&self, ended: Time) -> Option<Time> {
        if self.hold.is_some() {
            return None;
        }
        let kept = ended.0 - self.keep_from(ended)?.0;
        Some(Time(midnight(ended).0 + kept.div_euclid(DAY) * DAY + FREE_DAYS * DAY))
    }

    pub fn state(&self, now: Time) -> InstanceState {
        match self.expires_at {
            Some(end) if self.hold.is_none() && now >= end.plus_seconds(RELEASE_DAYS * 86_400) => {
                InstanceState::Released
            }
            Some(end) if now >= end => InstanceState::Expired,
            _ if self.order.is_some() || self.upload.is_some() => InstanceState::Enabled,
            _ => InstanceState::Disabled,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::{InstanceHeader, InstanceState, InstanceType};
    use crate::{DomainId, Time};

    #[test]
    fn the_range_has_today_in_it() {
        let at = |text: &str| text.parse::<Time>().unwrap();
        let header = |instance_type, range_days| InstanceHeader {
            alias: "a".into(),
            instance_type,
            domain: None,
            range_days,
            created_at: Time(0),
            expires_at: None,
            order: None,
            upload: None,
            hold: None,
            proofs: BTreeMap::new(),
        };
        // Enabled on May 1 with a range of 10 days, asked on May 20 for May 5: that needs 16.
        let now = at("2023-05-20T13:00:00Z");
        let asked = at("2023-05-05T18:00:00Z");
        assert_eq!(InstanceHeader::range_needed(asked, now), 16);
        let starts = |days| header(InstanceType::Extended, days).range_start(now);
        assert_eq!(starts(10), at("2023-05-11T00:00:00Z"));
        assert!(starts(15) > asked && starts(16) <= asked);
        assert_eq!(header(InstanceType::Extended, 10).keep_from(now), None);
        assert_eq!(header(InstanceType::System, 10).keep_from(now), Some(at("2023-04-11T00:00:00Z")));
    }

    #[test]
    fn an_instance_expires_and_is_released_a_fortnight_later() {
        let day = |n: i64| Time(0).plus_seconds(n * 86_400);
        let mut header = InstanceHeader {
            alias: "a".into(),
            instance_type: InstanceType::Extended,
            domain: Some(DomainId::from_bytes([1; 16])),
            range_days: 7,
            created_at: day(0),
            expires_at: Some(day(30)),
            order: None,
            upload: None,
            hold: None,
            proofs: BTreeMap::new(),
        };
        for (at, state) in [
            (day(29), InstanceState::Disabled),
            (day(30), InstanceState::Expired),
            (Time(day(45).0 - 1), InstanceState::Expired),
            (day(45), InstanceState::Released),
        ] {
            assert_eq!(header.state(at), state);
        }
        header.hold = Some(super::LegalHold { reason: "a case".into(), by: "a".into(), since: day(1) });
        assert_eq!(header.state(day(45)), InstanceState::Expired, "what is held is not released");
        (header.hold, header.expires_at) = (None, None);
        assert_eq!(header.state(day(9999)), InstanceState::Disabled);
    }
}
