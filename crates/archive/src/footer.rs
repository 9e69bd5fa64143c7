//! The clear, signed footer: length and hash of the body, where its index is, and what was counted.

use std::collections::BTreeMap;

use keyark_model::{Digest, DomainId, Kind};

use crate::error::{ArchiveError, Result};
use crate::json::{self, Decimal, Hex};

/// Where the index lies in the plaintext, and what it must hash to.
#[derive(Clone, Copy, PartialEq, Eq, Debug, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct IndexPlace {
    pub offset: Decimal,
    pub length: Decimal,
    pub raw_length: Decimal,
    pub sha256: Digest,
}

/// The log's hashes before the first and after the last entry.
#[derive(Clone, Copy, PartialEq, Eq, Debug, serde::Serialize, serde::Deserialize)]
pub struct Chain {
    pub before: Digest,
    pub after: Digest,
}

/// The footer; see `docs/archive-format.md`, section 5. The counts are absent when the header hides them.
#[derive(Clone, PartialEq, Eq, Debug, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Footer {
    pub body_length: Decimal,
    pub body_sha256: Digest,
    pub index: IndexPlace,
    /// The largest raw length of a block, in bytes.
    pub largest_block: Decimal,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub counts: Option<BTreeMap<String, Decimal>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tombstones: Option<Decimal>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub entries: Option<Decimal>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub audit: Option<Decimal>,
    pub record_digests: BTreeMap<DomainId, Hex>,
    pub chain: Chain,
}

impl Footer {
    /// From the stored bytes.
    pub fn parse(bytes: &[u8]) -> Result<Footer> {
        json::parse(bytes).map_err(ArchiveError::FooterDamaged)
    }
}

/// How many of each kind, tombstones, log entries and audit entries an archive holds.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Counts {
    pub records: BTreeMap<Kind, u64>,
    pub tombstones: u64,
    pub entries: u64,
    pub audit: u64,
}

impl Counts {
    pub(crate) fn write_into(&self, footer: &mut Footer) {
        let words = self.records.iter().map(|(k, n)| (k.word().to_owned(), Decimal(*n)));
        footer.counts = Some(words.collect());
        footer.tombstones = Some(Decimal(self.tombstones));
        footer.entries = Some(Decimal(self.entries));
        footer.audit = Some(Decimal(self.audit));
    }

    /// Whether a footer that shows counts shows these.
    pub(crate) fn agree(&self, footer: &Footer) -> bool {
        let mut shown = footer.clone();
        self.write_into(&mut shown);
        let hidden = footer.counts.is_none()
            && footer.tombstones.is_none()
            && footer.entries.is_none()
            && footer.audit.is_none();
        hidden || shown == *footer
    }
}
