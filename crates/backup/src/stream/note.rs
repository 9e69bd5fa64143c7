//! Signed notes (`docs/stream-format.md`, section 2): epoch files, owner marks, heartbeats.

use keyark_archive::json::{self, Base64, Decimal};
use keyark_archive::{Anchor, Factor, Scope, Verdict};
use keyark_crypto::hash::sha256;
use keyark_crypto::sign::{Context, PublicKey, Signer};
use keyark_model::{Digest, DomainId, Incarnation, SystemId, Time};
use uuid::Uuid;

/// The most bytes of a note.
pub const MAX_NOTE: u64 = 64 << 10;
/// Hexadecimal digits of the signature block.
const BLOCK: usize = 2 * (1 + 32 + 64);
const ED25519: u8 = 1;

/// What a note says.
#[derive(Clone, PartialEq, Debug, serde::Serialize, serde::Deserialize)]
#[serde(tag = "note", rename_all = "lowercase")]
pub enum Note {
    Epoch(EpochNote),
    Owner(OwnerNote),
    Heartbeat(HeartbeatNote),
    Retention(RetentionNote),
}

/// The key of an epoch, wrapped: a door to every archive of the epoch.
#[derive(Clone, PartialEq, Debug, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct EpochNote {
    pub system: SystemId,
    pub incarnation: Incarnation,
    pub stream: Uuid,
    pub scope: Scope,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub domain: Option<DomainId>,
    pub epoch: Uuid,
    pub created_at: Time,
    /// All of them open it together.
    pub factors: Vec<Factor>,
    pub wrapped: Base64,
}

/// Whose system this is, from here on.
#[derive(Clone, PartialEq, Debug, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct OwnerNote {
    pub system: SystemId,
    pub incarnation: Incarnation,
    /// The incarnation that it was restored from.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub parent: Option<Incarnation>,
    pub n: Decimal,
    pub created_at: Time,
}

/// The log stood at this entry at this time.
#[derive(Clone, PartialEq, Debug, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct HeartbeatNote {
    pub system: SystemId,
    pub incarnation: Incarnation,
    pub stream: Uuid,
    pub seq: Decimal,
    pub hash: Digest,
    pub time: Time,
}

/// Nothing before this time need be restored: whoever may delete there may remove what that takes.
#[derive(Clone, PartialEq, Debug, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RetentionNote {
    pub system: SystemId,
    pub incarnation: Incarnation,
    pub stream: Uuid,
    pub keep_from: Time,
    /// Nothing at all may go, whatever was said before.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub hold: bool,
    pub created_at: Time,
}

/// Why a note says nothing.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum NoteError {
    #[error("the note is damaged: {0}")]
    Damaged(String),
    #[error("the signature of the note is not that of its text: it was changed")]
    Signature,
}

/// A note whose own signature holds, and who claims to have made it.
#[derive(Clone, PartialEq, Debug)]
pub struct Signed {
    pub note: Note,
    pub public: PublicKey,
}

impl Note {
    fn context(&self) -> Context {
        match self {
            Note::Epoch(_) => Context::Epoch,
            Note::Owner(_) => Context::Owner,
            Note::Heartbeat(_) => Context::Heartbeat,
            Note::Retention(_) => Context::Retention,
        }
    }

    /// System and incarnation that it speaks of.
    pub fn origin(&self) -> (SystemId, Incarnation) {
        match self {
            Note::Epoch(n) => (n.system, n.incarnation),
            Note::Owner(n) => (n.system, n.incarnation),
            Note::Heartbeat(n) => (n.system, n.incarnation),
            Note::Retention(n) => (n.system, n.incarnation),
        }
    }

    /// The bytes of the object.
    pub fn sign(&self, signer: &Signer) -> Vec<u8> {
        let mut line = serde_json::to_vec(self).expect("a note has no value that JSON lacks");
        let signature = signer.sign(self.context(), &sha256(&[&line]).0);
        let block = [&[ED25519][..], &signer.public().0, &signature].concat();
        line.extend_from_slice(format!("\n{}\n", json::hex(&block)).as_bytes());
        line
    }

    /// Reads a note and checks its signature against the key in it. Whether that key may speak for the system is `verdict`.
    pub fn parse(bytes: &[u8]) -> Result<Signed, NoteError> {
        let damaged = |what: &str| NoteError::Damaged(what.into());
        if bytes.len() as u64 > MAX_NOTE {
            return Err(damaged("it is too long"));
        }
        let body = bytes.strip_suffix(b"\n").ok_or_else(|| damaged("it was cut"))?;
        let (line, block) =
            body.split_at_checked(body.len().saturating_sub(BLOCK)).ok_or_else(|| damaged("too short"))?;
        let line = line.strip_suffix(b"\n").ok_or_else(|| damaged("it has no signature line"))?;
        let block = std::str::from_utf8(block).ok().filter(|t| !t.bytes().any(|b| b.is_ascii_uppercase()));
        let block = block.and_then(json::unhex).ok_or_else(|| damaged("its signature is no hexadecimal"))?;
        if block.len() != BLOCK / 2 || block[0] != ED25519 || line.contains(&b'\n') {
            return Err(damaged("its signature is of an unknown kind"));
        }
        let note: Note = json::parse(line).map_err(NoteError::Damaged)?;
        let public = PublicKey(block[1..33].try_into().expect("32 bytes"));
        public.verify(note.context(), &sha256(&[line]).0, &block[33..]).map_err(|_| NoteError::Signature)?;
        Ok(Signed { note, public })
    }
}

impl Signed {
    /// Whether the anchor knows the signer for the note's system and incarnation.
    pub fn verdict(&self, anchor: &Anchor) -> Verdict {
        let (system, incarnation) = self.note.origin();
        anchor.judge(&self.public, system, incarnation, None)
    }
}

#[cfg(test)]
mod tests {
    use keyark_archive::{Anchor, AnchorKey, Decimal, Verdict};
    use keyark_crypto::sign::Signer;
    use keyark_model::{Incarnation, SystemId, Time};
    use proptest::prelude::*;

    use super::{Note, NoteError, OwnerNote};

    fn owner(n: u64) -> Note {
        Note::Owner(OwnerNote {
            system: SystemId::from_bytes([1; 16]),
            incarnation: Incarnation::from_bytes([2; 16]),
            parent: None,
            n: Decimal(n),
            created_at: Time(1),
        })
    }

    #[test]
    fn a_note_is_read_back_and_judged_by_the_anchor() {
        let signer = Signer::generate();
        let signed = Note::parse(&owner(7).sign(&signer)).unwrap();
        assert_eq!(signed.note, owner(7));
        let (system, incarnation) = signed.note.origin();
        let anchor = |s: &Signer| Anchor::new(vec![AnchorKey::pinned(system, incarnation, &s.public(), 0)]);
        assert!(signed.verdict(&anchor(&signer)).require_pinned().is_ok());
        assert!(matches!(signed.verdict(&anchor(&Signer::generate())), Verdict::UnknownSigner { .. }));
    }

    #[test]
    fn a_changed_bit_anywhere_is_seen() {
        let bytes = owner(7).sign(&Signer::generate());
        for at in 0..bytes.len() {
            let mut bad = bytes.clone();
            bad[at] ^= 1;
            assert!(Note::parse(&bad).is_err(), "byte {at}");
            assert!(Note::parse(&bytes[..at]).is_err(), "cut at {at}");
        }
        // A kind is part of what is signed: a text that passes as another note does not verify.
        let text = String::from_utf8(bytes).unwrap();
        let other = text.replace("\"note\":\"owner\"", "\"note\":\"owner\" ");
        assert_eq!(Note::parse(other.as_bytes()), Err(NoteError::Signature));
    }

    proptest! {
        #[test]
        fn whatever_lies_there_is_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
            let _ = Note::parse(&bytes);
        }
    }
}
