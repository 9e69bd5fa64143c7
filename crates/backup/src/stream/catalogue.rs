//! What lies at a destination, from its list alone, and which points can be restored from it.

use keyark_model::{Id, Incarnation, SystemId, Time};
use uuid::Uuid;

use super::names::{SegmentName, StreamObject, StreamPlace};
use crate::destination::{Destination, DestinationError, Found, list_all};

/// One stream's objects.
#[derive(Clone, Debug)]
pub struct Catalogue {
    pub place: StreamPlace,
    /// Ascending by number.
    pub fulls: Vec<FullAt>,
    /// Ascending by first number, the furthest reaching first.
    pub segments: Vec<SegmentAt>,
    /// Ascending by number and time.
    pub heartbeats: Vec<HeartbeatAt>,
    pub epochs: Vec<EpochAt>,
    /// Of retention, ascending by time.
    pub statements: Vec<StatementAt>,
    /// Names that the format does not know.
    pub strange: Vec<String>,
}

#[derive(Clone, Debug)]
pub struct FullAt {
    pub found: Found,
    pub seq: u64,
    /// When it was taken; never before its last entry.
    pub time: Time,
}

#[derive(Clone, Debug)]
pub struct SegmentAt {
    pub found: Found,
    pub name: SegmentName,
}

#[derive(Clone, Debug)]
pub struct HeartbeatAt {
    pub found: Found,
    pub seq: u64,
    pub time: Time,
}

#[derive(Clone, Debug)]
pub struct StatementAt {
    pub found: Found,
    pub time: Time,
}

#[derive(Clone, Debug)]
pub struct EpochAt {
    pub found: Found,
    pub epoch: Uuid,
    pub backup_key: Id,
}

/// A numbered moment.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, serde::Serialize)]
pub struct Moment {
    pub number: u64,
    pub time: Time,
}

/// Every entry between can be restored.
#[derive(Clone, Copy, PartialEq, Eq, Debug, serde::Serialize)]
pub struct Interval {
    pub from: Moment,
    pub to: Moment,
    /// Nothing was left out up to then: the time of the last entry, or of a heartbeat after it.
    pub known_until: Time,
}

/// Which point is asked for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Until {
    Newest,
    /// After this entry.
    Number(u64),
    /// After the last entry with a time that is not later.
    Time(Time),
}

/// What is read to restore a point.
#[derive(Clone, Debug)]
pub struct ChainPlan {
    pub full: FullAt,
    /// Each joins the one before.
    pub segments: Vec<SegmentAt>,
    pub until: Until,
}

/// Why a point cannot be restored from what is there. Names the nearest ones.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoPoint {
    #[error("there is no full archive in this stream: nothing can be restored from it")]
    Nothing,
    #[error("the first point is {}, after entry {}", .first.time, .first.number)]
    BeforeFirst { first: Moment },
    #[error(
        "the last point is entry {} of {}; nothing proves what came after {known_until}", .last.number, .last.time
    )]
    AfterLast { last: Moment, known_until: Time },
    #[error(
        "the log after entry {} of {} is missing there; {}", .before.number, .before.time,
        .after.map_or("nothing later is there".into(), |a| format!("the next point is entry {} of {}", a.number, a.time))
    )]
    Gap { before: Moment, after: Option<Moment> },
}

/// Every stream at a destination.
pub fn streams(place: &dyn Destination) -> Result<Vec<StreamPlace>, DestinationError> {
    let mut all = Vec::new();
    for system in place.folders("")? {
        let Ok(id) = system.parse::<SystemId>() else { continue };
        for life in place.folders(&format!("{system}/"))? {
            let Ok(incarnation) = life.parse::<Incarnation>() else { continue };
            for stream in place.folders(&format!("{system}/{life}/"))? {
                let Ok(stream) = Uuid::try_parse(&stream) else { continue };
                all.push(StreamPlace { system: id, incarnation, stream });
            }
        }
    }
    Ok(all)
}

impl Catalogue {
    pub fn read(place: &dyn Destination, stream: StreamPlace) -> Result<Catalogue, DestinationError> {
        let folder = stream.folder();
        let found = list_all(place, &folder)?;
        Ok(Catalogue::of(stream, found))
    }

    /// From a list of whole names below the stream's folder.
    pub fn of(place: StreamPlace, found: Vec<Found>) -> Catalogue {
        let folder = place.folder();
        let mut all = Catalogue {
            place,
            fulls: Vec::new(),
            segments: Vec::new(),
            heartbeats: Vec::new(),
            epochs: Vec::new(),
            statements: Vec::new(),
            strange: Vec::new(),
        };
        for found in found {
            match found.name.strip_prefix(&folder).and_then(StreamObject::parse) {
                Some(StreamObject::Full { seq, time }) => all.fulls.push(FullAt { found, seq, time }),
                Some(StreamObject::Segment(name)) => all.segments.push(SegmentAt { found, name }),
                Some(StreamObject::Heartbeat { seq, time }) => all.heartbeats.push(HeartbeatAt { found, seq, time }),
                Some(StreamObject::Epoch { epoch, backup_key }) => {
                    all.epochs.push(EpochAt { found, epoch, backup_key })
                }
                Some(StreamObject::Retention { time }) => all.statements.push(StatementAt { found, time }),
                None => all.strange.push(found.name),
            }
        }
        all.fulls.sort_by_key(|f| (f.seq, f.time));
        all.segments.sort_by_key(|s| (s.name.first, std::cmp::Reverse(s.name.last)));
        all.statements.sort_by_key(|s| s.time);
        all.heartbeats.sort_by_key(|h| (h.seq, h.time));
        all
    }

    /// The segments that carry on from an entry as far as they join, each as far as any reaches.
    pub(super) fn follow(&self, from: u64) -> Vec<&SegmentAt> {
        let (mut want, mut chain) = (from + 1, Vec::new());
        let mut next = 0;
        loop {
            let mut best: Option<&SegmentAt> = None;
            while let Some(s) = self.segments.get(next).filter(|s| s.name.first <= want) {
                if s.name.last >= want && best.is_none_or(|b| s.name.last > b.name.last) {
                    best = Some(s);
                }
                next += 1;
            }
            let Some(best) = best else { return chain };
            want = best.name.last + 1;
            chain.push(best);
        }
    }

    /// The last entry that can be restored on from a full archive.
    pub fn reach(&self, full: &FullAt) -> Moment {
        let chain = self.follow(full.seq);
        let last = chain.last().map(|s| Moment { number: s.name.last, time: s.name.last_time });
        last.unwrap_or(Moment { number: full.seq, time: full.time })
    }

    /// Up to when it is certain that nothing followed an entry: heartbeats say so, and full archives that end with it.
    fn known_until(&self, last: Moment) -> Time {
        let beats = self.heartbeats.iter().filter(|h| h.seq == last.number).map(|h| h.time);
        let fulls = self.fulls.iter().filter(|f| f.seq == last.number).map(|f| f.time);
        beats.chain(fulls).fold(last.time, Time::max)
    }

    /// What can be restored, as stretches without a gap.
    pub fn points(&self) -> Vec<Interval> {
        let mut all: Vec<Interval> = Vec::new();
        for full in &self.fulls {
            let from = Moment { number: full.seq, time: full.time };
            if all.last().is_some_and(|before| before.to.number >= full.seq) {
                continue;
            }
            let to = self.reach(full);
            all.push(Interval { from, to, known_until: self.known_until(to) });
        }
        all
    }

    /// What must be read for a point.
    pub fn plan(&self, until: Until) -> Result<ChainPlan, NoPoint> {
        let (first, newest) = (self.fulls.first().ok_or(NoPoint::Nothing)?, self.fulls.last().ok_or(NoPoint::Nothing)?);
        let before = |f: &&FullAt| match until {
            Until::Newest => f.seq == newest.seq,
            Until::Number(n) => f.seq <= n,
            Until::Time(t) => f.time <= t,
        };
        let full = self.fulls.iter().rev().find(before);
        let full = full.ok_or(NoPoint::BeforeFirst { first: Moment { number: first.seq, time: first.time } })?;
        let wanted = |s: &&SegmentAt| match until {
            Until::Newest => true,
            Until::Number(n) => s.name.first <= n,
            Until::Time(t) => s.name.first_time <= t,
        };
        let reach = self.reach(full);
        let reached = match until {
            Until::Newest => true,
            Until::Number(n) => reach.number >= n,
            Until::Time(t) => self.known_until(reach) >= t,
        };
        if !reached {
            let later = self.fulls.iter().find(|f| f.seq > reach.number);
            let segment = self.segments.iter().any(|s| s.name.last > reach.number);
            if later.is_some() || segment {
                let after = later.map(|f| Moment { number: f.seq, time: f.time });
                return Err(NoPoint::Gap { before: reach, after });
            }
            return Err(NoPoint::AfterLast { last: reach, known_until: self.known_until(reach) });
        }
        let segments = self.follow(full.seq).into_iter().filter(wanted).cloned().collect();
        Ok(ChainPlan { full: full.clone(), segments, until })
    }
}

#[cfg(test)]
mod tests {
    use keyark_model::{Incarnation, SystemId, Time};
    use uuid::Uuid;

    use super::{Catalogue, Moment, NoPoint, Until};
    use crate::destination::Found;
    use crate::stream::names::{SegmentName, StreamObject, StreamPlace};

    fn stream() -> StreamPlace {
        let (system, incarnation) = (SystemId::from_bytes([1; 16]), Incarnation::from_bytes([2; 16]));
        StreamPlace { system, incarnation, stream: Uuid::from_u128(3) }
    }

    /// Entry n happened at second n.
    fn at(n: u64) -> Time {
        Time(0).plus_seconds(n as i64)
    }

    fn catalogue(fulls: &[u64], segments: &[(u8, u64, u64)], beats: &[(u64, u64)]) -> Catalogue {
        let full = |seq: &u64| StreamObject::Full { seq: *seq, time: at(*seq) };
        let segment = |(level, first, last): &(u8, u64, u64)| {
            let (first_time, last_time) = (at(*first), at(*last));
            StreamObject::Segment(SegmentName { level: *level, first: *first, last: *last, first_time, last_time })
        };
        let beat = |(seq, time): &(u64, u64)| StreamObject::Heartbeat { seq: *seq, time: at(*time) };
        let objects = fulls.iter().map(full).chain(segments.iter().map(segment)).chain(beats.iter().map(beat));
        Catalogue::of(stream(), objects.map(|o| Found { name: stream().name(&o), size: 1 }).collect())
    }

    fn chain(c: &Catalogue, until: Until) -> Result<(u64, Vec<(u64, u64)>), NoPoint> {
        let plan = c.plan(until)?;
        Ok((plan.full.seq, plan.segments.iter().map(|s| (s.name.first, s.name.last)).collect()))
    }

    #[test]
    fn a_point_is_the_newest_full_before_it_and_what_follows() {
        let c = catalogue(&[10, 30], &[(0, 11, 20), (0, 21, 35), (0, 36, 40)], &[(40, 55)]);
        assert_eq!(chain(&c, Until::Number(10)), Ok((10, vec![])));
        assert_eq!(chain(&c, Until::Number(25)), Ok((10, vec![(11, 20), (21, 35)])));
        assert_eq!(chain(&c, Until::Number(36)), Ok((30, vec![(21, 35), (36, 40)])));
        assert_eq!(chain(&c, Until::Time(Time(at(29).0 + 1))), Ok((10, vec![(11, 20), (21, 35)])));
        assert_eq!(chain(&c, Until::Newest), Ok((30, vec![(21, 35), (36, 40)])));
        assert_eq!(chain(&c, Until::Time(at(50))), Ok((30, vec![(21, 35), (36, 40)])), "a heartbeat proves it");
        let last = Moment { number: 40, time: at(40) };
        assert_eq!(chain(&c, Until::Time(at(56))), Err(NoPoint::AfterLast { last, known_until: at(55) }));
        assert_eq!(chain(&c, Until::Number(41)), Err(NoPoint::AfterLast { last, known_until: at(55) }));
        let first = Moment { number: 10, time: at(10) };
        assert_eq!(chain(&c, Until::Number(9)), Err(NoPoint::BeforeFirst { first }));
        assert_eq!(c.points().len(), 1);
    }

    #[test]
    fn a_gap_is_named_with_the_points_around_it() {
        let c = catalogue(&[10, 30], &[(0, 11, 20), (0, 23, 35)], &[]);
        let (before, after) = (Moment { number: 20, time: at(20) }, Moment { number: 30, time: at(30) });
        assert_eq!(chain(&c, Until::Number(22)), Err(NoPoint::Gap { before, after: Some(after) }));
        assert_eq!(chain(&c, Until::Number(33)), Ok((30, vec![(23, 35)])));
        let stretches: Vec<_> = c.points().iter().map(|i| (i.from.number, i.to.number)).collect();
        assert_eq!(stretches, [(10, 20), (30, 35)]);
        let c = catalogue(&[10], &[(0, 12, 20)], &[]);
        let before = Moment { number: 10, time: at(10) };
        assert_eq!(chain(&c, Until::Number(15)), Err(NoPoint::Gap { before, after: None }));
        assert_eq!(chain(&catalogue(&[], &[(0, 1, 5)], &[]), Until::Newest), Err(NoPoint::Nothing));
    }

    #[test]
    fn the_segment_that_reaches_furthest_is_taken() {
        let c = catalogue(&[0], &[(0, 1, 2), (0, 3, 4), (1, 1, 4), (0, 5, 5), (2, 2, 9)], &[]);
        assert_eq!(chain(&c, Until::Newest), Ok((0, vec![(1, 4), (2, 9)])));
    }
}
