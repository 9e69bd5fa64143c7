//! Check values: a known answer sealed beside each key at its creation, so that a drill can prove that the key works.

use keyark_model::key::Algorithm;

use crate::{Secret, SecretBytes, kdf};

use super::symmetric::{self, NoncePool};
use super::{AlgorithmError, Material, Scheme, kem, mac, okp, signature};

/// Stands in front of whatever a check value encrypts or signs.
const CONTEXT: &[u8] = b"keyark/check/1\0";

/// The check value of a key: an encryption, a MAC or a signature of a known text, or an exchange with its outcome.
/// It is of use only together with the key, and is sealed all the same.
pub fn make(key: &Material) -> Result<Vec<u8>, AlgorithmError> {
    match key.spec().algorithm() {
        Algorithm::Aes | Algorithm::ChaCha20Poly1305 => {
            symmetric::encrypt(key, &mut NoncePool::new(1), CONTEXT, CONTEXT)
        }
        Algorithm::HmacSha256 | Algorithm::HmacSha384 | Algorithm::HmacSha512 => mac::mac(key, CONTEXT),
        Algorithm::Rsa | Algorithm::Ec | Algorithm::Ed25519 => signature::sign(key, scheme(key), CONTEXT),
        Algorithm::X25519 => {
            let other = Material::generate(key.spec());
            let secret = okp::agree_raw(&other, &key.public_key()?)?;
            let mut check = other.public_key()?;
            check.extend_from_slice(outcome(secret.expose()).expose());
            Ok(check)
        }
        Algorithm::MlKem768 | Algorithm::MlKem1024 => {
            let (mut check, secret) = kem::encapsulate(key)?;
            check.extend_from_slice(outcome(secret.expose()).expose());
            Ok(check)
        }
    }
}

/// Proves that this is the key that the check value was made with, and that it works now.
pub fn prove(key: &Material, check: &[u8]) -> Result<(), AlgorithmError> {
    match key.spec().algorithm() {
        Algorithm::Aes | Algorithm::ChaCha20Poly1305 => {
            let text = symmetric::decrypt(key, CONTEXT, check).map_err(|_| AlgorithmError::CheckFailed)?;
            if text.expose() == CONTEXT { Ok(()) } else { Err(AlgorithmError::CheckFailed) }
        }
        Algorithm::HmacSha256 | Algorithm::HmacSha384 | Algorithm::HmacSha512 => mac::verify(key, CONTEXT, check),
        Algorithm::Rsa | Algorithm::Ec | Algorithm::Ed25519 => {
            signature::verify(key, scheme(key), CONTEXT, check)?;
            // That proved the public half; the private one has to sign.
            let fresh = signature::sign(key, scheme(key), CONTEXT)?;
            signature::verify(key, scheme(key), CONTEXT, &fresh)
        }
        Algorithm::X25519 => exchange(check, |public| okp::agree_raw(key, public)),
        Algorithm::MlKem768 | Algorithm::MlKem1024 => exchange(check, |ciphertext| kem::decapsulate(key, ciphertext)),
    }
}

fn scheme(key: &Material) -> Scheme {
    Scheme::default_for(key.spec()).expect("RSA, EC and Ed25519 keys sign")
}

/// What is kept of a shared secret: enough to compare, nothing to use.
fn outcome(secret: &[u8]) -> Secret<[u8; 32]> {
    kdf::hkdf(secret, &[CONTEXT])
}

fn exchange(
    check: &[u8],
    secret: impl FnOnce(&[u8]) -> Result<SecretBytes, AlgorithmError>,
) -> Result<(), AlgorithmError> {
    let (message, kept) = check.split_last_chunk::<32>().ok_or(AlgorithmError::CheckFailed)?;
    let secret = secret(message).map_err(|_| AlgorithmError::CheckFailed)?;
    if outcome(secret.expose()).eq_ct(kept) { Ok(()) } else { Err(AlgorithmError::CheckFailed) }
}
