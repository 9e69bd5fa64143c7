//! A server whose backup instances send to folders: every second of it comes back, on an empty machine or key by key.

mod clocks;
mod forgotten;
mod hold;
mod holders;
mod instances;
mod lag;
mod proofs;
mod rolled_back;
mod shred;

use std::path::Path;

use keyark_api::ErrorCode;
use keyark_backup::destination::local::Local;
use keyark_backup::stream::{NoPoint, PointError, Until};
use keyark_model::Time;
use keyark_server::recover::{Origin, RecoverError};
use keyark_testkit::azure::{self, AzureServer};
use keyark_testkit::client::text;
pub use keyark_testkit::files::walk;
use keyark_testkit::s3::{self, S3Server};
use keyark_testkit::{Client, TestServer};
use serde_json::{Value, json};

use crate::support::{backup_key, exported, key_names, recovery_from};

pub fn destination(server: &TestServer, name: &str, path: &Path) -> String {
    std::fs::create_dir_all(path).unwrap();
    let made = server.admin.post("/v1/destinations", json!({ "name": name, "path": path }));
    text(&made.ok(201), "id")
}

/// An enabled instance of everything, or of the caller's domain.
pub fn protected(by: &Client, kind: &str, destinations: &[&str]) -> String {
    let id = text(&by.post("/v1/backup-instances", json!({ "type": kind, "alias": "all" })).ok(201), "id");
    by.post(&format!("/v1/backup-instances/{id}/enable"), json!({ "destinations": destinations })).ok(200);
    id
}

pub fn instance(by: &Client, id: &str) -> Value {
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
    let lagging = || {
        let all = server.admin.get("/v1/system/alarms").ok(200);
        let mut all = all["resources"].as_array().unwrap().iter();
        all.any(|a| a["code"] == "destination_lagging" && a["destination"] == "far")
    };
    assert!(!lagging());
    server.advance(70);
    server.protect();
    assert!(lagging(), "although the point is protected at the other one");
    std::fs::rename(folder.path().join("away"), &far).unwrap();
    server.advance(400);
    server.admin.renew();
    server.protect();
    assert!(!lagging());
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

#[test]
fn a_container_of_azure_blob_is_a_destination() {
    let (server, azure) = (TestServer::start(), AzureServer::start());
    let with = |more: Value| {
        let mut fields = json!({ "name": "blob", "kind": "azure", "accountName": azure::ACCOUNT,
            "container": azure::CONTAINER, "prefix": "keyark/", "endpoint": azure.endpoint });
        fields.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        server.admin.post("/v1/destinations", fields)
    };
    with(json!({})).fails(ErrorCode::InvalidParam, "needs accountKey");
    with(json!({ "bucket": "b", "accountKey": azure::KEY })).fails(ErrorCode::InvalidParam, "has no `bucket`");
    with(json!({ "secretAccessKey": azure::KEY })).fails(ErrorCode::InvalidParam, "has no `secretAccessKey`");
    let signature = azure.signature("rcl", "2099-01-01T00:00:00Z");
    with(json!({ "accountKey": azure::KEY, "sasToken": signature }))
        .fails(ErrorCode::InvalidParam, "accountKey or sasToken: one of them is enough");
    for wrong in [json!({ "sasToken": azure::KEY }), json!({ "accountKey": signature })] {
        with(wrong).fails(ErrorCode::InvalidParam, "does not look like one: a sasToken has sig= in it");
    }
    with(json!({ "sasToken": azure.signature("rcl", "2020-01-01T00:00:00Z") }))
        .fails(ErrorCode::InvalidParam, "is past");
    let made = with(json!({ "accountKey": azure::KEY })).ok(201);
    assert!(made["address"].as_str().unwrap().starts_with("azure://devstoreaccount1/archives/keyark/ at "), "{made}");
    with(json!({ "name": "inside", "prefix": "keyark/in/", "accountKey": azure::KEY }))
        .fails(ErrorCode::AlreadyExists, "is there already, or around or inside it");
    let told = server.admin.post("/v1/destinations/blob/check", json!({})).ok(200);
    assert_eq!((&told["usable"], &told["deletes"], &told["problems"]), (&json!(true), &json!(true), &json!([])));
    let shared =
        json!({ "name": "shared", "prefix": "apart/", "sasToken": signature, "lockMode": "compliance", "lockDays": 9 });
    let made = with(shared).ok(201);
    assert_eq!(made["credentialsExpireAt"], "2099-01-01T00:00:00.000000000Z");
    let told = server.admin.post("/v1/destinations/shared/check", json!({})).ok(200);
    assert_eq!((&told["usable"], &told["deletes"]), (&json!(true), &json!(false)), "{told}");
    let shown = server.admin.get("/v1/destinations").ok(200).to_string();
    assert!(!shown.contains(azure::KEY) && !shown.contains("sig="), "{shown}");
    let file = exported(&server.admin, &backup_key(&server.admin, "system"));
    protected(&server.admin, "system", &["blob"]);
    server.admin.key(json!({ "name": "k" }));
    server.protect();
    drop(server);
    let (place, folder) = (azure.destination("keyark/"), tempfile::tempdir().unwrap());
    let data = folder.path().join("new");
    recovery_from(&data, Origin::Stream { destination: &place, until: Until::Newest }, &file).unwrap();
    assert_eq!(key_names(&TestServer::start_again(&data).admin), ["k"]);
}

#[test]
fn what_is_locked_stays_and_a_reset_says_until_when() {
    let (server, bucket) = (TestServer::start(), S3Server::start());
    let with = |more: Value| {
        let mut fields = json!({ "name": "s3", "kind": "s3", "bucket": s3::LOCKED, "endpoint": bucket.endpoint,
            "accessKeyId": s3::ACCESS, "secretAccessKey": s3::SECRET });
        fields.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        server.admin.post("/v1/destinations", fields)
    };
    for bad in
        [json!({ "lockMode": "governance" }), json!({ "lockDays": 9 }), json!({ "lockMode": "x", "lockDays": 9 })]
    {
        with(bad).fails(ErrorCode::InvalidParam, "governance or compliance, with lockDays of 1 to 3660");
    }
    let local = json!({ "name": "nas", "path": "/", "lockMode": "compliance", "lockDays": 9 });
    server.admin.post("/v1/destinations", local).fails(ErrorCode::InvalidParam, "kind local has no `lockMode`");
    let made = with(json!({ "lockMode": "compliance", "lockDays": 30 })).ok(201);
    assert_eq!((&made["lockMode"], &made["lockDays"]), (&json!("compliance"), &json!(30)));
    let told = server.admin.post("/v1/destinations/s3/check", json!({})).ok(200);
    assert_eq!((&told["usable"], &told["problems"]), (&json!(true), &json!([])), "{told}");
    assert!(told["lockedUntil"].is_string(), "{told}");

    let old = backup_key(&server.admin, "system");
    let id = protected(&server.admin, "system", &["s3"]);
    server.protect();
    let path = format!("/v1/backup-instances/{id}");
    let too_short =
        || instance(&server.admin, &id)["warnings"].to_string().contains("lock_too_short: s3 locks for 30 days");
    assert!(!too_short());
    let longer = instance(&server.admin, &id)["rangeDays"].as_u64().unwrap().max(30) + 1;
    server.admin.post(&format!("{path}/extend"), json!({ "rangeDays": longer })).ok(200);
    assert!(too_short());
    let reset = || server.admin.post(&format!("{path}/reset"), json!({ "confirm": "all" }));
    reset().fails(ErrorCode::Conflict, "nothing was deleted: at \"s3\"");
    reset().fails(ErrorCode::Conflict, ".keyark is locked there until 2");
    // It goes on as before.
    server.advance(10);
    server.admin.key(json!({ "name": "k" }));
    assert_eq!(server.protect(), 1);
    assert_eq!(instance(&server.admin, &id)["destinations"][0]["error"], Value::Null);
    // Doors of a key that was revoked stay as long as they are locked, and that is told.
    let new = backup_key(&server.admin, "system");
    let rotate = json!({ "backupKey": new, "revokeOld": true, "confirm": "all" });
    let job = server.admin.post(&format!("{path}/rotate-key"), rotate).ok(202);
    let done = keyark_testkit::client::job_ended(&server.admin, &text(&job, "jobId"));
    assert_eq!(done["result"]["removed"], 0, "{done}");
    let kept = done["result"]["notRemoved"].to_string();
    assert!(kept.contains(&format!("-{old}.json is locked there until 2")), "{done}");
}

#[test]
fn a_recovery_names_the_backup_keys_that_streams_of_domains_need() {
    let folder = tempfile::tempdir().unwrap();
    let server = TestServer::start();
    let one = server.domain("one");
    let there = folder.path().join("there");
    destination(&server, "nas", &there);
    let file = exported(&server.admin, &backup_key(&server.admin, "system"));
    let key = backup_key(&one.admin, "domain");
    let quotas = json!({ "quotas": { "backupRangeDays": 40 } });
    server.admin.patch(&format!("/v1/domains/{}", one.id), quotas).ok(200);
    protected(&server.admin, "system", &["nas"]);
    protected(&one.admin, "extended", &["nas"]);
    assert_eq!(server.protect(), 2);
    let place = Local::open(&there).unwrap();
    let data = folder.path().join("new");
    let done = recovery_from(&data, Origin::Stream { destination: &place, until: Until::Newest }, &file).unwrap();
    let named: Vec<_> = done.missing.iter().filter(|line| line.contains(&key)).collect();
    assert!(named.len() == 1 && named[0].contains(&one.id), "{:?}", done.missing);
}
