//! Ed25519 signatures (RFC 8032); every signed string starts with a context of its own.

use aws_lc_rs::signature::{ED25519, Ed25519KeyPair, KeyPair, UnparsedPublicKey};

use crate::{CryptoError, Key256, random};

/// A signing key pair.
pub struct Signer {
    pair: Ed25519KeyPair,
    seed: Key256,
}

/// An Ed25519 public key.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PublicKey(pub [u8; 32]);

/// The contexts in use. None is a prefix of another.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Context {
    Archive,
    Anchor,
    Heartbeat,
    Owner,
    Epoch,
    Retention,
    Report,
}

impl Context {
    fn bytes(self) -> &'static [u8] {
        match self {
            Context::Archive => b"keyark/sign/1/archive\0",
            Context::Anchor => b"keyark/sign/1/anchor\0",
            Context::Heartbeat => b"keyark/sign/1/heartbeat\0",
            Context::Owner => b"keyark/sign/1/owner\0",
            Context::Epoch => b"keyark/sign/1/epoch\0",
            Context::Retention => b"keyark/sign/1/retention\0",
            Context::Report => b"keyark/sign/1/report\0",
        }
    }
}

impl Signer {
    pub fn generate() -> Signer {
        Signer::from_seed(random::secret::<32>()).expect("any 32 bytes are a seed")
    }

    pub fn from_seed(seed: Key256) -> Result<Signer, CryptoError> {
        let pair = Ed25519KeyPair::from_seed_unchecked(seed.expose()).map_err(|_| CryptoError)?;
        Ok(Signer { pair, seed })
    }

    /// The private seed, to be sealed.
    pub fn seed(&self) -> &Key256 {
        &self.seed
    }

    pub fn public(&self) -> PublicKey {
        PublicKey(self.pair.public_key().as_ref().try_into().expect("an Ed25519 public key has 32 bytes"))
    }

    /// Signs context ‖ message.
    pub fn sign(&self, context: Context, message: &[u8]) -> [u8; 64] {
        let text = [context.bytes(), message].concat();
        self.pair.sign(&text).as_ref().try_into().expect("an Ed25519 signature has 64 bytes")
    }
}

impl PublicKey {
    /// Whether `signature` was made over context ‖ message by this key's owner.
    pub fn verify(&self, context: Context, message: &[u8], signature: &[u8]) -> Result<(), CryptoError> {
        let text = [context.bytes(), message].concat();
        UnparsedPublicKey::new(&ED25519, &self.0).verify(&text, signature).map_err(|_| CryptoError)
    }

    /// The first 16 bytes of SHA-256 of the key: the key id in anchors and signature blocks.
    pub fn key_id(&self) -> [u8; 16] {
        crate::hash::sha256(&[b"keyark/fp/ed25519", &self.0]).0[..16].try_into().expect("a digest has 32 bytes")
    }

    /// SHA-256 of the key as colon-separated hexadecimal, for people to compare.
    pub fn fingerprint(&self) -> String {
        let digest = crate::hash::sha256(&[b"keyark/fp/ed25519", &self.0]);
        digest.0.iter().map(|b| format!("{b:02X}")).collect::<Vec<_>>().join(":")
    }
}

#[cfg(test)]
mod tests {
    use super::{Context, Signer};

    #[test]
    fn a_signature_holds_for_one_context_one_key_one_message() {
        let signer = Signer::generate();
        let signature = signer.sign(Context::Archive, b"m");
        assert!(signer.public().verify(Context::Archive, b"m", &signature).is_ok());
        assert!(signer.public().verify(Context::Report, b"m", &signature).is_err());
        assert!(signer.public().verify(Context::Archive, b"n", &signature).is_err());
        assert!(Signer::generate().public().verify(Context::Archive, b"m", &signature).is_err());
    }
}
