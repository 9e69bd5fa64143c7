//! What a handler hands to the store: preconditions and drafts of entries.

use keyark_model::{Digest, DomainId, Id, Kind, Outcome, Position, Time};

/// Drafts that commit together or not at all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Batch {
    /// What must be true before (for `WeightAtMost`: after) the writes.
    pub must: Vec<Must>,
    /// Each becomes one entry, in this order. A batch may have none: then it only asks.
    pub entries: Vec<Draft>,
}

/// An entry to be: the store adds its place, time and hashes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Draft {
    pub domain: DomainId,
    /// `local|<uuid>`, or `system`.
    pub actor: String,
    pub request_id: String,
    /// The operation, as `noun_verb`.
    pub action: String,
    pub target: String,
    pub outcome: Outcome,
    /// No record may be written twice in one batch. May be empty: an entry that only tells.
    pub changes: Vec<Write>,
}

/// One change of a record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Write {
    /// Makes or replaces a record.
    Put {
        kind: Kind,
        id: Id,
        /// The record's (or its tombstone's) revision + 1; 1 when neither exists.
        revision: u64,
        /// One JSON object; see `keyark_model::RecordFacts`.
        header: Box<[u8]>,
        /// The sealed body.
        body: Box<[u8]>,
        /// For destroyed material: what the record was before is not kept for the log, at any revision.
        purge: bool,
    },
    /// Removes a record and leaves a tombstone.
    Delete {
        kind: Kind,
        id: Id,
        /// The record's revision + 1: the tombstone has it.
        revision: u64,
    },
    /// The same record under another KEK: header and revision stay.
    Reseal {
        kind: Kind,
        id: Id,
        /// The record's revision.
        revision: u64,
        body: Box<[u8]>,
    },
}

impl Write {
    /// Which record it writes.
    pub fn key(&self) -> (Kind, Id) {
        match self {
            Write::Put { kind, id, .. } | Write::Delete { kind, id, .. } | Write::Reseal { kind, id, .. } => {
                (*kind, *id)
            }
        }
    }
}

/// A precondition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Must {
    /// The record exists.
    Exists { kind: Kind, id: Id },
    /// No such record exists in any domain (a tombstone may).
    Absent { kind: Kind, id: Id },
    /// The record exists at this revision.
    Unchanged { kind: Kind, id: Id, revision: u64 },
    /// After the batch the weights of the domain's records of this kind sum up to no more.
    WeightAtMost { domain: DomainId, kind: Kind, limit: u64 },
    /// The domain has no record of this kind.
    NoneOf { domain: DomainId, kind: Kind },
}

/// A batch was committed: it is on disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Committed {
    /// The first entry of the batch (that of `position` when there is one).
    pub first: u64,
    /// The last entry of the batch; the log's head when the batch had none.
    pub position: Position,
    /// Its time.
    pub time: Time,
    /// Its global hash.
    pub hash: Digest,
}
