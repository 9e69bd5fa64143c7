//! A secret at rest: the clear header, and the sealed body in which each version is encrypted under its key.

use std::collections::BTreeMap;

use keyark_crypto::SecretBytes;
use keyark_crypto::hash::sha256;
use keyark_model::{Digest, DomainId, Id, Kind, Record, Time};
use serde::{Deserialize, Serialize};

use super::material::DataType;
use crate::app::core::Core;
use crate::app::error::{AppError, Result};
use crate::app::keys::material::KeyCiphertext;
use crate::app::records::{Header, Stored};

/// Clear attributes of a secret.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct SecretHeader {
    pub name: String,
    pub data_type: DataType,
    pub created_at: Time,
    pub updated_at: Time,
    /// Oldest first, never empty. Not called `versions` in the header: a quota of secrets counts secrets.
    #[serde(rename = "history")]
    pub versions: Vec<SecretVersion>,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub description: String,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    #[serde(default, skip_serializing_if = "serde_json::Map::is_empty")]
    pub meta: serde_json::Map<String, serde_json::Value>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub unexportable: bool,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub undeletable: bool,
    /// Days between a deletion and the end.
    pub recovery_days: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deleted_at: Option<Time>,
    /// From then on it is gone for everybody.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deletion_date: Option<Time>,
}

/// What is known in clear of one version.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SecretVersion {
    /// Counts from 0, never used again.
    pub version: u64,
    pub created_at: Time,
    /// The key that encrypts it, in the same domain.
    pub key_id: Id,
    pub key_version: u64,
    /// Bytes of the value.
    pub size: u64,
    /// Of the ciphertext: a digest of the value itself would let a short one be guessed.
    pub sha256: Digest,
    /// When its value was destroyed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub destroyed_at: Option<Time>,
}

/// What became of a secret.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SecretState {
    Active,
    /// Its deletion is scheduled and can be taken back.
    Deleted,
    /// No version has a value any more.
    Destroyed,
}

impl SecretState {
    pub const ALL: [SecretState; 3] = [SecretState::Active, SecretState::Deleted, SecretState::Destroyed];

    pub fn word(self) -> &'static str {
        match self {
            SecretState::Active => "Active",
            SecretState::Deleted => "Deleted",
            SecretState::Destroyed => "Destroyed",
        }
    }
}

impl Header for SecretHeader {
    const KIND: Kind = Kind::Secret;

    fn version(&self) -> u64 {
        self.versions.last().map_or(0, |v| v.version)
    }
}

impl SecretHeader {
    pub fn state(&self) -> SecretState {
        if self.deletion_date.is_some() {
            SecretState::Deleted
        } else if self.versions.iter().all(|v| v.destroyed_at.is_some()) {
            SecretState::Destroyed
        } else {
            SecretState::Active
        }
    }

    /// Whether its recovery window has ended, so that it exists for nobody.
    pub fn gone(&self, now: Time) -> bool {
        self.deletion_date.is_some_and(|date| date <= now)
    }

    /// The version that a request means: by number, -1 or none for the newest.
    pub fn version_of(&self, wanted: Option<i64>) -> Result<&SecretVersion> {
        match wanted {
            None | Some(-1) => self.versions.last(),
            Some(n) => self.versions.iter().find(|v| i64::try_from(v.version) == Ok(n)),
        }
        .ok_or_else(|| AppError::not_found("this version of the secret"))
    }
}

impl SecretVersion {
    pub fn new(sealed: &SealedVersion, size: usize, now: Time) -> SecretVersion {
        SecretVersion {
            version: sealed.version,
            created_at: now,
            key_id: sealed.key,
            key_version: sealed.key_version,
            size: size as u64,
            sha256: sealed.digest(),
            destroyed_at: None,
        }
    }
}

/// The body of a secret's record: the values that were not destroyed, each encrypted under its key.
///
/// CBOR `[[ [version, key id, key version, nonce, ciphertext ‖ tag], … ]]`. Without the key no value opens, even for
/// whoever opens the body.
#[derive(Clone, Debug, Default, PartialEq, Eq, minicbor::Encode, minicbor::Decode)]
pub struct SecretBody {
    #[n(0)]
    pub versions: Vec<SealedVersion>,
}

/// One value as its key encrypted it.
#[derive(Clone, Debug, PartialEq, Eq, minicbor::Encode, minicbor::Decode)]
pub struct SealedVersion {
    #[n(0)]
    pub version: u64,
    #[n(1)]
    pub key: Id,
    #[n(2)]
    pub key_version: u64,
    #[cbor(n(3), with = "minicbor::bytes")]
    pub nonce: Vec<u8>,
    #[cbor(n(4), with = "minicbor::bytes")]
    pub ciphertext: Vec<u8>,
    /// The number that it was encrypted as, where a restore brought it in as another version.
    #[n(5)]
    pub sealed_as: Option<u64>,
}

impl SealedVersion {
    /// SHA-256 of the ciphertext.
    pub fn digest(&self) -> Digest {
        sha256(&[&self.ciphertext])
    }
}

impl SecretBody {
    pub fn encode(&self) -> Result<Vec<u8>> {
        minicbor::to_vec(self).map_err(AppError::internal)
    }

    pub fn decode(bytes: &[u8]) -> Result<SecretBody> {
        minicbor::decode(bytes).map_err(|e| AppError::internal(format!("body of a secret: {e}")))
    }

    /// Bytes of all ciphertexts.
    pub fn size(&self) -> usize {
        self.versions.iter().map(|v| v.ciphertext.len()).sum()
    }
}

/// The associated data of a value's encryption: context and 8 bytes of the version's number. Which secret and domain it
/// is of, the seal of the record says: so that a restore can give a secret a new id or domain.
pub fn secret_aad(version: u64) -> Vec<u8> {
    [b"keyark/secret/1".as_slice(), &version.to_be_bytes()].concat()
}

impl Core {
    /// The body of a secret: still encrypted under the customers' keys.
    pub fn secret_body(&self, stored: &Stored<SecretHeader>) -> Result<SecretBody> {
        let mut body = SecretBody::decode(self.open_body(stored)?.expose())?;
        // The header is sealed against too, and it is what a restore rewrites when a key got a new id.
        for version in &mut body.versions {
            if let Some(header) = stored.header.versions.iter().find(|v| v.version == version.version) {
                version.key = header.key_id;
            }
        }
        Ok(body)
    }

    /// Encrypts a value with the newest version of a key, named by id or name.
    pub fn secret_seal(
        &self,
        (domain, _, version): (DomainId, Id, u64),
        key: &str,
        value: &SecretBytes,
        now: Time,
    ) -> Result<SealedVersion> {
        let made = self.key_encrypt(domain, key, &secret_aad(version), value.expose(), now)?;
        Ok(SealedVersion {
            version,
            key: made.key,
            key_version: made.version,
            nonce: made.nonce,
            ciphertext: made.ciphertext,
            sealed_as: None,
        })
    }

    /// A value in clear.
    pub fn secret_open(&self, domain: DomainId, _: Id, sealed: &SealedVersion, now: Time) -> Result<SecretBytes> {
        let aad = secret_aad(sealed.sealed_as.unwrap_or(sealed.version));
        let made = KeyCiphertext {
            key: sealed.key,
            version: sealed.key_version,
            nonce: sealed.nonce.clone(),
            ciphertext: sealed.ciphertext.clone(),
        };
        self.key_decrypt(domain, &made, &aad, now)
    }
}

/// The header and body without the values of one version, or of all.
pub fn secret_without(
    header: &SecretHeader,
    body: SecretBody,
    version: Option<u64>,
    now: Time,
) -> (SecretHeader, SecretBody) {
    let (mut header, mut body) = (header.clone(), body);
    let meant = |n: u64| version.is_none_or(|v| v == n);
    for version in header.versions.iter_mut().filter(|v| meant(v.version)) {
        version.destroyed_at.get_or_insert(now);
    }
    body.versions.retain(|v| !meant(v.version));
    header.updated_at = now;
    (header, body)
}

/// A secret here with the newest value of an archived one as its newest version.
pub fn secret_append(
    core: &Core,
    current: Record,
    header: &[u8],
    body: &SecretBytes,
) -> Result<(Vec<u8>, SecretBytes)> {
    let stored = core.read_header::<SecretHeader>(current)?;
    let archived: SecretHeader = serde_json::from_slice(header).map_err(AppError::internal)?;
    let gone = || AppError::not_found("the archived value");
    let newest = archived.versions.iter().rev().find(|v| v.destroyed_at.is_none()).ok_or_else(gone)?;
    let sealed = SecretBody::decode(body.expose())?.versions.into_iter().find(|v| v.version == newest.version);
    let sealed = sealed.ok_or_else(gone)?;
    let (mut header, mut body) = (stored.header.clone(), core.secret_body(&stored)?);
    let version = stored.header.version() + 1;
    header.versions.push(SecretVersion { version, ..newest.clone() });
    let sealed_as = Some(sealed.sealed_as.unwrap_or(sealed.version));
    body.versions.push(SealedVersion { version, sealed_as, key: newest.key_id, ..sealed });
    Ok((serde_json::to_vec(&header).map_err(AppError::internal)?, SecretBytes::new(body.encode()?)))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use keyark_model::{Id, RecordFacts, Time};
    use uuid::Uuid;

    use super::{SealedVersion, SecretBody, SecretHeader, SecretState, SecretVersion, secret_aad, secret_without};
    use crate::app::secrets::material::DataType;

    fn secret(versions: u64) -> (SecretHeader, SecretBody) {
        let sealed = |version| SealedVersion {
            version,
            key: Id(Uuid::from_u128(7)),
            key_version: 2,
            nonce: vec![1; 12],
            ciphertext: vec![version as u8; 20],
            sealed_as: None,
        };
        let body = SecretBody { versions: (0..versions).map(sealed).collect() };
        let header = SecretHeader {
            name: "s".into(),
            data_type: DataType::Blob,
            created_at: Time(1),
            updated_at: Time(1),
            versions: body.versions.iter().map(|v| SecretVersion::new(v, 4, Time(1))).collect(),
            description: String::new(),
            labels: BTreeMap::new(),
            meta: serde_json::Map::new(),
            unexportable: false,
            undeletable: false,
            recovery_days: 30,
            deleted_at: None,
            deletion_date: None,
        };
        (header, body)
    }

    #[test]
    fn header_and_body_are_read_back_and_a_secret_weighs_one_whatever_its_versions() {
        let (header, body) = secret(3);
        assert_eq!(SecretBody::decode(&body.encode().unwrap()).unwrap(), body);
        assert!(SecretBody::decode(&[0xff]).is_err());
        let bytes = serde_json::to_vec(&header).unwrap();
        let facts = RecordFacts::of_header(&bytes).unwrap();
        assert_eq!((facts.name.as_deref(), facts.weight), (Some("s"), 1));
        let back: SecretHeader = serde_json::from_slice(&bytes).unwrap();
        assert_eq!(back.versions, header.versions);
    }

    #[test]
    fn versions_are_found_by_number_and_the_newest_by_default() {
        let (header, _) = secret(3);
        let number = |wanted| header.version_of(wanted).ok().map(|v| v.version);
        for (wanted, expected) in [
            (None, Some(2)),
            (Some(-1), Some(2)),
            (Some(0), Some(0)),
            (Some(2), Some(2)),
            (Some(3), None),
            (Some(-2), None),
        ] {
            assert_eq!(number(wanted), expected, "{wanted:?}");
        }
    }

    #[test]
    fn destroying_takes_the_value_of_one_version_or_of_all_and_keeps_the_first_date() {
        let (header, body) = secret(3);
        let (header, body) = secret_without(&header, body, Some(1), Time(5));
        assert_eq!(body.versions.iter().map(|v| v.version).collect::<Vec<_>>(), [0, 2]);
        assert_eq!(header.versions[1].destroyed_at, Some(Time(5)));
        assert_eq!(header.state(), SecretState::Active);
        let (header, body) = secret_without(&header, body, None, Time(9));
        assert!(body.versions.is_empty());
        assert_eq!(
            header.versions.iter().map(|v| v.destroyed_at).collect::<Vec<_>>(),
            [9, 5, 9].map(|t| Some(Time(t)))
        );
        assert_eq!(header.state(), SecretState::Destroyed);
    }

    #[test]
    fn a_deleted_secret_is_gone_at_its_date_and_not_before() {
        let (mut header, _) = secret(1);
        assert!(!header.gone(Time(i64::MAX)));
        header.deletion_date = Some(Time(100));
        assert_eq!(header.state(), SecretState::Deleted);
        assert!(!header.gone(Time(99)) && header.gone(Time(100)));
    }

    #[test]
    fn the_associated_data_names_the_version() {
        assert_ne!(secret_aad(0), secret_aad(1));
        assert_eq!(secret_aad(0).len(), secret_aad(1).len());
    }
}
