//! How keys are found: names, aliases, ids, and the links between them.

use keyark_api::ErrorCode;
use keyark_testkit::TestServer;
use serde_json::{Value, json};

use crate::keys::at;

#[test]
fn names_aliases_and_ids_are_unique_together() {
    let server = TestServer::start();
    let one = server.admin.key(json!({ "name": "one", "aliases": [{ "alias": "uno" }] }));
    let create = |body: Value| server.admin.post("/v1/vault/keys2", body);
    for taken in ["one", "uno"] {
        create(json!({ "name": taken })).fails(ErrorCode::KeyAlreadyExists, "taken");
        let alias = json!({ "name": "two", "aliases": [{ "alias": taken }] });
        create(alias).fails(ErrorCode::KeyAlreadyExists, "taken");
    }
    create(json!({ "name": "One" })).ok(201);
    let id = one["id"].as_str().unwrap();
    create(json!({ "id": id, "name": "other" })).fails(ErrorCode::KeyAlreadyExists, "leave the id out");
    let doubled = json!({ "name": "self", "aliases": [{ "alias": "self" }] });
    create(doubled).fails(ErrorCode::KeyAlreadyExists, "itself");
    server.admin.patch(&at("One"), json!({ "name": "uno" })).fails(ErrorCode::KeyAlreadyExists, "taken");
    server.admin.patch(&at("One"), json!({ "name": "deux" })).ok(200);
    server.admin.get(&at("One")).fails(ErrorCode::NotFound, "not found");
    create(json!({ "name": "One" })).ok(201);
    // An id of another domain's key is taken, too, and the answer does not say by whom.
    let domain = server.domain("tenant");
    let there = domain.admin.post("/v1/vault/keys2", json!({ "id": id }));
    there.fails(ErrorCode::AlreadyExists, "this id is taken");
    domain.admin.key(json!({ "name": "one" }));
}

#[test]
fn a_given_id_is_kept_and_comes_back_after_a_deletion() {
    let server = TestServer::start();
    let id = "01890000-0000-7000-8000-00000000abcd";
    let made = server.admin.key(json!({ "id": id, "name": "mine", "material": "11".repeat(32) }));
    assert_eq!((&made["id"], &made["uuid"]), (&json!(id), &json!(id)));
    let named = json!({ "muid": "muid-of-another-system", "keyId": "0123456789abcdef", "material": "33".repeat(32),
        "state": "Pre-Active", "activationDate": "2030-01-01T00:00:00Z" });
    let named = server.admin.key(named);
    let named = server.admin.get(&at(named["id"].as_str().unwrap())).ok(200);
    assert_eq!((&named["muid"], &named["keyId"]), (&json!("muid-of-another-system"), &json!("0123456789abcdef")));
    assert_eq!(
        (&named["state"], &named["activationDate"]),
        (&json!("Pre-Active"), &json!("2030-01-01T00:00:00.000000000Z"))
    );
    server.admin.delete(&format!("{}?confirm=mine", at("mine"))).ok(204);
    server.admin.get(&at(id)).fails(ErrorCode::NotFound, "not found");
    let again = server.admin.key(json!({ "uuid": id, "name": "mine", "material": "22".repeat(32) }));
    assert_eq!(again["id"], id);
    let material = server.admin.post(&format!("{}/export", at(id)), json!({})).ok(200);
    assert_eq!(material["material"], "22".repeat(32));
    assert_eq!(server.admin.decrypt(&server.admin.encrypt(id, "x")), "x");
}

#[test]
fn a_key_is_found_by_id_name_and_alias() {
    let server = TestServer::start();
    let made = server
        .admin
        .key(json!({ "name": "name", "aliases": [{ "alias": "alias" }, { "alias": "urn:x", "type": "uri" }] }));
    let id = made["id"].as_str().unwrap();
    for (text, kind) in [(id, "id"), ("name", "name"), ("alias", "alias")] {
        assert_eq!(server.admin.get(&at(text)).ok(200)["id"], id);
        assert_eq!(server.admin.get(&format!("{}?type={kind}", at(text))).ok(200)["id"], id);
    }
    let uri = made["uri"].as_str().unwrap();
    for text in [uri, "urn:x"] {
        let path = at(&text.replace(':', "%3A"));
        assert_eq!(server.admin.get(&format!("{path}?type=uri")).ok(200)["id"], id, "{text}");
    }
    assert_eq!(server.admin.get(&at("urn%3Ax")).ok(200)["id"], id);
    for elsewhere in ["kylo%3Akylo%3Avault%3Akeys%3Anone-v0", "kylo%3Akylo%3Avault%3Asecrets%3Aname-v0"] {
        server.admin.get(&format!("{}?type=uri", at(elsewhere))).fails(ErrorCode::NotFound, "not found");
    }
    server.admin.get(&format!("{}?type=uri", at("nowhere"))).fails(ErrorCode::NotFound, "not found");
    server.admin.get(&format!("{}?type=id", at("name"))).fails(ErrorCode::NotFound, "not found");
    server.admin.get(&format!("{}?type=name", at(id))).fails(ErrorCode::NotFound, "not found");
    server.admin.get(&format!("{}?type=colour", at("name"))).fails(ErrorCode::InvalidParam, "id, name, alias or uri");
    // A name that looks like an id is found as a name when no key has that id.
    let odd = server.admin.key(json!({ "name": "01890000-0000-7000-8000-000000000001" }));
    assert_eq!(server.admin.get(&at("01890000-0000-7000-8000-000000000001")).ok(200)["id"], odd["id"]);
    for path in ["/v1/vault/keys/name", "/api/v1/vault/keys2/name", "/api/v1/vault/keys/name"] {
        assert_eq!(server.admin.get(path).ok(200)["id"], id);
    }
}

#[test]
fn aliases_are_added_changed_and_removed_by_a_patch() {
    let server = TestServer::start();
    server.admin.key(json!({ "name": "k", "aliases": [{ "alias": "a" }, { "alias": "b" }] }));
    server.admin.key(json!({ "name": "taken" }));
    let patch = |aliases: Value| server.admin.patch(&at("k"), json!({ "aliases": aliases }));
    let changed = patch(json!([{ "alias": "c", "type": "uri" }, { "index": 0, "alias": "z" }, { "index": 1 }])).ok(200);
    let expected = json!([{ "alias": "z", "index": 0, "type": "string" }, { "alias": "c", "index": 2, "type": "uri" }]);
    assert_eq!(changed["aliases"], expected);
    for gone in ["a", "b"] {
        server.admin.get(&at(gone)).fails(ErrorCode::NotFound, "not found");
    }
    assert_eq!(server.admin.get(&at("z")).ok(200)["name"], "k");
    patch(json!([{ "index": 7 }])).fails(ErrorCode::NotFound, "index 7");
    patch(json!([{ "type": "uri" }])).fails(ErrorCode::InvalidParam, "`alias`");
    patch(json!([{ "alias": "k" }])).fails(ErrorCode::KeyAlreadyExists, "itself");
    patch(json!([{ "index": 0, "alias": "taken" }])).fails(ErrorCode::KeyAlreadyExists, "taken");
    patch(json!([{ "alias": "a<b" }])).fails(ErrorCode::InvalidParam, "must not contain");
    assert_eq!(server.admin.get(&at("k")).ok(200)["aliases"], expected, "a refused change leaves all as it was");
}

#[test]
fn aliases_come_and_go() {
    let server = TestServer::start();
    server.admin.key(json!({ "name": "k" }));
    server.admin.key(json!({ "name": "other" }));
    let add = |alias: &str| server.admin.post(&format!("{}/aliases", at("k")), json!({ "alias": alias }));
    assert_eq!(add("a").ok(201)["aliases"], json!([{ "alias": "a", "index": 0, "type": "string" }]));
    add("b").ok(201);
    add("a").fails(ErrorCode::KeyAlreadyExists, "taken");
    add("other").fails(ErrorCode::KeyAlreadyExists, "taken");
    assert_eq!(server.admin.get(&at("b")).ok(200)["name"], "k");
    server.admin.delete(&format!("{}/aliases/0", at("k"))).ok(204);
    server.admin.get(&at("a")).fails(ErrorCode::NotFound, "not found");
    server.admin.delete(&format!("{}/aliases/0", at("k"))).fails(ErrorCode::NotFound, "alias");
    server.admin.patch(&at("other"), json!({ "name": "a" })).ok(200);
    add("c").ok(201);
    let indexes: Vec<_> =
        server.admin.get(&at("k")).ok(200)["aliases"].as_array().unwrap().iter().map(|a| a["index"].clone()).collect();
    assert_eq!(indexes, [1, 2]);
}

#[test]
fn links_join_keys_of_one_domain() {
    let server = TestServer::start();
    let target = server.admin.key(json!({ "name": "target" }));
    server.admin.key(json!({ "name": "k" }));
    let links = format!("{}/links", at("k"));
    let made = server.admin.post(&links, json!({ "type": "parent", "target": "target" })).ok(201);
    assert_eq!(made["target"], target["id"]);
    server.admin.post(&links, json!({ "type": "parent", "target": "target" })).fails(ErrorCode::Conflict, "already");
    server
        .admin
        .post(&links, json!({ "type": "sibling", "target": "target" }))
        .fails(ErrorCode::InvalidParam, "parent");
    server.admin.post(&links, json!({ "type": "parent", "target": "none" })).fails(ErrorCode::NotFound, "not found");
    assert_eq!(server.admin.get(&links).ok(200)["total"], 1);
    assert_eq!(server.admin.get(&format!("{}?fields=links", at("k"))).ok(200)["links"].as_array().unwrap().len(), 1);
    let both = server.admin.get("/v1/vault/keys2?name=k&fields=meta,links").ok(200);
    assert_eq!(both["resources"][0]["links"].as_array().unwrap().len(), 1);
    let plain = server.admin.get("/v1/vault/keys2?name=k").ok(200);
    assert_eq!(plain["resources"][0]["name"], "k");
    assert!(plain["resources"][0].get("links").is_none(), "{plain}");
    assert!(server.admin.get(&format!("{}?fields=meta", at("k"))).ok(200).get("links").is_none());
    server.admin.delete(&format!("{links}/{}", made["id"].as_str().unwrap())).ok(204);
    server.admin.delete(&format!("{links}/{}", made["id"].as_str().unwrap())).fails(ErrorCode::NotFound, "link");
    assert_eq!(server.admin.get(&links).ok(200)["total"], 0);
}

#[test]
fn deleting_one_link_does_not_rename_another() {
    let server = TestServer::start();
    for name in ["k", "a", "b"] {
        server.admin.key(json!({ "name": name }));
    }
    let links = format!("{}/links", at("k"));
    let a = server.admin.post(&links, json!({ "type": "parent", "target": "a" })).ok(201);
    let b = server.admin.post(&links, json!({ "type": "parent", "target": "b" })).ok(201);
    server.admin.delete(&format!("{links}/{}", a["id"].as_str().unwrap())).ok(204);
    let left = server.admin.get(&links).ok(200);
    assert_eq!((&left["total"], &left["resources"][0]), (&json!(1), &b));
    server.admin.delete(&format!("{links}/{}", a["id"].as_str().unwrap())).fails(ErrorCode::NotFound, "link");
}
