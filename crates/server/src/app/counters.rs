//! What is counted of every call: how often, how it ended, how long it took.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use keyark_api::ErrorCode;
use keyark_model::{Id, Time};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::Histogram;

/// One label: its name and its value.
pub type Label = (&'static str, &'static str);

/// Upper bounds of the latency histogram in seconds.
pub const LATENCY: [f64; 14] = [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];

/// Counted since the start, in memory.
pub struct Counters {
    pub started: Time,
    /// By operation id and class of status.
    pub requests: Family<[Label; 2], Counter>,
    /// By operation id, in seconds.
    pub latency: Family<[Label; 1], Histogram>,
    pub failed_logins: Counter,
    /// How often each user logged in, and when last.
    logins: Mutex<HashMap<Id, (u64, Time)>>,
}

impl Counters {
    pub fn new(started: Time) -> Counters {
        Counters {
            started,
            requests: Family::default(),
            latency: Family::new_with_constructor(latency as fn() -> Histogram),
            failed_logins: Counter::default(),
            logins: Mutex::default(),
        }
    }

    /// A user has logged in with a password.
    pub fn logged_in(&self, user: Id, now: Time) {
        let mut logins = self.logins.lock().unwrap_or_else(PoisonError::into_inner);
        let seen = logins.entry(user).or_insert((0, now));
        *seen = (seen.0 + 1, now);
    }

    /// How often a user logged in since the start, and when last.
    pub fn logins_of(&self, user: Id) -> (u64, Option<Time>) {
        let logins = self.logins.lock().unwrap_or_else(PoisonError::into_inner);
        logins.get(&user).map_or((0, None), |(count, last)| (*count, Some(*last)))
    }

    /// A call of an operation has ended: with an error's code or the status of success.
    pub fn called(&self, operation: &'static str, ended: Result<u16, ErrorCode>, took_micros: i64) {
        let status = ended.unwrap_or_else(ErrorCode::status);
        self.requests.get_or_create(&[("operation", operation), ("status", class(status))]).inc();
        self.latency.get_or_create(&[("operation", operation)]).observe(took_micros.max(0) as f64 / 1e6);
        let login = matches!(operation, "token_create" | "password_change");
        if login && matches!(ended, Err(ErrorCode::Unauthorized | ErrorCode::TooManyAttempts)) {
            self.failed_logins.inc();
        }
    }
}

fn latency() -> Histogram {
    Histogram::new(LATENCY)
}

/// Few values, so that the number of series is bounded.
fn class(status: u16) -> &'static str {
    match status {
        ..400 => "2xx",
        400..500 => "4xx",
        _ => "5xx",
    }
}
