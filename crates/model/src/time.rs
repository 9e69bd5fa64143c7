//! A moment: microseconds since 1970-01-01T00:00:00Z, shown as RFC 3339 with nine decimals.

use std::fmt;

/// Microseconds of UTC since the Unix epoch.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default, minicbor::Encode, minicbor::Decode)]
#[cbor(transparent)]
pub struct Time(#[n(0)] pub i64);

impl Time {
    /// This moment plus whole seconds (negative: earlier).
    pub fn plus_seconds(self, seconds: i64) -> Time {
        Time(self.0.saturating_add(seconds.saturating_mul(1_000_000)))
    }

    /// Whole seconds since the epoch, rounded down.
    pub fn unix_seconds(self) -> i64 {
        self.0.div_euclid(1_000_000)
    }

    /// `20260131T235959.999999Z`, whose order as text is that of time; the first eight characters are the day.
    pub fn compact(self) -> String {
        self.timestamp().strftime("%Y%m%dT%H%M%S.%6fZ").to_string()
    }

    /// From that text.
    pub fn from_compact(text: &str) -> Result<Time, NotATime> {
        let parsed =
            jiff::fmt::strtime::parse("%Y%m%dT%H%M%S.%6f%z", text.replace('Z', "+0000")).map_err(|_| NotATime)?;
        let time = Time(parsed.to_timestamp().map_err(|_| NotATime)?.as_microsecond());
        if time.compact() == text { Ok(time) } else { Err(NotATime) }
    }

    fn timestamp(self) -> jiff::Timestamp {
        jiff::Timestamp::from_microsecond(self.0).unwrap_or(if self.0 < 0 {
            jiff::Timestamp::MIN
        } else {
            jiff::Timestamp::MAX
        })
    }
}

impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.9}", self.timestamp())
    }
}

impl fmt::Debug for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl std::str::FromStr for Time {
    type Err = NotATime;
    fn from_str(s: &str) -> Result<Self, NotATime> {
        s.parse::<jiff::Timestamp>().map(|t| Time(t.as_microsecond())).map_err(|_| NotATime)
    }
}

/// The text is no RFC 3339 time with an offset.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a time is RFC 3339 with an offset, like 2026-05-01T03:00:00Z")]
pub struct NotATime;

impl serde::Serialize for Time {
    fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(self)
    }
}

impl<'de> serde::Deserialize<'de> for Time {
    fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let text = <std::borrow::Cow<'de, str>>::deserialize(d)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

impl schemars::JsonSchema for Time {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Time".into()
    }
    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({ "type": "string", "format": "date-time" })
    }
}

#[cfg(test)]
mod tests {
    use super::Time;

    #[test]
    fn the_compact_form_sorts_as_time_does_and_has_one_spelling() {
        let t: Time = "2026-01-31T23:59:59.000999Z".parse().unwrap();
        assert_eq!(t.compact(), "20260131T235959.000999Z");
        assert_eq!(Time::from_compact(&t.compact()).unwrap(), t);
        assert!(t.compact() < Time(t.0 + 1).compact());
        for bad in ["", "20260131T235959Z", "20260131T235959.00099Z", "20260231T235959.000999Z", "2026-01-31T23:59:59Z"]
        {
            assert!(Time::from_compact(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_time_is_shown_with_nanoseconds_and_read_back() {
        let t: Time = "2020-04-07T08:17:54.600032599Z".parse().unwrap();
        assert_eq!(t.to_string(), "2020-04-07T08:17:54.600032000Z");
        assert_eq!("2020-04-07T10:17:54.600032+02:00".parse::<Time>().unwrap(), t);
        assert!("yesterday".parse::<Time>().is_err());
    }
}
