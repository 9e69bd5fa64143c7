//! Sealing record bodies: AES-256-GCM, bound to the record and to the hash of its clear header (rules C1).
//!
//! A sealed body is: KEK generation (4 bytes, big-endian) ‖ nonce (12) ‖ ciphertext ‖ tag (16).

use keyark_model::{DomainId, Id, Kind};

use crate::{CryptoError, Key256, SecretBytes, aead, hash, random};

/// Which record a body belongs to.
#[derive(Clone, Copy, Debug)]
pub struct RecordName {
    pub domain: DomainId,
    pub kind: Kind,
    pub id: Id,
    /// Number of the newest version in the header, 0 for kinds without versions.
    pub version: u64,
    pub revision: u64,
}

/// One generation of a key-encryption key, scheduled.
pub struct Kek {
    pub generation: u32,
    gcm: aead::Gcm,
    key: Key256,
}

impl Kek {
    pub fn new(generation: u32, key: Key256) -> Kek {
        Kek { generation, gcm: aead::Gcm::new(&key), key }
    }

    /// A fresh random one.
    pub fn generate(generation: u32) -> Kek {
        Kek::new(generation, random::secret())
    }

    /// The key itself, to be wrapped.
    pub fn key(&self) -> &Key256 {
        &self.key
    }

    /// Seals a body for a record with this header.
    pub fn seal(&self, name: &RecordName, header: &[u8], plaintext: &[u8]) -> Box<[u8]> {
        let nonce = random::bytes::<{ aead::NONCE }>();
        let mut buffer = Vec::with_capacity(plaintext.len() + aead::TAG);
        buffer.extend_from_slice(plaintext);
        self.gcm.seal(nonce, &associated_data(name, self.generation, header), &mut buffer);
        let mut out = Vec::with_capacity(4 + aead::NONCE + buffer.len());
        out.extend_from_slice(&self.generation.to_be_bytes());
        out.extend_from_slice(&nonce);
        out.append(&mut buffer);
        out.into_boxed_slice()
    }

    /// Opens a body of this generation; fails if header, body or name were altered.
    pub fn open(&self, name: &RecordName, header: &[u8], body: &[u8]) -> Result<SecretBytes, CryptoError> {
        if generation_of(body) != Some(self.generation) {
            return Err(CryptoError);
        }
        let (nonce, rest) = body[4..].split_first_chunk::<{ aead::NONCE }>().ok_or(CryptoError)?;
        let mut buffer = SecretBytes::new(rest.to_vec());
        let aad = associated_data(name, self.generation, header);
        let length = self.gcm.open(*nonce, &aad, buffer.expose_mut())?.len();
        buffer.expose_mut().truncate(length);
        Ok(buffer)
    }
}

/// The KEK generation that a body was sealed under.
pub fn generation_of(body: &[u8]) -> Option<u32> {
    body.first_chunk::<4>().map(|g| u32::from_be_bytes(*g))
}

fn associated_data(name: &RecordName, generation: u32, header: &[u8]) -> Vec<u8> {
    let digest = hash::sha256(&[header]);
    let mut e = minicbor::Encoder::new(Vec::with_capacity(128));
    let written = e
        .array(8)
        .and_then(|e| e.str("keyark/record/1"))
        .and_then(|e| e.bytes(name.domain.as_bytes()))
        .and_then(|e| e.u8(name.kind as u8))
        .and_then(|e| e.bytes(name.id.as_bytes()))
        .and_then(|e| e.u64(name.version))
        .and_then(|e| e.u64(name.revision))
        .and_then(|e| e.u32(generation))
        .and_then(|e| e.bytes(&digest.0));
    written.expect("writing to memory cannot fail");
    e.into_writer()
}

#[cfg(test)]
mod tests {
    use keyark_model::{DomainId, Id, Kind};

    use super::{Kek, RecordName};

    fn name() -> RecordName {
        RecordName { domain: DomainId::ROOT, kind: Kind::Key, id: Id::from_bytes([7; 16]), version: 0, revision: 1 }
    }

    #[test]
    fn every_seal_draws_a_nonce_of_its_own() {
        let kek = Kek::generate(1);
        let nonces: std::collections::HashSet<Vec<u8>> =
            (0..1000).map(|_| kek.seal(&name(), b"{}", b"the same")[4..16].to_vec()).collect();
        assert_eq!(nonces.len(), 1000);
    }

    #[test]
    fn a_body_opens_only_with_its_own_header_name_and_generation() {
        let kek = Kek::generate(3);
        let body = kek.seal(&name(), b"{}", b"material");
        assert_eq!(kek.open(&name(), b"{}", &body).unwrap().expose(), b"material");
        assert!(kek.open(&name(), b"{ }", &body).is_err());
        assert!(kek.open(&RecordName { revision: 2, ..name() }, b"{}", &body).is_err());
        assert!(kek.open(&RecordName { kind: Kind::Secret, ..name() }, b"{}", &body).is_err());
        assert!(kek.open(&RecordName { domain: DomainId::from_bytes([1; 16]), ..name() }, b"{}", &body).is_err());
        assert!(Kek::generate(3).open(&name(), b"{}", &body).is_err());
        for bit in 0..body.len() * 8 {
            let mut bad = body.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            assert!(kek.open(&name(), b"{}", &bad).is_err());
        }
        for cut in 0..body.len() {
            assert!(kek.open(&name(), b"{}", &body[..cut]).is_err());
        }
    }
}
