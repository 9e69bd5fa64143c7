//! A server whose backup instances send to folders: every second of it comes back, on an empty machine or key by key.

use std::path::Path;

use keyark_api::ErrorCode;
use keyark_backup::destination::local::Local;
use keyark_backup::drill::SignedReport;
use keyark_backup::stream::{NoPoint, PointError, Until};
use keyark_model::{ChangeContent, Kind, Time};
use keyark_server::recover::{Origin, RecoverError};
use keyark_testkit::canaries::no_canary_at;
use keyark_testkit::client::text;
use keyark_testkit::s3::{self, S3Server};
use keyark_testkit::server::PASSWORD;
use keyark_testkit::{Client, TestServer};
use serde_json::{Value, json};

use crate::support::{backup_key, exported, job_ended, key_names, recovery_from, restore, restore_any};

fn destination(server: &TestServer, name: &str, path: &Path) -> String {
    std::fs::create_dir_all(path).unwrap();
    let made = server.admin.post("/v1/destinations", json!({ "name": name, "path": path }));
    text(&made.ok(201), "id")
}

/// An enabled instance of everything, or of the caller's domain.
fn protected(by: &Client, kind: &str, destinations: &[&str]) -> String {
    let id = text(&by.post("/v1/backup-instances", json!({ "type": kind, "alias": "all" })).ok(201), "id");
    by.post(&format!("/v1/backup-instances/{id}/enable"), json!({ "destinations": destinations })).ok(200);
    id
}

fn instance(by: &Client, id: &str) -> Value {
    by.get(&format!("/v1/backup-instances/{id}")).ok(200)
}

#[test]
fn a_lost_machine_comes_back_as_it_was_at_any_second() {
    let folder = tempfile::tempdir().unwrap();
    let server = TestServer::start();
    server.admin.key(json!({ "name": "k" }));
    let ciphertext = server.admin.encrypt("k", "old data");
    let file = exported(&server.admin, &backup_key(&server.admin, "system"));
    let there = folder.path().join("there");
    destination(&server, "nas", &there);
    protected(&server.admin, "system", &["nas"]);
    let mut seen: Vec<(Time, Vec<String>)> = Vec::new();
    for n in 0..5 {
        server.advance(10);
        server.admin.key(json!({ "name": format!("n{n}") }));
        assert_eq!(server.protect(), 1);
        seen.push((server.now(), key_names(&server.admin)));
    }
    server.advance(10);
    server.admin.post("/v1/vault/keys2/k/destroy", json!({ "confirm": "k" })).ok(200);
    server.protect();
    server.admin.key(json!({ "name": "never-sent" }));
    drop(server);

    let place = Local::open(&there).unwrap();
    let recover = |name: &str, until| {
        let data = folder.path().join(name);
        recovery_from(&data, Origin::Stream { destination: &place, until }, &file).map(|done| (data, done))
    };
    for (n, (time, names)) in seen.iter().enumerate() {
        let (data, done) = recover(&format!("at-{n}"), Until::Time(*time)).unwrap();
        assert!(done.at <= *time && done.at > time.plus_seconds(-10), "{} {time}", done.at);
        let again = TestServer::start_again(&data);
        assert_eq!(key_names(&again.admin), *names);
        assert_eq!(again.admin.decrypt(&ciphertext), "old data");
        assert!(!data.join("point").exists(), "nothing of the way back is left");
    }
    // The newest point knows what was destroyed, and nothing that was not sent.
    let (data, _) = recover("newest", Until::Newest).unwrap();
    let again = TestServer::start_again(&data);
    assert!(!key_names(&again.admin).contains(&"never-sent".to_owned()));
    assert_ne!(again.admin.post("/v1/crypto/decrypt", ciphertext).status, 200);
    // Before the first, after the last: the nearest are named, and nothing is made.
    let early = recover("early", Until::Time(keyark_testkit::server::START)).unwrap_err();
    assert!(matches!(early, RecoverError::Point(PointError::NoPoint(NoPoint::BeforeFirst { .. }))), "{early}");
    let late = recover("late", Until::Time(seen[4].0.plus_seconds(3600))).unwrap_err();
    assert!(matches!(late, RecoverError::Point(PointError::NoPoint(NoPoint::AfterLast { .. }))), "{late}");
    assert!(!folder.path().join("late/store.db").exists());
}

#[test]
fn a_domain_takes_a_moment_out_of_its_instance_and_restores_from_it() {
    let folder = tempfile::tempdir().unwrap();
    let server = TestServer::start();
    let (one, two) = (server.domain("one"), server.domain("two"));
    destination(&server, "nas", &folder.path().join("there"));
    backup_key(&one.admin, "domain");
    let granted = |by: &Client| by.post("/v1/backup-instances", json!({ "alias": "all", "rangeDays": 30 }));
    granted(&one.admin).fails(ErrorCode::QuotaExceeded, "granted 0 days");
    let quotas = json!({ "quotas": { "backupRangeDays": 40 } });
    server.admin.patch(&format!("/v1/domains/{}", one.id), quotas).ok(200);
    let id = protected(&one.admin, "extended", &["nas"]);
    assert_eq!(instance(&one.admin, &id)["state"], "enabled");
    two.admin.get(&format!("/v1/backup-instances/{id}")).fails(ErrorCode::NotFound, "backup instance");
    server.admin.get(&format!("/v1/backup-instances/{id}")).fails(ErrorCode::NotFound, "backup instance");

    one.admin.key(json!({ "name": "k" }));
    let ciphertext = one.admin.encrypt("k", "of the domain");
    server.protect();
    server.advance(1);
    server.protect();
    let before = server.now();
    server.advance(60);
    one.admin.delete("/v1/vault/keys2/k?confirm=k").ok(204);
    one.admin.key(json!({ "name": "later" }));
    server.protect();
    assert_eq!(key_names(&one.admin), ["later"]);
    let points = one.admin.get(&format!("/v1/backup-instances/{id}/points")).ok(200);
    assert_eq!((&points["total"], &points["resources"][0]["destination"]), (&json!(1), &json!("nas")));

    let path = format!("/v1/backup-instances/{id}/backups");
    let begun = one.admin.post(&path, json!({ "at": before })).ok(202);
    let job = job_ended(&one.admin, &text(&begun, "jobId"));
    assert_eq!(job["status"], "completed", "{job}");
    let backup = text(&begun, "id");
    assert_eq!(one.admin.get(&format!("/v1/backups/{backup}")).ok(200)["status"], "Completed");
    // It was deleted since: that is a fact which the restorer overrules by name.
    assert_eq!(restore_any(&one.admin, &backup, json!({}))["status"], "completed");
    assert_eq!(key_names(&one.admin), ["later"]);
    restore(&one.admin, &backup, json!({ "includeDeleted": true }));
    assert_eq!(key_names(&one.admin), ["k", "later"]);
    assert_eq!(one.admin.decrypt(&ciphertext), "of the domain");
    // The same in one step: refused whole where something is in the way, and nothing is written.
    let path_restore = format!("/v1/backup-instances/{id}/restore");
    let in_one = |fields: Value| {
        let begun = one.admin.post(&path_restore, fields).ok(202);
        job_ended(&one.admin, &text(&begun, "jobId"))
    };
    one.admin.post("/v1/vault/keys2", json!({ "name": "also" })).ok(201);
    let refused = in_one(json!({ "at": before, "conflict": "fail" }));
    assert_eq!((&refused["status"], &refused["errorCode"]), (&json!("failed"), &json!(1023)), "{refused}");
    one.admin.delete("/v1/vault/keys2/k?confirm=k").ok(204);
    assert_eq!(key_names(&one.admin), ["also", "later"]);
    let done = in_one(json!({ "at": before, "includeDeleted": true }));
    assert_eq!((&done["status"], &done["result"]["restore"]["restored"]), (&json!("completed"), &json!(1)), "{done}");
    assert_eq!(one.admin.decrypt(&ciphertext), "of the domain");
    let wrong = server.admin.post(&path_restore, json!({}));
    wrong.fails(ErrorCode::NotFound, "backup instance");
    // Outside of what is there.
    let early = one.admin.post(&path, json!({ "at": before.plus_seconds(-7200) }));
    early.fails(ErrorCode::NoPoint, "the first point is");
    let late = one.admin.post(&path, json!({ "at": server.now().plus_seconds(7200) }));
    late.fails(ErrorCode::NoPoint, "the last point is");

    // A reset deletes all of it, named twice, and the instance can begin anew.
    let reset = format!("/v1/backup-instances/{id}/reset");
    one.admin.post(&reset, json!({})).fails(ErrorCode::ConfirmNeeded, "is deleted at every destination");
    let there = folder.path().join("there");
    assert!(walk(&there).len() > 3);
    let begun = one.admin.post(&reset, json!({ "confirm": "all" })).ok(202);
    let ended = job_ended(&one.admin, &text(&begun, "jobId"));
    assert_eq!(ended["status"], "completed", "{ended}");
    assert_eq!(walk(&there).iter().filter(|p| !p.to_string_lossy().contains("/owner/")).count(), 0);
    assert_eq!(instance(&one.admin, &id)["state"], "disabled");
    assert_eq!(server.protect(), 0);
    one.admin.post(&format!("/v1/backup-instances/{id}/enable"), json!({ "destinations": ["nas"] })).ok(200);
    assert_eq!(server.protect(), 1);
}

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
fn a_dead_destination_delays_no_other_and_catches_up() {
    let folder = tempfile::tempdir().unwrap();
    let server = TestServer::start();
    backup_key(&server.admin, "system");
    let (near, far) = (folder.path().join("near"), folder.path().join("far"));
    destination(&server, "near", &near);
    destination(&server, "far", &far);
    let id = protected(&server.admin, "system", &["near", "far"]);
    assert_eq!(server.protect(), 2);
    std::fs::rename(&far, folder.path().join("away")).unwrap();
    server.advance(10);
    server.admin.key(json!({ "name": "k" }));
    server.protect();
    let shown = instance(&server.admin, &id);
    let until = |field: &Value| field["protectedUntil"].as_str().unwrap().parse::<Time>().unwrap();
    assert!(until(&shown) < server.now().plus_seconds(-9), "the quorum is all of them");
    assert_eq!((&shown["destinations"][0]["lag"], &shown["destinations"][1]["lag"]), (&json!(0), &json!(9)));
    assert!(text(&shown["destinations"][1], "error").contains("cannot be reached"), "{shown}");
    // One of two is enough from here on.
    let fields = json!({ "destinations": ["near", "far"], "quorum": 1 });
    let changed = server.admin.post(&format!("/v1/backup-instances/{id}/enable"), fields).ok(200);
    assert!(until(&changed) >= server.now() && changed["stream"] == shown["stream"], "{changed}");
    std::fs::rename(folder.path().join("away"), &far).unwrap();
    server.advance(400);
    server.admin.renew();
    server.protect();
    let shown = instance(&server.admin, &id);
    assert_eq!(shown["destinations"][1].get("error"), None);
    assert_eq!(shown["destinations"][1]["lag"], 0);
    let names = |path: &Path| walk(path).iter().filter(|p| p.to_string_lossy().contains("/log/")).count();
    assert!(names(&near) >= 1 && names(&far) >= 1);
}

#[test]
fn after_a_recovery_elsewhere_the_old_server_finds_itself_superseded() {
    let folder = tempfile::tempdir().unwrap();
    let server = TestServer::start();
    let file = exported(&server.admin, &backup_key(&server.admin, "system"));
    let there = folder.path().join("there");
    destination(&server, "nas", &there);
    let id = protected(&server.admin, "system", &["nas"]);
    server.protect();
    let place = Local::open(&there).unwrap();
    let data = folder.path().join("new");
    recovery_from(&data, Origin::Stream { destination: &place, until: Until::Newest }, &file).unwrap();
    let new = TestServer::start_again(&data);
    // Its instances came along, and nothing goes out before somebody looked at it.
    assert_eq!(new.protect(), 0);
    assert!(instance(&new.admin, &id)["warnings"].to_string().contains("suspended"));
    new.admin.post("/v1/system/activate", json!({ "confirm": "activate" })).ok(200);
    assert_eq!(new.protect(), 1);
    assert_eq!(instance(&new.admin, &id)["destinations"][0].get("error"), None);

    let before = walk(&there);
    server.advance(100);
    server.admin.key(json!({ "name": "too-late" }));
    server.protect();
    let shown = instance(&server.admin, &id);
    assert!(text(&shown["destinations"][0], "error").contains("took this place over"), "{shown}");
    assert_eq!(walk(&there), before, "nothing was written");
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
fn a_bucket_is_a_destination_whose_credentials_nobody_sees_again() {
    let folder = tempfile::tempdir().unwrap();
    let (server, bucket) = (TestServer::start(), S3Server::start());
    let file = exported(&server.admin, &backup_key(&server.admin, "system"));
    let mut fields = json!({
        "name": "s3", "kind": "s3", "bucket": s3::BUCKET, "prefix": "keyark/", "endpoint": bucket.endpoint,
        "accessKeyId": s3::ACCESS, "secretAccessKey": "wrong",
    });
    let made = server.admin.post("/v1/destinations", fields.clone()).ok(201);
    assert!(made["address"].as_str().unwrap().starts_with("s3://archives/keyark/ at http://"), "{made}");
    let check = || server.admin.post("/v1/destinations/s3/check", json!({})).ok(200);
    let told = check();
    assert_eq!(told["usable"], false);
    assert!(told["problems"].to_string().contains("check the credentials"), "{told}");
    // As it comes out of a clipboard.
    let pasted = format!("\u{feff} {}\r\n", s3::SECRET);
    let update = json!({ "accessKeyId": s3::ACCESS, "secretAccessKey": pasted });
    server.admin.patch("/v1/destinations/s3", update).ok(200);
    let told = check();
    assert_eq!((&told["usable"], &told["deletes"], &told["problems"]), (&json!(true), &json!(true), &json!([])));
    for path in ["/v1/destinations", "/v1/destinations/s3", "/v1/audit/records"] {
        let shown = server.admin.get(path).ok(200).to_string();
        assert!(!shown.contains(s3::SECRET) && !shown.contains("secretAccessKey"), "{shown}");
    }
    fields["name"] = json!("again");
    server.admin.post("/v1/destinations", fields).fails(ErrorCode::AlreadyExists, "is there already");

    protected(&server.admin, "system", &["s3"]);
    server.admin.key(json!({ "name": "k" }));
    let ciphertext = server.admin.encrypt("k", "in the cloud");
    server.protect();
    server.advance(10);
    server.admin.key(json!({ "name": "later" }));
    server.protect();
    drop(server);
    let place = bucket.destination("keyark/");
    let data = folder.path().join("new");
    let until = Until::Time(keyark_testkit::server::START.plus_seconds(5));
    recovery_from(&data, Origin::Stream { destination: &place, until }, &file).unwrap();
    let again = TestServer::start_again(&data);
    assert_eq!(key_names(&again.admin), ["k"]);
    assert_eq!(again.admin.decrypt(&ciphertext), "in the cloud");
}

fn walk(folder: &Path) -> Vec<std::path::PathBuf> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { files.extend(walk(&path)) } else { files.push(path) }
    }
    files
}

#[test]
fn an_instance_is_extended_renewed_and_expires() {
    let server = TestServer::start();
    let fields = json!({ "type": "system", "alias": "dr", "rangeDays": 10, "durationDays": 30 });
    let made = server.admin.post("/v1/backup-instances", fields).ok(201);
    let path = format!("/v1/backup-instances/{}", text(&made, "id"));
    assert_eq!((&made["state"], &made["rangeDays"]), (&json!("disabled"), &json!(10)));
    let extend = |days: u32| server.admin.post(&format!("{path}/extend"), json!({ "rangeDays": days }));
    extend(10).fails(ErrorCode::InvalidParam, "can only grow");
    extend(601).fails(ErrorCode::InvalidParam, "7 to 600");
    assert_eq!(extend(16).ok(200)["rangeDays"], 16);
    server.advance_days(30);
    server.admin.renew();
    assert_eq!(server.admin.get(&path).ok(200)["state"], "expired");
    extend(20).fails(ErrorCode::InstanceExpired, "renew it");
    let renew = |days: u32| server.admin.post(&format!("{path}/renew"), json!({ "durationDays": days }));
    assert_eq!(renew(10).ok(200)["state"], "disabled");
    server.advance_days(25);
    server.admin.renew();
    assert_eq!(server.admin.get(&path).ok(200)["state"], "released");
    renew(10).fails(ErrorCode::InstanceExpired, "released");
    // The default one is there, of the root domain, a week, for ever.
    let all = server.admin.get("/v1/backup-instances").ok(200);
    let default = all["resources"].as_array().unwrap().iter().find(|i| i["type"] == "default").unwrap();
    assert_eq!(
        (&default["rangeDays"], default.get("expiresAt"), &default["state"]),
        (&json!(7), None, &json!("disabled"))
    );
    assert!(default["warnings"].to_string().contains("not_protected"), "{default}");
    let path = format!("/v1/backup-instances/{}", text(default, "id"));
    server.admin.post(&format!("{path}/extend"), json!({ "rangeDays": 30 })).fails(ErrorCode::InvalidParam, "a week");
    server.admin.delete(&path).fails(ErrorCode::InvalidParam, "keeps its default instance");
}

#[test]
fn each_night_what_left_the_range_is_announced_and_a_day_later_it_goes() {
    let folder = tempfile::tempdir().unwrap();
    let server = TestServer::start();
    backup_key(&server.admin, "system");
    let there = folder.path().join("there");
    destination(&server, "nas", &there);
    let fields = json!({ "type": "system", "alias": "all", "rangeDays": 10 });
    let id = text(&server.admin.post("/v1/backup-instances", fields).ok(201), "id");
    server.admin.post(&format!("/v1/backup-instances/{id}/enable"), json!({ "destinations": ["nas"] })).ok(200);
    let count = |part: &str| walk(&there).iter().filter(|p| p.to_string_lossy().contains(part)).count();
    let mut fulls = Vec::new();
    for day in 0..50 {
        server.admin.renew();
        server.admin.key(json!({ "name": format!("day-{day}") }));
        server.protect();
        fulls.push(count("/full/"));
        server.advance_days(1);
    }
    // A range of 10 days, and 30 more that it hides: a full archive a day, and the one that the first of them needs.
    assert_eq!((fulls[39], fulls[49]), (40, 42), "{fulls:?}");
    assert!(count("/retention/") <= 2 && count("/epoch/") <= 43, "{} {}", count("/retention/"), count("/epoch/"));
    server.admin.renew();
    let path = format!("/v1/backup-instances/{id}");
    let points = server.admin.get(&format!("{path}/points")).ok(200);
    let start = keyark_testkit::server::START.plus_seconds(86_400 * 41);
    assert_eq!(points["resources"][0]["from"], json!(start), "what is older is hidden");
    let old = server.now().plus_seconds(-86_400 * 15);
    let refused = server.admin.post(&format!("{path}/backups"), json!({ "at": old }));
    refused.fails(ErrorCode::NoPoint, "a range of 16 days has it");
    server.admin.post(&format!("{path}/extend"), json!({ "rangeDays": 16 })).ok(200);
    let begun = server.admin.post(&format!("{path}/backups"), json!({ "at": old })).ok(202);
    let job = job_ended(&server.admin, &text(&begun, "jobId"));
    assert_eq!((&job["status"], &job["result"]["counts"]["keys"]), (&json!("completed"), &json!(35)), "{job}");
}

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
    assert_eq!(alarms(), ["not_protected"], "of the default instance");
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
    assert_eq!(alarms(), ["drill_overdue", "not_protected", "too_old"]);
    let status = server.admin.get("/v1/protection/status").ok(200);
    assert_eq!(status["instances"].as_array().unwrap().len(), 2);
}

#[test]
fn a_day_shows_what_was_there_and_what_became_of_it() {
    let folder = tempfile::tempdir().unwrap();
    let server = TestServer::start();
    backup_key(&server.admin, "system");
    destination(&server, "nas", &folder.path().join("there"));
    for name in ["stays", "rotates", "ends", "goes", "sleeps"] {
        server.admin.key(json!({ "name": name }));
    }
    let id = protected(&server.admin, "system", &["nas"]);
    server.protect();
    server.advance_days(1);
    server.admin.renew();
    let by = &server.admin;
    by.post("/v1/vault/keys2/rotates/versions", json!({})).ok(201);
    by.post("/v1/vault/keys2/ends/destroy", json!({ "confirm": "ends" })).ok(200);
    by.post("/v1/vault/keys2/sleeps/suspend", json!({})).ok(200);
    by.delete("/v1/vault/keys2/goes?confirm=goes").ok(204);
    by.key(json!({ "name": "new" }));
    by.post("/v1/vault/secrets", json!({ "name": "s", "key": "stays", "material": "AAAA" })).ok(201);
    by.key(json!({ "name": "short" }));
    by.delete("/v1/vault/keys2/short?confirm=short").ok(204);
    server.protect();
    let data = |query: &str| server.admin.get(&format!("/v1/backup-instances/{id}/data?{query}"));
    let shown = data("date=2026-01-02&limit=-1").ok(200);
    let counts = json!({
        "keys": { "full": 5, "incremental": 1, "rotated": 1, "changed": 2, "destroyed": 1, "deleted": 2 },
        "secrets": { "incremental": 1 },
    });
    assert_eq!((&shown["counts"], &shown["total"]), (&counts, &json!(13)), "{shown}");
    let names = |category: &str| -> Vec<String> {
        let shown = data(&format!("date=2026-01-02&kind=keys&category={category}")).ok(200);
        let mut names: Vec<_> = shown["resources"].as_array().unwrap().iter().map(|i| text(i, "name")).collect();
        names.sort();
        names
    };
    assert_eq!(names("incremental"), ["new"]);
    assert_eq!(names("rotated"), ["rotates"]);
    assert_eq!(names("destroyed"), ["ends"]);
    assert_eq!(names("changed"), ["ends", "sleeps"]);
    let page = data("date=2026-01-02&category=full&skip=3&limit=1").ok(200);
    assert_eq!((page["resources"].as_array().unwrap().len(), &page["total"]), (1, &json!(5)));
    // The day on which it was enabled begins with its first full archive; the days before are not there.
    assert_eq!(data("date=2026-01-01").ok(200)["counts"], json!({ "keys": { "full": 5 } }));
    data("date=2025-12-31").fails(ErrorCode::NoPoint, "the first point is");
    data("date=2026-01-03").fails(ErrorCode::InvalidParam, "still to come");
    data("date=2026-02-31").fails(ErrorCode::InvalidParam, "a day like");
    data("date=2026-01-02&category=some").fails(ErrorCode::InvalidParam, "category is");
}
