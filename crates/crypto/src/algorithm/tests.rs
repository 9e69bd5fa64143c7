//! Every kind of key through everything that can be done with it, and what must fail.

use std::sync::OnceLock;

use keyark_model::key::{Algorithm, KeySpec};

use super::symmetric::{Cipher, NoncePool};
use super::{
    AlgorithmError, Format, Hash, KeyBody, Material, Scheme, WrapMethod, check, kem, mac, okp, rsa, signature,
    symmetric, wrapping,
};
use crate::SecretBytes;

/// One key of each kind, made once: RSA-4096 takes a second.
fn keys() -> &'static [Material] {
    static KEYS: OnceLock<Vec<Material>> = OnceLock::new();
    KEYS.get_or_init(|| KeySpec::ALL.iter().map(|spec| Material::generate(*spec)).collect())
}

fn key(spec: &str) -> &'static Material {
    let spec: KeySpec = spec.parse().unwrap();
    keys().iter().find(|k| k.spec() == spec).unwrap()
}

fn is_cipher(key: &Material) -> bool {
    matches!(key.spec().algorithm(), Algorithm::Aes | Algorithm::ChaCha20Poly1305)
}

#[test]
fn every_kind_of_key_is_exported_and_imported_in_each_of_its_formats() {
    for key in keys() {
        let formats: Vec<Format> = [Format::Raw, Format::Pkcs8, Format::Pkcs1, Format::Sec1]
            .into_iter()
            .filter(|format| match key.export(*format) {
                Ok(exported) => {
                    let again = Material::import(key.spec(), *format, exported.expose()).unwrap();
                    assert_eq!(again.stored().expose(), key.stored().expose(), "{} {format:?}", key.spec());
                    assert_eq!(again.fingerprint(), key.fingerprint());
                    true
                }
                Err(error) => {
                    assert!(matches!(error, AlgorithmError::BadInput(_)), "{error}");
                    assert!(Material::import(key.spec(), *format, key.stored().expose()).is_err());
                    false
                }
            })
            .collect();
        let want: &[Format] = match key.spec().algorithm() {
            Algorithm::Rsa => &[Format::Pkcs8, Format::Pkcs1],
            Algorithm::Ec => &[Format::Raw, Format::Pkcs8, Format::Sec1],
            _ if key.spec().is_symmetric() => &[Format::Raw],
            _ => &[Format::Raw, Format::Pkcs8],
        };
        assert_eq!(formats, want, "{}", key.spec());
    }
}

#[test]
fn every_asymmetric_key_goes_through_pem_and_shows_its_public_half() {
    for key in keys() {
        if key.spec().is_symmetric() {
            assert!(key.export_pem().is_err() && key.public_key().is_err());
            continue;
        }
        let text = key.export_pem().unwrap();
        assert_eq!(Material::import_pem(key.spec(), text.expose()).unwrap().fingerprint(), key.fingerprint());
        let public = key.public_key_pem().unwrap();
        assert!(public.starts_with("-----BEGIN PUBLIC KEY-----\n") && public.ends_with("\n-----END PUBLIC KEY-----\n"));
        assert!(public.lines().all(|line| line.len() <= 64));
        assert!(Material::import_pem(key.spec(), public.as_bytes()).is_err(), "a public key is no private key");
        assert!(Material::import_pem(key.spec(), &text.expose()[..text.expose().len() - 20]).is_err());
    }
    let locked = b"-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----";
    let error = Material::import_pem(key("RSA-2048").spec(), locked).unwrap_err().to_string();
    assert!(error.contains("decrypt it first"), "{error}");
}

#[test]
fn a_key_is_imported_only_as_what_it_is() {
    for key in keys() {
        for &spec in KeySpec::ALL {
            // Any 32 bytes are a key of every kind that takes 32 bytes, so raw bytes prove little.
            if spec == key.spec() || key.spec().is_symmetric() {
                continue;
            }
            let der = key.export(Format::Pkcs8).unwrap();
            assert!(Material::import(spec, Format::Pkcs8, der.expose()).is_err(), "{} as {spec}", key.spec());
        }
    }
    for length in [0, 15, 17, 24, 32] {
        assert!(Material::import(KeySpec::AES_128, Format::Raw, &vec![1; length]).is_err());
        assert!(Material::from_stored(KeySpec::AES_128, SecretBytes::new(vec![1; length])).is_err());
    }
}

#[test]
fn an_ec_key_is_stored_alike_with_and_without_its_public_half() {
    let scalar = [7; 32];
    let spec: KeySpec = "EC-secp256r1".parse().unwrap();
    let mut sec1 = vec![0x30, 0x31, 0x02, 0x01, 0x01, 0x04, 0x20];
    sec1.extend_from_slice(&scalar);
    sec1.extend_from_slice(&[0xa0, 0x0a, 0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07]);
    let bare = Material::import(spec, Format::Sec1, &sec1).unwrap();
    let raw = Material::import(spec, Format::Raw, &scalar).unwrap();
    assert_eq!(bare.stored().expose(), raw.stored().expose());
    assert!(Material::import(spec, Format::Raw, &[0; 32]).is_err(), "zero is no scalar");
    assert!(Material::import(spec, Format::Raw, &[0xff; 32]).is_err(), "nor is what is above the order");
}

#[test]
fn a_damaged_ml_kem_key_is_not_imported() {
    let key = key("ML-KEM-768");
    // dk_PKE, ek and H(ek); the last 32 bytes are random and cannot be checked.
    for at in [0, 700, 1152, 2000, 2340] {
        let mut bad = SecretBytes::new(key.stored().expose().clone());
        bad.expose_mut()[at] ^= 1;
        assert!(Material::import(key.spec(), Format::Raw, bad.expose()).is_err(), "byte {at}");
    }
}

#[test]
fn every_check_value_proves_its_own_key_and_no_other() {
    for key in keys() {
        let value = check::make(key).unwrap();
        check::prove(key, &value).unwrap();
        for bit in (0..value.len() * 8).step_by(1 + value.len() / 8) {
            let mut bad = value.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(check::prove(key, &bad), Err(AlgorithmError::CheckFailed), "{} bit {bit}", key.spec());
        }
        assert_eq!(check::prove(key, &[]), Err(AlgorithmError::CheckFailed));
        assert_eq!(check::prove(key, &value[..value.len() - 1]), Err(AlgorithmError::CheckFailed));
        if key.spec().size() < 3072 {
            let other = Material::generate(key.spec());
            assert_eq!(check::prove(&other, &value), Err(AlgorithmError::CheckFailed), "{}", key.spec());
            assert_ne!(other.fingerprint(), key.fingerprint());
        }
    }
}

#[test]
fn encryption_opens_with_its_key_and_data_only_and_every_flipped_bit_fails() {
    for key in keys().iter().filter(|k| is_cipher(k)) {
        let mut nonces = NoncePool::new(3);
        for text in [&b""[..], b"five!", &[9; 1000]] {
            let encrypted = symmetric::encrypt(key, &mut nonces, b"aad", text).unwrap();
            assert_eq!(encrypted.len(), text.len() + 28);
            assert_eq!(symmetric::decrypt(key, b"aad", &encrypted).unwrap().expose(), text);
            assert!(symmetric::decrypt(key, b"aae", &encrypted).is_err());
            assert!(symmetric::decrypt(&Material::generate(key.spec()), b"aad", &encrypted).is_err());
        }
        let encrypted = symmetric::encrypt(key, &mut nonces, b"aad", b"five!").unwrap();
        for bit in 0..encrypted.len() * 8 {
            let mut bad = encrypted.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(symmetric::decrypt(key, b"aad", &bad).unwrap_err(), AlgorithmError::CheckFailed);
        }
        for cut in 0..encrypted.len() {
            assert!(symmetric::decrypt(key, b"aad", &encrypted[..cut]).is_err());
        }
    }
}

#[test]
fn nonces_of_a_pool_do_not_repeat() {
    for expected in [0, 1, 3, 64, 1000] {
        let mut pool = NoncePool::new(expected);
        let seen: std::collections::HashSet<_> = (0..500).map(|_| pool.take()).collect();
        assert_eq!(seen.len(), 500);
        assert!(!seen.contains(&[0; 12]));
    }
}

#[test]
fn every_signature_scheme_signs_and_finds_what_was_altered() {
    for key in keys() {
        for (name, scheme) in Scheme::ALL {
            let Ok(signed) = signature::sign(key, *scheme, b"message") else { continue };
            signature::verify(key, *scheme, b"message", &signed).unwrap();
            let verify = |message: &[u8], signed: &[u8]| signature::verify(key, *scheme, message, signed);
            assert_eq!(verify(b"massage", &signed), Err(AlgorithmError::CheckFailed), "{name}");
            for at in (0..signed.len()).step_by(1 + signed.len() / 16) {
                let mut bad = signed.clone();
                bad[at] ^= 1;
                assert_eq!(verify(b"message", &bad), Err(AlgorithmError::CheckFailed), "{name} byte {at}");
            }
            assert!(verify(b"message", &signed[1..]).is_err());
            assert_eq!(Scheme::from_name(&name.to_lowercase()), Some(*scheme));
            assert_eq!(scheme.name(), *name);
        }
    }
    let raw = signature::sign(key("EC-secp521r1"), Scheme::from_name("ECDSA-RAW").unwrap(), b"m").unwrap();
    assert_eq!(raw.len(), 132);
}

#[test]
fn every_wrap_opens_again_and_every_flipped_bit_fails() {
    for key in keys() {
        for (name, method) in WrapMethod::ALL {
            let target = [5; 32];
            let Ok(wrapped) = wrapping::wrap(key, *method, &target) else { continue };
            assert_eq!(wrapping::unwrap(key, *method, &wrapped).unwrap().expose(), &target);
            for bit in (0..wrapped.len() * 8).step_by(1 + wrapped.len() / 16) {
                let mut bad = wrapped.clone();
                bad[bit / 8] ^= 1 << (bit % 8);
                assert!(wrapping::unwrap(key, *method, &bad).is_err(), "{name} bit {bit}");
            }
            for cut in [0, 7, 8, 15, 16, wrapped.len() - 1] {
                assert!(wrapping::unwrap(key, *method, &wrapped[..cut]).is_err(), "{name} cut {cut}");
            }
            assert_eq!(WrapMethod::from_name(&name.to_lowercase()), Some(*method));
            assert_eq!(method.name(), *name);
        }
    }
    let aes = key("AES-256");
    let rsa_key = key("RSA-2048");
    for length in 1..40 {
        let target = vec![length as u8; length];
        let wrapped = wrapping::wrap(aes, WrapMethod::AesKwp, &target).unwrap();
        assert_eq!(wrapping::unwrap(aes, WrapMethod::AesKwp, &wrapped).unwrap().expose(), &target);
    }
    assert!(matches!(wrapping::wrap(aes, WrapMethod::AesKw, &[1; 17]), Err(AlgorithmError::BadInput(_))));
    assert!(matches!(wrapping::wrap(aes, WrapMethod::AesKwp, &[]), Err(AlgorithmError::BadInput(_))));
    let wrapped = wrapping::wrap(aes, WrapMethod::AesKwp, rsa_key.stored().expose()).unwrap();
    let opened = wrapping::unwrap(aes, WrapMethod::AesKwp, &wrapped).unwrap();
    Material::import(rsa_key.spec(), Format::Pkcs8, opened.expose()).unwrap();
}

#[test]
fn oaep_says_how_much_fits_and_encrypts_to_a_public_key() {
    let key = key("RSA-2048");
    for (hash, limit) in [(Hash::Sha256, 190), (Hash::Sha384, 158), (Hash::Sha512, 126)] {
        let encrypted = rsa::encrypt(key, hash, &vec![1; limit]).unwrap();
        assert_eq!(rsa::decrypt(key, hash, &encrypted).unwrap().expose(), &vec![1; limit]);
        let refused = rsa::encrypt(key, hash, &vec![1; limit + 1]).unwrap_err();
        assert!(matches!(refused, AlgorithmError::TooLarge { limit: l, .. } if l == limit), "{refused}");
        let sent = rsa::encrypt_to(&key.public_key().unwrap(), hash, b"for you").unwrap();
        assert_eq!(rsa::decrypt(key, hash, &sent).unwrap().expose(), b"for you");
        assert_eq!(rsa::decrypt(key, Hash::Sha256, &sent).is_ok(), hash == Hash::Sha256);
    }
    assert!(rsa::encrypt_to(b"no key", Hash::Sha256, b"x").is_err());
}

#[test]
fn both_sides_agree_on_a_key() {
    for spec in ["X25519", "EC-secp256r1", "EC-secp384r1", "EC-secp521r1"] {
        let ours = key(spec);
        let theirs = Material::generate(ours.spec());
        let one = okp::agree_key(ours, &theirs.public_key().unwrap(), b"purpose").unwrap();
        let two = okp::agree_key(&theirs, &ours.public_key().unwrap(), b"purpose").unwrap();
        assert!(one.eq_ct(two.expose()), "{spec}");
        assert!(!one.eq_ct(okp::agree_key(ours, &theirs.public_key().unwrap(), b"other").unwrap().expose()));
        let foreign = key("EC-secp256r1").public_key().unwrap();
        assert_eq!(okp::agree_raw(ours, &foreign).is_ok(), spec == "EC-secp256r1");
    }
}

#[test]
fn an_encapsulated_secret_reaches_the_holder_only() {
    for spec in ["ML-KEM-768", "ML-KEM-1024", "X25519"] {
        let key = key(spec);
        let (ciphertext, secret) = kem::encapsulate(key).unwrap();
        assert_eq!(secret.expose().len(), 32);
        assert!(kem::decapsulate(key, &ciphertext).unwrap().eq_ct(secret.expose()));
        let other = Material::generate(key.spec());
        assert!(!kem::decapsulate(&other, &ciphertext).unwrap().eq_ct(secret.expose()));
        let mut bad = ciphertext.clone();
        bad[20] ^= 1;
        assert!(!kem::decapsulate(key, &bad).unwrap().eq_ct(secret.expose()));
        assert!(kem::decapsulate(key, &ciphertext[1..]).is_err());
    }
}

/// Each operation works with its kinds of key and refuses every other by name.
#[test]
fn every_operation_and_every_kind_of_key() {
    for key in keys() {
        let algorithm = key.spec().algorithm();
        let is_ec_or_x = matches!(algorithm, Algorithm::Ec | Algorithm::X25519);
        let is_mac = matches!(algorithm, Algorithm::HmacSha256 | Algorithm::HmacSha384 | Algorithm::HmacSha512);
        let is_kem = matches!(algorithm, Algorithm::MlKem768 | Algorithm::MlKem1024 | Algorithm::X25519);
        let peer = key.public_key().unwrap_or_default();
        let mut outcomes = vec![
            ("encrypt", is_cipher(key), symmetric::encrypt(key, &mut NoncePool::new(1), b"", b"x").err()),
            ("schedule", is_cipher(key), Cipher::new(key).err()),
            ("mac", is_mac, mac::mac(key, b"x").err()),
            ("mac verify", is_mac, mac::verify(key, b"x", &mac::mac(key, b"x").unwrap_or_default()).err()),
            ("oaep", algorithm == Algorithm::Rsa, rsa::encrypt(key, Hash::Sha256, b"x").err()),
            ("agree", is_ec_or_x, okp::agree_raw(key, &peer).err()),
            ("encapsulate", is_kem, kem::encapsulate(key).err()),
        ];
        for (name, scheme) in Scheme::ALL {
            let fits = match scheme {
                Scheme::Rsa(..) => algorithm == Algorithm::Rsa,
                Scheme::Ecdsa(_) => algorithm == Algorithm::Ec,
                Scheme::Ed25519 => algorithm == Algorithm::Ed25519,
            };
            outcomes.push((*name, fits, signature::sign(key, *scheme, b"x").err()));
        }
        for (name, method) in WrapMethod::ALL {
            let fits = match method {
                WrapMethod::AesKwp | WrapMethod::AesKw => algorithm == Algorithm::Aes && key.spec().size() != 192,
                WrapMethod::AesGcm => algorithm == Algorithm::Aes,
                WrapMethod::RsaOaep(_) => algorithm == Algorithm::Rsa,
            };
            outcomes.push((*name, fits, wrapping::wrap(key, *method, &[1; 32]).err()));
        }
        for (name, fits, error) in outcomes {
            match error {
                None => assert!(fits, "{name} with {}", key.spec()),
                Some(AlgorithmError::WrongAlgorithm { spec, .. }) => {
                    assert!(!fits && spec == key.spec(), "{name} with {spec}");
                }
                Some(other) => panic!("{name} with {}: {other}", key.spec()),
            }
        }
    }
    let error = kem::encapsulate(key("AES-256")).unwrap_err().to_string();
    assert_eq!(error, "AES-256 keys cannot encapsulate: use an ML-KEM-768, ML-KEM-1024 or X25519 key");
}

#[test]
fn a_body_keeps_its_versions_and_forgets_the_destroyed() {
    for spec in KeySpec::ALL.iter().copied().filter(|s| s.size() < 3072) {
        let mut body = KeyBody::new(0, Material::generate(spec)).unwrap();
        body.push(1, Material::generate(spec)).unwrap();
        body.push(7, Material::generate(spec)).unwrap();
        assert!(body.push(7, Material::generate(spec)).is_err());
        let bytes = body.encode();
        let again = KeyBody::decode(spec, &bytes).unwrap();
        assert_eq!(again.encode().expose(), bytes.expose(), "deterministic");
        assert_eq!(again.prove(), Ok(3));
        let one = KeyBody::decode_one(spec, &bytes, 7).unwrap().unwrap();
        assert_eq!(one.fingerprint(), body.version(7).unwrap().material.fingerprint());
        assert!(KeyBody::decode_one(spec, &bytes, 2).unwrap().is_none());
        assert!(body.destroy(1) && !body.destroy(1));
        let left = KeyBody::decode(spec, &body.encode()).unwrap();
        assert_eq!(left.versions().iter().map(|v| v.version).collect::<Vec<_>>(), [0, 7]);
        assert!(left.into_material(1).is_none());
    }
    let bytes = KeyBody::new(0, Material::generate(KeySpec::AES_256)).unwrap().encode();
    for cut in 0..bytes.expose().len() {
        let cut = SecretBytes::new(bytes.expose()[..cut].to_vec());
        assert!(KeyBody::decode(KeySpec::AES_256, &cut).is_err());
    }
    let longer = SecretBytes::new([&bytes.expose()[..], &[0]].concat());
    assert!(KeyBody::decode(KeySpec::AES_256, &longer).is_err());
    assert!(KeyBody::decode(KeySpec::AES_128, &bytes).is_err(), "another size than the header says");
    assert_eq!(KeyBody::decode(KeySpec::AES_256, &KeyBody::default().encode()).unwrap().prove(), Ok(0));
}

#[test]
fn material_is_not_shown() {
    for key in keys() {
        assert_eq!(format!("{key:?}"), format!("Material {{ spec: {:?}, bytes: Secret(…) }}", key.spec()));
    }
}
