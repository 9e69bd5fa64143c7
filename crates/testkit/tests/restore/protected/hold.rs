//! What is under a legal hold stays, whoever wants it gone.

use std::path::PathBuf;

use keyark_api::ErrorCode;
use keyark_backup::destination::local::Local;
use keyark_backup::stream::{retain, survey};
use keyark_model::access::Role;
use keyark_testkit::TestServer;
use keyark_testkit::client::text;
use serde_json::{Value, json};

use crate::support::{backup_key, job_ended, restore, take_system};

use super::{destination, instance, protected, walk};

fn hold_of(server: &TestServer) -> Value {
    instance(&server.admin, "all")["hold"].clone()
}

#[test]
fn nothing_of_a_held_instance_goes_before_the_hold_is_lifted() {
    let folder = tempfile::tempdir().unwrap();
    let server = TestServer::start();
    let key = backup_key(&server.admin, "system");
    let there = folder.path().join("there");
    destination(&server, "nas", &there);
    server.admin.post("/v1/backup-instances", json!({ "type": "system", "alias": "all", "rangeDays": 7 })).ok(201);
    server.admin.post("/v1/backup-instances/all/enable", json!({ "destinations": ["nas"] })).ok(200);
    let objects = || -> Vec<PathBuf> {
        let of = |p: &PathBuf| !p.to_string_lossy().contains("/owner/");
        walk(&there).into_iter().filter(of).collect()
    };
    let day = || {
        server.advance_days(1);
        server.admin.key(json!({}));
        server.protect();
    };
    server.protect();
    // Until retention has announced that something goes.
    while !objects().iter().any(|p| p.to_string_lossy().contains("/retention/")) {
        day();
    }
    let path = "/v1/backup-instances/all/hold";
    server.admin.post(path, json!({ "reason": " " })).fails(ErrorCode::InvalidParam, "says why");
    let held = server.admin.post(path, json!({ "reason": "case 4711" })).ok(200);
    assert_eq!((&held["hold"]["reason"], &held["hold"]["since"]), (&json!("case 4711"), &json!(server.now())));
    assert!(text(&held["hold"], "by").starts_with("admin (local|"), "{held}");
    server.admin.post(path, json!({ "reason": "again" })).fails(ErrorCode::LegalHold, "case 4711");
    let shown = server.admin.get("/v1/protection/status").ok(200);
    assert!(shown["instances"].to_string().contains("case 4711"), "{shown}");
    let before = objects();
    server.advance(10);
    server.protect();
    for _ in 0..10 {
        day();
    }
    let now = objects();
    assert!(before.iter().all(|p| now.contains(p)), "everything is still there");
    // Whoever deletes elsewhere, by a statement from before, is told so too.
    let place = Local::open(&there).unwrap();
    let core = server.app().core().unwrap();
    let stream = survey(&place).unwrap().remove(0).catalogue.place;
    let at = server.now();
    assert_eq!(retain::ripe(&place, stream, &core.anchor, &[], 3600, at).unwrap(), None);
    drop(core);
    // Nor does anybody else take it away.
    let post = |path: &str, fields: Value| server.admin.post(path, fields);
    let refused = |answer: keyark_testkit::Answer| answer.fails(ErrorCode::LegalHold, "legal hold");
    let other = text(&post("/v1/backupkeys", json!({ "scope": "system" })).ok(201), "id");
    refused(post("/v1/backup-instances/all/reset", json!({ "confirm": "all" })));
    refused(server.admin.delete("/v1/backup-instances/all?confirm=all"));
    refused(post(
        "/v1/backup-instances/all/rotate-key",
        json!({ "backupKey": other, "revokeOld": true, "confirm": "all" }),
    ));
    refused(post("/v1/backup-instances/all/enable", json!({ "destinations": ["nas"], "backupKey": other })));
    refused(post(&format!("/v1/backupkeys/{key}/shred-plan"), json!({})));
    refused(post(&format!("/v1/backupkeys/{key}/shred"), json!({ "digest": "x", "confirm": key })));
    refused(server.admin.delete(&format!("/v1/backupkeys/{key}?force=true&confirm={key}")));
    let schedule = json!({ "name": "r", "operation": "retention", "run_at": "0 5 * * *", "instance_params": { "instance": "all" } });
    let id = text(&post("/v1/scheduler/job-configs", schedule).ok(201), "id");
    let run = post(&format!("/v1/scheduler/job-configs/{id}/run-now"), json!({})).ok(202);
    assert!(text(&run, "error").contains("legal hold"), "{run}");
    // Lifted, named twice, retention goes on: announced first, a day later carried out.
    server.admin.delete(path).fails(ErrorCode::ConfirmNeeded, "retention deletes again");
    let lifted = server.admin.delete(&format!("{path}?confirm=all")).ok(200);
    assert_eq!(lifted.get("hold"), None);
    server.admin.delete(&format!("{path}?confirm=all")).fails(ErrorCode::Conflict, "no legal hold");
    let before = objects();
    server.advance(10);
    server.protect();
    assert!(before.iter().all(|p| p.exists()), "nothing at once");
    day();
    assert!(before.iter().any(|p| !p.exists()), "a day later");
}

#[test]
fn a_hold_is_set_by_who_administers_and_survives_a_restore_of_the_system() {
    let folder = tempfile::tempdir().unwrap();
    let server = TestServer::start();
    backup_key(&server.admin, "system");
    destination(&server, "nas", folder.path());
    let id = protected(&server.admin, "system", &["nas"]);
    let path = format!("/v1/backup-instances/{id}/hold");
    let backups = server.as_user(&[Role::BackupAdmins]);
    backups.post(&path, json!({ "reason": "a case" })).fails(ErrorCode::NotFound, "");
    let default = "/v1/backup-instances/default/hold";
    backups.post(default, json!({ "reason": "a case" })).fails(ErrorCode::Forbidden, "backup_instance_hold");
    server.admin.post(default, json!({ "reason": "a case" })).fails(ErrorCode::Conflict, "nothing that could be held");
    let backup = take_system(&server);
    server.admin.post(&path, json!({ "reason": "a case" })).ok(200);
    let plan = server.admin.post(&format!("/v1/backups/{backup}/plan"), json!({})).ok(200);
    assert!(plan["negativeFacts"].to_string().contains("legal hold"), "{plan}");
    restore(&server.admin, &backup, json!({ "confirm": "system" }));
    server.admin.renew();
    assert_eq!(hold_of(&server)["reason"], "a case", "what is held stays so");
    // A reset that had begun is not held back in its middle.
    server.admin.post("/v1/system/activate", json!({ "confirm": "activate" })).ok(200);
    server.admin.delete(&format!("{path}?confirm=all")).ok(200);
    let begun = server.admin.post("/v1/backup-instances/all/reset", json!({ "confirm": "all" })).ok(202);
    assert_eq!(job_ended(&server.admin, &text(&begun, "jobId"))["status"], "completed");
    server.admin.post(&path, json!({ "reason": "late" })).fails(ErrorCode::Conflict, "nothing that could be held");
}

#[test]
fn a_hold_of_an_instance_that_has_expired_is_said_where_things_are_deleted() {
    let folder = tempfile::tempdir().unwrap();
    let server = TestServer::start();
    backup_key(&server.admin, "system");
    let (near, far) = (folder.path().join("near"), folder.path().join("far"));
    destination(&server, "near", &near);
    destination(&server, "far", &far);
    let fields = json!({ "type": "system", "alias": "all", "rangeDays": 7, "durationDays": 30 });
    server.admin.post("/v1/backup-instances", fields).ok(201);
    server.admin.post("/v1/backup-instances/all/enable", json!({ "destinations": ["near", "far"] })).ok(200);
    server.protect();
    server.advance_days(31);
    server.admin.renew();
    std::fs::rename(&far, folder.path().join("away")).unwrap();
    let path = "/v1/backup-instances/all/hold";
    let held = server.admin.post(path, json!({ "reason": "case 4711" })).ok(200);
    assert_eq!(held["state"], "expired");
    let warnings = held["warnings"].to_string();
    assert!(warnings.contains("hold_not_said: far: ") && !warnings.contains("near"), "{warnings}");
    std::fs::rename(folder.path().join("away"), &far).unwrap();
    let said = |there: &std::path::Path| {
        let place = Local::open(there).unwrap();
        let stream = survey(&place).unwrap().remove(0).catalogue.place;
        retain::held(&place, stream, &server.app().core().unwrap().anchor).unwrap()
    };
    assert_eq!((said(&near), said(&far)), (true, false));
    server.admin.delete(&format!("{path}?confirm=all")).ok(200);
    let held = server.admin.post(path, json!({ "reason": "case 4711" })).ok(200);
    assert!(!held["warnings"].to_string().contains("hold_not_said"), "{held}");
    assert_eq!((said(&near), said(&far)), (true, true));
}
