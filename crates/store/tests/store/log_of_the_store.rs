//! The log behind the records: trimmed, forgotten, purged.

use keyark_crypto::chain::check_changes;
use keyark_model::{ChangeContent, Kind};
use keyark_store::{EntriesError, Fault};

use crate::fixture::{A, B, commit, delete, fixture, id, key, purging, put, put_kind};

/// Whether bytes stand anywhere in the store's files.
fn on_disk(f: &crate::fixture::Fixture, needle: &str) -> bool {
    std::fs::read_dir(f.folder.path()).unwrap().any(|file| {
        let bytes = std::fs::read(file.unwrap().path()).unwrap();
        bytes.windows(needle.len()).any(|w| w == needle.as_bytes())
    })
}

#[test]
fn what_was_destroyed_is_gone_from_the_files_and_the_chain_still_verifies() {
    let f = fixture();
    commit(&f.store, A, vec![put(1, 1, "one"), put(2, 1, "two")]).unwrap();
    commit(&f.store, A, vec![put(1, 2, "one")]).unwrap();
    assert!(on_disk(&f, "sealed 1 1") && on_disk(&f, "sealed 1 2"));
    commit(&f.store, A, vec![purging(put(1, 3, "one"))]).unwrap();
    let contents: Vec<_> = f
        .store
        .entries(0, 9, None)
        .unwrap()
        .into_iter()
        .flat_map(|e| {
            check_changes(&e).unwrap();
            e.changes.into_iter().map(|c| (c.id, c.revision, c.content == ChangeContent::Withheld))
        })
        .collect();
    assert_eq!(contents, [(id(1), 1, true), (id(2), 1, false), (id(1), 2, true), (id(1), 3, false)]);
    assert_eq!(f.store.check().unwrap().findings, []);
    let f = f.reopen();
    assert!(!on_disk(&f, "sealed 1 1") && !on_disk(&f, "sealed 1 2"));
    assert!(on_disk(&f, "sealed 2 1") && on_disk(&f, "sealed 1 3"));
    assert_eq!(f.store.check().unwrap().findings, []);
}

#[test]
fn what_was_deleted_elsewhere_is_destroyed_too() {
    let f = fixture();
    commit(&f.store, A, vec![put(1, 1, "one")]).unwrap();
    commit(&f.store, A, vec![delete(1, 2)]).unwrap();
    commit(&f.store, B, vec![purging(put(1, 3, "one"))]).unwrap();
    let f = f.reopen();
    assert!(!on_disk(&f, "sealed 1 1") && on_disk(&f, "sealed 1 3"));
    assert_eq!(f.store.check().unwrap().findings, []);
}

#[test]
fn a_purge_after_shipping_forgets_earlier_content_only() {
    let f = fixture();
    commit(&f.store, A, vec![put(1, 1, "one")]).unwrap();
    commit(&f.store, A, vec![put(1, 2, "one")]).unwrap();
    f.store.purge(Kind::Key, id(1)).unwrap();
    assert_eq!(key(&f.store, A, 1).unwrap().0, 2);
    let f = f.reopen();
    assert!(!on_disk(&f, "sealed 1 1") && on_disk(&f, "sealed 1 2"));
    assert_eq!(f.store.check().unwrap().findings, []);
}

#[test]
fn trimming_moves_the_base_and_keeps_records_and_audit_fields() {
    let f = fixture();
    for n in 1..=10 {
        commit(&f.store, if n % 2 == 0 { A } else { B }, vec![put(n, 1, &n.to_string())]).unwrap();
        commit(&f.store, if n % 2 == 0 { A } else { B }, vec![put(n, 2, &n.to_string())]).unwrap();
    }
    commit(&f.store, A, vec![delete(2, 3)]).unwrap();
    let (head, digests) = (f.store.head(), [f.store.digest(A).unwrap(), f.store.digest(B).unwrap()]);
    let all = f.store.entries(0, 99, None).unwrap();
    let trimmed = f.store.trim(15).unwrap();
    assert_eq!((trimmed.base.seq, trimmed.done), (15, true));
    assert_eq!(f.store.base().unwrap(), trimmed.base);
    assert!(matches!(f.store.entries(14, 9, None), Err(EntriesError::Trimmed(base)) if base.seq == 15));
    assert_eq!(f.store.entries(15, 99, None).unwrap(), all[15..]);
    assert_eq!(f.store.audit(None, 99, None, false).unwrap().len(), 21);
    assert_eq!(f.store.check().unwrap().findings, []);
    f.store.forget(10).unwrap();
    let audit = f.store.audit(None, 99, None, true).unwrap();
    assert_eq!((audit.len(), audit[0].seq, audit[10].seq), (11, 21, 11));
    assert_eq!(audit[0].changes, [(Kind::Key, id(2), 3, true)]);
    let own: Vec<_> = f.store.audit(Some(15), 99, Some(A), false).unwrap().iter().map(|e| e.seq).collect();
    assert_eq!(own, [16, 19, 20, 21]);
    let f = f.reopen();
    assert_eq!(f.store.head(), head);
    assert_eq!([f.store.digest(A).unwrap(), f.store.digest(B).unwrap()], digests);
    f.store.trim(u64::MAX).unwrap();
    f.store.forget(u64::MAX).unwrap();
    assert_eq!(f.store.audit(None, 99, None, false).unwrap(), []);
    let f = f.reopen();
    assert_eq!(f.store.head(), head);
    assert_eq!(f.store.check().unwrap().findings, []);
    commit(&f.store, A, vec![put(2, 4, "again")]).unwrap();
    assert_eq!(f.store.entries(21, 9, None).unwrap()[0].prev, head.hash);
    assert_eq!(f.store.check().unwrap().findings, []);
}

#[test]
fn kinds_that_are_never_shipped_leave_no_history_and_no_trace_in_the_digest() {
    let f = fixture();
    commit(&f.store, A, vec![put(1, 1, "one")]).unwrap();
    let digest = f.store.digest(A).unwrap();
    commit(&f.store, A, vec![put_kind(Kind::Session, 5, 1, "{}")]).unwrap();
    commit(&f.store, A, vec![put_kind(Kind::Session, 5, 2, "{}")]).unwrap();
    assert_eq!(f.store.digest(A).unwrap(), digest);
    let entries = f.store.entries(1, 9, None).unwrap();
    assert_eq!(entries[0].changes[0].content, ChangeContent::Withheld);
    assert!(matches!(entries[1].changes[0].content, ChangeContent::Put { .. }));
    assert_eq!(f.store.check().unwrap().findings, []);
}

#[test]
fn faults_tell_what_to_do() {
    let full = Fault::Full("database or disk is full".into()).to_string();
    assert!(full.contains("free space"), "{full}");
}
