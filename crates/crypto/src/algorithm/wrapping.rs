//! Wrapping a key under a customer's key: AES-KWP, AES-KW, AES-GCM and RSA-OAEP.

use aws_lc_rs::key_wrap::{AES_128, AES_256, AesKek, KeyWrap, KeyWrapPadded};
use keyark_model::key::Algorithm;

use crate::SecretBytes;

use super::symmetric::{self, NoncePool};
use super::{AlgorithmError, Hash, Material, rsa};

/// A way to wrap. None of them says what the wrapped bytes are: keep the spec beside them.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum WrapMethod {
    /// RFC 5649: any length from 1 byte, deterministic. AES keys of 128 and 256 bits.
    AesKwp,
    /// RFC 3394: multiples of 8 bytes from 16, deterministic. AES keys of 128 and 256 bits.
    AesKw,
    /// nonce ‖ ciphertext ‖ tag without associated data, so that others can open it (A256GCMKW of JOSE in parts).
    /// AES keys of any size. Whoever may decrypt with the key can unwrap this.
    AesGcm,
    /// RFC 8017, 7.1: short keys under an RSA key.
    RsaOaep(Hash),
}

impl WrapMethod {
    /// Every method with its name on the wire.
    pub const ALL: &'static [(&'static str, WrapMethod)] = &[
        ("AES-KWP", WrapMethod::AesKwp),
        ("AES-KW", WrapMethod::AesKw),
        ("AES-GCM", WrapMethod::AesGcm),
        ("RSA-OAEP-SHA256", WrapMethod::RsaOaep(Hash::Sha256)),
        ("RSA-OAEP-SHA384", WrapMethod::RsaOaep(Hash::Sha384)),
        ("RSA-OAEP-SHA512", WrapMethod::RsaOaep(Hash::Sha512)),
    ];

    /// The method of a name, in any case.
    pub fn from_name(name: &str) -> Option<WrapMethod> {
        WrapMethod::ALL.iter().find(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, method)| *method)
    }

    pub fn name(self) -> &'static str {
        WrapMethod::ALL.iter().find(|(_, method)| *method == self).expect("ALL has every method").0
    }
}

fn kek(key: &Material) -> Result<AesKek, AlgorithmError> {
    let cipher = match (key.spec().algorithm(), key.spec().size()) {
        (Algorithm::Aes, 128) => &AES_128,
        (Algorithm::Aes, 256) => &AES_256,
        (Algorithm::Aes, _) => return Err(key.cannot("wrap with AES-KW or AES-KWP", "AES-GCM, or an AES-256 key")),
        _ => return Err(key.cannot("wrap with AES-KW or AES-KWP", "an AES-128 or AES-256 key")),
    };
    Ok(AesKek::new(cipher, key.bytes())?)
}

/// Wraps bytes of a key.
pub fn wrap(key: &Material, method: WrapMethod, target: &[u8]) -> Result<Vec<u8>, AlgorithmError> {
    match method {
        WrapMethod::AesKwp => {
            let kek = kek(key)?;
            if target.is_empty() {
                return Err(AlgorithmError::BadInput("there is nothing to wrap: send at least one byte"));
            }
            let mut out = vec![0; target.len().next_multiple_of(8) + 8];
            let length = kek.wrap_with_padding(target, &mut out)?.len();
            out.truncate(length);
            Ok(out)
        }
        WrapMethod::AesKw => {
            let kek = kek(key)?;
            if target.len() < 16 || !target.len().is_multiple_of(8) {
                return Err(AlgorithmError::BadInput("AES-KW wraps multiples of 8 bytes, from 16: use AES-KWP"));
            }
            let mut out = vec![0; target.len() + 8];
            let length = kek.wrap(target, &mut out)?.len();
            out.truncate(length);
            Ok(out)
        }
        WrapMethod::AesGcm => {
            key.must_be(&[Algorithm::Aes], "wrap with AES-GCM", "an AES key")?;
            symmetric::encrypt(key, &mut NoncePool::new(1), &[], target)
        }
        WrapMethod::RsaOaep(hash) => rsa::encrypt(key, hash, target),
    }
}

/// Opens what `wrap` made.
pub fn unwrap(key: &Material, method: WrapMethod, wrapped: &[u8]) -> Result<SecretBytes, AlgorithmError> {
    match method {
        WrapMethod::AesKwp => {
            let kek = kek(key)?;
            if wrapped.len() < 16 {
                return Err(AlgorithmError::CheckFailed);
            }
            let mut out = SecretBytes::new(vec![0; wrapped.len()]);
            let length = kek.unwrap_with_padding(wrapped, out.expose_mut())?.len();
            out.expose_mut().truncate(length);
            Ok(out)
        }
        WrapMethod::AesKw => {
            let kek = kek(key)?;
            let mut out = SecretBytes::new(vec![0; wrapped.len()]);
            let length = kek.unwrap(wrapped, out.expose_mut())?.len();
            out.expose_mut().truncate(length);
            Ok(out)
        }
        WrapMethod::AesGcm => {
            key.must_be(&[Algorithm::Aes], "unwrap with AES-GCM", "an AES key")?;
            symmetric::decrypt(key, &[], wrapped)
        }
        WrapMethod::RsaOaep(hash) => rsa::decrypt(key, hash, wrapped),
    }
}
