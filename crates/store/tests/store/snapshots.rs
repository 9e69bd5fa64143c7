//! Snapshots show one position to the end, whatever is committed meanwhile.

use std::collections::BTreeMap;

use keyark_model::{DomainId, Id, Kind, Record};
use keyark_store::{Fault, Options, Snapshot, SnapshotError};

use crate::fixture::{A, B, batch, commit, delete, fixture, fixture_with, id, options, purging, put, put_kind};

fn records(snapshot: &mut Snapshot) -> Vec<Record> {
    snapshot.records(None).map(Result::unwrap).collect()
}

fn bodies(records: &[Record]) -> BTreeMap<(DomainId, Kind, Id), String> {
    let text = |r: &Record| String::from_utf8(r.body.to_vec()).unwrap();
    records.iter().map(|r| ((r.domain, r.kind, r.id), text(r))).collect()
}

#[test]
fn records_come_in_order_with_the_heads_of_their_position() {
    let f = fixture();
    commit(&f.store, B, vec![put(9, 1, "nine"), put_kind(Kind::User, 3, 1, "{}")]).unwrap();
    commit(&f.store, A, vec![put(2, 1, "two"), put(1, 1, "one"), put_kind(Kind::Session, 7, 1, "{}")]).unwrap();
    let mut snapshot = f.store.snapshot().unwrap();
    let digest = f.store.digest(A).unwrap();
    commit(&f.store, A, vec![put(3, 1, "three"), put(1, 2, "uno"), delete(2, 2)]).unwrap();
    assert_eq!(snapshot.head().seq, 2);
    assert_eq!((snapshot.domain_head(A).domain_seq, snapshot.digest(A)), (1, digest));
    assert_eq!(snapshot.count(A, Kind::Key).records, 2);
    let places: Vec<_> = records(&mut snapshot).iter().map(|r| (r.domain, r.kind, r.id)).collect();
    let expected = [(A, Kind::Key, id(1)), (A, Kind::Key, id(2)), (B, Kind::User, id(3)), (B, Kind::Key, id(9))];
    assert_eq!(places, expected);
    let only: Vec<_> = snapshot.records(Some(B)).map(|r| r.unwrap().id).collect();
    assert_eq!(only, [id(3), id(9)]);
}

#[test]
fn tombstones_come_in_order_up_to_the_position() {
    let f = fixture();
    commit(&f.store, B, vec![put(9, 1, "nine"), put_kind(Kind::User, 3, 1, "{}"), put(5, 1, "moves")]).unwrap();
    commit(&f.store, A, vec![put(2, 1, "two"), put(1, 1, "one")]).unwrap();
    commit(&f.store, B, vec![delete(9, 2), delete(5, 2)]).unwrap();
    commit(&f.store, A, vec![delete(2, 2), delete(1, 2), put(5, 3, "moved")]).unwrap();
    let snapshot = f.store.snapshot().unwrap();
    commit(&f.store, A, vec![delete(5, 4)]).unwrap();
    let all = |domain, after| {
        let mut all = Vec::new();
        let told = snapshot.each_tombstone::<Fault>(domain, after, |t| {
            all.push((t.domain, t.id, t.revision, t.seq, t.name));
            Ok(())
        });
        told.map(|()| all).unwrap()
    };
    let gone = |domain, n, seq, name: &str| (domain, id(n), 2, seq, Some(name.to_owned()));
    let in_a = [gone(A, 1, 4, "one"), gone(A, 2, 4, "two")];
    let in_b = [gone(B, 5, 3, "moves"), gone(B, 9, 3, "nine")];
    assert_eq!(all(None, 0), [&in_a[..], &in_b].concat());
    assert_eq!((all(Some(B), 0), all(None, 3), all(Some(B), 3)), (in_b.to_vec(), in_a.to_vec(), Vec::new()));
    // One that moved is gone where it was, until it comes back there.
    assert_eq!(f.store.tombstone(Kind::Key, id(5)).unwrap().map(|t| (t.domain, t.revision)), Some((A, 4)));
    assert_eq!(f.store.check().unwrap().findings, []);
    commit(&f.store, B, vec![put(5, 5, "back")]).unwrap();
    assert_eq!(f.store.tombstone(Kind::Key, id(5)).unwrap(), None);
    let left: Vec<_> = f.store.tombstones(None, 0, 9).unwrap().iter().map(|t| (t.domain, t.id)).collect();
    assert_eq!(left, [(B, id(9)), (A, id(2)), (A, id(1)), (A, id(5))]);
    assert_eq!(f.store.check().unwrap().findings, []);
}

#[test]
fn a_snapshot_that_let_go_of_its_transaction_shows_the_same() {
    for snapshot_wal_bytes in [u64::MAX, 0] {
        let f = fixture_with(Options { snapshot_wal_bytes, ..options() });
        commit(&f.store, A, (0..2_000).map(|n| put(n, 1, &n.to_string())).collect()).unwrap();
        let mut snapshot = f.store.snapshot().unwrap();
        let before = records(&mut snapshot);
        let mut running = f.store.snapshot().unwrap();
        let mut seen = Vec::new();
        let mut all = running.records(None);
        seen.extend(all.by_ref().take(700).map(Result::unwrap));
        // Changed, deleted, made again and new, before and behind where the scan is.
        for n in (0..2_000).step_by(3) {
            commit(&f.store, A, vec![delete(n, 2)]).unwrap();
        }
        f.store.submit(
            batch(A, (1..2_000).step_by(3).map(|n| put(n, 2, &n.to_string())).collect()),
            crate::fixture::T0,
            Box::new(drop),
        );
        commit(&f.store, A, (0..999).step_by(3).map(|n| put(n, 3, &n.to_string())).collect()).unwrap();
        commit(&f.store, A, (5_000..6_000).map(|n| put(n, 1, &n.to_string())).collect()).unwrap();
        seen.extend(all.map(Result::unwrap));
        assert_eq!(seen.len(), 2_000);
        assert!(seen == before, "with a limit of {snapshot_wal_bytes}");
    }
}

#[test]
fn any_position_since_the_base_can_be_read() {
    let f = fixture();
    let mut expected = vec![BTreeMap::new()];
    let mut now = |change: &dyn Fn(&mut BTreeMap<_, _>)| {
        let mut next: BTreeMap<(DomainId, Kind, Id), String> = expected.last().unwrap().clone();
        change(&mut next);
        expected.push(next);
    };
    let at = |n| (A, Kind::Key, id(n));
    commit(&f.store, A, vec![put(1, 1, "one")]).unwrap();
    now(&|m| drop(m.insert(at(1), "sealed 1 1".into())));
    commit(&f.store, A, vec![put(2, 1, "two"), put(1, 2, "uno")]).unwrap();
    now(&|m| m.extend([(at(2), "sealed 2 1".into()), (at(1), "sealed 1 2".into())]));
    commit(&f.store, A, vec![delete(1, 3)]).unwrap();
    now(&|m| drop(m.remove(&at(1))));
    commit(&f.store, A, vec![put(1, 4, "one")]).unwrap();
    now(&|m| drop(m.insert(at(1), "sealed 1 4".into())));
    for (seq, expected) in expected.iter().enumerate() {
        let mut snapshot = f.store.snapshot_at(seq as u64).unwrap();
        assert_eq!(&bodies(&records(&mut snapshot)), expected, "at {seq}");
    }
    assert!(matches!(f.store.snapshot_at(5), Err(SnapshotError::OutOfRange { asked: 5, .. })));
    f.store.trim(2).unwrap();
    assert!(matches!(f.store.snapshot_at(1), Err(SnapshotError::OutOfRange { .. })));
    for seq in 2..=4 {
        assert_eq!(bodies(&records(&mut f.store.snapshot_at(seq).unwrap())), expected[seq as usize], "at {seq}");
    }
}

#[test]
fn a_running_snapshot_holds_the_trim_back() {
    let f = fixture();
    commit(&f.store, A, vec![put(1, 1, "one")]).unwrap();
    let snapshot = f.store.snapshot().unwrap();
    commit(&f.store, A, vec![put(1, 2, "uno")]).unwrap();
    assert_eq!(f.store.trim(u64::MAX).unwrap().base.seq, 1);
    drop(snapshot);
    assert_eq!(f.store.trim(u64::MAX).unwrap().base.seq, 2);
}

#[test]
fn destroyed_material_is_not_shown_at_an_earlier_position() {
    let f = fixture();
    commit(&f.store, A, vec![put(1, 1, "one")]).unwrap();
    commit(&f.store, A, vec![purging(put(1, 2, "one"))]).unwrap();
    let mut snapshot = f.store.snapshot_at(1).unwrap();
    let error = snapshot.records(None).next().unwrap().unwrap_err();
    assert_eq!(error, SnapshotError::Purged { kind: Kind::Key, id: id(1) });
    assert_eq!(records(&mut f.store.snapshot_at(2).unwrap()).len(), 1);
}
