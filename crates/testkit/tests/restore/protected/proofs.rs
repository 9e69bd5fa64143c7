//! What is proven of protection: checks, drills, alarms, and that nothing leaves that must not.

use keyark_api::ErrorCode;
use keyark_backup::destination::local::Local;
use keyark_backup::drill::SignedReport;
use keyark_backup::stream::Until;
use keyark_server::recover::Origin;
use keyark_testkit::TestServer;
use keyark_testkit::canaries::no_canary_at;
use keyark_testkit::client::text;
use keyark_testkit::server::PASSWORD;
use serde_json::{Value, json};

use crate::support::{backup_key, exported, job_ended, key_names, recovery_from};

use super::{destination, instance, protected, walk};

#[test]
fn no_stream_holds_what_must_not_leave_the_machine() {
    let folder = tempfile::tempdir().unwrap();
    let server = TestServer::start();
    let d = crate::take::furnished(&server);
    backup_key(&server.admin, "system");
    let (all, one) = (folder.path().join("all"), folder.path().join("one"));
    destination(&server, "all", &all);
    destination(&server, "one", &one);
    let quotas = json!({ "quotas": { "backupRangeDays": 40 } });
    server.admin.patch(&format!("/v1/domains/{}", d.id), quotas).ok(200);
    protected(&server.admin, "system", &["all"]);
    protected(&d.admin, "extended", &["one"]);
    server.protect();
    // Everything that makes such a thing, while it is watched: logins, backup keys, KEKs, users, secrets.
    server.advance(10);
    server.nobody().post("/v1/auth/tokens", json!({ "username": "admin", "password": PASSWORD })).ok(200);
    backup_key(&d.admin, "domain");
    let user = json!({ "username": "somebody", "password": PASSWORD });
    d.admin.post("/v1/usermgmt/users", user).ok(201);
    d.admin.post(&format!("/v1/domains/{}/rotate-kek", d.id), json!({})).ok(200);
    d.admin.key(json!({ "name": "new" }));
    let reset = json!({ "name": "reset", "password": "another password" });
    let _ = server.admin.post("/v1/auth/changepw", reset);
    assert_eq!(server.protect(), 2);
    no_canary_at(&server, &all);
    no_canary_at(&server, &one);
}

#[test]
fn a_destination_is_checked_and_places_do_not_overlap() {
    let folder = tempfile::tempdir().unwrap();
    let server = TestServer::start();
    let there = folder.path().join("there");
    let id = destination(&server, "nas", &there);
    let told = server.admin.post(&format!("/v1/destinations/{id}/check"), json!({})).ok(200);
    for field in ["usable", "writes", "readsBack", "lists", "refusesOverwrite", "deletes"] {
        assert_eq!(told[field], true, "{told}");
    }
    assert!(walk(&there).is_empty(), "the check leaves nothing");
    for path in [there.clone(), there.join("inside"), folder.path().to_owned()] {
        std::fs::create_dir_all(&path).unwrap();
        let refused = server.admin.post("/v1/destinations", json!({ "name": "other", "path": path }));
        refused.fails(ErrorCode::AlreadyExists, "is there already, or around or inside it");
    }
    let refused = server.admin.post("/v1/destinations", json!({ "name": "other", "path": "relative" }));
    refused.fails(ErrorCode::InvalidParam, "from the root of the file system");
    std::fs::remove_dir_all(&there).unwrap();
    let told = server.admin.post(&format!("/v1/destinations/{id}/check"), json!({})).ok(200);
    assert_eq!(told["usable"], false);
    assert!(told["problems"].to_string().contains("is no folder"), "{told}");
    // What an instance sends to stays known.
    std::fs::create_dir_all(&there).unwrap();
    backup_key(&server.admin, "system");
    let instance = protected(&server.admin, "system", &["nas"]);
    server.admin.delete("/v1/destinations/nas").fails(ErrorCode::InUse, "sends there");
    let path = format!("/v1/backup-instances/{instance}");
    server.admin.delete(&path).fails(ErrorCode::ConfirmNeeded, "protection ends");
    server.admin.delete(&format!("{path}?confirm=all")).ok(204);
    server.admin.delete("/v1/destinations/nas").ok(204);
}

#[test]
fn the_limits_of_a_destination_are_set_and_lifted() {
    let folder = tempfile::tempdir().unwrap();
    let server = TestServer::start();
    backup_key(&server.admin, "system");
    let limits = json!({ "bytesPerSecondOut": 100_000_000, "bytesPerSecondIn": 131_072, "requestsPerSecond": 1000, "parallelism": 2 });
    let mut fields = limits.clone();
    fields["name"] = json!("nas");
    fields["path"] = json!(folder.path());
    let made = server.admin.post("/v1/destinations", fields).ok(201);
    for (name, value) in limits.as_object().unwrap() {
        assert_eq!(made[name], *value, "{made}");
    }
    let change = |fields| server.admin.patch("/v1/destinations/nas", fields);
    change(json!({ "bytesPerSecondIn": 100 })).fails(ErrorCode::InvalidParam, "131072 at least, or 0 for no limit");
    change(json!({ "parallelism": 65 })).fails(ErrorCode::InvalidParam, "parallelism is 64 at most");
    let changed = change(json!({ "bytesPerSecondIn": 0, "parallelism": 4 })).ok(200);
    assert_eq!((&changed["bytesPerSecondIn"], &changed["parallelism"]), (&json!(null), &json!(4)));
    assert_eq!(changed["requestsPerSecond"], 1000, "what was not named stays");
    let told = server.admin.post("/v1/destinations/nas/check", json!({})).ok(200);
    assert_eq!((&told["usable"], &told["deletes"]), (&json!(true), &json!(true)), "{told}");
    protected(&server.admin, "system", &["nas"]);
    assert_eq!(server.protect(), 1);
    assert!(!walk(folder.path()).is_empty());
}

#[test]
fn the_end_of_credentials_is_warned_about() {
    let server = TestServer::start();
    let days = |days: i64| server.now().plus_seconds(days * 86_400);
    let mut fields = json!({ "name": "s3", "kind": "s3", "bucket": "b", "accessKeyId": "k", "secretAccessKey": "s" });
    fields["credentialsExpireAt"] = json!(days(-1));
    server
        .admin
        .post("/v1/destinations", fields.clone())
        .fails(ErrorCode::InvalidParam, "these credentials are of no use");
    fields["credentialsExpireAt"] = json!(days(20));
    let made = server.admin.post("/v1/destinations", fields).ok(201);
    assert_eq!(made["credentialsExpireAt"], json!(days(20)));
    let local = json!({ "name": "nas", "path": "/", "credentialsExpireAt": days(20) });
    server.admin.post("/v1/destinations", local).fails(ErrorCode::InvalidParam, "has no `credentialsExpireAt`");
    let alarm = || {
        server.admin.renew();
        let all = server.admin.get("/v1/system/alarms").ok(200);
        all["resources"].as_array().unwrap().iter().find(|a| a["resource"] == "s3").map(|a| text(a, "code"))
    };
    assert_eq!(alarm(), None);
    server.advance_days(7);
    assert_eq!(alarm().as_deref(), Some("credentials_expire"));
    let rename = json!({ "name": "s3" });
    server.admin.patch("/v1/destinations/s3", rename).ok(200);
    assert_eq!(alarm().as_deref(), Some("credentials_expire"), "it is still known");
    server.advance_days(13);
    assert_eq!(alarm().as_deref(), Some("credentials_expired"));
    let update = json!({ "accessKeyId": "k2", "secretAccessKey": "s2" });
    let changed = server.admin.patch("/v1/destinations/s3", update).ok(200);
    assert_eq!((alarm(), &changed["credentialsExpireAt"]), (None, &json!(null)));
}

#[test]
fn a_drill_restores_proves_and_signs_and_alarms_say_what_is_missing() {
    let folder = tempfile::tempdir().unwrap();
    let server = TestServer::start();
    let there = folder.path().join("there");
    destination(&server, "nas", &there);
    let alarms = || -> Vec<String> {
        server.admin.renew();
        let all = server.admin.get("/v1/system/alarms").ok(200);
        let mut codes: Vec<_> = all["resources"].as_array().unwrap().iter().map(|a| text(a, "code")).collect();
        codes.sort();
        codes.dedup();
        codes.retain(|code| code != "disk_nearly_full");
        codes
    };
    assert_eq!(alarms(), ["no_schedule", "not_protected"], "of the system, and of the default instance");
    let key = backup_key(&server.admin, "system");
    let id = protected(&server.admin, "system", &["nas"]);
    assert_eq!(alarms(), ["backup_key_not_escrowed", "no_point", "not_protected"]);
    let file = exported(&server.admin, &key);
    let check = json!({ "file": file.0, "password": file.1 });
    server.admin.post("/v1/backupkeys/check", check).ok(200);
    server.protect();
    assert_eq!(alarms(), ["not_protected"]);
    for n in 0..40 {
        server.admin.key(json!({ "name": format!("k{n}") }));
    }
    server.advance(10);
    server.protect();

    let path = format!("/v1/backup-instances/{id}");
    let run = |verb: &str, fields: Value| {
        let begun = server.admin.post(&format!("{path}/{verb}"), fields).ok(202);
        job_ended(&server.admin, &text(&begun, "jobId"))
    };
    let drilled = run("drill", json!({}));
    assert_eq!(drilled["status"], "completed", "{drilled}");
    let report = &drilled["result"]["report"];
    assert_eq!(
        (&report["records"]["keys"], &report["keysProven"], &report["storeBuilt"]),
        (&json!(40), &json!(3), &json!(true))
    );
    assert!(report["digestsCompared"].as_u64() > Some(0) && report["rpoSeconds"].as_i64() < Some(11), "{report}");
    // Anybody who pinned the anchor can check it; nobody can change it.
    let signed: SignedReport = serde_json::from_value(drilled["result"]["signed"].clone()).unwrap();
    let anchor = &server.app().core().unwrap().anchor;
    assert_eq!(signed.open(anchor).unwrap().records["keys"], 40);
    let altered = SignedReport { report: signed.report.replace("\"keys\":40", "\"keys\":41"), ..signed.clone() };
    assert!(altered.report != signed.report && altered.open(anchor).is_none());
    assert!(walk(&server.settings.data.join("spool")).is_empty(), "nothing of the drill is left");

    let verified = run("verify", json!({}));
    assert_eq!((&verified["status"], &verified["result"]["findings"]), (&json!("completed"), &json!([])), "{verified}");
    let shown = instance(&server.admin, &id);
    assert_eq!(
        (&shown["destinations"][0]["findings"], shown["destinations"][0].get("drilledAt").is_some()),
        (&json!(0), true)
    );
    // What somebody does to it is found, and stays an alarm until it is mended.
    let log = walk(&there).into_iter().find(|p| p.to_string_lossy().contains("/log/")).unwrap();
    let good = std::fs::read(&log).unwrap();
    std::fs::write(&log, &good[..good.len() - 1]).unwrap();
    assert_eq!(run("verify", json!({}))["result"]["findings"].as_array().unwrap().len(), 1);
    assert!(alarms().contains(&"verification_failed".to_owned()));
    let failed = run("drill", json!({}));
    assert_eq!(failed["status"], "failed", "{failed}");
    std::fs::write(&log, &good).unwrap();
    assert_eq!(run("verify", json!({ "depth": "quick" }))["result"]["readObjects"], 0);
    assert_eq!(alarms(), ["not_protected"]);
    let measured = || server.nobody().get("/metrics").body;
    let page = String::from_utf8(measured()).unwrap();
    for line in ["keyark_backup_instances_enabled 1", "keyark_destinations_failing 0", "keyark_protected_age_seconds 0"]
    {
        assert!(page.contains(line), "{line} is not in\n{page}");
    }
    // Nobody ships, nobody drills.
    server.advance_days(32);
    assert_eq!(alarms(), ["destination_needs_full", "drill_overdue", "not_protected", "too_old"]);
    let status = server.admin.get("/v1/protection/status").ok(200);
    assert_eq!(status["instances"].as_array().unwrap().len(), 2);
}

#[test]
fn what_the_clock_does_not_do_any_more_is_an_alarm() {
    let folder = tempfile::tempdir().unwrap();
    let server = TestServer::start();
    let key = backup_key(&server.admin, "system");
    destination(&server, "nas", &folder.path().join("there"));
    let fields = json!({ "type": "system", "alias": "dr", "rangeDays": 10, "durationDays": 30 });
    let path =
        format!("/v1/backup-instances/{}", text(&server.admin.post("/v1/backup-instances", fields).ok(201), "id"));
    server.admin.post(&format!("{path}/enable"), json!({ "destinations": ["nas"] })).ok(200);
    let alarms = |days: i64| -> Vec<String> {
        server.advance_days(days);
        server.admin.renew();
        server.protect();
        let all = server.admin.get("/v1/system/alarms").ok(200);
        let all = all["resources"].as_array().unwrap().iter().map(|a| (text(a, "resource"), text(a, "code")));
        all.filter(|(_, code)| code.contains("expire") || code.contains("schedule"))
            .map(|(r, c)| format!("{r}: {c}"))
            .collect()
    };
    assert_eq!(alarms(15), Vec::<String>::new());
    assert_eq!(alarms(1), ["dr: instance_expires"]);
    assert_eq!(alarms(14), ["dr: instance_expired", "system: no_schedule"]);
    let nightly = json!({ "name": "nightly", "operation": "database_backup", "run_at": "0 3 * * *",
        "database_backup_params": { "backupKey": key } });
    server.admin.post("/v1/scheduler/job-configs", nightly).ok(201);
    assert_eq!(alarms(0), ["dr: instance_expired"]);
    server.admin.delete(&format!("/v1/backupkeys/{key}?force=true&confirm={key}")).ok(204);
    server.advance_days(1);
    server.tick();
    assert_eq!(alarms(0), ["nightly: schedule_failed", "dr: instance_expired"]);
    server.admin.patch("/v1/scheduler/job-configs/nightly", json!({ "disabled": true })).ok(200);
    assert_eq!(alarms(0), ["dr: instance_expired", "system: no_schedule"]);
}

#[test]
fn another_backup_key_opens_what_was_sent_and_the_old_one_loses_its_doors() {
    let folder = tempfile::tempdir().unwrap();
    let server = TestServer::start();
    let old = backup_key(&server.admin, "system");
    let old_file = exported(&server.admin, &old);
    let there = folder.path().join("there");
    destination(&server, "nas", &there);
    let id = protected(&server.admin, "system", &["nas"]);
    for n in 0..3 {
        server.admin.renew();
        server.admin.key(json!({ "name": format!("k{n}") }));
        server.protect();
        server.advance_days(1);
    }
    server.admin.renew();
    let before = walk(&there)
        .into_iter()
        .filter(|p| !p.to_string_lossy().contains("/epoch/"))
        .map(|p| std::fs::read(p).unwrap());
    let before: Vec<_> = before.collect();
    let path = format!("/v1/backup-instances/{id}/rotate-key");
    server.admin.post(&path, json!({})).fails(ErrorCode::InvalidParam, "is the instance's already");
    let new = backup_key(&server.admin, "system");
    let new_file = exported(&server.admin, &new);
    let rotate = |fields: Value| {
        let begun = server.admin.post(&path, fields).ok(202);
        job_ended(&server.admin, &text(&begun, "jobId"))["result"].clone()
    };
    let doors = || {
        server.admin.renew();
        let points = server.admin.get(&format!("/v1/backup-instances/{id}/points")).ok(200);
        let point = &points["resources"][0];
        let mut keys: Vec<_> =
            point["backupKeys"].as_array().unwrap().iter().map(|k| k.as_str().unwrap().to_owned()).collect();
        keys.sort();
        (keys, point["opens"].as_bool().unwrap())
    };
    assert_eq!(doors(), (vec![old.clone()], true));
    let done = rotate(json!({ "backupKey": new }));
    assert_eq!(doors(), (vec![old.clone(), new.clone()], true));
    assert_eq!(
        (&done["epochs"], &done["made"], done["oldDoors"].as_array().unwrap().len()),
        (&json!(3), &json!(3), 1),
        "{done}"
    );
    assert_eq!(
        rotate(json!({ "backupKey": new, "revokeOld": true, "confirm": "all" }))["made"],
        0,
        "it is there already"
    );
    server.advance(10);
    server.admin.renew();
    server.admin.key(json!({ "name": "after" }));
    server.protect();
    // No archive was touched.
    let after = walk(&there)
        .into_iter()
        .filter(|p| !p.to_string_lossy().contains("/epoch/"))
        .map(|p| std::fs::read(p).unwrap());
    let after: Vec<_> = after.collect();
    assert!(before.iter().all(|bytes| after.contains(bytes)));
    assert_eq!(doors(), (vec![new.clone()], true));
    server.admin.delete(&format!("/v1/backupkeys/{new}?force=true&confirm={new}")).ok(204);
    assert_eq!(doors(), (vec![new.clone()], false), "only with the file that was taken away");
    drop(server);
    let place = Local::open(&there).unwrap();
    let recover = |name: &str, file| {
        let data = folder.path().join(name);
        recovery_from(&data, Origin::Stream { destination: &place, until: Until::Newest }, file).map(|_| data)
    };
    let refused = recover("old", &old_file).unwrap_err().to_string();
    assert!(refused.contains(&new) && refused.contains("no key at hand opens epoch"), "{refused}");
    let again = TestServer::start_again(&recover("new", &new_file).unwrap());
    assert_eq!(key_names(&again.admin), ["after", "k0", "k1", "k2"]);
}

#[test]
fn a_verification_heals_one_destination_out_of_another() {
    let folder = tempfile::tempdir().unwrap();
    let server = TestServer::start();
    let file = exported(&server.admin, &backup_key(&server.admin, "system"));
    let (near, far) = (folder.path().join("near"), folder.path().join("far"));
    destination(&server, "near", &near);
    destination(&server, "far", &far);
    let id = protected(&server.admin, "system", &["near", "far"]);
    server.protect();
    for n in 0..6 {
        server.advance(10);
        server.admin.key(json!({ "name": format!("k{n}") }));
        server.protect();
    }
    let logs = || {
        let mut logs = walk(&near);
        logs.retain(|p| p.to_string_lossy().contains("/log/"));
        logs.sort();
        logs
    };
    let before = logs();
    std::fs::remove_file(&before[1]).unwrap();
    let mut bytes = std::fs::read(&before[3]).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::remove_file(&before[3]).unwrap();
    std::fs::write(&before[3], bytes).unwrap();
    let verified = |heal: bool| {
        let fields = json!({ "destination": "near", "heal": heal });
        let begun = server.admin.post(&format!("/v1/backup-instances/{id}/verify"), fields).ok(202);
        job_ended(&server.admin, &text(&begun, "jobId"))["result"].clone()
    };
    let told = verified(false);
    assert_eq!((told["findings"].as_array().unwrap().len(), &told["healing"]), (3, &json!([])), "{told}");
    let told = verified(true);
    assert_eq!(told["findings"], json!([]), "{told}");
    let healing = &told["healing"][0];
    assert_eq!((&healing["from"], &healing["healed"]["left"]), (&json!("far"), &json!([])), "{told}");
    assert_eq!(healing["healed"]["copied"].as_array().unwrap().len(), 2, "{told}");
    assert_eq!(logs(), before);
    assert_eq!(instance(&server.admin, &id)["destinations"][0]["findings"], 0);
    let data = folder.path().join("new");
    let place = Local::open(&near).unwrap();
    recovery_from(&data, Origin::Stream { destination: &place, until: Until::Newest }, &file).unwrap();
    assert_eq!(key_names(&TestServer::start_again(&data).admin).len(), 6);
}
