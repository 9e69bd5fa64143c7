//! The audit log in a system's archive: what happened before is read after a restore, and never happens again.

use keyark_api::ErrorCode;
use keyark_model::DomainId;
use keyark_testkit::client::text;
use keyark_testkit::{Client, TestServer};
use serde_json::{Value, json};

use crate::support::{archive_path, backup_key, exported, key_names, recovery, restore, take, take_system};

/// Audit records of the caller's domain, oldest first.
fn audit(by: &Client) -> Vec<Value> {
    let page = by.get("/v1/audit/records?limit=-1").ok(200);
    let mut all = page["resources"].as_array().unwrap().clone();
    assert_eq!(page["total"], all.len());
    all.reverse();
    all
}

/// What a record says of what happened; its id names the incarnation that shows it.
fn happened(record: &Value) -> Value {
    let mut fields = record.clone();
    fields.as_object_mut().unwrap().remove("id");
    fields
}

#[test]
fn a_system_archive_carries_the_audit_log_inside_its_retention_and_a_restore_appends_it() {
    let server = TestServer::start();
    server.admin.key(json!({ "name": "forgotten" }));
    let kept_for = i64::from(server.settings.audit_days);
    server.advance_days(kept_for + 1);
    server.admin.key(json!({ "name": "remembered" }));
    server.admin.post("/v1/vault/keys2/nothing/destroy", json!({})).fails(ErrorCode::NotFound, "");
    let d = server.domain("d");
    d.admin.key(json!({ "name": "of-d" }));
    let file = exported(&server.admin, &backup_key(&server.admin, "system"));
    let whole = take_system(&server);
    let at_the_point = |all: Vec<Value>, last: u64| -> Vec<Value> {
        all.iter().filter(|r| r["position"].as_u64().unwrap() <= last).map(happened).collect()
    };
    let position = {
        let archive =
            keyark_archive::Archive::open(std::fs::File::open(archive_path(&server, &whole)).unwrap()).unwrap();
        assert!(archive.footer().audit.as_ref().is_some_and(|n| n.0 > 5), "{:?}", archive.footer());
        archive.header().positions.last.0
    };
    let all = at_the_point(audit(&server.admin), position);
    let cutoff = keyark_testkit::server::START.plus_seconds(86_400).to_string();
    let inside: Vec<Value> = all.iter().filter(|r| text(r, "createdAt") > cutoff).cloned().collect();
    assert!(inside.len() < all.len(), "the first day is past its retention");
    let of_d = at_the_point(audit(&d.admin), position);

    // On an empty machine.
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    recovery(&data, &archive_path(&server, &whole), &file).unwrap();
    let mut new = TestServer::start_again(&data);
    new.advance_days(kept_for + 2);
    assert_eq!(at_the_point(audit(&new.admin), position), inside, "times, names, hashes and all");
    assert_eq!(key_names(&new.admin), ["forgotten", "remembered"], "records are those of the archive, not of a replay");
    let login = json!({ "username": "d-admin", "password": keyark_testkit::server::PASSWORD, "auth_domain": "d" });
    assert_eq!(at_the_point(audit(&new.admin.log_in(login)), position), of_d);
    {
        let core = new.app().core().unwrap();
        assert_eq!(core.store.check().unwrap().findings, []);
        let base = core.store.base().unwrap();
        assert!(base.seq >= position, "history stands before the base");
        assert!(core.store.entries(base.seq, 1000, None).unwrap().iter().all(|e| e.seq > position));
        assert!(core.store.entries(0, 1000, None).is_err(), "nothing before the base is replayed");
        assert_eq!(core.store.count(DomainId::ROOT, keyark_model::Kind::Key).unwrap().records, 2);
    }
    new.restart();
    assert_eq!(at_the_point(audit(&new.admin), position), inside, "and it stays");
    // It travels on in the next archive, increments hold what is new only.
    let next = take_system(&new);
    let more = text(&take(&new, &new.admin, json!({ "scope": "system", "since": next })), "id");
    let count = |backup: &str| {
        let archive = keyark_archive::Archive::open(std::fs::File::open(archive_path(&new, backup)).unwrap()).unwrap();
        archive.footer().audit.as_ref().map_or(0, |n| n.0)
    };
    assert!(count(&next) as usize > inside.len() && count(&more) < count(&next));
}

#[test]
fn what_happened_since_the_point_and_jobs_are_carried_over() {
    let server = TestServer::start();
    backup_key(&server.admin, "system");
    server.admin.key(json!({ "name": "before" }));
    let backup = take_system(&server);
    server.admin.key(json!({ "name": "since-the-point" }));
    let before = audit(&server.admin);
    let authority = std::fs::read(server.settings.data.join("ca.pem")).ok();
    let jobs: Vec<String> =
        server.admin.get("/v1/jobs").ok(200)["resources"].as_array().unwrap().iter().map(|j| text(j, "id")).collect();
    let certificate = |server: &TestServer| {
        let core = server.app().core().unwrap();
        let node = core.load_named::<keyark_model::system::NodeHeader>(DomainId::ROOT, "authority").unwrap();
        (node.header.public.clone(), core.open_body(&node).unwrap().expose().to_vec())
    };
    let own = certificate(&server);
    restore(&server.admin, &backup, json!({ "confirm": "system" }));
    assert_eq!(key_names(&server.admin), ["before"]);
    let after: Vec<Value> = audit(&server.admin).iter().map(happened).collect();
    for record in before.iter().map(happened) {
        assert!(after.contains(&record), "{record} was forgotten");
    }
    let positions: Vec<u64> = after.iter().map(|r| r["position"].as_u64().unwrap()).collect();
    assert!(positions.is_sorted_by(|a, b| a < b), "no position stands twice: {positions:?}");
    for job in jobs {
        assert_eq!(server.admin.get(&format!("/v1/jobs/{job}")).ok(200)["status"], "completed");
    }
    assert_eq!(certificate(&server), own, "the certificates are those of this machine");
    assert_eq!(std::fs::read(server.settings.data.join("ca.pem")).ok(), authority);
    assert_eq!(server.app().core().unwrap().store.check().unwrap().findings, []);
}

#[test]
fn a_clock_that_went_back_is_told_in_info_status_and_metrics() {
    let server = TestServer::start();
    let told = || {
        let info = server.admin.get("/v1/system/info").ok(200)["warnings"].to_string().contains("clock_doubtful");
        let status = server.admin.get("/v1/backupStatus").ok(200)["warnings"].to_string().contains("clock_doubtful");
        let page = String::from_utf8(server.nobody().get("/metrics").body).unwrap();
        [info, status, page.lines().any(|l| l == "keyark_clock_doubtful 1")]
    };
    assert_eq!(told(), [false; 3]);
    server.admin.key(json!({ "name": "newest" }));
    server.advance(-7);
    assert_eq!(told(), [true; 3]);
    server.advance(7);
    assert_eq!(told(), [false; 3]);
}
