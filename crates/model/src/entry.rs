//! An entry of the change log: one commit of one domain.

use crate::{Digest, DomainId, Id, Incarnation, Kind, Time};

/// How the action ended. Denied and failed attempts are usage records, not entries, unless they changed something.
#[derive(
    Clone, Copy, PartialEq, Eq, Debug, minicbor::Encode, minicbor::Decode, serde::Serialize, serde::Deserialize,
)]
#[cbor(index_only)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    #[n(0)]
    Success,
    #[n(1)]
    Failure,
}

/// One entry. `seq` and `prev` place it in the system's log, `domain_seq` and `domain_prev` in its domain's.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Entry {
    pub incarnation: Incarnation,
    pub seq: u64,
    /// Global hash of entry `seq - 1`; `Digest::ZERO` at the first one.
    pub prev: Digest,
    pub time: Time,
    pub domain: DomainId,
    pub domain_seq: u64,
    pub domain_prev: Digest,
    /// Who did it: `local|<uuid>`, or `system` for the server itself.
    pub actor: String,
    pub request_id: String,
    /// The operation, as `noun_verb`.
    pub action: String,
    /// What it was done to, for the reader of the audit log; may be empty.
    pub target: String,
    pub outcome: Outcome,
    pub changes: Vec<Change>,
}

/// One change: its digest stands in the chain, its content may be withheld or purged.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Change {
    pub kind: Kind,
    pub id: Id,
    pub revision: u64,
    pub salt: [u8; 16],
    /// SHA-256(salt ‖ deterministic CBOR of [kind, domain, id, revision, header, body]); rules A1.
    pub digest: Digest,
    pub content: ChangeContent,
}

/// What a change wrote.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum ChangeContent {
    Put {
        header: Box<[u8]>,
        body: Box<[u8]>,
    },
    /// A tombstone keeps kind, id and revision.
    Delete,
    /// Purged, superseded and trimmed, or of a kind that is never shipped.
    Withheld,
}
