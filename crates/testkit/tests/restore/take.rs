//! Taking backups: what is in them, who may have them, one at a time, and completed only when they are.

use std::collections::BTreeMap;
use std::fs::File;

use keyark_api::ErrorCode;
use keyark_archive::Archive;
use keyark_backup::source;
use keyark_model::access::Role;
use keyark_model::key::KeyHeader;
use keyark_model::system::{BackupHeader, BackupKeyHeader, BackupStatus};
use keyark_model::{DomainId, Id, Kind, Shipping};
use keyark_testkit::client::text;
use keyark_testkit::{Client, TestDomain, TestServer};
use serde_json::{Value, json};

use crate::support::{
    archive_path, backup_key, download, headers, job_ended, key_delete, send_file, take, take_any, take_domain,
    take_system, upload,
};

/// A domain with one record of every kind that travels, and a backup key.
pub fn furnished(server: &TestServer) -> TestDomain {
    let path = server.settings.data.join("nas");
    std::fs::create_dir(&path).unwrap();
    server.admin.post("/v1/destinations", json!({ "name": "nas", "path": path })).ok(201);
    let host_key = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIBHZ+4Go6hvD+xGhnYzgHdXAGJsq+kgJZ7lqtZ4XcCVB";
    let connection = json!({ "name": "offsite", "host": "h", "username": "u", "password": "p", "path_to": "p", "public_key": host_key });
    server.admin.post("/v1/connectionmgmt/services/scp/connections", connection).ok(201);
    let schedule =
        json!({ "name": "nightly", "operation": "database_backup", "run_at": "0 3 * * *", "disabled": true });
    server.admin.post("/v1/scheduler/job-configs", schedule).ok(201);
    let webhook = json!({ "name": "alerts", "url": "https://alerts.invalid/x", "disabled": true });
    server.admin.post("/v1/system/webhooks", webhook).ok(201);
    let d = server.domain("d");
    backup_key(&d.admin, "domain");
    for (name, more) in
        [("parent", json!({ "labels": { "team": "a" } })), ("child", json!({})), ("policy-key", json!({}))]
    {
        let mut fields = json!({ "name": name, "meta": { "app": { "name": name } } });
        fields.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        d.admin.key(fields);
    }
    d.admin.key(json!({ "name": "secret-key" }));
    d.admin.key(json!({ "name": "alone", "algorithm": "EC", "curveid": "secp256r1" }));
    d.admin.post("/v1/vault/keys2/child/links", json!({ "type": "parent", "target": "parent" })).ok(201);
    crate::support::secret(&d.admin, "s", "secret-key", "secret-value-1");
    let set = json!({ "name": "docs", "resources": [{ "directory": "/data", "file": "*" }] });
    d.admin.post("/v1/transparent-encryption/resourcesets", set).ok(201);
    let policy = json!({
        "name": "p", "policy_type": "STANDARD",
        "security_rules": [{ "effect": "permit,applykey", "resource_set_id": "docs" }],
        "key_rules": [{ "key_id": "policy-key" }],
    });
    d.admin.post("/v1/transparent-encryption/policies", policy).ok(201);
    d.admin.post("/v1/usermgmt/users", json!({ "username": "jo", "password": "correct horse battery" })).ok(201);
    d
}

/// Kind, name → revision of what a backup holds.
fn contents(by: &Client, backup: &str) -> BTreeMap<(String, String), u64> {
    let page = by.get(&format!("/v1/backups/{backup}/contents?limit=-1")).ok(200);
    let all = page["resources"].as_array().unwrap();
    let named = all.iter().filter(|r| r["kind"] != "counters");
    named.map(|r| ((text(r, "kind"), text(r, "name")), r["revision"].as_u64().unwrap())).collect()
}

pub fn names(by: &Client, backup: &str, kind: &str) -> Vec<String> {
    contents(by, backup).into_keys().filter(|(k, _)| k == kind).map(|(_, name)| name).collect()
}

#[test]
fn every_kind_that_travels_comes_back_byte_for_byte() {
    let server = TestServer::start();
    let d = furnished(&server);
    backup_key(&server.admin, "system");
    let (of_domain, of_system) = (take_domain(&server, &d.admin), take_system(&server));
    let domain: DomainId = DomainId(d.id.parse::<Id>().unwrap().0);
    for kind in Kind::ALL {
        let archives: &[&str] = match kind.shipping() {
            Shipping::Never => &[],
            Shipping::System => &[&of_system],
            Shipping::SystemAndDomain => &[&of_system, &of_domain],
        };
        let here = headers(&server, domain, &[*kind]);
        let there = if here.is_empty() { headers(&server, DomainId::ROOT, &[*kind]) } else { here };
        for backup in [&of_system, &of_domain] {
            let found = of_kind(&server, backup, *kind);
            if archives.contains(&backup.as_str()) {
                assert!(!there.is_empty(), "make a record of kind {kind} in `furnished`, so that this test covers it");
                let missing: Vec<_> = there.iter().filter(|h| !found.contains(h)).map(|h| h.1).collect();
                assert!(missing.is_empty(), "{kind}: {missing:?} are not in the archive as they are here");
            } else {
                assert!(found.is_empty(), "{kind} must not be in this archive");
            }
        }
    }
    // And back again, into the domain from which they were taken out; counts never leave, and people have their own tests.
    let shipped: Vec<Kind> = Kind::ALL.iter().copied().filter(|k| k.shipping() == Shipping::SystemAndDomain).collect();
    let restored: Vec<Kind> =
        shipped.into_iter().filter(|k| !matches!(k, Kind::User | Kind::Group | Kind::Counter)).collect();
    let before = headers(&server, domain, &restored);
    d.admin.delete("/v1/vault/secrets/s?confirm=s").ok(204);
    d.admin.delete("/v1/transparent-encryption/policies/p").ok(204);
    d.admin.delete("/v1/transparent-encryption/resourcesets/docs").ok(204);
    for key in ["child", "parent", "policy-key", "secret-key", "alone"] {
        key_delete(&d.admin, key);
    }
    assert_eq!(headers(&server, domain, &restored), []);
    crate::support::restore(&d.admin, &of_domain, json!({ "includeDeleted": true }));
    assert_eq!(headers(&server, domain, &restored), before);
    assert_eq!(crate::support::secret_value(&d.admin, "s"), "secret-value-1");
}

/// The records of one kind in an archive, opened.
fn of_kind(server: &TestServer, backup: &str, kind: Kind) -> Vec<(Kind, Id, Vec<u8>)> {
    let core = server.app().core().unwrap();
    let stored = core.load::<BackupHeader>(DomainId::ROOT, backup.parse().unwrap()).unwrap();
    let key = core.load::<BackupKeyHeader>(DomainId::ROOT, stored.header.backup_key).unwrap();
    let archive = Archive::open(File::open(archive_path(server, backup)).unwrap()).unwrap();
    let opened = source::unlock(&archive, key.id(), &core.backup_key_material(&key).unwrap()).unwrap();
    let mut all = Vec::new();
    let read = opened.unlocked.each_record::<source::SourceError>(|r| {
        if r.kind == kind {
            opened.body(&r)?;
            all.push((r.kind, r.id, r.header.to_vec()));
        }
        Ok(())
    });
    read.unwrap();
    all
}

#[test]
fn a_backup_says_what_it_is_and_what_it_holds() {
    let server = TestServer::start();
    let d = furnished(&server);
    assert_eq!(d.admin.get("/v1/backupStatus").ok(200)["status"], "None");
    let begun = d.admin.post("/v1/backups", json!({ "scope": "domain", "description": "before the move" })).ok(202);
    assert_eq!((&begun["status"], &begun["tiedToHSM"]), (&json!("In Progress"), &json!(false)));
    let job = job_ended(&d.admin, &text(&begun, "jobId"));
    assert_eq!(job["status"], "completed", "{job}");
    let id = text(&begun, "id");
    let b = d.admin.get(&format!("/v1/backups/{id}")).ok(200);
    assert_eq!(b["status"], "Completed");
    assert_eq!((&b["scope"], &b["domainID"]), (&json!("domain"), &json!(d.id)));
    assert_eq!(b["description"], "before the move");
    assert_eq!(b["counts"]["keys"], 5);
    assert_eq!(b["counts"]["secrets"], 1);
    assert_eq!(b["counts"]["cte_policies"], 1);
    assert!(b["warnings"][0].as_str().unwrap().contains("not_escrowed"), "{b}");
    let bytes = download(&d.admin, &id);
    assert_eq!(b["size"], bytes.len());
    assert_eq!(b["checksum"], keyark_crypto::hash::sha256(&[&bytes]).to_string());
    let status = d.admin.get("/v1/backupStatus").ok(200);
    assert_eq!((&status["status"], &status["backupID"]), (&json!("Completed"), &json!(id)));
    assert_eq!((&status["operation"], &status["id"]), (&json!("Backup create"), &begun["jobId"]));
    // What anybody who has the file learns without a key.
    let facts = send_file(&d.admin, "/v1/backups/inspect", &bytes).ok(200);
    for field in
        ["version", "createdAt", "scope", "domainID", "backupKeyId", "isEncrypted", "isHSMBacked", "creatorAccount"]
    {
        assert!(facts.get(field).is_some(), "{field} is missing: {facts}");
    }
    for field in ["description", "checksum", "mkekChecksum", "productVersion", "verdict"] {
        assert!(facts[field].as_str().is_some_and(|t| !t.is_empty()), "{field} is missing: {facts}");
    }
    assert_eq!((&facts["verdict"], &facts["backupKeyId"]), (&json!("signed"), &b["backupKey"]));
    assert_eq!(facts["counts"]["keys"], "5");
    // Listed once, in this domain only.
    assert_eq!(d.admin.get("/v1/backups").ok(200)["total"], 1);
    assert_eq!(server.admin.get("/v1/backups").ok(200)["total"], 0);
    assert_eq!(d.admin.get("/v1/backups?status=Failed").ok(200)["total"], 0);
    // Looking around in it.
    let page = d.admin.get(&format!("/v1/backups/{id}/contents?kind=keys&name=*-key")).ok(200);
    assert_eq!(page["total"], 2, "{page}");
    d.admin.post("/v1/backups", json!({ "scope": "domain", "tiedToHSM": true })).fails(ErrorCode::InvalidParam, "HSM");
    let system_filters = json!({ "scope": "system", "filters": [{ "resourceType": "Keys" }] });
    server.admin.post("/v1/backups", system_filters).fails(ErrorCode::InvalidParam, "domain");
    server.admin.post("/v1/backups", json!({})).fails(ErrorCode::BackupKeyMissing, "create one");
    let taker = server.as_user_of(&d, &[Role::DomainRestoreAdmins]);
    taker.post("/v1/backups", json!({ "scope": "domain" })).fails(ErrorCode::Forbidden, "");
    d.admin.delete(&format!("/v1/backups/{id}")).ok(204);
    d.admin.get(&format!("/v1/backups/{id}")).fails(ErrorCode::NotFound, "");
    assert!(!archive_path(&server, &id).exists());
}

#[test]
fn downloads_take_ranges_and_uploads_are_the_same_bytes() {
    let server = TestServer::start();
    let d = furnished(&server);
    let id = take_domain(&server, &d.admin);
    let path = format!("/v1/backups/{id}/download");
    let whole = d.admin.get(&path);
    assert_eq!(whole.header("accept-ranges"), "bytes");
    let half = whole.body.len() / 2;
    let rest = d.admin.send("GET", &path, None, &[("range", &format!("bytes={half}-"))]);
    assert_eq!((rest.status, &rest.body[..]), (206, &whole.body[half..]));
    assert_eq!(rest.header("content-range"), format!("bytes {half}-{}/{}", whole.body.len() - 1, whole.body.len()));
    let past = d.admin.send("GET", &path, None, &[("range", "bytes=99999999-")]);
    past.fails(ErrorCode::RangeNotSatisfiable, "");
    upload(&d.admin, &whole.body).fails(ErrorCode::AlreadyExists, "here already");
    d.admin.delete(&format!("/v1/backups/{id}")).ok(204);
    let back = upload(&d.admin, &whole.body).ok(201);
    assert_eq!((&back["id"], &back["uploaded"], &back["status"]), (&json!(id), &json!(true), &json!("Completed")));
    assert_eq!(download(&d.admin, &id), whole.body);
}

#[test]
fn filters_choose_and_bring_along_what_the_chosen_need() {
    let server = TestServer::start();
    let d = furnished(&server);
    let filtered = |filters: Value| {
        let backup = take(&server, &d.admin, json!({ "scope": "domain", "filters": filters }));
        let job = d.admin.get(&format!("/v1/jobs/{}", text(&backup, "jobId"))).ok(200);
        (text(&backup, "id"), job["result"]["includedBy"].clone())
    };
    let keys = |query: Value| json!([{ "resourceType": "Keys", "resourceQuery": query }]);
    for (query, expected) in [
        (json!({ "name": "al*" }), vec!["alone"]),
        (json!({ "names": ["alone", "parent"] }), vec!["alone", "parent"]),
        (json!({ "algorithm": "EC" }), vec!["alone"]),
        (json!({ "labels": { "team": "a" } }), vec!["parent"]),
        (json!({ "metaContains": { "app": { "name": "policy-key" } } }), vec!["policy-key"]),
        (json!({ "size": 256, "name": "nothing*" }), vec![]),
        (Value::Null, vec!["alone", "child", "parent", "policy-key", "secret-key"]),
    ] {
        let (id, _) = filtered(keys(query.clone()));
        assert_eq!(names(&d.admin, &id, "keys"), expected, "{query}");
        assert_eq!(contents(&d.admin, &id).len(), expected.len(), "nothing but keys: {query}");
    }
    // Links are followed, and the answer says why a key came along.
    let (id, why) = filtered(keys(json!({ "name": "child" })));
    assert_eq!(names(&d.admin, &id, "keys"), ["child", "parent"]);
    let of = |name: &str| text(&d.admin.get(&format!("/v1/vault/keys2/{name}")).ok(200), "id");
    assert_eq!(why[of("parent")], of("child"));
    // Without a Keys filter no key comes, with one those that policies and secrets need.
    let (id, _) = filtered(json!([{ "resourceType": "cte_policies", "resourceQuery": { "name": "p" } }]));
    assert_eq!(names(&d.admin, &id, "keys"), Vec::<String>::new());
    assert_eq!(names(&d.admin, &id, "cte_sets"), ["resourcesets/docs"]);
    let both = json!([
        { "resourceType": "cte_policies" },
        { "resourceType": "secrets", "resourceQuery": { "name": "s" } },
        { "resourceType": "Keys", "resourceQuery": { "name": "nothing" } },
    ]);
    let (id, _) = filtered(both);
    assert_eq!(names(&d.admin, &id, "keys"), ["policy-key", "secret-key"]);
    assert_eq!(names(&d.admin, &id, "secrets"), ["s"]);
    let (id, _) = filtered(json!([{ "resourceType": "users_groups", "resourceQuery": { "username": "jo" } }]));
    assert_eq!(names(&d.admin, &id, "users"), ["jo"]);
    for bad in [
        json!([{ "resourceType": "coffee" }]),
        keys(json!({ "colour": "red" })),
        json!([{ "resourceType": "secrets", "resourceQuery": [1] }]),
    ] {
        let request = json!({ "scope": "domain", "filters": bad });
        d.admin.post("/v1/backups", request).fails(ErrorCode::InvalidParam, "");
    }
}

#[test]
fn since_holds_what_changed_and_what_went_away() {
    let server = TestServer::start();
    let d = furnished(&server);
    let first = take_domain(&server, &d.admin);
    d.admin.patch("/v1/vault/keys2/parent", json!({ "description": "changed" })).ok(200);
    d.admin.key(json!({ "name": "new" }));
    key_delete(&d.admin, "alone");
    let second = take(&server, &d.admin, json!({ "scope": "domain", "since": first }));
    assert_eq!(second["since"], json!(first));
    assert_eq!(names(&d.admin, &text(&second, "id"), "keys"), ["new", "parent"]);
    let facts = send_file(&d.admin, "/v1/backups/inspect", &download(&d.admin, &text(&second, "id"))).ok(200);
    assert_eq!((&facts["base"]["id"], &facts["tombstones"]), (&json!(first), &json!("1")));
    key_delete(&d.admin, "new");
    let third = take(&server, &d.admin, json!({ "scope": "domain", "since": text(&second, "id") }));
    assert_eq!(contents(&d.admin, &text(&third, "id")).len(), 0);
    // The chain holds on to its links.
    d.admin.delete(&format!("/v1/backups/{first}")).fails(ErrorCode::ConfirmNeeded, "continue");
    d.admin.delete(&format!("/v1/backups/{first}?confirm={first}")).ok(204);
    d.admin.post("/v1/backups", json!({ "scope": "domain", "since": first })).fails(ErrorCode::NotFound, "");
    let other = server.domain("other");
    backup_key(&other.admin, "domain");
    let since = json!({ "scope": "domain", "since": text(&second, "id") });
    other.admin.post("/v1/backups", since).fails(ErrorCode::NotFound, "");
}

/// Thousands of keys at once, so that an operation takes a while.
pub fn many_keys(server: &TestServer, domain: &TestDomain) {
    let id = DomainId(domain.id.parse::<Id>().unwrap().0);
    let made: Id = text(&domain.admin.key(json!({ "name": "template" })), "id").parse().unwrap();
    let core = server.app().core().unwrap();
    let template = core.load::<KeyHeader>(id, made).unwrap();
    let body = core.open_body(&template).unwrap();
    for part in 0..8 {
        let writes = (0..1000).map(|n| {
            let mut header = template.header.clone();
            header.name = format!("many-{part}-{n}").as_str().parse().unwrap();
            let new = keyark_server::app::Core::new_id(server.now());
            core.put(id, new, 1, &header, body.expose()).unwrap()
        });
        core.commit_as_system(server.now(), id, "test", vec![], writes.collect()).unwrap();
    }
}

#[test]
fn one_operation_at_a_time_with_progress_and_cancel() {
    let server = TestServer::start();
    let (d, e) = (server.domain("d"), server.domain("e"));
    backup_key(&d.admin, "domain");
    backup_key(&e.admin, "domain");
    backup_key(&server.admin, "system");
    many_keys(&server, &d);
    let request = || json!({ "scope": "domain" });
    let begun = d.admin.post("/v1/backups", request()).ok(202);
    let (id, job) = (text(&begun, "id"), text(&begun, "jobId"));
    // The second is refused with the id of the first, for those who may see it.
    d.admin.post("/v1/backups", request()).fails(ErrorCode::OperationRunning, &job);
    let refused = server.admin.post("/v1/backups", json!({ "scope": "system" }));
    refused.fails(ErrorCode::OperationRunning, "another operation");
    assert!(!refused.text("message").contains(&job), "{refused}");
    // Another domain is not in the way.
    e.admin.post("/v1/backups", request()).ok(202);
    d.admin.post("/v1/backups", request()).fails(ErrorCode::OperationRunning, &job);
    let running = d.admin.get(&format!("/v1/jobs/{job}")).ok(200);
    assert_eq!((&running["status"], &running["cancellable"]), (&json!("in_progress"), &json!(true)));
    d.admin.delete(&format!("/v1/backups/{id}")).fails(ErrorCode::Conflict, "cancel");
    d.admin.get(&format!("/v1/backups/{id}/download")).fails(ErrorCode::Conflict, "not completed");
    e.admin.post(&format!("/v1/jobs/{job}/cancel"), json!({})).fails(ErrorCode::NotFound, "");
    d.admin.post(&format!("/v1/jobs/{job}/cancel"), json!({})).ok(202);
    let ended = job_ended(&d.admin, &job);
    assert_eq!(ended["status"], "aborted", "{ended}");
    let shown = d.admin.get(&format!("/v1/backups/{id}")).ok(200);
    assert_eq!(shown["status"], "Canceled");
    let left: Vec<_> =
        std::fs::read_dir(server.settings.data.join("backups")).unwrap().map(|f| f.unwrap().path()).collect();
    assert!(left.iter().all(|f| !f.to_string_lossy().contains(&id)), "{left:?}");
    d.admin.post(&format!("/v1/jobs/{job}/cancel"), json!({})).fails(ErrorCode::Conflict, "ended");
    // Progress moves, and the whole of it is there in the end.
    let begun = d.admin.post("/v1/backups", request()).ok(202);
    let mut seen = Vec::new();
    loop {
        let backup = d.admin.get(&format!("/v1/backups/{}", text(&begun, "id"))).ok(200);
        let job = d.admin.get(&format!("/v1/jobs/{}", text(&begun, "jobId"))).ok(200);
        if job["status"] != "in_progress" {
            break;
        }
        assert_ne!(backup["status"], "Completed", "completed only when its job has read it back");
        seen.extend(job["progress"]["done"].as_u64());
    }
    seen.dedup();
    assert!(seen.len() > 2 && seen.is_sorted(), "{seen:?}");
    assert_eq!(d.admin.get(&format!("/v1/backups/{}", text(&begun, "id"))).ok(200)["counts"]["keys"], 8001);
}

#[test]
fn after_a_crash_a_half_done_backup_has_failed_and_left_nothing() {
    let mut server = TestServer::start();
    backup_key(&server.admin, "system");
    let id = take_system(&server);
    let path = archive_path(&server, &id);
    let part = path.with_extension("part");
    {
        // As a crash between the file's name and the catalogue's line leaves it.
        let core = server.app().core().unwrap();
        let stored = core.load::<BackupHeader>(DomainId::ROOT, id.parse().unwrap()).unwrap();
        let header = BackupHeader { status: BackupStatus::InProgress, finished_at: None, ..stored.header.clone() };
        let job = core.load::<keyark_model::system::JobHeader>(DomainId::ROOT, header.job).unwrap();
        let mut job_header = job.header.clone();
        (job_header.status, job_header.finished) = (BackupStatus::InProgress, None);
        let writes = vec![core.put_header(&stored, &header).unwrap(), core.put_header(&job, &job_header).unwrap()];
        core.commit_as_system(server.now(), DomainId::ROOT, "test", vec![], writes).unwrap();
        std::fs::copy(&path, &part).unwrap();
        std::fs::write(server.settings.data.join("uploads/0123"), b"half").unwrap();
    }
    server.restart();
    let shown = server.admin.get(&format!("/v1/backups/{id}")).ok(200);
    assert!(text(&shown, "status").starts_with("Failed: the server stopped"), "{shown}");
    let status = server.admin.get("/v1/backupStatus").ok(200);
    assert!(text(&status, "status").starts_with("Failed"), "{status}");
    assert!(!path.exists() && !part.exists() && !server.settings.data.join("uploads/0123").exists());
    server.admin.get(&format!("/v1/backups/{id}/download")).fails(ErrorCode::Conflict, "");
    assert_eq!(take_any(&server.admin, json!({}))["status"], "Completed");
}

#[test]
fn a_backup_that_does_not_read_back_is_never_completed() {
    let server = TestServer::start();
    backup_key(&server.admin, "system");
    // The spool is gone: nothing can be written.
    let backups = server.settings.data.join("backups");
    std::fs::remove_dir(&backups).unwrap();
    let failed = take_any(&server.admin, json!({}));
    assert!(text(&failed, "status").starts_with("Failed: "), "{failed}");
    std::fs::create_dir(&backups).unwrap();
    take_system(&server);
}
