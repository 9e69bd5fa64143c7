//! A legal hold as it lies at a destination: it counts at once, and only if the system itself said so.

use keyark_backup::destination::memory::Memory;
use keyark_backup::destination::{Content, Destination, read_small};
use keyark_backup::stream::{StreamObject, retain};
use keyark_crypto::sign::Signer;
use keyark_model::Kind;

use crate::ground::{Ground, START, domain};
use crate::stream::{STREAM, key, named, shipped};

/// What a statement that has lain there for an hour lets go.
fn ripe(ground: &Ground, place: &Memory) -> Option<usize> {
    let at = ground.stream(STREAM);
    let found = retain::ripe(place, at, &ground.anchor, &[], 3600, ground.now).unwrap();
    found.map(|(removal, _)| removal.names.len())
}

#[test]
fn a_hold_counts_at_once_until_a_newer_statement_of_the_system_ends_it() {
    let (mut ground, place, mut shipper) = shipped(0);
    // So many that small segments are merged.
    for n in 0..40_u8 {
        ground.tick(10);
        ground.put(domain(1), Kind::Key, key(u128::from(n)), &[n; 32]);
        ground.ship(&mut shipper, &place, STREAM, None).unwrap();
    }
    let at = ground.stream(STREAM);
    retain::mark(&place, at, START, &ground.signer, ground.now).unwrap();
    let statement = named(&place, "/retention/").remove(0);
    ground.tick(90_000);
    let free = ripe(&ground, &place).unwrap();
    assert!(free > 0);
    // Said by somebody else it is nothing.
    retain::hold(&place, at, &Signer::generate(), ground.now).unwrap();
    assert_eq!((ripe(&ground, &place), retain::held(&place, at, &ground.anchor).unwrap()), (Some(free), false));
    ground.tick(1);
    retain::hold(&place, at, &ground.signer, ground.now).unwrap();
    assert_eq!((ripe(&ground, &place), retain::held(&place, at, &ground.anchor).unwrap()), (None, true));
    // An old statement under a newer name does not end it: its own time is another one.
    ground.tick(1);
    let old = read_small(&place, &statement, 1 << 16).unwrap();
    let later = at.name(&StreamObject::Retention { time: ground.now });
    place.create(&later, Content::Bytes(&old)).unwrap();
    ground.tick(90_000);
    assert_eq!(ripe(&ground, &place), None, "{later}");
    // What the system says later does, after its day; what it said before the hold counts no more.
    retain::mark(&place, at, START, &ground.signer, ground.now).unwrap();
    assert_eq!(ripe(&ground, &place), None);
    ground.tick(90_000);
    assert!(ripe(&ground, &place).unwrap() >= free);
}
