//! What stands in an archive: one consistent point, fresh keys, the domain's own numbers, and no password.

use std::fs::File;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use keyark_api::ErrorCode;
use keyark_archive::{Archive, Header};
use keyark_backup::source;
use keyark_model::key::KeyHeader;
use keyark_model::people::UserHeader;
use keyark_model::system::{BackupHeader, BackupKeyHeader};
use keyark_model::{Digest, DomainId, Id, Kind};
use keyark_store::failpoint::arm_with;
use keyark_testkit::TestServer;
use keyark_testkit::client::text;
use serde_json::{Value, json};

use crate::support::{archive_path, backup_key, job_ended, take, take_any, take_domain, take_system};
use crate::take::{furnished, many_keys, names};

/// Every record of an archive with its body in clear.
fn records(server: &TestServer, backup: &str) -> Vec<(Kind, Id, Vec<u8>, Vec<u8>)> {
    let core = server.app().core().unwrap();
    let stored = core.load::<BackupHeader>(DomainId::ROOT, backup.parse().unwrap()).unwrap();
    let key = core.load::<BackupKeyHeader>(DomainId::ROOT, stored.header.backup_key).unwrap();
    let archive = Archive::open(File::open(archive_path(server, backup)).unwrap()).unwrap();
    let opened = source::unlock(&archive, key.id(), &core.backup_key_material(&key).unwrap()).unwrap();
    let mut all = Vec::new();
    let read = opened.unlocked.each_record::<source::SourceError>(|r| {
        all.push((r.kind, r.id, r.header.to_vec(), opened.body(&r)?.expose().clone()));
        Ok(())
    });
    read.unwrap();
    all
}

fn header(server: &TestServer, backup: &str) -> (Header, keyark_archive::Chain) {
    let archive = Archive::open(File::open(archive_path(server, backup)).unwrap()).unwrap();
    (archive.header().clone(), archive.footer().chain)
}

#[test]
fn a_domains_archive_holds_no_password_verifier_and_a_systems_does() {
    let server = TestServer::start();
    let d = furnished(&server);
    backup_key(&server.admin, "system");
    let verifiers = |backup: &str| -> Vec<Vec<u8>> {
        let all = records(&server, backup).into_iter().filter(|(kind, ..)| *kind == Kind::User);
        all.map(|(.., body)| body).collect()
    };
    let (of_domain, of_system) = (verifiers(&take_domain(&server, &d.admin)), verifiers(&take_system(&server)));
    assert!(of_domain.len() >= 2 && of_domain.iter().all(Vec::is_empty), "a domain's archive holds a verifier");
    assert!(of_system.iter().all(|b| b.starts_with(b"$argon2id$")), "without them nobody logs in after a restore");
    let hashes = |backup: &str| {
        records(&server, backup).iter().any(|(.., header, body)| {
            crate::support::holds(header, b"$argon2") || crate::support::holds(body, b"$argon2")
        })
    };
    assert!(!hashes(&take_domain(&server, &d.admin)));
}

#[test]
fn a_domains_archive_shows_the_domains_own_numbers_and_chain() {
    let server = TestServer::start();
    let d = furnished(&server);
    let domain = DomainId(d.id.parse::<Id>().unwrap().0);
    for n in 0..20 {
        server.admin.key(json!({ "name": format!("of-another-tenant-{n}") }));
    }
    backup_key(&server.admin, "system");
    let first = take_domain(&server, &d.admin);
    d.admin.key(json!({ "name": "one-more" }));
    let second = text(&take(&server, &d.admin, json!({ "scope": "domain", "since": first })), "id");
    // The domain's own log tells that its administrator began the backup; nothing came after.
    let here = server.app().core().unwrap().store.domain_head(domain).unwrap();
    let ((one, _), (two, chain)) = (header(&server, &first), header(&server, &second));
    assert_eq!((two.positions.first.0, two.positions.last.0), (here.domain_seq, here.domain_seq));
    assert!(server.app().core().unwrap().store.head().seq > here.domain_seq + 20, "the system's number is another one");
    assert_eq!(two.base.unwrap().position.0, one.positions.last.0, "the base is named by its own number too");
    assert_eq!(one.positions.last.0 + 2, two.positions.last.0, "the key, and the backup that was begun");
    assert_eq!((chain.before, chain.after), (Digest::ZERO, here.hash), "the domain's own chain");
    // A system's archive shows the system's.
    let head = server.app().core().unwrap().store.head();
    let (whole, chain) = header(&server, &take_system(&server));
    assert!(whole.positions.last.0 > head.seq, "the entry that began the backup is in it");
    let entries = server.app().core().unwrap().store.audit(Some(whole.positions.last.0 - 1), 1, None, false).unwrap();
    assert_eq!((chain.before, chain.after), (Digest::ZERO, entries[0].hash));
}

#[test]
fn every_archive_has_a_dek_of_its_own() {
    let server = TestServer::start();
    backup_key(&server.admin, "system");
    let (a, b) = (take_system(&server), take_system(&server));
    let ((a, _), (b, _)) = (header(&server, &a), header(&server, &b));
    assert_ne!(a.key_commitment, b.key_commitment, "the commitment is a function of the DEK");
    assert_ne!(a.wraps[0].wrapped, b.wraps[0].wrapped);
}

#[test]
fn a_backup_is_one_point_while_writes_go_on() {
    let server = Arc::new(TestServer::start());
    let d = server.domain("d");
    let domain = DomainId(d.id.parse::<Id>().unwrap().0);
    backup_key(&server.admin, "system");
    let first: Id = text(&d.admin.key(json!({ "name": "first" })), "id").parse().unwrap();
    many_keys(&server, &d);
    let last: Id = text(&d.admin.key(json!({ "name": "last" })), "id").parse().unwrap();
    let stop = Arc::new(AtomicBool::new(false));
    let writer = {
        let (server, stop) = (server.clone(), stop.clone());
        std::thread::spawn(move || {
            let core = server.app().core().unwrap();
            let mut written = 0_u32;
            while !stop.load(Ordering::SeqCst) {
                let both = [first, last].map(|id| {
                    let stored = core.load::<KeyHeader>(domain, id).unwrap();
                    let mut key = stored.header.clone();
                    key.description = written.to_string();
                    core.put_header(&stored, &key).unwrap()
                });
                core.commit_as_system(server.now(), domain, "test", vec![], both.into()).unwrap();
                written += 1;
            }
            written
        })
    };
    for _ in 0..2 {
        let backup = take_any(&server.admin, json!({ "scope": "system" }));
        assert_eq!(backup["status"], "Completed", "{backup}");
        let all = records(&server, &text(&backup, "id"));
        let of = |id: Id| {
            let (.., header, _) = all.iter().find(|(kind, i, ..)| (*kind, *i) == (Kind::Key, id)).unwrap();
            serde_json::from_slice::<KeyHeader>(header).unwrap().description
        };
        assert_eq!(of(first), of(last), "both were always written together");
    }
    stop.store(true, Ordering::SeqCst);
    assert!(writer.join().unwrap() > 10, "nothing was written meanwhile");
}

#[test]
fn what_the_disk_changed_between_writing_and_reading_back_is_no_backup() {
    let server = TestServer::start();
    backup_key(&server.admin, "system");
    let folder = server.settings.data.join("backups");
    let damaging = Arc::new(AtomicBool::new(true));
    let (armed, place) = (damaging.clone(), folder.clone());
    let damage = move || {
        let parts = std::fs::read_dir(&place).into_iter().flatten().flatten().map(|f| f.path());
        for part in parts.filter(|p| armed.load(Ordering::SeqCst) && p.extension().is_some_and(|e| e == "part")) {
            let mut bytes = std::fs::read(&part).unwrap();
            let middle = bytes.len() / 2;
            bytes[middle] ^= 1;
            std::fs::write(&part, bytes).unwrap();
        }
    };
    arm_with("take-written", Arc::new(damage));
    let failed = take_any(&server.admin, json!({}));
    assert!(text(&failed, "status").starts_with("Failed: "), "{failed}");
    assert_eq!(std::fs::read_dir(&folder).unwrap().count(), 0, "nothing of it stays");
    server.admin.get(&format!("/v1/backups/{}/download", text(&failed, "id"))).fails(ErrorCode::Conflict, "");
    damaging.store(false, Ordering::SeqCst);
    take_system(&server);
}

#[test]
fn each_scope_has_its_own_keys_and_one_operation_at_a_time() {
    let server = TestServer::start();
    let d = server.domain("d");
    let system = backup_key(&server.admin, "system");
    let domain = backup_key(&d.admin, "domain");
    let of_root = backup_key(&server.admin, "domain");
    // A key of the other scope wraps nothing here, and the key of another domain does not exist.
    let with = |key: &str, scope: &str| json!({ "scope": scope, "backupKey": key });
    server.admin.post("/v1/backups", with(&system, "domain")).fails(ErrorCode::WrongScope, "other scope");
    server.admin.post("/v1/backups", with(&of_root, "system")).fails(ErrorCode::WrongScope, "other scope");
    d.admin.post("/v1/backups", with(&system, "domain")).fails(ErrorCode::NotFound, "");
    server.admin.post("/v1/backups", with(&domain, "domain")).fails(ErrorCode::NotFound, "");
    // While the whole system is taken, no domain starts.
    many_keys(&server, &d);
    let begun = server.admin.post("/v1/backups", json!({ "scope": "system" })).ok(202);
    let job = text(&begun, "jobId");
    let refused = d.admin.post("/v1/backups", json!({ "scope": "domain" }));
    refused.fails(ErrorCode::OperationRunning, "another operation");
    assert!(!refused.text("message").contains(&job), "whoever may not see it does not learn its id");
    server.admin.post("/v1/backups", json!({ "scope": "domain" })).fails(ErrorCode::OperationRunning, &job);
    assert_eq!(job_ended(&server.admin, &job)["status"], "completed");
    take_domain(&server, &d.admin);
}

#[test]
fn filters_know_usage_size_never_deny_email_and_links_of_links() {
    let server = TestServer::start();
    let d = furnished(&server);
    d.admin.key(json!({ "name": "small", "algorithm": "AES", "size": 128 }));
    d.admin.key(json!({ "name": "signs", "algorithm": "EC", "curveid": "secp256r1", "usageMask": 3 }));
    d.admin.key(json!({ "name": "grandparent" }));
    d.admin.post("/v1/vault/keys2/parent/links", json!({ "type": "parent", "target": "grandparent" })).ok(201);
    let filtered =
        |filters: Value| text(&take(&server, &d.admin, json!({ "scope": "domain", "filters": filters })), "id");
    let keys =
        |query: Value| names(&d.admin, &filtered(json!([{ "resourceType": "Keys", "resourceQuery": query }])), "keys");
    assert_eq!(keys(json!({ "size": 128 })), ["small"]);
    assert_eq!(keys(json!({ "algorithm": "aes", "size": 128 })), ["small"], "no key is left out for a letter");
    let unknown = json!([{ "resourceType": "Keys", "resourceQuery": { "algorithm": "AESS" } }]);
    let refused = d.admin.post("/v1/backups", json!({ "scope": "domain", "filters": unknown }));
    refused.fails(ErrorCode::InvalidParam, "AESS");
    let usage = d.admin.get("/v1/vault/keys2/small").ok(200)["usageMask"].clone();
    let same: Vec<String> = {
        let page = d.admin.get("/v1/vault/keys2?limit=-1").ok(200);
        let all = page["resources"].as_array().unwrap().iter().filter(|k| k["usageMask"] == usage);
        let mut all: Vec<String> = all.map(|k| text(k, "name")).collect();
        all.sort();
        all
    };
    assert_eq!(keys(json!({ "usageMask": usage })), same);
    assert!(!same.contains(&"signs".to_owned()));
    // Links of links come along.
    assert_eq!(keys(json!({ "name": "child" })), ["child", "grandparent", "parent"]);
    // Policies by what they may refuse.
    let policy = json!({
        "name": "lenient", "policy_type": "STANDARD", "never_deny": true,
        "security_rules": [{ "effect": "permit,applykey" }], "key_rules": [{ "key_id": "policy-key" }],
    });
    d.admin.post("/v1/transparent-encryption/policies", policy).ok(201);
    let policies = |query: Value| {
        let id = filtered(json!([{ "resourceType": "cte_policies", "resourceQuery": query }]));
        names(&d.admin, &id, "cte_policies")
    };
    assert_eq!(policies(json!({ "never_deny": true })), ["lenient"]);
    assert_eq!(policies(json!({ "never_deny": false, "policy_type": "Standard" })), ["p"]);
    assert_eq!(policies(json!({ "policy_type": "LDT" })), Vec::<String>::new());
    // People by their address.
    let ann = json!({ "username": "ann", "password": "correct horse battery", "email": "ann@example.org" });
    d.admin.post("/v1/usermgmt/users", ann).ok(201);
    let people = json!([{ "resourceType": "users_groups", "resourceQuery": { "email": "*@example.org" } }]);
    let id = filtered(people);
    assert_eq!(names(&d.admin, &id, "users"), ["ann"]);
    let found = records(&server, &id).into_iter().find(|(kind, ..)| *kind == Kind::User).unwrap();
    assert_eq!(serde_json::from_slice::<UserHeader>(&found.2).unwrap().email, "ann@example.org");
}

#[test]
fn the_usage_log_is_in_no_archive() {
    let server = TestServer::start();
    let d = server.domain("d");
    for (by, scope) in [(&d.admin, "domain"), (&server.admin, "system")] {
        crate::support::backup_key(by, scope);
        // A read that found nothing: it stands in the usage log and nowhere else.
        by.get("/v1/vault/keys2/asked-for-once").fails(keyark_api::ErrorCode::NotFound, "");
        let records = by.get("/v1/audit/client-records?action=key_get").ok(200);
        assert!(records.to_string().contains("asked-for-once"), "{records}");
        let backup = text(&crate::support::take(&server, by, json!({ "scope": scope })), "id");
        let all = keyark_testkit::canaries::in_clear(&server, &backup);
        assert!(keyark_testkit::canaries::holds(&all, b"\"name\":"), "the control: headers are there in clear");
        assert!(!keyark_testkit::canaries::holds(&all, b"asked-for-once"), "{scope}");
    }
}
