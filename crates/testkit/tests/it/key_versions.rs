//! Versions of keys and copies of them: made, used by number, counted together.

use keyark_api::ErrorCode;
use keyark_testkit::TestServer;
use keyark_testkit::client::base64;
use serde_json::{Value, json};

use crate::keys::at;

#[test]
fn versions_are_made_numbered_and_used_by_number() {
    let server = TestServer::start();
    server.admin.key(json!({ "name": "k" }));
    let old = server.admin.encrypt("k", "old");
    server.advance(60);
    let second = server.admin.post(&format!("{}/versions", at("k")), json!({})).ok(201);
    assert_eq!((&second["version"], &second["versionsCount"]), (&json!(1), &json!(2)));
    let imported = json!({ "material": "ab".repeat(32), "includeMaterial": true });
    let third = server.admin.post(&format!("{}/rotate", at("k")), imported).ok(201);
    assert_eq!((&third["version"], &third["material"]), (&json!(2), &json!("ab".repeat(32))));
    assert_eq!(third["id"], server.admin.get(&at("k")).ok(200)["id"]);
    let listed = server.admin.get(&format!("{}/versions", at("k"))).ok(200);
    let numbers: Vec<_> = listed["resources"].as_array().unwrap().iter().map(|v| v["version"].clone()).collect();
    assert_eq!(numbers, [0, 1, 2]);
    let fingerprints: std::collections::HashSet<_> =
        listed["resources"].as_array().unwrap().iter().map(|v| v["sha256Fingerprint"].to_string()).collect();
    assert_eq!(fingerprints.len(), 3);
    for (query, version) in [("", 2), ("?version=-1", 2), ("?version=0", 0), ("?version=1", 1)] {
        assert_eq!(server.admin.get(&format!("{}{query}", at("k"))).ok(200)["version"], version);
    }
    server.admin.get(&format!("{}?version=3", at("k"))).fails(ErrorCode::NotFound, "version");
    server.admin.get(&format!("{}?version=-2", at("k"))).fails(ErrorCode::NotFound, "version");
    assert_eq!(old["version"], 0);
    assert_eq!(server.admin.decrypt(&old), "old");
    assert_eq!(server.admin.encrypt("k", "new")["version"], 2);
    let exported = server.admin.post(&format!("{}/export", at("k")), json!({ "version": 2 })).ok(200);
    assert_eq!(exported["material"], "ab".repeat(32));
    let used = server.admin.get(&format!("{}?version=0", at("k"))).ok(200);
    assert_eq!(used["lastUsedAt"], "2026-01-01T00:01:00.000000000Z");
}

#[test]
fn the_last_use_of_a_version_is_known_after_a_stop() {
    let mut server = TestServer::start();
    server.admin.key(json!({ "name": "k" }));
    server.admin.key(json!({ "name": "never" }));
    let old = server.admin.encrypt("k", "old");
    server.admin.post(&format!("{}/versions", at("k")), json!({})).ok(201);
    let used = |server: &TestServer, version: u32| {
        let shown = server.admin.get(&format!("{}?version={version}", at("k"))).ok(200);
        shown.get("lastUsedAt").cloned().unwrap_or(Value::Null)
    };
    server.tick();
    // What a stop without warning leaves is the note of the minute.
    let core = server.app().core().unwrap();
    let counters = core.store.count(keyark_model::DomainId::ROOT, keyark_model::Kind::Counter).unwrap().records;
    let entries = core.store.head().seq;
    assert_eq!(counters, 1);
    server.advance(3600);
    server.admin.renew();
    assert_eq!(server.admin.decrypt(&old), "old");
    let before = core.store.head().seq;
    server.tick();
    assert_eq!(core.store.head().seq, before, "a version that is used all day is noted once ({entries})");
    drop(core);
    server.restart();
    assert_eq!(used(&server, 0), "2026-01-01T01:00:00.000000000Z", "a stop notes the rest");
    assert_eq!(used(&server, 1), Value::Null);
    assert!(server.admin.get(&at("never")).ok(200).get("lastUsedAt").is_none());
    let listed = server.admin.get("/v1/vault/keys2?name=k").ok(200);
    assert!(listed["resources"][0].get("lastUsedAt").is_none(), "the list shows the newest version");
}

#[test]
fn a_clone_is_a_key_of_its_own_with_the_same_material() {
    let server = TestServer::start();
    let source = json!({ "name": "k", "labels": { "a": "1" }, "description": "d", "usageMask": 12, "meta": { "x": 1 },
        "aliases": [{ "alias": "other" }] });
    server.admin.key(source);
    let made = server.admin.encrypt("k", "kept");
    server.admin.post(&format!("{}/versions", at("k")), json!({})).ok(201);
    let clone = |body: Value| server.admin.post(&format!("{}/clone", at("k")), body);
    let copy = clone(json!({ "newKeyName": "copy", "version": 0, "includeMaterial": true })).ok(201);
    let material = server.admin.post(&format!("{}/export", at("copy")), json!({})).ok(200)["material"].clone();
    assert_eq!(copy["material"], material);
    let first = server.admin.get(&format!("{}?version=0", at("k"))).ok(200);
    assert_ne!(copy["id"], first["id"]);
    for field in
        ["sha256Fingerprint", "keyCheckValue", "labels", "description", "usageMask", "meta", "state", "algorithm"]
    {
        assert_eq!(copy[field], first[field], "{field}");
    }
    assert_eq!((&copy["versionsCount"], copy.get("aliases")), (&json!(1), None));
    assert_eq!(copy["keyCheckValue"].as_str().unwrap(), &copy["sha256Fingerprint"].as_str().unwrap()[..6]);
    let mut by_copy = made.clone();
    by_copy["id"] = json!("copy");
    assert_eq!(server.admin.decrypt(&by_copy), "kept");
    let newest = clone(json!({ "meta": { "y": 2 } })).ok(201);
    assert_eq!(newest["meta"], json!({ "y": 2 }));
    assert_ne!(newest["sha256Fingerprint"], copy["sha256Fingerprint"]);
    clone(json!({ "newKeyName": "copy" })).fails(ErrorCode::KeyAlreadyExists, "taken");
    clone(json!({ "version": 9 })).fails(ErrorCode::NotFound, "version");
    server.admin.patch(&at("k"), json!({ "unexportable": true })).ok(200);
    clone(json!({ "includeMaterial": true })).fails(ErrorCode::Unexportable, "");
    assert_eq!(clone(json!({})).ok(201)["unexportable"], true, "a copy does not get out either");
    server.admin.post(&format!("{}/revoke", at("k")), json!({ "reason": "KeyCompromise" })).ok(200);
    clone(json!({})).fails(ErrorCode::KeyState, "Compromised");
}

#[test]
fn a_version_and_its_copies_together_encrypt_no_more_than_one_may() {
    use keyark_model::system::CounterHeader;
    let server = TestServer::start();
    let id = server.admin.key(json!({ "name": "k" }))["id"].as_str().unwrap().to_owned();
    server.admin.encrypt("k", "x");
    let copy = server.admin.post(&format!("{}/clone", at("k")), json!({ "newKeyName": "c" })).ok(201);
    server.admin.encrypt("c", "x");
    server.admin.encrypt("k", "x");
    let core = server.app().core().unwrap();
    let reserved = |id: &str| {
        let stored = core.load::<CounterHeader>(keyark_model::DomainId::ROOT, id.parse().unwrap()).unwrap();
        stored.header.reserved[&0]
    };
    let left = |id: &str| (1_u64 << 31) - reserved(id);
    let used_by_then = 1 << 12;
    assert!(left(&id) + left(copy["id"].as_str().unwrap()) + used_by_then <= 1 << 31);
    assert!(reserved(&id) > 1 << 30);
}

#[test]
fn a_replaced_version_protects_no_more_if_so_asked() {
    let server = TestServer::start();
    for (state, name) in [("ProtectStop", "stop"), ("Deactivated", "deactivated")] {
        server.admin.key(json!({ "name": name }));
        let old = server.admin.encrypt(name, "old");
        server.admin.post(&format!("{}/versions", at(name)), json!({ "replacedState": state })).ok(201);
        let body = json!({ "id": name, "version": 0, "plaintext": base64("x") });
        server.admin.post("/v1/crypto/encrypt", body).fails(ErrorCode::KeyState, "cannot encrypt");
        assert_eq!(server.admin.decrypt(&old), "old");
    }
    assert_eq!(server.admin.get(&format!("{}?version=0", at("deactivated"))).ok(200)["state"], "Deactivated");
    let wrong = server.admin.post(&format!("{}/versions", at("stop")), json!({ "replacedState": "Gone" }));
    wrong.fails(ErrorCode::InvalidParam, "ProtectStop or Deactivated");
}
