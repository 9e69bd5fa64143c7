//! Verification finds what was done to a stream.

use keyark_backup::destination::memory::Memory;
use keyark_backup::destination::{Content, Destination, list_all};
use keyark_backup::stream::Shipper;
use keyark_backup::stream::verify::{Depth, Verified, verify};
use keyark_backup::{Cancelled, Progress};
use keyark_model::{Id, Kind, Time};
use uuid::Uuid;

use crate::ground::{Ground, domain};

const STREAM: Uuid = Uuid::from_u128(9);

fn shipped() -> (Ground, Memory) {
    let (mut ground, place, mut shipper) = (Ground::new(), Memory::default(), Shipper::default());
    for n in 0..6_u8 {
        ground.put(domain(n % 3), Kind::Key, Id(Uuid::from_u128(u128::from(n))), &[n; 32]);
        ground.ship(&mut shipper, &place, STREAM, None).unwrap();
        ground.tick(if n == 2 { 90_000 } else { 400 });
        ground.ship(&mut shipper, &place, STREAM, None).unwrap();
    }
    (ground, place)
}

fn looked(ground: &Ground, place: &Memory, depth: Depth, known: Option<(u64, Time)>) -> Verified {
    verify(&ground.opener(place), &ground.stream(STREAM), depth, known, &Progress::default()).unwrap()
}

fn whole(place: &Memory, name: &str) -> Vec<u8> {
    place.read(name, 0..place.size(name).unwrap()).unwrap()
}

fn put(place: &Memory, name: &str, bytes: &[u8]) {
    let _ = place.delete(name);
    place.create(name, Content::Bytes(bytes)).unwrap();
}

#[test]
fn a_whole_stream_has_no_finding_and_every_byte_is_read_in_turns() {
    let (ground, place) = shipped();
    let full = looked(&ground, &place, Depth::Full, Some((9, ground.now)));
    let all = list_all(&place, "").unwrap();
    assert_eq!((full.findings.len(), full.read_objects), (0, all.len() as u64), "{:?}", full.findings);
    assert_eq!(full.read_bytes, all.iter().map(|f| f.size).sum::<u64>());
    assert_eq!(full.points.len(), 1);
    let quick = looked(&ground, &place, Depth::Quick, Some((9, ground.now)));
    assert_eq!((quick.findings.len(), quick.read_objects, quick.points), (0, 0, full.points));
    let turns = (0..5).map(|turn| looked(&ground, &place, Depth::Sample { of: 5, turn }, None).read_objects);
    assert_eq!(turns.sum::<u64>(), all.len() as u64);
}

#[test]
fn a_changed_bit_a_cut_and_an_exchange_are_found_in_every_kind_of_object() {
    let (ground, place) = shipped();
    let names: Vec<String> = list_all(&place, "").unwrap().into_iter().map(|f| f.name).collect();
    for part in ["/epoch/", "/full/", "/heartbeat/", "/log/"] {
        let of_kind: Vec<&String> = names.iter().filter(|n| n.contains(part)).collect();
        let (one, other) = (of_kind[0], of_kind[1]);
        let (bytes, others) = (whole(&place, one), whole(&place, other));
        let mut flipped = bytes.clone();
        let middle = bytes.len() / 2;
        flipped[middle] ^= 1;
        for (what, bad) in [("flipped", &flipped[..]), ("cut", &bytes[..bytes.len() - 1]), ("exchanged", &others[..])] {
            put(&place, one, bad);
            let told = looked(&ground, &place, Depth::Full, None);
            assert!(told.findings.iter().any(|f| f.object == *one), "{one} {what}: {:?}", told.findings);
        }
        put(&place, one, &bytes);
    }
    assert_eq!(looked(&ground, &place, Depth::Full, None).findings, []);
}

#[test]
fn what_was_left_out_or_set_back_is_found_by_the_list_alone() {
    let (ground, place) = shipped();
    let known = Some((9, ground.now));
    let names: Vec<String> = list_all(&place, "").unwrap().into_iter().map(|f| f.name).collect();
    let logs: Vec<&String> = names.iter().filter(|n| n.contains("/log/")).collect();
    // One in the middle.
    let bytes = whole(&place, logs[1]);
    place.delete(logs[1]).unwrap();
    let told = looked(&ground, &place, Depth::Quick, known);
    assert!(told.findings.iter().any(|f| f.what.contains("are missing")), "{:?}", told.findings);
    put(&place, logs[1], &bytes);
    // The newest: only who remembers the head can know.
    let newest = logs.last().unwrap();
    place.delete(newest).unwrap();
    assert_eq!(looked(&ground, &place, Depth::Quick, None).findings, []);
    let told = looked(&ground, &place, Depth::Quick, known);
    assert!(
        told.findings[0].what.contains("objects were removed, or an older state was put back"),
        "{:?}",
        told.findings
    );
    // Somebody else's.
    put(&place, &format!("{}full/hello.txt", ground.stream(STREAM).folder()), b"hello");
    let told = looked(&ground, &place, Depth::Quick, None);
    assert!(told.findings.iter().any(|f| f.what.contains("does not know this name")), "{:?}", told.findings);
    // All of it.
    for found in list_all(&place, "").unwrap() {
        place.delete(&found.name).unwrap();
    }
    let told = looked(&ground, &place, Depth::Quick, known);
    assert!(told.findings[0].what.contains("no full archive"), "{:?}", told.findings);
}

#[test]
fn a_verification_is_cancelled() {
    let (ground, place) = shipped();
    let progress = Progress::default();
    assert!(progress.cancel());
    let ended = verify(&ground.opener(&place), &ground.stream(STREAM), Depth::Full, None, &progress);
    assert_eq!(ended.unwrap_err().to_string(), "cancelled");
    assert_eq!(progress.check(), Err(Cancelled));
}
