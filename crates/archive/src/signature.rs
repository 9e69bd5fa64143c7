//! The signature block: who claims to have made the archive, and whether its three hashes are the ones signed.

use keyark_crypto::sign::{Context, PublicKey, Signer};
use keyark_model::Digest;

use crate::error::{ArchiveError, Result};
use crate::json::hex;

/// Bytes of a signature block.
pub const BLOCK: usize = 1 + 32 + 64;
const ED25519: u8 = 1;

/// The public key that the archive claims to be signed with, and the signature.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Signature {
    pub public: PublicKey,
    signature: [u8; 64],
}

impl Signature {
    /// Signs the hashes of header (with the magic bytes), stored body and footer.
    pub fn make(signer: &Signer, header: Digest, body: Digest, footer: Digest) -> Signature {
        Signature { public: signer.public(), signature: signer.sign(Context::Archive, &message(header, body, footer)) }
    }

    /// From the stored block.
    pub fn parse(block: &[u8]) -> Result<Signature> {
        let block: &[u8; BLOCK] =
            block.try_into().map_err(|_| ArchiveError::SignatureBad("its block has an unknown length"))?;
        if block[0] != ED25519 {
            return Err(ArchiveError::SignatureBad("its algorithm is unknown"));
        }
        let public = PublicKey(block[1..33].try_into().expect("32 bytes"));
        Ok(Signature { public, signature: block[33..].try_into().expect("64 bytes") })
    }

    /// The bytes of the block.
    pub fn to_bytes(&self) -> [u8; BLOCK] {
        let mut out = [ED25519; BLOCK];
        out[1..33].copy_from_slice(&self.public.0);
        out[33..].copy_from_slice(&self.signature);
        out
    }

    /// Whether the embedded key signed these hashes.
    pub fn holds(&self, header: Digest, body: Digest, footer: Digest) -> bool {
        self.public.verify(Context::Archive, &message(header, body, footer), &self.signature).is_ok()
    }

    /// The id of the embedded key, in hexadecimal.
    pub fn key_id(&self) -> String {
        hex(&self.public.key_id())
    }
}

fn message(header: Digest, body: Digest, footer: Digest) -> [u8; 96] {
    let mut out = [0; 96];
    for (part, digest) in out.chunks_exact_mut(32).zip([header, body, footer]) {
        part.copy_from_slice(&digest.0);
    }
    out
}
