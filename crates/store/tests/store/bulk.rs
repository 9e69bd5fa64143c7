//! A restored system: loaded from sorted records, put in the place of the old one.

use keyark_model::{Digest, DomainId, Incarnation, Kind, Position, Record};
use keyark_store::{BulkLoader, Head, Identity, LoadError, OpenError, Parent, RecordView, Store, Tombstone, switch};
use uuid::Uuid;

use crate::fixture::{A, B, Fixture, T0, commit, delete, fixture, header, id, identity, key, options, put, put_kind};

const START: Head = Head { seq: 0, hash: Digest::ZERO, time: T0 };

fn restored(f: &Fixture) -> Identity {
    let head = f.store.head();
    let position = Position { incarnation: identity().incarnation, seq: head.seq };
    let parent = Some(Parent { position, hash: head.hash });
    Identity { incarnation: Incarnation(Uuid::from_u128(3)), parent, ..identity() }
}

fn lived() -> Fixture {
    let f = fixture();
    commit(&f.store, B, (20..30).map(|n| put(n, 1, &n.to_string())).collect()).unwrap();
    commit(&f.store, A, (0..10).map(|n| put(n, 1, &n.to_string())).collect()).unwrap();
    commit(
        &f.store,
        A,
        vec![
            put_kind(Kind::User, 1, 1, r#"{"name":"ann","versions":[{"version":0},{"version":1}]}"#),
            put(3, 2, "three"),
        ],
    )
    .unwrap();
    commit(&f.store, A, vec![delete(4, 2)]).unwrap();
    f
}

#[test]
fn a_loaded_store_has_the_same_records_digests_and_counts_and_lives_on() {
    let f = lived();
    let path = f.folder.path().join("new");
    let identity = restored(&f);
    let mut loader = BulkLoader::create(&path, &identity, START, Vec::new(), T0).unwrap();
    let mut snapshot = f.store.snapshot().unwrap();
    let records: Vec<Record> = snapshot.records(None).map(Result::unwrap).collect();
    records.iter().for_each(|r| loader.add(&RecordView::of(r)).unwrap());
    f.store.tombstones(None, 0, 9).unwrap().iter().for_each(|t| loader.add_tombstone(t).unwrap());
    assert!(matches!(Store::open(&path, options()), Err(OpenError::InUse { .. })));
    let loaded = loader.finish().unwrap();
    assert_eq!(loaded.records, 20);
    for domain in &loaded.domains {
        assert_eq!(domain.digest, f.store.digest(domain.domain).unwrap());
        for (kind, count) in &domain.counts {
            assert_eq!(*count, f.store.count(domain.domain, *kind).unwrap());
        }
    }
    let new = Store::open(&path, options()).unwrap();
    assert_eq!(new.identity(), identity);
    let content = |store: &Store| {
        let records = store.snapshot().unwrap().records(None).map(Result::unwrap).collect::<Vec<_>>();
        records.into_iter().map(|r| (r.domain, r.kind, r.id, r.revision, r.header, r.body)).collect::<Vec<_>>()
    };
    assert_eq!(content(&new), content(&f.store));
    assert_eq!(new.check().unwrap().findings, []);
    assert_eq!(new.find(A, Kind::Key, "three").unwrap().unwrap().id, id(3));
    assert_eq!(new.tombstone(Kind::Key, id(4)).unwrap().unwrap().revision, 2);
    commit(&new, A, vec![put(3, 3, "tres"), put(4, 3, "four"), delete(5, 2)]).unwrap();
    let first = &new.entries(0, 9, None).unwrap()[0];
    assert_eq!((first.seq, first.prev, first.incarnation), (1, Digest::ZERO, identity.incarnation));
    assert_eq!(new.check().unwrap().findings, []);
}

#[test]
fn an_id_that_lived_in_two_domains_keeps_a_tombstone_where_it_went_away() {
    let f = lived();
    let path = f.folder.path().join("new");
    let mut loader = BulkLoader::create(&path, &restored(&f), Head { seq: 50, ..START }, Vec::new(), T0).unwrap();
    f.store
        .snapshot()
        .unwrap()
        .records(None)
        .map(Result::unwrap)
        .for_each(|r| loader.add(&RecordView::of(&r)).unwrap());
    let gone = |n, domain, revision, seconds| {
        let (kind, time) = (Kind::Key, T0.plus_seconds(seconds));
        Tombstone { kind, id: id(n), domain, revision, seq: 0, time, name: None }
    };
    // 40 was deleted in both, in B at last; 20 stands in B; 41 is told of twice.
    for gone in [gone(40, B, 5, 9), gone(40, A, 3, 8), gone(20, A, 2, 7), gone(41, A, 4, 2), gone(41, A, 2, 1)] {
        loader.add_tombstone(&gone).unwrap();
    }
    loader.finish().unwrap();
    let new = Store::open(&path, options()).unwrap();
    let found = |n| new.tombstone(Kind::Key, id(n)).unwrap().map(|t| (t.domain, t.revision));
    assert_eq!([found(40), found(20), found(41)], [Some((B, 5)), None, Some((A, 4))]);
    assert_eq!(new.tombstones(Some(A), 0, 9).unwrap().len(), 3);
    assert_eq!(new.check().unwrap().findings, []);
}

#[test]
fn half_a_load_is_no_store() {
    let f = lived();
    let path = f.folder.path().join("new");
    let mut loader = BulkLoader::create(&path, &restored(&f), START, Vec::new(), T0).unwrap();
    let record = f.store.get(A, Kind::Key, id(1)).unwrap().unwrap();
    loader.add(&RecordView::of(&record)).unwrap();
    drop(loader);
    assert!(matches!(Store::open(&path, options()), Err(OpenError::Foreign { .. })));
}

#[test]
fn records_that_do_not_fit_are_refused() {
    let f = lived();
    let records: Vec<Record> = f.store.snapshot().unwrap().records(None).map(Result::unwrap).collect();
    let mut paths = (0..).map(|n| f.folder.path().join(format!("load{n}")));
    let mut load = |records: &[Record]| {
        let mut loader = BulkLoader::create(&paths.next().unwrap(), &identity(), START, Vec::new(), T0)?;
        records.iter().try_for_each(|r| loader.add(&RecordView::of(r)))?;
        loader.finish()
    };
    assert!(matches!(load(&[records[1].clone(), records[0].clone()]), Err(LoadError::Order { .. })));
    assert!(matches!(load(&[records[0].clone(), records[0].clone()]), Err(LoadError::Order { .. })));
    let second = Record { domain: DomainId(Uuid::from_u128(0xff)), ..records[0].clone() };
    assert!(matches!(load(&[records[0].clone(), second]), Err(LoadError::Duplicate)));
    let keys: Vec<&Record> = records.iter().filter(|r| r.kind == Kind::Key).collect();
    let same = Record { header: keys[0].header.clone(), ..keys[1].clone() };
    assert!(matches!(load(&[keys[0].clone(), same]), Err(LoadError::NameTaken { .. })));
    let bad = Record { header: (*b"[").into(), ..records[0].clone() };
    assert!(matches!(load(&[bad]), Err(LoadError::BadHeader { .. })));
}

#[test]
fn switching_keeps_the_old_store_and_nothing_of_its_log_leaks_into_the_new() {
    let f = lived();
    let (path, new, kept) = (f.folder.path().join("db"), f.folder.path().join("new"), f.folder.path().join("old"));
    let mut loader = BulkLoader::create(&new, &restored(&f), START, Vec::new(), T0).unwrap();
    let records: Vec<Record> = f.store.snapshot().unwrap().records(Some(A)).map(Result::unwrap).collect();
    records.iter().for_each(|r| loader.add(&RecordView::of(r)).unwrap());
    loader.finish().unwrap();
    assert!(matches!(switch(&new, &path, &kept), Err(OpenError::InUse { .. })));
    commit(&f.store, A, vec![put(99, 1, "late")]).unwrap();
    drop(f.store);
    switch(&new, &path, &kept).unwrap();
    let store = Store::open(&path, options()).unwrap();
    assert_eq!((key(&store, A, 99), key(&store, B, 20)), (None, None));
    assert_eq!(key(&store, A, 3).unwrap().1, header("three"));
    assert_eq!(store.check().unwrap().findings, []);
    let old = Store::open(&kept, options()).unwrap();
    assert_eq!(key(&old, A, 99).unwrap().0, 1);
    assert_eq!(old.check().unwrap().findings, []);
}
