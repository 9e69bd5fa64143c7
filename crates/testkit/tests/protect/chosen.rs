//! One key at a second: the index and the blocks that tell of it are read, and are as safe as all of it.

use std::collections::BTreeSet;

use keyark_archive::ArchiveError;
use keyark_backup::destination::memory::Memory;
use keyark_backup::destination::{Content, Destination, list_all};
use keyark_backup::stream::{Chosen, PointError, Shipper, Until};
use keyark_crypto::random;
use keyark_model::{Id, Kind};
use keyark_testkit::counted::Counted;
use uuid::Uuid;

use crate::ground::{Ground, START, carried, domain};

const STREAM: Uuid = Uuid::from_u128(5);
/// A block of an archive holds few records of this size.
const LARGE: usize = 128 << 10;

fn id(n: u128) -> Id {
    Id(Uuid::from_u128(n))
}

fn large() -> Vec<u8> {
    (0..LARGE / 32).flat_map(|_| random::bytes::<32>()).collect()
}

/// A full archive of 40 large keys, a segment in which each of them changes, and three small segments.
fn shipped() -> (Ground, Counted<Memory>) {
    let (mut ground, place, mut shipper) = (Ground::new(), Counted::new(Memory::default()), Shipper::default());
    for round in 0..2 {
        for n in 0..40 {
            ground.put(domain(1), Kind::Key, id(n), &large());
        }
        ground.tick(10);
        assert_eq!(ground.ship(&mut shipper, &place, STREAM, None).unwrap().full, round == 0);
    }
    for n in [3, 7, 3] {
        ground.put(domain(1), Kind::Key, id(n), b"small");
        ground.put(domain(2), Kind::Key, id(100 + n), b"of somebody else");
        ground.tick(10);
        ground.ship(&mut shipper, &place, STREAM, None).unwrap();
    }
    (ground, place)
}

fn chosen(records: impl IntoIterator<Item = u128>) -> Chosen {
    Chosen { domain: domain(1), records: records.into_iter().map(|n| (Kind::Key, id(n))).collect() }
}

#[test]
fn one_key_at_a_second_reads_parts_of_a_few_objects() {
    let (ground, place) = shipped();
    let all: u64 = list_all(&place, "").unwrap().iter().map(|f| f.size).sum();
    let state = ground.history.iter().filter(|m| m.seq > 46);
    for moment in state {
        for n in [3, 7, 20] {
            place.take();
            let point = ground.point_of(&place, STREAM, Until::Number(moment.seq), &chosen([n])).unwrap();
            let (objects, bytes) = place.take();
            let mut wanted = carried(&moment.state, None);
            wanted.retain(|(of, _, key), _| (*of, *key) == (domain(1), id(n)));
            assert_eq!(Ground::held(&point).unwrap(), wanted, "{n} at {}", moment.seq);
            // Besides these: the files of epochs, which are small.
            assert!(objects as u64 <= point.objects + 1 && objects <= 6, "{objects} {}", point.objects);
            assert!(point.bytes <= bytes && bytes < point.bytes + 2_000, "{bytes} {}", point.bytes);
            // Of each of the two large archives three pieces of the cipher: where the KEKs, the record and the index stand.
            assert!(bytes < 6 << 20 && all > 10 << 20, "{bytes} of {all}");
        }
    }
    // Read at once: nothing that the whole point has not.
    let point = ground.point_of(&place, STREAM, Until::Newest, &chosen([3, 7, 99])).unwrap();
    assert_eq!(Ground::held(&point).unwrap().len(), 2, "one of them never was");
    assert!(point.time > START);
}

#[test]
fn what_is_read_in_parts_is_as_safe_as_all_of_it() {
    let (ground, place) = shipped();
    let named =
        |part: &str| list_all(&place, "").unwrap().into_iter().filter(|f| f.name.contains(part)).collect::<Vec<_>>();
    let full = named("/full/").remove(0);
    let bytes = place.read(&full.name, 0..full.size).unwrap();
    // A bit here and there in the full archive: either it is not read for this key, or it is found.
    let (mut found, mut unread) = (0, 0);
    for part in 0..40 {
        let mut damaged = bytes.clone();
        damaged[bytes.len() * part / 40 + 1_000] ^= 4;
        place.delete(&full.name).unwrap();
        place.create(&full.name, Content::Bytes(&damaged)).unwrap();
        match ground.point_of(&place, STREAM, Until::Number(46), &chosen([20])) {
            Ok(point) => {
                assert_eq!(Ground::held(&point).unwrap().len(), 1);
                unread += 1;
            }
            Err(PointError::Archive(ArchiveError::BodyDamaged { .. })) => found += 1,
            Err(e) => panic!("{e}"),
        }
    }
    assert!(found > 0 && unread > found, "{found} {unread}");
    place.delete(&full.name).unwrap();
    place.create(&full.name, Content::Bytes(&bytes)).unwrap();
    // A segment that another of the same stream stands in for.
    let segments = named("/log/");
    let (one, other) = (&segments[1], &segments[2]);
    let other = place.read(&other.name, 0..other.size).unwrap();
    place.delete(&one.name).unwrap();
    place.create(&one.name, Content::Bytes(&other)).unwrap();
    let exchanged = ground.point_of(&place, STREAM, Until::Newest, &chosen([20])).map(drop).unwrap_err();
    assert!(matches!(exchanged, PointError::Misnamed { .. }), "{exchanged}");
}

#[test]
fn a_point_of_chosen_records_is_taken_for_no_whole_one() {
    let (ground, place) = shipped();
    let point = ground.point_of(&place, STREAM, Until::Newest, &chosen([3])).unwrap();
    assert!(!point.with_links::<_, PointError>(|links| Ok(links.unfiltered())).unwrap());
    let nothing = Chosen { domain: domain(1), records: BTreeSet::new() };
    let point = ground.point_of(&place, STREAM, Until::Newest, &nothing).unwrap();
    assert!(Ground::held(&point).unwrap().is_empty());
}
