//! The surfaces beside the resources: retries, metrics, the browsable page, uploads in parts, the local socket, the usage log.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;

use keyark_api::ErrorCode;
use keyark_model::access::Role;
use keyark_testkit::{Client, TestServer};
use serde_json::{Value, json};

#[test]
fn a_create_that_is_sent_again_makes_one_key() {
    let server = TestServer::start();
    let body = serde_json::to_vec(&json!({ "name": "once" })).unwrap();
    let send =
        |body: &[u8]| server.admin.send("POST", "/v1/vault/keys2", Some(body), &[("idempotency-key", "retry-1")]);
    let (first, again) = (send(&body), send(&body));
    assert_eq!((first.status, &first.json), (again.status, &again.json));
    assert_eq!((first.header("idempotency-replayed"), again.header("idempotency-replayed")), ("", "true"));
    send(&serde_json::to_vec(&json!({ "name": "other" })).unwrap()).fails(ErrorCode::IdempotencyMismatch, "");
    assert_eq!(server.admin.get("/v1/vault/keys2?name=once").ok(200)["total"], 1);
    // The same word of another caller is another one.
    let other = server.as_user(&[Role::KeyAdmins]);
    let theirs = other.send("POST", "/v1/vault/keys2", Some(&body), &[("idempotency-key", "retry-1")]);
    theirs.fails(ErrorCode::KeyAlreadyExists, "");
}

#[test]
fn metrics_count_what_was_asked() {
    let server = TestServer::start();
    let page = || String::from_utf8(server.nobody().get("/metrics").body).unwrap();
    let value = |page: &str, family: &str| -> f64 {
        let line = page.lines().find(|l| l.starts_with(family)).unwrap_or_else(|| panic!("no {family} in\n{page}"));
        line.rsplit(' ').next().unwrap().parse().unwrap()
    };
    let before = page();
    assert_eq!(value(&before, "keyark_ready "), 1.0);
    server.nobody().post("/v1/auth/tokens", json!({ "username": "admin", "password": "not this one" }));
    let after = page();
    assert_eq!(value(&after, "keyark_failed_logins_total "), value(&before, "keyark_failed_logins_total ") + 1.0);
    server.admin.key(json!({ "name": "a tenant's secret name" }));
    assert!(!page().contains("a tenant's secret name"));
}

#[test]
fn a_scraper_finds_nothing_to_refuse_in_the_metrics() {
    let server = TestServer::start();
    server.domain("tenant").admin.key(json!({ "name": "k" }));
    server.admin.get("/v1/vault/keys2/none").fails(ErrorCode::NotFound, "");
    let page = server.nobody().get("/metrics");
    assert!(page.header("content-type").starts_with("text/plain; version=0.0.4"), "{}", page.header("content-type"));
    let classic = String::from_utf8(page.body).unwrap();
    // A reader that is not ours, in both formats; it is strict in the newer one.
    let read = |page: &str, module: &str| {
        let script = format!(
            "import sys\nfrom prometheus_client.{module} import text_string_to_metric_families as read\n\
             print(*[f.name for f in read(sys.stdin.read())])"
        );
        keyark_testkit::python(&script, &[], page.as_bytes())
    };
    assert!(read(&classic, "parser").unwrap().contains("keyark_failed_logins"));
    let headers = [("accept", "application/openmetrics-text; version=1.0.0")];
    let page = server.nobody().send("GET", "/metrics", None, &headers);
    assert!(page.header("content-type").starts_with("application/openmetrics-text"), "{}", page.header("content-type"));
    let page = String::from_utf8(page.body).unwrap();
    let families = read(&page, "openmetrics.parser").unwrap();
    assert!(families.contains("keyark_requests ") && families.split(' ').count() > 10, "{families}");
    let broken = page.replace("# EOF", "keyark_requests_total 1\n# EOF");
    read(&broken, "openmetrics.parser").unwrap_err();
}

#[test]
fn an_answer_waits_for_its_usage_record_where_so_set() {
    let server =
        TestServer::start_with(|settings| settings.audit = serde_json::from_value(json!("before-answer")).unwrap());
    server.admin.key(json!({ "name": "k" }));
    let log = server.app().folder.usage();
    let log = rusqlite::Connection::open_with_flags(log, rusqlite::OpenFlags::SQLITE_OPEN_READ_ONLY).unwrap();
    let written = || -> i64 { log.query_row("SELECT coalesce(sum(count), 0) FROM batch", [], |r| r.get(0)).unwrap() };
    let before = written();
    for n in 1..=5 {
        server.admin.encrypt("k", "data");
        assert_eq!(written(), before + n, "the record is in the file when the answer is here");
    }
}

#[test]
fn the_browsable_page_asks_nobody_outside() {
    let server = TestServer::start();
    for path in ["/docs", "/v1/openapi.json"] {
        assert_eq!(server.nobody().get(path).status, 200, "{path}");
    }
    let page = server.nobody().get("/docs");
    assert!(page.header("content-security-policy").starts_with("default-src 'none'"));
    assert!(page.header("content-type").starts_with("text/html"));
    let text = String::from_utf8(page.body).unwrap();
    assert!(text.contains("/v1/openapi.json") && !text.contains("https://"), "{text}");
}

#[test]
fn an_upload_in_parts_goes_on_where_it_broke_off() {
    let server = TestServer::start();
    server.admin.post("/v1/backupkeys", json!({})).ok(201);
    let backup = server.admin.backup(json!({}));
    let id = backup["id"].as_str().unwrap().to_owned();
    let bytes = server.admin.get(&format!("/v1/backups/{id}/download")).body;
    server.admin.delete(&format!("/v1/backups/{id}")).ok(204);

    let upload = server.admin.post("/v1/uploads", json!({})).ok(201)["id"].as_str().unwrap().to_owned();
    let part = |offset: usize, bytes: &[u8]| {
        server.admin.send("PATCH", &format!("/v1/uploads/{upload}?offset={offset}"), Some(bytes), &[])
    };
    let half = bytes.len() / 2;
    assert_eq!(part(0, &bytes[..half]).ok(200)["offset"], half);
    part(0, &bytes[half..]).fails(ErrorCode::Conflict, &format!("{half} bytes are here"));
    assert_eq!(server.admin.get(&format!("/v1/uploads/{upload}")).ok(200)["offset"], half);
    server.as_user(&[Role::Admin]).get(&format!("/v1/uploads/{upload}")).fails(ErrorCode::NotFound, "");
    part(half, &bytes[half..]).ok(200);
    let made = server.admin.send("POST", &format!("/v1/backups/upload?upload_id={upload}"), Some(b""), &[]).ok(201);
    assert_eq!((&made["id"], &made["checksum"]), (&Value::from(id), &backup["checksum"]));
    server.admin.get(&format!("/v1/uploads/{upload}")).fails(ErrorCode::NotFound, "");
}

/// One request over the local administration socket.
fn local(server: &TestServer, path: &str) -> (u16, Value) {
    let mut socket = UnixStream::connect(server.app().folder.admin_socket()).unwrap();
    write!(socket, "POST {path} HTTP/1.1\r\nhost: local\r\ncontent-length: 0\r\nconnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    socket.read_to_string(&mut answer).unwrap();
    let status = answer.split(' ').nth(1).unwrap().parse().unwrap();
    let body = answer.split("\r\n\r\n").nth(1).unwrap_or_default();
    (status, serde_json::from_str(body).unwrap_or_default())
}

#[test]
fn whoever_forgot_the_password_gets_a_new_one_on_the_servers_own_machine() {
    let server = TestServer::start();
    let mode = std::fs::metadata(server.app().folder.admin_socket()).unwrap().permissions();
    assert_eq!(std::os::unix::fs::PermissionsExt::mode(&mode) & 0o777, 0o600);
    // Over the network the path does not exist, and a lockout does not reach the socket.
    server.nobody().post("/v1/local/reset-admin", json!({})).fails(ErrorCode::NotFound, "");
    for _ in 0..8 {
        server.nobody().post("/v1/auth/tokens", json!({ "username": "admin", "password": "wrong guess" }));
    }
    let (status, made) = local(&server, "/v1/local/reset-admin");
    assert_eq!((status, made["username"].as_str()), (200, Some("admin")));
    server.admin.get("/v1/auth/self/user").fails(ErrorCode::Unauthorized, "");
    let password = made["password"].as_str().unwrap();
    let change = json!({ "username": "admin", "password": password, "new_password": "remembered this time" });
    server.nobody().send("PATCH", "/v1/auth/changepw", Some(&serde_json::to_vec(&change).unwrap()), &[]).ok(204);
    let admin = server.nobody().log_in(json!({ "username": "admin", "password": "remembered this time" }));
    admin.get("/v1/usermgmt/users").ok(200);
    let audit = admin.get("/v1/audit/records?action=user_reset_admin").ok(200);
    assert_eq!(audit["resources"].as_array().unwrap().len(), 1, "{audit}");
}

#[test]
fn the_usage_log_has_reads_refusals_and_cryptography_and_nothing_of_others() {
    let mut server = TestServer::start();
    let tenant = server.domain("t");
    tenant.admin.key(json!({ "name": "k" }));
    tenant.admin.encrypt("k", "data");
    server.admin.get("/v1/vault/keys2/nowhere").fails(ErrorCode::NotFound, "");
    let of = |client: &keyark_testkit::Client, action: &str| {
        client.get(&format!("/v1/audit/client-records?action={action}")).ok(200)["resources"].as_array().unwrap().len()
    };
    assert_eq!(of(&tenant.admin, "encrypt"), 1);
    assert_eq!((of(&server.admin, "encrypt"), of(&server.admin, "key_get")), (0, 1));
    server.restart();
    server.admin.renew();
    assert_eq!(of(&server.admin, "key_get"), 1, "kept over a restart");
}

#[test]
fn jobs_are_listed_newest_first_and_paged() {
    let server = TestServer::start();
    server.admin.post("/v1/backupkeys", json!({})).ok(201);
    let mut made: Vec<Value> = Vec::new();
    for _ in 0..3 {
        made.insert(0, server.admin.backup(json!({}))["id"].clone());
        server.advance(1);
    }
    let listed = server.admin.get("/v1/jobs").ok(200);
    assert_eq!(listed["total"], 3);
    let all = listed["resources"].as_array().unwrap();
    assert_eq!(all.iter().map(|job| job["resource"].clone()).collect::<Vec<_>>(), made);
    for job in all {
        assert_eq!((&job["status"], &job["cancellable"]), (&json!("completed"), &json!(false)), "{job}");
        assert!(job["finishedAt"].is_string() && job["startedAt"].is_string(), "{job}");
        assert_eq!(&server.admin.get(&format!("/v1/jobs/{}", job["id"].as_str().unwrap())).ok(200), job);
    }
    let page = server.admin.get("/v1/jobs?skip=1&limit=1").ok(200);
    assert_eq!((page["resources"].as_array().unwrap().len(), &page["resources"][0]), (1, &all[1]));
}

#[test]
fn a_write_answers_with_its_position_which_tells_nothing_but_whether_a_backup_holds_it() {
    let mut server = TestServer::start();
    let (one, two) = (server.domain("one"), server.domain("two"));
    one.admin.post("/v1/backupkeys", json!({ "scope": "domain", "default": true })).ok(201);
    let write = |by: &Client, name: &str| {
        let answer = by.post("/v1/vault/keys2", json!({ "name": name }));
        assert_eq!(answer.status, 201, "{answer}");
        answer.header("keyark-position").to_owned()
    };
    let early = write(&one.admin, "early");
    let backup = one.admin.backup(json!({ "scope": "domain" }));
    let part = one.admin.backup(json!({ "scope": "domain", "filters": [{ "resourceType": "Keys" }] }));
    let late = write(&one.admin, "late");
    let theirs = write(&two.admin, "theirs");
    let id = |backup: &Value| backup["id"].as_str().unwrap().to_owned();
    let covers = |backup: &Value, token: &str| {
        one.admin.get(&format!("/v1/backups/{}?position={token}", id(backup))).ok(200)["covers"].clone()
    };
    assert_eq!((covers(&backup, &early), covers(&backup, &late)), (json!(true), json!(false)));
    assert_eq!(covers(&part, &early), false, "a selection is no proof");
    assert!(one.admin.get(&format!("/v1/backups/{}", id(&backup))).ok(200).get("covers").is_none());
    // A token is of one length and without order; it is good in its own domain only, and unaltered.
    assert!(early.len() == late.len() && early != late && early.len() == theirs.len());
    let altered = format!("{}{}", if late.starts_with('A') { 'B' } else { 'A' }, &late[1..]);
    for bad in [theirs.as_str(), "1", "AAAA", &altered[..]] {
        let refused = one.admin.get(&format!("/v1/backups/{}?position={bad}", id(&backup)));
        refused.fails(ErrorCode::InvalidParam, "no position token");
    }
    // What changes nothing has none.
    let read = one.admin.get("/v1/vault/keys2/early");
    assert!(read.headers.get("keyark-position").is_none());
    let encrypted = one.admin.post("/v1/crypto/random", json!({ "length": 8 }));
    assert!(encrypted.headers.get("keyark-position").is_none(), "{encrypted}");
    let id = server.admin.post("/v1/backupkeys", json!({ "scope": "system", "default": true })).ok(201);
    assert!(id["id"].is_string());
    let token = write(&server.admin, "of-root");
    server.restart();
    let whole = server.admin.backup(json!({ "scope": "system" }));
    let path = format!("/v1/backups/{}?position={token}", whole["id"].as_str().unwrap());
    assert_eq!(server.admin.get(&path).ok(200)["covers"], true, "it is good after a restart");
}

#[test]
fn whether_the_services_run_is_told_without_a_token() {
    let server = TestServer::start();
    let path = "/v1/system/services/status";
    let shown = server.nobody().get(path).ok(200);
    let names: Vec<_> = shown["services"].as_array().unwrap().iter().map(|s| s["name"].clone()).collect();
    assert_eq!((&shown["status"], names), (&json!("started"), vec![json!("api"), json!("store"), json!("outbound")]));
    assert!(shown["services"].as_array().unwrap().iter().all(|s| s["status"] == "started"), "{shown}");
}
