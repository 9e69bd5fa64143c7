//! Backups go to other machines over SSH, by hand and by the clock, and what arrives there restores.

use std::net::{Shutdown, TcpListener, TcpStream};

use keyark_api::ErrorCode;
use keyark_backup::stream::Until;
use keyark_model::access::Role;
use keyark_server::recover::Origin;
use keyark_testkit::client::{job_ended, text};
use keyark_testkit::ssh::{PASSWORD, SshServer, USER};
use keyark_testkit::{Client, TestServer};
use serde_json::{Value, json};

use crate::support::{backup_key, exported, key_names, recovery_from};

const CONNECTIONS: &str = "/v1/connectionmgmt/services/scp/connections";

/// What a connection needs.
fn place(server: &SshServer, folder: &str) -> Value {
    json!({ "host": "127.0.0.1", "port": server.port, "username": USER, "public_key": server.host_key, "path_to": folder })
}

fn with(mut fields: Value, more: Value) -> Value {
    fields.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    fields
}

/// A transfer at its end.
fn sent(by: &Client, backup: &str, transfer: &Value) -> Value {
    let id = text(transfer, "id");
    job_ended(by, &id);
    by.get(&format!("/v1/backups/{backup}/scp/{id}")).ok(200)
}

#[test]
fn a_backup_goes_to_another_machine_and_is_the_same_there() {
    let (server, far) = (TestServer::start(), SshServer::start());
    let room = far.room("vault");
    let admin = &server.admin;
    admin.key(json!({ "name": "k" }));
    let domain = server.domain("payroll");
    domain.admin.key(json!({ "name": "d" }));
    let key = admin.get("/v1/scp/public-key").ok(200);
    assert_eq!(admin.get("/v1/scp/public-key").ok(200), key, "made once");
    assert!(text(&key, "public_key").starts_with("ssh-ed25519 ") && text(&key, "fingerprint").starts_with("SHA256:"));
    assert_ne!(domain.admin.get("/v1/scp/public-key").ok(200), key, "each domain has its own");
    backup_key(admin, "system");
    backup_key(&domain.admin, "domain");
    for (by, scope, login) in [
        (admin, "system", json!({ "auth_method": "key" })),
        (admin, "system", json!({ "auth_method": "password", "password": PASSWORD, "protocol": "scp" })),
        (&domain.admin, "domain", json!({ "password": format!("\u{feff}{PASSWORD}\n") })),
    ] {
        by.renew();
        far.authorize(&text(&by.get("/v1/scp/public-key").ok(200), "public_key"));
        let backup = text(&by.backup(json!({ "scope": scope })), "id");
        let begun = by.post(&format!("/v1/backups/{backup}/scp"), with(place(&far, "vault"), login)).ok(202);
        assert_eq!((&begun["host"], begun.get("password")), (&json!("127.0.0.1"), None));
        let done = sent(by, &backup, &begun);
        assert_eq!(done["connection_status"], "completed", "{done}");
        assert_eq!(done["path"], format!("vault/keyark-backup-{backup}.keyark"));
        let there = std::fs::read(room.join(format!("keyark-backup-{backup}.keyark"))).unwrap();
        assert!(there == by.get(&format!("/v1/backups/{backup}/download")).body);
        assert_eq!(by.get(&format!("/v1/backups/{backup}/scp")).ok(200), json!([done]));
        // Four days later the status is gone; the audit log has it.
        server.advance_days(5);
        by.renew();
        assert_eq!(by.get(&format!("/v1/backups/{backup}/scp")).ok(200), json!([]));
        let id = text(&begun, "id");
        by.get(&format!("/v1/backups/{backup}/scp/{id}")).fails(ErrorCode::NotFound, "the transfer");
        let log = by.get("/v1/audit/records?limit=-1").ok(200);
        let of_it = |r: &&Value| r["action"] == "backup_scp" && r["target"] == json!(backup);
        assert_eq!(log["resources"].as_array().unwrap().iter().filter(of_it).count(), 1, "{log}");
    }
}

#[test]
fn what_went_wrong_is_said_and_nothing_else_is_touched() {
    let (server, far) = (TestServer::start(), SshServer::start());
    let room = far.room("vault");
    let admin = &server.admin;
    backup_key(admin, "system");
    let backup = text(&admin.backup(json!({ "scope": "system" })), "id");
    let path = format!("/v1/backups/{backup}/scp");
    let good = with(place(&far, "vault"), json!({ "password": PASSWORD }));
    for (wrong, what) in [
        (json!({ "host": "" }), "host"),
        (json!({ "public_key": "" }), "ssh-keyscan"),
        (json!({ "public_key": "SHA256:abc" }), "ssh-keyscan"),
        (json!({ "username": "" }), "username"),
        (json!({ "path_to": " " }), "path_to"),
        (json!({ "path_to": "a\nb" }), "one line"),
        (json!({ "auth_method": "magic" }), "key or password"),
        (json!({ "auth_method": "key" }), "auth_method password"),
        (json!({ "password": "" }), "needs the password"),
        (json!({ "protocol": "ftp" }), "sftp or scp"),
    ] {
        admin.post(&path, with(good.clone(), wrong)).fails(ErrorCode::InvalidParam, what);
    }
    admin.post(&path, json!({ "connection": "nobody" })).fails(ErrorCode::NotFound, "nobody");
    let other = SshServer::start();
    for (wrong, what) in [
        (json!({ "password": "wrong" }), "does not let"),
        (json!({ "password": null, "auth_method": "key" }), "authorized_keys"),
        (json!({ "public_key": other.host_key }), "not the host that was pinned"),
        (json!({ "path_to": "nowhere" }), "not there"),
        (json!({ "port": 1 }), "cannot be reached"),
    ] {
        let mut fields = with(good.clone(), wrong);
        fields.as_object_mut().unwrap().retain(|_, v| !v.is_null());
        let failed = sent(admin, &backup, &admin.post(&path, fields).ok(202));
        assert_eq!(failed["connection_status"], "failed");
        assert!(text(&failed, "error").contains(what), "{failed}");
    }
    // A file that is there with that name stays.
    let there = room.join(format!("keyark-backup-{backup}.keyark"));
    std::fs::write(&there, b"another").unwrap();
    let failed = sent(admin, &backup, &admin.post(&path, good).ok(202));
    assert!(text(&failed, "error").contains("read back"), "{failed}");
    assert_eq!(std::fs::read(&there).unwrap(), b"another");
    assert!(!String::from_utf8_lossy(&admin.get(&path).body).contains(PASSWORD));
}

#[test]
fn a_cancelled_transfer_is_aborted_and_leaves_nothing_there() {
    let (server, far) = (TestServer::start(), SshServer::start());
    let (room, admin) = (far.room("vault"), &server.admin);
    backup_key(admin, "system");
    let backup = text(&admin.backup(json!({ "scope": "system" })), "id");
    let door = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let port = door.local_addr().unwrap().port();
    let fields = with(place(&far, "vault"), json!({ "password": PASSWORD, "port": port }));
    let begun = admin.post(&format!("/v1/backups/{backup}/scp"), fields).ok(202);
    // It has called, and waits: nobody has answered yet.
    let (near, _) = door.accept().unwrap();
    let job = text(&begun, "id");
    admin.post(&format!("/v1/jobs/{job}/cancel"), json!({})).ok(202);
    let there = TcpStream::connect(("127.0.0.1", far.port)).unwrap();
    for (mut from, mut to) in [(near.try_clone().unwrap(), there.try_clone().unwrap()), (there, near)] {
        std::thread::spawn(move || {
            let _ = std::io::copy(&mut from, &mut to);
            let _ = to.shutdown(Shutdown::Write);
        });
    }
    assert_eq!(job_ended(admin, &job)["status"], "aborted");
    let transfer = sent(admin, &backup, &begun);
    assert_eq!(transfer["connection_status"], "failed");
    assert!(text(&transfer, "error").contains("cancelled"), "{transfer}");
    assert_eq!(std::fs::read_dir(room).unwrap().count(), 0);
    assert!(far.log().contains("Accepted password"), "it got as far as the other machine");
}

#[test]
fn connections_are_tried_kept_and_never_show_their_password() {
    let (server, far) = (TestServer::start(), SshServer::start());
    far.room("vault");
    let admin = &server.admin;
    let fields =
        with(place(&far, "vault"), json!({ "name": "offsite", "auth_method": "password", "password": PASSWORD }));
    let made = admin.post(CONNECTIONS, fields.clone()).ok(201);
    assert_eq!((&made["products"], &made["protocol"]), (&json!(["backup/restore"]), &json!("sftp")));
    assert_eq!((made.get("password"), made.get("last_connection_ok")), (None, None));
    admin.post(CONNECTIONS, fields).fails(ErrorCode::AlreadyExists, "offsite");
    let path = format!("{CONNECTIONS}/offsite");
    assert_eq!(admin.post(&format!("{path}/test"), json!({})).ok(200), json!({ "connection_ok": true }));
    assert_eq!(admin.get(&path).ok(200)["last_connection_ok"], true);
    // Another host or user gets no password that was meant for this one.
    admin.patch(&path, json!({ "host": "localhost" })).fails(ErrorCode::InvalidParam, "needs the password");
    admin.patch(&path, json!({ "path_to": "elsewhere", "description": "tapes" })).ok(200);
    let tried = admin.post(&format!("{path}/test"), json!({})).ok(200);
    assert_eq!(tried["connection_ok"], false);
    let shown = admin.get(&path).ok(200);
    assert_eq!((&shown["last_connection_ok"], &shown["description"]), (&json!(false), &json!("tapes")));
    assert!(text(&shown, "last_connection_error").contains("elsewhere"), "{shown}");
    assert_eq!(admin.get(&format!("{CONNECTIONS}?name=off*")).ok(200)["total"], 1);
    let unsaved = with(place(&far, "vault"), json!({ "password": PASSWORD, "protocol": "scp" }));
    let tested = admin.post("/v1/connectionmgmt/services/scp/connection-test", unsaved).ok(200);
    assert_eq!(tested, json!({ "connection_ok": true }));
    // Another domain does not see it.
    let domain = server.domain("payroll");
    domain.admin.get(&path).fails(ErrorCode::NotFound, "offsite");
    admin.delete(&path).ok(204);
    admin.get(&path).fails(ErrorCode::NotFound, "offsite");
}

#[test]
fn what_a_schedule_makes_is_sent_and_tried_again_and_a_new_key_says_what_it_breaks() {
    let (mut server, far) = (TestServer::start(), SshServer::start());
    let room = far.room("vault");
    backup_key(&server.admin, "system");
    let connection = with(place(&far, "vault"), json!({ "name": "offsite", "auth_method": "key" }));
    server.admin.post(CONNECTIONS, connection).ok(201);
    let schedule = |params: Value| {
        let fields = json!({ "name": "nightly", "operation": "database_backup", "run_at": "0 3 * * *", "database_backup_params": params });
        server.admin.post("/v1/scheduler/job-configs", fields)
    };
    schedule(json!({ "do_scp": true })).fails(ErrorCode::InvalidParam, "connection");
    schedule(json!({ "connection": "offsite" })).fails(ErrorCode::InvalidParam, "do_scp");
    schedule(json!({ "do_scp": true, "connection": "nowhere" })).fails(ErrorCode::NotFound, "nowhere");
    schedule(json!({ "do_scp": true, "connection": "offsite" })).ok(201);
    server.admin.delete(&format!("{CONNECTIONS}/offsite")).fails(ErrorCode::InUse, "nightly");
    let last = |server: &TestServer| {
        server.admin.renew();
        let run = server.admin.get("/v1/scheduler/jobs").ok(200)["resources"][0].clone();
        for job in ["jobId", "scp"] {
            run[job].as_str().map(|job| job_ended(&server.admin, job));
        }
        server.admin.get("/v1/scheduler/jobs").ok(200)["resources"][0].clone()
    };
    // The host does not know the key yet: the backup is there, the transfer fails, and waits longer each time.
    server.advance_days(1);
    server.tick();
    last(&server);
    server.tick();
    let run = last(&server);
    assert_eq!((&run["status"], &run["scp_status"]), (&json!("completed"), &json!("failed")), "{run}");
    assert!(text(&run, "error").contains("authorized_keys"), "{run}");
    server.tick();
    assert_eq!(last(&server)["scp"], run["scp"], "not at once");
    far.authorize(&text(&server.admin.get("/v1/scp/public-key").ok(200), "public_key"));
    // Also after a restart.
    server.restart();
    server.advance(61);
    server.tick();
    let run = last(&server);
    assert_eq!((&run["scp_status"], run.get("error")), (&json!("completed"), None), "{run}");
    let there = room.join(format!("keyark-backup-{}.keyark", text(&run, "backup")));
    assert!(there.exists());
    server.tick();
    assert_eq!(last(&server)["scp"], run["scp"], "sent once");
    // A new key breaks what logs in with the old one: that is said first.
    let before = server.admin.get("/v1/scp/public-key").ok(200);
    let refused = server.admin.post("/v1/scp/public-key/rotate", json!({}));
    refused.fails(ErrorCode::ConfirmNeeded, "schedule nightly, connection offsite");
    assert_eq!(server.admin.get("/v1/scp/public-key").ok(200), before);
    let rotated = server.admin.post("/v1/scp/public-key/rotate", json!({ "confirm": "rotate" })).ok(200);
    assert_eq!(rotated, json!({ "success": true, "broken": ["schedule nightly", "connection offsite"] }));
    assert_ne!(server.admin.get("/v1/scp/public-key").ok(200), before);
    let tried = server.admin.post(&format!("{CONNECTIONS}/offsite/test"), json!({})).ok(200);
    assert_eq!(tried["connection_ok"], false, "the host knows the old one only");
}

#[test]
fn a_machine_over_sftp_is_a_destination() {
    let (server, far) = (TestServer::start(), SshServer::start());
    let room = far.room("vault");
    let admin = &server.admin;
    let file = exported(admin, &backup_key(admin, "system"));
    let fields = json!({ "kind": "sftp", "name": "far", "host": "127.0.0.1", "port": far.port, "username": USER, "hostKey": far.host_key, "path": room });
    for (wrong, what) in [
        (json!({ "hostKey": "x" }), "hostKey"),
        (json!({ "bucket": "b" }), "bucket"),
        (json!({ "host": null }), "host"),
    ] {
        let mut fields = with(fields.clone(), wrong);
        fields.as_object_mut().unwrap().retain(|_, v| !v.is_null());
        admin.post("/v1/destinations", fields).fails(ErrorCode::InvalidParam, what);
    }
    admin.post("/v1/destinations", fields.clone()).ok(201);
    let inside = with(fields, json!({ "name": "inside", "path": room.join("deeper"), "password": PASSWORD }));
    admin.post("/v1/destinations", inside).fails(ErrorCode::AlreadyExists, "far");
    assert_eq!(admin.post("/v1/destinations/far/check", json!({})).ok(200)["usable"], false);
    far.authorize(&text(&admin.get("/v1/scp/public-key").ok(200), "public_key"));
    let checked = admin.post("/v1/destinations/far/check", json!({})).ok(200);
    assert_eq!((&checked["usable"], &checked["deletes"]), (&json!(true), &json!(true)), "{checked}");
    let instance = json!({ "type": "system", "alias": "all" });
    let id = text(&admin.post("/v1/backup-instances", instance).ok(201), "id");
    admin.post(&format!("/v1/backup-instances/{id}/enable"), json!({ "destinations": ["far"] })).ok(200);
    admin.key(json!({ "name": "k" }));
    server.protect();
    let refused = admin.post("/v1/scp/public-key/rotate", json!({}));
    refused.fails(ErrorCode::ConfirmNeeded, "destination far");
    // This machine is lost; the other one has everything.
    drop(server);
    let (data, place) = (tempfile::tempdir().unwrap(), far.destination("vault"));
    let from = Origin::Stream { destination: &place, until: Until::Newest };
    recovery_from(data.path(), from, &file).unwrap();
    assert_eq!(key_names(&TestServer::start_again(data.path()).admin), ["k"]);
}

#[test]
fn only_who_may_back_up_sends_away() {
    let (server, far) = (TestServer::start(), SshServer::start());
    let admin = &server.admin;
    let fields = with(place(&far, "vault"), json!({ "name": "offsite" }));
    let reader = server.as_user(&[Role::Auditors]);
    reader.post(CONNECTIONS, fields).fails(ErrorCode::Forbidden, "");
    assert!(admin.get(CONNECTIONS).ok(200)["total"] == 0);
}
