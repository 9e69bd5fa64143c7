//! Message authentication: HMAC (FIPS 198-1) with SHA-256, SHA-384 and SHA-512, never truncated.

use aws_lc_rs::hmac::{HMAC_SHA256, HMAC_SHA384, HMAC_SHA512, Key, sign};
use keyark_model::key::Algorithm;

use super::{AlgorithmError, Material};

fn scheduled(key: &Material) -> Result<Key, AlgorithmError> {
    let algorithm = match key.spec().algorithm() {
        Algorithm::HmacSha256 => HMAC_SHA256,
        Algorithm::HmacSha384 => HMAC_SHA384,
        Algorithm::HmacSha512 => HMAC_SHA512,
        _ => return Err(key.cannot("make or verify a MAC", "an HMAC-SHA256, HMAC-SHA384 or HMAC-SHA512 key")),
    };
    Ok(Key::new(algorithm, key.bytes()))
}

/// The MAC of a message: 32, 48 or 64 bytes.
pub fn mac(key: &Material, message: &[u8]) -> Result<Vec<u8>, AlgorithmError> {
    Ok(sign(&scheduled(key)?, message).as_ref().to_vec())
}

/// Compares in constant time.
pub fn verify(key: &Material, message: &[u8], mac: &[u8]) -> Result<(), AlgorithmError> {
    Ok(aws_lc_rs::hmac::verify(&scheduled(key)?, message, mac)?)
}
