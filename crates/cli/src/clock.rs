//! The clock: the one place of the program where the present enters.

use keyark_model::Time;

/// Now, in microseconds of UTC.
#[expect(clippy::disallowed_methods, reason = "everything else is given the time from here")]
pub fn now() -> Time {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    Time(since.map_or(0, |d| i64::try_from(d.as_micros()).unwrap_or(i64::MAX)))
}
