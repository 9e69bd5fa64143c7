//! Fuzzes key material that somebody imports, and bodies of keys as they are stored.

#![no_main]

use libfuzzer_sys::fuzz_target;

use keyark_crypto::SecretBytes;
use keyark_crypto::algorithm::{Format, KeyBody, Material};
use keyark_model::key::KeySpec;

fuzz_target!(|bytes: &[u8]| {
    let Some((spec, rest)) = bytes.split_first() else { return };
    let spec = KeySpec::ALL[usize::from(*spec) % KeySpec::ALL.len()];
    for format in FORMATS {
        let _ = Material::import(spec, format, rest);
    }
    let _ = Material::import_pem(spec, rest);
    let stored = SecretBytes::new(rest.to_vec());
    let _ = KeyBody::decode(spec, &stored);
    let _ = KeyBody::decode_one(spec, &stored, 0);
});

const FORMATS: [Format; 4] = [Format::Raw, Format::Pkcs8, Format::Pkcs1, Format::Sec1];
