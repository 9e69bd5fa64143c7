//! What was destroyed leaves the log once it was sent everywhere (rules C5).

use keyark_backup::destination::local::Local;
use keyark_backup::stream::Until;
use keyark_model::system::NodeHeader;
use keyark_model::{ChangeContent, DomainId, Incarnation, Kind, Outcome};
use keyark_server::recover::Origin;
use keyark_store::{Batch, Draft};
use keyark_testkit::TestServer;
use serde_json::json;

use super::{destination, protected};
use crate::support::{backup_key, exported, recovery_from};

#[test]
fn what_was_destroyed_leaves_the_log_once_it_was_sent_everywhere() {
    let folder = tempfile::tempdir().unwrap();
    let server = TestServer::start();
    let file = exported(&server.admin, &backup_key(&server.admin, "system"));
    let (near, far) = (folder.path().join("near"), folder.path().join("far"));
    destination(&server, "near", &near);
    destination(&server, "far", &far);
    protected(&server.admin, "system", &["near", "far"]);
    server.protect();
    server.advance(10);
    server.admin.key(json!({ "name": "k" }));
    let ciphertext = server.admin.encrypt("k", "old data");
    let before = server.now();
    std::fs::rename(&far, folder.path().join("away")).unwrap();
    server.advance(10);
    server.admin.post("/v1/vault/keys2/k/destroy", json!({ "confirm": "k" })).ok(200);
    server.protect();
    server.tick();
    // What the log still has of the key: its revision with material, or only that it was there.
    let held = || {
        let core = server.app().core().unwrap();
        let entries = core.store.entries(0, 10_000, None).unwrap();
        let of_keys = entries.iter().flat_map(|e| &e.changes).filter(|c| c.kind == Kind::Key);
        of_keys.filter(|c| c.revision == 1 && c.content != ChangeContent::Withheld).count()
    };
    assert_eq!(held(), 1, "one destination does not have it yet");
    std::fs::rename(folder.path().join("away"), &far).unwrap();
    server.advance(400);
    server.protect();
    server.tick();
    assert_eq!(held(), 0);
    drop(server);
    // Each destination brings the key back to a moment when it was there.
    for (name, path) in [("a", &near), ("b", &far)] {
        let (place, data) = (Local::open(path).unwrap(), folder.path().join(name));
        recovery_from(&data, Origin::Stream { destination: &place, until: Until::Time(before) }, &file).unwrap();
        assert_eq!(TestServer::start_again(&data).admin.decrypt(&ciphertext), "old data");
    }
}

#[test]
fn a_start_looks_for_what_was_destroyed_from_its_mark_on() {
    let folder = tempfile::tempdir().unwrap();
    let mut server = TestServer::start();
    backup_key(&server.admin, "system");
    destination(&server, "nas", &folder.path().join("there"));
    protected(&server.admin, "system", &["nas"]);
    let sent = |server: &TestServer| {
        server.advance(10);
        server.admin.renew();
        server.protect();
        server.tick();
    };
    let core = server.app().core().unwrap();
    for _ in 0..10 {
        let draft = || Draft {
            domain: DomainId::ROOT,
            actor: "system".into(),
            request_id: String::new(),
            action: "noise".into(),
            target: String::new(),
            outcome: Outcome::Success,
            changes: vec![],
        };
        let entries = (0..1000).map(|_| draft()).collect();
        core.store.commit(Batch { must: vec![], entries }, server.now()).unwrap();
    }
    let life = core.incarnation;
    drop(core);
    sent(&server);
    let mark = |server: &TestServer| {
        let core = server.app().core().unwrap();
        core.load_named::<NodeHeader>(DomainId::ROOT, "purged").unwrap().header.public.clone()
    };
    let upto: u64 = mark(&server).strip_prefix(&format!("{life} ")).unwrap().parse().unwrap();
    assert!(upto >= 10_000);
    // Whether the log still has the material of a key that was destroyed.
    let kept = |server: &TestServer, name: &str| {
        server.admin.key(json!({ "name": name }));
        server.admin.post(&format!("/v1/vault/keys2/{name}/destroy"), json!({ "confirm": name })).ok(200);
        sent(server);
        let entries = server.app().core().unwrap().store.entries(upto, 10_000, None).unwrap();
        let mut of_keys = entries.iter().flat_map(|e| &e.changes).filter(|c| c.kind == Kind::Key && c.revision == 1);
        of_keys.any(|c| c.content != ChangeContent::Withheld)
    };
    server.restart();
    assert!(!kept(&server, "a"));
    // One of this life counts, whatever it says; one of another life does not.
    for (life, name, stays) in [(life, "b", true), (Incarnation::from_bytes([7; 16]), "c", false)] {
        let core = server.app().core().unwrap();
        let stored = core.load_named::<NodeHeader>(DomainId::ROOT, "purged").unwrap();
        let header = NodeHeader { name: "purged".into(), public: format!("{life} 1000000") };
        let write = core.put_header(&stored, &header).unwrap();
        core.commit_as_system(server.now(), DomainId::ROOT, "test", vec![], vec![write]).unwrap();
        drop(core);
        server.restart();
        assert_eq!(kept(&server, name), stays, "{name}");
    }
}
