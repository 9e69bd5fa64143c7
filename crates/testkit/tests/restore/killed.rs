//! A running server is killed by SIGKILL at each step of a backup, a restore and a rotation: the old state or the new.

use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::path::Path;
use std::process::{Command, Stdio};

use keyark_store::failpoint;
use keyark_testkit::client::text;
use keyark_testkit::server::PASSWORD;
use keyark_testkit::{Client, TestServer};
use serde_json::{Value, json};

use crate::support::{
    archive_path, backup_key, everything, job_ended, key_delete, key_names, plan, restore, take_any, take_domain,
    take_system,
};

const DATA: &str = "KEYARK_TEST_KILLED_DATA";
const STEP: &str = "KEYARK_TEST_KILLED_STEP";
const WORK: &str = "KEYARK_TEST_KILLED_WORK";
const NAME: &str = "killed::at_any_step_of_a_running_server_the_old_state_or_the_new_is_left";

/// A domain's administrator on a server that was started again.
fn of_domain(server: &TestServer) -> Client {
    server.admin.log_in(json!({ "username": "d-admin", "password": PASSWORD, "auth_domain": "d" }))
}

/// The child: starts the server and does one thing, until the failpoint kills it.
fn work(data: &Path, what: &str) {
    let server = TestServer::start_again(data);
    let read = |name: &str| std::fs::read_to_string(data.join("..").join(name)).unwrap();
    let d = of_domain(&server);
    failpoint::arm(&std::env::var(STEP).unwrap());
    let begun = match what {
        "take-system" => server.admin.post("/v1/backups", json!({ "scope": "system" })),
        "take-domain" => d.post("/v1/backups", json!({ "scope": "domain" })),
        "restore-domain" => d.post(
            &format!("/v1/backups/{}/restore", read("of-domain")),
            json!({ "includeDeleted": true, "conflict": "skip" }),
        ),
        "restore-system" => {
            server.admin.post(&format!("/v1/backups/{}/restore", read("of-system")), json!({ "confirm": "system" }))
        }
        _ => d.post(&format!("/v1/domains/{}/rotate-kek", read("domain")), json!({})),
    };
    if begun.status == 202 {
        let by = if what.ends_with("domain") { &d } else { &server.admin };
        job_ended(by, &text(&begun.json, "jobId"));
    }
    // A rotation seals anew beside the answer; whoever is still alive after that was not killed.
    std::thread::park_timeout(std::time::Duration::from_secs(20));
}

/// A folder with a domain of two keys, one of them deleted after a backup of the domain and one of the system.
struct Ground {
    folder: tempfile::TempDir,
    ciphertext: Value,
    now: Vec<(keyark_model::Kind, keyark_model::Id, Vec<u8>)>,
    then: Vec<(keyark_model::Kind, keyark_model::Id, Vec<u8>)>,
}

impl Ground {
    fn new() -> Ground {
        let folder = tempfile::tempdir().unwrap();
        let data = folder.path().join("data");
        let mut server = TestServer::start_with(|s| s.data = data.clone());
        let d = server.domain("d");
        for name in ["kept", "lost"] {
            d.admin.key(json!({ "name": name }));
        }
        let ciphertext = d.admin.encrypt("kept", "old data");
        // What else a stop would write down: when the key was used.
        server.tick();
        backup_key(&server.admin, "system");
        backup_key(&d.admin, "domain");
        std::fs::write(folder.path().join("domain"), &d.id).unwrap();
        std::fs::write(folder.path().join("of-domain"), take_domain(&server, &d.admin)).unwrap();
        std::fs::write(folder.path().join("of-system"), take_system(&server)).unwrap();
        let then = everything(&server);
        key_delete(&d.admin, "lost");
        d.admin.patch("/v1/vault/keys2/kept", json!({ "description": "since" })).ok(200);
        let now = everything(&server);
        server.stop();
        Ground { folder, ciphertext, now, then }
    }

    /// Kills a server at `failpoint` while it does `what`, and starts it again on what that left.
    fn killed(&self, what: &str, failpoint: &str) -> (tempfile::TempDir, TestServer) {
        let copy = tempfile::tempdir().unwrap();
        let copied = Command::new("cp").arg("-a").arg(self.folder.path().join(".")).arg(copy.path()).status();
        assert!(copied.unwrap().success());
        let data = copy.path().join("data");
        let mut child = Command::new(std::env::current_exe().unwrap());
        child.args([NAME, "--exact"]).env(DATA, &data).env(WORK, what).env(STEP, failpoint);
        child.stdout(Stdio::null()).stderr(Stdio::null()).process_group(0);
        let status = child.status().unwrap();
        assert_eq!(status.signal(), Some(9), "{what} never comes to {failpoint}: {status}");
        let server = TestServer::start_again(&data);
        assert_eq!(of_domain(&server).decrypt(&self.ciphertext), "old data", "{what} killed at {failpoint}");
        (copy, server)
    }
}

#[test]
fn at_any_step_of_a_running_server_the_old_state_or_the_new_is_left() {
    if let (Ok(data), Ok(what)) = (std::env::var(DATA), std::env::var(WORK)) {
        return work(Path::new(&data), &what);
    }
    let ground = Ground::new();
    // A backup is not there, or failed, and never completed before it was read back and entered.
    for what in ["take-system", "take-domain"] {
        for step in [
            "commit-staged",
            "commit-done",
            "take-record",
            "take-record:3",
            "take-written",
            "take-read-back",
            "take-renamed",
            "take-ended",
        ] {
            let (_copy, server) = ground.killed(what, step);
            let by = if what == "take-system" { &server.admin } else { &of_domain(&server) };
            let page = by.get("/v1/backups").ok(200);
            let backups = page["resources"].as_array().unwrap();
            let completed: Vec<&Value> = backups.iter().filter(|b| b["status"] == "Completed").collect();
            assert_eq!(completed.len(), 1, "{what} killed at {step}: {page}");
            let failed: Vec<&Value> = backups.iter().filter(|b| b["status"] != "Completed").collect();
            assert!(failed.iter().all(|b| text(b, "status").starts_with("Failed")), "{page}");
            assert_eq!(failed.len(), usize::from(step != "commit-staged"), "{what} killed at {step}: {page}");
            assert!(failed.iter().all(|b| !archive_path(&server, &text(b, "id")).exists()));
            let files = std::fs::read_dir(server.settings.data.join("backups")).unwrap().count();
            assert_eq!(files, 2, "what was half done is gone");
            let scope = if what == "take-system" { "system" } else { "domain" };
            assert_eq!(take_any(by, json!({ "scope": scope }))["status"], "Completed");
        }
    }
    // A domain: with or without the deleted key, never with a job that says otherwise.
    for (step, done) in
        [("commit-staged", false), ("restore-planned", false), ("commit-done", false), ("restore-committed", true)]
    {
        let (_copy, server) = ground.killed("restore-domain", step);
        let d = of_domain(&server);
        assert_eq!(key_names(&d).contains(&"lost".to_owned()), done, "killed at {step}");
        let jobs = d.get("/v1/jobs").ok(200);
        if step != "commit-staged" {
            // The clock of a test stands, so the newest job is not always the first.
            let all = jobs["resources"].as_array().unwrap().iter();
            let restores: Vec<&Value> = all.filter(|j| j["operation"] == "Backup restore").collect();
            let expected = if done { "completed" } else { "failed" };
            assert_eq!(restores.len(), 1, "killed at {step}: {jobs}");
            assert_eq!(restores[0]["status"], expected, "killed at {step}: {jobs}");
        }
        assert_eq!(server.app().core().unwrap().store.check().unwrap().findings, []);
    }
}

#[test]
fn a_system_restore_that_is_killed_leaves_the_old_system_or_the_new() {
    let ground = Ground::new();
    let steps = [
        ("commit-done", false),
        ("system-closed", false),
        ("load-record", false),
        ("load-record:7", false),
        ("load-commit", false),
        ("load-stamp", false),
        ("switch-checkpointed", false),
        ("switch-kept", false),
        ("switch-published", true),
        ("system-switched", true),
        ("system-ended", true),
    ];
    for (step, new) in steps {
        let (_copy, server) = ground.killed("restore-system", step);
        let expected = if new { &ground.then } else { &ground.now };
        // A deletion that is known stays: the restored system is the archive's without that key.
        let found = everything(&server);
        let missing: Vec<_> = expected.iter().filter(|r| !found.contains(r)).collect();
        assert!(missing.len() <= usize::from(new), "killed at {step}: {} records differ", missing.len());
        assert_eq!(key_names(&of_domain(&server)), ["kept"], "killed at {step}");
        let description = of_domain(&server).get("/v1/vault/keys2/kept").ok(200)["description"].clone();
        assert_eq!(description == "since", !new, "killed at {step}: {description}");
        assert_eq!(server.app().core().unwrap().store.check().unwrap().findings, []);
        let outbound = server.admin.get("/v1/system/info").ok(200)["outbound"].clone();
        assert_eq!(outbound == "suspended", new, "killed at {step}");
        // It goes on: a backup, and the same restore again.
        let backup = std::fs::read_to_string(ground.folder.path().join("of-system")).unwrap();
        plan(&server.admin, &backup, json!({})).ok(200);
        restore(&server.admin, &backup, json!({ "confirm": "system" }));
        take_system(&server);
    }
}

#[test]
fn a_rotation_that_is_killed_loses_nothing_and_goes_on() {
    let ground = Ground::new();
    for (step, generations) in [
        ("commit-staged", 1),
        ("commit-done", 2),
        ("kek-committed", 2),
        ("reseal-batch", 2),
        ("commit-staged:2", 2),
        ("commit-done:2", 2),
    ] {
        let (_copy, server) = ground.killed("rotate", step);
        let d = of_domain(&server);
        let id = std::fs::read_to_string(ground.folder.path().join("domain")).unwrap();
        let keks = d.get(&format!("/v1/domains/{id}/keks")).ok(200);
        assert_eq!(keks["total"], generations, "killed at {step}: {keks}");
        assert_eq!(everything(&server), ground.now, "killed at {step}: headers and revisions are as they were");
        d.key(json!({ "name": format!("after-{generations}") }));
        assert_eq!(server.app().core().unwrap().store.check().unwrap().findings, []);
    }
}
