//! Delays after failed attempts, per account and per source; counted in memory (rules E1).

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Mutex;

use keyark_model::Time;

/// Failures before delays begin.
const FREE: u32 = 5;
/// The longest delay in seconds.
const LONGEST: i64 = 15 * 60;
/// Entries kept; the oldest are dropped, so that made-up names cannot fill memory.
const CAPACITY: usize = 100_000;

/// Failure counts.
#[derive(Default)]
pub struct Lockout {
    entries: Mutex<HashMap<Who, Failures>>,
}

#[derive(Clone, PartialEq, Eq, Hash)]
enum Who {
    Account(String),
    Source(IpAddr),
}

#[derive(Clone, Copy, Default)]
pub struct Failures {
    pub count: u32,
    pub last: Time,
}

impl Failures {
    fn locked_until(self) -> Time {
        match self.count.checked_sub(FREE) {
            None => Time(0),
            Some(past) => self.last.plus_seconds((1_i64 << past.min(20)).min(LONGEST)),
        }
    }
}

impl Lockout {
    /// Seconds to wait before the next attempt, if any.
    pub fn wait(&self, account: &str, source: Option<IpAddr>, now: Time) -> Option<u32> {
        let entries = self.entries.lock().expect("no panic while held");
        // A source shares its count among all accounts behind it: it may fail ten times as often.
        let by_account = entries.get(&Who::Account(account.into())).map(|f| f.locked_until());
        let by_source = source
            .and_then(|ip| entries.get(&Who::Source(ip)))
            .map(|f| Failures { count: f.count / 10, last: f.last }.locked_until());
        let until = by_account.into_iter().chain(by_source).max()?;
        let seconds = (until.0 - now.0).div_euclid(1_000_000) + 1;
        (until > now).then_some(seconds as u32)
    }

    pub fn failed(&self, account: &str, source: Option<IpAddr>, now: Time) {
        let mut entries = self.entries.lock().expect("no panic while held");
        if entries.len() > CAPACITY {
            entries.retain(|_, f| now.0 - f.last.0 < LONGEST * 1_000_000);
        }
        for who in std::iter::once(Who::Account(account.into())).chain(source.map(Who::Source)) {
            let failures = entries.entry(who).or_default();
            failures.count = failures.count.saturating_add(1);
            failures.last = now;
        }
    }

    pub fn succeeded(&self, account: &str) {
        self.entries.lock().expect("no panic while held").remove(&Who::Account(account.into()));
    }

    /// Failures of an account and until when it is locked.
    pub fn of(&self, account: &str) -> (u32, Option<Time>) {
        let entries = self.entries.lock().expect("no panic while held");
        match entries.get(&Who::Account(account.into())) {
            None => (0, None),
            Some(f) => (f.count, (f.count >= FREE).then(|| f.locked_until())),
        }
    }
}

#[cfg(test)]
mod tests {
    use keyark_model::Time;

    use super::Lockout;

    #[test]
    fn delays_double_and_end_with_time_or_success() {
        let lockout = Lockout::default();
        let t = Time(1_000_000_000);
        for _ in 0..4 {
            lockout.failed("a", None, t);
        }
        assert_eq!(lockout.wait("a", None, t), None);
        lockout.failed("a", None, t);
        assert!(lockout.wait("a", None, t).is_some());
        for _ in 0..30 {
            lockout.failed("a", None, t);
        }
        assert!(lockout.wait("a", None, t).unwrap() <= 901);
        assert_eq!(lockout.wait("a", None, t.plus_seconds(901)), None);
        assert_eq!(lockout.wait("b", None, t), None);
        lockout.succeeded("a");
        assert_eq!(lockout.wait("a", None, t), None);
    }

    #[test]
    fn one_source_trying_many_accounts_is_slowed_down() {
        let lockout = Lockout::default();
        let source = Some("127.0.0.9".parse().unwrap());
        for n in 0..60 {
            lockout.failed(&format!("user{n}"), source, Time(0));
        }
        assert!(lockout.wait("another", source, Time(0)).is_some());
        assert_eq!(lockout.wait("another", None, Time(0)), None);
    }
}
