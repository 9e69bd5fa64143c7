//! Fuzzes an exported backup key and what people type: JWE, its clear header, passphrases.

#![no_main]

use libfuzzer_sys::fuzz_target;

use keyark_archive::keyfile::keyfile_inspect;
use keyark_crypto::jwe;

fuzz_target!(|text: &str| {
    let _ = keyfile_inspect(text);
    keyark_archive::passphrase::read(text);
    // Deriving is slow on purpose: only what asks for little work is opened.
    let cheap = |h: &serde_json::Map<String, serde_json::Value>| {
        h.get("p2c").and_then(serde_json::Value::as_u64).is_none_or(|n| n <= 1000)
    };
    if jwe::protected_header(text).is_ok_and(|header| cheap(&header)) {
        let _ = jwe::decrypt(text, b"password");
    }
});
