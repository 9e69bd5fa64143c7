//! What a store is opened for, and what it is not.

use keyark_store::{OpenError, Options, Store};
use rusqlite::Connection;

use crate::fixture::{A, T0, commit, fixture, identity, options, put};

fn refused(path: &std::path::Path) -> OpenError {
    match Store::open(path, options()) {
        Ok(_) => panic!("it was opened"),
        Err(error) => error,
    }
}

#[test]
fn a_store_in_use_is_refused_and_the_holder_is_named() {
    let f = fixture();
    let path = f.folder.path().join("db");
    let error = refused(&path);
    assert!(matches!(error, OpenError::InUse { .. }));
    let text = error.to_string();
    assert!(text.contains(&format!("process {}", std::process::id())) && text.contains("stop that server"), "{text}");
    let f = f.reopen();
    assert_eq!(f.store.head().seq, 0);
}

#[test]
fn a_store_of_a_newer_version_is_refused_and_the_version_is_named() {
    let f = fixture();
    let path = f.folder.path().join("db");
    drop(f.store);
    let conn = Connection::open(&path).unwrap();
    conn.execute_batch("PRAGMA user_version = 99; UPDATE identity SET written_by = '9.1.2'").unwrap();
    drop(conn);
    let text = refused(&path).to_string();
    assert!(text.contains("schema 99") && text.contains("install Keyark 9.1.2"), "{text}");
}

#[test]
fn what_is_not_a_store_is_not_touched() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("db");
    assert!(matches!(refused(&path), OpenError::Missing { .. }));
    assert!(!path.exists());
    std::fs::write(&path, "a letter to a friend, long enough to be looked at as a database, which it is not").unwrap();
    assert!(matches!(refused(&path), OpenError::Foreign { .. }));
    assert!(matches!(Store::create(&path, &identity(), T0, options()), Err(OpenError::Exists { .. })));
    let other = folder.path().join("other");
    Connection::open(&other).unwrap().execute_batch("CREATE TABLE x (y)").unwrap();
    assert!(matches!(refused(&other), OpenError::Foreign { .. }));
}

#[test]
fn the_identity_stays() {
    let f = fixture();
    assert_eq!(f.store.identity(), identity());
    let f = f.reopen();
    assert_eq!(f.store.identity(), identity());
}

#[test]
fn a_full_queue_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let options = Options { queue_limit: 0, ..options() };
    let store = Store::create(&folder.path().join("db"), &identity(), T0, options).unwrap();
    assert_eq!(commit(&store, A, vec![put(1, 1, "one")]), Err(keyark_store::CommitError::Busy));
    assert_eq!(store.head().seq, 0);
}

#[test]
fn only_the_owner_may_read_the_file() {
    use std::os::unix::fs::PermissionsExt;
    let f = fixture();
    let mode = std::fs::metadata(f.store.path()).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
}
