//! Cryptography with keys: every operation with every kind of key, batches, and what must fail.

use keyark_api::ErrorCode;
use keyark_model::key::{KeySpec, Operation};
use keyark_testkit::client::{base64, text};
use keyark_testkit::{Answer, Client, TestServer};
use serde_json::{Value, json};

use crate::keys::{asked, with};

/// The operations on offer, with the path of each.
const OPERATIONS: [(Operation, &str); 11] = [
    (Operation::Encrypt, "encrypt"),
    (Operation::Decrypt, "decrypt"),
    (Operation::DataKey, "datakey"),
    (Operation::Sign, "sign"),
    (Operation::Verify, "verify"),
    (Operation::Mac, "mac"),
    (Operation::MacVerify, "macv"),
    (Operation::Wrap, "wrap"),
    (Operation::Unwrap, "unwrap"),
    (Operation::Encapsulate, "encapsulate"),
    (Operation::Decapsulate, "decapsulate"),
];

fn post(client: &Client, verb: &str, body: Value) -> Answer {
    client.post(&format!("/v1/crypto/{verb}"), body)
}

/// Does something with a key and undoes or checks it; panics when what comes back is not what went in.
fn round_trip(client: &Client, key: &str, operation: Operation) {
    let done = |verb: &str, body: Value| post(client, verb, with(json!({ "id": key }), body)).ok(200);
    match operation {
        Operation::Encrypt | Operation::Decrypt => {
            let made = done("encrypt", json!({ "plaintext": base64("hello") }));
            assert_eq!(done("decrypt", made)["plaintext"], base64("hello"));
        }
        Operation::DataKey => {
            let mut made = done("datakey", json!({ "size": 192 }));
            let plaintext = made.as_object_mut().unwrap().remove("plaintext").unwrap();
            assert_eq!(plaintext.as_str().unwrap().len(), 32);
            assert_eq!(done("decrypt", made)["plaintext"], plaintext);
        }
        Operation::Sign | Operation::Verify => {
            let made = done("sign", json!({ "data": base64("hello") }));
            for (data, verified) in [("hello", true), ("hullo", false)] {
                let checked = done("verify", json!({ "data": base64(data), "signature": made["signature"] }));
                assert_eq!(checked["verified"], verified);
            }
        }
        Operation::Mac | Operation::MacVerify => {
            let made = done("mac", json!({ "data": base64("hello") }));
            for (data, verified) in [("hello", true), ("hullo", false)] {
                let checked = done("macv", json!({ "data": base64(data), "mac": made["mac"] }));
                assert_eq!(checked["verified"], verified);
            }
        }
        Operation::Wrap | Operation::Unwrap => {
            let made = done("wrap", json!({ "material": base64([7; 32]) }));
            assert_eq!(done("unwrap", json!({ "wrapped": made["wrapped"] }))["material"], base64([7; 32]));
        }
        Operation::Encapsulate | Operation::Decapsulate => {
            let made = done("encapsulate", json!({}));
            let opened = done("decapsulate", json!({ "ciphertext": made["ciphertext"] }));
            assert_eq!(opened["sharedSecret"], made["sharedSecret"]);
        }
        Operation::Agree | Operation::Tokenize | Operation::Detokenize | Operation::Export => {
            panic!("{operation} is not on offer under /v1/crypto")
        }
    }
}

/// What a kind of key is able to do at all.
fn able(spec: KeySpec, operation: Operation) -> bool {
    use keyark_model::key::Algorithm::{
        Aes, ChaCha20Poly1305, Ec, Ed25519, HmacSha256, HmacSha384, HmacSha512, MlKem768, MlKem1024, Rsa, X25519,
    };
    match spec.algorithm() {
        // The library wraps with 128 and 256 bits only.
        Aes if spec.size() == 192 => {
            matches!(operation, Operation::Encrypt | Operation::Decrypt | Operation::DataKey)
        }
        Aes => matches!(
            operation,
            Operation::Encrypt | Operation::Decrypt | Operation::DataKey | Operation::Wrap | Operation::Unwrap
        ),
        ChaCha20Poly1305 => matches!(operation, Operation::Encrypt | Operation::Decrypt | Operation::DataKey),
        HmacSha256 | HmacSha384 | HmacSha512 => matches!(operation, Operation::Mac | Operation::MacVerify),
        Rsa => !matches!(
            operation,
            Operation::Mac | Operation::MacVerify | Operation::Encapsulate | Operation::Decapsulate
        ),
        Ec | Ed25519 => matches!(operation, Operation::Sign | Operation::Verify),
        MlKem768 | MlKem1024 | X25519 => matches!(operation, Operation::Encapsulate | Operation::Decapsulate),
    }
}

#[test]
fn every_operation_with_every_kind_of_key() {
    let server = TestServer::start();
    for &spec in KeySpec::ALL {
        let id = text(&server.admin.key(with(asked(spec), json!({ "usageMask": 4_194_303 }))), "id");
        for (operation, verb) in OPERATIONS {
            if able(spec, operation) {
                round_trip(&server.admin, &id, operation);
                continue;
            }
            let body = json!({ "id": id, "plaintext": "", "data": "", "mac": "", "signature": "", "iv": base64([0; 12]),
                "tag": base64([0; 16]), "ciphertext": "", "material": base64([7; 32]), "wrapped": base64([7; 40]) });
            let fields: &[&str] = match operation {
                Operation::Encrypt => &["plaintext"],
                Operation::Decrypt => &["ciphertext", "iv", "tag"],
                Operation::Sign | Operation::Mac => &["data"],
                Operation::Verify => &["data", "signature"],
                Operation::MacVerify => &["data", "mac"],
                Operation::Wrap => &["material"],
                Operation::Unwrap => &["wrapped"],
                Operation::Decapsulate => &["ciphertext"],
                _ => &[],
            };
            let mut small = json!({ "id": id });
            for field in fields {
                small[field] = body[field].clone();
            }
            let answer = post(&server.admin, verb, small);
            let code = answer.json["code"].as_u64().unwrap_or_default();
            assert!([9, 1013].contains(&code), "{spec} {operation}: {answer}");
        }
    }
}

#[test]
fn the_usage_mask_is_asked_for_every_operation() {
    let server = TestServer::start();
    for &spec in KeySpec::ALL {
        for (operation, verb) in OPERATIONS.into_iter().filter(|(o, _)| able(spec, *o)) {
            let mask = spec.allowed_usage().without(operation.bit()).bits();
            // RSA keys take long to make: one of them stands for all.
            if spec.size() > 2048 {
                continue;
            }
            let id = text(&server.admin.key(with(asked(spec), json!({ "usageMask": mask }))), "id");
            let answer = post(&server.admin, verb, json!({ "id": id }));
            answer.fails(ErrorCode::KeyState, "usageMask does not allow");
        }
    }
}

#[test]
fn associated_data_is_authenticated() {
    let server = TestServer::start();
    for algorithm in ["AES", "ChaCha20-Poly1305"] {
        let id = text(&server.admin.key(json!({ "algorithm": algorithm })), "id");
        let body = json!({ "id": id, "plaintext": base64("x"), "aad": base64("for you") });
        let made = post(&server.admin, "encrypt", body).ok(200);
        let with_aad = with(made.clone(), json!({ "aad": base64("for you") }));
        assert_eq!(post(&server.admin, "decrypt", with_aad).ok(200)["plaintext"], base64("x"));
        post(&server.admin, "decrypt", made.clone()).fails(ErrorCode::CryptoFailed, "");
        let other = with(made, json!({ "aad": base64("for me") }));
        post(&server.admin, "decrypt", other).fails(ErrorCode::CryptoFailed, "");
    }
}

#[test]
fn whatever_is_altered_does_not_open_and_the_answer_says_no_more() {
    let server = TestServer::start();
    let id = text(&server.admin.key(json!({})), "id");
    let made = server.admin.encrypt(&id, "hello");
    let mut messages = std::collections::HashSet::new();
    for field in ["iv", "tag", "ciphertext"] {
        let bytes = base64_simd::STANDARD.decode_to_vec(text(&made, field)).unwrap();
        for at in 0..bytes.len() {
            let mut altered = bytes.clone();
            altered[at] ^= 1;
            let answer = post(&server.admin, "decrypt", with(made.clone(), json!({ field: base64(altered) })));
            answer.fails(ErrorCode::CryptoFailed, "");
            messages.insert(answer.text("message"));
        }
    }
    let other = text(&server.admin.key(json!({})), "id");
    let answer = post(&server.admin, "decrypt", with(made.clone(), json!({ "id": other })));
    answer.fails(ErrorCode::CryptoFailed, "");
    messages.insert(answer.text("message"));
    assert_eq!(messages.len(), 1, "one text for all causes: {messages:?}");
    for (field, value) in [("iv", base64([0; 11])), ("tag", base64([0; 15])), ("ciphertext", "?".into())] {
        post(&server.admin, "decrypt", with(made.clone(), json!({ field: value })))
            .fails(ErrorCode::InvalidParam, field);
    }
    assert_eq!(server.admin.decrypt(&made), "hello");
}

#[test]
fn what_is_not_offered_is_refused_by_name() {
    let server = TestServer::start();
    server.admin.key(json!({ "name": "aes" }));
    server.admin.key(json!({ "name": "rsa", "algorithm": "RSA", "size": 2048 }));
    server.admin.key(json!({ "name": "ec", "algorithm": "EC", "curveid": "secp384r1" }));
    let x = base64("x");
    for (verb, body, code, says) in [
        ("encrypt", json!({ "id": "aes" }), ErrorCode::InvalidParam, "plaintext is missing"),
        ("encrypt", json!({ "id": "aes", "plaintext": "no base64" }), ErrorCode::InvalidParam, "base64"),
        ("encrypt", json!({ "id": "aes", "plaintext": x, "mode": "cbc" }), ErrorCode::InvalidParam, "mode is gcm"),
        ("encrypt", json!({ "id": "aes", "plaintext": x, "iv": base64([0; 12]) }), ErrorCode::BadRequest, "iv"),
        ("encrypt", json!({ "id": "aes", "plaintext": x, "version": 4 }), ErrorCode::NotFound, "version"),
        ("encrypt", json!({ "id": "none", "plaintext": x }), ErrorCode::NotFound, "not found"),
        ("encrypt", json!({ "plaintext": x }), ErrorCode::BadRequest, "id"),
        ("encrypt", json!({ "id": "aes", "type": "colour", "plaintext": x }), ErrorCode::InvalidParam, "type"),
        ("encrypt", json!({ "id": "rsa", "plaintext": x, "pad": "pkcs1" }), ErrorCode::InvalidParam, "oaep256"),
        ("encrypt", json!({ "id": "rsa", "plaintext": base64([0; 300]) }), ErrorCode::TooLarge, ""),
        ("sign", json!({ "id": "rsa", "data": x, "hashAlgo": "SHA1" }), ErrorCode::InvalidParam, "SHA-256"),
        ("sign", json!({ "id": "rsa", "data": x, "pad": "none" }), ErrorCode::InvalidParam, "PSS or PKCS1"),
        ("sign", json!({ "id": "ec", "data": x, "hashAlgo": "SHA-256" }), ErrorCode::InvalidParam, "SHA384"),
        ("sign", json!({ "id": "ec", "data": x, "format": "raw" }), ErrorCode::InvalidParam, "p1363"),
        ("datakey", json!({ "id": "aes", "size": 100 }), ErrorCode::InvalidParam, "128, 192 or 256"),
        ("wrap", json!({ "id": "aes" }), ErrorCode::InvalidParam, "material is missing"),
        ("unwrap", json!({ "id": "aes", "wrapped": base64([7; 40]) }), ErrorCode::CryptoFailed, ""),
        ("random", json!({ "bytes": 0 }), ErrorCode::InvalidParam, "65536"),
        ("random", json!({ "bytes": 65_537 }), ErrorCode::InvalidParam, "65536"),
        ("random", json!({ "encoding": "utf8" }), ErrorCode::InvalidParam, "base64 or hex"),
    ] {
        post(&server.admin, verb, body).fails(code, says);
    }
}

#[test]
fn signatures_in_every_form() {
    let server = TestServer::start();
    server.admin.key(json!({ "name": "rsa", "algorithm": "RSA", "size": 2048 }));
    server.admin.key(json!({ "name": "ec", "algorithm": "EC", "curveid": "secp256r1" }));
    let data = base64("hello");
    let mut forms = vec![json!({ "id": "ec" }), json!({ "id": "ec", "format": "p1363" })];
    for pad in ["PSS", "PKCS1"] {
        for hash in ["SHA-256", "SHA-384", "sha512"] {
            forms.push(json!({ "id": "rsa", "pad": pad, "hashAlgo": hash }));
        }
    }
    for form in &forms {
        let made = post(&server.admin, "sign", with(form.clone(), json!({ "data": data }))).ok(200);
        let hex: String = base64_simd::STANDARD
            .decode_to_vec(text(&made, "signature"))
            .unwrap()
            .iter()
            .map(|b| format!("{b:02x}"))
            .collect();
        assert_eq!(made["data"], hex);
        for other in forms.iter().filter(|o| o["id"] == form["id"]) {
            let check = with(other.clone(), json!({ "data": data, "signature": made["signature"] }));
            let verified = post(&server.admin, "signv", check).ok(200)["verified"].clone();
            assert_eq!(verified, other == form, "{form} as {other}");
        }
    }
}

#[test]
fn a_batch_has_a_result_per_item() {
    let server = TestServer::start();
    let id = text(&server.admin.key(json!({})), "id");
    let items: Vec<_> = ["a", "b", "c"].iter().map(|p| json!({ "plaintext": base64(p) })).collect();
    let made = post(&server.admin, "encrypt", json!({ "id": id, "aad": base64("shared"), "items": items })).ok(200);
    let mut made: Vec<Value> = made["items"].as_array().unwrap().clone();
    assert_eq!(made.len(), 3);
    made[1]["tag"] = base64([0; 16]).into();
    for item in &mut made {
        item.as_object_mut().unwrap().remove("id");
    }
    made.push(json!({ "ciphertext": "?" }));
    let opened = post(&server.admin, "decrypt", json!({ "id": id, "aad": base64("shared"), "items": made })).ok(200);
    let opened = opened["items"].as_array().unwrap();
    assert_eq!((&opened[0]["plaintext"], &opened[2]["plaintext"]), (&json!(base64("a")), &json!(base64("c"))));
    assert_eq!(opened[1]["error"]["code"], 106);
    assert_eq!(opened[3]["error"]["code"], 9);
    assert!(opened[1]["error"]["requestID"].is_string());
    // Items may name versions of their own.
    server.admin.post(&format!("/v1/vault/keys2/{id}/versions"), json!({})).ok(201);
    let items = json!([{ "version": 0 }, { "version": 1 }, {}, { "version": 2 }]);
    let made = post(&server.admin, "encrypt", json!({ "id": id, "plaintext": base64("x"), "items": items })).ok(200);
    let versions: Vec<_> = made["items"].as_array().unwrap().iter().map(|i| i["version"].clone()).collect();
    assert_eq!(versions, [json!(0), json!(1), json!(1), Value::Null]);
}

#[test]
fn a_batch_has_at_most_5000_items() {
    let server = TestServer::start();
    let id = text(&server.admin.key(json!({})), "id");
    let batch = |n: usize| {
        let items = vec![json!({ "plaintext": "" }); n];
        post(&server.admin, "encrypt", json!({ "id": id, "items": items }))
    };
    let made = batch(5000).ok(200);
    let ivs: std::collections::HashSet<String> =
        made["items"].as_array().unwrap().iter().map(|i| text(i, "iv")).collect();
    assert_eq!(ivs.len(), 5000, "no nonce comes twice");
    batch(5001).fails(ErrorCode::TooLarge, "5000");
    batch(0).fails(ErrorCode::InvalidParam, "empty");
}

#[test]
fn reencrypt_moves_to_the_newest_version() {
    let server = TestServer::start();
    let id = text(&server.admin.key(json!({})), "id");
    let body = json!({ "id": id, "plaintext": base64("x"), "aad": base64("a") });
    let old = post(&server.admin, "encrypt", body).ok(200);
    let rotate = json!({ "replacedState": "Deactivated" });
    server.admin.post(&format!("/v1/vault/keys2/{id}/versions"), rotate).ok(201);
    let moved = post(&server.admin, "reencrypt", with(old.clone(), json!({ "aad": base64("a") }))).ok(200);
    assert_eq!((&old["version"], &moved["version"]), (&json!(0), &json!(1)));
    assert!(moved.get("plaintext").is_none());
    let opened = post(&server.admin, "decrypt", with(moved, json!({ "aad": base64("a") }))).ok(200);
    assert_eq!(opened["plaintext"], base64("x"));
    post(&server.admin, "reencrypt", old).fails(ErrorCode::CryptoFailed, "");
}

#[test]
fn a_data_key_may_come_without_its_plaintext() {
    let server = TestServer::start();
    let id = text(&server.admin.key(json!({})), "id");
    for (size, bytes) in [(128, 16), (192, 24), (256, 32)] {
        let made = post(&server.admin, "datakey", json!({ "id": id, "size": size, "includePlaintext": false })).ok(200);
        assert!(made.get("plaintext").is_none());
        let opened = post(&server.admin, "decrypt", made).ok(200);
        assert_eq!(base64_simd::STANDARD.decode_to_vec(text(&opened, "plaintext")).unwrap().len(), bytes);
    }
}

#[test]
fn a_decapsulation_of_rubbish_is_no_oracle() {
    let server = TestServer::start();
    let id = text(&server.admin.key(json!({ "algorithm": "ML-KEM-768" })), "id");
    let made = post(&server.admin, "encapsulate", json!({ "id": id })).ok(200);
    let mut bytes = base64_simd::STANDARD.decode_to_vec(text(&made, "ciphertext")).unwrap();
    bytes[100] ^= 1;
    // FIPS 203, 6.3: a wrong ciphertext gives another secret, not an error.
    let other = post(&server.admin, "decapsulate", json!({ "id": id, "ciphertext": base64(&bytes) })).ok(200);
    assert_ne!(other["sharedSecret"], made["sharedSecret"]);
    let short = post(&server.admin, "decapsulate", json!({ "id": id, "ciphertext": base64(&bytes[1..]) }));
    assert_eq!(short.status, 400, "{short}");
}

#[test]
fn random_bytes_are_as_many_as_asked() {
    let server = TestServer::start();
    let default = post(&server.admin, "random", json!({})).ok(200);
    assert_eq!(base64_simd::STANDARD.decode_to_vec(text(&default, "data")).unwrap().len(), 32);
    let hex = post(&server.admin, "random", json!({ "bytes": 65_536, "encoding": "hex" })).ok(200);
    assert_eq!(text(&hex, "data").len(), 131_072);
    assert_ne!(default, post(&server.admin, "random", json!({})).ok(200));
}

#[test]
fn a_key_is_named_by_id_name_or_alias_and_a_version_pins_it() {
    let server = TestServer::start();
    let made = server.admin.key(json!({ "name": "name", "aliases": [{ "alias": "alias" }] }));
    let id = text(&made, "id");
    let old = server.admin.encrypt(&id, "old");
    server.admin.post("/v1/vault/keys2/name/versions", json!({})).ok(201);
    for (named, kind) in [(id.as_str(), "id"), ("name", "name"), ("alias", "alias")] {
        for kind in [json!({}), json!({ "type": kind })] {
            let body = with(json!({ "id": named, "plaintext": base64("x") }), kind.clone());
            let sealed = post(&server.admin, "encrypt", body).ok(200);
            assert_eq!((&sealed["id"], &sealed["version"]), (&json!(id), &json!(1)), "{named} {kind}");
            let mut opened = old.clone();
            opened["id"] = named.into();
            let opened = with(opened, kind);
            assert_eq!(post(&server.admin, "decrypt", opened.clone()).ok(200)["plaintext"], base64("old"));
            let newer = with(opened, json!({ "version": 1 }));
            post(&server.admin, "decrypt", newer).fails(ErrorCode::CryptoFailed, "");
        }
    }
    for (named, kind) in [("name", "alias"), ("alias", "name"), ("name", "id")] {
        let body = json!({ "id": named, "type": kind, "plaintext": base64("x") });
        post(&server.admin, "encrypt", body).fails(ErrorCode::NotFound, "not found");
    }
}

#[test]
fn a_version_encrypts_two_to_the_31_times_and_then_says_rotate() {
    use keyark_model::system::CounterHeader;
    use keyark_model::{DomainId, Id, Kind};
    let mut server = TestServer::start();
    let id = text(&server.admin.key(json!({ "name": "k" })), "id");
    let made = server.admin.encrypt("k", "old");
    // What a version that has been used for years has on disk: all but one reservation.
    {
        let core = server.app().core().unwrap();
        let key: Id = id.parse().unwrap();
        let stored = core.load::<CounterHeader>(DomainId::ROOT, key).unwrap();
        let header = CounterHeader { reserved: [(0, (1 << 31) - 1000)].into(), ..stored.header.clone() };
        let write = core.put(DomainId::ROOT, key, stored.revision() + 1, &header, b"").unwrap();
        assert_eq!(write.key(), (Kind::Counter, key));
        core.commit_as_system(server.now(), DomainId::ROOT, "test", vec![], vec![write]).unwrap();
    }
    server.restart();
    let encrypt = || server.admin.post("/v1/crypto/encrypt", json!({ "id": "k", "plaintext": base64("x") }));
    encrypt().fails(ErrorCode::UsageLimit, "rotate the key");
    server.admin.post("/v1/crypto/datakey", json!({ "id": "k" })).fails(ErrorCode::UsageLimit, "rotate the key");
    assert_eq!(server.admin.decrypt(&made), "old", "what it encrypted still opens");
    server.admin.post("/v1/vault/keys2/k/versions", json!({})).ok(201);
    assert_eq!(encrypt().ok(200)["version"], 1);
    let old = json!({ "id": "k", "version": 0, "plaintext": base64("x") });
    server.admin.post("/v1/crypto/encrypt", old).fails(ErrorCode::UsageLimit, "rotate the key");
}
