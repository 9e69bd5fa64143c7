//! A month of a system, and an hour against a real S3 server: a hundred random seconds come back exactly.

use std::sync::atomic::Ordering;

use keyark_backup::destination::local::Local;
use keyark_backup::destination::memory::Memory;
use keyark_backup::destination::{Destination, list_all};
use keyark_backup::stream::{Shipper, Until, retain};
use keyark_model::{Id, Kind, Time};
use keyark_testkit::destinations::Faulty;
use keyark_testkit::s3::S3Server;
use uuid::Uuid;

use crate::ground::{Ground, carried, domain};

const STREAM: Uuid = Uuid::from_u128(11);

/// Numbers that look random and are the same each time.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % sides
    }
}

/// One change of some sort: a new record, a new revision, a deletion, a destruction, a new KEK.
fn change(ground: &mut Ground, dice: &mut Dice) {
    let of = domain(dice.roll(3) as u8);
    let kind = [Kind::Key, Kind::Secret, Kind::Key, Kind::Group][dice.roll(4) as usize];
    let known: Vec<Id> = ground.state.keys().filter(|(d, k, _)| (*d, *k) == (of, kind)).map(|(.., id)| *id).collect();
    let secret = dice.roll(u64::MAX).to_be_bytes();
    match (dice.roll(10), known.get(dice.roll(known.len().max(1) as u64) as usize)) {
        (0..=3, _) | (_, None) => {
            let id = Id(Uuid::from_u128(u128::from(dice.roll(u64::MAX)) << 64 | u128::from(dice.roll(u64::MAX))));
            ground.put(of, kind, id, &secret);
        }
        (4..=6, Some(id)) => ground.put(of, kind, *id, &secret),
        (7, Some(id)) => ground.delete(of, kind, *id),
        // A destruction: nothing of the material is left in the record.
        (8, Some(id)) => ground.put(of, kind, *id, b""),
        (_, Some(_)) => ground.rotate_kek(of),
    }
}

/// Restores `count` random moments from `from` on, each from one of the places in turn.
fn moments(ground: &Ground, dice: &mut Dice, places: &[&dyn Destination], from: Time, until: Time, count: usize) {
    for n in 0..count {
        let at = Time(from.0 + dice.roll((until.0 - from.0) as u64) as i64);
        let wanted = ground.history.iter().rev().find(|m| m.time <= at).expect("it began before");
        let found = ground.restored(places[n % places.len()], STREAM, Until::Time(at));
        let found = found.unwrap_or_else(|e| panic!("{at} from {}: {e}", places[n % places.len()].describe()));
        assert!(found == carried(&wanted.state, None), "{at} from {}", places[n % places.len()].describe());
    }
}

#[test]
fn a_month_with_a_destination_that_dies_and_comes_back() {
    let (mut ground, mut dice) = (Ground::new(), Dice(7));
    let folder = tempfile::tempdir().unwrap();
    let (near, far) = (Local::open(folder.path()).unwrap(), Faulty::new(Memory::default(), 3));
    let mut shippers = [Shipper::default(), Shipper::default()];
    let range = 10;
    let midnight = |t: Time| Time(t.0 - t.0.rem_euclid(86_400_000_000));
    let mut removed = 0;
    for day in 0..31 {
        far.dead.store((12..15).contains(&day), Ordering::Relaxed);
        far.per_mille.store(if day % 5 == 0 { 50 } else { 0 }, Ordering::Relaxed);
        for _ in 0..16 {
            for _ in 0..dice.roll(5) {
                change(&mut ground, &mut dice);
                ground.tick(dice.roll(60) as i64);
            }
            ground.ship(&mut shippers[0], &near, STREAM, None).unwrap();
            // What cannot be sent now is sent when it can.
            let _ = ground.ship(&mut shippers[1], &far, STREAM, None);
            ground.tick(5_200);
        }
        let keep_from = midnight(ground.now).plus_seconds(-86_400 * (range - 1));
        for place in [&near as &dyn Destination, &far] {
            let at = ground.stream(STREAM);
            let _ = retain::mark(place, at, keep_from, &ground.signer, ground.now);
            if let Ok((removal, kept)) = retain::sweep(place, at, &ground.anchor, &[], 72_000, ground.now) {
                assert_eq!(kept, []);
                removed += removal.names.len();
            }
        }
    }
    far.per_mille.store(0, Ordering::Relaxed);
    for _ in 0..2 {
        ground.tick(301);
        ground.ship(&mut shippers[0], &near, STREAM, None).unwrap();
        ground.ship(&mut shippers[1], &far, STREAM, None).unwrap();
    }
    assert!(removed > 100, "retention had something to do: {removed}");
    let from = midnight(ground.now).plus_seconds(-86_400 * (range - 1));
    let until = ground.now.plus_seconds(-1);
    moments(&ground, &mut dice, &[&near, &far], from, until, 100);
    let full =
        |place: &dyn Destination| list_all(place, "").unwrap().iter().filter(|f| f.name.contains("/full/")).count();
    assert!(full(&near) <= 12 && full(&far) <= 16, "{} {}", full(&near), full(&far));
}

#[test]
fn an_hour_against_a_real_s3_server() {
    let (mut ground, mut dice, server) = (Ground::new(), Dice(8), S3Server::start());
    let place = server.destination("keyark/");
    let mut shipper = Shipper::default();
    ground.ship(&mut shipper, &place, STREAM, None).unwrap();
    let from = ground.now.plus_seconds(1);
    for _ in 0..720 {
        ground.tick(5);
        if dice.roll(3) == 0 {
            change(&mut ground, &mut dice);
        }
        ground.ship(&mut shipper, &place, STREAM, None).unwrap();
    }
    let until = ground.now;
    ground.tick(301);
    ground.ship(&mut shipper, &place, STREAM, None).unwrap();
    moments(&ground, &mut dice, &[&place], from, until, 100);
    let names = list_all(&place, "").unwrap();
    assert!(names.iter().any(|f| f.name.contains("/log/01/")), "segments were merged on the way");
}
