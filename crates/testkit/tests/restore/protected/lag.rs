//! A destination that is away for long holds nothing back for ever, and gets a full archive when it is back.

use keyark_backup::destination::local::Local;
use keyark_backup::stream::Until;
use keyark_model::{ChangeContent, Kind};
use keyark_server::recover::Origin;
use keyark_testkit::TestServer;
use keyark_testkit::client::text;
use keyark_testkit::ssh::{SshServer, USER};
use serde_json::{Value, json};

use super::{destination, instance, protected, walk};
use crate::support::{backup_key, exported, key_names, recovery_from};

#[test]
fn beyond_the_longest_lag_the_log_waits_no_longer_and_a_full_archive_catches_up() {
    let folder = tempfile::tempdir().unwrap();
    let mut server = TestServer::start();
    let file = exported(&server.admin, &backup_key(&server.admin, "system"));
    let (near, far) = (folder.path().join("near"), folder.path().join("far"));
    destination(&server, "near", &near);
    destination(&server, "far", &far);
    protected(&server.admin, "system", &["near", "far"]);
    server.protect();
    std::fs::rename(&far, folder.path().join("away")).unwrap();
    server.advance(10);
    server.admin.key(json!({ "name": "k" }));
    server.admin.key(json!({ "name": "kept" }));
    server.admin.post("/v1/vault/keys2/k/destroy", json!({ "confirm": "k" })).ok(200);
    let held = |server: &TestServer| {
        let core = server.app().core().unwrap();
        let entries = core.store.entries(0, 10_000, None).unwrap();
        let of_keys = entries.iter().flat_map(|e| &e.changes).filter(|c| c.kind == Kind::Key);
        of_keys.filter(|c| c.revision == 1 && c.content != ChangeContent::Withheld).count()
    };
    let needs_full = |server: &TestServer| {
        server.admin.get("/v1/system/alarms").ok(200).to_string().contains("destination_needs_full")
    };
    server.protect();
    server.advance(71 * 3600);
    server.admin.renew();
    server.protect();
    server.tick();
    assert_eq!((held(&server), needs_full(&server)), (2, false), "it may still come back");
    // A start forgets how far the other one was, and changes nothing.
    server.restart();
    server.protect();
    server.tick();
    assert_eq!(held(&server), 2);
    server.advance(2 * 3600);
    server.admin.renew();
    server.protect();
    server.tick();
    assert_eq!(held(&server), 1, "what is not destroyed stays");
    let fulls = |path| walk(path).iter().filter(|p| p.to_string_lossy().contains("/full/")).count();
    std::fs::rename(folder.path().join("away"), &far).unwrap();
    assert_eq!(fulls(&far), 1);
    server.advance(600);
    server.admin.renew();
    server.protect();
    assert_eq!((fulls(&far), needs_full(&server)), (2, false));
    drop(server);
    let place = Local::open(&far).unwrap();
    let data = folder.path().join("new");
    recovery_from(&data, Origin::Stream { destination: &place, until: Until::Newest }, &file).unwrap();
    assert!(key_names(&TestServer::start_again(&data).admin).contains(&"kept".to_owned()));
}

#[test]
fn an_alarm_says_which_destination_needs_a_full_archive() {
    let folder = tempfile::tempdir().unwrap();
    let server = TestServer::start();
    backup_key(&server.admin, "system");
    let far = folder.path().join("far");
    destination(&server, "far", &far);
    protected(&server.admin, "system", &["far"]);
    server.protect();
    std::fs::rename(&far, folder.path().join("away")).unwrap();
    for hours in [71, 2] {
        server.advance(hours * 3600);
        server.admin.renew();
        server.protect();
        let alarms = server.admin.get("/v1/system/alarms").ok(200).to_string();
        assert_eq!(alarms.contains("destination_needs_full"), hours == 2, "{alarms}");
    }
}

#[test]
fn credentials_that_end_halfway_are_told_and_good_ones_catch_up() {
    let (server, far, folder) = (TestServer::start(), SshServer::start(), tempfile::tempdir().unwrap());
    let admin = &server.admin;
    backup_key(admin, "system");
    far.room("vault");
    let key = text(&admin.get("/v1/scp/public-key").ok(200), "public_key");
    far.authorize(&key);
    let fields = json!({ "kind": "sftp", "name": "far", "host": "127.0.0.1", "port": far.port, "username": USER,
        "hostKey": far.host_key, "path": "vault" });
    admin.post("/v1/destinations", fields).ok(201);
    destination(&server, "near", &folder.path().join("near"));
    let id = protected(admin, "system", &["near", "far"]);
    assert_eq!(server.protect(), 2);
    assert_eq!(instance(admin, &id)["destinations"][1].get("error"), None);
    // Somebody takes the key away there, and the connection breaks.
    std::fs::write(far.authorized_keys(), "").unwrap();
    far.cut();
    admin.key(json!({ "name": "k" }));
    for _ in 0..2 {
        server.advance(400);
        admin.renew();
        server.protect();
    }
    let shown = instance(admin, &id);
    assert!(text(&shown["destinations"][1], "error").contains("authorized_keys"), "{shown}");
    assert_eq!((shown["destinations"][0].get("error"), &shown["destinations"][0]["lag"]), (None, &json!(0)));
    let alarms = admin.get("/v1/system/alarms").ok(200);
    let failing = |a: &Value| a["code"] == "destination_failing" && text(a, "message").contains("authorized_keys");
    assert!(alarms["resources"].as_array().unwrap().iter().any(failing), "{alarms}");
    // It is let in again, with another key: everything is there.
    admin.post("/v1/scp/public-key/rotate", json!({ "confirm": "rotate" })).ok(200);
    far.authorize(&text(&admin.get("/v1/scp/public-key").ok(200), "public_key"));
    server.advance(400);
    admin.renew();
    server.protect();
    let shown = instance(admin, &id);
    assert_eq!((shown["destinations"][1].get("error"), &shown["destinations"][1]["lag"]), (None, &json!(0)), "{shown}");
}
