//! How a destination may be used: what is locked there, how fast it goes, until when its credentials hold.

use keyark_model::Time;
use keyark_model::protection::{Address, DestinationHeader, Lock, LockMode, Pace};

use super::address::not_of;
use crate::app::error::{AppError, Result};

/// Ways of locking objects, in the words of the wire.
const LOCK_MODES: [(&str, LockMode); 2] = [("governance", LockMode::Governance), ("compliance", LockMode::Compliance)];
const LOCK_DAYS: std::ops::RangeInclusive<u32> = 1..=3_660;

/// The least bytes a second that no server takes for silence, and the most requests at once.
const SLOWEST: u32 = 128 << 10;
const PARALLELISM: u32 = 64;

/// Days before the end of credentials from which an alarm stands.
const WARN_DAYS: i64 = 14;

pub fn lock_word(mode: LockMode) -> &'static str {
    LOCK_MODES.iter().find(|(_, known)| *known == mode).map_or("", |(word, _)| word)
}

/// The lock that was asked for; none: nothing was said of one.
pub fn lock_of(address: &Address, mode: Option<&str>, days: Option<u32>) -> Result<Option<Option<Lock>>> {
    let known = mode.and_then(|mode| LOCK_MODES.iter().find(|(word, _)| *word == mode));
    match (mode, known, days) {
        (None, _, None) => Ok(None),
        (Some("none"), _, None) => Ok(Some(None)),
        (Some(_), Some((_, mode)), Some(days)) if LOCK_DAYS.contains(&days) => match address {
            Address::S3 { .. } | Address::Azure { .. } => Ok(Some(Some(Lock { mode: *mode, days }))),
            _ => Err(not_of(address.kind(), "lockMode")),
        },
        _ => Err(AppError::invalid(format!(
            "a lock is a lockMode, governance or compliance, with lockDays of {} to {}; the lockMode none has no days",
            LOCK_DAYS.start(),
            LOCK_DAYS.end()
        ))),
    }
}

/// A pace with what was asked for in place of what was; 0 is no limit.
pub fn pace_of(was: Pace, asked: Pace) -> Result<Pace> {
    let change = |was: Option<u32>, asked: Option<u32>| asked.map_or(was, |n| Some(n).filter(|n| *n > 0));
    let pace = Pace {
        bytes_per_second_out: change(was.bytes_per_second_out, asked.bytes_per_second_out),
        bytes_per_second_in: change(was.bytes_per_second_in, asked.bytes_per_second_in),
        requests_per_second: change(was.requests_per_second, asked.requests_per_second),
        parallelism: change(was.parallelism, asked.parallelism),
    };
    let slow = [pace.bytes_per_second_out, pace.bytes_per_second_in].into_iter().flatten().any(|n| n < SLOWEST);
    if slow || pace.parallelism.is_some_and(|n| n > PARALLELISM) {
        return Err(AppError::invalid(format!(
            "bytesPerSecondOut and bytesPerSecondIn are {SLOWEST} at least, or 0 for no limit; parallelism is {PARALLELISM} at most"
        )));
    }
    Ok(pace)
}

/// When credentials end.
pub fn expiry_of(address: &Address, at: Option<Time>, now: Time) -> Result<Option<Time>> {
    match at {
        Some(_) if !address.needs_credentials() => Err(not_of(address.kind(), "credentialsExpireAt")),
        Some(at) if at <= now => Err(AppError::invalid(format!("{at} is past: these credentials are of no use"))),
        at => Ok(at),
    }
}

/// The alarm that the credentials of a destination ask for: its code and text.
pub fn expiry_alarm(header: &DestinationHeader, now: Time) -> Option<(&'static str, String)> {
    let at = header.credentials_expire_at?;
    let give = "give it new ones (`keyark destination update`)";
    match at {
        at if at <= now => Some(("credentials_expired", format!("its credentials ended at {at}; {give}"))),
        at if at <= now.plus_seconds(WARN_DAYS * 86_400) => {
            Some(("credentials_expire", format!("its credentials end at {at}; {give}")))
        }
        _ => None,
    }
}
