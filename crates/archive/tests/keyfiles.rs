//! The exported backup key: what shows without the passphrase, what opens it, and what is refused.

mod samples;

use keyark_archive::Scope;
use keyark_archive::keyfile::{KeyFileError, KeyFileInfo, keyfile_export, keyfile_inspect, keyfile_open};
use keyark_archive::passphrase;
use keyark_crypto::jwe::{self, JweError};
use samples::{KEY_ID, Maker, NOW, domain};
use serde_json::{Value, json};

fn info() -> KeyFileInfo {
    KeyFileInfo {
        version: 2,
        keyid: KEY_ID.parse().unwrap(),
        created_at: NOW,
        scope: Scope::Domain,
        domain_id: Some(domain(4)),
        hint: Some("in the safe".into()),
    }
}

#[test]
fn an_exported_key_comes_back_with_its_anchor() {
    let maker = Maker::new();
    let phrase = passphrase::generate();
    let text = keyfile_export(&info(), &maker.key, &maker.anchor(), phrase.expose());
    assert_eq!(keyfile_inspect(&text).unwrap(), info());
    for typed in [phrase.expose().clone(), phrase.expose().to_lowercase().replace('-', "")] {
        let opened = keyfile_open(&text, &typed).unwrap();
        assert_eq!((opened.key.expose(), &opened.info), (maker.key.expose(), &info()));
        assert_eq!(opened.anchor, maker.anchor());
    }
    let mut slip = phrase.expose().clone().into_bytes();
    slip[11] = if slip[11] == b'7' { b'8' } else { b'7' };
    let error = keyfile_open(&text, std::str::from_utf8(&slip).unwrap()).err().unwrap();
    assert_eq!(error.to_string(), "the passphrase has a typing slip in group 3; look at it again");
    let other = passphrase::generate();
    assert!(matches!(keyfile_open(&text, other.expose()), Err(KeyFileError::Jwe(JweError::WrongPassword))));
}

#[test]
fn a_passphrase_of_ones_own_is_used_as_it_is() {
    let maker = Maker::new();
    // The second has the shape of a generated passphrase with wrong check digits, the third even with right ones.
    for own in ["correct horse", "ABCDEFGHJKMNPQRSTVWXYZ234568", "ABCDEFGHJKMNPQRSTVWXYZ234567"] {
        let text = keyfile_export(&info(), &maker.key, &maker.anchor(), own);
        assert!(keyfile_open(&text, own).is_ok());
    }
}

#[test]
fn other_files_and_contradictions_are_refused() {
    let maker = Maker::new();
    let file =
        |header: Value, payload: Value| jwe::encrypt(b"p", header.as_object().unwrap(), payload.to_string().as_bytes());
    let key = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";
    let header =
        json!({"typ": "keyark-backup-key", "version": 2, "keyid": KEY_ID, "createdAt": NOW, "scope": "system"});
    let anchor = serde_json::to_value(maker.anchor()).unwrap();
    let payload =
        json!({"version": 2, "id": KEY_ID, "createdAt": NOW, "scope": "system", "key": key, "anchor": anchor});
    let with = |base: &Value, name: &str, value: Value| {
        let mut changed = base.clone();
        changed[name] = value;
        changed
    };
    assert!(keyfile_open(&file(header.clone(), payload.clone()), "p").is_ok());
    let other = json!("00000000-0000-0000-0000-000000000001");
    let open = |h: Value, p: Value| keyfile_open(&file(h, p), "p").err().unwrap();
    assert!(matches!(open(with(&header, "keyid", other.clone()), payload.clone()), KeyFileError::Contradicts));
    assert!(matches!(open(header.clone(), with(&payload, "scope", json!("domain"))), KeyFileError::Contradicts));
    assert!(matches!(open(with(&header, "version", json!(3)), payload.clone()), KeyFileError::NewerVersion(3)));
    assert!(matches!(open(with(&header, "typ", json!("JWT")), payload.clone()), KeyFileError::NotAKeyFile(_)));
    assert!(matches!(open(with(&header, "domainID", other), payload.clone()), KeyFileError::NotAKeyFile(_)));
    assert!(matches!(open(header.clone(), with(&payload, "key", json!("AAAA"))), KeyFileError::NotAKeyFile(_)));
    let mut damaged = anchor.clone();
    damaged["keys"][0]["keyId"] = json!("00");
    assert!(matches!(open(header.clone(), with(&payload, "anchor", damaged)), KeyFileError::Anchor(_)));
    assert!(matches!(keyfile_inspect("no file"), Err(KeyFileError::Jwe(JweError::Malformed(_)))));
}

#[test]
fn the_file_shows_neither_key_nor_anchor() {
    let maker = Maker::new();
    let text = keyfile_export(&info(), &maker.key, &maker.anchor(), "correct horse");
    let shown = Value::Object(jwe::protected_header(&text).unwrap()).to_string();
    assert!(!shown.contains(&maker.system.to_string()) && shown.contains("in the safe"));
    assert_ne!(text, keyfile_export(&info(), &maker.key, &maker.anchor(), "correct horse"));
}
