//! RSA: OAEP encryption (RFC 8017, 7.1; never with SHA-1), PKCS#1 v1.5 and PSS signatures.

use aws_lc_rs::encoding::{AsDer, Pkcs8V1Der, PublicKeyX509Der};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::{
    KeyPair, KeySize, OAEP_SHA256_MGF1SHA256, OAEP_SHA384_MGF1SHA384, OAEP_SHA512_MGF1SHA512, OaepAlgorithm,
    OaepPrivateDecryptingKey, OaepPublicEncryptingKey, PrivateDecryptingKey, PublicEncryptingKey, RsaParameters,
};
use aws_lc_rs::signature::{
    KeyPair as HasPublicKey, RSA_PKCS1_2048_8192_SHA256, RSA_PKCS1_2048_8192_SHA384, RSA_PKCS1_2048_8192_SHA512,
    RSA_PKCS1_SHA256, RSA_PKCS1_SHA384, RSA_PKCS1_SHA512, RSA_PSS_2048_8192_SHA256, RSA_PSS_2048_8192_SHA384,
    RSA_PSS_2048_8192_SHA512, RSA_PSS_SHA256, RSA_PSS_SHA384, RSA_PSS_SHA512, RsaSignatureEncoding, UnparsedPublicKey,
};
use keyark_model::key::{Algorithm, KeySpec};

use crate::SecretBytes;

use super::{AlgorithmError, Format, Hash, Material};

const TOO_LARGE: &str = "wrap a key with AES-KWP, or encrypt data under a data key";
const REFUSED: AlgorithmError = AlgorithmError::BadInput(
    "this is no RSA private key of the size that was given: send PKCS#8 or PKCS#1, unencrypted, with all its primes",
);

pub(super) fn generate(spec: KeySpec) -> SecretBytes {
    let size = match spec.size() {
        2048 => KeySize::Rsa2048,
        3072 => KeySize::Rsa3072,
        _ => KeySize::Rsa4096,
    };
    let pair = KeyPair::generate(size).expect("making an RSA key fails only without memory");
    encoded(&pair).expect("a key that was just made can be encoded")
}

fn encoded(pair: &KeyPair) -> Result<SecretBytes, AlgorithmError> {
    let der: Pkcs8V1Der<'_> = pair.as_der()?;
    Ok(SecretBytes::new(der.as_ref().to_vec()))
}

pub(super) fn import(spec: KeySpec, format: Format, bytes: &[u8]) -> Result<SecretBytes, AlgorithmError> {
    let pair = match format {
        Format::Pkcs8 => KeyPair::from_pkcs8(bytes),
        Format::Pkcs1 => KeyPair::from_der(bytes),
        Format::Raw | Format::Sec1 => {
            return Err(AlgorithmError::BadInput("an RSA key has no such format: send PKCS#8 or PKCS#1"));
        }
    }
    .map_err(|_| REFUSED)?;
    let public = pair.public_key();
    let modulus = public.modulus().big_endian_without_leading_zero();
    let exponent = public.exponent().big_endian_without_leading_zero();
    let bits = modulus.len() * 8 - modulus.first().map_or(0, |byte| byte.leading_zeros() as usize);
    if bits != spec.size() as usize {
        return Err(REFUSED);
    }
    // FIPS 186-5, A.1.1: the public exponent is greater than 65536; three bytes or more are.
    if exponent.len() < 3 {
        return Err(AlgorithmError::BadInput("the public exponent must be at least 65537: make a new key"));
    }
    encoded(&pair)
}

fn pair(key: &Material, op: &'static str) -> Result<KeyPair, AlgorithmError> {
    key.must_be(&[Algorithm::Rsa], op, "an RSA key")?;
    KeyPair::from_pkcs8(key.bytes()).map_err(|_| AlgorithmError::CheckFailed)
}

pub(super) fn export(key: &Material, format: Format) -> Result<SecretBytes, AlgorithmError> {
    match format {
        Format::Pkcs8 => Ok(SecretBytes::new(key.bytes().to_vec())),
        Format::Pkcs1 => pkcs1(key.bytes()),
        Format::Raw | Format::Sec1 => Err(AlgorithmError::BadInput("an RSA key has no such format: ask for PKCS#8")),
    }
}

/// The RSAPrivateKey inside our own encoding: SEQUENCE (4 bytes of head) { version (3), algorithm (15), OCTET STRING
/// (4 bytes of head) }, for at 2048 bits and more every length takes two bytes.
fn pkcs1(pkcs8: &[u8]) -> Result<SecretBytes, AlgorithmError> {
    const FRONT: [u8; 18] =
        [0x02, 0x01, 0x00, 0x30, 0x0d, 0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01, 0x05, 0x00];
    match pkcs8 {
        [0x30, 0x82, _, _, rest @ ..] => match rest.strip_prefix(&FRONT) {
            Some([0x04, 0x82, _, _, inner @ ..]) => Ok(SecretBytes::new(inner.to_vec())),
            _ => Err(AlgorithmError::CheckFailed),
        },
        _ => Err(AlgorithmError::CheckFailed),
    }
}

pub(super) fn public_key(key: &Material) -> Result<Vec<u8>, AlgorithmError> {
    let pair = pair(key, "show an RSA public key")?;
    let der: PublicKeyX509Der<'_> = pair.public_key().as_der()?;
    Ok(der.as_ref().to_vec())
}

fn oaep(hash: Hash) -> (&'static OaepAlgorithm, usize) {
    match hash {
        Hash::Sha256 => (&OAEP_SHA256_MGF1SHA256, 32),
        Hash::Sha384 => (&OAEP_SHA384_MGF1SHA384, 48),
        Hash::Sha512 => (&OAEP_SHA512_MGF1SHA512, 64),
    }
}

fn oaep_encrypt(public: PublicEncryptingKey, hash: Hash, plaintext: &[u8]) -> Result<Vec<u8>, AlgorithmError> {
    let (algorithm, hash_length) = oaep(hash);
    let limit = public.key_size_bytes() - 2 * hash_length - 2;
    if plaintext.len() > limit {
        return Err(AlgorithmError::TooLarge { limit, use_instead: TOO_LARGE });
    }
    let public = OaepPublicEncryptingKey::new(public)?;
    let mut out = vec![0; public.ciphertext_size()];
    let length = public.encrypt(algorithm, plaintext, &mut out, None)?.len();
    out.truncate(length);
    Ok(out)
}

/// Encrypts under the public half with OAEP; the ciphertext is as long as the modulus. At most 190 bytes fit into
/// RSA-2048 with SHA-256.
pub fn encrypt(key: &Material, hash: Hash, plaintext: &[u8]) -> Result<Vec<u8>, AlgorithmError> {
    key.must_be(&[Algorithm::Rsa], "encrypt with OAEP", "an RSA key")?;
    let private = PrivateDecryptingKey::from_pkcs8(key.bytes()).map_err(|_| AlgorithmError::CheckFailed)?;
    oaep_encrypt(private.public_key(), hash, plaintext)
}

/// The same under somebody else's public key (SubjectPublicKeyInfo, DER): to hand a key over to its holder.
pub fn encrypt_to(public_key: &[u8], hash: Hash, plaintext: &[u8]) -> Result<Vec<u8>, AlgorithmError> {
    let refused = AlgorithmError::BadInput("this is no RSA public key of 2048 bits or more: send SubjectPublicKeyInfo");
    oaep_encrypt(PublicEncryptingKey::from_der(public_key).map_err(|_| refused)?, hash, plaintext)
}

/// Decrypts OAEP.
pub fn decrypt(key: &Material, hash: Hash, ciphertext: &[u8]) -> Result<SecretBytes, AlgorithmError> {
    key.must_be(&[Algorithm::Rsa], "decrypt with OAEP", "an RSA key")?;
    let private = PrivateDecryptingKey::from_pkcs8(key.bytes()).map_err(|_| AlgorithmError::CheckFailed)?;
    let private = OaepPrivateDecryptingKey::new(private)?;
    let mut out = SecretBytes::new(vec![0; private.min_output_size()]);
    let length = private.decrypt(oaep(hash).0, ciphertext, out.expose_mut(), None)?.len();
    out.expose_mut().truncate(length);
    Ok(out)
}

/// How a signature is padded.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Padding {
    Pkcs1,
    /// With a salt as long as the hash.
    Pss,
}

pub(super) fn sign(key: &Material, padding: Padding, hash: Hash, message: &[u8]) -> Result<Vec<u8>, AlgorithmError> {
    let encoding: &'static RsaSignatureEncoding = match (padding, hash) {
        (Padding::Pkcs1, Hash::Sha256) => &RSA_PKCS1_SHA256,
        (Padding::Pkcs1, Hash::Sha384) => &RSA_PKCS1_SHA384,
        (Padding::Pkcs1, Hash::Sha512) => &RSA_PKCS1_SHA512,
        (Padding::Pss, Hash::Sha256) => &RSA_PSS_SHA256,
        (Padding::Pss, Hash::Sha384) => &RSA_PSS_SHA384,
        (Padding::Pss, Hash::Sha512) => &RSA_PSS_SHA512,
    };
    let pair = pair(key, "make an RSA signature")?;
    let mut out = vec![0; pair.public_modulus_len()];
    pair.sign(encoding, &SystemRandom::new(), message, &mut out)?;
    Ok(out)
}

pub(super) fn verify(
    key: &Material,
    padding: Padding,
    hash: Hash,
    message: &[u8],
    signature: &[u8],
) -> Result<(), AlgorithmError> {
    let parameters: &'static RsaParameters = match (padding, hash) {
        (Padding::Pkcs1, Hash::Sha256) => &RSA_PKCS1_2048_8192_SHA256,
        (Padding::Pkcs1, Hash::Sha384) => &RSA_PKCS1_2048_8192_SHA384,
        (Padding::Pkcs1, Hash::Sha512) => &RSA_PKCS1_2048_8192_SHA512,
        (Padding::Pss, Hash::Sha256) => &RSA_PSS_2048_8192_SHA256,
        (Padding::Pss, Hash::Sha384) => &RSA_PSS_2048_8192_SHA384,
        (Padding::Pss, Hash::Sha512) => &RSA_PSS_2048_8192_SHA512,
    };
    let pair = pair(key, "verify an RSA signature")?;
    Ok(UnparsedPublicKey::new(parameters, pair.public_key().as_ref()).verify(message, signature)?)
}
