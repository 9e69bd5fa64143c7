//! ML-KEM-768 and ML-KEM-1024 (FIPS 203): a fresh shared secret for the holder of the key. `dhkem` does it with X25519.
//!
//! Stored is the expanded decapsulation key, dk_PKE ‖ ek ‖ H(ek) ‖ z, from which everything else can be read.

use aws_lc_rs::digest::{SHA3_256, digest};
use aws_lc_rs::kem::{Algorithm as Kem, Ciphertext, DecapsulationKey, EncapsulationKey, ML_KEM_768, ML_KEM_1024};
use keyark_model::key::{Algorithm, KeySpec};

use crate::SecretBytes;

use super::{AlgorithmError, Format, Material, dhkem};

/// What FIPS 203, table 3 says of a parameter set, in bytes.
#[derive(Clone, Copy, Debug)]
pub struct Lengths {
    pub decapsulation_key: usize,
    pub encapsulation_key: usize,
    pub ciphertext: usize,
}

impl Lengths {
    /// Those of a spec; ML-KEM-768 for one that is none of ML-KEM.
    pub fn of(spec: KeySpec) -> Lengths {
        match spec.algorithm() {
            Algorithm::MlKem1024 => Lengths { decapsulation_key: 3168, encapsulation_key: 1568, ciphertext: 1568 },
            _ => Lengths { decapsulation_key: 2400, encapsulation_key: 1184, ciphertext: 1088 },
        }
    }
}

const REFUSED: AlgorithmError = AlgorithmError::BadInput(
    "this is no ML-KEM private key of the parameter set that was given: send the expanded decapsulation key of \
     FIPS 203, raw or as the expandedKey of PKCS#8 (a seed alone cannot be imported)",
);

fn kem(spec: KeySpec) -> &'static Kem {
    if spec.algorithm() == Algorithm::MlKem1024 { &ML_KEM_1024 } else { &ML_KEM_768 }
}

pub(super) fn generate(spec: KeySpec) -> SecretBytes {
    let key = DecapsulationKey::generate(kem(spec)).expect("making an ML-KEM key fails only without memory");
    let bytes = key.key_bytes().expect("a key that was just made can be encoded");
    SecretBytes::new(bytes.as_ref().to_vec())
}

/// The encapsulation key inside a decapsulation key: in front of H(ek) and z, 32 bytes each.
fn encapsulation_key(spec: KeySpec, decapsulation_key: &[u8]) -> Result<&[u8], AlgorithmError> {
    let lengths = Lengths::of(spec);
    let end = lengths.decapsulation_key - 64;
    if decapsulation_key.len() != lengths.decapsulation_key {
        return Err(AlgorithmError::CheckFailed);
    }
    Ok(&decapsulation_key[end - lengths.encapsulation_key..end])
}

pub(super) fn import(spec: KeySpec, format: Format, bytes: &[u8]) -> Result<SecretBytes, AlgorithmError> {
    let raw = match format {
        Format::Raw => bytes,
        Format::Pkcs8 => bytes.strip_prefix(&*pkcs8_front(spec)).ok_or(REFUSED)?,
        Format::Pkcs1 | Format::Sec1 => return Err(REFUSED),
    };
    let public = encapsulation_key(spec, raw).map_err(|_| REFUSED)?;
    // FIPS 203, 7.3: the hash check; then one exchange, for a damaged dk_PKE passes it.
    let hash = &raw[raw.len() - 64..raw.len() - 32];
    if digest(&SHA3_256, public).as_ref() != hash {
        return Err(REFUSED);
    }
    let key = Material { spec, bytes: SecretBytes::new(raw.to_vec()) };
    let (ciphertext, secret) = encapsulate(&key).map_err(|_| REFUSED)?;
    if !decapsulate(&key, &ciphertext).map_err(|_| REFUSED)?.eq_ct(secret.expose()) {
        return Err(REFUSED);
    }
    Ok(key.bytes)
}

pub(super) fn export(key: &Material, format: Format) -> Result<SecretBytes, AlgorithmError> {
    match format {
        Format::Raw => Ok(SecretBytes::new(key.bytes().to_vec())),
        Format::Pkcs8 => {
            let front = pkcs8_front(key.spec());
            let mut out = Vec::with_capacity(front.len() + key.bytes().len());
            out.extend_from_slice(&front);
            out.extend_from_slice(key.bytes());
            Ok(SecretBytes::new(out))
        }
        Format::Pkcs1 | Format::Sec1 => {
            Err(AlgorithmError::BadInput("an ML-KEM key has no such format: ask for PKCS#8"))
        }
    }
}

pub(super) fn public_key(key: &Material) -> Result<Vec<u8>, AlgorithmError> {
    let public = encapsulation_key(key.spec(), key.bytes())?;
    let mut content = algorithm_identifier(key.spec()).to_vec();
    content.extend_from_slice(&head(0x03, public.len() + 1));
    content.push(0);
    content.extend_from_slice(public);
    Ok([&head(0x30, content.len())[..], &content].concat())
}

/// SEQUENCE { OID of the parameter set } (RFC 9935, 3).
fn algorithm_identifier(spec: KeySpec) -> [u8; 13] {
    let set = if spec.algorithm() == Algorithm::MlKem1024 { 3 } else { 2 };
    [0x30, 0x0b, 0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x04, set]
}

/// Everything of PrivateKeyInfo in front of the key, in the expandedKey form (RFC 9935, 6).
fn pkcs8_front(spec: KeySpec) -> Vec<u8> {
    let inner = head(0x04, Lengths::of(spec).decapsulation_key);
    let outer = head(0x04, inner.len() + Lengths::of(spec).decapsulation_key);
    let version = [0x02, 0x01, 0x00];
    let identifier = algorithm_identifier(spec);
    let length = version.len() + identifier.len() + outer.len() + inner.len() + Lengths::of(spec).decapsulation_key;
    [&head(0x30, length)[..], &version, &identifier, &outer, &inner].concat()
}

/// Tag and length in DER, of a content of 256 bytes to 64 KiB: every length here is in that range.
fn head(tag: u8, length: usize) -> [u8; 4] {
    let [high, low] = u16::try_from(length).expect("an ML-KEM key has less than 64 KiB").to_be_bytes();
    [tag, 0x82, high, low]
}

fn must_be_kem(key: &Material, op: &'static str) -> Result<(), AlgorithmError> {
    let kems = [Algorithm::MlKem768, Algorithm::MlKem1024, Algorithm::X25519];
    key.must_be(&kems, op, "an ML-KEM-768, ML-KEM-1024 or X25519 key")
}

/// A fresh secret of 32 bytes, and the ciphertext from which the holder of the key gets it.
pub fn encapsulate(key: &Material) -> Result<(Vec<u8>, SecretBytes), AlgorithmError> {
    must_be_kem(key, "encapsulate")?;
    if key.spec().algorithm() == Algorithm::X25519 {
        return dhkem::encapsulate(key);
    }
    let public = encapsulation_key(key.spec(), key.bytes())?;
    let public = EncapsulationKey::new(kem(key.spec()), public).map_err(|_| AlgorithmError::CheckFailed)?;
    let (ciphertext, secret) = public.encapsulate()?;
    Ok((ciphertext.as_ref().to_vec(), SecretBytes::new(secret.as_ref().to_vec())))
}

/// The secret of 32 bytes in a ciphertext. An altered ciphertext is not found out: it gives another secret
/// (implicit rejection, FIPS 203, 6.3), and what is done with that will fail.
pub fn decapsulate(key: &Material, ciphertext: &[u8]) -> Result<SecretBytes, AlgorithmError> {
    must_be_kem(key, "decapsulate")?;
    if key.spec().algorithm() == Algorithm::X25519 {
        return dhkem::decapsulate(key, ciphertext);
    }
    if ciphertext.len() != Lengths::of(key.spec()).ciphertext {
        return Err(AlgorithmError::BadInput("the ciphertext does not have the length of this parameter set"));
    }
    let private = DecapsulationKey::new(kem(key.spec()), key.bytes()).map_err(|_| AlgorithmError::CheckFailed)?;
    let secret = private.decapsulate(Ciphertext::from(ciphertext))?;
    Ok(SecretBytes::new(secret.as_ref().to_vec()))
}
