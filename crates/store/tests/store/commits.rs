//! What a commit accepts, what it refuses, and what can be read after.

use std::ops::ControlFlow;
use std::sync::mpsc::channel;

use keyark_model::{ChangeContent, Kind, Time};
use keyark_store::{Batch, CommitError, Must, Page, Store, Write};

use crate::fixture::{A, B, T0, batch, commit, delete, draft, fixture, header, id, key, put, put_kind, with_must};

#[test]
fn a_record_is_read_back_as_it_was_put() {
    let f = fixture();
    let done = commit(&f.store, A, vec![put(1, 1, "one")]).unwrap();
    assert_eq!((done.first, done.position.seq), (1, 1));
    assert_eq!(f.store.head().seq, 1);
    let record = f.store.get(A, Kind::Key, id(1)).unwrap().unwrap();
    assert_eq!((record.domain, record.kind, record.id, record.revision, record.seq), (A, Kind::Key, id(1), 1, 1));
    assert_eq!(record.time, done.time);
    assert_eq!(&*record.header, header("one").as_bytes());
    assert_eq!(f.store.get_any(Kind::Key, id(1)).unwrap(), Some(record.clone()));
    assert_eq!(f.store.find(A, Kind::Key, "one").unwrap(), Some(record.clone()));
    assert_eq!(f.store.get(B, Kind::Key, id(1)).unwrap(), None);
    assert_eq!(f.store.get(A, Kind::Secret, id(1)).unwrap(), None);
    let f = f.reopen();
    assert_eq!(f.store.get(A, Kind::Key, id(1)).unwrap(), Some(record));
    assert_eq!(f.store.head().hash, done.hash);
}

#[test]
fn batches_that_wait_together_become_durable_together() {
    let f = fixture();
    let (started, writing) = channel();
    let (release, released) = channel::<()>();
    let (tell, told) = channel();
    // The answer to the first holds the writer, so that the others wait behind it.
    let hold = Box::new(move |_| {
        started.send(()).unwrap();
        released.recv().unwrap();
    });
    f.store.submit(batch(A, vec![put(1, 1, "r1")]), T0, hold);
    writing.recv().unwrap();
    for n in 2..=100 {
        let (tell, store) = (tell.clone(), f.store.clone());
        let answer = Box::new(move |done: Result<_, CommitError>| {
            done.unwrap();
            tell.send(store.head().seq).unwrap();
        });
        f.store.submit(batch(A, vec![put(n, 1, &format!("r{n}"))]), T0, answer);
    }
    release.send(()).unwrap();
    drop(tell);
    let heads: Vec<u64> = told.iter().collect();
    assert_eq!(heads, [100; 99], "whoever was answered first sees all of the group on disk");
}

#[test]
fn time_never_goes_back_and_never_stands_still() {
    let f = fixture();
    let first = f.store.commit(batch(A, vec![]), T0).unwrap();
    let same = f.store.commit(batch(A, vec![]), T0).unwrap();
    let back = f.store.commit(batch(A, vec![]), Time(5)).unwrap();
    let later = f.store.commit(batch(A, vec![]), T0.plus_seconds(9)).unwrap();
    assert_eq!((same.time.0 - first.time.0, back.time.0 - same.time.0), (1, 1));
    assert_eq!(later.time, T0.plus_seconds(9));
}

#[test]
fn a_revision_must_follow_on_the_record_or_its_tombstone() {
    let f = fixture();
    let conflict = |changes, current| {
        let expected = CommitError::Conflict { kind: Kind::Key, id: id(1), current };
        assert_eq!(commit(&f.store, A, changes), Err(expected));
    };
    conflict(vec![put(1, 2, "one")], 0);
    conflict(vec![delete(1, 1)], 0);
    commit(&f.store, A, vec![put(1, 1, "one")]).unwrap();
    conflict(vec![put(1, 1, "one")], 1);
    conflict(vec![put(1, 3, "one")], 1);
    conflict(vec![delete(1, 1)], 1);
    commit(&f.store, A, vec![put(1, 2, "uno")]).unwrap();
    commit(&f.store, A, vec![delete(1, 3)]).unwrap();
    assert_eq!(key(&f.store, A, 1), None);
    conflict(vec![delete(1, 4)], 3);
    conflict(vec![put(1, 1, "one")], 3);
    let tombstone = f.store.tombstone(Kind::Key, id(1)).unwrap().unwrap();
    assert_eq!((tombstone.revision, tombstone.seq, tombstone.domain), (3, 3, A));
    assert_eq!(tombstone.name.as_deref(), Some("uno"));
    assert_eq!(f.store.tombstones(Some(A), 0, 9).unwrap(), vec![tombstone]);
    assert_eq!(f.store.tombstones(Some(B), 0, 9).unwrap(), vec![]);
    commit(&f.store, A, vec![put(1, 4, "one")]).unwrap();
    assert_eq!(f.store.tombstone(Kind::Key, id(1)).unwrap(), None);
    assert_eq!(f.store.head().seq, 4, "nothing refused left an entry");
}

#[test]
fn a_record_does_not_move_to_another_domain() {
    let f = fixture();
    commit(&f.store, A, vec![put(1, 1, "one")]).unwrap();
    let elsewhere = Err(CommitError::Elsewhere { kind: Kind::Key, id: id(1) });
    assert_eq!(commit(&f.store, B, vec![put(1, 2, "one")]), elsewhere);
    assert_eq!(commit(&f.store, B, vec![delete(1, 2)]), elsewhere);
    commit(&f.store, B, vec![put_kind(Kind::Secret, 1, 1, "{}")]).unwrap();
}

#[test]
fn names_and_aliases_are_unique_in_a_domain_and_kind() {
    let f = fixture();
    let aliased = |n, revision, name: &str, alias: &str| {
        put_kind(
            Kind::Key,
            n,
            revision,
            &format!(r#"{{"name":"{name}","aliases":["{alias}",{{"alias":"{name}-2"}}]}}"#),
        )
    };
    let taken = |name: &str, by| Err(CommitError::NameTaken { kind: Kind::Key, name: name.into(), by: id(by) });
    commit(&f.store, A, vec![aliased(1, 1, "one", "first")]).unwrap();
    assert_eq!(commit(&f.store, A, vec![put(2, 1, "one")]), taken("one", 1));
    assert_eq!(commit(&f.store, A, vec![put(2, 1, "first")]), taken("first", 1));
    assert_eq!(commit(&f.store, A, vec![put(2, 1, "one-2")]), taken("one-2", 1));
    assert_eq!(commit(&f.store, A, vec![put(2, 1, "two"), put(3, 1, "two")]), taken("two", 2));
    commit(&f.store, B, vec![put(4, 1, "one")]).unwrap();
    commit(&f.store, A, vec![put_kind(Kind::Secret, 5, 1, &header("one"))]).unwrap();
    assert_eq!(f.store.find(A, Kind::Key, "first").unwrap().unwrap().id, id(1));
    // Given up by a change or a delete, a name is free again.
    commit(&f.store, A, vec![put(1, 2, "one")]).unwrap();
    commit(&f.store, A, vec![put(2, 1, "first")]).unwrap();
    commit(&f.store, A, vec![delete(1, 3)]).unwrap();
    commit(&f.store, A, vec![put(3, 1, "one")]).unwrap();
    assert_eq!(f.store.find(A, Kind::Key, "one").unwrap().unwrap().id, id(3));
}

#[test]
fn two_records_swap_their_names_in_one_batch() {
    let f = fixture();
    commit(&f.store, A, vec![put(1, 1, "x"), put(2, 1, "y")]).unwrap();
    commit(&f.store, A, vec![put(1, 2, "y"), put(2, 2, "x")]).unwrap();
    let entries = vec![draft(A, vec![put(1, 3, "x")]), draft(A, vec![put(2, 3, "y")])];
    f.store.commit(Batch { must: vec![], entries }, T0).unwrap();
    assert_eq!(f.store.find(A, Kind::Key, "x").unwrap().unwrap().id, id(1));
    assert_eq!(f.store.find(A, Kind::Key, "y").unwrap().unwrap().id, id(2));
}

#[test]
fn preconditions_are_what_they_say() {
    let f = fixture();
    let (kind, n) = (Kind::Key, id(1));
    let holds = |must: &Must| match f.store.commit(with_must(Batch::default(), must.clone()), T0) {
        Ok(_) => true,
        Err(CommitError::Unmet(unmet)) => {
            assert_eq!(&unmet, must);
            false
        }
        Err(other) => panic!("{other}"),
    };
    let all = [
        Must::Exists { kind, id: n },
        Must::Absent { kind, id: n },
        Must::Unchanged { kind, id: n, revision: 1 },
        Must::Unchanged { kind, id: n, revision: 2 },
        Must::NoneOf { domain: A, kind },
        Must::WeightAtMost { domain: A, kind, limit: 2 },
    ];
    let table = || all.iter().map(&holds).collect::<Vec<_>>();
    assert_eq!(table(), [false, true, false, false, true, true]);
    commit(&f.store, A, vec![put_kind(kind, 1, 1, r#"{"versions":[{},{},{}]}"#)]).unwrap();
    assert_eq!(table(), [true, false, true, false, false, false]);
    commit(&f.store, A, vec![put_kind(kind, 1, 2, r#"{"versions":[{}]}"#)]).unwrap();
    assert_eq!(table(), [true, false, false, true, false, true]);
    commit(&f.store, A, vec![delete(1, 3)]).unwrap();
    assert_eq!(table(), [false, true, false, false, true, true]);
    assert_eq!(f.store.head().seq, 3, "a batch that only asks leaves no entry");
}

#[test]
fn a_quota_counts_the_batch_itself() {
    let f = fixture();
    let quota = |b| with_must(b, Must::WeightAtMost { domain: A, kind: Kind::Key, limit: 3 });
    f.store.commit(quota(batch(A, vec![put(1, 1, "1"), put(2, 1, "2")])), T0).unwrap();
    let over = quota(batch(A, vec![put(3, 1, "3"), put(4, 1, "4")]));
    assert!(matches!(f.store.commit(over, T0), Err(CommitError::Unmet(_))));
    f.store.commit(quota(batch(A, vec![put(3, 1, "3"), put(4, 1, "4"), delete(1, 2)])), T0).unwrap();
    assert_eq!(f.store.count(A, Kind::Key).unwrap().records, 3);
    assert_eq!(f.store.count(A, Kind::Key).unwrap().weight, 3);
    assert_eq!(f.store.count(B, Kind::Key).unwrap().records, 0);
}

#[test]
fn a_batch_that_fails_falls_alone() {
    let f = fixture();
    let (tell, told) = channel();
    // All are handed in before the first is answered, so most share a transaction.
    for n in 0..200_u128 {
        let name = if n % 3 == 0 { "same".to_string() } else { format!("n{n}") };
        let tell = tell.clone();
        f.store.submit(batch(A, vec![put(n, 1, &name)]), T0, Box::new(move |r| tell.send((n, r.is_ok())).unwrap()));
    }
    drop(tell);
    let answers: Vec<_> = told.iter().collect();
    assert_eq!(answers.len(), 200);
    for (n, ok) in answers {
        assert_eq!(ok, n == 0 || n % 3 != 0, "{n}");
        assert_eq!(key(&f.store, A, n).is_some(), ok);
    }
    assert_eq!(f.store.head().seq, f.store.count(A, Kind::Key).unwrap().records);
}

#[test]
fn a_batch_over_two_domains_is_two_entries_or_none() {
    let f = fixture();
    commit(&f.store, B, vec![put(9, 1, "nine")]).unwrap();
    let both =
        |n| Batch { must: vec![], entries: vec![draft(A, vec![put(1, 1, "one")]), draft(B, vec![put(n, 1, "n")])] };
    assert!(f.store.commit(both(9), T0).is_err());
    assert_eq!(key(&f.store, A, 1), None);
    let done = f.store.commit(both(8), T0).unwrap();
    assert_eq!((done.first, done.position.seq), (2, 3));
    assert_eq!(f.store.domain_head(A).unwrap().domain_seq, 1);
    assert_eq!(f.store.domain_head(B).unwrap().domain_seq, 2);
    assert_eq!(f.store.domains().unwrap(), vec![A, B]);
}

#[test]
fn one_record_is_written_once_in_a_batch() {
    let f = fixture();
    let twice = Err(CommitError::Twice { kind: Kind::Key, id: id(1) });
    assert_eq!(commit(&f.store, A, vec![put(1, 1, "a"), put(1, 2, "a")]), twice);
    let bad = Err(CommitError::BadHeader { kind: Kind::Key, id: id(1) });
    assert_eq!(commit(&f.store, A, vec![put_kind(Kind::Key, 1, 1, "[]")]), bad);
}

#[test]
fn a_reseal_keeps_the_revision_and_the_header() {
    let f = fixture();
    let reseal = |revision| Write::Reseal { kind: Kind::Key, id: id(1), revision, body: (*b"again").into() };
    assert!(commit(&f.store, A, vec![reseal(0)]).is_err());
    commit(&f.store, A, vec![put(1, 1, "one")]).unwrap();
    let before = f.store.digest(A).unwrap();
    assert!(commit(&f.store, A, vec![reseal(2)]).is_err());
    commit(&f.store, A, vec![reseal(1)]).unwrap();
    assert_eq!(key(&f.store, A, 1), Some((1, header("one"), "again".into())));
    assert_ne!(f.store.digest(A).unwrap(), before);
    let entries = f.store.entries(0, 9, None).unwrap();
    let bodies: Vec<_> = entries.iter().flat_map(|e| &e.changes).map(|c| (c.revision, c.content.clone())).collect();
    let of =
        |body: &str| ChangeContent::Put { header: header("one").into_bytes().into(), body: body.as_bytes().into() };
    assert_eq!(bodies, [(1, of("sealed 1 1")), (1, of("again"))]);
}

#[test]
fn pages_go_both_ways_and_resume() {
    let f = fixture();
    commit(&f.store, A, (1..=10).rev().map(|n| put(n, 1, &format!("n{n}"))).collect()).unwrap();
    commit(&f.store, B, vec![put(11, 1, "n11")]).unwrap();
    let page = |after: Option<u128>, skip, limit, newest_first| {
        let page = Page { after: after.map(id), skip, limit, newest_first };
        let found = f.store.page(A, Kind::Key, &page).unwrap();
        found.iter().map(|r| r.id.0.as_u128()).collect::<Vec<_>>()
    };
    assert_eq!(page(None, 0, 3, false), [1, 2, 3]);
    assert_eq!(page(Some(3), 1, 3, false), [5, 6, 7]);
    assert_eq!(page(None, 0, 3, true), [10, 9, 8]);
    assert_eq!(page(Some(8), 2, 99, true), [5, 4, 3, 2, 1]);
    assert_eq!(page(None, 10, 99, false), []);
    let mut seen = Vec::new();
    f.store
        .scan(A, Kind::Key, |r| {
            seen.push(r.id.0.as_u128());
            if seen.len() == 4 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        })
        .unwrap();
    assert_eq!(seen, [1, 2, 3, 4]);
}

#[test]
fn what_was_handed_in_before_the_last_handle_went_is_committed() {
    let f = fixture();
    let (tell, told) = channel();
    for n in 0..50 {
        let tell = tell.clone();
        f.store.submit(batch(A, vec![put(n, 1, &n.to_string())]), T0, Box::new(move |r| tell.send(r.is_ok()).unwrap()));
    }
    let path = f.folder.path().join("db");
    drop(f.store);
    assert_eq!(told.try_iter().filter(|ok| *ok).count(), 50);
    let store = Store::open(&path, crate::fixture::options()).unwrap();
    assert_eq!(store.count(A, Kind::Key).unwrap().records, 50);
}
