//! When a schedule is due: cron by the library `croner`, on the wall clock of a time zone.

use croner::Cron;
use croner::parser::{CronParser, Seconds, Year};
use jiff::tz::TimeZone;
use jiff::{Timestamp, Zoned};
use keyark_model::Time;

use crate::app::error::{AppError, Result};

/// A pattern in a time zone.
pub struct Timetable {
    cron: Cron,
    zone: TimeZone,
}

impl Timetable {
    /// Exactly five fields: minute, hour, day of month, month, day of week.
    pub fn new(run_at: &str, time_zone: &str) -> Result<Timetable> {
        let wrong = |why: &dyn std::fmt::Display| {
            let what = format!(
                "run_at {run_at:?} is no time: five fields are minute, hour, day of month, month and day of week, like \
                 \"30 2 * * SUN\" ({why})"
            );
            AppError::invalid(what)
        };
        let plain = |c: char| c.is_ascii_alphanumeric() || " */,-?".contains(c);
        if run_at.split_whitespace().count() != 5 || !run_at.chars().all(plain) {
            return Err(wrong(&"letters, digits and * / , - ? in five fields"));
        }
        let parser = CronParser::builder().seconds(Seconds::Disallowed).year(Year::Disallowed).build();
        let cron = parser.parse(run_at).map_err(|e| wrong(&e))?;
        let zone = TimeZone::get(time_zone).map_err(|_| {
            AppError::invalid(format!("{time_zone:?} is no time zone; write one like Europe/Berlin or UTC"))
        })?;
        let table = Timetable { cron, zone };
        // A day that never comes is a mistake of who wrote it.
        table.next(Time(0)).ok_or_else(|| wrong(&"that never comes"))?;
        Ok(table)
    }

    fn local(&self, at: Time) -> Zoned {
        Timestamp::from_microsecond(at.0).unwrap_or(Timestamp::UNIX_EPOCH).to_zoned(self.zone.clone())
    }

    /// The day of a moment, where the wall clock hangs.
    pub fn date(&self, at: Time) -> String {
        self.local(at).date().to_string()
    }

    /// The first time after a moment.
    pub fn next(&self, after: Time) -> Option<Time> {
        let found = self.cron.find_next_occurrence(&self.local(after), false).ok()?;
        Some(Time(found.timestamp().as_microsecond()))
    }

    /// The last time after one moment and not after another: what was missed in between is caught up once.
    pub fn last_due(&self, after: Time, until: Time) -> Option<Time> {
        let found = self.cron.find_previous_occurrence(&self.local(until), true).ok()?;
        Some(Time(found.timestamp().as_microsecond())).filter(|due| *due > after)
    }
}

#[cfg(test)]
mod tests {
    use keyark_model::Time;

    use super::Timetable;

    fn at(text: &str) -> Time {
        text.parse().unwrap()
    }

    fn times(run_at: &str, zone: &str, from: &str, count: usize) -> Vec<String> {
        let table = Timetable::new(run_at, zone).unwrap();
        let mut now = at(from);
        let next = |_| {
            now = table.next(now).unwrap();
            now.to_string()[..16].to_owned()
        };
        (0..count).map(next).collect()
    }

    #[test]
    fn the_clock_of_the_zone_counts_also_when_it_is_put_forward_and_back() {
        // 02:30 does not exist on the last Sunday of March in Berlin: once, at the moment when the clock jumps over it.
        let march = times("30 2 * * *", "Europe/Berlin", "2026-03-27T12:00:00Z", 3);
        assert_eq!(march, ["2026-03-28T01:30", "2026-03-29T01:00", "2026-03-30T00:30"]);
        // It exists twice on the last Sunday of October: once.
        let october = times("30 2 * * *", "Europe/Berlin", "2026-10-23T12:00:00Z", 3);
        assert_eq!(october, ["2026-10-24T00:30", "2026-10-25T00:30", "2026-10-26T01:30"]);
        assert_eq!(times("0 0 * * *", "UTC", "2026-03-28T12:00:00Z", 2), ["2026-03-29T00:00", "2026-03-30T00:00"]);
        assert_eq!(
            times("*/20 9-10 ? JAN mon", "UTC", "2026-01-04T00:00:00Z", 2),
            ["2026-01-05T09:00", "2026-01-05T09:20"]
        );
    }

    #[test]
    fn what_was_missed_is_due_once() {
        let table = Timetable::new("0 3 * * *", "UTC").unwrap();
        let due =
            |after: &str, until: &str| table.last_due(at(after), at(until)).map(|t| t.to_string()[..16].to_owned());
        assert_eq!(due("2026-01-01T03:00:00Z", "2026-01-01T23:00:00Z"), None);
        assert_eq!(due("2026-01-01T03:00:00Z", "2026-01-05T02:59:59Z"), Some("2026-01-04T03:00".into()));
        assert_eq!(due("2026-01-01T03:00:00Z", "2026-01-02T03:00:00Z"), Some("2026-01-02T03:00".into()));
    }

    #[test]
    fn what_is_no_time_is_refused() {
        for bad in [
            "",
            "* * * *",
            "* * * * * *",
            "60 * * * *",
            "* 24 * * *",
            "* * * 13 *",
            "* * * * 8",
            "0 0 31 2 *",
            "@daily",
            "1 1 1 1 x",
        ] {
            assert!(Timetable::new(bad, "UTC").is_err(), "{bad}");
        }
        for bad in ["", "Berlin", "+01:00", "Europe/Nowhere"] {
            assert!(Timetable::new("0 0 * * *", bad).is_err(), "{bad}");
        }
    }
}
