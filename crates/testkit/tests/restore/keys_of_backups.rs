//! Backup keys: made, exported, proven to be kept elsewhere, brought to another system.

use keyark_api::ErrorCode;
use keyark_crypto::jwe;
use keyark_model::DomainId;
use keyark_model::access::Role;
use keyark_model::system::{BackupKeyHeader, Proof};
use keyark_testkit::client::text;
use keyark_testkit::{Client, TestServer};
use serde_json::{Value, json};

use crate::support::{backup_key, exported, take, take_domain, take_system, upload_key};

fn default_of(by: &Client, scope: &str) -> Vec<String> {
    let page = by.get(&format!("/v1/backupkeys?isDefault=true&scope={scope}")).ok(200);
    page["resources"].as_array().unwrap().iter().map(|k| text(k, "id")).collect()
}

#[test]
fn each_scope_has_one_default_which_is_the_first_until_another_is_chosen() {
    let server = TestServer::start();
    let d = server.domain("d");
    let first = backup_key(&server.admin, "system");
    let second = backup_key(&server.admin, "system");
    assert_eq!(default_of(&server.admin, "system"), [first.as_str()]);
    let third = json!({ "scope": "system", "isDefault": true, "description": "third" });
    let third = server.admin.post("/v1/backupkeys", third).ok(201);
    assert_eq!(third["isDefault"], true);
    assert_eq!(default_of(&server.admin, "system"), [text(&third, "id")]);
    server.admin.post(&format!("/v1/backupkeys/{second}/default"), json!({})).ok(200);
    assert_eq!(default_of(&server.admin, "system"), [second.as_str()]);
    // Of a domain, seen in that domain only.
    let of_d = backup_key(&d.admin, "domain");
    assert_eq!(default_of(&d.admin, "domain"), [of_d.as_str()]);
    assert_eq!(server.admin.get("/v1/backupkeys").ok(200)["total"], 3);
    assert_eq!(d.admin.get("/v1/backupkeys").ok(200)["total"], 1);
    server.admin.get(&format!("/v1/backupkeys/{of_d}")).fails(ErrorCode::NotFound, "");
    d.admin.get(&format!("/v1/backupkeys/{first}")).fails(ErrorCode::NotFound, "");
    server
        .admin
        .post("/v1/backupkeys", json!({ "scope": "galaxy" }))
        .fails(ErrorCode::InvalidParam, "system or domain");
    let shown = server.admin.get(&format!("/v1/backupkeys/{first}")).ok(200);
    assert_eq!(
        (&shown["version"], &shown["scope"], &shown["escrowed"]),
        (&json!("2"), &json!("system"), &json!(false))
    );
    assert!(shown.get("key").is_none() && shown.get("material").is_none());
    // A backup of one scope under a key of the other is refused, with this very key it works.
    server.admin.post("/v1/backups", json!({ "backupKey": of_d })).fails(ErrorCode::NotFound, "");
    let backup = take(&server, &server.admin, json!({ "backupKey": first }));
    assert_eq!(backup["backupKey"], json!(first));
}

#[test]
fn a_key_that_backups_need_goes_only_by_force_and_named_twice() {
    let server = TestServer::start();
    let unused = backup_key(&server.admin, "system");
    let used = backup_key(&server.admin, "system");
    server.admin.post(&format!("/v1/backupkeys/{used}/default"), json!({})).ok(200);
    let backup = take_system(&server);
    server.admin.delete(&format!("/v1/backupkeys/{unused}")).ok(204);
    let path = format!("/v1/backupkeys/{used}");
    server.admin.delete(&path).fails(ErrorCode::InUse, "1 backups");
    server.admin.delete(&format!("{path}?force=true")).fails(ErrorCode::ConfirmNeeded, "unreadable");
    server.admin.delete(&format!("{path}?force=true&confirm={unused}")).fails(ErrorCode::ConfirmNeeded, "");
    server.admin.delete(&format!("{path}?confirm={used}")).fails(ErrorCode::InUse, "");
    let file = exported(&server.admin, &used);
    server.admin.delete(&format!("{path}?force=true&confirm={used}")).ok(204);
    server.admin.get(&path).fails(ErrorCode::NotFound, "");
    let contents = format!("/v1/backups/{backup}/contents");
    server.admin.get(&contents).fails(ErrorCode::BackupKeyMissing, "upload");
    // The exported copy brings it back.
    upload_key(&server.admin, &file).ok(201);
    server.admin.get(&contents).ok(200);
}

#[test]
fn an_exported_file_opens_with_its_passphrase_and_with_nothing_else() {
    let server = TestServer::start();
    let key = backup_key(&server.admin, "system");
    let path = format!("/v1/backupkeys/{key}/download");
    let generated = server.admin.post(&path, json!({ "hint": "in the blue safe" })).ok(200);
    let passphrase = text(&generated, "passphrase");
    assert_eq!(passphrase.split('-').map(str::len).collect::<Vec<_>>(), [4; 7], "seven groups of four");
    assert!(text(&generated, "fileName").contains(&key));
    let own = server.admin.post(&path, json!({ "password": "my own password" })).ok(200);
    assert!(own.get("passphrase").is_none());
    server.admin.post(&path, json!({ "password": "short" })).fails(ErrorCode::InvalidParam, "8 characters");

    let inspect = |file: &str| server.admin.post("/v1/backupkeys/inspect", json!({ "file": file }));
    let facts = inspect(&text(&generated, "file")).ok(200);
    assert_eq!(
        (&facts["keyid"], &facts["hint"], &facts["scope"]),
        (&json!(key), &json!("in the blue safe"), &json!("system"))
    );
    assert!(inspect("not a file").status >= 400);

    let check = |file: &Value, password: &str| {
        server.admin.post("/v1/backupkeys/check", json!({ "file": file["file"], "password": password }))
    };
    check(&generated, "my own password").fails(ErrorCode::WrongPassword, "");
    check(&own, &passphrase).fails(ErrorCode::WrongPassword, "");
    let mut slip: Vec<char> = passphrase.chars().collect();
    slip[6] = if slip[6] == '7' { '8' } else { '7' };
    let slip: String = slip.into_iter().collect();
    check(&generated, &slip).fails(ErrorCode::WrongPassword, "typ");
    // As people type it.
    let typed = passphrase.to_lowercase().replace('-', " ");
    assert_eq!(check(&generated, &typed).ok(200)["opens"], true);
    assert_eq!(check(&own, "my own password").ok(200)["opens"], true);
    // Who neither takes nor restores backups gets no file.
    let reader = server.as_user(&[Role::KeyAdmins]);
    assert!([403, 404].contains(&reader.post(&path, json!({})).status));
    // The export stands in the log.
    let log = server.admin.get("/v1/audit/records?action=backup_key_download").ok(200);
    assert_eq!(log["resources"].as_array().unwrap().len(), 2);
}

#[test]
fn files_that_are_foreign_too_new_or_hostile_are_refused() {
    let server = TestServer::start();
    let key = backup_key(&server.admin, "system");
    let (file, password) = exported(&server.admin, &key);
    let send = |file: &str| server.admin.post("/v1/backupkeys/upload", json!({ "file": file, "password": password }));
    let parts: Vec<&str> = file.split('.').collect();
    let header: Value = {
        let bytes = base64_url_decode(parts[0]);
        serde_json::from_slice(&bytes).unwrap()
    };
    let with = |field: &str, value: Value| {
        let mut header = header.clone();
        header[field] = value;
        let mut all: Vec<String> = parts.iter().map(|p| (*p).to_owned()).collect();
        all[0] = base64_url(header.to_string().as_bytes());
        all.join(".")
    };
    // Millions of iterations would keep a server busy for minutes: refused before anything is derived.
    let began = std::time::Instant::now();
    assert!(send(&with("p2c", json!(10_000_001))).status == 400);
    assert!(began.elapsed().as_secs() < 5);
    for (field, value) in [
        ("alg", json!("dir")),
        ("enc", json!("A128CBC-HS256")),
        ("p2s", json!("AAAA")),
        ("crit", json!(["exp"])),
        ("typ", json!("something else")),
        ("version", json!(3)),
        ("scope", json!("domain")),
        ("keyid", json!("00000000-0000-4000-8000-000000000000")),
    ] {
        let answer = send(&with(field, value));
        assert!((400..500).contains(&answer.status), "{field}: {answer}");
    }
    assert_eq!(header["p2c"], jwe::ITERATIONS);
    for nothing in ["", "a.b.c.d.e", "hello"] {
        let answer = send(nothing);
        assert!((400..500).contains(&answer.status), "{answer}");
    }
    // The same key once more changes nothing.
    assert_eq!(send(&file).status, 200);
}

fn base64_url(bytes: &[u8]) -> String {
    use base64::Engine as _;
    base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(bytes)
}

fn base64_url_decode(text: &str) -> Vec<u8> {
    use base64::Engine as _;
    base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(text).unwrap()
}

#[test]
fn the_warning_stands_until_a_file_was_proven_and_comes_back() {
    let server = TestServer::start();
    let warnings = || server.admin.get("/v1/system/info").ok(200)["warnings"].to_string();
    assert!(warnings().contains("no_backup_key"));
    let key = backup_key(&server.admin, "system");
    assert!(warnings().contains("backup_key_not_escrowed"));
    let (file, password) = exported(&server.admin, &key);
    assert!(warnings().contains("backup_key_not_escrowed"), "exported is not proven");
    let check = || server.admin.post("/v1/backupkeys/check", json!({ "file": file, "password": password })).ok(200);
    assert_eq!(check()["escrowed"], true);
    assert_eq!(warnings(), "[]");
    assert_eq!(take(&server, &server.admin, json!({})).get("warnings"), None);
    server.advance_days(179);
    assert_eq!(warnings(), "[]");
    server.advance_days(1);
    assert!(warnings().contains("backup_key_not_escrowed"), "overdue after 180 days");
    check();
    assert_eq!(warnings(), "[]");
    // A proof under another signing key proves nothing.
    let core = server.app().core().unwrap();
    let stored = core.load::<BackupKeyHeader>(DomainId::ROOT, key.parse().unwrap()).unwrap();
    let proven = stored.header.proven.clone().map(|p| Proof { anchor: "another key".into(), ..p });
    let write = core.put_header(&stored, &BackupKeyHeader { proven, ..stored.header.clone() }).unwrap();
    core.commit_as_system(server.now(), DomainId::ROOT, "test", vec![], vec![write]).unwrap();
    drop(core);
    assert!(warnings().contains("backup_key_not_escrowed"));
}

#[test]
fn a_file_opens_here_and_in_another_system() {
    let (here, there) = (TestServer::start(), TestServer::start());
    let (d, e) = (here.domain("d"), there.domain("e"));
    let of_system = exported(&here.admin, &backup_key(&here.admin, "system"));
    let of_domain = exported(&d.admin, &backup_key(&d.admin, "domain"));
    take_domain(&here, &d.admin);
    let known = upload_key(&there.admin, &of_system).ok(201);
    assert_eq!((&known["isDefault"], &known["escrowed"]), (&json!(false), &json!(false)));
    // A domain's key becomes the key of the domain in which it is uploaded.
    assert_eq!(upload_key(&e.admin, &of_domain).ok(201)["domainID"], json!(e.id));
    there
        .admin
        .get(&format!("/v1/backupkeys/{}", text(&d.admin.get("/v1/backupkeys").ok(200)["resources"][0], "id")))
        .fails(ErrorCode::NotFound, "");
    // Its file is no proof there: it pins the other system.
    let check = json!({ "file": of_system.0, "password": of_system.1 });
    let checked = there.admin.post("/v1/backupkeys/check", check).ok(200);
    assert_eq!((&checked["known"], &checked["escrowed"]), (&json!(true), &json!(false)));
    // A domain's administrators bring in no key of the system.
    assert!([403, 404].contains(&upload_key(&e.admin, &of_system).status));
    let wrong = (of_system.0.clone(), "wrong password".to_owned());
    upload_key(&there.admin, &wrong).fails(ErrorCode::WrongPassword, "");
}

/// By the very lines that `docs/break-glass/README.md` shows.
#[test]
fn a_second_jose_library_opens_an_exported_file_as_documented() {
    let server = TestServer::start();
    let key = backup_key(&server.admin, "system");
    let (file, passphrase) = exported(&server.admin, &key);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("key.jwe");
    std::fs::write(&path, &file).unwrap();
    let page = std::fs::read_to_string(keyark_testkit::committed::project("docs/break-glass/README.md")).unwrap();
    let shown = page.split("```python\n").nth(1).and_then(|rest| rest.split("```").next()).unwrap();
    let open = |passphrase: &str| {
        let script = shown.replace("KEYFILE", path.to_str().unwrap()).replace("PASSPHRASE", passphrase);
        keyark_testkit::python(&script, &[], b"")
    };
    let opened = open(&passphrase).unwrap();
    assert!(opened.contains(&key) && opened.contains("anchor"), "{opened}");
    let refused = open("AAAA-AAAA-AAAA-AAAA-AAAA-AAAA-AAAA").unwrap_err();
    assert!(refused.contains("joserfc") && !refused.contains("HeaderValue"), "{refused}");
}
