//! The names of a stream's objects (`docs/stream-format.md`, section 1): what a plain list tells.

use keyark_model::{Id, Incarnation, SystemId, Time};
use uuid::Uuid;

/// One stream at a destination: what one instance ships for one scope in one incarnation.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct StreamPlace {
    pub system: SystemId,
    pub incarnation: Incarnation,
    pub stream: Uuid,
}

/// What a name in a stream names.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum StreamObject {
    Epoch { epoch: Uuid, backup_key: Id },
    Full { seq: u64, time: Time },
    Heartbeat { seq: u64, time: Time },
    Retention { time: Time },
    Segment(SegmentName),
}

/// First and last entry of a segment.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct SegmentName {
    pub level: u8,
    pub first: u64,
    pub last: u64,
    pub first_time: Time,
    pub last_time: Time,
}

const ARCHIVE: &str = ".keyark";
const NOTE: &str = ".json";

impl StreamPlace {
    /// The folder, with its slash.
    pub fn folder(&self) -> String {
        format!("{}/{}/{}/", self.system, self.incarnation, self.stream.hyphenated())
    }

    pub fn name(&self, object: &StreamObject) -> String {
        format!("{}{}", self.folder(), object.tail())
    }
}

impl StreamObject {
    /// Whether it is an archive; the others are notes.
    pub fn is_archive(&self) -> bool {
        matches!(self, StreamObject::Full { .. } | StreamObject::Segment(_))
    }

    fn tail(&self) -> String {
        match self {
            StreamObject::Epoch { epoch, backup_key } => {
                format!("epoch/{}-{backup_key}{NOTE}", epoch.hyphenated())
            }
            StreamObject::Full { seq, time } => format!("full/{seq:020}-{}{ARCHIVE}", time.compact()),
            StreamObject::Heartbeat { seq, time } => {
                format!("heartbeat/{}/{seq:020}-{}{NOTE}", day(*time), time.compact())
            }
            StreamObject::Retention { time } => format!("retention/{}{NOTE}", time.compact()),
            StreamObject::Segment(s) => format!(
                "log/{:02}/{}/{:020}-{:020}-{}-{}{ARCHIVE}",
                s.level,
                day(s.first_time),
                s.first,
                s.last,
                s.first_time.compact(),
                s.last_time.compact()
            ),
        }
    }

    /// From the part of a name behind the stream's folder; `None` for a name that the format does not know.
    pub fn parse(tail: &str) -> Option<StreamObject> {
        let parsed = match tail.split_once('/')? {
            ("epoch", rest) => {
                let (epoch, key) = rest.strip_suffix(NOTE)?.split_at_checked(36)?;
                let (epoch, backup_key) = (Uuid::try_parse(epoch).ok()?, key.strip_prefix('-')?.parse().ok()?);
                StreamObject::Epoch { epoch, backup_key }
            }
            ("full", rest) => {
                let (seq, time) = seq_and_time(rest.strip_suffix(ARCHIVE)?)?;
                StreamObject::Full { seq, time }
            }
            ("heartbeat", rest) => {
                let (seq, time) = seq_and_time(rest.split_once('/')?.1.strip_suffix(NOTE)?)?;
                StreamObject::Heartbeat { seq, time }
            }
            ("retention", rest) => StreamObject::Retention { time: Time::from_compact(rest.strip_suffix(NOTE)?).ok()? },
            ("log", rest) => {
                let mut folders = rest.splitn(3, '/');
                let (level, _, file) = (folders.next()?.parse().ok()?, folders.next()?, folders.next()?);
                let fields: Vec<&str> = file.strip_suffix(ARCHIVE)?.split('-').collect();
                let [first, last, first_time, last_time] = fields[..] else { return None };
                StreamObject::Segment(SegmentName {
                    level,
                    first: first.parse().ok()?,
                    last: last.parse().ok()?,
                    first_time: Time::from_compact(first_time).ok()?,
                    last_time: Time::from_compact(last_time).ok()?,
                })
            }
            _ => return None,
        };
        // One thing has one name: another spelling of a number or a day is not of this format.
        (parsed.tail() == tail).then_some(parsed)
    }
}

fn seq_and_time(text: &str) -> Option<(u64, Time)> {
    let (seq, time) = text.split_once('-')?;
    Some((seq.parse().ok()?, Time::from_compact(time).ok()?))
}

/// The folder of a day, in UTC.
pub fn day(time: Time) -> String {
    time.compact()[..8].to_owned()
}

/// The folder of a system's owner marks, and the name of one.
pub fn owner_folder(system: SystemId) -> String {
    format!("{system}/owner/")
}

pub fn owner_name(system: SystemId, n: u64) -> String {
    format!("{}{n:010}{NOTE}", owner_folder(system))
}

/// The number of an owner mark, from its whole name.
pub fn owner_number(system: SystemId, name: &str) -> Option<u64> {
    let n = name.strip_prefix(&owner_folder(system))?.strip_suffix(NOTE)?.parse().ok()?;
    (owner_name(system, n) == name).then_some(n)
}

#[cfg(test)]
mod tests {
    use keyark_model::{Id, Time};
    use proptest::prelude::*;
    use uuid::Uuid;

    use super::{SegmentName, StreamObject};

    fn object() -> impl Strategy<Value = StreamObject> {
        let time = || (0i64..4_000_000_000_000_000).prop_map(Time);
        prop_oneof![
            any::<(u128, u128)>().prop_map(|(e, k)| StreamObject::Epoch {
                epoch: Uuid::from_u128(e),
                backup_key: Id(Uuid::from_u128(k))
            }),
            (any::<u64>(), time()).prop_map(|(seq, time)| StreamObject::Full { seq, time }),
            (any::<u64>(), time()).prop_map(|(seq, time)| StreamObject::Heartbeat { seq, time }),
            time().prop_map(|time| StreamObject::Retention { time }),
            (0u8..100, any::<u64>(), any::<u64>(), time(), time()).prop_map(
                |(level, first, last, first_time, last_time)| StreamObject::Segment(SegmentName {
                    level,
                    first,
                    last,
                    first_time,
                    last_time
                })
            ),
        ]
    }

    proptest! {
        #[test]
        fn a_name_says_what_it_names_and_sorts_as_that_does(a in object(), b in object()) {
            prop_assert_eq!(StreamObject::parse(&a.tail()), Some(a));
            if let (StreamObject::Full { seq: x, .. }, StreamObject::Full { seq: y, .. }) = (a, b) && x != y {
                prop_assert_eq!(a.tail().cmp(&b.tail()), x.cmp(&y));
            }
        }

        #[test]
        fn whatever_a_list_holds_is_read_or_left(tail in ".{0,90}") {
            if let Some(object) = StreamObject::parse(&tail) {
                prop_assert_eq!(object.tail(), tail);
            }
        }
    }
}
