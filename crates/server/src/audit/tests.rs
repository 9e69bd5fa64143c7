//! The usage log: chained, listed, kept apart by domain, trimmed, never lost while there is room.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use keyark_model::{Digest, DomainId, Id, Time};

use super::file::BATCH;
use super::queue::CAPACITY;
use super::{Head, Named, Room, UsageError, UsageLog, UsageQuery, UsageRecord};

const OTHER: DomainId = DomainId(uuid::Uuid::from_u128(7));

fn room() -> Room {
    Room { reserve: 0, free_space: Arc::new(|_: &Path| Ok(u64::MAX)) }
}

fn open(path: &Path) -> UsageLog {
    UsageLog::open(path, false, room()).unwrap()
}

fn record(n: i64, domain: DomainId) -> UsageRecord {
    UsageRecord {
        time: Time(n * 1_000_000),
        domain,
        actor: Named::Id(Id::from_bytes([n as u8; 16])),
        action: "encrypt".into(),
        target: Named::text(&format!("key{n}")),
        success: n % 2 == 0,
        code: 0,
        request_id: format!("r{n}"),
        source: None,
    }
}

fn all() -> UsageQuery {
    UsageQuery { limit: 100_000, ..UsageQuery::default() }
}

fn positions(log: &UsageLog, domain: DomainId, query: &UsageQuery) -> Vec<u64> {
    log.list(domain, query).unwrap().into_iter().map(|(position, _)| position).collect()
}

fn folder() -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("usage.db");
    (folder, path)
}

#[tokio::test]
async fn records_come_back_newest_first_and_each_domain_sees_its_own() {
    let (_folder, path) = folder();
    let log = open(&path);
    for n in 1..=6 {
        log.record(record(n, if n % 3 == 0 { OTHER } else { DomainId::ROOT })).await.unwrap();
    }
    log.flush().await.unwrap();
    assert_eq!(positions(&log, DomainId::ROOT, &all()), [5, 4, 2, 1]);
    assert_eq!(positions(&log, OTHER, &all()), [6, 3]);
    assert_eq!(log.list(OTHER, &all()).unwrap()[0].1, record(6, OTHER));
    let root = |query: UsageQuery| positions(&log, DomainId::ROOT, &query);
    assert_eq!(root(UsageQuery { limit: 2, ..all() }), [5, 4]);
    assert_eq!(root(UsageQuery { before: Some(4), ..all() }), [2, 1]);
    assert_eq!(root(UsageQuery { success: Some(false), ..all() }), [5, 1]);
    assert_eq!(root(UsageQuery { target: Some("key2".into()), ..all() }), [2]);
    assert_eq!(root(UsageQuery { actor: Some(Id::from_bytes([4; 16])), ..all() }), [4]);
    assert_eq!(root(UsageQuery { action: Some("decrypt".into()), ..all() }), [0; 0]);
    assert_eq!(root(UsageQuery { since: Some(Time(4_000_000)), ..all() }), [5, 4]);
}

#[tokio::test]
async fn the_chain_goes_on_after_a_stop_and_holds_what_waited() {
    let (folder, path) = folder();
    let log = open(&path);
    log.record(record(1, OTHER)).await.unwrap();
    log.flush().await.unwrap();
    let early = log.head();
    log.record(record(2, OTHER)).await.unwrap();
    let anchor = log.anchor(early);
    drop(log);
    let log = open(&path);
    assert_eq!(log.head().position, 2);
    assert_eq!(log.anchor_read(&anchor), Some(early));
    assert_eq!(open(&folder.path().join("another.db")).anchor_read(&anchor), None);
    log.record(record(3, OTHER)).await.unwrap();
    log.flush().await.unwrap();
    assert_eq!(log.verify(&[early, log.head()]), Ok(None));
    assert_eq!(positions(&log, OTHER, &all()), [3, 2, 1]);
}

#[tokio::test]
async fn more_than_a_batch_is_split_and_chained() {
    let (_folder, path) = folder();
    let log = open(&path);
    let many = 2 * BATCH as i64 + 5;
    for n in 0..many {
        log.record(record(n, OTHER)).await.unwrap();
    }
    log.flush().await.unwrap();
    assert_eq!((log.head().position, log.lost()), (many as u64, 0));
    assert_eq!(log.verify(&[]), Ok(None));
    assert_eq!(positions(&log, OTHER, &UsageQuery { limit: 2, ..all() }), [many as u64, many as u64 - 1]);
}

#[tokio::test]
async fn whatever_is_altered_cut_or_replaced_is_found() {
    let (_folder, path) = folder();
    let log = open(&path);
    let mut heads = Vec::new();
    for n in 1..=3 {
        log.record(record(n, OTHER)).await.unwrap();
        log.flush().await.unwrap();
        heads.push(log.head());
    }
    let sql = |text: &str| rusqlite::Connection::open(&path).unwrap().execute_batch(text).unwrap();
    let forged = Head { position: 2, hash: Digest([9; 32]) };
    assert_eq!(log.verify(&[forged]), Ok(Some(2)), "the change log knows another hash");
    let conn = rusqlite::Connection::open(&path).unwrap();
    let read = |r: &rusqlite::Row<'_>| r.get::<_, Vec<u8>>(0);
    let mut bytes = conn.query_row("SELECT records FROM batch WHERE first = 2", [], read).unwrap();
    let last = bytes.len() - 2;
    bytes[last] ^= 1;
    conn.execute("UPDATE batch SET records = ?1 WHERE first = 2", [&bytes]).unwrap();
    assert_eq!(log.verify(&[]), Ok(Some(2)), "a request id was changed");
    sql("DELETE FROM batch WHERE first = 2");
    assert_eq!(log.verify(&heads), Ok(Some(2)), "a batch is missing");
    sql("DELETE FROM batch WHERE first = 3");
    assert_eq!(log.verify(&[]), Ok(None), "a shorter chain is a chain");
    assert_eq!(log.verify(&heads), Ok(Some(2)), "the change log knows that there was more");
}

#[tokio::test]
async fn retention_drops_the_oldest_and_the_rest_still_verifies() {
    let (_folder, path) = folder();
    let log = open(&path);
    let mut heads = Vec::new();
    for n in 1..=4 {
        log.record(record(n, OTHER)).await.unwrap();
        log.flush().await.unwrap();
        heads.push(log.head());
    }
    assert_eq!(log.trim(Time(3_000_000)), Ok(2));
    assert_eq!(log.trim(Time(3_000_000)), Ok(0));
    assert_eq!(positions(&log, OTHER, &all()), [4, 3]);
    assert_eq!(log.verify(&heads), Ok(None));
    assert_eq!(log.trim(Time(i64::MAX)), Ok(2));
    log.record(record(5, OTHER)).await.unwrap();
    log.flush().await.unwrap();
    assert_eq!(log.verify(&heads), Ok(None));
    assert_eq!(positions(&log, OTHER, &all()), [5]);
    drop(log);
    assert_eq!(open(&path).head().position, 5);
}

#[tokio::test]
async fn a_full_disk_is_an_error_before_the_answer_and_no_loss_in_batches() {
    let (_folder, path) = folder();
    let free = Arc::new(AtomicU64::new(0));
    let told = Arc::clone(&free);
    let tight = Room { reserve: 100, free_space: Arc::new(move |_: &Path| Ok(told.load(Ordering::SeqCst))) };
    let log = UsageLog::open(&path, true, tight.clone()).unwrap();
    assert_eq!(log.record(record(1, OTHER)).await, Err(UsageError::Full));
    free.store(1000, Ordering::SeqCst);
    assert_eq!(log.record(record(2, OTHER)).await, Ok(()));
    assert_eq!(log.head().position, 2, "the first one was kept and written when there was room");
    drop(log);
    free.store(0, Ordering::SeqCst);
    let log = UsageLog::open(&path, false, tight).unwrap();
    assert_eq!(log.record(record(3, OTHER)).await, Ok(()));
    free.store(1000, Ordering::SeqCst);
    drop(log);
    assert_eq!(open(&path).head().position, 3);
}

#[tokio::test]
async fn without_room_a_record_is_given_up_after_a_moment_and_counted() {
    let (_folder, path) = folder();
    let stuck = Room { reserve: 100, free_space: Arc::new(|_: &Path| Ok(0)) };
    let log = UsageLog::open(&path, false, stuck).unwrap();
    // Three times what is taken over while the disk is full, and one queue.
    for n in 0..4 * CAPACITY as i64 + 1 {
        log.record(record(n, OTHER)).await.unwrap();
        if log.lost() > 0 {
            return;
        }
    }
    panic!("a queue without end");
}

#[test]
fn files_of_others_and_of_later_versions_are_refused() {
    let (_folder, path) = folder();
    drop(open(&path));
    rusqlite::Connection::open(&path).unwrap().execute_batch("PRAGMA user_version = 9").unwrap();
    assert!(matches!(UsageLog::open(&path, false, room()), Err(UsageError::Newer { .. })));
    std::fs::write(&path, "This is no database, and long enough that SQLite looks at its header: ".repeat(20)).unwrap();
    assert!(matches!(UsageLog::open(&path, false, room()), Err(UsageError::Damaged(_))));
}
