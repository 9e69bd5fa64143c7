//! Backups that must never be read again: their key and its doors go away.

use keyark_api::ErrorCode;
use keyark_backup::destination::local::Local;
use keyark_backup::stream::{PointError, Until};
use keyark_server::recover::{Origin, RecoverError};
use keyark_testkit::TestServer;
use keyark_testkit::client::text;
use serde_json::{Value, json};

use super::{destination, protected, walk};
use crate::support::{backup_key, download, exported, job_ended, plan, recovery_from, take_system};

#[test]
fn what_a_shredded_key_opened_is_read_by_nobody() {
    let folder = tempfile::tempdir().unwrap();
    let server = TestServer::start();
    let old = backup_key(&server.admin, "system");
    let there = folder.path().join("there");
    destination(&server, "nas", &there);
    let id = protected(&server.admin, "system", &["nas"]);
    server.admin.key(json!({ "name": "k" }));
    server.protect();
    let backup = take_system(&server);
    let path = format!("/v1/backupkeys/{old}");
    server.admin.post(&format!("{path}/shred-plan"), json!({})).fails(ErrorCode::InUse, "sends under this key");

    // Another key, another stream: the old one stays as it is, and opens with the old key alone.
    let new = backup_key(&server.admin, "system");
    let fields = json!({ "destinations": ["nas"], "backupKey": new });
    server.admin.post(&format!("/v1/backup-instances/{id}/enable"), fields).ok(200);
    let between = server.now();
    server.advance(10);
    server.protect();
    let planned = || server.admin.post(&format!("{path}/shred-plan"), json!({})).ok(200);
    let first = planned();
    let stream = &first["streams"][0];
    assert_eq!((&stream["epochFiles"], &stream["epochsThatDie"]), (&json!(1), &json!(1)), "{first}");
    assert_eq!(stream["otherBackupKeys"], json!([]));
    let last: keyark_model::Time = text(stream, "to").parse().unwrap();
    assert!(last >= between, "{first}");
    assert_eq!((&first["backups"], &first["stillOpen"]), (&json!([backup]), &json!([])));
    // What somebody has taken out in the meantime is known and told; a plan of before is still the plan.
    let file = exported(&server.admin, &old);
    download(&server.admin, &backup);
    let second = planned();
    assert_eq!(second["digest"], first["digest"]);
    let copies: Vec<Value> = second["stillOpen"].as_array().unwrap().clone();
    assert!(copies.len() == 2 && copies[0].to_string().contains("a file of this key, exported"), "{second}");
    assert!(copies[1].to_string().contains("downloaded"), "{second}");

    let shred = |digest: &Value, confirm: Option<&str>| {
        server.admin.post(&format!("{path}/shred"), json!({ "digest": digest, "confirm": confirm }))
    };
    shred(&first["digest"], None).fails(ErrorCode::ConfirmNeeded, "ever read again");
    let job = job_ended(&server.admin, &text(&shred(&json!("another"), Some(&old)).ok(202), "jobId"));
    assert_eq!(job["errorCode"], ErrorCode::PlanChanged.number(), "{job}");
    let job = job_ended(&server.admin, &text(&shred(&first["digest"], Some(&old)).ok(202), "jobId"));
    assert_eq!(job["status"], "completed", "{job}");
    assert_eq!((&job["result"]["epochFilesRemoved"], &job["result"]["notRemoved"]), (&json!(1), &json!([])), "{job}");

    assert!(walk(&there).iter().all(|p| !p.to_string_lossy().contains(&old)));
    server.admin.get(&path).fails(ErrorCode::NotFound, "not found");
    plan(&server.admin, &backup, json!({})).fails(ErrorCode::BackupKeyMissing, "not here");
    // The stream does not even open with the file that was exported; what was sent since opens with the other key.
    let place = Local::open(&there).unwrap();
    let recover = |name: &str, until, file| {
        recovery_from(&folder.path().join(name), Origin::Stream { destination: &place, until }, file)
    };
    let refused = recover("old", Until::Time(last), &file).unwrap_err();
    assert!(matches!(refused, RecoverError::Point(PointError::NeedsKey { .. })), "{refused}");
    let file = exported(&server.admin, &new);
    recover("new", Until::Newest, &file).unwrap();
}

#[test]
fn a_key_with_which_others_restore_too_is_not_shredded_by_one() {
    let server = TestServer::start();
    let (one, two) = (server.domain("one"), server.domain("two"));
    let key = backup_key(&one.admin, "domain");
    let file = exported(&one.admin, &key);
    crate::support::upload_key(&two.admin, &file).ok(201);
    let path = format!("/v1/backupkeys/{key}/shred-plan");
    one.admin.post(&path, json!({})).fails(ErrorCode::InUse, "another domain restores with this key");
    two.admin.post(&path, json!({})).fails(ErrorCode::InUse, "another domain restores with this key");
    server.admin.post(&path, json!({})).fails(ErrorCode::NotFound, "not found");
}
