//! Backup instances over the interface: moments, ranges, retention, days, files.

use keyark_api::ErrorCode;
use keyark_testkit::client::text;
use keyark_testkit::server::PASSWORD;
use keyark_testkit::{Client, TestServer};
use serde_json::{Value, json};

use crate::support::{backup_key, exported, job_ended, key_names, restore, restore_any};

use super::{destination, instance, protected, walk};

#[test]
fn a_domain_takes_a_moment_out_of_its_instance_and_restores_from_it() {
    let folder = tempfile::tempdir().unwrap();
    let server = TestServer::start();
    let (one, two) = (server.domain("one"), server.domain("two"));
    destination(&server, "nas", &folder.path().join("there"));
    backup_key(&one.admin, "domain");
    let granted = |by: &Client| by.post("/v1/backup-instances", json!({ "alias": "all", "rangeDays": 30 }));
    granted(&one.admin).fails(ErrorCode::QuotaExceeded, "granted 0 days");
    let quotas = json!({ "quotas": { "backupRangeDays": 40 } });
    server.admin.patch(&format!("/v1/domains/{}", one.id), quotas).ok(200);
    let id = protected(&one.admin, "extended", &["nas"]);
    assert_eq!(instance(&one.admin, &id)["state"], "enabled");
    two.admin.get(&format!("/v1/backup-instances/{id}")).fails(ErrorCode::NotFound, "backup instance");
    server.admin.get(&format!("/v1/backup-instances/{id}")).fails(ErrorCode::NotFound, "backup instance");

    one.admin.key(json!({ "name": "k" }));
    let ciphertext = one.admin.encrypt("k", "of the domain");
    server.protect();
    server.advance(1);
    server.protect();
    let before = server.now();
    server.advance(60);
    one.admin.delete("/v1/vault/keys2/k?confirm=k").ok(204);
    one.admin.key(json!({ "name": "later" }));
    server.protect();
    assert_eq!(key_names(&one.admin), ["later"]);
    let points = one.admin.get(&format!("/v1/backup-instances/{id}/points")).ok(200);
    assert_eq!((&points["total"], &points["resources"][0]["destination"]), (&json!(1), &json!("nas")));

    let path = format!("/v1/backup-instances/{id}/backups");
    let begun = one.admin.post(&path, json!({ "at": before })).ok(202);
    let job = job_ended(&one.admin, &text(&begun, "jobId"));
    assert_eq!(job["status"], "completed", "{job}");
    let backup = text(&begun, "id");
    assert_eq!(one.admin.get(&format!("/v1/backups/{backup}")).ok(200)["status"], "Completed");
    // It was deleted since: that is a fact which the restorer overrules by name.
    assert_eq!(restore_any(&one.admin, &backup, json!({}))["status"], "completed");
    assert_eq!(key_names(&one.admin), ["later"]);
    restore(&one.admin, &backup, json!({ "includeDeleted": true }));
    assert_eq!(key_names(&one.admin), ["k", "later"]);
    assert_eq!(one.admin.decrypt(&ciphertext), "of the domain");
    // The same in one step: refused whole where something is in the way, and nothing is written.
    let path_restore = format!("/v1/backup-instances/{id}/restore");
    let in_one = |fields: Value| {
        let begun = one.admin.post(&path_restore, fields).ok(202);
        job_ended(&one.admin, &text(&begun, "jobId"))
    };
    one.admin.post("/v1/vault/keys2", json!({ "name": "also" })).ok(201);
    let refused = in_one(json!({ "at": before, "conflict": "fail" }));
    assert_eq!((&refused["status"], &refused["errorCode"]), (&json!("failed"), &json!(1023)), "{refused}");
    one.admin.delete("/v1/vault/keys2/k?confirm=k").ok(204);
    assert_eq!(key_names(&one.admin), ["also", "later"]);
    let done = in_one(json!({ "at": before, "includeDeleted": true }));
    assert_eq!((&done["status"], &done["result"]["restore"]["restored"]), (&json!("completed"), &json!(1)), "{done}");
    assert_eq!(one.admin.decrypt(&ciphertext), "of the domain");
    let wrong = server.admin.post(&path_restore, json!({}));
    wrong.fails(ErrorCode::NotFound, "backup instance");
    // Outside of what is there.
    let early = one.admin.post(&path, json!({ "at": before.plus_seconds(-7200) }));
    early.fails(ErrorCode::NoPoint, "before the instance was enabled is not there");
    let late = one.admin.post(&path, json!({ "at": server.now().plus_seconds(7200) }));
    late.fails(ErrorCode::NoPoint, "the last point is");

    // A reset deletes all of it, named twice, and the instance can begin anew.
    let reset = format!("/v1/backup-instances/{id}/reset");
    one.admin.post(&reset, json!({})).fails(ErrorCode::ConfirmNeeded, "is deleted at every destination");
    let there = folder.path().join("there");
    assert!(walk(&there).len() > 3);
    let begun = one.admin.post(&reset, json!({ "confirm": "all" })).ok(202);
    let ended = job_ended(&one.admin, &text(&begun, "jobId"));
    assert_eq!(ended["status"], "completed", "{ended}");
    assert_eq!(walk(&there).iter().filter(|p| !p.to_string_lossy().contains("/owner/")).count(), 0);
    assert_eq!(instance(&one.admin, &id)["state"], "disabled");
    assert_eq!(server.protect(), 0);
    one.admin.post(&format!("/v1/backup-instances/{id}/enable"), json!({ "destinations": ["nas"] })).ok(200);
    assert_eq!(server.protect(), 1);
}

#[test]
fn an_instance_is_extended_renewed_and_expires() {
    let server = TestServer::start();
    let fields = json!({ "type": "system", "alias": "dr", "rangeDays": 10, "durationDays": 30 });
    let made = server.admin.post("/v1/backup-instances", fields).ok(201);
    let path = format!("/v1/backup-instances/{}", text(&made, "id"));
    assert_eq!((&made["state"], &made["rangeDays"]), (&json!("disabled"), &json!(10)));
    let extend = |days: u32| server.admin.post(&format!("{path}/extend"), json!({ "rangeDays": days }));
    extend(10).fails(ErrorCode::InvalidParam, "can only grow");
    extend(601).fails(ErrorCode::InvalidParam, "7 to 600");
    assert_eq!(extend(16).ok(200)["rangeDays"], 16);
    server.advance_days(30);
    server.admin.renew();
    assert_eq!(server.admin.get(&path).ok(200)["state"], "expired");
    extend(20).fails(ErrorCode::InstanceExpired, "renew it");
    let renew = |days: u32| server.admin.post(&format!("{path}/renew"), json!({ "durationDays": days }));
    assert_eq!(renew(10).ok(200)["state"], "disabled");
    server.advance_days(25);
    server.admin.renew();
    assert_eq!(server.admin.get(&path).ok(200)["state"], "released");
    renew(10).fails(ErrorCode::InstanceExpired, "released");
    // The default one is there, of the root domain, a week, for ever.
    let all = server.admin.get("/v1/backup-instances").ok(200);
    let default = all["resources"].as_array().unwrap().iter().find(|i| i["type"] == "default").unwrap();
    assert_eq!(
        (&default["rangeDays"], default.get("expiresAt"), &default["state"]),
        (&json!(7), None, &json!("disabled"))
    );
    assert!(default["warnings"].to_string().contains("not_protected"), "{default}");
    let path = format!("/v1/backup-instances/{}", text(default, "id"));
    server.admin.post(&format!("{path}/extend"), json!({ "rangeDays": 30 })).fails(ErrorCode::InvalidParam, "a week");
    server.admin.delete(&path).fails(ErrorCode::InvalidParam, "keeps its default instance");
}

#[test]
fn each_night_what_left_the_range_is_announced_and_a_day_later_it_goes() {
    let folder = tempfile::tempdir().unwrap();
    let server = TestServer::start();
    backup_key(&server.admin, "system");
    let there = folder.path().join("there");
    destination(&server, "nas", &there);
    let fields = json!({ "type": "system", "alias": "all", "rangeDays": 10 });
    let id = text(&server.admin.post("/v1/backup-instances", fields).ok(201), "id");
    server.admin.post(&format!("/v1/backup-instances/{id}/enable"), json!({ "destinations": ["nas"] })).ok(200);
    let count = |part: &str| walk(&there).iter().filter(|p| p.to_string_lossy().contains(part)).count();
    let mut fulls = Vec::new();
    for day in 0..85 {
        server.admin.renew();
        server.admin.key(json!({ "name": format!("day-{day}") }));
        server.protect();
        fulls.push(count("/full/"));
        server.advance_days(1);
    }
    // A range of 10 days, and 30 more that it hides: a full archive a day, and the one that the first of them needs.
    assert_eq!((fulls[39], fulls[84]), (40, 42), "{fulls:?}");
    // Epochs stay for as long as one may last: what was copied from another destination may need them.
    assert!(count("/retention/") <= 2 && count("/epoch/") <= 43 + 31, "{} {}", count("/retention/"), count("/epoch/"));
    server.admin.renew();
    let path = format!("/v1/backup-instances/{id}");
    let points = server.admin.get(&format!("{path}/points")).ok(200);
    let start = keyark_testkit::server::START.plus_seconds(86_400 * 76);
    assert_eq!(points["resources"][0]["from"], json!(start), "what is older is hidden");
    let old = server.now().plus_seconds(-86_400 * 15);
    let refused = server.admin.post(&format!("{path}/backups"), json!({ "at": old }));
    refused.fails(ErrorCode::NoPoint, "a range of 16 days has it");
    server.admin.post(&format!("{path}/extend"), json!({ "rangeDays": 16 })).ok(200);
    let begun = server.admin.post(&format!("{path}/backups"), json!({ "at": old })).ok(202);
    let job = job_ended(&server.admin, &text(&begun, "jobId"));
    assert_eq!((&job["status"], &job["result"]["counts"]["keys"]), (&json!("completed"), &json!(70)), "{job}");
}

#[test]
fn a_day_shows_what_was_there_and_what_became_of_it() {
    let folder = tempfile::tempdir().unwrap();
    let server = TestServer::start();
    backup_key(&server.admin, "system");
    destination(&server, "nas", &folder.path().join("there"));
    for name in ["stays", "rotates", "ends", "goes", "sleeps"] {
        server.admin.key(json!({ "name": name }));
    }
    let id = protected(&server.admin, "system", &["nas"]);
    server.protect();
    server.advance_days(1);
    server.admin.renew();
    let by = &server.admin;
    by.post("/v1/vault/keys2/rotates/versions", json!({})).ok(201);
    by.post("/v1/vault/keys2/ends/destroy", json!({ "confirm": "ends" })).ok(200);
    by.post("/v1/vault/keys2/sleeps/suspend", json!({})).ok(200);
    by.delete("/v1/vault/keys2/goes?confirm=goes").ok(204);
    by.key(json!({ "name": "new" }));
    by.post("/v1/vault/secrets", json!({ "name": "s", "key": "stays", "material": "AAAA" })).ok(201);
    by.key(json!({ "name": "short" }));
    by.delete("/v1/vault/keys2/short?confirm=short").ok(204);
    server.protect();
    let data = |query: &str| server.admin.get(&format!("/v1/backup-instances/{id}/data?{query}"));
    let shown = data("date=2026-01-02&limit=-1").ok(200);
    let counts = json!({
        "keys": { "full": 5, "incremental": 1, "rotated": 1, "changed": 2, "destroyed": 1, "deleted": 2 },
        "secrets": { "incremental": 1 },
    });
    assert_eq!((&shown["counts"], &shown["total"]), (&counts, &json!(13)), "{shown}");
    let names = |category: &str| -> Vec<String> {
        let shown = data(&format!("date=2026-01-02&kind=keys&category={category}")).ok(200);
        let mut names: Vec<_> = shown["resources"].as_array().unwrap().iter().map(|i| text(i, "name")).collect();
        names.sort();
        names
    };
    assert_eq!(names("incremental"), ["new"]);
    assert_eq!(names("rotated"), ["rotates"]);
    assert_eq!(names("destroyed"), ["ends"]);
    assert_eq!(names("changed"), ["ends", "sleeps"]);
    assert_eq!(names("deleted"), ["goes", "short"]);
    let page = data("date=2026-01-02&category=full&skip=3&limit=1").ok(200);
    assert_eq!((page["resources"].as_array().unwrap().len(), &page["total"]), (1, &json!(5)));
    // The day on which it was enabled begins with its first full archive; the days before are not there.
    assert_eq!(data("date=2026-01-01").ok(200)["counts"], json!({ "keys": { "full": 5 } }));
    data("date=2025-12-31").fails(ErrorCode::NoPoint, "the first point is");
    data("date=2026-01-03").fails(ErrorCode::InvalidParam, "still to come");
    data("date=2026-02-31").fails(ErrorCode::InvalidParam, "a day like");
    data("date=2026-01-02&category=some").fails(ErrorCode::InvalidParam, "category is");
}

#[test]
fn a_moment_is_downloaded_under_a_key_of_its_own_and_uploaded_elsewhere() {
    let folder = tempfile::tempdir().unwrap();
    let server = TestServer::start();
    let one = server.domain("one");
    destination(&server, "nas", &folder.path().join("there"));
    backup_key(&one.admin, "domain");
    let quotas = json!({ "quotas": { "backupRangeDays": 40 } });
    server.admin.patch(&format!("/v1/domains/{}", one.id), quotas).ok(200);
    let id = protected(&one.admin, "extended", &["nas"]);
    one.admin.key(json!({ "name": "k" }));
    let ciphertext = one.admin.encrypt("k", "carried by hand");
    server.protect();
    let made = one.admin.post(&format!("/v1/backup-instances/{id}/download"), json!({})).ok(202);
    assert_eq!(job_ended(&one.admin, &text(&made, "jobId"))["status"], "completed");
    let (backup, key) = (text(&made, "backup"), text(&made, "encryptionKey"));
    // The key is nowhere: not in the catalogue, not among the backup keys, not in the data folder.
    let listed =
        one.admin.get("/v1/backupkeys").ok(200).to_string() + &one.admin.get("/v1/backups").ok(200).to_string();
    assert!(!listed.contains(&key));
    restore_refused(&one.admin, &backup);
    let file = one.admin.get(&format!("/v1/backups/{backup}/download"));
    assert_eq!(file.status, 200);

    // Another system, another domain.
    let other = TestServer::start();
    let two = other.domain("two");
    let send = |bytes: &[u8]| two.admin.send("POST", "/v1/backups/upload", Some(bytes), &[]);
    send(b"no archive").fails(ErrorCode::NotAnArchive, "");
    let uploaded = text(&send(&file.body).ok(201), "id");
    let instance = |key: &str, alias: &str| {
        let fields = json!({ "backup": uploaded, "encryptionKey": key, "alias": alias });
        two.admin.post("/v1/backup-instances/upload", fields)
    };
    let wrong = keyark_testkit::client::base64([7; 32]);
    instance(&wrong, "carried").fails(ErrorCode::WrongBackupKey, "does not open");
    instance("not base64", "carried").fails(ErrorCode::WrongBackupKey, "does not open");
    let carried = instance(&format!(" {key}\n"), "carried").ok(201);
    assert_eq!((&carried["type"], &carried["backup"]), (&json!("upload"), &json!(uploaded)));
    instance(&key, "carried").fails(ErrorCode::AlreadyExists, "there is an instance");
    let path = format!("/v1/backup-instances/{}", text(&carried, "id"));
    two.admin
        .post(&format!("{path}/enable"), json!({ "destinations": ["x"] }))
        .fails(ErrorCode::InvalidParam, "read only");
    let contents = two.admin.get(&format!("/v1/backups/{uploaded}/contents?kind=keys")).ok(200);
    assert_eq!(contents["total"], 1);
    let restored = |fields: Value| {
        let begun = two.admin.post(&format!("{path}/restore"), fields).ok(202);
        job_ended(&two.admin, &text(&begun, "jobId"))
    };
    // Who signed it is not known here, and has to be named.
    let refused = restored(json!({}));
    assert_eq!((&refused["status"], &refused["errorCode"]), (&json!("failed"), &json!(1019)), "{refused}");
    let signer = keyark_archive::json::hex(&server.app().core().unwrap().signer.public().key_id());
    let done = restored(json!({ "signer": signer }));
    assert_eq!(done["status"], "completed", "{done}");
    assert_eq!(two.admin.decrypt(&ciphertext), "carried by hand");
}

/// A backup whose key is nowhere is not restored.
fn restore_refused(by: &Client, backup: &str) {
    let refused = by.post(&format!("/v1/backups/{backup}/restore"), json!({}));
    refused.fails(ErrorCode::BackupKeyMissing, "is not here");
}

#[test]
fn a_deleted_domain_leaves_its_instance_with_root_and_comes_back_in_a_new_one() {
    let folder = tempfile::tempdir().unwrap();
    let server = TestServer::start();
    let one = server.domain("one");
    destination(&server, "nas", &folder.path().join("there"));
    let key = backup_key(&one.admin, "domain");
    let quotas = json!({ "quotas": { "backupRangeDays": 40 } });
    server.admin.patch(&format!("/v1/domains/{}", one.id), quotas).ok(200);
    let id = protected(&one.admin, "extended", &["nas"]);
    one.admin.key(json!({ "name": "k" }));
    let ciphertext = one.admin.encrypt("k", "of a tenant that went");
    server.protect();
    let at = server.now().plus_seconds(1);
    server.advance(10);
    one.admin.key(json!({ "name": "later" }));
    server.protect();
    server.admin.get(&format!("/v1/backup-instances/{id}")).fails(ErrorCode::NotFound, "backup instance");
    server.admin.delete(&format!("/v1/domains/{}?force=true&confirm=one", one.id)).ok(204);
    // Now it is root's, and what it sent is there.
    assert_eq!(instance(&server.admin, &id)["domainID"], json!(one.id));
    let begun = server.admin.post(&format!("/v1/backup-instances/{id}/backups"), json!({ "at": at })).ok(202);
    assert_eq!(job_ended(&server.admin, &text(&begun, "jobId"))["status"], "completed");
    let backup = text(&begun, "id");
    let file = server.admin.get(&format!("/v1/backups/{backup}/download"));
    let (key_file, passphrase) = exported(&server.admin, &key);
    let two = server.domain("two");
    let upload = json!({ "file": key_file, "password": passphrase });
    two.admin.post("/v1/backupkeys/upload", upload).ok(201);
    two.admin.send("POST", "/v1/backups/upload", Some(&file.body), &[]).ok(201);
    restore(&two.admin, &backup, json!({ "includeDeleted": true }));
    assert_eq!(key_names(&two.admin), ["k"]);
    assert_eq!(two.admin.decrypt(&ciphertext), "of a tenant that went");
}

#[test]
fn a_moment_of_one_domain_is_restored_into_another_in_one_step() {
    let folder = tempfile::tempdir().unwrap();
    let server = TestServer::start();
    let (one, two) = (server.domain("one"), server.domain("two"));
    backup_key(&one.admin, "domain");
    destination(&server, "nas", &folder.path().join("there"));
    let grant = |id: &str, quotas: Value| {
        server.admin.patch(&format!("/v1/domains/{id}"), json!({ "quotas": quotas })).ok(200);
    };
    grant(&one.id, json!({ "backupRangeDays": 40 }));
    let id = protected(&one.admin, "extended", &["nas"]);
    let key = text(&one.admin.key(json!({ "name": "k" })), "id");
    let secret = crate::support::secret(&one.admin, "s", "k", "a-secret-value");
    let ciphertext = one.admin.encrypt("k", "of one");
    server.protect();
    server.advance(10);
    server.protect();
    let before = server.now();
    let path = format!("/v1/backup-instances/{id}/restore");
    // Somebody of root who works in both.
    let user = server.as_user(&[]);
    let join = |by: &keyark_testkit::Client, group: &str| {
        let group = group.replace(' ', "%20");
        by.post(&format!("/v1/usermgmt/groups/{group}/users/{}", user.user_id), json!({})).ok(200);
    };
    join(&one.admin, "Restore Admins");
    let username = text(&user.get("/v1/auth/self/user").ok(200), "username");
    let both = server.nobody().log_in(json!({ "username": username, "password": PASSWORD, "domain": "one" }));
    let begin = |fields: Value| both.post(&path, fields);
    let run = |fields: Value| job_ended(&both, &text(&begin(fields).ok(202), "jobId"));
    let code = |job: &Value| job["errorCode"].as_u64().unwrap_or_default() as u32;
    let nothing = |by: &keyark_testkit::Client| assert_eq!(key_names(by), Vec::<String>::new());

    // A domain that is not the caller's looks as if it were not there; in one of its own it still needs the right.
    let into = |more: Value| {
        let mut fields = json!({ "intoDomain": "two" });
        fields.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        fields
    };
    begin(into(json!({}))).fails(ErrorCode::NotFound, "the domain \"two\"");
    begin(json!({ "intoDomain": "none" })).fails(ErrorCode::NotFound, "the domain \"none\"");
    join(&two.admin, "Key Users");
    assert_eq!(begin(into(json!({}))).status, 404);
    join(&two.admin, "Restore Admins");
    begin(into(json!({}))).fails(ErrorCode::BackupKeyMissing, "no default domain backup key");
    backup_key(&two.admin, "domain");

    // An id is given once in the whole system: it stands in the way, whoever may see it.
    let refused = run(into(json!({})));
    assert_eq!(code(&refused), ErrorCode::RestoreConflict.number(), "{refused}");
    let alone = run(into(json!({ "items": [format!("secrets:{secret}")], "conflict": "rename" })));
    assert_eq!(code(&alone), ErrorCode::EncryptionKeyMissing.number(), "{alone}");
    let unknown = run(into(json!({ "items": ["01890000-0000-7000-8000-000000000000"] })));
    assert_eq!(code(&unknown), ErrorCode::NoPoint.number(), "{unknown}");
    grant(&two.id, json!({ "keys": 0 }));
    let full = run(into(json!({ "conflict": "rename" })));
    assert_eq!(code(&full), ErrorCode::QuotaExceeded.number(), "{full}");
    nothing(&two.admin);
    grant(&two.id, json!({}));

    let done = run(into(json!({ "conflict": "rename" })));
    assert_eq!(done["status"], "completed", "{done}");
    let names = key_names(&two.admin);
    assert_eq!(names, ["k-restored"]);
    let copy = two.admin.get("/v1/vault/keys2/k-restored").ok(200);
    assert_ne!(text(&copy, "id"), key, "a new id");
    let restored = two.admin.get("/v1/vault/secrets").ok(200);
    let restored = text(&restored["resources"][0], "id");
    assert_eq!(crate::support::secret_value(&two.admin, &restored), "a-secret-value", "its link follows the key");
    assert_eq!(crate::support::material(&two.admin, "k-restored"), crate::support::material(&one.admin, "k"));
    assert_eq!(one.admin.decrypt(&ciphertext), "of one");
    // What was destroyed in the one does not come back in the other.
    one.admin.post("/v1/vault/keys2/k/destroy", json!({ "confirm": "k" })).ok(200);
    two.admin.delete("/v1/vault/keys2/k-restored?confirm=k-restored").ok(204);
    server.advance(10);
    let done = run(into(json!({ "items": [key], "conflict": "rename", "at": before })));
    let facts = done["result"]["restore"]["negativeFacts"].to_string();
    assert!(facts.contains("was destroyed here"), "{done}");
}
