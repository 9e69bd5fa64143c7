//! What is missing or damaged at one destination comes back from another one.

use std::collections::BTreeSet;

use keyark_backup::Progress;
use keyark_backup::destination::memory::Memory;
use keyark_backup::destination::{Content, Destination, DestinationError, list_all};
use keyark_backup::stream::heal::{Healed, heal};
use keyark_backup::stream::verify::{Depth, Verified, verify};
use keyark_backup::stream::{Shipper, Until};
use keyark_model::{Id, Kind};
use keyark_testkit::counted::Counted;
use uuid::Uuid;

use crate::ground::{Ground, carried, domain};

const STREAM: Uuid = Uuid::from_u128(3);

/// One stream at two destinations, each with archives and epochs of its own; the second one is sent less often.
fn shipped() -> (Ground, Memory, Memory) {
    let (mut ground, one, two) = (Ground::new(), Memory::default(), Memory::default());
    let (mut often, mut seldom) = (Shipper::default(), Shipper::default());
    for n in 0..12_u8 {
        ground.put(domain(n % 3), Kind::Key, Id(Uuid::from_u128(u128::from(n))), &[n; 32]);
        ground.tick(if n == 6 { 90_000 } else { 10 });
        ground.ship(&mut often, &one, STREAM, None).unwrap();
        if n % 2 == 1 || n == 0 {
            ground.ship(&mut seldom, &two, STREAM, None).unwrap();
        }
    }
    (ground, one, two)
}

fn looked(ground: &Ground, place: &dyn Destination) -> Verified {
    verify(&ground.opener(place), &ground.stream(STREAM), Depth::Full, None, &Progress::default()).unwrap()
}

fn healed(ground: &Ground, here: &dyn Destination, other: &dyn Destination) -> Healed {
    let damaged: BTreeSet<String> =
        looked(ground, here).findings.into_iter().filter(|f| f.damaged).map(|f| f.object).collect();
    let (from, known) = (ground.opener(other), ground.history.last().map(|m| m.seq));
    heal(&ground.opener(here), &from, &ground.stream(STREAM), &damaged, known, ground.path()).unwrap()
}

fn named(place: &dyn Destination, part: &str) -> Vec<String> {
    list_all(place, "").unwrap().into_iter().map(|f| f.name).filter(|n| n.contains(part)).collect()
}

fn damage(place: &dyn Destination, name: &str) {
    let mut bytes = place.read(name, 0..place.size(name).unwrap()).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    place.delete(name).unwrap();
    place.create(name, Content::Bytes(&bytes)).unwrap();
}

fn every_point_restores(ground: &Ground, place: &dyn Destination) {
    for moment in ground.history.iter().filter(|m| m.seq > 4) {
        let found = ground.restored(place, STREAM, Until::Number(moment.seq)).unwrap();
        assert_eq!(found, carried(&moment.state, None), "{}", moment.seq);
    }
}

#[test]
fn what_is_missing_or_damaged_comes_from_another_destination() {
    let (ground, one, two) = shipped();
    let logs = named(&one, "/log/");
    one.delete(&logs[2]).unwrap();
    one.delete(logs.last().unwrap()).unwrap();
    damage(&one, &logs[7]);
    let done = healed(&ground, &one, &two);
    assert_eq!((done.copied.len(), done.deleted.len(), done.left.len()), (3, 1, 0), "{done:?}");
    assert_eq!(looked(&ground, &one).findings, []);
    every_point_restores(&ground, &one);
    // A full archive, the first one, and then all of it.
    damage(&one, &named(&one, "/full/")[0]);
    let done = healed(&ground, &one, &two);
    assert_eq!((done.copied.len(), done.left.len()), (1, 0), "{done:?}");
    assert_eq!(looked(&ground, &one).findings, []);
    every_point_restores(&ground, &one);
    let empty = Memory::default();
    let done = healed(&ground, &empty, &two);
    assert_eq!((done.deleted.len(), done.left.len()), (0, 0), "{done:?}");
    every_point_restores(&ground, &empty);
    // There is nothing to do, and nothing is done.
    assert_eq!(healed(&ground, &one, &two), Healed::default());
}

#[test]
fn what_may_not_be_deleted_or_has_no_good_copy_is_told() {
    let (ground, one, two) = shipped();
    let logs = named(&one, "/log/");
    damage(&one, &logs[4]);
    let locked = Counted::that_keeps(one);
    let done = healed(&ground, &locked, &two);
    assert_eq!((done.copied.len(), done.deleted.len(), done.left.len()), (1, 0, 1), "{done:?}");
    assert!(done.left[0].object == logs[4] && done.left[0].what.contains("credentials that may"), "{done:?}");
    assert!(matches!(locked.delete(&logs[4]), Err(DestinationError::Locked { .. })));
    // The other one has lost the same.
    let (ground, one, two) = shipped();
    let logs = named(&one, "/log/");
    damage(&one, &logs[4]);
    named(&two, "/log/").iter().for_each(|name| damage(&two, name));
    let before = list_all(&one, "").unwrap();
    let done = healed(&ground, &one, &two);
    assert!(!done.changed() && done.left.iter().any(|f| f.what.contains("no good copy either")), "{done:?}");
    assert!(done.left.iter().any(|f| f.object == logs[4]), "{done:?}");
    assert_eq!(list_all(&one, "").unwrap(), before);
}
