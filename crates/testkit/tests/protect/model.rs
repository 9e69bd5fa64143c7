//! Random changes, a destination that fails now and then, and random points: each is exactly what the records were then.

use std::collections::BTreeSet;
use std::sync::atomic::Ordering;

use keyark_backup::destination::list_all;
use keyark_backup::destination::memory::Memory;
use keyark_backup::stream::{Chosen, Shipper, Until, retain};
use keyark_model::{Id, Kind, Time};
use keyark_testkit::destinations::Faulty;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use uuid::Uuid;

use crate::ground::{Ground, State, carried, domain};

#[derive(Clone, Debug)]
enum Step {
    Put(u8, u8, u8),
    Delete(u8),
    Rotate(u8),
    Wait(u32),
    Ship,
    Restart,
    Retain,
}

const KINDS: [Kind; 5] = [Kind::Key, Kind::Secret, Kind::User, Kind::Group, Kind::Setting];

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        8 => (0..3_u8, 0..5_u8, any::<u8>()).prop_map(|(d, k, n)| Step::Put(d, k, n)),
        3 => any::<u8>().prop_map(Step::Delete),
        1 => (0..3_u8).prop_map(Step::Rotate),
        4 => (0..50_000_u32).prop_map(Step::Wait),
        5 => Just(Step::Ship),
        1 => Just(Step::Restart),
        1 => Just(Step::Retain),
    ];
    proptest::collection::vec(step, 30..90)
}

fn run(ground: &mut Ground, step: &Step) {
    match step {
        Step::Put(d, k, n) => {
            let (of, kind) = (domain(*d), KINDS[usize::from(*k)]);
            // A few ids in each domain, so that many are written again, after a deletion too.
            let id = Id(Uuid::from_u128(u128::from(n % 6) + 100 * u128::from(*d) + 1000 * u128::from(*k)));
            ground.put(of, kind, id, &[*n; 40]);
        }
        Step::Delete(n) => {
            let all: Vec<_> = ground.state.keys().copied().collect();
            if let Some((of, kind, id)) = all.get(usize::from(*n) % all.len().max(1)) {
                ground.delete(*of, *kind, *id);
            }
        }
        Step::Rotate(d) => ground.rotate_kek(domain(*d)),
        Step::Wait(seconds) => ground.tick(i64::from(*seconds)),
        Step::Ship | Step::Restart | Step::Retain => {}
    }
}

/// One record in three of the domain in which one of them stands, one that never was, and what a point of these holds.
fn some_of(state: &State, pick: &prop::sample::Index) -> (Chosen, State) {
    let all: Vec<_> = state.keys().collect();
    let of = if all.is_empty() { domain(1) } else { pick.get(&all).0 };
    let few: State = state.iter().filter(|((d, ..), _)| *d == of).step_by(3).map(|(at, r)| (*at, r.clone())).collect();
    let mut records: BTreeSet<_> = few.keys().map(|(_, kind, id)| (*kind, *id)).collect();
    records.insert((Kind::Key, Id::from_bytes([0xee; 16])));
    (Chosen { domain: of, records }, few)
}

#[test]
fn every_point_that_was_shipped_is_what_the_records_were() {
    let config = Config { cases: 24, failure_persistence: None, max_shrink_iters: 64, ..Config::default() };
    let strategy = (steps(), any::<u64>(), proptest::collection::vec(any::<prop::sample::Index>(), 12));
    let outcome = TestRunner::new(config).run(&strategy, |(steps, seed, picks)| {
        let mut ground = Ground::new();
        let place = Faulty::new(Memory::default(), seed);
        place.per_mille.store(60, Ordering::Relaxed);
        let streams = [(Uuid::from_u128(1), None), (Uuid::from_u128(2), Some(domain(1)))];
        let mut shippers = [Shipper::default(), Shipper::default()];
        let mut first: [Option<u64>; 2] = [None, None];
        for step in &steps {
            run(&mut ground, step);
            for (n, (stream, of)) in streams.iter().enumerate() {
                match step {
                    Step::Ship => {
                        // What cannot be sent now is sent by a later step.
                        let sent = ground.ship(&mut shippers[n], &place, *stream, *of).is_ok();
                        let now = ground.history.last().filter(|_| sent).map(|m| m.seq);
                        first[n] = first[n].or(now);
                    }
                    Step::Restart => shippers[n] = Shipper::default(),
                    _ => {}
                }
            }
        }
        place.per_mille.store(0, Ordering::Relaxed);
        for (n, (stream, of)) in streams.into_iter().enumerate() {
            let now = ground.history.last().unwrap().seq;
            // One that looks at the destination again mends what a stale list had hidden.
            shippers[n] = Shipper::default();
            for _ in 0..2 {
                ground.ship(&mut shippers[n], &place, stream, of).map_err(|e| TestCaseError::fail(e.to_string()))?;
                // A heartbeat proves that a domain had nothing more to tell.
                ground.tick(301);
            }
            let since = first[n].unwrap_or(now);
            let moments: Vec<_> = ground.history.iter().filter(|m| m.seq >= since).collect();
            for pick in &picks {
                let moment = *pick.get(&moments);
                let wanted = carried(&moment.state, of);
                // By time: any moment before the next entry is the same point.
                let next = moments.iter().find(|m| m.seq > moment.seq).map_or(moment.time, |m| Time(m.time.0 - 1));
                let mine =
                    ground.history.iter().rev().find(|m| m.seq <= moment.seq && of.is_none_or(|d| d == m.domain));
                let number = mine.map_or(0, |m| of.map_or(m.seq, |_| m.domain_seq));
                let mut points = vec![Until::Number(number)];
                let full = |t: Time| {
                    ground.history.iter().any(|m| m.seq >= since && m.time <= t && of.is_none_or(|d| d == m.domain))
                };
                if moment.seq < now && full(moment.time) {
                    points.extend([Until::Time(moment.time), Until::Time(next)]);
                }
                for until in points {
                    match ground.restored(&place, stream, until) {
                        Ok(found) => {
                            prop_assert_eq!(&found, &wanted, "{:?} {:?}", until, of);
                            let (chosen, few) = some_of(&wanted, pick);
                            let point = ground.point_of(&place, stream, until, &chosen);
                            let point = point.map_err(|e| TestCaseError::fail(e.to_string()))?;
                            prop_assert_eq!(Ground::held(&point).unwrap(), few, "{:?} {:?}", until, of);
                        }
                        // The stream begins with a full archive, at the moment when that was taken.
                        Err(e) => prop_assert!(
                            e.to_string().starts_with("the first point is"),
                            "{until:?}: {e}\n{:#?}",
                            list_all(&place, &ground.stream(stream).folder()).unwrap()
                        ),
                    }
                }
            }
        }
        Ok(())
    });
    outcome.unwrap();
}

/// Days that are promised here, today included.
const RANGE: i64 = 3;

#[test]
fn after_retention_every_promised_point_still_is_what_the_records_were() {
    let config = Config { cases: 12, failure_persistence: None, max_shrink_iters: 32, ..Config::default() };
    let strategy = (steps(), any::<u64>(), proptest::collection::vec(any::<prop::sample::Index>(), 20));
    let outcome = TestRunner::new(config).run(&strategy, |(steps, seed, picks)| {
        let mut ground = Ground::new();
        let place = Faulty::new(Memory::default(), seed);
        let (stream, mut shipper) = (Uuid::from_u128(1), Shipper::default());
        ground.ship(&mut shipper, &place, stream, None).unwrap();
        let since = ground.now.max(ground.history.last().unwrap().time);
        place.per_mille.store(40, Ordering::Relaxed);
        let day = |t: Time| Time(t.0 - t.0.rem_euclid(86_400_000_000));
        let mut removed = 0;
        // The history twice over: long enough for days to leave the range.
        for step in steps.iter().chain(&steps) {
            run(&mut ground, step);
            match step {
                Step::Ship => drop(ground.ship(&mut shipper, &place, stream, None)),
                Step::Restart => shipper = Shipper::default(),
                Step::Retain => {
                    let (at, keep_from) = (ground.stream(stream), day(ground.now).plus_seconds(-86_400 * (RANGE - 1)));
                    drop(retain::mark(&place, at, keep_from, &ground.signer, ground.now));
                    if let Ok((removal, kept)) = retain::sweep(&place, at, &ground.anchor, &[], 3_600, ground.now) {
                        prop_assert!(kept.is_empty());
                        removed += removal.names.len();
                    }
                }
                _ => {}
            }
        }
        place.per_mille.store(0, Ordering::Relaxed);
        shipper = Shipper::default();
        for _ in 0..2 {
            ground.ship(&mut shipper, &place, stream, None).map_err(|e| TestCaseError::fail(e.to_string()))?;
            ground.tick(301);
        }
        let promised = since.max(day(ground.now).plus_seconds(-86_400 * (RANGE - 1)));
        let all: Vec<_> = ground.history.iter().collect();
        for pick in &picks {
            let moment = *pick.get(&all);
            let next =
                all.iter().find(|m| m.seq > moment.seq).map_or(ground.now.plus_seconds(-302), |m| Time(m.time.0 - 1));
            if next < promised {
                continue;
            }
            let at = next.max(moment.time);
            match ground.restored(&place, stream, Until::Time(at)) {
                Ok(found) => {
                    prop_assert_eq!(&found, &carried(&moment.state, None), "{}, {} removed", at, removed);
                    let (chosen, few) = some_of(&found, pick);
                    let point = ground.point_of(&place, stream, Until::Time(at), &chosen);
                    prop_assert_eq!(Ground::held(&point.unwrap()).unwrap(), few, "{}, {} removed", at, removed);
                }
                Err(e) => {
                    return Err(TestCaseError::fail(format!(
                        "{at} (promised from {promised}, {removed} removed): {e}"
                    )));
                }
            }
        }
        Ok(())
    });
    outcome.unwrap();
}
