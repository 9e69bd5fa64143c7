//! Lists of keys: filters, queries, pages, labels.

use keyark_api::ErrorCode;
use keyark_testkit::TestServer;
use serde_json::{Value, json};

use crate::keys::{at, with};

fn names(page: &Value) -> Vec<String> {
    let mut names: Vec<_> =
        page["resources"].as_array().unwrap().iter().map(|k| k["name"].as_str().unwrap().to_owned()).collect();
    names.sort();
    names
}

/// A key of each sort, for the lists.
fn shelf(server: &TestServer) {
    let admin = &server.admin;
    admin.key(json!({ "name": "aes-a", "labels": { "env": "prod", "app": "pay" }, "meta": { "team": { "lead": "ada", "size": 3 } } }));
    server.advance(10);
    admin.key(json!({ "name": "aes-b", "size": 128, "labels": { "env": "test" }, "unexportable": true }));
    server.advance(10);
    admin.key(json!({ "name": "rsa", "algorithm": "rsa", "size": 2048, "undeletable": true, "usageMask": 3, "aliases": [{ "alias": "signer" }] }));
    server.advance(10);
    admin.key(json!({ "name": "later", "activationDate": "2030-01-01T00:00:00Z" }));
    admin.key(json!({ "name": "gone" }));
    admin.delete(&at("gone")).ok(204);
}

#[test]
fn lists_filter_by_every_field() {
    let server = TestServer::start();
    shelf(&server);
    let id = server.admin.get(&at("rsa")).ok(200)["id"].as_str().unwrap().to_owned();
    for (query, expected) in [
        ("", &["aes-a", "aes-b", "gone", "later", "rsa"][..]),
        ("name=aes-*", &["aes-a", "aes-b"]),
        ("name=aes-?", &["aes-a", "aes-b"]),
        ("name=rsa&name=later", &["later", "rsa"]),
        ("name=AES-a", &[]),
        ("algorithm=RSA", &["rsa"]),
        ("algorithm=AES&size=128", &["aes-b"]),
        ("algorithm=aes&size=128", &[]),
        ("size=2048", &["rsa"]),
        ("state=Pre-Active", &["later"]),
        ("state=Active&state=Pre-Active", &["aes-a", "aes-b", "gone", "later", "rsa"]),
        ("labels=env", &["aes-a", "aes-b"]),
        ("labels=env%3Dprod", &["aes-a"]),
        ("labels=env&labels=app", &["aes-a"]),
        ("labels=env%3Dstage", &[]),
        ("usageMask=3", &["rsa"]),
        ("usageMask=12", &["aes-a", "aes-b", "gone", "later"]),
        ("objectType=Private%20Key", &["rsa"]),
        ("createdBefore=2026-01-01T00:00:10Z", &["aes-a"]),
        ("createdAfter=2026-01-01T00:00:10Z", &["gone", "later", "rsa"]),
        ("unexportable=true", &["aes-b"]),
        ("undeletable=true", &["rsa"]),
        ("deleting=true", &["gone"]),
        ("deleting=false", &["aes-a", "aes-b", "later", "rsa"]),
        ("alias=sign*", &["rsa"]),
        (&format!("id={id}"), &["rsa"]),
        ("name=*&algorithm=AES&unexportable=false&deleting=false&state=Active", &["aes-a"]),
    ] {
        let page = server.admin.get(&format!("/v1/vault/keys/?limit=-1&{query}")).ok(200);
        assert_eq!(names(&page), expected, "{query}");
        assert_eq!(page["total"], expected.len(), "{query}");
    }
    let wrong = server.admin.get("/v1/vault/keys2?usageMask=99999999");
    wrong.fails(ErrorCode::InvalidParam, "4194303");
}

#[test]
fn queries_filter_by_the_same_and_by_meta() {
    let server = TestServer::start();
    shelf(&server);
    for (body, expected) in [
        (json!({}), &["aes-a", "aes-b", "gone", "later", "rsa"][..]),
        (json!({ "name": "aes-*" }), &["aes-a", "aes-b"]),
        (json!({ "names": ["rsa", "later"] }), &["later", "rsa"]),
        (json!({ "sizes": [128, 2048] }), &["aes-b", "rsa"]),
        (json!({ "algorithm": "AES", "size": 256, "states": ["Active"] }), &["aes-a", "gone"]),
        (json!({ "labels": { "env": "prod" } }), &["aes-a"]),
        (json!({ "metaContains": { "team": { "lead": "ada" } } }), &["aes-a"]),
        (json!({ "metaContains": { "team": { "lead": "bob" } } }), &[]),
        (json!({ "metaContains": { "team": "ada" } }), &[]),
        (json!({ "usageMask": 3 }), &["rsa"]),
        (json!({ "unexportable": true }), &["aes-b"]),
        (json!({ "createdAfter": "2026-01-01T00:00:10Z", "createdBefore": "2026-01-01T00:00:30Z" }), &["rsa"]),
    ] {
        let page = server.admin.post("/v1/vault/query-keys", with(body.clone(), json!({ "limit": -1 }))).ok(200);
        assert_eq!(names(&page), expected, "{body}");
    }
    let paged = server.admin.post("/v1/vault/query-keys?skip=1&limit=2", json!({ "algorithm": "AES" })).ok(200);
    assert_eq!((&paged["total"], paged["resources"].as_array().unwrap().len()), (&json!(4), 2));
    let with_meta = server.admin.post("/v1/vault/query-keys", json!({ "name": "aes-a", "fields": "meta" })).ok(200);
    assert_eq!(with_meta["resources"][0]["meta"]["team"]["lead"], "ada");
    server.admin.post("/v1/vault/query-keys", json!({ "nam": "x" })).fails(ErrorCode::BadRequest, "nam");
}

#[test]
fn pages_join_and_sort() {
    let server = TestServer::start();
    for n in 0..25 {
        server.advance(1);
        server.admin.key(json!({ "name": format!("k{:02}", (n * 7) % 25) }));
    }
    let list = |query: &str| server.admin.get(&format!("/v1/vault/keys2?{query}")).ok(200);
    let named = |page: &Value| -> Vec<String> {
        page["resources"].as_array().unwrap().iter().map(|k| k["name"].as_str().unwrap().to_owned()).collect()
    };
    let first = list("");
    assert_eq!((&first["skip"], &first["limit"], &first["total"]), (&json!(0), &json!(10), &json!(25)));
    assert_eq!(named(&first).len(), 10);
    for condition in ["", "&name=k*", "&sort=name"] {
        let mut seen = Vec::new();
        for skip in [0, 10, 20, 30] {
            let page = list(&format!("skip={skip}&limit=10{condition}"));
            assert_eq!(page["total"], 25, "{condition}");
            seen.extend(named(&page));
        }
        let whole = named(&list(&format!("limit=-1{condition}")));
        assert_eq!(seen, whole, "{condition}");
        seen.sort();
        seen.dedup();
        assert_eq!(seen.len(), 25);
    }
    let ascending: Vec<_> = (0..25).map(|n| format!("k{n:02}")).collect();
    let descending: Vec<_> = ascending.iter().rev().cloned().collect();
    assert_eq!(named(&list("limit=-1&sort=name")), ascending);
    assert_eq!(named(&list("limit=-1&sort=-name")), descending);
    assert_eq!(named(&list("limit=2&sort=createdAt")), ["k00", "k07"]);
    assert_eq!(named(&list("limit=1&sort=-createdAt")), ["k18"]);
    assert_eq!(list("limit=0")["resources"], json!([]));
}

#[test]
fn labels_in_use_are_listed() {
    let server = TestServer::start();
    shelf(&server);
    let page = server.admin.get("/v1/vault/key-labels").ok(200);
    let expected = json!([{ "label": "app", "values": ["pay"] }, { "label": "env", "values": ["prod", "test"] }]);
    assert_eq!(page["resources"], expected);
}
