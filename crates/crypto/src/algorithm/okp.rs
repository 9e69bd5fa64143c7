//! Ed25519 signatures (RFC 8032) and X25519 agreement (RFC 7748), with the derivation that makes keys of a secret.

use aws_lc_rs::agreement::{PrivateKey, UnparsedPublicKey as Peer, X25519, agree};
use aws_lc_rs::encoding::{AsDer, PublicKeyX509Der};
use aws_lc_rs::signature::{ED25519, Ed25519KeyPair, KeyPair, UnparsedPublicKey};
use keyark_model::key::Algorithm;

use crate::{Key256, SecretBytes, kdf};

use super::{AlgorithmError, Format, Material, ec};

/// PrivateKeyInfo (version 1) up to the seed, of Ed25519 and of X25519 (RFC 8410, 7).
const ED25519_FRONT: [u8; 16] =
    [0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x04, 0x22, 0x04, 0x20];
const X25519_FRONT: [u8; 16] =
    [0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x6e, 0x04, 0x22, 0x04, 0x20];

/// Bytes of a stored Ed25519 key.
pub(super) const ED25519_PKCS8_LENGTH: usize = ED25519_FRONT.len() + 32;

fn joined(front: &[u8; 16], seed: &[u8; 32]) -> SecretBytes {
    let mut out = Vec::with_capacity(front.len() + seed.len());
    out.extend_from_slice(front);
    out.extend_from_slice(seed);
    SecretBytes::new(out)
}

pub(super) fn ed25519_from_seed(seed: &[u8; 32]) -> SecretBytes {
    joined(&ED25519_FRONT, seed)
}

pub(super) fn ed25519_import(format: Format, bytes: &[u8]) -> Result<SecretBytes, AlgorithmError> {
    let refused = AlgorithmError::BadInput("this is no Ed25519 private key: send PKCS#8, or the raw seed of 32 bytes");
    match format {
        Format::Raw => Ok(ed25519_from_seed(bytes.try_into().map_err(|_| refused)?)),
        Format::Pkcs8 => {
            let pair = Ed25519KeyPair::from_pkcs8(bytes).map_err(|_| refused)?;
            Ok(SecretBytes::new(pair.to_pkcs8v1()?.as_ref().to_vec()))
        }
        Format::Pkcs1 | Format::Sec1 => Err(refused),
    }
}

pub(super) fn ed25519_export(key: &Material, format: Format) -> Result<SecretBytes, AlgorithmError> {
    match format {
        Format::Pkcs8 => Ok(SecretBytes::new(key.bytes().to_vec())),
        Format::Raw => {
            let seed = key.bytes().strip_prefix(&ED25519_FRONT).ok_or(AlgorithmError::CheckFailed)?;
            Ok(SecretBytes::new(seed.to_vec()))
        }
        Format::Pkcs1 | Format::Sec1 => {
            Err(AlgorithmError::BadInput("an Ed25519 key has no such format: ask for PKCS#8"))
        }
    }
}

fn ed25519_pair(key: &Material, op: &'static str) -> Result<Ed25519KeyPair, AlgorithmError> {
    key.must_be(&[Algorithm::Ed25519], op, "an Ed25519 key")?;
    Ed25519KeyPair::from_pkcs8(key.bytes()).map_err(|_| AlgorithmError::CheckFailed)
}

pub(super) fn ed25519_public_key(key: &Material) -> Result<Vec<u8>, AlgorithmError> {
    let pair = ed25519_pair(key, "show an Ed25519 public key")?;
    let der: PublicKeyX509Der<'_> = pair.public_key().as_der()?;
    Ok(der.as_ref().to_vec())
}

pub(super) fn ed25519_sign(key: &Material, message: &[u8]) -> Result<Vec<u8>, AlgorithmError> {
    Ok(ed25519_pair(key, "make an Ed25519 signature")?.try_sign(message)?.as_ref().to_vec())
}

pub(super) fn ed25519_verify(key: &Material, message: &[u8], signature: &[u8]) -> Result<(), AlgorithmError> {
    let pair = ed25519_pair(key, "verify an Ed25519 signature")?;
    Ok(UnparsedPublicKey::new(&ED25519, pair.public_key().as_ref()).verify(message, signature)?)
}

pub(super) fn x25519_import(format: Format, bytes: &[u8]) -> Result<SecretBytes, AlgorithmError> {
    let scalar = match format {
        Format::Raw => Some(bytes),
        Format::Pkcs8 => bytes.strip_prefix(&X25519_FRONT),
        Format::Pkcs1 | Format::Sec1 => None,
    };
    match scalar {
        Some(scalar) if scalar.len() == 32 => Ok(SecretBytes::new(scalar.to_vec())),
        _ => Err(AlgorithmError::BadInput("this is no X25519 private key: send PKCS#8 (version 1), or 32 raw bytes")),
    }
}

pub(super) fn x25519_export(key: &Material, format: Format) -> Result<SecretBytes, AlgorithmError> {
    match format {
        Format::Raw => Ok(SecretBytes::new(key.bytes().to_vec())),
        Format::Pkcs8 => {
            let scalar: &[u8; 32] = key.bytes().try_into().map_err(|_| AlgorithmError::CheckFailed)?;
            Ok(joined(&X25519_FRONT, scalar))
        }
        Format::Pkcs1 | Format::Sec1 => {
            Err(AlgorithmError::BadInput("an X25519 key has no such format: ask for PKCS#8"))
        }
    }
}

fn x25519_private(key: &Material, op: &'static str) -> Result<PrivateKey, AlgorithmError> {
    key.must_be(&[Algorithm::X25519], op, "an X25519 key")?;
    PrivateKey::from_private_key(&X25519, key.bytes()).map_err(|_| AlgorithmError::CheckFailed)
}

/// The raw public key.
pub(super) fn x25519_public(key: &Material) -> Result<Vec<u8>, AlgorithmError> {
    Ok(x25519_private(key, "show an X25519 public key")?.compute_public_key()?.as_ref().to_vec())
}

pub(super) fn x25519_public_key(key: &Material) -> Result<Vec<u8>, AlgorithmError> {
    let public = x25519_private(key, "show an X25519 public key")?.compute_public_key()?;
    let der: PublicKeyX509Der<'_> = public.as_der()?;
    Ok(der.as_ref().to_vec())
}

fn x25519_shared_secret(key: &Material, peer: &[u8]) -> Result<SecretBytes, AlgorithmError> {
    let private = x25519_private(key, "agree on a secret")?;
    let refused = AlgorithmError::BadInput("the other side's key is no X25519 public key: send 32 bytes or its DER");
    agree(&private, Peer::new(&X25519, peer), refused, |secret| Ok(SecretBytes::new(secret.to_vec())))
}

/// The raw secret that an EC or X25519 key and the other side's public key agree on. It must go through a key
/// derivation before it is used; `agree_key` does both.
pub fn agree_raw(key: &Material, peer: &[u8]) -> Result<SecretBytes, AlgorithmError> {
    match key.spec().algorithm() {
        Algorithm::Ec => ec::shared_secret(key, peer),
        Algorithm::X25519 => x25519_shared_secret(key, peer),
        _ => Err(key.cannot("agree on a secret", "an EC or X25519 key")),
    }
}

/// 32 bytes for the purpose `info`: HKDF-SHA-256 of the agreed secret. Both sides must use the same `info`, which
/// should name both public keys (RFC 7748, 6.1).
pub fn agree_key(key: &Material, peer: &[u8], info: &[u8]) -> Result<Key256, AlgorithmError> {
    Ok(kdf::hkdf(agree_raw(key, peer)?.expose(), &[b"keyark/agree/1", info]))
}
