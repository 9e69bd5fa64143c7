//! How long what is created at a destination stays locked there (`docs/stream-format.md`, section 8).

use std::collections::BTreeMap;

use super::{Destination, DestinationError, list_all};
use crate::stream::StreamObject;

/// Days for which an object is locked. Full archives and merged segments stay for as long as the destination says; the
/// smallest segments, which merged ones replace, epoch files, which a rotation of keys removes, and notes for a day.
pub fn days(name: &str, long: u32) -> u32 {
    match name.splitn(4, '/').nth(3).and_then(StreamObject::parse) {
        Some(StreamObject::Full { .. }) => long,
        Some(StreamObject::Segment(segment)) if segment.level > 0 => long,
        _ => 1,
    }
}

/// Whether no lock holds anything in a stream's folder: else the one that holds longest. Of each sort what was created last is
/// locked longest, so only that is looked at.
pub fn check_free(place: &dyn Destination, folder: &str) -> Result<(), DestinationError> {
    let mut newest = BTreeMap::new();
    for found in list_all(place, folder)? {
        newest.insert(sort(&found.name[folder.len()..]).to_owned(), found.name);
    }
    let mut holding = Vec::new();
    for name in newest.values() {
        match place.check_free(name) {
            Ok(()) | Err(DestinationError::NotFound(_)) => {}
            Err(DestinationError::Locked { name, until }) => holding.push((until, name)),
            Err(e) => return Err(e),
        }
    }
    // Without an end is the longest.
    match holding.into_iter().max_by_key(|(until, _)| (until.is_none(), *until)) {
        None => Ok(()),
        Some((until, name)) => Err(DestinationError::Locked { name, until }),
    }
}

/// The folder of a name behind the stream's, with its level for segments.
fn sort(tail: &str) -> &str {
    let folders = if tail.starts_with("log/") { 2 } else { 1 };
    let end = tail.match_indices('/').nth(folders - 1).map_or(tail.len(), |(at, _)| at);
    &tail[..end]
}

#[cfg(test)]
mod tests {
    use keyark_model::{Id, Incarnation, SystemId, Time};
    use uuid::Uuid;

    use super::{days, sort};
    use crate::stream::{SegmentName, StreamObject, StreamPlace};

    #[test]
    fn what_goes_soon_is_locked_for_a_day() {
        let place = StreamPlace {
            system: SystemId::from_bytes([1; 16]),
            incarnation: Incarnation::from_bytes([2; 16]),
            stream: Uuid::from_u128(3),
        };
        let (time, seq) = (Time(1), 7);
        let segment =
            |level| StreamObject::Segment(SegmentName { level, first: 1, last: 2, first_time: time, last_time: time });
        for (object, held, folder) in [
            (StreamObject::Full { seq, time }, 40, "full"),
            (segment(0), 1, "log/00"),
            (segment(1), 40, "log/01"),
            (StreamObject::Epoch { epoch: Uuid::from_u128(4), backup_key: Id(Uuid::from_u128(5)) }, 1, "epoch"),
            (StreamObject::Heartbeat { seq, time }, 1, "heartbeat"),
            (StreamObject::Retention { time }, 1, "retention"),
        ] {
            let name = place.name(&object);
            assert_eq!(days(&name, 40), held, "{name}");
            assert_eq!(sort(&name[place.folder().len()..]), folder);
        }
        assert_eq!(days(&crate::stream::names::owner_name(place.system, 1), 40), 1);
        assert_eq!(days("what/nobody/knows", 40), 1);
    }
}
