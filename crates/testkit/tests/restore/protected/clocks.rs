//! A clock that is wrong deletes nothing and stops nothing.

use keyark_api::ErrorCode;
use keyark_backup::destination::local::Local;
use keyark_backup::stream::Until;
use keyark_model::system::{BackupStatus, JobHeader, NodeHeader};
use keyark_model::{DomainId, Id};
use keyark_server::app::Core;
use keyark_server::recover::Origin;
use keyark_testkit::TestServer;
use keyark_testkit::client::text;
use serde_json::json;

use super::{destination, instance, protected, walk};
use crate::support::{backup_key, exported, key_names, recovery_from};

const DAY: i64 = 86_400;

#[test]
fn a_clock_far_ahead_deletes_nothing_until_a_person_agrees() {
    let folder = tempfile::tempdir().unwrap();
    let server = TestServer::start();
    backup_key(&server.admin, "system");
    let there = folder.path().join("there");
    destination(&server, "nas", &there);
    protected(&server.admin, "system", &["nas"]);
    let count = |part: &str| walk(&there).iter().filter(|p| p.to_string_lossy().contains(part)).count();
    let doubted = || server.admin.get("/v1/system/alarms").ok(200).to_string().contains("clock_doubtful");
    for day in 0..3 {
        server.admin.key(json!({ "name": format!("day-{day}") }));
        server.protect();
        server.advance_days(1);
    }
    assert_eq!((count("/full/"), doubted()), (3, false));
    server.admin.key(json!({ "name": "ends" }));
    server.admin.delete("/v1/vault/keys2/ends").ok(204);
    server.protect();
    server.jump(400 * DAY);
    server.admin.renew();
    assert!(doubted());
    // Whatever is written carries the wrong time; what deletes does not go by it.
    server.admin.key(json!({ "name": "later" }));
    for _ in 0..4 {
        server.protect();
        server.tick();
        server.advance(DAY / 5);
        server.admin.renew();
    }
    assert_eq!((count("/retention/"), count("/log/") > 3, doubted()), (0, true, true));
    assert!(key_names(&server.admin).contains(&"ends".to_owned()));
    let fulls = count("/full/");
    assert!(fulls >= 4);

    server.admin.post("/v1/system/clock/accept", json!({})).fails(ErrorCode::ConfirmNeeded, "this machine's clock");
    server.admin.post("/v1/system/clock/accept", json!({ "confirm": "accept" })).ok(200);
    assert!(!doubted());
    server.protect();
    server.tick();
    assert!(!key_names(&server.admin).contains(&"ends".to_owned()));
    assert_eq!((count("/retention/"), count("/full/")), (1, fulls), "announced first");
    server.advance_days(1);
    server.protect();
    assert!(count("/full/") < fulls, "what a year makes superfluous goes");
}

#[test]
fn a_restart_forgets_no_doubt() {
    let folder = tempfile::tempdir().unwrap();
    let mut server = TestServer::start();
    backup_key(&server.admin, "system");
    let there = folder.path().join("there");
    destination(&server, "nas", &there);
    protected(&server.admin, "system", &["nas"]);
    server.admin.key(json!({ "name": "ends" }));
    server.admin.delete("/v1/vault/keys2/ends").ok(204);
    server.protect();
    let noted = |server: &TestServer| {
        let core = server.app().core().unwrap();
        core.load_named::<NodeHeader>(DomainId::ROOT, "clock").is_ok()
    };
    let doubted = |server: &TestServer| {
        let alarms = server.admin.get("/v1/system/alarms").ok(200).to_string();
        assert_eq!(alarms.contains("clock_doubtful"), noted(server), "{alarms}");
        noted(server)
    };
    // What waits to be deleted is deleted by nothing but its clock.
    let kept = |server: &TestServer| {
        server.protect();
        server.tick();
        assert_eq!(walk(&there).iter().filter(|p| p.to_string_lossy().contains("/retention/")).count(), 0);
        key_names(&server.admin).contains(&"ends".to_owned())
    };
    assert!(!doubted(&server));
    server.jump(400 * DAY);
    server.protect();
    assert!(noted(&server), "at once, not when it stops");
    server.admin.renew();
    // From here on the newest entry has the clock's own time.
    server.admin.key(json!({ "name": "later" }));
    for hour in 0..4 {
        server.restart();
        assert!(doubted(&server) && kept(&server), "{hour}");
        server.advance(3600);
        server.admin.renew();
    }
    // Ended by a person, it is over for the next start too.
    server.admin.post("/v1/system/clock/accept", json!({ "confirm": "accept" })).ok(200);
    assert!(!doubted(&server));
    server.restart();
    assert!(!doubted(&server) && !kept(&server));
    server.jump(-400 * DAY);
    server.admin.renew();
    assert!(!noted(&server), "behind the log is another thing");
}

#[test]
fn what_a_start_tidies_up_does_not_hide_that_the_clock_is_wrong() {
    let mut server = TestServer::start();
    server.admin.key(json!({ "name": "ends" }));
    server.admin.delete("/v1/vault/keys2/ends").ok(204);
    let job = JobHeader {
        operation: "Backup create".into(),
        domain: None,
        actor: "system".into(),
        resource: Id(DomainId::ROOT.0),
        started: server.now(),
        finished: None,
        status: BackupStatus::InProgress,
        failure: String::new(),
        code: 0,
        result: serde_json::Value::Null,
    };
    let core = server.app().core().unwrap();
    let write = core.put(DomainId::ROOT, Core::new_id(server.now()), 1, &job, b"").unwrap();
    core.commit_as_system(server.now(), DomainId::ROOT, "test", vec![], vec![write]).unwrap();
    drop(core);
    server.jump(400 * DAY);
    server.restart();
    let core = server.app().core().unwrap();
    assert_eq!(core.load_all::<JobHeader>(DomainId::ROOT).unwrap()[0].header.status, BackupStatus::Failed);
    drop(core);
    server.tick();
    assert!(key_names(&server.admin).contains(&"ends".to_owned()));
    assert!(server.admin.get("/v1/system/alarms").ok(200).to_string().contains("clock_doubtful"));
}

#[test]
fn a_clock_that_was_set_back_stops_no_shipping() {
    let folder = tempfile::tempdir().unwrap();
    let server = TestServer::start();
    let file = exported(&server.admin, &backup_key(&server.admin, "system"));
    let there = folder.path().join("there");
    destination(&server, "nas", &there);
    let id = protected(&server.admin, "system", &["nas"]);
    server.protect();
    server.advance(10 * DAY);
    server.admin.renew();
    server.admin.key(json!({ "name": "before" }));
    server.protect();
    server.jump(-5 * DAY);
    server.admin.renew();
    server.admin.key(json!({ "name": "after" }));
    assert_eq!(server.protect(), 1, "it waits for no time that is far away now");
    let shown = instance(&server.admin, &id);
    assert_eq!(shown["destinations"][0].get("error"), None, "{shown}");
    assert!(server.admin.get("/v1/system/alarms").ok(200).to_string().contains("clock_doubtful"));
    // Times in names never go back.
    let times = |part: &str| {
        let mut names: Vec<String> = walk(&there).iter().map(|p| p.to_string_lossy().into_owned()).collect();
        names.retain(|n| n.contains(part));
        names.sort();
        names.iter().map(|n| n[n.rfind('-').unwrap()..].to_owned()).collect::<Vec<_>>()
    };
    let logs = times("/log/");
    assert!(logs.len() >= 2 && logs.is_sorted(), "{logs:?}");
    drop(server);
    let place = Local::open(&there).unwrap();
    let data = folder.path().join("new");
    recovery_from(&data, Origin::Stream { destination: &place, until: Until::Newest }, &file).unwrap();
    let again = TestServer::start_again(&data);
    assert_eq!(key_names(&again.admin), ["after", "before"]);
    assert_eq!(text(&again.admin.get("/v1/vault/keys2/after").ok(200), "name"), "after");
}
