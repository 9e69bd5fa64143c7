//! A whole backup and the increments after it: restored in one go, in order, deletions included; a missing link is named.

use keyark_api::ErrorCode;
use keyark_model::{Kind, Shipping};
use keyark_testkit::client::text;
use keyark_testkit::{Client, TestDomain, TestServer};
use serde_json::{Value, json};

use crate::support::{
    archive_path, backup_key, download, everything, exported, key_delete, key_names, material, plan, recovery, restore,
    restore_any, secret, secret_value, send_file, take, take_domain, take_system, upload, upload_key,
};

fn increment(server: &TestServer, by: &Client, scope: &str, since: &str) -> String {
    text(&take(server, by, json!({ "scope": scope, "since": since })), "id")
}

/// Three backups of a domain, each continuing the one before, with something changed, made and deleted in between.
struct Chain {
    d: TestDomain,
    ids: Vec<String>,
    kept: String,
}

fn chain(server: &TestServer) -> Chain {
    let d = server.domain("d");
    backup_key(&d.admin, "domain");
    for name in ["changed", "kept", "gone-first", "gone-last"] {
        d.admin.key(json!({ "name": name, "description": "whole" }));
    }
    let kept = material(&d.admin, "kept");
    let whole = take_domain(server, &d.admin);
    d.admin.patch("/v1/vault/keys2/changed", json!({ "description": "first" })).ok(200);
    d.admin.key(json!({ "name": "came-and-went" }));
    secret(&d.admin, "came", "kept", "secret-of-the-first");
    key_delete(&d.admin, "gone-first");
    let first = increment(server, &d.admin, "domain", &whole);
    d.admin.patch("/v1/vault/keys2/changed", json!({ "description": "second" })).ok(200);
    key_delete(&d.admin, "came-and-went");
    key_delete(&d.admin, "gone-last");
    d.admin.key(json!({ "name": "last" }));
    let second = increment(server, &d.admin, "domain", &first);
    Chain { d, ids: vec![whole, first, second], kept }
}

const AT_THE_POINT: [&str; 3] = ["changed", "kept", "last"];

#[test]
fn a_chain_restores_in_one_go_in_another_system_and_a_missing_link_is_named() {
    let server = TestServer::start();
    let made = chain(&server);
    let admin = &made.d.admin;
    let key = text(&admin.get(&format!("/v1/backups/{}", made.ids[0])).ok(200), "backupKey");
    let other = TestServer::start();
    let target = other.domain("target");
    upload_key(&target.admin, &exported(admin, &key)).ok(201);
    let bytes: Vec<_> = made.ids.iter().map(|id| download(admin, id)).collect();
    let facts = send_file(&target.admin, "/v1/backups/inspect", &bytes[0]).ok(200);
    let signed = |more: Value| {
        let mut options = json!({ "signer": facts["signerKeyId"] });
        options.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        options
    };
    upload(&target.admin, &bytes[2]).ok(201);
    plan(&target.admin, &made.ids[2], signed(json!({}))).fails(ErrorCode::RestoreConflict, &made.ids[1]);
    upload(&target.admin, &bytes[0]).ok(201);
    let refused = target.admin.post(&format!("/v1/backups/{}/restore", made.ids[2]), signed(json!({})));
    refused.fails(ErrorCode::RestoreConflict, &made.ids[1]);
    assert!(key_names(&target.admin).is_empty());
    upload(&target.admin, &bytes[1]).ok(201);

    let planned = plan(&target.admin, &made.ids[2], signed(json!({}))).ok(200);
    assert_eq!(planned["chain"], json!(made.ids), "the chain is named in its order");
    let job = restore(&target.admin, &made.ids[2], signed(json!({})));
    assert_eq!(job["result"]["chain"], json!(made.ids));
    assert_eq!(key_names(&target.admin), AT_THE_POINT);
    let changed = target.admin.get("/v1/vault/keys2/changed").ok(200);
    assert_eq!(changed["description"], "second", "the last link wins");
    assert_eq!(material(&target.admin, "kept"), made.kept);
    assert_eq!(secret_value(&target.admin, "came"), "secret-of-the-first");
    // The link in the middle gives the state of its own point.
    let planned = plan(&target.admin, &made.ids[1], signed(json!({ "conflict": "overwrite" }))).ok(200);
    assert_eq!(planned["chain"], json!(made.ids[..2]));
    restore(&target.admin, &made.ids[1], signed(json!({ "conflict": "overwrite" })));
    assert_eq!(target.admin.get("/v1/vault/keys2/changed").ok(200)["description"], "first");
    assert_eq!(key_names(&target.admin), ["came-and-went", "changed", "gone-last", "kept", "last"]);
}

#[test]
fn exact_makes_a_domain_what_it_was_at_the_last_link() {
    let server = TestServer::start();
    let made = chain(&server);
    let admin = &made.d.admin;
    admin.key(json!({ "name": "after-the-point" }));
    admin.patch("/v1/vault/keys2/kept", json!({ "description": "after the point" })).ok(200);
    let exact = json!({ "mode": "exact", "confirm": "d", "conflict": "overwrite" });
    restore(admin, &made.ids[2], exact);
    assert_eq!(key_names(admin), AT_THE_POINT);
    assert_eq!(admin.get("/v1/vault/keys2/kept").ok(200)["description"], "whole");
    // Without its first link the rest is worth nothing, and says so.
    admin.delete(&format!("/v1/backups/{}?confirm={}", made.ids[0], made.ids[0])).ok(204);
    plan(admin, &made.ids[2], json!({})).fails(ErrorCode::RestoreConflict, &made.ids[0]);
}

#[test]
fn a_link_that_another_backup_stands_in_for_is_refused() {
    let server = TestServer::start();
    let made = chain(&server);
    let admin = &made.d.admin;
    // Another whole backup under the name of the first link: it has its own id inside.
    let other = take_domain(&server, admin);
    std::fs::copy(archive_path(&server, &other), archive_path(&server, &made.ids[0])).unwrap();
    let job = restore_any(admin, &made.ids[1], json!({ "conflict": "overwrite" }));
    assert_eq!(job["status"], "failed", "{job}");
    assert!(text(&job, "error").contains("exchanged"), "{job}");
    assert_eq!(job["errorCode"], ErrorCode::ArchiveDamaged.number(), "{job}");
}

#[test]
fn a_system_is_restored_from_a_chain_byte_for_byte_and_on_an_empty_machine() {
    let server = TestServer::start();
    let d = server.domain("d");
    d.admin.key(json!({ "name": "changed" }));
    d.admin.key(json!({ "name": "gone" }));
    server.admin.key(json!({ "name": "of-root" }));
    let leaving = server.domain("leaving");
    leaving.admin.key(json!({ "name": "left" }));
    let old = d.admin.encrypt("changed", "old data");
    let file = exported(&server.admin, &backup_key(&server.admin, "system"));
    let whole = take_system(&server);
    d.admin.patch("/v1/vault/keys2/changed", json!({ "description": "first" })).ok(200);
    server.domain("young").admin.key(json!({ "name": "of-the-young" }));
    d.admin.post(&format!("/v1/domains/{}/rotate-kek", d.id), json!({})).ok(200);
    let first = increment(&server, &server.admin, "system", &whole);
    key_delete(&d.admin, "gone");
    server.admin.delete(&format!("/v1/domains/{}?force=true&confirm=leaving", leaving.id)).ok(204);
    let second = increment(&server, &server.admin, "system", &first);
    let before = everything(&server);
    d.admin.key(json!({ "name": "after-the-point" }));
    d.admin.patch("/v1/vault/keys2/changed", json!({ "description": "after" })).ok(200);

    let planned = plan(&server.admin, &second, json!({})).ok(200);
    assert_eq!(planned["chain"], json!([whole, first, second]));
    let job = restore(&server.admin, &second, json!({ "confirm": "system", "digest": planned["digest"] }));
    assert_eq!(job["result"]["chain"], planned["chain"]);
    assert_eq!(everything(&server), before, "every shipped record, byte for byte");
    d.admin.renew();
    assert_eq!(d.admin.decrypt(&old), "old data");
    assert!(Kind::ALL.iter().any(|k| k.shipping() == Shipping::System));
    let findings = server.app().core().unwrap().store.check().unwrap().findings;
    assert_eq!(findings, [], "the store is what its log says");

    // The whole one makes a system of an empty machine; the rest of the chain is then restored into it.
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    recovery(&data, &archive_path(&server, &whole), &file).unwrap();
    let new = TestServer::start_again(&data);
    for link in [&first, &second] {
        upload(&new.admin, &std::fs::read(archive_path(&server, link)).unwrap()).ok(201);
    }
    restore(&new.admin, &second, json!({ "confirm": "system" }));
    assert_eq!(everything(&new), before);
}

#[test]
fn a_key_that_moved_to_another_domain_and_went_away_there_comes_back_from_no_chain() {
    let server = TestServer::start();
    let (d, target) = (server.domain("d"), server.domain("target"));
    backup_key(&server.admin, "system");
    let key = backup_key(&d.admin, "domain");
    upload_key(&target.admin, &exported(&d.admin, &key)).ok(201);
    for name in ["stays", "moves", "moves-and-goes"] {
        d.admin.key(json!({ "name": name }));
    }
    let moved = material(&d.admin, "moves");
    let domain = take_domain(&server, &d.admin);
    let mut links = vec![take_system(&server)];
    let mut states = vec![everything(&server)];
    for step in 0..3 {
        match step {
            0 => ["moves", "moves-and-goes"].iter().for_each(|name| key_delete(&d.admin, name)),
            1 => {
                upload(&target.admin, &download(&d.admin, &domain)).ok(201);
                restore(&target.admin, &domain, json!({ "conflict": "skip" }));
            }
            _ => key_delete(&target.admin, "moves-and-goes"),
        }
        // The second link leaves the first out: it holds both steps.
        let last = links[if step == 1 { 0 } else { step }].clone();
        links.push(increment(&server, &server.admin, "system", &last));
        states.push(everything(&server));
    }
    for (link, state) in links.iter().zip(&states).rev() {
        restore(&server.admin, link, json!({ "confirm": "system", "includeDeleted": true }));
        assert_eq!(everything(&server), *state);
        assert_eq!(server.app().core().unwrap().store.check().unwrap().findings, []);
    }
    d.admin.renew();
    assert_eq!(material(&d.admin, "moves"), moved);
}
