//! The algorithms of customers' keys: making, importing, exporting and using their material.
//!
//! Whether an operation is permitted (state, dates, usage mask, rights) is asked before, in `keyark_model::key`.

pub mod body;
pub mod check;
mod dhkem;
pub mod ec;
pub mod error;
pub mod kem;
pub mod mac;
pub mod okp;
pub mod pem;
pub mod rsa;
pub mod signature;
pub mod symmetric;
pub mod wrapping;

use keyark_model::Digest;
use keyark_model::key::{Algorithm, KeySpec};

use crate::{SecretBytes, kdf, random};

pub use body::{BodyVersion, KeyBody};
pub use error::AlgorithmError;
pub use signature::Scheme;
pub use wrapping::WrapMethod;

/// The hashes on offer, for OAEP and for signatures. SHA-1 is not.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Hash {
    Sha256,
    Sha384,
    Sha512,
}

/// The encodings of private and symmetric keys.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Format {
    /// The bytes themselves: the secret of symmetric keys, the seed of Ed25519 and X25519, the scalar of EC keys,
    /// the expanded decapsulation key of ML-KEM (FIPS 203).
    Raw,
    /// PrivateKeyInfo, DER (RFC 5958): every asymmetric key.
    Pkcs8,
    /// RSAPrivateKey, DER (RFC 8017).
    Pkcs1,
    /// ECPrivateKey, DER (RFC 5915).
    Sec1,
}

/// The material of one key version: checked when it came in, in the one encoding that is stored.
///
/// Stored are: the bytes of symmetric keys and of X25519, PKCS#8 for RSA, EC and Ed25519, the expanded decapsulation
/// key for ML-KEM.
#[derive(Debug)]
pub struct Material {
    spec: KeySpec,
    bytes: SecretBytes,
}

impl Material {
    /// Fresh random material.
    pub fn generate(spec: KeySpec) -> Material {
        let bytes = match spec.algorithm() {
            Algorithm::Rsa => rsa::generate(spec),
            Algorithm::Ec => ec::generate(spec),
            Algorithm::Ed25519 => okp::ed25519_from_seed(random::secret::<32>().expose()),
            Algorithm::MlKem768 | Algorithm::MlKem1024 => kem::generate(spec),
            _ => {
                let mut bytes = SecretBytes::new(vec![0; (spec.size() / 8) as usize]);
                random::fill(bytes.expose_mut());
                bytes
            }
        };
        Material { spec, bytes }
    }

    /// Material from elsewhere: it must be valid and of exactly this kind.
    pub fn import(spec: KeySpec, format: Format, bytes: &[u8]) -> Result<Material, AlgorithmError> {
        let bytes = match spec.algorithm() {
            Algorithm::Rsa => rsa::import(spec, format, bytes)?,
            Algorithm::Ec => ec::import(spec, format, bytes)?,
            Algorithm::Ed25519 => okp::ed25519_import(format, bytes)?,
            Algorithm::X25519 => okp::x25519_import(format, bytes)?,
            Algorithm::MlKem768 | Algorithm::MlKem1024 => kem::import(spec, format, bytes)?,
            _ if format != Format::Raw => {
                return Err(AlgorithmError::BadInput("a symmetric key has no such format: send its raw bytes"));
            }
            _ if bytes.len() * 8 != spec.size() as usize => {
                return Err(AlgorithmError::BadInput("the material does not have the size that was given: correct it"));
            }
            _ => SecretBytes::new(bytes.to_vec()),
        };
        Ok(Material { spec, bytes })
    }

    /// An asymmetric key in PEM; the label says the format.
    pub fn import_pem(spec: KeySpec, text: &[u8]) -> Result<Material, AlgorithmError> {
        let (format, der) = pem::decode_private(text)?;
        Material::import(spec, format, der.expose())
    }

    /// What `stored` gave, from a sealed body that was opened. It is trusted to be what was sealed; its length is
    /// checked where the spec tells it.
    pub fn from_stored(spec: KeySpec, bytes: SecretBytes) -> Result<Material, AlgorithmError> {
        let length = match spec.algorithm() {
            Algorithm::Rsa | Algorithm::Ec => None,
            Algorithm::Ed25519 => Some(okp::ED25519_PKCS8_LENGTH),
            Algorithm::MlKem768 | Algorithm::MlKem1024 => Some(kem::Lengths::of(spec).decapsulation_key),
            _ => Some((spec.size() / 8) as usize),
        };
        if length.is_some_and(|length| length != bytes.expose().len()) {
            return Err(AlgorithmError::CheckFailed);
        }
        Ok(Material { spec, bytes })
    }

    pub fn spec(&self) -> KeySpec {
        self.spec
    }

    /// The material as it is stored.
    pub fn stored(&self) -> &SecretBytes {
        &self.bytes
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        self.bytes.expose()
    }

    /// The material in a format that this kind of key has.
    pub fn export(&self, format: Format) -> Result<SecretBytes, AlgorithmError> {
        match self.spec.algorithm() {
            Algorithm::Rsa => rsa::export(self, format),
            Algorithm::Ec => ec::export(self, format),
            Algorithm::Ed25519 => okp::ed25519_export(self, format),
            Algorithm::X25519 => okp::x25519_export(self, format),
            Algorithm::MlKem768 | Algorithm::MlKem1024 => kem::export(self, format),
            _ if format == Format::Raw => Ok(SecretBytes::new(self.bytes().to_vec())),
            _ => Err(AlgorithmError::BadInput("a symmetric key has no such format: ask for raw")),
        }
    }

    /// An asymmetric key as PKCS#8 in PEM.
    pub fn export_pem(&self) -> Result<SecretBytes, AlgorithmError> {
        Ok(pem::encode("PRIVATE KEY", self.export(Format::Pkcs8)?.expose()))
    }

    /// An RSA key as PKCS#1 in PEM.
    pub fn export_pem_pkcs1(&self) -> Result<SecretBytes, AlgorithmError> {
        Ok(pem::encode("RSA PRIVATE KEY", self.export(Format::Pkcs1)?.expose()))
    }

    /// The public half: SubjectPublicKeyInfo, DER (RFC 5280).
    pub fn public_key(&self) -> Result<Vec<u8>, AlgorithmError> {
        match self.spec.algorithm() {
            Algorithm::Rsa => rsa::public_key(self),
            Algorithm::Ec => ec::public_key(self),
            Algorithm::Ed25519 => okp::ed25519_public_key(self),
            Algorithm::X25519 => okp::x25519_public_key(self),
            Algorithm::MlKem768 | Algorithm::MlKem1024 => kem::public_key(self),
            _ => Err(self.cannot("show a public key", "an asymmetric key")),
        }
    }

    /// The public half in PEM.
    pub fn public_key_pem(&self) -> Result<String, AlgorithmError> {
        let mut text = pem::encode("PUBLIC KEY", &self.public_key()?);
        Ok(String::from_utf8(std::mem::take(text.expose_mut())).expect("PEM is ASCII"))
    }

    /// HKDF(material, "keyark/fp") (rules C3): shown to compare keys, and never an encryption of zeros.
    pub fn fingerprint(&self) -> Digest {
        kdf::fingerprint(self.bytes())
    }

    fn cannot(&self, op: &'static str, use_instead: &'static str) -> AlgorithmError {
        AlgorithmError::WrongAlgorithm { op, spec: self.spec, use_instead }
    }

    /// Refuses other algorithms than these.
    fn must_be(
        &self,
        algorithms: &[Algorithm],
        op: &'static str,
        use_instead: &'static str,
    ) -> Result<(), AlgorithmError> {
        if algorithms.contains(&self.spec.algorithm()) { Ok(()) } else { Err(self.cannot(op, use_instead)) }
    }
}

#[cfg(test)]
mod tests;
#[cfg(test)]
mod vectors;
