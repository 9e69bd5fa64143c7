//! Whether the machine's clock can be believed. What deletes by the clock asks here for the time: a clock that ran ahead while nobody
//! looked must not end what was promised for longer.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use keyark_model::Time;

use super::Timer;

/// A clock that is further ahead than this of what is known is doubted; µs.
const AHEAD: i64 = 3_600_000_000;
/// A doubt that nobody shares ends after this long, in which its alarm stands; a machine that was off looks the same.
const DAY: Duration = Duration::from_secs(86_400);

/// A timer that begins now.
pub fn timer() -> Timer {
    let started = Instant::now();
    Arc::new(move || started.elapsed())
}

/// What the clock showed, beside a timer that nobody sets.
pub struct ClockWatch(Mutex<State>);

struct State {
    wall: Time,
    elapsed: Duration,
    believed: Time,
    /// Since when it is doubted, by the timer.
    doubted: Option<Duration>,
}

impl ClockWatch {
    /// Begins at a start, where the newest entry of the log is all that is known.
    pub fn new(newest: Time, now: Time, elapsed: Duration) -> ClockWatch {
        let doubted = (now.0 - newest.0 > AHEAD).then_some(elapsed);
        let believed = if doubted.is_some() { newest } else { now };
        ClockWatch(Mutex::new(State { wall: now, elapsed, believed, doubted }))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The time that can be believed: never ahead of the clock.
    pub fn believed(&self, now: Time, elapsed: Duration) -> Time {
        let mut s = self.state();
        let ticked = i64::try_from(elapsed.saturating_sub(s.elapsed).as_micros()).unwrap_or(i64::MAX);
        let expected = Time(s.believed.0.saturating_add(ticked));
        match s.doubted {
            None if now.0 - s.wall.0 > ticked.saturating_add(AHEAD) => s.doubted = Some(elapsed),
            Some(since) if now.0 - expected.0 <= AHEAD || elapsed.saturating_sub(since) >= DAY => s.doubted = None,
            _ => {}
        }
        s.believed = if s.doubted.is_some() { expected.min(now) } else { now };
        (s.wall, s.elapsed) = (now, elapsed);
        s.believed
    }

    /// A person says that the clock is right.
    pub fn accept(&self, now: Time, elapsed: Duration) {
        *self.state() = State { wall: now, elapsed, believed: now, doubted: None };
    }

    /// What to tell while it is doubted.
    pub fn warning(&self, now: Time, elapsed: Duration) -> Option<String> {
        let believed = self.believed(now, elapsed);
        self.state().doubted?;
        let ahead = (now.0 - believed.0) / 1_000_000;
        Some(format!(
            "clock_doubtful: this machine's clock is {ahead} s ahead of what the log and this server know; retention and expiry go by \
             {believed} until it is set right, somebody runs `keyark system accept-clock`, or a day has passed"
        ))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use keyark_model::Time;

    use super::ClockWatch;

    const HOUR: i64 = 3600;

    fn at(seconds: i64) -> Time {
        Time(1_000_000_000_000_000).plus_seconds(seconds)
    }

    fn after(seconds: i64) -> Duration {
        Duration::from_secs(seconds as u64)
    }

    #[test]
    fn a_clock_that_ran_ahead_is_believed_only_as_far_as_time_has_passed() {
        let watch = ClockWatch::new(at(0), at(30), after(0));
        assert_eq!(watch.believed(at(60), after(30)), at(60));
        // Set a little forward or back: that is what clocks are for.
        assert_eq!(watch.believed(at(HOUR), after(60)), at(HOUR));
        assert_eq!(watch.believed(at(90), after(90)), at(90));
        assert_eq!(watch.warning(at(90), after(90)), None);
        // A year ahead.
        let year = 365 * 24 * HOUR;
        assert_eq!(watch.believed(at(year), after(100)), at(100));
        assert_eq!(watch.believed(at(year + 50), after(150)), at(150));
        assert!(watch.warning(at(year + 50), after(150)).is_some());
        // Set right again.
        assert_eq!(watch.believed(at(200), after(200)), at(200));
        assert_eq!(watch.warning(at(200), after(200)), None);
    }

    #[test]
    fn a_person_or_a_day_ends_the_doubt() {
        let (off, day) = (30 * 24 * HOUR, 24 * HOUR);
        // Switched off for a month, or a wrong clock: nobody can tell.
        let watch = ClockWatch::new(at(0), at(off), after(5));
        assert_eq!(watch.believed(at(off + 10), after(15)), at(10));
        watch.accept(at(off + 20), after(25));
        assert_eq!(watch.believed(at(off + 30), after(35)), at(off + 30));
        let watch = ClockWatch::new(at(0), at(off), after(0));
        assert_eq!(watch.believed(at(off + day - 1), after(day - 1)), at(day - 1));
        assert_eq!(watch.believed(at(off + day), after(day)), at(off + day));
    }

    #[test]
    fn a_clock_behind_is_never_run_ahead_of() {
        let watch = ClockWatch::new(at(5000), at(0), after(0));
        assert_eq!(watch.believed(at(1), after(1)), at(1));
        let watch = ClockWatch::new(at(0), at(2 * HOUR), after(0));
        assert_eq!(watch.believed(at(-50), after(10)), at(-50));
    }
}
