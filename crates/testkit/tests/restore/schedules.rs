//! Work that is done by the clock: due, missed, coalesced, failed, kept within its number.

use keyark_api::ErrorCode;
use keyark_model::access::Role;
use keyark_testkit::client::text;
use keyark_testkit::{Client, TestServer};
use serde_json::{Value, json};

use crate::support::{backup_key, job_ended};

fn nightly(server: &TestServer, more: Value) -> String {
    let mut fields = json!({ "name": "nightly", "operation": "database_backup", "run_at": "0 3 * * *" });
    fields.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    text(&server.admin.post("/v1/scheduler/job-configs", fields).ok(201), "id")
}

/// Statuses of all runs, oldest first, each waited for.
fn runs(server: &TestServer) -> Vec<String> {
    server.admin.renew();
    let all = server.admin.get("/v1/scheduler/jobs?limit=-1").ok(200);
    let mut statuses = Vec::new();
    for run in all["resources"].as_array().unwrap().iter().rev() {
        match run.get("jobId").and_then(Value::as_str) {
            Some(job) => statuses.push(text(&job_ended(&server.admin, job), "status")),
            None => statuses.push(format!("failed: {}", text(run, "error"))),
        }
    }
    statuses
}

fn backups(server: &TestServer) -> usize {
    server.admin.get("/v1/backups?limit=-1").ok(200)["total"].as_u64().unwrap() as usize
}

/// A day passes, and what the server does every minute is done once at its end.
fn day(server: &TestServer) {
    server.advance_days(1);
    server.tick();
}

#[test]
fn backups_are_taken_by_the_clock_and_kept_within_their_number() {
    let mut server = TestServer::start();
    backup_key(&server.admin, "system");
    let id = nightly(&server, json!({ "database_backup_params": { "scope": "system", "retentionCount": 3 } }));
    let path = format!("/v1/scheduler/job-configs/{id}");
    let shown = server.admin.get(&path).ok(200);
    assert_eq!((&shown["next_run"], &shown["time_zone"]), (&json!("2026-01-01T03:00:00.000000000Z"), &json!("UTC")));
    server.tick();
    assert_eq!(runs(&server), Vec::<String>::new(), "nothing is due yet");
    day(&server);
    assert_eq!(runs(&server), ["completed"]);
    server.tick();
    assert_eq!(runs(&server).len(), 1, "once");
    for _ in 0..4 {
        day(&server);
        runs(&server);
    }
    server.tick();
    assert_eq!((runs(&server).len(), backups(&server)), (5, 3), "the oldest went");
    // Missed while it was down: made up for once.
    server.advance_days(4);
    server.restart();
    server.admin.renew();
    server.tick();
    assert_eq!(runs(&server).len(), 6);
    server.tick();
    assert_eq!(runs(&server).len(), 6);
    // Disabled it stays; enabled again nothing is made up for.
    server.admin.patch(&path, json!({ "disabled": true })).ok(200);
    for _ in 0..2 {
        day(&server);
    }
    assert_eq!(runs(&server).len(), 6);
    assert_eq!(server.admin.get(&path).ok(200).get("next_run"), None);
    server.admin.patch(&path, json!({ "disabled": false })).ok(200);
    server.tick();
    assert_eq!(runs(&server).len(), 6);
    // At once, by hand.
    let run = server.admin.post(&format!("{path}/run-now"), json!({})).ok(202);
    assert_eq!(job_ended(&server.admin, &text(&run, "jobId"))["status"], "completed");
    assert_eq!(runs(&server).len(), 7);
    // After its end it is over.
    let end = server.now().plus_seconds(3600);
    server.admin.patch(&path, json!({ "end_date": end })).ok(200);
    day(&server);
    assert_eq!(runs(&server).len(), 7);
    server.admin.delete(&path).ok(204);
    assert!(backups(&server) >= 3, "what it made stays");
}

#[test]
fn a_run_that_fails_says_why_and_does_not_count() {
    let server = TestServer::start();
    let key = backup_key(&server.admin, "system");
    let params = json!({ "database_backup_params": { "backupKey": key, "retentionCount": 1 } });
    nightly(&server, params);
    day(&server);
    assert_eq!(runs(&server), ["completed"]);
    server.admin.delete(&format!("/v1/backupkeys/{key}?force=true&confirm={key}")).ok(204);
    day(&server);
    let all = runs(&server);
    assert!(all[1].starts_with("failed: ") && all[1].contains(&key), "{all:?}");
    day(&server);
    assert_eq!((runs(&server).len(), backups(&server)), (3, 1), "the good one stays");
}

#[test]
fn drills_and_verifications_run_by_the_clock_too() {
    let folder = tempfile::tempdir().unwrap();
    let server = TestServer::start();
    backup_key(&server.admin, "system");
    server.admin.post("/v1/destinations", json!({ "name": "nas", "path": folder.path() })).ok(201);
    server.admin.post("/v1/backup-instances", json!({ "type": "system", "alias": "all" })).ok(201);
    server.admin.post("/v1/backup-instances/all/enable", json!({ "destinations": ["nas"] })).ok(200);
    server.protect();
    for (name, operation, run_at) in [("v", "verification", "0 * * * *"), ("d", "drill", "30 4 * * MON")] {
        let params = json!({ "instance": "all" });
        let fields = json!({ "name": name, "operation": operation, "run_at": run_at, "instance_params": params });
        server.admin.post("/v1/scheduler/job-configs", fields).ok(201);
    }
    for _ in 0..7 {
        day(&server);
        assert!(runs(&server).iter().all(|status| status == "completed"));
    }
    assert_eq!(runs(&server).len(), 7 + 1, "a verification a look, and one drill a week");
    let shown = server.admin.get("/v1/backup-instances/all").ok(200);
    assert!(
        shown["destinations"][0].get("drilledAt").is_some() && shown["destinations"][0]["findings"] == 0,
        "{shown}"
    );
}

#[test]
fn what_cannot_be_scheduled_is_refused() {
    let server = TestServer::start();
    let (one, two) = (server.domain("one"), server.domain("two"));
    let make = |fields: Value| one.admin.post("/v1/scheduler/job-configs", fields);
    let good = || json!({ "name": "n", "operation": "database_backup", "run_at": "0 3 * * *", "database_backup_params": { "scope": "domain" } });
    let with = |field: &str, value: Value| {
        let mut fields = good();
        fields[field] = value;
        fields
    };
    for (fields, words) in [
        (with("run_at", json!("0 3 * *")), "five fields"),
        (with("time_zone", json!("Mars/Olympus")), "no time zone"),
        (with("operation", json!("dance")), "operation is"),
        (with("name", json!(" ")), "has a name"),
        (with("run_on", json!("node7")), "run_on is any"),
        (with("database_backup_params", json!({ "scope": "domain", "do_scp": true })), "connection"),
        (with("database_backup_params", json!({ "scope": "domain", "retentionCount": 0 })), "1 or more"),
        (with("database_backup_params", json!({ "scope": "domain", "tiedToHSM": true })), "HSM"),
        (with("instance_params", json!({ "instance": "x" })), "alone"),
    ] {
        make(fields).fails(ErrorCode::InvalidParam, words);
    }
    let both = json!({ "name": "n", "operation": "database_backup", "run_at": "0 3 * * *", "start_date": "2027-01-01T00:00:00Z",
        "end_date": "2026-01-01T00:00:00Z", "database_backup_params": { "scope": "domain" } });
    make(both).fails(ErrorCode::InvalidParam, "before start_date");
    make(with("database_backup_params", json!({ "scope": "system" }))).fails(ErrorCode::Forbidden, "");
    let id = text(&make(good()).ok(201), "id");
    make(good()).fails(ErrorCode::AlreadyExists, "there is a schedule");
    // Names are the domain's own, and nobody sees another's.
    two.admin.post("/v1/scheduler/job-configs", good()).ok(201);
    two.admin.get(&format!("/v1/scheduler/job-configs/{id}")).fails(ErrorCode::NotFound, "schedule");
    let listed = two.admin.get("/v1/scheduler/job-configs?operation=database_backup").ok(200);
    assert_eq!(listed["total"], 1);
}

/// An enabled instance of the whole system, with a few objects at its destination.
fn protected(server: &TestServer, folder: &std::path::Path) {
    backup_key(&server.admin, "system");
    server.admin.post("/v1/destinations", json!({ "name": "nas", "path": folder })).ok(201);
    server.admin.post("/v1/backup-instances", json!({ "type": "system", "alias": "all" })).ok(201);
    server.admin.post("/v1/backup-instances/all/enable", json!({ "destinations": ["nas"] })).ok(200);
    for n in 0..12 {
        server.admin.key(json!({ "name": format!("k{n}") }));
        server.protect();
        server.advance(10);
    }
}

fn made(server: &TestServer, fields: Value) -> String {
    text(&server.admin.post("/v1/scheduler/job-configs", fields).ok(201), "id")
}

/// The job of a schedule's newest run, ended.
fn newest(server: &TestServer, schedule: &str) -> Value {
    let all = server.admin.get(&format!("/v1/scheduler/jobs?job_config_id={schedule}")).ok(200);
    job_ended(&server.admin, &text(&all["resources"][0], "jobId"))
}

#[test]
fn a_sample_a_day_reads_every_byte_once_within_its_days() {
    let folder = tempfile::tempdir().unwrap();
    let server = TestServer::start();
    protected(&server, folder.path());
    let params = json!({ "instance": "all", "depth": "sample", "days": 4 });
    // Just before midnight where it hangs: the part is that of the due day, however late the run begins.
    let fields = json!({ "name": "v", "operation": "verification", "run_at": "59 23 * * *", "time_zone": "Europe/Berlin",
        "instance_params": params });
    let id = made(&server, fields);
    let quick = server.admin.post("/v1/backup-instances/all/verify", json!({ "depth": "full" })).ok(202);
    let whole = job_ended(&server.admin, &text(&quick, "jobId"))["result"].clone();
    let number = |result: &Value, field: &str| result[field].as_u64().unwrap();
    let (mut objects, mut bytes, mut most) = (0, 0, 0);
    for _ in 0..4 {
        day(&server);
        let result = newest(&server, &id)["result"].clone();
        assert_eq!(result["findings"], json!([]), "{result}");
        most = most.max(number(&result, "readObjects"));
        (objects, bytes) = (objects + number(&result, "readObjects"), bytes + number(&result, "readBytes"));
    }
    let all = (number(&whole, "readObjects"), number(&whole, "readBytes"));
    assert_eq!((objects, bytes), all, "each object once");
    assert!(most < objects, "no day reads everything");
}

#[test]
fn keys_are_rotated_by_the_clock_and_those_that_cannot_are_named() {
    let server = TestServer::start();
    let one = server.domain("one");
    for name in ["app-1", "app-2", "app-bad", "app-gone", "other"] {
        one.admin.key(json!({ "name": name }));
    }
    one.admin.post("/v1/vault/keys2/app-gone/destroy", json!({ "confirm": "app-gone" })).ok(200);
    let fields = json!({ "name": "r", "operation": "key_rotation", "run_at": "0 3 1 * *", "key_rotation_params": { "name": "app-*" } });
    let id = text(&one.admin.post("/v1/scheduler/job-configs", fields).ok(201), "id");
    let run = || {
        let run = one.admin.post(&format!("/v1/scheduler/job-configs/{id}/run-now"), json!({})).ok(202);
        job_ended(&one.admin, &text(&run, "jobId"))
    };
    let versions = |name: &str| one.admin.get(&format!("/v1/vault/keys2/{name}")).ok(200)["versionsCount"].clone();
    let done = run();
    assert_eq!((&done["status"], &done["result"]["rotated"]), (&json!("completed"), &json!(3)), "{done}");
    assert_eq!((versions("app-1"), versions("other"), versions("app-gone")), (json!(2), json!(1), json!(1)));
    one.admin.post("/v1/vault/keys2/app-bad/revoke", json!({ "reason": "KeyCompromise" })).ok(200);
    let done = run();
    assert_eq!(done["status"], "failed", "{done}");
    let error = text(&done, "error");
    assert!(error.contains("1 of 3 keys have no new version: app-bad: the newest version is"), "{error}");
    assert_eq!((versions("app-1"), versions("app-2")), (json!(3), json!(3)), "one that fails holds up no other");
    // The old version still opens what it sealed, and one key may be meant alone.
    let fields = json!({ "name": "r2", "operation": "key_rotation", "run_at": "0 3 * * *", "key_rotation_params": { "key": "other" } });
    one.admin.post("/v1/scheduler/job-configs", fields).ok(201);
    let sealed = one.admin.encrypt("other", "before");
    server.advance_days(1);
    server.tick();
    one.admin.renew();
    let all = one.admin.get("/v1/scheduler/jobs").ok(200);
    job_ended(&one.admin, &text(&all["resources"][0], "jobId"));
    assert_eq!((versions("other"), one.admin.decrypt(&sealed)), (json!(2), "before".to_owned()));
}

#[test]
fn only_who_may_make_versions_schedules_them() {
    let server = TestServer::start();
    server.admin.key(json!({ "name": "k" }));
    let fields = |name: &str, params: Value| json!({ "name": name, "operation": "key_rotation", "run_at": "0 3 * * *", "key_rotation_params": params });
    let backups = server.as_user(&[Role::BackupAdmins, Role::Auditors]);
    let ask = |by: &Client, params: Value| by.post("/v1/scheduler/job-configs", fields("n", params));
    ask(&backups, json!({ "key": "k" })).fails(ErrorCode::Forbidden, "");
    for wrong in [json!({}), json!({ "key": "k", "name": "*" }), json!({ "name": " " })] {
        ask(&server.admin, wrong).fails(ErrorCode::InvalidParam, "key_rotation takes a `key`");
    }
    ask(&server.admin, json!({ "key": "none" })).fails(ErrorCode::NotFound, "none");
    let id = text(&ask(&server.admin, json!({ "key": "k" })).ok(201), "id");
    backups.post(&format!("/v1/scheduler/job-configs/{id}/run-now"), json!({})).fails(ErrorCode::Forbidden, "");
    backups.delete(&format!("/v1/scheduler/job-configs/{id}")).fails(ErrorCode::Forbidden, "");
}

#[test]
fn retention_runs_by_the_clock_as_each_night() {
    let folder = tempfile::tempdir().unwrap();
    let server = TestServer::start();
    protected(&server, folder.path());
    let id = made(
        &server,
        json!({ "name": "r", "operation": "retention", "run_at": "0 5 * * *", "instance_params": { "instance": "all" } }),
    );
    let told = |field: &str| newest(&server, &id)["result"]["destinations"][0][field].as_u64().unwrap();
    for _ in 0..3 {
        server.advance(400);
        server.protect();
    }
    day(&server);
    let announced = told("announced");
    assert!(announced > 0, "heartbeats that say nothing any more");
    assert_eq!(told("removed"), 0, "what is announced lies there for a day");
    day(&server);
    assert!(told("removed") >= announced, "{}", newest(&server, &id));
    for wrong in [json!({ "instance": "all", "depth": "full" }), json!({ "instance": "all", "days": 3 })] {
        let fields = json!({ "name": "w", "operation": "retention", "run_at": "0 5 * * *", "instance_params": wrong });
        server.admin.post("/v1/scheduler/job-configs", fields).fails(ErrorCode::InvalidParam, "of a verification");
    }
}
