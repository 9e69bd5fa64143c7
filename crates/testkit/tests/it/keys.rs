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
