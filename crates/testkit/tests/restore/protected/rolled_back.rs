//! A machine that comes up with yesterday's disk finds itself behind what it sent, and waits for a person.

use std::path::Path;
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use keyark_api::ErrorCode;
use keyark_backup::destination::local::Local;
use keyark_backup::stream::Until;
use keyark_server::protection::LOOK_LONGEST;
use keyark_server::recover::Origin;
use keyark_testkit::TestServer;
use keyark_testkit::client::text;
use keyark_testkit::proxy::Proxy;
use keyark_testkit::s3::{self, S3Server};
use serde_json::json;

use super::{destination, instance, protected};
use crate::support::{backup_key, exported, key_names, recovery_from, restore_any, take_any};

/// Copies the store's files; those that are not there any more go.
fn store_copied(from: &Path, into: &Path) {
    std::fs::create_dir_all(into).unwrap();
    for name in ["store.db", "store.db-wal", "store.db-shm"] {
        let _ = std::fs::remove_file(into.join(name));
        if from.join(name).exists() {
            std::fs::copy(from.join(name), into.join(name)).unwrap();
        }
    }
}

#[test]
fn a_store_set_back_refuses_writes_until_a_person_decides() {
    let folder = tempfile::tempdir().unwrap();
    let (there, older) = (folder.path().join("there"), folder.path().join("older"));
    let mut server = TestServer::start();
    let file = exported(&server.admin, &backup_key(&server.admin, "system"));
    destination(&server, "nas", &there);
    let id = protected(&server.admin, "system", &["nas"]);
    server.admin.key(json!({ "name": "k" }));
    let ciphertext = server.admin.encrypt("k", "old data");
    server.protect();
    server.stop();
    store_copied(&server.settings.data, &older);
    server.restart();
    server.admin.key(json!({ "name": "later" }));
    server.advance(10);
    server.protect();
    let lives =
        || std::fs::read_dir(std::fs::read_dir(&there).unwrap().next().unwrap().unwrap().path()).unwrap().count();
    assert_eq!(lives(), 2, "owner marks and one life");
    server.stop();
    store_copied(&older, &server.settings.data);
    server.restart();

    // The first write already: nothing was sent since the start.
    let refused = server.admin.post("/v1/vault/keys2", json!({ "name": "new" }));
    refused.fails(ErrorCode::StoreRolledBack, "set back to an older state");
    server.admin.delete("/v1/vault/keys2/k?confirm=k").fails(ErrorCode::StoreRolledBack, "wait for a decision");
    // Reads and cryptography go on, and it is said wherever somebody looks.
    assert_eq!(key_names(&server.admin), ["k"]);
    assert_eq!(server.admin.decrypt(&ciphertext), "old data");
    server.admin.encrypt("k", "more data");
    let alarms = server.admin.get("/v1/system/alarms").ok(200).to_string();
    assert!(alarms.contains("store_rolled_back"), "{alarms}");
    assert!(server.admin.get("/v1/system/services/status").ok(200).to_string().contains("read_only"));
    // A start forgets nothing: the destination says it again.
    server.restart();
    server
        .admin
        .post("/v1/vault/keys2", json!({ "name": "new" }))
        .fails(ErrorCode::StoreRolledBack, "wait for a decision");

    // The decision: this state counts, what the stream has beyond it is left behind.
    let backup = text(&take_any(&server.admin, json!({ "scope": "system" })), "id");
    restore_any(&server.admin, &backup, json!({ "confirm": "system" }));
    server.admin.renew();
    server.admin.post("/v1/system/activate", json!({ "confirm": "activate" })).ok(200);
    server.admin.key(json!({ "name": "new" }));
    server.advance(10);
    assert_eq!(server.protect(), 1);
    let shown = instance(&server.admin, &id);
    assert_eq!(shown["destinations"][0].get("error"), None, "{shown}");
    assert_eq!(lives(), 3);
    drop(server);
    let data = folder.path().join("new");
    let place = Local::open(&there).unwrap();
    recovery_from(&data, Origin::Stream { destination: &place, until: Until::Newest }, &file).unwrap();
    let again = TestServer::start_again(&data);
    assert_eq!(key_names(&again.admin), ["k", "new"]);
    assert_eq!(again.admin.decrypt(&ciphertext), "old data");
}

#[test]
fn what_a_store_set_back_has_lost_comes_back_from_its_stream() {
    let folder = tempfile::tempdir().unwrap();
    let (there, older) = (folder.path().join("there"), folder.path().join("older"));
    let mut server = TestServer::start();
    backup_key(&server.admin, "system");
    destination(&server, "nas", &there);
    let id = protected(&server.admin, "system", &["nas"]);
    server.protect();
    server.stop();
    store_copied(&server.settings.data, &older);
    server.restart();
    server.admin.key(json!({ "name": "later" }));
    server.advance(10);
    server.protect();
    server.stop();
    store_copied(&older, &server.settings.data);
    server.restart();
    let extract = server.admin.post(&format!("/v1/backup-instances/{id}/backups"), json!({})).ok(202);
    crate::support::job_ended(&server.admin, &text(&extract, "jobId"));
    restore_any(&server.admin, &text(&extract, "id"), json!({ "confirm": "system" }));
    server.admin.renew();
    assert_eq!(key_names(&server.admin), ["later"]);
    server.admin.key(json!({ "name": "and on" }));
}

/// In front of a server: while it is shut, requests arrive and nobody answers them.
#[derive(Clone, Default)]
struct Gate(Arc<(Mutex<bool>, Condvar)>);

impl Gate {
    fn shut(&self, shut: bool) {
        *self.0.0.lock().unwrap() = shut;
        self.0.1.notify_all();
    }

    fn pass(&self) {
        drop(self.0.1.wait_while(self.0.0.lock().unwrap(), |shut| *shut).unwrap());
    }
}

#[test]
fn the_first_write_after_a_start_waits_for_what_destinations_know_and_not_for_long() {
    let folder = tempfile::tempdir().unwrap();
    let older = folder.path().join("older");
    let (bucket, gate) = (S3Server::start(), Gate::default());
    let silent = gate.clone();
    let proxy = Proxy::start(&bucket.endpoint, move |_| {
        silent.pass();
        None
    });
    let mut server = TestServer::start();
    backup_key(&server.admin, "system");
    destination(&server, "nas", &folder.path().join("there"));
    let fields = json!({ "name": "s3", "kind": "s3", "bucket": s3::BUCKET, "endpoint": proxy.endpoint,
        "accessKeyId": s3::ACCESS, "secretAccessKey": s3::SECRET });
    server.admin.post("/v1/destinations", fields).ok(201);
    protected(&server.admin, "system", &["s3", "nas"]);
    assert_eq!(server.protect(), 2);
    server.stop();
    store_copied(&server.settings.data, &older);
    server.restart();
    server.admin.key(json!({ "name": "later" }));
    server.advance(10);
    assert_eq!(server.protect(), 2);
    server.stop();
    let write = |server: &TestServer, name: &str| server.admin.post("/v1/vault/keys2", json!({ "name": name }));

    // One that knows is enough, though the other is silent.
    store_copied(&older, &server.settings.data);
    gate.shut(true);
    let began = Instant::now();
    server.restart();
    write(&server, "new").fails(ErrorCode::StoreRolledBack, "set back to an older state");
    assert!(began.elapsed() < LOOK_LONGEST, "{:?}", began.elapsed());
    gate.shut(false);
    server.stop();

    // The only one that could know is silent: reads are answered meanwhile, and then writes.
    store_copied(&older, &server.settings.data);
    std::fs::rename(folder.path().join("there"), folder.path().join("away")).unwrap();
    gate.shut(true);
    let began = Instant::now();
    server.restart();
    std::thread::scope(|scope| {
        let first = scope.spawn(|| write(&server, "new").ok(201));
        assert!(key_names(&server.admin).is_empty());
        assert!(!first.is_finished() && began.elapsed() < LOOK_LONGEST, "{:?}", began.elapsed());
        first.join().unwrap();
    });
    assert!(began.elapsed() >= LOOK_LONGEST && began.elapsed() < LOOK_LONGEST * 3, "{:?}", began.elapsed());
    let next = Instant::now();
    write(&server, "next").ok(201);
    assert!(next.elapsed() < LOOK_LONGEST, "nothing waits any more");
    // When it answers, it says so.
    gate.shut(false);
    let alarms = || server.admin.get("/v1/system/alarms").ok(200).to_string();
    while !alarms().contains("store_rolled_back") {
        assert!(next.elapsed() < Duration::from_secs(60), "{}", alarms());
        server.advance(1);
        server.protect();
    }
    write(&server, "more").fails(ErrorCode::StoreRolledBack, "wait for a decision");
}
