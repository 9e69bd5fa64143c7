//! Secrets end to end: shown without their values, changed, read by version, marked, deleted and taken back.

use keyark_api::ErrorCode;
use keyark_testkit::client::job_ended;
use keyark_testkit::{Client, TestServer};
use serde_json::{Value, json};

const SECRETS: &str = "/v1/vault/secrets";

fn at(rest: &str) -> String {
    format!("{SECRETS}/{rest}")
}

/// A password under a key `k`, with further fields.
fn secret(admin: &Client, fields: Value) -> Value {
    admin.key(json!({ "name": "k" }));
    let mut all = json!({ "name": "s", "dataType": "password", "material": "first value", "key": "k" });
    all.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
    admin.post(SECRETS, all).ok(201)
}

#[test]
fn a_secret_is_shown_changed_and_never_with_its_value_unless_asked() {
    let server = TestServer::start();
    let admin = &server.admin;
    let made = secret(admin, json!({ "labels": { "a": "1", "b": "2" } }));
    assert!(made.get("material").is_none(), "{made}");
    for path in [SECRETS.to_owned(), at("s"), at("s/versions"), at("s/versions/0")] {
        let shown = admin.get(&path);
        assert!(!String::from_utf8_lossy(&shown.body).contains("first value"), "{shown}");
        assert_eq!(shown.status, 200, "{shown}");
    }
    assert_eq!(admin.get(&at("s?includeMaterial=true")).ok(200)["material"], "first value");
    let envelope = admin.get(&at("s")).ok(200);
    for field in ["id", "uri", "account", "application", "devAccount", "createdAt", "updatedAt"] {
        assert!(envelope[field].as_str().is_some_and(|text| !text.is_empty()), "{field} of {envelope}");
    }
    assert_eq!(envelope["createdAt"], "2026-01-01T00:00:00.000000000Z");
    let change = json!({ "name": "t", "description": "d", "labels": { "a": null, "c": "3" }, "recoveryDays": 9 });
    let changed = admin.patch(&at("s"), change).ok(200);
    assert!(changed.get("material").is_none(), "{changed}");
    assert_eq!((&changed["name"], &changed["id"], &changed["description"]), (&json!("t"), &made["id"], &json!("d")));
    assert_eq!((&changed["labels"], &changed["recoveryDays"]), (&json!({ "b": "2", "c": "3" }), &json!(9)));
    admin.get(&at("s")).fails(ErrorCode::NotFound, "not found");
    assert_eq!(admin.get(&at("t")).ok(200)["labels"], changed["labels"]);
}

#[test]
fn an_older_version_is_read() {
    let server = TestServer::start();
    let admin = &server.admin;
    secret(admin, json!({}));
    admin.post(&at("s/versions"), json!({ "material": "second value" })).ok(201);
    let read = |body: Value| admin.post(&at("s/export"), body).ok(200)["material"].clone();
    assert_eq!(read(json!({})), "second value");
    assert_eq!(read(json!({ "version": 0 })), "first value");
    assert_eq!(admin.get(&at("s/versions/0?includeMaterial=true")).ok(200)["material"], "first value");
    admin.post(&at("s/export"), json!({ "version": 2 })).fails(ErrorCode::NotFound, "version");
}

#[test]
fn the_key_is_one_of_the_same_domain() {
    let server = TestServer::start();
    let (mine, theirs) = (server.domain("mine"), server.domain("theirs"));
    let key = theirs.admin.key(json!({ "name": "foreign" }));
    for named in [&json!("foreign"), &key["id"]] {
        let body = json!({ "name": "s", "dataType": "password", "material": "x", "key": named });
        mine.admin.post(SECRETS, body).fails(ErrorCode::NotFound, "not found");
    }
    assert_eq!(mine.admin.get(SECRETS).ok(200)["total"], 0);
}

#[test]
fn a_deleted_secret_comes_back_inside_its_window_and_not_after() {
    let server = TestServer::start();
    let admin = &server.admin;
    secret(admin, json!({ "recoveryDays": 7 }));
    admin.delete(&at("s")).ok(204);
    assert_eq!(admin.get(&at("s")).ok(200)["state"], "Deleted");
    admin.post(&at("s/export"), json!({})).fails(ErrorCode::Conflict, "undelete");
    server.advance_days(6);
    admin.renew();
    admin.post(&at("s/undelete"), json!({})).ok(200);
    assert_eq!(admin.post(&at("s/export"), json!({})).ok(200)["material"], "first value");
    admin.post(&at("s/undelete"), json!({})).fails(ErrorCode::Conflict, "not deleted");
    admin.delete(&at("s")).ok(204);
    server.advance_days(7);
    admin.renew();
    admin.post(&at("s/undelete"), json!({})).fails(ErrorCode::NotFound, "not found");
}

#[test]
fn undeletable_and_unexportable_are_honoured() {
    let server = TestServer::start();
    let admin = &server.admin;
    secret(admin, json!({ "undeletable": true, "unexportable": true }));
    for path in [at("s"), at("s?confirm=s")] {
        admin.delete(&path).fails(ErrorCode::Undeletable, "undeletable");
    }
    admin.post(&at("s/destroy"), json!({ "confirm": "s" })).fails(ErrorCode::Undeletable, "undeletable");
    admin.post(&at("s/export"), json!({})).fails(ErrorCode::Unexportable, "unexportable");
    admin.get(&at("s?includeMaterial=true")).fails(ErrorCode::Unexportable, "unexportable");
    admin.get(&at("s/versions/0?includeMaterial=true")).fails(ErrorCode::Unexportable, "unexportable");
    admin.patch(&at("s"), json!({ "unexportable": false })).fails(ErrorCode::InvalidParam, "taken back");
    admin.patch(&at("s"), json!({ "undeletable": false })).ok(200);
    admin.delete(&at("s?confirm=s")).ok(204);
}

#[test]
fn a_rotation_keeps_etags_and_names_the_opened_archive() {
    let server = TestServer::start();
    let domain = server.domain("sales");
    secret(&domain.admin, json!({}));
    let etags = || [at("s"), "/v1/vault/keys2/k".into()].map(|path| domain.admin.get(&path).header("etag").to_owned());
    let before = etags();
    assert!(before.iter().all(|tag| !tag.is_empty()), "{before:?}");
    domain.admin.post("/v1/domains/sales/rotate-kek", json!({ "archive_opened": "archive-7" })).ok(200);
    let core = server.app().core().unwrap();
    core.reseal(keyark_model::DomainId(domain.id.parse().unwrap())).unwrap();
    assert_eq!(etags(), before);
    assert_eq!(domain.admin.post(&at("s/export"), json!({})).ok(200)["material"], "first value");
    let log = domain.admin.get("/v1/audit/records?limit=-1").ok(200);
    let named = |r: &Value| r["target"].as_str().is_some_and(|t| t.contains("archive opened: archive-7"));
    assert_eq!(log["resources"].as_array().unwrap().iter().filter(|r| named(r)).count(), 1, "{log}");
}

#[test]
fn a_secret_whose_key_is_gone_says_so_and_loses_nothing() {
    let server = TestServer::start();
    let lost = server.admin.key(json!({ "name": "lost" }))["id"].as_str().unwrap().to_owned();
    server.admin.key(json!({ "name": "burnt" }));
    for (name, key) in [("s", "lost"), ("t", "burnt")] {
        let body = json!({ "name": name, "dataType": "password", "material": "the value", "key": key });
        server.admin.post("/v1/vault/secrets", body).ok(201);
    }
    server.admin.post("/v1/backupkeys", json!({ "scope": "system", "default": true })).ok(201);
    let backup = server.admin.backup(json!({ "scope": "system" }))["id"].as_str().unwrap().to_owned();
    server.admin.delete("/v1/vault/keys2/lost?confirm=lost").ok(204);
    server.admin.post("/v1/vault/keys2/burnt/destroy", json!({ "confirm": "burnt" })).ok(200);
    let export = |name: &str| server.admin.post(&format!("/v1/vault/secrets/{name}/export"), json!({}));
    export("s").fails(ErrorCode::Conflict, "restore it first");
    export("t").fails(ErrorCode::KeyState, "its material is gone");
    // Everything else of them works: shown, listed, changed, and rotated under a key that is here.
    assert_eq!(server.admin.get("/v1/vault/secrets").ok(200)["total"], 2);
    assert_eq!(server.admin.patch("/v1/vault/secrets/s", json!({ "description": "d" })).ok(200)["description"], "d");
    server.admin.post("/v1/vault/secrets/s/rotate", json!({ "material": "x" })).fails(ErrorCode::NotFound, &lost);
    // The key comes back, and with it the value.
    let options = json!({ "items": [format!("keys:{lost}")], "includeDeleted": true });
    let begun = server.admin.post(&format!("/v1/backups/{backup}/restore"), options).ok(202);
    assert_eq!(job_ended(&server.admin, begun["jobId"].as_str().unwrap())["status"], "completed");
    assert_eq!(export("s").ok(200)["material"], "the value");
}
