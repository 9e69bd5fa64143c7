//! One suite for every log under the store: what holds for SQLite's own holds for a shared one.

use std::sync::mpsc::channel;

use keyark_crypto::chain::hash_entry;
use keyark_model::{Digest, Entry, Kind};
use keyark_store::{AppendError, CommitError, Fault, Head, Log, LogError, MemoryLog, Must, Projection, Store};
use tempfile::TempDir;

use crate::fixture::{A, B, T0, batch, commit, delete, fixture, header, id, identity, key, options, put, with_must};

/// A log under test: each call gives another node on the same log (the same node, where a log has only one).
struct Harness {
    folder: TempDir,
    shared: Option<MemoryLog>,
    nodes: usize,
}

impl Harness {
    fn sqlite() -> Harness {
        Harness { folder: tempfile::tempdir().unwrap(), shared: None, nodes: 0 }
    }

    fn memory() -> Harness {
        Harness { shared: Some(MemoryLog::new()), ..Harness::sqlite() }
    }

    fn path(&self, node: usize) -> std::path::PathBuf {
        self.folder.path().join(format!("node{node}"))
    }

    fn new_node(&mut self) -> Store {
        let path = self.path(self.nodes);
        self.nodes += 1;
        drop(Store::create(&path, &identity(), T0, options()).unwrap());
        self.open(self.nodes - 1)
    }

    fn open(&self, node: usize) -> Store {
        match &self.shared {
            Some(log) => Store::open_shared(&self.path(node), options(), Box::new(log.clone())).unwrap(),
            None => Store::open(&self.path(node), options()).unwrap(),
        }
    }
}

/// Every property that a log must give to the store on it.
fn suite(harness: impl Fn() -> Harness) {
    entries_form_one_chain(&mut harness());
    a_failed_batch_leaves_nothing(&mut harness());
    a_node_that_comes_back_has_everything(&mut harness());
    many_in_flight_are_each_answered(&mut harness());
    reading_the_log_from_a_store_gives_what_was_committed(&mut harness());
}

#[test]
fn the_embedded_log_conforms() {
    suite(Harness::sqlite);
}

#[test]
fn the_log_in_memory_conforms() {
    suite(Harness::memory);
}

fn entries_form_one_chain(h: &mut Harness) {
    let store = h.new_node();
    for n in 1..=20 {
        commit(&store, if n % 3 == 0 { B } else { A }, vec![put(n, 1, &n.to_string())]).unwrap();
    }
    check_chain(&store, 20);
}

fn check_chain(store: &Store, count: usize) {
    let entries = store.entries(0, 999, None).unwrap();
    assert_eq!(entries.len(), count);
    let (mut prev, mut time) = (Digest::ZERO, T0);
    let mut domains = std::collections::HashMap::new();
    for (n, entry) in entries.iter().enumerate() {
        let domain = domains.entry(entry.domain).or_insert((0, Digest::ZERO));
        assert_eq!((entry.seq, entry.prev), (n as u64 + 1, prev));
        assert_eq!((entry.domain_seq, entry.domain_prev), (domain.0 + 1, domain.1));
        assert!(entry.time > time);
        let hashes = hash_entry(entry);
        (prev, time, *domain) = (hashes.global, entry.time, (entry.domain_seq, hashes.domain));
        keyark_crypto::chain::check_changes(entry).unwrap();
    }
    assert_eq!(store.head(), Head { seq: count as u64, hash: prev, time });
    for (domain, (seq, hash)) in domains {
        let head = store.domain_head(domain).unwrap();
        assert_eq!((head.domain_seq, head.hash), (seq, hash));
        let own = store.entries(0, 999, Some(domain)).unwrap();
        let expected: Vec<_> = entries.iter().filter(|e| e.domain == domain).cloned().collect();
        assert_eq!(own, expected);
        let tail: Vec<_> = expected.iter().filter(|e| e.seq > 7).take(2).cloned().collect();
        assert_eq!(store.entries(7, 2, Some(domain)).unwrap(), tail);
    }
    assert_eq!(store.check().unwrap().findings, []);
}

fn a_failed_batch_leaves_nothing(h: &mut Harness) {
    let store = h.new_node();
    commit(&store, A, vec![put(1, 1, "one")]).unwrap();
    let head = store.head();
    assert!(commit(&store, A, vec![put(2, 1, "two"), put(3, 9, "three")]).is_err());
    assert!(
        store
            .commit(with_must(batch(A, vec![put(2, 1, "two")]), Must::NoneOf { domain: A, kind: Kind::Key }), T0)
            .is_err()
    );
    assert_eq!(store.head(), head);
    assert_eq!(key(&store, A, 2), None);
    assert_eq!(store.count(A, Kind::Key).unwrap().records, 1);
    commit(&store, A, vec![put(2, 1, "two")]).unwrap();
    check_chain(&store, 2);
}

fn a_node_that_comes_back_has_everything(h: &mut Harness) {
    let store = h.new_node();
    commit(&store, A, vec![put(1, 1, "one"), put(2, 1, "two")]).unwrap();
    commit(&store, A, vec![delete(2, 2), put(1, 2, "uno")]).unwrap();
    let (head, digest) = (store.head(), store.digest(A).unwrap());
    drop(store);
    let store = h.open(0);
    assert_eq!((store.head(), store.digest(A).unwrap()), (head, digest));
    assert_eq!(key(&store, A, 1).unwrap().1, header("uno"));
    commit(&store, A, vec![put(2, 3, "two")]).unwrap();
    check_chain(&store, 3);
}

fn many_in_flight_are_each_answered(h: &mut Harness) {
    let store = h.new_node();
    let (tell, told) = channel();
    for n in 0..300 {
        let tell = tell.clone();
        store.submit(
            batch(A, vec![put(n, 1, &n.to_string())]),
            T0,
            Box::new(move |r| tell.send((n, r.unwrap())).unwrap()),
        );
    }
    drop(tell);
    let mut seqs: Vec<u64> = told
        .iter()
        .map(|(n, done)| {
            assert_eq!(store.get(A, Kind::Key, id(n)).unwrap().unwrap().seq, done.position.seq);
            done.position.seq
        })
        .collect();
    seqs.sort_unstable();
    assert_eq!(seqs, (1..=300).collect::<Vec<_>>());
}

fn reading_the_log_from_a_store_gives_what_was_committed(h: &mut Harness) {
    let store = h.new_node();
    for n in 1..=9 {
        commit(&store, A, vec![put(n, 1, &n.to_string())]).unwrap();
    }
    if let Some(log) = &mut h.shared {
        assert_eq!(log.read_from(0, 99).unwrap(), store.entries(0, 99, None).unwrap());
        assert_eq!(log.read_from(4, 2).unwrap(), store.entries(4, 2, None).unwrap());
        assert_eq!(log.head().unwrap(), store.head());
    }
    assert_eq!(store.entries(9, 99, None).unwrap(), []);
}

/// A projection that only tells whether it was asked to commit.
#[derive(Default)]
struct Counted(usize);

impl Projection for Counted {
    fn commit(&mut self) -> Result<(), Fault> {
        self.0 += 1;
        Ok(())
    }
}

#[test]
fn an_append_behind_the_head_is_a_conflict_and_appends_nothing() {
    let f = fixture();
    commit(&f.store, A, vec![put(1, 1, "one")]).unwrap();
    commit(&f.store, A, vec![put(2, 1, "two")]).unwrap();
    let entries: Vec<Entry> = f.store.entries(0, 9, None).unwrap();
    let mut log = MemoryLog::new();
    let (start, mut projection) = (log.head().unwrap(), Counted::default());
    log.append(&start, &entries[..1], &mut projection).unwrap();
    let head = log.head().unwrap();
    assert_eq!((head.seq, projection.0), (1, 1));
    assert_eq!(log.append(&start, &entries[1..], &mut projection), Err(AppendError::Conflict(head)));
    assert_eq!((log.head().unwrap(), projection.0), (head, 1));
    log.append(&head, &entries[1..], &mut projection).unwrap();
    assert_eq!(log.read_from(0, 9).unwrap(), entries);
}

#[test]
fn two_nodes_on_one_log_see_each_other_and_agree() {
    let mut h = Harness::memory();
    let (one, two) = (h.new_node(), h.new_node());
    for n in 0..40_u128 {
        let store = if n % 2 == 0 { &one } else { &two };
        commit(store, if n % 5 == 0 { B } else { A }, vec![put(n, 1, &n.to_string())]).unwrap();
    }
    // Two does not know of the last change of One, and is told so only after reading it.
    commit(&one, A, vec![put(1, 2, "mine")]).unwrap();
    assert_eq!(
        commit(&two, A, vec![put(1, 2, "yours")]),
        Err(CommitError::Conflict { kind: Kind::Key, id: id(1), current: 2 })
    );
    assert!(matches!(commit(&two, A, vec![put(99, 1, "mine")]), Err(CommitError::NameTaken { .. })));
    commit(&two, A, vec![delete(1, 3)]).unwrap();
    assert_eq!(one.catch_up().unwrap(), two.head());
    assert_eq!(one.head(), two.head());
    assert_eq!(one.entries(0, 99, None).unwrap(), two.entries(0, 99, None).unwrap());
    for domain in [A, B] {
        assert_eq!(one.digest(domain).unwrap(), two.digest(domain).unwrap());
    }
    check_chain(&one, 42);
    check_chain(&two, 42);
}

#[test]
fn two_nodes_that_race_lose_nothing() {
    let mut h = Harness::memory();
    let stores = [h.new_node(), h.new_node()];
    std::thread::scope(|s| {
        for (node, store) in stores.iter().enumerate() {
            s.spawn(move || {
                for n in 0..100 {
                    let n = n * 2 + node as u128;
                    commit(store, A, vec![put(n, 1, &n.to_string())]).unwrap();
                }
            });
        }
    });
    for store in &stores {
        store.catch_up().unwrap();
        check_chain(store, 200);
    }
}

#[test]
fn a_lost_answer_of_the_shared_log_is_found_out() {
    let mut h = Harness::memory();
    let store = h.new_node();
    let log = h.shared.clone().unwrap();
    log.lose_answers(1);
    let done = commit(&store, A, vec![put(1, 1, "one")]).unwrap();
    assert_eq!(done.position.seq, 1);
    assert_eq!(key(&store, A, 1).unwrap().0, 1);
    commit(&store, A, vec![put(1, 2, "one")]).unwrap();
    check_chain(&store, 2);
}

#[test]
fn a_log_that_is_not_the_one_followed_is_refused() {
    let mut h = Harness::memory();
    let store = h.new_node();
    commit(&store, A, vec![put(1, 1, "one")]).unwrap();
    drop(store);
    // The same place in another log.
    let other = fixture();
    commit(&other.store, A, vec![put(1, 1, "other")]).unwrap();
    commit(&other.store, A, vec![put(2, 1, "two")]).unwrap();
    let entries = other.store.entries(0, 9, None).unwrap();
    let mut forged = MemoryLog::new();
    let start = forged.head().unwrap();
    forged.append(&start, &entries, &mut Counted::default()).unwrap();
    let refused = Store::open_shared(&h.path(0), options(), Box::new(forged));
    let Err(error) = refused else { panic!("a forked log was followed") };
    assert!(matches!(error, keyark_store::OpenError::Log(LogError::Forked(_))), "{error}");
}
