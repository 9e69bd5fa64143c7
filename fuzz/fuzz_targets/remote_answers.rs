//! Fuzzes what other machines and people say about where archives go: keys of hosts, answers of object stores, signatures of Azure.

#![no_main]

use libfuzzer_sys::fuzz_target;

use keyark_backup::destination::{Credentials, objects};
use keyark_backup::ssh::{fingerprint, host_keys};

fuzz_target!(|bytes: &[u8]| {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    if let Ok(keys) = host_keys(text) {
        assert!(!keys.is_empty(), "a host is pinned by some key");
    }
    let _ = fingerprint(text);
    let (key, page) = text.split_once('\n').unwrap_or((text, text));
    for id in objects::versions(page, key) {
        assert!(page.contains(&id), "a version is one of the page");
    }
    if objects::signature_end(text).is_some() {
        assert!(objects::is_signature(text), "only a signature ends");
    }
    if let Some(credentials) = Credentials::pasted(key, page) {
        let kept = Credentials::from_bytes(&credentials.to_bytes()).expect("what was kept is read");
        assert!((kept.id, kept.secret.expose()) == (credentials.id, credentials.secret.expose()));
    }
});
