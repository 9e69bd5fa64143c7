//! What a stream is at its destination, and what damage to it costs.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU64, Ordering};

use keyark_backup::destination::memory::Memory;
use keyark_backup::destination::{Content, Destination, DestinationError, Found, list_all};
use keyark_backup::source::SourceError;
use keyark_backup::stream::{Catalogue, NoPoint, PointError, ShipError, Shipper, Until, retain};
use keyark_model::{Id, Kind, Outcome};
use keyark_store::{Batch, Draft, Store};
use keyark_testkit::counted::Counted;
use uuid::Uuid;

use crate::ground::{Ground, START, carried, domain};

pub const STREAM: Uuid = Uuid::from_u128(7);

pub fn key(n: u128) -> Id {
    Id(Uuid::from_u128(n))
}

/// A system's stream with a full archive after three entries and a segment for each further one.
pub fn shipped(entries: u8) -> (Ground, Memory, Shipper) {
    let (mut ground, place, mut shipper) = (Ground::new(), Memory::default(), Shipper::default());
    assert!(ground.ship(&mut shipper, &place, STREAM, None).unwrap().full);
    for n in 0..entries {
        ground.tick(10);
        ground.put(domain(1), Kind::Key, key(u128::from(n)), &[n; 32]);
        let told = ground.ship(&mut shipper, &place, STREAM, None).unwrap();
        assert_eq!((told.entries, told.objects, told.full), (1, 1, false));
    }
    (ground, place, shipper)
}

pub fn named(place: &Memory, part: &str) -> Vec<String> {
    list_all(place, "").unwrap().into_iter().map(|f| f.name).filter(|n| n.contains(part)).collect()
}

#[test]
fn segments_are_fetched_several_at_once_and_replayed_in_their_order() {
    let (ground, place, _) = shipped(11);
    let far = Counted::several(place, 4);
    for moment in ground.history.iter().filter(|m| m.seq >= 3) {
        let there = ground.restored(&far, STREAM, Until::Number(moment.seq)).unwrap();
        assert_eq!(there, carried(&moment.state, None), "{}", moment.seq);
    }
    assert_eq!(far.most_at_once(), 4);
}

#[test]
fn a_point_of_any_number_of_changes_is_read_in_few_parts() {
    let (mut ground, place, mut shipper) = shipped(0);
    for n in 0..90 {
        ground.tick(10);
        let (of, id) = (domain(1), key(n % 7));
        match n % 3 == 2 && ground.state.contains_key(&(of, Kind::Key, id)) {
            true => ground.delete(of, Kind::Key, id),
            false => ground.put(of, Kind::Key, id, &n.to_be_bytes()),
        }
        ground.ship(&mut shipper, &place, STREAM, None).unwrap();
    }
    let (mut counts, mut ever) = (Vec::new(), BTreeSet::new());
    for moment in ground.history.iter().filter(|m| m.seq >= 3) {
        let point = ground.point(&place, STREAM, Until::Number(moment.seq)).unwrap();
        assert_eq!(Ground::held(&point).unwrap(), carried(&moment.state, None), "{}", moment.seq);
        ever.extend(moment.state.keys().copied());
        let mut gone = BTreeSet::new();
        let told = point.with_links::<_, PointError>(|links| {
            links.each_tombstone::<SourceError>(|t| {
                gone.insert((t.domain, t.kind, t.id));
                Ok(())
            })?;
            Ok(())
        });
        told.unwrap();
        assert!(gone.iter().eq(ever.iter().filter(|at| !moment.state.contains_key(at))), "{}: {gone:?}", moment.seq);
        counts.push(std::fs::read_dir(point.folder()).unwrap().count());
    }
    // One for each change, until there are more than twelve: eight of them become one.
    assert_eq!(counts[..16], [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 6, 7, 8, 9]);
    assert_eq!((counts.len(), counts.iter().max()), (91, Some(&12)), "{counts:?}");
}

#[test]
fn an_unchanged_day_writes_heartbeats_and_no_full_archive_until_the_epoch_ends() {
    let (mut ground, place, mut shipper) = shipped(2);
    let mut told = |ground: &mut Ground, seconds| {
        ground.tick(seconds);
        let s = ground.ship(&mut shipper, &place, STREAM, None).unwrap();
        (s.objects, s.full)
    };
    assert_eq!(told(&mut ground, 5), (0, false));
    assert_eq!(told(&mut ground, 300), (1, false), "a heartbeat");
    assert_eq!(told(&mut ground, 299), (0, false));
    // A day with changes before it has a full archive, the next ones are as the one before.
    assert_eq!(told(&mut ground, 86_400), (2, true), "an epoch file and a full archive");
    assert_eq!(told(&mut ground, 86_400), (1, false));
    assert_eq!(told(&mut ground, 29 * 86_400), (1, false));
    assert_eq!(told(&mut ground, 86_400), (2, true));
    assert_eq!(named(&place, "/full/").len(), 3);
    // The heartbeat proves that nothing was left out up to then.
    let at = ground.now;
    assert_eq!(told(&mut ground, 400), (1, false));
    let wanted = carried(&ground.state, None);
    assert_eq!(ground.restored(&place, STREAM, Until::Time(at.plus_seconds(399))).unwrap(), wanted);
    let later = ground.restored(&place, STREAM, Until::Time(at.plus_seconds(401)));
    assert!(matches!(later, Err(PointError::NoPoint(NoPoint::AfterLast { .. }))), "{later:?}");
}

#[test]
fn a_machine_set_back_to_an_older_state_finds_itself_behind_its_own_stream() {
    let (mut ground, place, mut shipper) = shipped(0);
    ground.snapshot_machine();
    for n in 0..3 {
        ground.put(domain(1), Kind::Key, key(n), b"x");
    }
    ground.ship(&mut shipper, &place, STREAM, None).unwrap();
    ground.set_back();
    let refused = ground.ship(&mut Shipper::default(), &place, STREAM, None);
    assert!(matches!(refused, Err(ShipError::RolledBack { ours: 3, theirs: 6, .. })), "{refused:?}");
    // It went on by itself: the same numbers, other entries.
    for n in 10..14 {
        ground.put(domain(1), Kind::Key, key(n), b"y");
    }
    let before = list_all(&place, "").unwrap();
    let refused = ground.ship(&mut Shipper::default(), &place, STREAM, None);
    assert!(matches!(refused, Err(ShipError::Forked { number: 6 })), "{refused:?}");
    assert_eq!(list_all(&place, "").unwrap(), before, "nothing was written");
}

#[test]
fn a_segment_that_was_deleted_costs_exactly_its_points_and_is_sent_again() {
    let (ground, place, _) = shipped(5);
    let lost = named(&place, "/log/").remove(2);
    place.delete(&lost).unwrap();
    let point = |n| ground.restored(&place, STREAM, Until::Number(n));
    for n in 3..=5 {
        assert_eq!(point(n).unwrap(), carried(&ground.history[n as usize - 1].state, None));
    }
    for n in 6..=8 {
        assert!(
            matches!(point(n), Err(PointError::NoPoint(NoPoint::Gap { before, after: None })) if before.number == 5)
        );
    }
    let catalogue = Catalogue::read(&place, ground.stream(STREAM)).unwrap();
    let stretches: Vec<_> = catalogue.points().iter().map(|i| (i.from.number, i.to.number)).collect();
    assert_eq!(stretches, [(3, 5)]);
    // A shipper that looks again sends what is missing, for the log still has it.
    let told = ground.ship(&mut Shipper::default(), &place, STREAM, None).unwrap();
    assert_eq!((told.entries, told.full), (3, false));
    for n in 6..=8 {
        assert_eq!(point(n).unwrap(), carried(&ground.history[n as usize - 1].state, None));
    }
}

#[test]
fn what_was_exchanged_or_renamed_is_named() {
    let (ground, place, _) = shipped(4);
    let names = named(&place, "/log/");
    let take = |name: &str| {
        let size = list_all(&place, name).unwrap()[0].size;
        place.read(name, 0..size).unwrap()
    };
    // One segment under another's name.
    let (second, third) = (take(&names[1]), take(&names[2]));
    place.delete(&names[1]).unwrap();
    place.create(&names[1], Content::Bytes(&third)).unwrap();
    let refused = ground.restored(&place, STREAM, Until::Number(5)).unwrap_err();
    assert!(matches!(&refused, PointError::Misnamed { name, .. } if *name == names[1]), "{refused}");
    // A bit anywhere.
    for at in (0..second.len()).step_by(97) {
        let mut bad = second.clone();
        bad[at] ^= 4;
        place.delete(&names[1]).unwrap();
        place.create(&names[1], Content::Bytes(&bad)).unwrap();
        assert!(ground.restored(&place, STREAM, Until::Number(5)).is_err(), "byte {at}");
    }
    // Signed by somebody else who can write there.
    let stranger = shipped(4);
    place.delete(&names[1]).unwrap();
    let theirs = named(&stranger.1, "/log/").remove(1);
    let bytes = stranger.1.read(&theirs, 0..list_all(&stranger.1, &theirs).unwrap()[0].size).unwrap();
    place.create(&names[1], Content::Bytes(&bytes)).unwrap();
    assert!(ground.restored(&place, STREAM, Until::Number(5)).is_err());
    place.delete(&names[1]).unwrap();
    place.create(&names[1], Content::Bytes(&second)).unwrap();
    assert_eq!(ground.restored(&place, STREAM, Until::Number(5)).unwrap(), carried(&ground.history[4].state, None));
}

#[test]
fn without_the_epoch_file_or_the_backup_key_nothing_opens_and_the_key_is_named() {
    let (mut ground, place, _) = shipped(1);
    let right = std::mem::replace(&mut ground.backup_key, key(99));
    let refused = ground.restored(&place, STREAM, Until::Newest).unwrap_err().to_string();
    assert!(refused.contains(&right.to_string()), "{refused}");
    ground.backup_key = right;
    let other = std::mem::replace(&mut ground.key, keyark_crypto::random::secret());
    let refused = ground.restored(&place, STREAM, Until::Newest).unwrap_err().to_string();
    assert!(refused.contains("does not open this epoch file"), "{refused}");
    ground.key = other;
    for name in named(&place, "/epoch/") {
        place.delete(&name).unwrap();
    }
    let refused = ground.restored(&place, STREAM, Until::Newest).unwrap_err().to_string();
    assert!(refused.contains("of which no file is there"), "{refused}");
}

#[test]
fn a_domains_stream_shows_nothing_of_the_others() {
    let (mut ground, place, mut shipper) = (Ground::new(), Memory::default(), Shipper::default());
    for n in 0..20 {
        ground.put(domain(2), Kind::Key, key(n), b"theirs");
    }
    ground.put(domain(1), Kind::Key, key(50), b"mine");
    ground.ship(&mut shipper, &place, STREAM, Some(domain(1))).unwrap();
    for n in 20..40 {
        ground.put(domain(2), Kind::Key, key(n), b"theirs");
    }
    ground.put(domain(1), Kind::User, key(51), b"verifier");
    let told = ground.ship(&mut shipper, &place, STREAM, Some(domain(1))).unwrap();
    // Its own numbers alone: the second and third entry of its log.
    assert_eq!((told.number, told.entries), (3, 1));
    assert!(named(&place, "/full/00000000000000000002-").len() == 1, "{:?}", named(&place, ""));
    let point = ground.point(&place, STREAM, Until::Newest).unwrap();
    let held = point.with_links::<_, PointError>(|links| {
        let mut all = Vec::new();
        links.each_record::<SourceError>(|r, _| {
            all.push((r.domain, r.kind, r.id));
            Ok(())
        })?;
        Ok(all)
    });
    let held = held.unwrap();
    assert!(held.iter().all(|(d, kind, _)| *d == domain(1) && *kind != Kind::User), "{held:?}");
    assert!(held.contains(&(domain(1), Kind::Key, key(50))));
}

#[test]
fn small_segments_are_merged_and_go_when_they_are_covered() {
    let (mut ground, place, mut shipper) = shipped(0);
    let mut entries = 0;
    for n in 0..100_u8 {
        ground.tick(10);
        ground.put(domain(1), Kind::Key, key(u128::from(n)), &[n; 32]);
        entries += ground.ship(&mut shipper, &place, STREAM, None).unwrap().entries;
        if n == 50 {
            // Forgetting everything changes nothing.
            shipper = Shipper::default();
        }
    }
    assert_eq!((entries, named(&place, "/log/00/").len(), named(&place, "/log/01/").len()), (100, 100, 3));
    let check = |ground: &Ground| {
        for n in [3, 17, 35, 36, 67, 99, 103] {
            let found = ground.restored(&place, STREAM, Until::Number(n)).unwrap();
            assert_eq!(found, carried(&ground.history[n as usize - 1].state, None), "{n}");
        }
    };
    check(&ground);
    let at = ground.stream(STREAM);
    let objects = ground.point(&place, STREAM, Until::Newest).unwrap().objects;
    assert_eq!(objects, 1 + 3 + 4, "a full archive, what was merged, what was not");
    retain::mark(&place, at, crate::ground::START, &ground.signer, ground.now).unwrap();
    let sweep = |ground: &Ground, wait| {
        let anchor = &ground.anchor;
        retain::sweep(&place, at, anchor, &[], wait, ground.now).unwrap().0.names.len()
    };
    assert_eq!(sweep(&ground, 3600), 0, "nobody has had the time to object");
    ground.tick(90_000);
    assert_eq!(sweep(&ground, 3600), 96);
    assert_eq!((named(&place, "/log/00/").len(), named(&place, "/retention/").len()), (4, 0));
    check(&ground);
    // Signed by somebody else, a statement is none.
    let stranger = keyark_crypto::sign::Signer::generate();
    retain::mark(&place, at, ground.now, &stranger, ground.now).unwrap();
    ground.tick(90_000);
    assert_eq!(sweep(&ground, 3600), 0);
    check(&ground);
}

/// A destination during whose answers the log goes on.
struct Busy<'a> {
    inner: Memory,
    store: &'a Store,
    left: AtomicU64,
}

impl Destination for Busy<'_> {
    fn create(&self, name: &str, content: Content<'_>) -> Result<(), DestinationError> {
        if self.left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1)).is_ok() {
            let draft = Draft {
                domain: domain(1),
                actor: "local|somebody".into(),
                request_id: String::new(),
                action: "key_change".into(),
                target: String::new(),
                outcome: Outcome::Success,
                changes: Vec::new(),
            };
            self.store.commit(Batch { must: vec![], entries: vec![draft] }, START).unwrap();
        }
        self.inner.create(name, content)
    }

    fn size(&self, name: &str) -> Result<u64, DestinationError> {
        self.inner.size(name)
    }

    fn read(&self, name: &str, range: std::ops::Range<u64>) -> Result<Vec<u8>, DestinationError> {
        self.inner.read(name, range)
    }

    fn list(&self, prefix: &str, after: &str, limit: usize) -> Result<Vec<Found>, DestinationError> {
        self.inner.list(prefix, after, limit)
    }

    fn folders(&self, folder: &str) -> Result<Vec<String>, DestinationError> {
        self.inner.folders(folder)
    }

    fn delete(&self, name: &str) -> Result<(), DestinationError> {
        self.inner.delete(name)
    }

    fn describe(&self) -> String {
        self.inner.describe()
    }
}

#[test]
fn a_step_ends_although_the_log_goes_on_during_every_answer() {
    let (ground, mut shipper) = (Ground::new(), Shipper::default());
    let place = Busy { inner: Memory::default(), store: &ground.store, left: AtomicU64::new(50) };
    let mut objects = 0;
    for _ in 0..5 {
        objects += ground.ship(&mut shipper, &place, STREAM, None).unwrap().objects;
    }
    // The epoch, the full archive, and a segment for each further step.
    assert_eq!((objects, place.left.load(Ordering::SeqCst)), (6, 44));
}
