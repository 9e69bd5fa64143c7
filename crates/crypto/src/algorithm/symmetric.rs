//! Encryption under a symmetric key: AES-GCM (SP 800-38D) and ChaCha20-Poly1305 (RFC 8439).
//!
//! Encrypted is: nonce (12 bytes) ‖ ciphertext (as long as the plaintext) ‖ tag (16 bytes).

use aws_lc_rs::aead::{AES_128_GCM, AES_192_GCM, AES_256_GCM, Aad, CHACHA20_POLY1305, LessSafeKey, Nonce, UnboundKey};
use keyark_model::key::Algorithm;

use crate::aead::{NONCE, TAG};
use crate::{SecretBytes, random};

use super::{AlgorithmError, Material};

/// Plaintexts are this long at most: the library ends at 64 GiB, a request long before.
pub const MAX_PLAINTEXT: usize = 1 << 30;

/// A scheduled key, for many operations in a row. For a single one `encrypt` and `decrypt` are as fast.
pub struct Cipher(LessSafeKey);

/// Random nonces, drawn from the generator 64 at a time: one draw costs as much as an encryption.
///
/// A pool must not be copied, or nonces would repeat; it cannot be.
pub struct NoncePool {
    nonces: [[u8; NONCE]; NoncePool::SIZE],
    /// Those from here on have not been given out.
    next: usize,
    /// How many are drawn when none is left.
    draw: usize,
}

impl NoncePool {
    const SIZE: usize = 64;

    /// A pool for about so many nonces; it gives more if asked.
    pub fn new(expected: usize) -> NoncePool {
        NoncePool {
            nonces: [[0; NONCE]; NoncePool::SIZE],
            next: NoncePool::SIZE,
            draw: expected.clamp(1, NoncePool::SIZE),
        }
    }

    /// A nonce that was not given out before.
    pub fn take(&mut self) -> [u8; NONCE] {
        if self.next == NoncePool::SIZE {
            self.next -= self.draw;
            random::fill(self.nonces[self.next..].as_flattened_mut());
        }
        let nonce = self.nonces[self.next];
        self.next += 1;
        nonce
    }
}

impl Cipher {
    /// Schedules the key.
    pub fn new(key: &Material) -> Result<Cipher, AlgorithmError> {
        let algorithm = match (key.spec().algorithm(), key.spec().size()) {
            (Algorithm::Aes, 128) => &AES_128_GCM,
            (Algorithm::Aes, 192) => &AES_192_GCM,
            (Algorithm::Aes, _) => &AES_256_GCM,
            (Algorithm::ChaCha20Poly1305, _) => &CHACHA20_POLY1305,
            _ => return Err(key.cannot("encrypt data of any length", "an AES or ChaCha20-Poly1305 key")),
        };
        Ok(Cipher(LessSafeKey::new(UnboundKey::new(algorithm, key.bytes())?)))
    }

    /// Encrypts under a nonce that this key never sees again.
    pub fn encrypt(&self, nonce: [u8; NONCE], aad: &[u8], plaintext: &[u8]) -> Result<Vec<u8>, AlgorithmError> {
        if plaintext.len() > MAX_PLAINTEXT {
            return Err(AlgorithmError::TooLarge { limit: MAX_PLAINTEXT, use_instead: "encrypt it under a data key" });
        }
        let mut out = Vec::with_capacity(NONCE + plaintext.len() + TAG);
        out.extend_from_slice(&nonce);
        out.extend_from_slice(plaintext);
        let nonce = Nonce::assume_unique_for_key(nonce);
        let tag = self.0.seal_in_place_separate_tag(nonce, Aad::from(aad), &mut out[NONCE..])?;
        out.extend_from_slice(tag.as_ref());
        Ok(out)
    }

    /// Opens what `encrypt` made.
    pub fn decrypt(&self, aad: &[u8], encrypted: &[u8]) -> Result<SecretBytes, AlgorithmError> {
        let too_short = AlgorithmError::BadInput("a ciphertext is nonce (12 bytes), data and tag (16 bytes)");
        let (nonce, rest) = encrypted.split_first_chunk::<NONCE>().ok_or(too_short)?;
        let (ciphertext, tag) = rest.split_last_chunk::<TAG>().ok_or(too_short)?;
        self.decrypt_parts(*nonce, aad, ciphertext, tag)
    }

    /// The same from the parts, as other products keep them.
    pub fn decrypt_parts(
        &self,
        nonce: [u8; NONCE],
        aad: &[u8],
        ciphertext: &[u8],
        tag: &[u8; TAG],
    ) -> Result<SecretBytes, AlgorithmError> {
        let mut plaintext = SecretBytes::new(vec![0; ciphertext.len()]);
        let nonce = Nonce::assume_unique_for_key(nonce);
        self.0.open_separate_gather(nonce, Aad::from(aad), ciphertext, tag, plaintext.expose_mut())?;
        Ok(plaintext)
    }
}

/// Encrypts once, under the next nonce of the pool.
pub fn encrypt(
    key: &Material,
    nonces: &mut NoncePool,
    aad: &[u8],
    plaintext: &[u8],
) -> Result<Vec<u8>, AlgorithmError> {
    Cipher::new(key)?.encrypt(nonces.take(), aad, plaintext)
}

/// Decrypts once.
pub fn decrypt(key: &Material, aad: &[u8], encrypted: &[u8]) -> Result<SecretBytes, AlgorithmError> {
    Cipher::new(key)?.decrypt(aad, encrypted)
}
