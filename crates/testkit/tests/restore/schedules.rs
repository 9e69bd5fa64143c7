//! Work that is done by the clock: due, missed, coalesced, failed, kept within its number.

use keyark_api::ErrorCode;
use keyark_testkit::TestServer;
use keyark_testkit::client::text;
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
