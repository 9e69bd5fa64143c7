//! Cryptography: the only place where key material is in clear.

pub mod aead;
pub mod algorithm;
pub mod chain;
pub mod hash;
pub mod jwe;
pub mod kdf;
pub mod keyring;
pub mod lthash;
pub mod password;
pub mod random;
pub mod root;
pub mod seal;
pub mod secret;
pub mod sign;
pub mod stream;
pub mod wrap;

pub use secret::{Key256, Secret, SecretBytes};

/// A cryptographic operation failed: the input was altered, or the key is the wrong one. Says no more on purpose.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the cryptographic check failed: wrong key or altered data")]
pub struct CryptoError;
