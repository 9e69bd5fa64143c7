//! DHKEM(X25519, HKDF-SHA256), RFC 9180, 4.1: a shared secret for the holder of an X25519 key.

use crate::{SecretBytes, kdf};

use super::{AlgorithmError, Material, okp};

/// What RFC 9180 puts in front of every label: its version, "KEM" and the number of this one.
const SUITE: &[u8] = b"HPKE-v1KEM\x00\x20";

/// Of agreed bytes and both public keys: the ephemeral one, which is the ciphertext, and the holder's.
fn derive(agreed: &SecretBytes, ephemeral: &[u8], holder: &[u8]) -> SecretBytes {
    let material = SecretBytes::new([SUITE, b"eae_prk", agreed.expose()].concat());
    let info: [&[u8]; 5] = [&32_u16.to_be_bytes(), SUITE, b"shared_secret", ephemeral, holder];
    SecretBytes::new(kdf::hkdf::<32>(material.expose(), &info).expose().to_vec())
}

/// A fresh secret of 32 bytes, and the 32 bytes from which the holder of the key gets it.
pub(super) fn encapsulate(key: &Material) -> Result<(Vec<u8>, SecretBytes), AlgorithmError> {
    let (holder, ephemeral) = (okp::x25519_public(key)?, Material::generate(key.spec()));
    let enc = okp::x25519_public(&ephemeral)?;
    let agreed = okp::agree_raw(&ephemeral, &holder)?;
    let secret = derive(&agreed, &enc, &holder);
    Ok((enc, secret))
}

/// The secret in a ciphertext. An altered one is not found out, but for a point of small order: it gives another secret.
pub(super) fn decapsulate(key: &Material, ciphertext: &[u8]) -> Result<SecretBytes, AlgorithmError> {
    if ciphertext.len() != 32 {
        return Err(AlgorithmError::BadInput("the ciphertext of an X25519 key has 32 bytes"));
    }
    let agreed = okp::agree_raw(key, ciphertext)?;
    Ok(derive(&agreed, ciphertext, &okp::x25519_public(key)?))
}
