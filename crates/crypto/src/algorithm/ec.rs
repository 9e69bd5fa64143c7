//! Elliptic curves of FIPS 186-5: ECDSA with the hash that fits the curve, and ECDH.

use aws_lc_rs::agreement::{
    Algorithm as Ecdh, ECDH_P256, ECDH_P384, ECDH_P521, PrivateKey, UnparsedPublicKey as Peer, agree,
};
use aws_lc_rs::encoding::{AsBigEndian, AsDer, EcPrivateKeyBin, EcPrivateKeyRfc5915Der, Pkcs8V1Der, PublicKeyX509Der};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_ASN1, ECDSA_P256_SHA256_ASN1_SIGNING, ECDSA_P256_SHA256_FIXED, ECDSA_P256_SHA256_FIXED_SIGNING,
    ECDSA_P384_SHA384_ASN1, ECDSA_P384_SHA384_ASN1_SIGNING, ECDSA_P384_SHA384_FIXED, ECDSA_P384_SHA384_FIXED_SIGNING,
    ECDSA_P521_SHA512_ASN1, ECDSA_P521_SHA512_ASN1_SIGNING, ECDSA_P521_SHA512_FIXED, ECDSA_P521_SHA512_FIXED_SIGNING,
    EcdsaKeyPair, EcdsaSigningAlgorithm, EcdsaVerificationAlgorithm, KeyPair, UnparsedPublicKey,
};
use keyark_model::key::{Algorithm, Curve, KeySpec};

use crate::SecretBytes;

use super::{AlgorithmError, Format, Material};

const REFUSED: AlgorithmError = AlgorithmError::BadInput(
    "this is no EC private key on the curve that was given: send PKCS#8, SEC 1 (EC PRIVATE KEY) or the raw scalar",
);

/// How an ECDSA signature is written.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum EcdsaForm {
    /// DER of SEQUENCE { r, s }: what X.509 and OpenSSL use.
    Asn1,
    /// r ‖ s, each as long as the field (64, 96 or 132 bytes): what JOSE and PKCS#11 use.
    Fixed,
}

fn curve(spec: KeySpec) -> Curve {
    spec.curve().expect("an EC spec has a curve")
}

fn ecdh(curve: Curve) -> &'static Ecdh {
    match curve {
        Curve::P256 => &ECDH_P256,
        Curve::P384 => &ECDH_P384,
        Curve::P521 => &ECDH_P521,
    }
}

pub(super) fn generate(spec: KeySpec) -> SecretBytes {
    let key = PrivateKey::generate(ecdh(curve(spec))).expect("making an EC key fails only without memory");
    encoded(&key).expect("a key that was just made can be encoded")
}

fn encoded(key: &PrivateKey) -> Result<SecretBytes, AlgorithmError> {
    let der: Pkcs8V1Der<'_> = key.as_der()?;
    Ok(SecretBytes::new(der.as_ref().to_vec()))
}

fn scalar(key: &PrivateKey) -> Result<EcPrivateKeyBin<'static>, AlgorithmError> {
    Ok(key.as_be_bytes()?)
}

pub(super) fn import(spec: KeySpec, format: Format, bytes: &[u8]) -> Result<SecretBytes, AlgorithmError> {
    let algorithm = ecdh(curve(spec));
    let key = match format {
        Format::Raw => PrivateKey::from_private_key(algorithm, bytes).map_err(|_| REFUSED)?,
        Format::Pkcs8 | Format::Sec1 => {
            let key = PrivateKey::from_private_key_der(algorithm, bytes).map_err(|_| REFUSED)?;
            // Made anew from the scalar, so that the stored encoding does not depend on how the key came: parsing
            // remembers whether the public half was there and whether it was compressed.
            PrivateKey::from_private_key(algorithm, scalar(&key)?.as_ref()).map_err(|_| REFUSED)?
        }
        Format::Pkcs1 => return Err(REFUSED),
    };
    encoded(&key)
}

fn private(key: &Material, op: &'static str) -> Result<PrivateKey, AlgorithmError> {
    key.must_be(&[Algorithm::Ec], op, "an EC key")?;
    PrivateKey::from_private_key_der(ecdh(curve(key.spec())), key.bytes()).map_err(|_| AlgorithmError::CheckFailed)
}

pub(super) fn export(key: &Material, format: Format) -> Result<SecretBytes, AlgorithmError> {
    match format {
        Format::Pkcs8 => Ok(SecretBytes::new(key.bytes().to_vec())),
        Format::Sec1 => {
            let der: EcPrivateKeyRfc5915Der<'_> = private(key, "be exported as SEC 1")?.as_der()?;
            Ok(SecretBytes::new(der.as_ref().to_vec()))
        }
        Format::Raw => {
            let scalar = scalar(&private(key, "be exported as a scalar")?)?;
            Ok(SecretBytes::new(scalar.as_ref().to_vec()))
        }
        Format::Pkcs1 => Err(AlgorithmError::BadInput("an EC key has no such format: ask for PKCS#8")),
    }
}

pub(super) fn public_key(key: &Material) -> Result<Vec<u8>, AlgorithmError> {
    let public = private(key, "show an EC public key")?.compute_public_key()?;
    let der: PublicKeyX509Der<'_> = public.as_der()?;
    Ok(der.as_ref().to_vec())
}

fn signing(curve: Curve, form: EcdsaForm) -> &'static EcdsaSigningAlgorithm {
    match (curve, form) {
        (Curve::P256, EcdsaForm::Asn1) => &ECDSA_P256_SHA256_ASN1_SIGNING,
        (Curve::P256, EcdsaForm::Fixed) => &ECDSA_P256_SHA256_FIXED_SIGNING,
        (Curve::P384, EcdsaForm::Asn1) => &ECDSA_P384_SHA384_ASN1_SIGNING,
        (Curve::P384, EcdsaForm::Fixed) => &ECDSA_P384_SHA384_FIXED_SIGNING,
        (Curve::P521, EcdsaForm::Asn1) => &ECDSA_P521_SHA512_ASN1_SIGNING,
        (Curve::P521, EcdsaForm::Fixed) => &ECDSA_P521_SHA512_FIXED_SIGNING,
    }
}

fn verifying(curve: Curve, form: EcdsaForm) -> &'static EcdsaVerificationAlgorithm {
    match (curve, form) {
        (Curve::P256, EcdsaForm::Asn1) => &ECDSA_P256_SHA256_ASN1,
        (Curve::P256, EcdsaForm::Fixed) => &ECDSA_P256_SHA256_FIXED,
        (Curve::P384, EcdsaForm::Asn1) => &ECDSA_P384_SHA384_ASN1,
        (Curve::P384, EcdsaForm::Fixed) => &ECDSA_P384_SHA384_FIXED,
        (Curve::P521, EcdsaForm::Asn1) => &ECDSA_P521_SHA512_ASN1,
        (Curve::P521, EcdsaForm::Fixed) => &ECDSA_P521_SHA512_FIXED,
    }
}

fn pair(key: &Material, form: EcdsaForm, op: &'static str) -> Result<EcdsaKeyPair, AlgorithmError> {
    key.must_be(&[Algorithm::Ec], op, "an EC key")?;
    let algorithm = signing(curve(key.spec()), form);
    EcdsaKeyPair::from_pkcs8(algorithm, key.bytes()).map_err(|_| AlgorithmError::CheckFailed)
}

pub(super) fn sign(key: &Material, form: EcdsaForm, message: &[u8]) -> Result<Vec<u8>, AlgorithmError> {
    let pair = pair(key, form, "make an ECDSA signature")?;
    Ok(pair.sign(&SystemRandom::new(), message)?.as_ref().to_vec())
}

pub(super) fn verify(key: &Material, form: EcdsaForm, message: &[u8], signature: &[u8]) -> Result<(), AlgorithmError> {
    let pair = pair(key, form, "verify an ECDSA signature")?;
    let algorithm = verifying(curve(key.spec()), form);
    Ok(UnparsedPublicKey::new(algorithm, pair.public_key().as_ref()).verify(message, signature)?)
}

/// ECDH (SP 800-56A, 5.7.1.2) with the other side's public key: SubjectPublicKeyInfo or an encoded point. The result
/// is the x coordinate; it must go through a key derivation before it is used.
pub(super) fn shared_secret(key: &Material, peer: &[u8]) -> Result<SecretBytes, AlgorithmError> {
    let private = private(key, "agree on a secret")?;
    let refused = AlgorithmError::BadInput("the other side's key is no point of this curve: send its public key");
    let peer = Peer::new(ecdh(curve(key.spec())), peer);
    agree(&private, peer, refused, |secret| Ok(SecretBytes::new(secret.to_vec())))
}
