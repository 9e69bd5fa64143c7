//! Keys: made, imported, exported, found, changed.

use keyark_api::ErrorCode;
use keyark_model::key::KeySpec;
use keyark_testkit::TestServer;
use keyark_testkit::client::base64;
use serde_json::{Value, json};

/// The fields of `POST` that ask for a kind of key.
pub fn asked(spec: KeySpec) -> Value {
    let mut fields = json!({ "algorithm": spec.algorithm().word(), "size": spec.size() });
    if let Some(curve) = spec.curve() {
        fields["curveid"] = curve.word().into();
    }
    fields
}

/// Two objects of JSON as one.
pub fn with(mut fields: Value, more: Value) -> Value {
    fields.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    fields
}

/// The path of a key.
pub fn at(name: &str) -> String {
    format!("/v1/vault/keys2/{name}")
}

#[test]
fn every_kind_of_key_is_made_exported_and_imported_again() {
    let server = TestServer::start();
    for &spec in KeySpec::ALL {
        let made = server.admin.key(asked(spec));
        let id = made["id"].as_str().unwrap();
        assert_eq!(made["algorithm"], spec.algorithm().word(), "{spec}");
        assert_eq!(made["size"], spec.size(), "{spec}");
        assert_eq!(made["curveid"].as_str(), spec.curve().map(|c| c.word()), "{spec}");
        assert_eq!(made["state"], "Active", "{spec}");
        assert_eq!(made["usageMask"], spec.default_usage().bits(), "{spec}");
        assert_eq!(made["name"], format!("key-{id}"));
        assert_eq!((&made["version"], &made["versionsCount"], &made["uuid"]), (&json!(0), &json!(1), &made["id"]));
        assert!(made.get("material").is_none(), "{spec}");
        let shown = server.admin.get(&at(id)).ok(200);
        assert_eq!(shown["publickey"].is_string(), !spec.is_symmetric(), "{spec}");
        assert_eq!(shown["sha256Fingerprint"].as_str().unwrap().len(), 64);

        let mut forms = vec![json!({})];
        if spec.is_symmetric() {
            forms.extend([json!({ "encoding": "base64" }), json!({ "format": "raw", "encoding": "hex" })]);
        }
        for form in forms {
            let exported = server.admin.post(&format!("{}/export", at(id)), form.clone()).ok(200);
            assert_eq!(exported["id"], made["id"]);
            let material = exported["material"].as_str().unwrap();
            if spec.is_symmetric() && form.get("encoding").is_none_or(|e| e == "hex") {
                assert_eq!(material.len() as u32, spec.size() / 4, "{spec}");
            }
            let mut import = with(asked(spec), json!({ "material": material }));
            for field in ["encoding", "format"] {
                if let Some(value) = exported.get(field) {
                    import[field] = value.clone();
                }
            }
            let imported = server.admin.key(import);
            assert_ne!(imported["id"], made["id"]);
            assert_eq!(imported["sha256Fingerprint"], shown["sha256Fingerprint"], "{spec} {form}");
        }
    }
}

#[test]
fn every_kind_of_key_travels_wrapped() {
    let server = TestServer::start();
    server.admin.key(json!({ "name": "kek" }));
    server.admin.key(json!({ "name": "rsa", "algorithm": "RSA", "size": 2048 }));
    for &spec in KeySpec::ALL {
        let made = server.admin.key(asked(spec));
        let path = format!("{}/export", at(made["id"].as_str().unwrap()));
        let wrapped = server.admin.post(&path, json!({ "wrapKeyName": "kek" })).ok(200);
        assert!(wrapped["wrappedBy"].is_string() && wrapped["encoding"] == "base64", "{wrapped}");
        let import = with(asked(spec), json!({ "material": wrapped["material"], "wrapKeyName": "kek" }));
        let imported = server.admin.key(import);
        assert_eq!(imported["sha256Fingerprint"], made["sha256Fingerprint"], "{spec}");
        let by_rsa = server.admin.post(&path, json!({ "wrapKeyName": "rsa" }));
        if spec.is_symmetric() {
            let import = with(asked(spec), json!({ "material": by_rsa.ok(200)["material"], "wrapKeyName": "rsa" }));
            assert_eq!(server.admin.key(import)["sha256Fingerprint"], made["sha256Fingerprint"], "{spec}");
        }
    }
    let damaged = json!({ "material": base64([7; 40]), "wrapKeyName": "kek" });
    server.admin.post("/v1/vault/keys2", damaged).fails(ErrorCode::CryptoFailed, "");
    server.admin.key(json!({ "name": "mac", "algorithm": "HMAC-SHA256" }));
    let by_mac = server.admin.post(&format!("{}/export", at("kek")), json!({ "wrapKeyName": "mac" }));
    by_mac.fails(ErrorCode::KeyState, "usageMask");
}

#[test]
fn what_a_creation_refuses() {
    let server = TestServer::start();
    let hex = "00".repeat(32);
    for (body, code, text) in [
        (json!({ "algorithm": "DES" }), ErrorCode::InvalidParam, "AES, ChaCha20"),
        (json!({ "size": 512 }), ErrorCode::InvalidParam, "128, 192 or 256"),
        (json!({ "algorithm": "RSA", "size": 1024 }), ErrorCode::InvalidParam, "2048, 3072 or 4096"),
        (json!({ "algorithm": "EC" }), ErrorCode::InvalidParam, "curveid"),
        (json!({ "algorithm": "EC", "curveid": "secp256k1" }), ErrorCode::InvalidParam, "secp256r1"),
        (json!({ "curveid": "secp256r1" }), ErrorCode::InvalidParam, "no curveid"),
        (json!({ "usageMask": 1 }), ErrorCode::InvalidParam, "Sign (1)"),
        (json!({ "usageMask": 4_194_304 }), ErrorCode::InvalidParam, "4194303"),
        (json!({ "name": "" }), ErrorCode::InvalidParam, "at least one"),
        (json!({ "name": "a<b" }), ErrorCode::InvalidParam, "must not contain"),
        (json!({ "name": "a\\b" }), ErrorCode::InvalidParam, "must not contain"),
        (json!({ "name": "x".repeat(257) }), ErrorCode::InvalidParam, "at most 256"),
        (json!({ "aliases": [{ "alias": "a>b" }] }), ErrorCode::InvalidParam, "must not contain"),
        (json!({ "aliases": [{ "alias": "a", "type": "number" }] }), ErrorCode::InvalidParam, "string, uri"),
        (json!({ "id": "not a uuid" }), ErrorCode::InvalidParam, "UUID"),
        (json!({ "state": "Destroyed" }), ErrorCode::InvalidParam, "no material"),
        (json!({ "state": "Paused" }), ErrorCode::InvalidParam, "Pre-Active, Active"),
        (json!({ "material": "zz" }), ErrorCode::InvalidParam, "hex"),
        (json!({ "material": "0" }), ErrorCode::InvalidParam, "hex"),
        (json!({ "material": "00" }), ErrorCode::InvalidParam, ""),
        (json!({ "material": hex, "encoding": "utf8" }), ErrorCode::InvalidParam, "hex or base64"),
        (json!({ "material": hex, "format": "jwk" }), ErrorCode::InvalidParam, "format is"),
        (json!({ "material": hex, "wrapKeyName": "none" }), ErrorCode::NotFound, "not found"),
        (json!({ "meta": { "permissions": { "Fly": ["x"] } } }), ErrorCode::InvalidParam, "ReadKey"),
        (json!({ "meta": { "permissions": 7 } }), ErrorCode::InvalidParam, "permissions"),
        (json!({ "meta": { "ownerId": 7 } }), ErrorCode::InvalidParam, "ownerId"),
        (
            json!({ "activationDate": "2027-01-01T00:00:00Z", "deactivationDate": "2026-06-01T00:00:00Z" }),
            ErrorCode::InvalidParam,
            "must not be before",
        ),
        (json!({ "activationDate": "tomorrow" }), ErrorCode::BadRequest, "RFC 3339"),
        (json!({ "unexportable": true, "includeMaterial": true }), ErrorCode::Unexportable, ""),
    ] {
        let refused = server.admin.post("/v1/vault/keys2", body.clone());
        refused.fails(code, text);
    }
    assert_eq!(server.admin.get("/v1/vault/keys2").ok(200)["total"], 0, "a refused creation leaves nothing");
}

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
fn attributes_are_changed_and_merged() {
    let server = TestServer::start();
    let start =
        json!({ "name": "k", "labels": { "a": "1", "b": "2" }, "meta": { "x": 1, "y": 2, "ownerId": "local|me" } });
    server.admin.key(start);
    let patch = |body: Value| server.admin.patch(&at("k"), body);
    let changed =
        patch(json!({ "labels": { "a": null, "c": "3" }, "meta": { "x": null, "z": [1] }, "description": "d" }));
    assert_eq!(changed.header("etag"), "\"2\"");
    let changed = changed.ok(200);
    assert_eq!(changed["labels"], json!({ "b": "2", "c": "3" }));
    assert_eq!(changed["meta"], json!({ "y": 2, "z": [1], "ownerId": "local|me" }));
    assert_eq!(changed["description"], "d");
    assert_eq!(patch(json!({ "usageMask": 12 })).ok(200)["usageMask"], 12);
    patch(json!({ "usageMask": 1 })).fails(ErrorCode::InvalidParam, "Sign");
    patch(json!({ "name": "a<b" })).fails(ErrorCode::InvalidParam, "must not contain");
    patch(json!({ "colour": "red" })).fails(ErrorCode::BadRequest, "colour");
    patch(json!({ "activationDate": "2030-01-01T00:00:00Z" })).fails(ErrorCode::InvalidParam, "Pre-Active");
    let early = json!({ "deactivationDate": "2020-01-01T00:00:00Z" });
    patch(early).fails(ErrorCode::InvalidParam, "must not be before");
    let until =
        patch(json!({ "protectStopDate": "2026-02-01T00:00:00Z", "deactivationDate": "2026-03-01T00:00:00Z" })).ok(200);
    assert_eq!(until["deactivationDate"], "2026-03-01T00:00:00.000000000Z");
    let null = patch(json!({ "description": null })).ok(200);
    assert_eq!(null["description"], "d", "null is as if absent");
}

#[test]
fn if_match_guards_every_change() {
    let server = TestServer::start();
    server.admin.key(json!({ "name": "k" }));
    assert_eq!(server.admin.get(&at("k")).header("etag"), "\"1\"");
    let send = |method: &str, path: &str, body: &str| {
        server.admin.send(method, path, Some(body.as_bytes()), &[("if-match", "\"7\"")])
    };
    let k = at("k");
    for (method, path, body) in [
        ("PATCH", k.clone(), "{}"),
        ("DELETE", k.clone(), ""),
        ("DELETE", format!("{k}?confirm=k"), ""),
        ("POST", format!("{k}/versions"), "{}"),
        ("POST", format!("{k}/suspend"), "{}"),
        ("POST", format!("{k}/deactivate"), "{}"),
        ("POST", format!("{k}/revoke"), "{\"reason\": \"Unspecified\"}"),
        ("POST", format!("{k}/archive"), "{}"),
        ("POST", format!("{k}/destroy"), "{\"confirm\": \"k\"}"),
        ("POST", format!("{k}/aliases"), "{\"alias\": \"a\"}"),
    ] {
        send(method, &path, body).fails(ErrorCode::PreconditionFailed, "revision is 1");
    }
    assert_eq!(server.admin.get(&k).header("etag"), "\"1\"");
}

#[test]
fn of_two_changes_at_once_none_is_lost() {
    let server = TestServer::start();
    server.admin.key(json!({ "name": "k" }));
    let done: usize = std::thread::scope(|s| {
        let threads: Vec<_> = (0..4)
            .map(|t| {
                let admin = &server.admin;
                s.spawn(move || {
                    let change =
                        |n: i32| admin.patch(&at("k"), json!({ "labels": { format!("{t}-{n}"): "x" } })).status;
                    (0..10).map(change).filter(|status| *status == 200).count()
                })
            })
            .collect();
        threads.into_iter().map(|t| t.join().unwrap()).sum()
    });
    let labels = server.admin.get(&at("k")).ok(200)["labels"].as_object().unwrap().len();
    assert_eq!(labels, done, "each accepted change is there, each refused one is not");
    assert!(done >= 10);
}

#[test]
fn versions_are_made_numbered_and_used_by_number() {
    let server = TestServer::start();
    server.admin.key(json!({ "name": "k" }));
    let old = server.admin.encrypt("k", "old");
    server.advance(60);
    let second = server.admin.post(&format!("{}/versions", at("k")), json!({})).ok(201);
    assert_eq!((&second["version"], &second["versionsCount"]), (&json!(1), &json!(2)));
    let imported = json!({ "material": "ab".repeat(32), "includeMaterial": true });
    let third = server.admin.post(&format!("{}/rotate", at("k")), imported).ok(201);
    assert_eq!((&third["version"], &third["material"]), (&json!(2), &json!("ab".repeat(32))));
    assert_eq!(third["id"], server.admin.get(&at("k")).ok(200)["id"]);
    let listed = server.admin.get(&format!("{}/versions", at("k"))).ok(200);
    let numbers: Vec<_> = listed["resources"].as_array().unwrap().iter().map(|v| v["version"].clone()).collect();
    assert_eq!(numbers, [0, 1, 2]);
    let fingerprints: std::collections::HashSet<_> =
        listed["resources"].as_array().unwrap().iter().map(|v| v["sha256Fingerprint"].to_string()).collect();
    assert_eq!(fingerprints.len(), 3);
    for (query, version) in [("", 2), ("?version=-1", 2), ("?version=0", 0), ("?version=1", 1)] {
        assert_eq!(server.admin.get(&format!("{}{query}", at("k"))).ok(200)["version"], version);
    }
    server.admin.get(&format!("{}?version=3", at("k"))).fails(ErrorCode::NotFound, "version");
    server.admin.get(&format!("{}?version=-2", at("k"))).fails(ErrorCode::NotFound, "version");
    assert_eq!(old["version"], 0);
    assert_eq!(server.admin.decrypt(&old), "old");
    assert_eq!(server.admin.encrypt("k", "new")["version"], 2);
    let exported = server.admin.post(&format!("{}/export", at("k")), json!({ "version": 2 })).ok(200);
    assert_eq!(exported["material"], "ab".repeat(32));
    let used = server.admin.get(&format!("{}?version=0", at("k"))).ok(200);
    assert_eq!(used["lastUsedAt"], "2026-01-01T00:01:00.000000000Z");
}

#[test]
fn the_last_use_of_a_version_is_known_after_a_stop() {
    let mut server = TestServer::start();
    server.admin.key(json!({ "name": "k" }));
    server.admin.key(json!({ "name": "never" }));
    let old = server.admin.encrypt("k", "old");
    server.admin.post(&format!("{}/versions", at("k")), json!({})).ok(201);
    let used = |server: &TestServer, version: u32| {
        let shown = server.admin.get(&format!("{}?version={version}", at("k"))).ok(200);
        shown.get("lastUsedAt").cloned().unwrap_or(Value::Null)
    };
    server.tick();
    // What a stop without warning leaves is the note of the minute.
    let core = server.app().core().unwrap();
    let counters = core.store.count(keyark_model::DomainId::ROOT, keyark_model::Kind::Counter).unwrap().records;
    let entries = core.store.head().seq;
    assert_eq!(counters, 1);
    server.advance(3600);
    server.admin.renew();
    assert_eq!(server.admin.decrypt(&old), "old");
    let before = core.store.head().seq;
    server.tick();
    assert_eq!(core.store.head().seq, before, "a version that is used all day is noted once ({entries})");
    drop(core);
    server.restart();
    assert_eq!(used(&server, 0), "2026-01-01T01:00:00.000000000Z", "a stop notes the rest");
    assert_eq!(used(&server, 1), Value::Null);
    assert!(server.admin.get(&at("never")).ok(200).get("lastUsedAt").is_none());
    let listed = server.admin.get("/v1/vault/keys2?name=k").ok(200);
    assert!(listed["resources"][0].get("lastUsedAt").is_none(), "the list shows the newest version");
}

#[test]
fn a_clone_is_a_key_of_its_own_with_the_same_material() {
    let server = TestServer::start();
    let source = json!({ "name": "k", "labels": { "a": "1" }, "description": "d", "usageMask": 12, "meta": { "x": 1 },
        "aliases": [{ "alias": "other" }] });
    server.admin.key(source);
    let made = server.admin.encrypt("k", "kept");
    server.admin.post(&format!("{}/versions", at("k")), json!({})).ok(201);
    let clone = |body: Value| server.admin.post(&format!("{}/clone", at("k")), body);
    let copy = clone(json!({ "newKeyName": "copy", "version": 0, "includeMaterial": true })).ok(201);
    let material = server.admin.post(&format!("{}/export", at("copy")), json!({})).ok(200)["material"].clone();
    assert_eq!(copy["material"], material);
    let first = server.admin.get(&format!("{}?version=0", at("k"))).ok(200);
    assert_ne!(copy["id"], first["id"]);
    for field in
        ["sha256Fingerprint", "keyCheckValue", "labels", "description", "usageMask", "meta", "state", "algorithm"]
    {
        assert_eq!(copy[field], first[field], "{field}");
    }
    assert_eq!((&copy["versionsCount"], copy.get("aliases")), (&json!(1), None));
    assert_eq!(copy["keyCheckValue"].as_str().unwrap(), &copy["sha256Fingerprint"].as_str().unwrap()[..6]);
    let mut by_copy = made.clone();
    by_copy["id"] = json!("copy");
    assert_eq!(server.admin.decrypt(&by_copy), "kept");
    let newest = clone(json!({ "meta": { "y": 2 } })).ok(201);
    assert_eq!(newest["meta"], json!({ "y": 2 }));
    assert_ne!(newest["sha256Fingerprint"], copy["sha256Fingerprint"]);
    clone(json!({ "newKeyName": "copy" })).fails(ErrorCode::KeyAlreadyExists, "taken");
    clone(json!({ "version": 9 })).fails(ErrorCode::NotFound, "version");
    server.admin.patch(&at("k"), json!({ "unexportable": true })).ok(200);
    clone(json!({ "includeMaterial": true })).fails(ErrorCode::Unexportable, "");
    assert_eq!(clone(json!({})).ok(201)["unexportable"], true, "a copy does not get out either");
    server.admin.post(&format!("{}/revoke", at("k")), json!({ "reason": "KeyCompromise" })).ok(200);
    clone(json!({})).fails(ErrorCode::KeyState, "Compromised");
}

#[test]
fn a_version_and_its_copies_together_encrypt_no_more_than_one_may() {
    use keyark_model::system::CounterHeader;
    let server = TestServer::start();
    let id = server.admin.key(json!({ "name": "k" }))["id"].as_str().unwrap().to_owned();
    server.admin.encrypt("k", "x");
    let copy = server.admin.post(&format!("{}/clone", at("k")), json!({ "newKeyName": "c" })).ok(201);
    server.admin.encrypt("c", "x");
    server.admin.encrypt("k", "x");
    let core = server.app().core().unwrap();
    let reserved = |id: &str| {
        let stored = core.load::<CounterHeader>(keyark_model::DomainId::ROOT, id.parse().unwrap()).unwrap();
        stored.header.reserved[&0]
    };
    let left = |id: &str| (1_u64 << 31) - reserved(id);
    let used_by_then = 1 << 12;
    assert!(left(&id) + left(copy["id"].as_str().unwrap()) + used_by_then <= 1 << 31);
    assert!(reserved(&id) > 1 << 30);
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
fn a_replaced_version_protects_no_more_if_so_asked() {
    let server = TestServer::start();
    for (state, name) in [("ProtectStop", "stop"), ("Deactivated", "deactivated")] {
        server.admin.key(json!({ "name": name }));
        let old = server.admin.encrypt(name, "old");
        server.admin.post(&format!("{}/versions", at(name)), json!({ "replacedState": state })).ok(201);
        let body = json!({ "id": name, "version": 0, "plaintext": base64("x") });
        server.admin.post("/v1/crypto/encrypt", body).fails(ErrorCode::KeyState, "cannot encrypt");
        assert_eq!(server.admin.decrypt(&old), "old");
    }
    assert_eq!(server.admin.get(&format!("{}?version=0", at("deactivated"))).ok(200)["state"], "Deactivated");
    let wrong = server.admin.post(&format!("{}/versions", at("stop")), json!({ "replacedState": "Gone" }));
    wrong.fails(ErrorCode::InvalidParam, "ProtectStop or Deactivated");
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

#[test]
fn unexportable_never_leaves_and_is_not_taken_back() {
    let server = TestServer::start();
    server.admin.key(json!({ "name": "kek" }));
    server.admin.key(json!({ "name": "k" }));
    let export = format!("{}/export", at("k"));
    server.admin.post(&export, json!({})).ok(200);
    server.admin.patch(&at("k"), json!({ "unexportable": true })).ok(200);
    server.admin.post(&export, json!({})).fails(ErrorCode::Unexportable, "unexportable");
    server.admin.post(&export, json!({ "wrapKeyName": "kek" })).fails(ErrorCode::Unexportable, "unexportable");
    server.admin.patch(&at("k"), json!({ "unexportable": false })).fails(ErrorCode::InvalidParam, "taken back");
    let version = json!({ "includeMaterial": true });
    let refused = server.admin.post(&format!("{}/versions", at("k")), version);
    refused.fails(ErrorCode::Unexportable, "");
    assert_eq!(server.admin.get(&at("k")).ok(200)["versionsCount"], 1, "a refused version is not made");
    assert_eq!(server.admin.decrypt(&server.admin.encrypt("k", "x")), "x");
}

#[test]
fn private_keys_leave_as_pkcs1_and_pkcs8() {
    let server = TestServer::start();
    for (name, fields, formats) in [
        ("rsa", json!({ "algorithm": "RSA", "size": 2048 }), ["pkcs1", "pkcs8"].as_slice()),
        ("ec", json!({ "algorithm": "EC", "curveid": "secp256r1" }), &["pkcs8"]),
    ] {
        let made = server.admin.key(with(json!({ "name": name }), fields.clone()));
        for &format in formats {
            let export = format!("{}/export", at(name));
            let exported = server.admin.post(&export, json!({ "format": format })).ok(200);
            let begin =
                if format == "pkcs1" { "-----BEGIN RSA PRIVATE KEY-----" } else { "-----BEGIN PRIVATE KEY-----" };
            assert!(exported["material"].as_str().unwrap().starts_with(begin), "{name} {format}");
            let import = with(fields.clone(), json!({ "material": exported["material"], "format": format }));
            assert_eq!(server.admin.key(import)["sha256Fingerprint"], made["sha256Fingerprint"], "{name} {format}");
        }
    }
    server.admin.post(&format!("{}/export", at("ec")), json!({ "format": "pkcs1" })).fails(ErrorCode::InvalidParam, "");
}

#[test]
fn a_fingerprint_says_nothing_of_what_the_key_encrypts() {
    let server = TestServer::start();
    let made = server.admin.key(json!({ "material": "00".repeat(32) }));
    let same = server.admin.key(json!({ "material": "00".repeat(32) }));
    let fingerprint = made["sha256Fingerprint"].as_str().unwrap();
    assert_eq!(fingerprint, same["sha256Fingerprint"], "it follows from the key alone");
    // AES-256 of a block of zeros under a key of zeros, as a check value of three or more bytes would show it.
    assert!(!fingerprint.starts_with("dc95c0"), "{fingerprint}");
}

#[test]
fn only_unexportable_forbids_an_export() {
    let server = TestServer::start();
    // Programs written for this API make keys with the mask 12 and export them.
    server.admin.key(json!({ "name": "k", "usageMask": 12 }));
    server.admin.post(&format!("{}/export", at("k")), json!({})).ok(200);
}
