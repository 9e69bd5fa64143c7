//! Signatures of every kind behind one name each.

use keyark_model::key::{Algorithm, KeySpec};

use super::ec::{self, EcdsaForm};
use super::rsa::{self, Padding};
use super::{AlgorithmError, Hash, Material, okp};

/// A way to sign. ECDSA takes the hash that fits the curve: SHA-256, SHA-384, SHA-512.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Scheme {
    Rsa(Padding, Hash),
    Ecdsa(EcdsaForm),
    Ed25519,
}

impl Scheme {
    /// Every scheme with its name on the wire.
    pub const ALL: &'static [(&'static str, Scheme)] = &[
        ("RSA-PSS-SHA256", Scheme::Rsa(Padding::Pss, Hash::Sha256)),
        ("RSA-PSS-SHA384", Scheme::Rsa(Padding::Pss, Hash::Sha384)),
        ("RSA-PSS-SHA512", Scheme::Rsa(Padding::Pss, Hash::Sha512)),
        ("RSA-PKCS1-SHA256", Scheme::Rsa(Padding::Pkcs1, Hash::Sha256)),
        ("RSA-PKCS1-SHA384", Scheme::Rsa(Padding::Pkcs1, Hash::Sha384)),
        ("RSA-PKCS1-SHA512", Scheme::Rsa(Padding::Pkcs1, Hash::Sha512)),
        ("ECDSA", Scheme::Ecdsa(EcdsaForm::Asn1)),
        ("ECDSA-RAW", Scheme::Ecdsa(EcdsaForm::Fixed)),
        ("Ed25519", Scheme::Ed25519),
    ];

    /// The scheme of a name, in any case.
    pub fn from_name(name: &str) -> Option<Scheme> {
        Scheme::ALL.iter().find(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, scheme)| *scheme)
    }

    pub fn name(self) -> &'static str {
        Scheme::ALL.iter().find(|(_, scheme)| *scheme == self).expect("ALL has every scheme").0
    }

    /// The scheme when none is named: PSS with SHA-256, ECDSA in ASN.1, Ed25519; none for keys that do not sign.
    pub fn default_for(spec: KeySpec) -> Option<Scheme> {
        match spec.algorithm() {
            Algorithm::Rsa => Some(Scheme::Rsa(Padding::Pss, Hash::Sha256)),
            Algorithm::Ec => Some(Scheme::Ecdsa(EcdsaForm::Asn1)),
            Algorithm::Ed25519 => Some(Scheme::Ed25519),
            _ => None,
        }
    }
}

/// Signs a message (not its digest).
pub fn sign(key: &Material, scheme: Scheme, message: &[u8]) -> Result<Vec<u8>, AlgorithmError> {
    match scheme {
        Scheme::Rsa(padding, hash) => rsa::sign(key, padding, hash, message),
        Scheme::Ecdsa(form) => ec::sign(key, form, message),
        Scheme::Ed25519 => okp::ed25519_sign(key, message),
    }
}

/// Verifies a signature with the public half.
pub fn verify(key: &Material, scheme: Scheme, message: &[u8], signature: &[u8]) -> Result<(), AlgorithmError> {
    match scheme {
        Scheme::Rsa(padding, hash) => rsa::verify(key, padding, hash, message, signature),
        Scheme::Ecdsa(form) => ec::verify(key, form, message, signature),
        Scheme::Ed25519 => okp::ed25519_verify(key, message, signature),
    }
}
