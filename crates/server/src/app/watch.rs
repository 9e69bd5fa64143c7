//! Whether the machine's clock can be believed. What deletes by the clock asks here for the time: a clock that ran ahead while nobody
//! looked must not end what was promised for longer.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use keyark_model::{DomainId, Time};

use super::core::{Core, NodeHeader};
use super::error::Result;
use super::records::Stored;
use super::{App, Timer};

/// A clock that is further ahead than this of what is known is doubted; µs.
const AHEAD: i64 = 3_600_000_000;
/// A doubt that nobody shares ends after this long, in which its alarm stands; a machine that was off looks the same.
const DAY: Duration = Duration::from_secs(86_400);
/// The node record of a doubt that stands.
const CLOCK: &str = "clock";
/// What it says may be behind by this; µs.
const NOTED: i64 = 3_600_000_000;

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
    /// Until when it is doubted, by the timer.
    doubted: Option<Duration>,
    /// Nobody wrote down yet that it is.
    unnoted: bool,
}

/// A doubt as it is written down, so that a restart goes on with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Doubt {
    pub believed: Time,
    /// For how long it has stood while a server ran.
    pub stood: Duration,
}

impl Doubt {
    /// At a start where no doubt was written down, the newest entry of the log is all that is known.
    pub fn of_newest(newest: Time) -> Doubt {
        Doubt { believed: newest, stood: Duration::ZERO }
    }

    fn parse(text: &str) -> Option<Doubt> {
        let (believed, stood) = text.split_once(' ')?;
        Some(Doubt { believed: Time(believed.parse().ok()?), stood: Duration::from_secs(stood.parse().ok()?) })
    }

    fn text(&self) -> String {
        format!("{} {}", self.believed.0, self.stood.as_secs())
    }
}

impl ClockWatch {
    /// Begins at a start with what is known then.
    pub fn new(known: Doubt, now: Time, elapsed: Duration) -> ClockWatch {
        let ends = elapsed + DAY.saturating_sub(known.stood);
        let doubted = (now.0 - known.believed.0 > AHEAD).then_some(ends);
        let believed = if doubted.is_some() { known.believed } else { now };
        ClockWatch(Mutex::new(State { wall: now, elapsed, believed, doubted, unnoted: doubted.is_some() }))
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
            None if now.0 - s.wall.0 > ticked.saturating_add(AHEAD) => {
                (s.doubted, s.unnoted) = (Some(elapsed + DAY), true);
            }
            Some(ends) if now.0 - expected.0 <= AHEAD || elapsed >= ends => s.doubted = None,
            _ => {}
        }
        s.believed = if s.doubted.is_some() { expected.min(now) } else { now };
        (s.wall, s.elapsed) = (now, elapsed);
        s.believed
    }

    /// A person says that the clock is right.
    pub fn accept(&self, now: Time, elapsed: Duration) {
        *self.state() = State { wall: now, elapsed, believed: now, doubted: None, unnoted: false };
    }

    /// The doubt that stands.
    fn doubt(&self, now: Time, elapsed: Duration) -> Option<Doubt> {
        let believed = self.believed(now, elapsed);
        let ends = self.state().doubted?;
        Some(Doubt { believed, stood: DAY.saturating_sub(ends.saturating_sub(elapsed)) })
    }

    /// Once for each doubt that began: it wants to be written down.
    fn unnoted(&self) -> bool {
        std::mem::take(&mut self.state().unnoted)
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

impl Core {
    fn clock_record(&self) -> Option<Stored<NodeHeader>> {
        self.load_named(DomainId::ROOT, CLOCK).ok()
    }

    /// What a start knows of the time: from a doubt that stood when the server stopped, or from the log.
    pub fn clock_known(&self) -> Doubt {
        let noted = self.clock_record().and_then(|stored| Doubt::parse(&stored.header.public));
        noted.unwrap_or_else(|| Doubt::of_newest(self.store.head().time))
    }
}

impl App {
    /// Writes down that the clock is doubted, or no longer: times of entries made meanwhile prove nothing at the next start.
    pub fn clock_note(&self, core: &Core) -> Result<()> {
        let now = self.now();
        let (stored, doubt) = (core.clock_record(), self.watch.doubt(now, (self.timer)()));
        let noted = stored.as_ref().and_then(|s| Doubt::parse(&s.header.public));
        let (action, write) = match (doubt, &stored) {
            (Some(doubt), _) if noted.is_some_and(|n| doubt.believed.0 - n.believed.0 < NOTED) => return Ok(()),
            (Some(doubt), stored) => {
                let header = NodeHeader { name: CLOCK.into(), public: doubt.text() };
                let write = match stored {
                    Some(stored) => core.put_header(stored, &header)?,
                    None => core.put(DomainId::ROOT, Core::new_id(now), 1, &header, b"")?,
                };
                ("clock_doubted", write)
            }
            (None, Some(stored)) => ("clock_believed", core.delete(stored)),
            (None, None) => return Ok(()),
        };
        core.commit_as_system(now, DomainId::ROOT, action, vec![], vec![write])?;
        Ok(())
    }

    /// The same at once where a doubt has just begun.
    pub fn clock_note_begun(&self, core: &Core) -> Result<()> {
        let _ = self.believed();
        if self.watch.unnoted() { self.clock_note(core) } else { Ok(()) }
    }

    /// A person says that the clock is right, and no restart asks again.
    pub fn clock_accept(&self, core: &Core) -> Result<()> {
        self.watch.accept(self.now(), (self.timer)());
        self.clock_note(core)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use keyark_model::Time;

    use super::{ClockWatch, Doubt};

    const HOUR: i64 = 3600;

    fn at(seconds: i64) -> Time {
        Time(1_000_000_000_000_000).plus_seconds(seconds)
    }

    fn after(seconds: i64) -> Duration {
        Duration::from_secs(seconds as u64)
    }

    fn start(newest: Time, now: Time, elapsed: Duration) -> ClockWatch {
        ClockWatch::new(Doubt::of_newest(newest), now, elapsed)
    }

    #[test]
    fn a_clock_that_ran_ahead_is_believed_only_as_far_as_time_has_passed() {
        let watch = start(at(0), at(30), after(0));
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
        let watch = start(at(0), at(off), after(5));
        assert_eq!(watch.believed(at(off + 10), after(15)), at(10));
        watch.accept(at(off + 20), after(25));
        assert_eq!(watch.believed(at(off + 30), after(35)), at(off + 30));
        let watch = start(at(0), at(off), after(0));
        assert_eq!(watch.believed(at(off + day - 1), after(day - 1)), at(day - 1));
        assert_eq!(watch.believed(at(off + day), after(day)), at(off + day));
    }

    #[test]
    fn a_clock_behind_is_never_run_ahead_of() {
        let watch = start(at(5000), at(0), after(0));
        assert_eq!(watch.believed(at(1), after(1)), at(1));
        let watch = start(at(0), at(2 * HOUR), after(0));
        assert_eq!(watch.believed(at(-50), after(10)), at(-50));
    }

    #[test]
    fn a_doubt_goes_on_after_a_restart_and_stands_for_a_day_in_all() {
        let year = 365 * 24 * HOUR;
        let watch = start(at(0), at(year), after(0));
        let doubt = watch.doubt(at(year + 10 * HOUR), after(10 * HOUR)).unwrap();
        assert_eq!(doubt, Doubt { believed: at(10 * HOUR), stood: after(10 * HOUR) });
        assert_eq!(Doubt::parse(&doubt.text()), Some(doubt));
        // Down for an hour, by a timer that begins anew.
        let year = year + 11 * HOUR;
        let watch = ClockWatch::new(doubt, at(year), after(0));
        assert_eq!(watch.believed(at(year + 14 * HOUR - 1), after(14 * HOUR - 1)), at(24 * HOUR - 1));
        assert_eq!(watch.believed(at(year + 14 * HOUR), after(14 * HOUR)), at(year + 14 * HOUR));
        // Set right while it was down.
        let watch = ClockWatch::new(doubt, at(11 * HOUR), after(0));
        assert_eq!(
            (watch.believed(at(11 * HOUR), after(0)), watch.doubt(at(11 * HOUR), after(0))),
            (at(11 * HOUR), None)
        );
    }
}
