//! Restores into a running domain: what stays away, what clashes, what is rewritten, and that it is all or nothing.

use keyark_api::ErrorCode;
use keyark_model::ChangeContent;
use keyark_testkit::client::text;
use keyark_testkit::{Client, TestServer};
use serde_json::{Value, json};

use crate::support::{
    domain_with_key, download, exported, key_delete, key_names, lines, material, plan, restore, restore_any, secret,
    secret_value, take, take_domain, upload, upload_key,
};

fn state(by: &Client, key: &str) -> String {
    text(&by.get(&format!("/v1/vault/keys2/{key}")).ok(200), "state")
}

#[test]
fn deleted_keys_stay_away_by_default_and_come_back_with_one_flag() {
    let server = TestServer::start();
    let d = domain_with_key(&server, "d");
    for n in 0..3 {
        d.admin.key(json!({ "name": format!("k{n}") }));
    }
    let old = d.admin.encrypt("k1", "still there");
    let backup = take_domain(&server, &d.admin);
    key_delete(&d.admin, "k0");
    key_delete(&d.admin, "k1");
    let careful = plan(&d.admin, &backup, json!({})).ok(200);
    assert_eq!(careful["negativeFacts"].as_array().unwrap().len(), 2, "{careful}");
    assert!(careful["negativeFacts"].as_array().unwrap().iter().all(|f| f["waived"] == false));
    assert_eq!(lines(&careful, "create"), []);
    let job = restore(&d.admin, &backup, json!({ "digest": careful["digest"] }));
    assert_eq!(job["result"]["negativeFacts"].as_array().unwrap().len(), 2, "the report says what stayed away");
    assert_eq!(key_names(&d.admin), ["k2"]);
    let asked = json!({ "includeDeleted": true });
    let all = plan(&d.admin, &backup, asked.clone()).ok(200);
    assert_eq!(lines(&all, "create").len(), 2);
    assert!(all["negativeFacts"].as_array().unwrap().iter().all(|f| f["waived"] == true));
    restore(&d.admin, &backup, asked);
    assert_eq!(key_names(&d.admin), ["k0", "k1", "k2"]);
    assert_eq!(d.admin.decrypt(&old), "still there");
}

#[test]
fn destroyed_material_comes_back_only_by_id_and_compromised_keys_stay_compromised() {
    let server = TestServer::start();
    let d = domain_with_key(&server, "d");
    let ids: Vec<String> = ["gone", "leaked"].map(|n| text(&d.admin.key(json!({ "name": n })), "id")).into();
    let old = d.admin.encrypt("gone", "x");
    let leaked = d.admin.encrypt("leaked", "y");
    let backup = take_domain(&server, &d.admin);
    d.admin.post("/v1/vault/keys2/gone/deactivate", json!({}));
    d.admin.post("/v1/vault/keys2/gone/destroy", json!({ "confirm": "gone" })).ok(200);
    d.admin.post("/v1/vault/keys2/leaked/revoke", json!({ "reason": "KeyCompromise" })).ok(200);
    assert_eq!(state(&d.admin, "gone"), "Destroyed");

    restore(&d.admin, &backup, json!({ "conflict": "overwrite", "includeDeleted": true }));
    assert_eq!(state(&d.admin, "gone"), "Destroyed");
    assert_eq!(state(&d.admin, "leaked"), "Compromised");
    assert_eq!(d.admin.decrypt(&leaked), "y", "a compromised key still opens old data");
    assert_ne!(d.admin.post("/v1/crypto/decrypt", old.clone()).status, 200);

    restore(&d.admin, &backup, json!({ "conflict": "overwrite", "includeDestroyed": [ids[0]] }));
    assert_eq!(state(&d.admin, "gone"), "Active");
    assert_eq!(d.admin.decrypt(&old), "x");
    assert_eq!(state(&d.admin, "leaked"), "Compromised");
    d.admin.post("/v1/crypto/encrypt", json!({ "id": "leaked", "plaintext": "eA==" })).fails(ErrorCode::KeyState, "");
}

#[test]
fn a_conflict_refuses_skips_overwrites_or_renames() {
    let server = TestServer::start();
    let d = domain_with_key(&server, "d");
    let a = text(&d.admin.key(json!({ "name": "a", "labels": { "at": "backup" } })), "id");
    let b = text(&d.admin.key(json!({ "name": "b" })), "id");
    d.admin.post("/v1/vault/keys2/b/links", json!({ "type": "parent", "target": "a" })).ok(201);
    secret(&d.admin, "s", "a", "first-value-1");
    let old = d.admin.encrypt("a", "old");
    let backup = take_domain(&server, &d.admin);
    d.admin.patch("/v1/vault/keys2/a", json!({ "labels": { "at": "now" } })).ok(200);
    d.admin.patch("/v1/vault/keys2/b", json!({ "description": "changed" })).ok(200);
    d.admin.post("/v1/vault/secrets/s/rotate", json!({ "material": "second-value-2" })).ok(201);

    let refused = plan(&d.admin, &backup, json!({})).ok(200);
    assert_eq!(lines(&refused, "refuse").len(), 3, "{refused}");
    let job = restore_any(&d.admin, &backup, json!({}));
    assert_eq!(job["status"], "failed", "{job}");
    let label = |name: &str| d.admin.get(&format!("/v1/vault/keys2/{name}")).ok(200)["labels"]["at"].clone();
    assert_eq!(label("a"), "now");

    restore(&d.admin, &backup, json!({ "conflict": "skip" }));
    assert_eq!(label("a"), "now");

    let renaming = json!({ "conflict": "rename" });
    let job = restore(&d.admin, &backup, renaming.clone());
    assert_eq!(job["result"]["actions"]["rename"], 4, "two keys, a secret, and the count of a's encryptions: {job}");
    assert_eq!(label("a"), "now");
    assert_eq!(label("a-restored"), "backup");
    assert_eq!(secret_value(&d.admin, "s-restored"), "first-value-1", "it opens with the renamed key");
    assert_eq!(secret_value(&d.admin, "s"), "second-value-2");
    let new_a = text(&d.admin.get("/v1/vault/keys2/a-restored").ok(200), "id");
    assert_ne!(new_a, a);
    let links = d.admin.get("/v1/vault/keys2/b-restored/links").ok(200);
    assert_eq!(links["resources"][0]["target"], Value::from(new_a.clone()), "links follow: {links}");
    let mut through_new = old.clone();
    through_new["id"] = Value::from(new_a);
    assert_eq!(d.admin.decrypt(&through_new), "old");
    // The renamed secret needs the renamed key, not the one it had.
    d.admin.delete("/v1/vault/secrets/s?confirm=s").ok(204);
    key_delete(&d.admin, "b");
    assert_eq!(secret_value(&d.admin, "s-restored"), "first-value-1");
    // Once more makes no third copy.
    let again = plan(&d.admin, &backup, renaming).ok(200);
    assert!(lines(&again, "rename").iter().all(|(kind, id)| kind != "keys" || *id != a), "{again}");

    restore(&d.admin, &backup, json!({ "conflict": "overwrite", "items": [format!("keys:{a}")] }));
    assert_eq!(label("a"), "backup");
    assert_eq!(d.admin.decrypt(&old), "old");
    assert!(!key_names(&d.admin).contains(&"b".to_owned()), "{b} was not asked for");
}

#[test]
fn a_conflict_gives_a_secret_the_archived_value_as_its_newest_version() {
    let server = TestServer::start();
    let d = domain_with_key(&server, "d");
    let k = text(&d.admin.key(json!({ "name": "k" })), "id");
    let s = secret(&d.admin, "s", "k", "first-value-1");
    d.admin.post("/v1/vault/secrets/s/rotate", json!({ "material": "second-value-2" })).ok(201);
    let backup = take_domain(&server, &d.admin);
    d.admin.post("/v1/vault/secrets/s/rotate", json!({ "material": "third-value-3" })).ok(201);
    d.admin.patch("/v1/vault/keys2/k", json!({ "description": "changed" })).ok(200);
    let asked = |items: &[String]| json!({ "conflict": "newVersion", "items": items });
    // Keys have no such thing: the whole restore is refused.
    let both = plan(&d.admin, &backup, json!({ "conflict": "newVersion" })).ok(200);
    assert_eq!(lines(&both, "refuse"), [("keys".to_owned(), k)], "{both}");
    // The value that the archive holds as the newest is a version here already.
    let known = plan(&d.admin, &backup, asked(&[format!("secrets:{s}")])).ok(200);
    assert_eq!(lines(&known, "skip").iter().filter(|(kind, _)| kind == "secrets").count(), 1, "{known}");
    d.admin.post("/v1/vault/secrets/s/destroy", json!({ "version": 1, "confirm": "s" })).ok(200);
    let job = restore(&d.admin, &backup, asked(&[format!("secrets:{s}")]));
    assert_eq!(job["result"]["actions"]["newVersion"], 1, "{job}");
    assert_eq!(secret_value(&d.admin, "s"), "second-value-2", "the newest is the archived one");
    let value = |version: u32| {
        d.admin.post("/v1/vault/secrets/s/export", json!({ "version": version })).ok(200)["material"].clone()
    };
    assert_eq!(
        (value(0), value(2), value(3)),
        ("first-value-1".into(), "third-value-3".into(), "second-value-2".into())
    );
    // It goes on from there, and survives a further backup.
    let again = take_domain(&server, &d.admin);
    d.admin.delete("/v1/vault/secrets/s?confirm=s").ok(204);
    restore(&d.admin, &again, json!({ "includeDeleted": true, "items": [format!("secrets:{s}")] }));
    assert_eq!(secret_value(&d.admin, "s"), "second-value-2");
}

#[test]
fn exact_deletes_what_the_plan_lists_and_wants_the_domain_named_twice() {
    let server = TestServer::start();
    let d = domain_with_key(&server, "d");
    d.admin.key(json!({ "name": "old" }));
    let backup = take_domain(&server, &d.admin);
    let later = text(&d.admin.key(json!({ "name": "later" })), "id");
    let asked = json!({ "mode": "exact" });
    let planned = plan(&d.admin, &backup, asked.clone()).ok(200);
    assert_eq!(lines(&planned, "delete"), [("keys".to_owned(), later)]);
    let path = format!("/v1/backups/{backup}/restore");
    d.admin.post(&path, asked).fails(ErrorCode::ConfirmNeeded, "confirm");
    restore(&d.admin, &backup, json!({ "mode": "exact", "confirm": "d", "digest": planned["digest"] }));
    assert_eq!(key_names(&d.admin), ["old"]);

    // A selection says nothing about what it left out.
    d.admin.key(json!({ "name": "other" }));
    let filters = json!([{ "resourceType": "Keys", "resourceQuery": { "name": "old" } }]);
    let some = take(&server, &d.admin, json!({ "scope": "domain", "filters": filters }));
    let some = text(&some, "id");
    plan(&d.admin, &some, json!({ "mode": "exact" })).fails(ErrorCode::InvalidParam, "merge");
    let job = restore_any(&d.admin, &some, json!({ "mode": "exact", "confirm": "d" }));
    assert_eq!(job["status"], "failed", "{job}");
    assert_eq!(key_names(&d.admin), ["old", "other"]);
}

#[test]
fn a_plan_writes_nothing_and_binds_to_the_ground_that_it_names() {
    let server = TestServer::start();
    let d = domain_with_key(&server, "d");
    d.admin.key(json!({ "name": "a" }));
    let backup = take_domain(&server, &d.admin);
    d.admin.patch("/v1/vault/keys2/a", json!({ "description": "one" })).ok(200);
    let head = || server.app().core().unwrap().store.head();
    let before = head();
    let asked = json!({ "conflict": "overwrite" });
    let planned = plan(&d.admin, &backup, asked.clone()).ok(200);
    assert_eq!(head(), before, "a plan is a question");
    let again = plan(&d.admin, &backup, asked).ok(200);
    assert_eq!(planned["digest"], again["digest"]);

    d.admin.key(json!({ "name": "unrelated" }));
    let with_digest = |digest: &Value| json!({ "conflict": "overwrite", "digest": digest });
    restore(&d.admin, &backup, with_digest(&planned["digest"]));
    d.admin.patch("/v1/vault/keys2/a", json!({ "description": "two" })).ok(200);
    let job = restore_any(&d.admin, &backup, with_digest(&planned["digest"]));
    assert_eq!(job["status"], "failed");
    assert!(text(&job, "error").contains("new plan"), "{job}");
    assert_eq!(d.admin.get("/v1/vault/keys2/a").ok(200)["description"], "two");
}

#[test]
fn a_restore_over_the_quota_writes_nothing() {
    let server = TestServer::start();
    let d = domain_with_key(&server, "d");
    for n in 0..4 {
        d.admin.key(json!({ "name": format!("k{n}") }));
    }
    let backup = take_domain(&server, &d.admin);
    for n in 0..3 {
        key_delete(&d.admin, &format!("k{n}"));
    }
    let asked = json!({ "includeDeleted": true });
    let planned = plan(&d.admin, &backup, asked.clone()).ok(200);
    assert_eq!(planned.get("problems"), None);
    // It shrinks between the plan and the restore.
    server.admin.patch(&format!("/v1/domains/{}", d.id), json!({ "quotas": { "keys": 2 } })).ok(200);
    let again = plan(&d.admin, &backup, asked).ok(200);
    assert!(again["problems"][0].as_str().unwrap().contains("it holds 1 and 3 would come"), "{again}");
    assert_eq!(again["digest"], planned["digest"]);
    let job = restore_any(&d.admin, &backup, json!({ "includeDeleted": true, "digest": planned["digest"] }));
    assert_eq!(job["status"], "failed");
    assert!(text(&job, "error").contains("may hold 2 keys"), "{job}");
    assert_eq!(key_names(&d.admin), ["k3"]);
    server.admin.patch(&format!("/v1/domains/{}", d.id), json!({ "quotas": { "keys": 4 } })).ok(200);
    restore(&d.admin, &backup, json!({ "includeDeleted": true }));
    assert_eq!(key_names(&d.admin).len(), 4);
}

#[test]
fn one_key_comes_with_all_its_versions_and_one_secret_needs_its_key() {
    let server = TestServer::start();
    let d = domain_with_key(&server, "d");
    for n in 0..200 {
        d.admin.key(json!({ "name": format!("other{n}") }));
    }
    let key = text(&d.admin.key(json!({ "name": "k" })), "id");
    let mut made = vec![d.admin.encrypt("k", "v0")];
    for n in 1..4 {
        d.admin.post("/v1/vault/keys2/k/rotate", json!({})).ok(201);
        made.push(d.admin.encrypt("k", &format!("v{n}")));
    }
    let s = secret(&d.admin, "s", "k", "secret-value-1");
    let backup = take_domain(&server, &d.admin);
    let file = (
        download(&d.admin, &backup),
        exported(&d.admin, &text(&d.admin.get("/v1/backupkeys").ok(200)["resources"][0], "id")),
    );

    let other = TestServer::start();
    let e = other.domain("e");
    upload_key(&e.admin, &file.1).ok(201);
    upload(&e.admin, &file.0).ok(201);
    let facts = crate::support::send_file(&e.admin, "/v1/backups/inspect", &file.0).ok(200);
    let asked = |items: Vec<String>| json!({ "items": items, "signer": facts["signerKeyId"] });
    let alone = plan(&e.admin, &backup, asked(vec![format!("secrets:{s}")])).ok(200);
    assert_eq!(lines(&alone, "refuse").len(), 1, "{alone}");
    let job = restore_any(&e.admin, &backup, asked(vec![format!("secrets:{s}")]));
    assert!(text(&job, "error").contains("which is neither here nor comes along"), "{job}");
    restore(&e.admin, &backup, asked(vec![format!("keys:{key}")]));
    assert_eq!(key_names(&e.admin), ["k"]);
    for (n, old) in made.iter().enumerate() {
        assert_eq!(e.admin.decrypt(old), format!("v{n}"));
    }
    assert_eq!(material(&e.admin, "k"), material(&d.admin, "k"));
    restore(&e.admin, &backup, asked(vec![format!("secrets:{s}")]));
    assert_eq!(secret_value(&e.admin, "s"), "secret-value-1");
    e.admin
        .post(&format!("/v1/backups/{backup}/plan"), json!({ "items": ["nonsense:x"] }))
        .fails(ErrorCode::InvalidParam, "");
}

#[test]
fn a_large_restore_is_many_entries_of_one_commit() {
    let server = TestServer::start();
    let (d, e) = (domain_with_key(&server, "d"), server.domain("e"));
    d.admin.key(json!({ "name": "k" }));
    for n in 0..30 {
        secret(&d.admin, &format!("s{n}"), "k", &"v".repeat(60_000));
    }
    let backup = take_domain(&server, &d.admin);
    let shown = d.admin.get(&format!("/v1/backups/{backup}")).ok(200);
    upload_key(&e.admin, &exported(&d.admin, &text(&shown, "backupKey"))).ok(201);
    upload(&e.admin, &download(&d.admin, &backup)).ok(201);
    let core = server.app().core().unwrap();
    let domain = e.id.parse().unwrap();
    let before = core.store.domain_head(domain).unwrap();
    restore(&e.admin, &backup, json!({ "conflict": "rename" }));
    let entries = core.store.entries(before.seq, u64::MAX, Some(domain)).unwrap();
    let entries: Vec<_> = entries.iter().filter(|e| e.action == "backup_restore").collect();
    let bytes = |content: &ChangeContent| match content {
        ChangeContent::Put { header, body } => header.len() + body.len(),
        ChangeContent::Delete | ChangeContent::Withheld => 0,
    };
    let sizes: Vec<usize> = entries.iter().map(|e| e.changes.iter().map(|c| bytes(&c.content)).sum()).collect();
    assert!(sizes.len() >= 2 && sizes.iter().all(|size| *size <= 1 << 20), "{sizes:?}");
    assert!(sizes.iter().sum::<usize>() > 30 * 60_000, "{sizes:?}");
    // Nothing of anybody else stands between them: they were one commit.
    assert!(entries.windows(2).all(|pair| pair[0].seq + 1 == pair[1].seq));
    let there = e.admin.get("/v1/vault/secrets").ok(200);
    assert_eq!(there["total"], 30);
    assert_eq!(secret_value(&e.admin, &text(&there["resources"][0], "id")), "v".repeat(60_000));
}
