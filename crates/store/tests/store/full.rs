//! A full disk: the batch is told, nothing is half applied, and the store goes on when there is room.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use keyark_model::Kind;
use keyark_store::{CommitError, Options, Store, Write};

use crate::fixture::{A, commit, delete, fixture_with, id, key, options, put};

fn big(n: u128, revision: u64, bytes: usize) -> Write {
    match put(n, revision, &n.to_string()) {
        Write::Put { kind, id, revision, header, purge, .. } => {
            Write::Put { kind, id, revision, header, body: vec![7; bytes].into(), purge }
        }
        other => other,
    }
}

/// Fills the store until it refuses; gives how many records it took.
fn fill(store: &Store) -> u128 {
    for n in 1..10_000 {
        let head = store.head();
        match commit(store, A, vec![big(n, 1, 9_000), big(n + 1_000_000, 1, 9_000)]) {
            Ok(done) => assert_eq!(done.position.seq, head.seq + 1),
            Err(CommitError::Full(_)) => {
                assert_eq!(store.head(), head);
                assert_eq!(key(store, A, n), None);
                assert_eq!(key(store, A, n + 1_000_000), None);
                return n - 1;
            }
            Err(other) => panic!("{other:?}"),
        }
    }
    panic!("the disk was never full");
}

#[test]
fn a_database_that_may_not_grow_refuses_and_recovers() {
    let f = fixture_with(Options { max_pages: Some(400), ..options() });
    let taken = fill(&f.store);
    assert!(taken > 10);
    assert_eq!(f.store.count(A, Kind::Key).unwrap().records, taken as u64 * 2);
    assert!(matches!(commit(&f.store, A, vec![big(5_000, 1, 90_000)]), Err(CommitError::Full(_))));
    assert_eq!(f.store.check().unwrap().findings, []);
    // Room is made by trimming what superseded records left.
    for n in 1..=taken {
        match commit(&f.store, A, vec![delete(n, 2)]) {
            Ok(_) => {}
            Err(CommitError::Full(_)) => break,
            Err(other) => panic!("{other:?}"),
        }
    }
    f.store.trim(u64::MAX).unwrap();
    commit(&f.store, A, vec![big(5_000, 1, 9_000)]).unwrap();
    assert_eq!(f.store.check().unwrap().findings, []);
}

#[test]
fn commits_stop_at_the_reserve_and_go_on_above_it() {
    let free = Arc::new(AtomicU64::new(100));
    let told = Arc::clone(&free);
    let free_space = Arc::new(move |_: &std::path::Path| Ok(told.load(Ordering::SeqCst)));
    let f = fixture_with(Options { reserve_bytes: 100, free_space, ..options() });
    commit(&f.store, A, vec![put(1, 1, "one")]).unwrap();
    free.store(99, Ordering::SeqCst);
    assert!(matches!(commit(&f.store, A, vec![put(2, 1, "two")]), Err(CommitError::Full(_))));
    assert_eq!(f.store.get(A, Kind::Key, id(2)).unwrap(), None);
    free.store(101, Ordering::SeqCst);
    commit(&f.store, A, vec![put(2, 1, "two")]).unwrap();
}

/// A file system of one megabyte of memory. Mounting needs root and the right to mount.
struct Tiny(tempfile::TempDir);

impl Tiny {
    fn mount() -> Option<Tiny> {
        let folder = tempfile::tempdir().unwrap();
        let mounted = std::process::Command::new("mount")
            .args(["-t", "tmpfs", "-o", "size=2m", "tmpfs"])
            .arg(folder.path())
            .output();
        mounted.is_ok_and(|out| out.status.success()).then_some(Tiny(folder))
    }
}

impl Drop for Tiny {
    fn drop(&mut self) {
        let _ = std::process::Command::new("umount").arg(self.0.path()).output();
    }
}

#[test]
fn a_file_system_that_is_full_refuses_and_recovers() {
    // Where mounting is not allowed the limit on pages above stands for it.
    let Some(tiny) = Tiny::mount() else {
        return a_database_that_may_not_grow_refuses_and_recovers();
    };
    let path = tiny.0.path().join("db");
    let ballast = tiny.0.path().join("ballast");
    std::fs::write(&ballast, vec![1; 900_000]).unwrap();
    let store = Store::create(&path, &crate::fixture::identity(), crate::fixture::T0, options()).unwrap();
    let taken = fill(&store);
    assert_eq!(store.check().unwrap().findings, []);
    std::fs::remove_file(&ballast).unwrap();
    commit(&store, A, vec![big(5_000, 1, 9_000)]).unwrap();
    drop(store);
    let store = Store::open(&path, options()).unwrap();
    assert_eq!(store.count(A, Kind::Key).unwrap().records, taken as u64 * 2 + 1);
    assert_eq!(store.check().unwrap().findings, []);
}
