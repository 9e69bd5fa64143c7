//! The body of a key record, in clear before it is sealed: the material and the check value of each version.
//!
//! Deterministic CBOR: `[1, [version, material, check], …]`, versions in ascending order. A destroyed version has no
//! entry; its header says that it existed.

use keyark_model::key::KeySpec;
use minicbor::{Decoder, Encoder};

use crate::SecretBytes;

use super::{AlgorithmError, Material, check};

/// The number of this form of the body.
const FORM: u8 = 1;

/// One version.
#[derive(Debug)]
pub struct BodyVersion {
    pub version: u32,
    pub material: Material,
    /// Made by `check::make` when the material came in.
    pub check: Vec<u8>,
}

/// All versions that still have material, oldest first.
#[derive(Debug, Default)]
pub struct KeyBody {
    versions: Vec<BodyVersion>,
}

impl KeyBody {
    /// The body of a new key.
    pub fn new(version: u32, material: Material) -> Result<KeyBody, AlgorithmError> {
        let mut body = KeyBody::default();
        body.push(version, material)?;
        Ok(body)
    }

    /// Adds a version and makes its check value. Fails if a version with this number or a later one is there.
    pub fn push(&mut self, version: u32, material: Material) -> Result<(), AlgorithmError> {
        if self.versions.last().is_some_and(|last| last.version >= version) {
            return Err(AlgorithmError::BadInput("a key has a version with this number already: take the next one"));
        }
        let check = check::make(&material)?;
        self.versions.push(BodyVersion { version, material, check });
        Ok(())
    }

    /// Removes the material of a version; whether there was any.
    pub fn destroy(&mut self, version: u32) -> bool {
        let before = self.versions.len();
        self.versions.retain(|v| v.version != version);
        self.versions.len() < before
    }

    pub fn versions(&self) -> &[BodyVersion] {
        &self.versions
    }

    /// The version with this number, if it still has material.
    pub fn version(&self, version: u32) -> Option<&BodyVersion> {
        self.versions.iter().find(|v| v.version == version)
    }

    /// Takes the material of one version out, for a cache.
    pub fn into_material(self, version: u32) -> Option<Material> {
        self.versions.into_iter().find(|v| v.version == version).map(|v| v.material)
    }

    /// Proves every version; how many there were.
    pub fn prove(&self) -> Result<usize, AlgorithmError> {
        self.versions.iter().try_for_each(|v| check::prove(&v.material, &v.check))?;
        Ok(self.versions.len())
    }

    /// The bytes to seal.
    pub fn encode(&self) -> SecretBytes {
        // Large enough for every head (at most 9 bytes): a vector that grows would leave keys in the memory that it
        // gives back.
        let content: usize = self.versions.iter().map(|v| v.material.bytes().len() + v.check.len() + 4 * 9).sum();
        let mut e = Encoder::new(Vec::with_capacity(content + 2 * 9));
        let written = e.array(self.versions.len() as u64 + 1).and_then(|e| e.u8(FORM)).and_then(|e| {
            self.versions
                .iter()
                .try_fold(e, |e, v| e.array(3)?.u32(v.version)?.bytes(v.material.bytes())?.bytes(&v.check))
        });
        written.expect("writing to memory cannot fail");
        SecretBytes::new(e.into_writer())
    }

    /// Reads what `encode` made, for a key of this spec.
    pub fn decode(spec: KeySpec, bytes: &SecretBytes) -> Result<KeyBody, AlgorithmError> {
        let mut body = KeyBody::default();
        each(bytes, |version, material, check| {
            let material = Material::from_stored(spec, SecretBytes::new(material.to_vec()))?;
            body.versions.push(BodyVersion { version, material, check: check.to_vec() });
            Ok(())
        })?;
        Ok(body)
    }

    /// Reads the material of one version and leaves the others alone.
    pub fn decode_one(spec: KeySpec, bytes: &SecretBytes, wanted: u32) -> Result<Option<Material>, AlgorithmError> {
        let mut found = None;
        each(bytes, |version, material, _| {
            if version == wanted {
                found = Some(Material::from_stored(spec, SecretBytes::new(material.to_vec()))?);
            }
            Ok(())
        })?;
        Ok(found)
    }
}

/// Calls `visit` with version, material and check value of each entry; bodies of another form or with bytes left over
/// are refused.
fn each(
    bytes: &SecretBytes,
    mut visit: impl FnMut(u32, &[u8], &[u8]) -> Result<(), AlgorithmError>,
) -> Result<(), AlgorithmError> {
    let damaged = |_| AlgorithmError::CheckFailed;
    let mut d = Decoder::new(bytes.expose());
    let length = d.array().map_err(damaged)?.ok_or(AlgorithmError::CheckFailed)?;
    if length == 0 || d.u8().map_err(damaged)? != FORM {
        return Err(AlgorithmError::CheckFailed);
    }
    for _ in 1..length {
        if d.array().map_err(damaged)? != Some(3) {
            return Err(AlgorithmError::CheckFailed);
        }
        let version = d.u32().map_err(damaged)?;
        let material = d.bytes().map_err(damaged)?;
        let check = d.bytes().map_err(damaged)?;
        visit(version, material, check)?;
    }
    if d.position() == bytes.expose().len() { Ok(()) } else { Err(AlgorithmError::CheckFailed) }
}
