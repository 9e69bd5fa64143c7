//! AES-256-GCM with a 96-bit nonce and a 128-bit tag (SP 800-38D).

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};

use crate::{CryptoError, Key256, SecretBytes};

/// Bytes of a nonce.
pub const NONCE: usize = NONCE_LEN;
/// Bytes of a tag.
pub const TAG: usize = 16;

/// A scheduled AES-256-GCM key. `LessSafe` in the library's name means that the caller chooses the nonces.
pub struct Gcm(LessSafeKey);

impl Gcm {
    pub fn new(key: &Key256) -> Gcm {
        Gcm(LessSafeKey::new(UnboundKey::new(&AES_256_GCM, key.expose()).expect("the key has 32 bytes")))
    }

    /// Encrypts in place and appends the tag. A nonce must never be used twice with one key.
    pub fn seal(&self, nonce: [u8; NONCE], aad: &[u8], in_out: &mut Vec<u8>) {
        self.0
            .seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), Aad::from(aad), in_out)
            .expect("sealing fails only past 64 GiB");
    }

    /// Checks and decrypts in place; the plaintext is the returned front part of the buffer.
    pub fn open<'a>(&self, nonce: [u8; NONCE], aad: &[u8], in_out: &'a mut [u8]) -> Result<&'a mut [u8], CryptoError> {
        self.0.open_in_place(Nonce::assume_unique_for_key(nonce), Aad::from(aad), in_out).map_err(|_| CryptoError)
    }
}

/// One-shot seal under a random nonce: nonce ‖ ciphertext ‖ tag.
pub fn seal(key: &Key256, aad: &[u8], plaintext: &[u8]) -> Vec<u8> {
    let nonce = crate::random::bytes::<NONCE>();
    let mut buffer = Vec::with_capacity(plaintext.len() + TAG);
    buffer.extend_from_slice(plaintext);
    Gcm::new(key).seal(nonce, aad, &mut buffer);
    let mut out = Vec::with_capacity(NONCE + buffer.len());
    out.extend_from_slice(&nonce);
    out.append(&mut buffer);
    out
}

/// Opens what `seal` made.
pub fn open(key: &Key256, aad: &[u8], sealed: &[u8]) -> Result<SecretBytes, CryptoError> {
    let (nonce, rest) = sealed.split_first_chunk::<NONCE>().ok_or(CryptoError)?;
    let mut buffer = SecretBytes::new(rest.to_vec());
    let length = Gcm::new(key).open(*nonce, aad, buffer.expose_mut())?.len();
    buffer.expose_mut().truncate(length);
    Ok(buffer)
}
