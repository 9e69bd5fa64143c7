//! Stores in throw-away folders, and short ways to write batches.

use keyark_model::{DomainId, Id, Incarnation, Kind, Outcome, Record, SystemId, Time};
use keyark_store::{Batch, CommitError, Committed, Draft, Identity, Must, Options, Store, Write};
use tempfile::TempDir;
use uuid::Uuid;

pub const T0: Time = Time(1_780_000_000_000_000);
pub const A: DomainId = DomainId(Uuid::from_u128(0xa));
pub const B: DomainId = DomainId(Uuid::from_u128(0xb));

pub struct Fixture {
    pub folder: TempDir,
    pub store: Store,
}

pub fn identity() -> Identity {
    Identity { system: SystemId(Uuid::from_u128(1)), incarnation: Incarnation(Uuid::from_u128(2)), parent: None }
}

pub fn options() -> Options {
    Options { reserve_bytes: 0, ..Options::default() }
}

pub fn fixture() -> Fixture {
    fixture_with(options())
}

pub fn fixture_with(options: Options) -> Fixture {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::create(&folder.path().join("db"), &identity(), T0, options).unwrap();
    Fixture { folder, store }
}

impl Fixture {
    /// Closes the store and opens it again.
    pub fn reopen(self) -> Fixture {
        let Fixture { folder, store } = self;
        drop(store);
        let store = Store::open(&folder.path().join("db"), options()).unwrap();
        Fixture { folder, store }
    }
}

pub fn id(n: u128) -> Id {
    Id(Uuid::from_u128(n))
}

pub fn header(name: &str) -> String {
    format!("{{\"name\":\"{name}\"}}")
}

/// A put of a key whose header is only its name.
pub fn put(n: u128, revision: u64, name: &str) -> Write {
    put_kind(Kind::Key, n, revision, &header(name))
}

pub fn put_kind(kind: Kind, n: u128, revision: u64, header: &str) -> Write {
    let body = format!("sealed {n} {revision}");
    let (header, body) = (header.as_bytes().into(), body.into_bytes().into());
    Write::Put { kind, id: id(n), revision, header, body, purge: false }
}

pub fn purging(write: Write) -> Write {
    match write {
        Write::Put { kind, id, revision, header, body, .. } => {
            Write::Put { kind, id, revision, header, body, purge: true }
        }
        other => other,
    }
}

pub fn delete(n: u128, revision: u64) -> Write {
    Write::Delete { kind: Kind::Key, id: id(n), revision }
}

pub fn draft(domain: DomainId, changes: Vec<Write>) -> Draft {
    Draft {
        domain,
        actor: "local|0190f3a4-0000-7000-8000-000000000001".into(),
        request_id: "r-1".into(),
        action: "key_create".into(),
        target: "k".into(),
        outcome: Outcome::Success,
        changes,
    }
}

pub fn batch(domain: DomainId, changes: Vec<Write>) -> Batch {
    Batch { must: Vec::new(), entries: vec![draft(domain, changes)] }
}

pub fn with_must(mut batch: Batch, must: Must) -> Batch {
    batch.must.push(must);
    batch
}

pub fn commit(store: &Store, domain: DomainId, changes: Vec<Write>) -> Result<Committed, CommitError> {
    store.commit(batch(domain, changes), T0)
}

/// (revision, header, body) of a key.
pub fn key(store: &Store, domain: DomainId, n: u128) -> Option<(u64, String, String)> {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    let Record { revision, header, body, .. } = store.get(domain, Kind::Key, id(n)).unwrap()?;
    Some((revision, text(&header), text(&body)))
}
