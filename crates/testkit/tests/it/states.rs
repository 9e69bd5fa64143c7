//! The states of keys end to end: every transition of the table, deletion by schedule, destruction.

use keyark_api::ErrorCode;
use keyark_model::key::{RevocationReason, State, Transition, transition};
use keyark_testkit::client::{base64, text};
use keyark_testkit::{Client, TestServer};
use serde_json::{Value, json};

fn at(name: &str) -> String {
    format!("/v1/vault/keys2/{name}")
}

/// A new key in this state, with something encrypted under it where that is possible.
fn key_in(admin: &Client, name: &str, state: State) -> Option<Value> {
    let post = |verb: &str, body: Value| drop(admin.post(&format!("{}/{verb}", at(name)), body).ok(200));
    if state == State::PreActive {
        admin.key(json!({ "name": name, "state": "Pre-Active", "activationDate": "2030-01-01T00:00:00Z" }));
        return None;
    }
    admin.key(json!({ "name": name }));
    let made = admin.encrypt(name, "kept");
    let compromise = || post("revoke", json!({ "reason": "KeyCompromise", "message": "found on a stick" }));
    match state {
        State::PreActive | State::Active => {}
        State::Suspended => post("suspend", json!({ "message": "a suspicion" })),
        State::Deactivated => post("deactivate", json!({})),
        State::Compromised => compromise(),
        State::Destroyed => post("destroy", json!({ "confirm": name })),
        State::DestroyedCompromised => {
            compromise();
            post("destroy", json!({ "confirm": name }));
        }
    }
    assert_eq!(admin.get(&at(name)).ok(200)["state"], state.word());
    Some(made)
}

fn orders() -> Vec<(Transition, &'static str, Value)> {
    let mut all = vec![
        (Transition::Activate, "activate", json!({})),
        (Transition::Suspend, "suspend", json!({})),
        (Transition::Resume, "resume", json!({})),
        (Transition::Deactivate, "deactivate", json!({})),
        (Transition::Reactivate, "reactivate", json!({})),
    ];
    let revoke = |r: &RevocationReason| (Transition::Revoke(*r), "revoke", json!({ "reason": r.word() }));
    all.extend([RevocationReason::Superseded, RevocationReason::CACompromise].iter().map(revoke));
    all
}

#[test]
fn every_transition_of_the_table() {
    let server = TestServer::start();
    let mut cells = 0;
    for &state in State::ALL {
        for (n, (order, verb, body)) in orders().into_iter().enumerate() {
            let name = format!("{}-{n}", state.word());
            key_in(&server.admin, &name.replace(' ', ""), state);
            let path = at(&name.replace(' ', ""));
            let answer = server.admin.post(&format!("{path}/{verb}"), body);
            match transition(state, order) {
                Ok(next) => assert_eq!(answer.ok(200)["state"], next.word(), "{state} {order}"),
                Err(refused) => answer.fails(ErrorCode::KeyState, &refused.to_string()),
            }
            cells += 1;
        }
    }
    assert_eq!(cells, 7 * 7);
}

#[test]
fn every_state_permits_what_the_table_says() {
    let server = TestServer::start();
    for &state in State::ALL {
        let name = state.word().replace(' ', "");
        let made = key_in(&server.admin, &name, state);
        let encrypt = server.admin.post("/v1/crypto/encrypt", json!({ "id": name, "plaintext": base64("x") }));
        let export = server.admin.post(&format!("{}/export", at(&name)), json!({}));
        let protects = state == State::Active;
        for answer in [encrypt, export] {
            match protects {
                true => assert_eq!(answer.status, 200, "{state}: {answer}"),
                false => answer.fails(ErrorCode::KeyState, ""),
            }
        }
        if let Some(made) = made {
            let answer = server.admin.post("/v1/crypto/decrypt", made);
            match matches!(state, State::Active | State::Deactivated | State::Compromised) {
                true => assert_eq!(answer.ok(200)["plaintext"], base64("kept"), "{state}"),
                false => answer.fails(ErrorCode::KeyState, ""),
            }
        }
    }
}

#[test]
fn revocation_keeps_its_reason_and_dates() {
    let server = TestServer::start();
    server.admin.key(json!({ "name": "k" }));
    server.advance(60);
    let revoke = |body: Value| server.admin.post(&format!("{}/revoke", at("k")), body);
    revoke(json!({ "reason": "Boredom" })).fails(ErrorCode::InvalidParam, "KeyCompromise");
    revoke(json!({})).fails(ErrorCode::BadRequest, "reason");
    let body = json!({ "reason": "KeyCompromise", "message": "seen in a paste", "compromiseOccurrenceDate": "2025-12-31T00:00:00Z" });
    let revoked = revoke(body).ok(200);
    assert_eq!(revoked["state"], "Compromised");
    assert_eq!(revoked["revocationReason"], "KeyCompromise");
    assert_eq!(revoked["revocationMessage"], "seen in a paste");
    assert_eq!(revoked["compromiseDate"], "2026-01-01T00:01:00.000000000Z");
    assert_eq!(revoked["compromiseOccurrenceDate"], "2025-12-31T00:00:00.000000000Z");
    assert!(revoked.get("stateMessage").is_none());
    server.admin.post(&format!("{}/versions", at("k")), json!({})).fails(ErrorCode::KeyState, "Compromised");
}

#[test]
fn dates_take_effect_by_the_clock() {
    let server = TestServer::start();
    let dates = json!({ "name": "k", "activationDate": "2026-01-02T00:00:00Z", "protectStopDate": "2026-01-03T00:00:00Z",
        "deactivationDate": "2026-01-04T00:00:00Z" });
    assert_eq!(server.admin.key(dates)["state"], "Pre-Active");
    let state = || server.admin.get(&at("k")).ok(200)["state"].as_str().unwrap().to_owned();
    let encrypt = || server.admin.post("/v1/crypto/encrypt", json!({ "id": "k", "plaintext": base64("x") }));
    encrypt().fails(ErrorCode::KeyState, "Pre-Active");
    server.advance_days(1);
    assert_eq!(state(), "Active");
    let made = encrypt().ok(200);
    assert_eq!(server.admin.get("/v1/vault/keys2?state=Active").ok(200)["total"], 1);
    server.advance_days(1);
    assert_eq!(state(), "Active");
    encrypt().fails(ErrorCode::KeyState, "protect stop");
    assert_eq!(server.admin.decrypt(&made), "x");
    server.advance_days(1);
    assert_eq!(state(), "Deactivated");
    encrypt().fails(ErrorCode::KeyState, "Deactivated");
    assert_eq!(server.admin.decrypt(&made), "x");
    assert_eq!(server.admin.get("/v1/vault/keys2?state=Deactivated").ok(200)["total"], 1);
}

#[test]
fn archive_is_a_mark_beside_the_state() {
    let server = TestServer::start();
    server.admin.key(json!({ "name": "k" }));
    let archived = server.admin.post(&format!("{}/archive", at("k")), json!({})).ok(200);
    assert_eq!((&archived["state"], archived["archiveDate"].is_string()), (&json!("Active"), true));
    let recovered = server.admin.post(&format!("{}/recover", at("k")), json!({})).ok(200);
    assert!(recovered.get("archiveDate").is_none());
}

#[test]
fn a_deletion_is_scheduled_cancelled_and_comes() {
    let server = TestServer::start();
    server.admin.key(json!({ "name": "k" }));
    let made = server.admin.encrypt("k", "kept");
    for days in [0, 6, 31] {
        server.admin.delete(&format!("{}?pendingDays={days}", at("k"))).fails(ErrorCode::InvalidParam, "7 to 30");
    }
    server.admin.delete(&format!("{}?confirm=K", at("k"))).fails(ErrorCode::ConfirmNeeded, "confirm");
    server.admin.post(&format!("{}/undelete", at("k")), json!({})).fails(ErrorCode::KeyState, "scheduled");
    server.admin.delete(&at("k")).ok(204);
    assert_eq!(server.admin.get(&at("k")).ok(200)["deletionDate"], "2026-01-31T00:00:00.000000000Z");
    server.admin.post("/v1/crypto/decrypt", made.clone()).fails(ErrorCode::KeyState, "undelete");
    server.admin.post(&format!("{}/versions", at("k")), json!({})).fails(ErrorCode::KeyState, "undelete");
    server.admin.post(&format!("{}/export", at("k")), json!({})).fails(ErrorCode::KeyState, "undelete");
    server.advance_days(29);
    server.admin.post(&format!("{}/undelete", at("k")), json!({})).ok(200);
    assert_eq!(server.admin.decrypt(&made), "kept");
    server.admin.delete(&format!("{}?pendingDays=7", at("k"))).ok(204);
    server.advance(7 * 86_400 - 1);
    server.tick();
    server.admin.renew();
    server.admin.get(&at("k")).ok(200);
    server.advance(1);
    server.tick();
    server.admin.get(&at("k")).fails(ErrorCode::NotFound, "not found");
    server.admin.post("/v1/crypto/decrypt", made).fails(ErrorCode::NotFound, "not found");
}

#[test]
fn undeletable_is_neither_deleted_nor_destroyed() {
    let server = TestServer::start();
    server.admin.key(json!({ "name": "k", "undeletable": true }));
    for path in [at("k"), format!("{}?confirm=k", at("k"))] {
        server.admin.delete(&path).fails(ErrorCode::Undeletable, "undeletable");
    }
    let destroy = json!({ "confirm": "k" });
    server.admin.post(&format!("{}/destroy", at("k")), destroy.clone()).fails(ErrorCode::Undeletable, "undeletable");
    server.admin.patch(&at("k"), json!({ "undeletable": false })).ok(200);
    server.admin.post(&format!("{}/destroy", at("k")), destroy).ok(200);
    server.admin.delete(&format!("{}?confirm=k", at("k"))).ok(204);
}

#[test]
fn a_destroyed_version_is_gone_and_the_others_stay() {
    let server = TestServer::start();
    server.admin.key(json!({ "name": "k" }));
    let old = server.admin.encrypt("k", "old");
    server.admin.post(&format!("{}/versions", at("k")), json!({})).ok(201);
    let new = server.admin.encrypt("k", "new");
    let destroy = |body: Value| server.admin.post(&format!("{}/destroy", at("k")), body);
    destroy(json!({ "version": 0, "confirm": "K" })).fails(ErrorCode::ConfirmNeeded, "confirm");
    destroy(json!({ "version": 7, "confirm": "k" })).fails(ErrorCode::NotFound, "version");
    let gone = destroy(json!({ "version": 0, "confirm": "k" })).ok(200);
    assert_eq!((&gone["version"], &gone["state"]), (&json!(0), &json!("Destroyed")));
    assert!(gone["destroyDate"].is_string());
    server.admin.post("/v1/crypto/decrypt", old).fails(ErrorCode::KeyState, "material is gone");
    assert_eq!(server.admin.decrypt(&new), "new");
    destroy(json!({ "version": 0, "confirm": "k" })).fails(ErrorCode::KeyState, "destroyed already");
    destroy(json!({ "confirm": "k" })).ok(200);
    server.admin.post("/v1/crypto/decrypt", new).fails(ErrorCode::KeyState, "material is gone");
    assert_eq!(server.admin.get(&format!("{}/versions", at("k"))).ok(200)["total"], 2, "its attributes stay");
    server.admin.post(&format!("{}/versions", at("k")), json!({})).fails(ErrorCode::KeyState, "Destroyed");
}

#[test]
fn a_destruction_is_scheduled_cancelled_and_comes() {
    let server = TestServer::start();
    server.admin.key(json!({ "name": "k" }));
    let old = server.admin.encrypt("k", "old");
    server.admin.post(&format!("{}/versions", at("k")), json!({})).ok(201);
    let new = server.admin.encrypt("k", "new");
    let destroy = |body: Value| server.admin.post(&format!("{}/destroy", at("k")), body);
    let undestroy = |body: Value| server.admin.post(&format!("{}/undestroy", at("k")), body);
    for days in [0, 6, 31] {
        destroy(json!({ "pendingDays": days })).fails(ErrorCode::InvalidParam, "7 to 30");
    }
    undestroy(json!({})).fails(ErrorCode::KeyState, "no destruction");
    let scheduled = destroy(json!({ "version": 0 })).ok(200);
    assert_eq!((&scheduled["state"], &scheduled["version"]), (&json!("Active"), &json!(0)));
    assert_eq!(scheduled["destroyDate"], "2026-01-31T00:00:00.000000000Z", "30 days by default");
    server.admin.post("/v1/crypto/decrypt", old.clone()).fails(ErrorCode::KeyState, "undestroy");
    server.admin.post(&format!("{}/export", at("k")), json!({ "version": 0 })).fails(ErrorCode::KeyState, "undestroy");
    server.admin.post(&format!("{}/clone", at("k")), json!({ "version": 0 })).fails(ErrorCode::KeyState, "cancel");
    assert_eq!(server.admin.decrypt(&new), "new", "the other version works on");
    server.advance_days(29);
    server.tick();
    undestroy(json!({ "version": 1 })).fails(ErrorCode::KeyState, "no destruction");
    assert!(undestroy(json!({})).ok(200).get("destroyDate").is_none());
    assert_eq!(server.admin.decrypt(&old), "old");
    destroy(json!({ "version": 0, "pendingDays": 7 })).ok(200);
    server.advance(7 * 86_400 - 1);
    server.tick();
    server.admin.renew();
    assert_eq!(server.admin.get(&format!("{}?version=0", at("k"))).ok(200)["state"], "Active");
    server.advance(1);
    server.tick();
    let gone = server.admin.get(&format!("{}?version=0", at("k"))).ok(200);
    assert_eq!((&gone["state"], &gone["destroyDate"]), (&json!("Destroyed"), &json!("2026-02-06T00:00:00.000000000Z")));
    server.admin.post("/v1/crypto/decrypt", old).fails(ErrorCode::KeyState, "material is gone");
    assert_eq!(server.admin.decrypt(&new), "new");
    undestroy(json!({})).fails(ErrorCode::KeyState, "no destruction");
    server.admin.post(&format!("{}/deactivate", at("k")), json!({})).ok(200);
    let back = server.admin.post(&format!("{}/reactivate", at("k")), json!({ "message": "needed once more" })).ok(200);
    assert_eq!(back["stateMessage"], "needed once more");
    assert_eq!(server.admin.get(&at("k")).ok(200)["stateMessage"], "needed once more");
}

#[test]
fn what_was_destroyed_names_the_archives_that_still_hold_it() {
    let server = TestServer::start();
    let domain = server.domain("d");
    let admin = &domain.admin;
    for (by, scope) in [(admin, "domain"), (&server.admin, "system")] {
        by.post("/v1/backupkeys", json!({ "scope": scope, "default": true })).ok(201);
    }
    let take = |by: &Client, fields: Value| text(&by.backup(fields), "id");
    admin.key(json!({ "name": "other" }));
    let early = take(admin, json!({ "scope": "domain" }));
    server.advance(60);
    admin.key(json!({ "name": "k" }));
    server.advance(60);
    let held = take(admin, json!({ "scope": "domain" }));
    let part = take(admin, json!({ "scope": "domain", "filters": [{ "resourceType": "Keys" }] }));
    server.admin.renew();
    take(&server.admin, json!({ "scope": "system" }));
    let gone = admin.post(&format!("{}/destroy", at("k")), json!({ "confirm": "k" })).ok(200);
    let holders = gone["heldBy"].as_array().unwrap();
    let named: Vec<_> = holders.iter().filter_map(|h| h["backup"].as_str()).collect();
    assert!(named.len() == 2 && named.contains(&held.as_str()) && named.contains(&part.as_str()), "{gone}");
    assert!(!named.contains(&early.as_str()));
    let partial = |id: &str| holders.iter().find(|h| h["backup"] == id).unwrap()["partial"].as_bool().unwrap();
    assert!(!partial(&held) && partial(&part));
    let system: Vec<_> = holders.iter().filter(|h| h["scope"] == "system").collect();
    assert!(system.len() == 1 && system[0].get("backup").is_none(), "a domain is not told the names of root's backups");
    assert_eq!(admin.get(&at("k")).ok(200)["heldBy"], gone["heldBy"], "asked later, the same");
    admin.delete(&format!("/v1/backups/{held}?confirm={held}")).ok(204);
    assert_eq!(admin.get(&at("k")).ok(200)["heldBy"].as_array().unwrap().len(), 2);
    assert!(admin.key(json!({ "name": "alive" })).get("heldBy").is_none());
}

#[test]
fn destroyed_material_is_in_no_file_of_the_server() {
    let mut server = TestServer::start();
    // Raw material is sealed, so the test looks for the sealed body, as it stood in the database before.
    server.admin.key(json!({ "name": "k", "material": "5a".repeat(32) }));
    server.restart();
    let sealed = {
        use std::ops::ControlFlow;
        let core = server.app().core().unwrap();
        let mut body = Vec::new();
        core.store
            .scan(keyark_model::DomainId::ROOT, keyark_model::Kind::Key, |r| {
                body = r.to_record().body.to_vec();
                ControlFlow::Continue(())
            })
            .unwrap();
        body
    };
    assert!(sealed.len() > 32);
    let data = server.settings.data.clone();
    let holds = |needle: &[u8]| {
        std::fs::read_dir(&data)
            .unwrap()
            .filter_map(|e| std::fs::read(e.unwrap().path()).ok())
            .any(|bytes| bytes.windows(needle.len()).any(|w| w == needle))
    };
    let part = &sealed[sealed.len() - 24..];
    assert!(holds(part), "the control: before, it is there");
    server.admin.post(&format!("{}/destroy", at("k")), json!({ "confirm": "k" })).ok(200);
    // While the server runs: the write-ahead log is emptied behind it.
    let until = std::time::Instant::now() + std::time::Duration::from_secs(60);
    while holds(part) {
        assert!(std::time::Instant::now() < until, "the destroyed body is still in the data folder");
        std::thread::yield_now();
    }
    server.restart();
    assert!(!holds(part), "nor does it come back");
}
