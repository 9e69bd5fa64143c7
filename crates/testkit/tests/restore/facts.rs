//! What a restore must not bring back, how it differs from the archive, and what it reports.

use std::collections::BTreeSet;

use keyark_model::Kind;
use keyark_testkit::TestServer;
use keyark_testkit::client::text;
use serde_json::{Value, json};

use crate::support::{
    archive_path, backup_key, download, everything, exported, key_delete, key_names, lines, plan, recovery, restore,
    take_domain, take_system, upload, upload_key,
};

#[test]
fn later_backups_that_were_brought_here_are_asked_and_the_plan_names_those_that_do_not_open() {
    let server = TestServer::start();
    let d = server.domain("d");
    for name in ["kept", "deleted", "leaked"] {
        d.admin.key(json!({ "name": name }));
    }
    let key = backup_key(&d.admin, "domain");
    let early = take_domain(&server, &d.admin);
    server.advance(60);
    key_delete(&d.admin, "deleted");
    d.admin.post("/v1/vault/keys2/leaked/revoke", json!({ "reason": "KeyCompromise" })).ok(200);
    let second = text(&d.admin.post("/v1/backupkeys", json!({ "scope": "domain" })).ok(201), "id");
    let late = crate::support::take(&server, &d.admin, json!({ "scope": "domain", "backupKey": second }));
    let late = text(&late, "id");
    // Elsewhere nobody knows what happened after the early one.
    let other = TestServer::start();
    let target = other.domain("target");
    let early_bytes = download(&d.admin, &early);
    upload(&target.admin, &early_bytes).ok(201);
    upload_key(&target.admin, &exported(&d.admin, &key)).ok(201);
    let facts = crate::support::send_file(&target.admin, "/v1/backups/inspect", &early_bytes).ok(200);
    let signer = json!({ "signer": facts["signerKeyId"] });
    let alone = plan(&target.admin, &early, signer.clone()).ok(200);
    assert_eq!(lines(&alone, "create").iter().filter(|(kind, _)| kind == "keys").count(), 3, "{alone}");
    assert!(alone.get("notLookedInto").is_none(), "{alone}");
    // The later one is here but does not open: the plan says that it could not look further.
    upload(&target.admin, &download(&d.admin, &late)).ok(201);
    let blind = plan(&target.admin, &early, signer.clone()).ok(200);
    let said = blind["notLookedInto"].to_string();
    assert!(said.contains(&late) && said.contains(&second), "{blind}");
    assert_ne!(blind["digest"], alone["digest"]);
    // With its key it is asked, and its facts hold.
    upload_key(&target.admin, &exported(&d.admin, &second)).ok(201);
    let seeing = plan(&target.admin, &early, signer.clone()).ok(200);
    assert!(seeing.get("notLookedInto").is_none(), "{seeing}");
    let found: BTreeSet<String> = seeing["negativeFacts"].as_array().unwrap().iter().map(|f| text(f, "fact")).collect();
    assert_eq!(found, ["compromised", "deleted"].map(String::from).into(), "{seeing}");
    restore(&target.admin, &early, signer);
    assert_eq!(key_names(&target.admin), ["kept", "leaked"]);
    assert_eq!(target.admin.get("/v1/vault/keys2/leaked").ok(200)["state"], "Compromised");
}

#[test]
fn an_ordinary_restore_differs_from_the_archive_by_the_listed_facts_and_nothing_else() {
    let server = TestServer::start();
    let d = server.domain("d");
    for name in ["kept", "deleted", "leaked", "destroyed", "changed"] {
        d.admin.key(json!({ "name": name }));
    }
    let user = json!({ "username": "gone-bad", "password": "correct horse battery" });
    let user = text(&server.admin.post("/v1/usermgmt/users", user).ok(201), "user_id");
    let file = exported(&server.admin, &backup_key(&server.admin, "system"));
    let backup = take_system(&server);
    // The exact state, with all facts waived: on an empty machine nobody knows any.
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    recovery(&data, &archive_path(&server, &backup), &file).unwrap();
    let exact = everything(&TestServer::start_again(&data));

    key_delete(&d.admin, "deleted");
    d.admin.post("/v1/vault/keys2/leaked/revoke", json!({ "reason": "KeyCompromise" })).ok(200);
    d.admin.post("/v1/vault/keys2/destroyed/destroy", json!({ "confirm": "destroyed" })).ok(200);
    d.admin.patch("/v1/vault/keys2/changed", json!({ "description": "since" })).ok(200);
    d.admin.key(json!({ "name": "younger" }));
    server.admin.patch(&format!("/v1/usermgmt/users/{user}"), json!({ "disabled": true }));
    let planned = plan(&server.admin, &backup, json!({})).ok(200);
    let facts: BTreeSet<String> = planned["negativeFacts"].as_array().unwrap().iter().map(|f| text(f, "id")).collect();
    assert!(facts.len() >= 3, "{planned}");
    let job = restore(&server.admin, &backup, json!({ "confirm": "system" }));
    let listed: BTreeSet<String> =
        job["result"]["negativeFacts"].as_array().unwrap().iter().map(|f| text(f, "id")).collect();
    assert_eq!(listed, facts, "the report lists what the plan listed");
    let ordinary = everything(&server);
    let differ = |a: &[(Kind, keyark_model::Id, Vec<u8>)],
                  b: &[(Kind, keyark_model::Id, Vec<u8>)]|
     -> BTreeSet<String> { a.iter().filter(|r| !b.contains(r)).map(|r| r.1.to_string()).collect() };
    let differing: BTreeSet<String> = differ(&exact, &ordinary).union(&differ(&ordinary, &exact)).cloned().collect();
    assert_eq!(differing, facts, "every difference is a listed fact, and every fact made one");
}

#[test]
fn plan_and_report_have_a_line_for_every_record() {
    let server = TestServer::start();
    let d = server.domain("d");
    backup_key(&d.admin, "domain");
    let ids: Vec<String> =
        ["same", "changed", "gone"].map(|name| text(&d.admin.key(json!({ "name": name })), "id")).to_vec();
    let backup = take_domain(&server, &d.admin);
    d.admin.patch("/v1/vault/keys2/changed", json!({ "description": "since" })).ok(200);
    key_delete(&d.admin, "gone");
    let options = json!({ "conflict": "overwrite" });
    let planned = plan(&d.admin, &backup, options.clone()).ok(200);
    assert_eq!(lines(&planned, "overwrite"), [("keys".to_owned(), ids[1].clone())]);
    let line = planned["resources"].as_array().unwrap().iter().find(|l| l["action"] == "overwrite").unwrap();
    assert!(text(line, "reason").contains("other content"), "{line}");
    let skipped: Vec<String> = lines(&planned, "skip").into_iter().map(|(_, id)| id).collect();
    assert!(skipped.contains(&ids[0]) && skipped.contains(&ids[2]), "{planned}");
    assert!(planned["resources"].as_array().unwrap().iter().all(|l| !text(l, "reason").is_empty()), "{planned}");
    let job = restore(&d.admin, &backup, options);
    let report = &job["result"];
    assert_eq!(report["records"], planned["resources"], "each record with its action and reason, skips included");
    assert_eq!((&report["recordsLeftOff"], &report["restored"]), (&Value::from(0), &Value::from(1)));
}

#[test]
fn the_first_entry_names_what_it_continues_and_activation_confirms() {
    let server = TestServer::start();
    backup_key(&server.admin, "system");
    let backup = take_system(&server);
    let before = server.app().core().unwrap().incarnation;
    let job = restore(&server.admin, &backup, json!({ "confirm": "system" }));
    let core = server.app().core().unwrap();
    let base = core.store.base().unwrap();
    let first = core.store.entries(base.seq, 1, None).unwrap().remove(0);
    let parent = core.store.identity().parent.unwrap();
    assert_eq!((first.seq, first.action.as_str()), (base.seq + 1, "system_restore"));
    assert_eq!(first.target, format!("{before} at {}, hash {}", parent.position.seq, parent.hash));
    assert_eq!(first.outcome, keyark_model::Outcome::Success);
    let of_job = first.changes.iter().any(|c| c.kind == Kind::Job && c.id.to_string() == text(&job, "id"));
    assert!(of_job, "the outcome is in it");
    drop(core);
    let kept = server.settings.data.join(text(&job["result"], "kept"));
    assert!(kept.is_file(), "the old system is kept until somebody confirms the new one");
    server.admin.post("/v1/system/activate", json!({ "confirm": "activate" })).ok(200);
    assert!(!kept.exists(), "and goes then, with all that was destroyed since");
    server.admin.key(json!({}));
}

#[test]
fn what_comes_back_does_not_go_away_by_itself_a_minute_later() {
    let server = TestServer::start();
    let d = server.domain("d");
    for name in ["going", "ending"] {
        d.admin.key(json!({ "name": name }));
    }
    let old = d.admin.encrypt("ending", "kept");
    crate::support::secret(&d.admin, "s", "going", "kept-value-1");
    backup_key(&d.admin, "domain");
    d.admin.delete("/v1/vault/keys2/going?pendingDays=7").ok(204);
    d.admin.delete("/v1/vault/secrets/s?pendingDays=7").ok(204);
    d.admin.post("/v1/vault/keys2/ending/destroy", json!({ "pendingDays": 7 })).ok(200);
    let backup = take_domain(&server, &d.admin);
    // Nothing has changed: a restore finds nothing to do, and leaves what is scheduled.
    let same = plan(&d.admin, &backup, json!({})).ok(200);
    assert_eq!(same["actions"].as_object().unwrap().keys().collect::<Vec<_>>(), ["skip"], "{same}");
    assert_eq!(same["negativeFacts"], json!([]), "{same}");
    server.advance(8 * 86_400);
    server.tick();
    d.admin.renew();
    assert_eq!(key_names(&d.admin), ["ending"]);
    let ending = text(&d.admin.get("/v1/vault/keys2/ending").ok(200), "id");
    let options = json!({ "includeDeleted": true, "includeDestroyed": [ending], "conflict": "overwrite" });
    let planned = plan(&d.admin, &backup, options.clone()).ok(200);
    let facts = planned["negativeFacts"].as_array().unwrap();
    assert_eq!(facts.iter().filter(|f| f["fact"] == "scheduled").count(), 3, "{planned}");
    restore(&d.admin, &backup, options);
    server.tick();
    d.admin.renew();
    assert_eq!(key_names(&d.admin), ["ending", "going"]);
    assert_eq!(d.admin.decrypt(&old), "kept");
    assert_eq!(crate::support::secret_value(&d.admin, "s"), "kept-value-1");
    assert!(d.admin.get("/v1/vault/keys2/going").ok(200).get("deletionDate").is_none());
}
