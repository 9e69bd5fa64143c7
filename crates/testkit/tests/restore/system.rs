//! Replacing the whole system through the running server: all of it comes back, or all of the old one stays.

use std::time::{Duration, Instant};

use keyark_api::ErrorCode;
use keyark_model::DomainId;
use keyark_model::system::{BackupHeader, BackupKeyHeader};
use keyark_testkit::TestServer;
use keyark_testkit::client::text;
use serde_json::json;

use crate::support::{
    archive_path, backup_key, everything, exported, job_ended, key_delete, key_names, plan, recovery, restore,
    restore_any, secret, secret_value, take_domain, take_system,
};

const ALL: &str = r#"{"confirm":"system"}"#;

fn confirmed() -> serde_json::Value {
    serde_json::from_str(ALL).unwrap()
}

#[test]
fn everything_is_back_at_the_point_under_a_new_incarnation() {
    let server = TestServer::start();
    let d = server.domain("d");
    d.admin.key(json!({ "name": "k" }));
    secret(&d.admin, "s", "k", "a-secret-value");
    let old = d.admin.encrypt("k", "old data");
    let domain_key = backup_key(&d.admin, "domain");
    let system_key = backup_key(&server.admin, "system");
    let of_domain = take_domain(&server, &d.admin);
    let backup = take_system(&server);
    let before = everything(&server);
    let (identity, position, token_key) = {
        let core = server.app().core().unwrap();
        (core.store.identity(), core.store.head().seq, *core.jwt_key.expose())
    };
    // After the point: one key more, one changed, a domain more.
    d.admin.key(json!({ "name": "later" }));
    d.admin.patch("/v1/vault/keys2/k", json!({ "description": "changed" })).ok(200);
    server.domain("younger");
    assert_ne!(everything(&server), before);

    server.admin.post(&format!("/v1/backups/{backup}/restore"), json!({})).fails(ErrorCode::ConfirmNeeded, "replaces");
    let planned = plan(&server.admin, &backup, json!({})).ok(200);
    assert_eq!(planned["scope"], "system");
    assert!(planned["carriedOver"].as_array().unwrap().iter().any(|l| l.as_str().unwrap().contains("2 backup keys")));
    let token = server.admin.token();
    let refresh = json!({ "username": "admin", "password": keyark_testkit::server::PASSWORD });
    let refresh = text(&server.nobody().post("/v1/auth/tokens", refresh).ok(200), "refresh_token");
    let job = restore(&server.admin, &backup, json!({ "confirm": "system", "digest": planned["digest"] }));

    assert_eq!(everything(&server), before, "every shipped record, byte for byte");
    let core = server.app().core().unwrap();
    let now = core.store.identity();
    assert_eq!(now.system, identity.system);
    assert_ne!(now.incarnation, identity.incarnation);
    assert_eq!(now.parent.unwrap().position.incarnation, identity.incarnation);
    assert!(core.store.head().seq > now.parent.unwrap().position.seq, "positions are not used twice");
    assert!(now.parent.unwrap().position.seq <= position + 2);
    assert!(!core.jwt_key.eq_ct(&token_key), "tokens are signed by a new key");
    drop(core);
    // Sessions ended: neither the token nor its refresh token is good.
    assert_eq!(server.nobody().with_token(&token).get("/v1/system/info").status, 401);
    let refreshing = json!({ "grant_type": "refresh_token", "refresh_token": refresh });
    assert_eq!(server.nobody().post("/v1/auth/tokens", refreshing).status, 401);
    // Carried over: keys of backups and the catalogue, in both domains.
    d.admin.renew();
    server.admin.get(&format!("/v1/backupkeys/{system_key}")).ok(200);
    d.admin.get(&format!("/v1/backupkeys/{domain_key}")).ok(200);
    server.admin.get(&format!("/v1/backups/{backup}")).ok(200);
    d.admin.get(&format!("/v1/backups/{of_domain}")).ok(200);
    // Data opens, the old database is kept, nothing goes out.
    assert_eq!(d.admin.decrypt(&old), "old data");
    assert_eq!(secret_value(&d.admin, "s"), "a-secret-value");
    assert!(server.settings.data.join(text(&job["result"], "kept")).is_file());
    assert_eq!(server.admin.get("/v1/system/info").ok(200)["outbound"], "suspended");
    server.admin.post("/v1/system/activate", json!({})).fails(ErrorCode::ConfirmNeeded, "");
    server.admin.post("/v1/system/activate", json!({ "confirm": "activate" })).ok(200);
    assert_eq!(server.admin.get("/v1/system/info").ok(200)["outbound"], "active");
    // Old archives are still signed by a pinned key, new ones can be taken, and neither continues the other.
    let since = json!({ "scope": "domain", "since": of_domain });
    d.admin.post("/v1/backups", since).fails(ErrorCode::InvalidParam, "whole backup");
    let new = take_domain(&server, &d.admin);
    plan(&d.admin, &of_domain, json!({})).ok(200);
    plan(&d.admin, &new, json!({})).ok(200);
}

#[test]
fn a_restored_system_starts_again_and_is_restored_again() {
    let mut server = TestServer::start();
    server.admin.key(json!({ "name": "k" }));
    let old = server.admin.encrypt("k", "x");
    backup_key(&server.admin, "system");
    let first = take_system(&server);
    restore(&server.admin, &first, confirmed());
    server.restart();
    assert_eq!(server.admin.decrypt(&old), "x");
    let second = take_system(&server);
    restore(&server.admin, &second, confirmed());
    restore(&server.admin, &first, confirmed());
    server.restart();
    assert_eq!(server.admin.decrypt(&old), "x");
    let report = server.app().core().unwrap().store.head();
    assert!(report.seq > 0);
}

#[test]
fn what_was_deleted_since_stays_away_also_at_the_second_restore() {
    let server = TestServer::start();
    server.admin.key(json!({ "name": "kept" }));
    server.admin.key(json!({ "name": "gone" }));
    server.admin.key(json!({ "name": "leaked" }));
    let old = server.admin.encrypt("gone", "x");
    backup_key(&server.admin, "system");
    let backup = take_system(&server);
    key_delete(&server.admin, "gone");
    server.admin.post("/v1/vault/keys2/leaked/revoke", json!({ "reason": "KeyCompromise" })).ok(200);
    for _ in 0..2 {
        let planned = plan(&server.admin, &backup, json!({})).ok(200);
        let facts: Vec<_> = planned["negativeFacts"].as_array().unwrap().iter().map(|f| text(f, "fact")).collect();
        assert!(facts.contains(&"deleted".to_owned()), "{planned}");
        let job = restore(&server.admin, &backup, confirmed());
        assert_eq!(job["result"]["leftOut"], 1, "{job}");
        assert_eq!(key_names(&server.admin), ["kept", "leaked"]);
        assert_eq!(server.admin.get("/v1/vault/keys2/leaked").ok(200)["state"], "Compromised");
    }
    restore(&server.admin, &backup, json!({ "confirm": "system", "includeDeleted": true }));
    assert_eq!(server.admin.decrypt(&old), "x");
    assert_eq!(server.admin.get("/v1/vault/keys2/leaked").ok(200)["state"], "Compromised");
    // Asked back once, it is no longer a fact.
    restore(&server.admin, &backup, confirmed());
    assert_eq!(server.admin.decrypt(&old), "x");
}

#[test]
fn while_it_runs_callers_get_503_with_retry_after() {
    let server = TestServer::start();
    backup_key(&server.admin, "system");
    let backup = take_system(&server);
    // A request under way: the switch waits for it.
    let held = server.app().core().unwrap();
    let begun = server.admin.post(&format!("/v1/backups/{backup}/restore"), confirmed()).ok(202);
    assert_eq!(begun["status"], "In Progress");
    let until = Instant::now() + Duration::from_secs(20);
    let refused = loop {
        let answer = server.admin.get("/v1/system/info");
        if answer.status != 200 {
            break answer;
        }
        assert!(Instant::now() < until, "the restore never began");
    };
    refused.fails(ErrorCode::Unavailable, "restore");
    assert!(refused.text("message").contains(" records, ") && refused.text("message").contains('%'), "{refused}");
    assert!(refused.header("retry-after").parse::<u32>().is_ok_and(|s| s > 0), "{:?}", refused.headers);
    assert_eq!(server.nobody().get("/healthz").status, 200);
    assert_eq!(server.nobody().get("/readyz").status, 503);
    drop(held);
    let job = job_ended(&server.admin, &text(&begun, "jobId"));
    assert_eq!(job["status"], "completed", "{job}");
    assert_eq!(server.nobody().get("/readyz").status, 200);
}

/// Runs a restore that must fail, and checks that the old system serves on as if nothing had been.
fn fails_and_serves_on(server: &TestServer, backup: &str, expected: &str) {
    let incarnation = server.app().core().unwrap().incarnation;
    let token = server.admin.token();
    let job = restore_any(&server.admin, backup, confirmed());
    assert_eq!(job["status"], "failed", "{job}");
    assert!(text(&job, "error").contains(expected), "{job}");
    assert_eq!(server.admin.token(), token, "the session goes on");
    assert_eq!(server.app().core().unwrap().incarnation, incarnation);
    server.admin.key(json!({}));
    let left: Vec<_> = std::fs::read_dir(&server.settings.data)
        .unwrap()
        .map(|e| e.unwrap().file_name().into_string().unwrap())
        .filter(|n| n.contains("restoring") && !n.ends_with("-lock") || n.contains("before"))
        .collect();
    assert_eq!(left, Vec::<String>::new());
}

#[test]
fn a_failure_at_any_step_brings_the_old_system_back() {
    let server = TestServer::start();
    server.admin.key(json!({ "name": "k" }));
    backup_key(&server.admin, "system");
    let backup = take_system(&server);
    let path = archive_path(&server, &backup);
    let good = std::fs::read(&path).unwrap();
    // Damaged in the body: found before anything is touched.
    let mut bad = good.clone();
    let middle = bad.len() / 2;
    bad[middle] ^= 1;
    std::fs::write(&path, &bad).unwrap();
    fails_and_serves_on(&server, &backup, "SHA-256 differs");
    std::fs::write(&path, &good[..good.len() - 10]).unwrap();
    fails_and_serves_on(&server, &backup, "cut");
    // Another backup's archive under this name.
    let second = text(&server.admin.post("/v1/backupkeys", json!({ "scope": "system" })).ok(201), "id");
    let other = crate::support::take(&server, &server.admin, json!({ "scope": "system", "backupKey": second }));
    std::fs::copy(archive_path(&server, &text(&other, "id")), &path).unwrap();
    fails_and_serves_on(&server, &backup, "exchanged");
    // The building site is taken: a folder stands where the new database is to be made.
    std::fs::write(&path, &good).unwrap();
    let site = server.settings.data.join("store.db.restoring");
    std::fs::create_dir(&site).unwrap();
    let incarnation = server.app().core().unwrap().incarnation;
    let job = restore_any(&server.admin, &backup, confirmed());
    assert_eq!(job["status"], "failed", "{job}");
    assert_eq!(server.app().core().unwrap().incarnation, incarnation);
    std::fs::remove_dir(&site).unwrap();
    // And with everything in its place it works.
    restore(&server.admin, &backup, confirmed());
}

#[test]
fn only_who_may_restore_the_system_does_and_a_domain_archive_is_no_system() {
    let server = TestServer::start();
    let d = server.domain("d");
    backup_key(&d.admin, "domain");
    let of_domain = take_domain(&server, &d.admin);
    backup_key(&server.admin, "system");
    let restorer = server.as_user(&[keyark_model::access::Role::RestoreAdmins]);
    let backup = take_system(&server);
    let taker = server.as_user(&[keyark_model::access::Role::BackupAdmins]);
    taker.post(&format!("/v1/backups/{backup}/restore"), confirmed()).fails(ErrorCode::Forbidden, "");
    server.admin.get(&format!("/v1/backups/{of_domain}")).fails(ErrorCode::NotFound, "");
    server.admin.post(&format!("/v1/backups/{of_domain}/restore"), confirmed()).fails(ErrorCode::NotFound, "");
    restore(&restorer, &backup, confirmed());
}

#[test]
fn a_proof_of_escrow_and_the_default_key_survive_the_restore_of_their_system() {
    let server = TestServer::start();
    let key = backup_key(&server.admin, "system");
    let file = exported(&server.admin, &key);
    let backup = take_system(&server);
    let check = json!({ "file": file.0, "password": file.1 });
    server.admin.post("/v1/backupkeys/check", check).ok(200);
    restore(&server.admin, &backup, confirmed());
    let shown = server.admin.get(&format!("/v1/backupkeys/{key}")).ok(200);
    assert_eq!((&shown["escrowed"], &shown["isDefault"]), (&json!(true), &json!(true)));
    let core = server.app().core().unwrap();
    assert_eq!(core.load_all::<BackupKeyHeader>(DomainId::ROOT).unwrap().len(), 1);
    assert_eq!(core.load_all::<BackupHeader>(DomainId::ROOT).unwrap().len(), 1);
    drop(core);
    // The file that was kept opens archives of the new incarnation too.
    let new = take_system(&server);
    let folder = tempfile::tempdir().unwrap();
    recovery(&folder.path().join("data"), &archive_path(&server, &new), &file).unwrap();
}
