//! Steps that the tests of backup and restore share. Every archive that `take` makes is searched for what no archive may hold.

use std::path::{Path, PathBuf};

use keyark_backup::Progress;
use keyark_model::{DomainId, Id, Kind};
use keyark_server::Settings;
use keyark_server::recover::{Origin, RecoverError, Recovered, Recovery, recover};
pub use keyark_testkit::canaries::{holds, no_canary};
pub use keyark_testkit::client::job_ended;
use keyark_testkit::client::text;
use keyark_testkit::{Answer, Client, TestDomain, TestServer};
use serde_json::{Value, json};

/// Creates a backup key and answers its id.
pub fn backup_key(by: &Client, scope: &str) -> String {
    text(&by.post("/v1/backupkeys", json!({ "scope": scope })).ok(201), "id")
}

/// A new domain with a backup key of its own.
pub fn domain_with_key(server: &TestServer, name: &str) -> TestDomain {
    let domain = server.domain(name);
    backup_key(&domain.admin, "domain");
    domain
}

/// An exported backup key: the file's text and its passphrase.
pub fn exported(by: &Client, key: &str) -> (String, String) {
    let file = by.post(&format!("/v1/backupkeys/{key}/download"), json!({})).ok(200);
    (text(&file, "file"), text(&file, "passphrase"))
}

/// Takes a backup to its end, whatever that is.
#[track_caller]
pub fn take_any(by: &Client, request: Value) -> Value {
    let begun = by.post("/v1/backups", request).ok(202);
    job_ended(by, &text(&begun, "jobId"));
    by.get(&format!("/v1/backups/{}", text(&begun, "id"))).ok(200)
}

/// Takes a backup, which must be completed, and searches its archive for canaries.
#[track_caller]
pub fn take(server: &TestServer, by: &Client, request: Value) -> Value {
    let backup = take_any(by, request);
    assert_eq!(backup["status"], "Completed", "{backup}");
    no_canary(server, &text(&backup, "id"));
    backup
}

/// Takes a backup of the whole domain and answers its id.
#[track_caller]
pub fn take_domain(server: &TestServer, by: &Client) -> String {
    text(&take(server, by, json!({ "scope": "domain" })), "id")
}

/// Takes a backup of the whole system and answers its id.
#[track_caller]
pub fn take_system(server: &TestServer) -> String {
    text(&take(server, &server.admin, json!({ "scope": "system" })), "id")
}

/// The plan of a restore.
pub fn plan(by: &Client, backup: &str, options: Value) -> Answer {
    by.post(&format!("/v1/backups/{backup}/plan"), options)
}

/// Restores to the end of the job, however it ends.
#[track_caller]
pub fn restore_any(by: &Client, backup: &str, options: Value) -> Value {
    let begun = by.post(&format!("/v1/backups/{backup}/restore"), options).ok(202);
    job_ended(by, &text(&begun, "jobId"))
}

/// Restores; the job must be completed.
#[track_caller]
pub fn restore(by: &Client, backup: &str, options: Value) -> Value {
    let job = restore_any(by, backup, options);
    assert_eq!(job["status"], "completed", "{job}");
    job
}

/// The lines of a plan with this action: kind and id.
pub fn lines(plan: &Value, action: &str) -> Vec<(String, String)> {
    let all = plan["resources"].as_array().expect("a plan has lines");
    all.iter().filter(|l| l["action"] == action).map(|l| (text(l, "kind"), text(l, "id"))).collect()
}

/// The archive's file on the server.
pub fn archive_path(server: &TestServer, backup: &str) -> PathBuf {
    server.settings.data.join("backups").join(format!("{backup}.keyark"))
}

/// The archive's bytes, as a download gives them.
#[track_caller]
pub fn download(by: &Client, backup: &str) -> Vec<u8> {
    let answer = by.get(&format!("/v1/backups/{backup}/download"));
    assert_eq!(answer.status, 200, "{}", answer.json);
    answer.body
}

/// Sends a file.
pub fn send_file(by: &Client, path: &str, bytes: &[u8]) -> Answer {
    by.send("POST", path, Some(bytes), &[("content-type", "application/octet-stream")])
}

/// Uploads an archive.
pub fn upload(by: &Client, bytes: &[u8]) -> Answer {
    send_file(by, "/v1/backups/upload", bytes)
}

/// Uploads an exported backup key.
pub fn upload_key(by: &Client, (file, passphrase): &(String, String)) -> Answer {
    by.post("/v1/backupkeys/upload", json!({ "file": file, "password": passphrase }))
}

/// Deletes a key at once.
#[track_caller]
pub fn key_delete(by: &Client, name: &str) {
    by.delete(&format!("/v1/vault/keys2/{name}?confirm={name}")).ok(204);
}

/// A key's material in hexadecimal.
#[track_caller]
pub fn material(by: &Client, key: &str) -> String {
    text(&by.post(&format!("/v1/vault/keys2/{key}/export"), json!({})).ok(200), "material")
}

/// A password-typed secret under a key.
#[track_caller]
pub fn secret(by: &Client, name: &str, key: &str, value: &str) -> String {
    let fields = json!({ "name": name, "dataType": "password", "material": value, "key": key });
    text(&by.post("/v1/vault/secrets", fields).ok(201), "id")
}

/// A secret's value.
#[track_caller]
pub fn secret_value(by: &Client, secret: &str) -> String {
    text(&by.post(&format!("/v1/vault/secrets/{secret}/export"), json!({})).ok(200), "material")
}

/// Names of the keys that a caller sees, sorted.
#[track_caller]
pub fn key_names(by: &Client) -> Vec<String> {
    let page = by.get("/v1/vault/keys2?limit=-1").ok(200);
    let mut names: Vec<_> = page["resources"].as_array().expect("a page").iter().map(|k| text(k, "name")).collect();
    names.sort();
    names
}

/// Every domain, kind and id with its header: what a restore brings back byte for byte.
pub fn headers(server: &TestServer, domain: DomainId, kinds: &[Kind]) -> Vec<(Kind, Id, Vec<u8>)> {
    let core = server.app().core().expect("no restore is running");
    let mut all = Vec::new();
    for kind in kinds {
        let scanned = core.store.scan(domain, *kind, |r| {
            all.push((*kind, r.id, r.header.to_vec()));
            std::ops::ControlFlow::Continue(())
        });
        scanned.expect("a healthy store");
    }
    all
}

/// All shipped headers of all domains, but for the anchor, which names the incarnation.
pub fn everything(server: &TestServer) -> Vec<(Kind, Id, Vec<u8>)> {
    let shipped: Vec<Kind> =
        Kind::ALL.iter().copied().filter(|k| k.shipping() != keyark_model::Shipping::Never).collect();
    let domains = server.app().core().expect("no restore is running").store.domains().expect("readable");
    let mut all: Vec<_> = domains.into_iter().flat_map(|d| headers(server, d, &shipped)).collect();
    all.retain(|(kind, _, header)| *kind != Kind::Setting || !String::from_utf8_lossy(header).contains("\"anchor\""));
    all
}

/// Settings of a folder for recovery.
pub fn settings(data: &Path) -> Settings {
    Settings { data: data.into(), disk_reserve: 0, ..Settings::default() }
}

/// Recovers an archive into a folder.
pub fn recovery(data: &Path, archive: &Path, key: &(String, String)) -> Result<Recovered, RecoverError> {
    recovery_from(data, Origin::Archive(archive), key)
}

/// Recovers into an empty folder out of an archive or a destination, a day after tests begin.
pub fn recovery_from(data: &Path, from: Origin<'_>, key: &(String, String)) -> Result<Recovered, RecoverError> {
    let settings = settings(data);
    let now = keyark_testkit::server::START.plus_seconds(86_400);
    let request = Recovery { settings: &settings, from, key_file: &key.0, passphrase: &key.1, now };
    recover(&request, &Progress::default())
}
