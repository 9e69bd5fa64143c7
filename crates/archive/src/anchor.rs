//! The anchor: which keys may have signed the archives of which system, pinned by whoever restores.

use keyark_crypto::hash::sha256;
use keyark_crypto::sign::{Context, PublicKey, Signer};
use keyark_model::{Incarnation, SystemId};
use minicbor::encode::Encoder;

use crate::error::{ArchiveError, Result};
use crate::json::{self, Decimal, Hex};

const VERSION: u64 = 1;
const ALGORITHM: &str = "Ed25519";

/// One signing key and when it may sign.
#[derive(Clone, PartialEq, Eq, Debug, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AnchorKey {
    pub system: SystemId,
    pub incarnation: Incarnation,
    pub key_id: Hex,
    pub algorithm: String,
    pub public_key: Hex,
    pub valid_from: Decimal,
    /// Made by an earlier key of the list; without it a person pinned this key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub signed_by_predecessor: Option<Hex>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub revoked_from: Option<Decimal>,
}

/// The pinned keys, oldest first. Parsed with `Anchor::parse`, which checks it; `verify` checks one built by hand.
#[derive(Clone, PartialEq, Eq, Debug, serde::Serialize, serde::Deserialize)]
pub struct Anchor {
    pub version: u64,
    pub keys: Vec<AnchorKey>,
}

/// What is known of the maker of an archive.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Verdict {
    /// Signed by a key that the anchor pins for this system, incarnation and position.
    SignedByPinned { key_id: String },
    /// Whole, but signed by a key that is not pinned.
    UnknownSigner { key_id: String },
    /// Altered, or signed by a key that must not have signed it.
    Bad { why: &'static str },
}

impl Verdict {
    /// The error that stops a restore, unless the signer is pinned.
    pub fn require_pinned(self) -> Result<()> {
        match self {
            Verdict::SignedByPinned { .. } => Ok(()),
            Verdict::UnknownSigner { key_id } => Err(ArchiveError::UnknownSigner { key_id }),
            Verdict::Bad { why } => Err(ArchiveError::SignatureBad(why)),
        }
    }
}

/// Why an anchor is not believed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AnchorError {
    #[error("this is no anchor: {0}; take it again from the system or from an exported backup key")]
    Malformed(String),
    #[error("key {0} of the anchor is not what its id says, or has an unknown algorithm; pin the anchor again")]
    KeyDamaged(String),
    #[error("key {0} of the anchor says that a predecessor signed it, and none did; pin the anchor again")]
    NotVouchedFor(String),
}

impl AnchorKey {
    /// A key that a person pins.
    pub fn pinned(system: SystemId, incarnation: Incarnation, key: &PublicKey, valid_from: u64) -> AnchorKey {
        AnchorKey {
            system,
            incarnation,
            key_id: Hex(key.key_id().to_vec()),
            algorithm: ALGORITHM.into(),
            public_key: Hex(key.0.to_vec()),
            valid_from: Decimal(valid_from),
            signed_by_predecessor: None,
            revoked_from: None,
        }
    }

    /// The same, vouched for by the key before.
    pub fn signed_by(mut self, predecessor: &Signer) -> AnchorKey {
        self.signed_by_predecessor = Some(Hex(predecessor.sign(Context::Anchor, &self.statement()).to_vec()));
        self
    }

    fn public(&self) -> Option<PublicKey> {
        let key = PublicKey(self.public_key.0[..].try_into().ok()?);
        (self.algorithm == ALGORITHM && key.key_id()[..] == self.key_id.0[..]).then_some(key)
    }

    /// The deterministic CBOR that a predecessor signs.
    fn statement(&self) -> Vec<u8> {
        let mut e = Encoder::new(Vec::new());
        e.array(5).and_then(|e| self.fields(e)).expect("writing into a vector does not fail");
        e.into_writer()
    }

    fn fields<'e>(&self, e: &'e mut Encoder<Vec<u8>>) -> Fields<'e> {
        e.bytes(self.system.as_bytes())?.bytes(self.incarnation.as_bytes())?.str(&self.algorithm)?;
        e.bytes(&self.public_key.0)?.u64(self.valid_from.0)
    }
}

type Fields<'e> = std::result::Result<&'e mut Encoder<Vec<u8>>, minicbor::encode::Error<std::convert::Infallible>>;

impl Anchor {
    /// An anchor of these keys, oldest first.
    pub fn new(keys: Vec<AnchorKey>) -> Anchor {
        Anchor { version: VERSION, keys }
    }

    /// From JSON, checked.
    pub fn parse(bytes: &[u8]) -> std::result::Result<Anchor, AnchorError> {
        let anchor: Anchor = json::parse(bytes).map_err(AnchorError::Malformed)?;
        anchor.verify()?;
        Ok(anchor)
    }

    /// The JSON.
    pub fn to_json(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("an anchor has no value that JSON lacks")
    }

    /// Checks version, key ids, and every signature by a predecessor (an earlier key of the same system).
    pub fn verify(&self) -> std::result::Result<(), AnchorError> {
        if self.version != VERSION {
            return Err(AnchorError::Malformed(format!("it has version {}", self.version)));
        }
        for (at, key) in self.keys.iter().enumerate() {
            let id = || json::hex(&key.key_id.0);
            key.public().ok_or_else(|| AnchorError::KeyDamaged(id()))?;
            if let Some(signature) = &key.signed_by_predecessor {
                let statement = key.statement();
                let vouched = self.keys[..at]
                    .iter()
                    .filter(|k| k.system == key.system)
                    .any(|k| k.public().is_some_and(|p| p.verify(Context::Anchor, &statement, &signature.0).is_ok()));
                if !vouched {
                    return Err(AnchorError::NotVouchedFor(id()));
                }
            }
        }
        Ok(())
    }

    /// What people compare: SHA-256 over all keys, as `AB:CD:…`. A key that is listed again for a further incarnation of
    /// the same system counts once: nobody has to pin anew what they trust already.
    pub fn fingerprint(&self) -> String {
        let again = |n: usize, key: &AnchorKey| {
            let same = |k: &AnchorKey| {
                (k.system, &k.public_key, k.revoked_from) == (key.system, &key.public_key, key.revoked_from)
            };
            self.keys[..n].iter().any(same)
        };
        let distinct: Vec<&AnchorKey> =
            self.keys.iter().enumerate().filter(|(n, key)| !again(*n, key)).map(|(_, key)| key).collect();
        let mut e = Encoder::new(Vec::new());
        e.array(distinct.len() as u64).expect("writing into a vector does not fail");
        for key in distinct {
            e.array(6)
                .and_then(|e| key.fields(e))
                .and_then(|e| e.encode(key.revoked_from.map(|p| p.0)))
                .expect("writing into a vector does not fail");
        }
        let digest = sha256(&[b"keyark/fp/anchor", &e.into_writer()]);
        digest.0.iter().map(|b| format!("{b:02X}")).collect::<Vec<_>>().join(":")
    }

    /// Whether `key` may have signed up to the system's position `last` of that incarnation; only for a signature that holds.
    /// `None`: a domain's numbers, which do not compare with the anchor's; a revoked key then counts as unknown, to be named.
    pub fn judge(&self, key: &PublicKey, system: SystemId, incarnation: Incarnation, last: Option<u64>) -> Verdict {
        let key_id = json::hex(&key.key_id());
        let named = || self.keys.iter().filter(|k| k.public().as_ref() == Some(key) && k.system == system);
        if named().next().is_none() {
            return Verdict::UnknownSigner { key_id };
        }
        // The key goes on signing when its system is restored in place: an anchor that was exported before knows it, but
        // not the new incarnation, whose positions it cannot compare.
        let (Some(pinned), Some(last)) = (named().find(|k| k.incarnation == incarnation), last) else {
            return match named().any(|k| k.revoked_from.is_some()) {
                false => Verdict::SignedByPinned { key_id },
                true => Verdict::UnknownSigner { key_id },
            };
        };
        if last < pinned.valid_from.0 {
            return Verdict::Bad { why: "the key is pinned for later positions only" };
        }
        if pinned.revoked_from.is_some_and(|from| last >= from.0) {
            return Verdict::Bad { why: "the key was revoked before this position" };
        }
        Verdict::SignedByPinned { key_id }
    }
}
