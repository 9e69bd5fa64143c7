//! SHA-256, in one call or in pieces, and with a key.

use aws_lc_rs::digest::{Context, SHA256, digest};
use aws_lc_rs::hmac;
use keyark_model::Digest;

/// SHA-256 of the concatenated parts.
pub fn sha256(parts: &[&[u8]]) -> Digest {
    if let [one] = parts {
        return to_digest(digest(&SHA256, one).as_ref());
    }
    let mut hasher = Sha256::default();
    parts.iter().for_each(|p| hasher.update(p));
    hasher.finish()
}

/// HMAC-SHA-256 (RFC 2104) of the concatenated parts.
pub fn hmac_sha256(key: &[u8], parts: &[&[u8]]) -> Digest {
    let mut context = hmac::Context::with_key(&hmac::Key::new(hmac::HMAC_SHA256, key));
    parts.iter().for_each(|p| context.update(p));
    to_digest(context.sign().as_ref())
}

/// SHA-256 fed in pieces.
#[derive(Clone)]
pub struct Sha256(Context);

impl Default for Sha256 {
    fn default() -> Self {
        Sha256(Context::new(&SHA256))
    }
}

impl Sha256 {
    pub fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    pub fn finish(self) -> Digest {
        to_digest(self.0.finish().as_ref())
    }
}

fn to_digest(bytes: &[u8]) -> Digest {
    Digest(bytes.try_into().expect("SHA-256 gives 32 bytes"))
}
