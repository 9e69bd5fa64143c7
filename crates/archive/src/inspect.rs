//! What an archive says of itself without a key: the fields that people know from CipherTrust Manager, and what they ask next.

use std::collections::BTreeMap;

use keyark_model::Time;

use crate::anchor::{Anchor, Verdict};
use crate::archive::Archive;
use crate::factors::{Door, FactorKind};
use crate::header::{ArchiveKind, Base, Positions, Scope, Times};
use crate::json::Decimal;
use crate::source::ReadAt;

/// The answer of `inspect`. Everything but `verdict` is claimed unless the verdict is `signed`.
#[derive(Clone, PartialEq, Debug, serde::Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Inspection {
    /// Of the archive format.
    pub version: String,
    pub created_at: Time,
    pub scope: Scope,
    /// Empty in a system archive.
    #[serde(rename = "domainID")]
    pub domain_id: String,
    /// Of the first door with a backup key; empty when there is none.
    pub backup_key_id: String,
    pub is_encrypted: bool,
    pub creator_account: String,
    /// Whether every door needs an HSM.
    #[serde(rename = "isHSMBacked")]
    pub is_hsm_backed: bool,
    pub description: String,
    /// SHA-256 of the body, in hexadecimal.
    pub checksum: String,
    pub mkek_checksum: String,
    pub product_version: String,
    pub id: String,
    pub kind: ArchiveKind,
    pub system: String,
    pub incarnation: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stream: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub level: Option<u8>,
    pub positions: Positions,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub times: Option<Times>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub base: Option<Base>,
    pub filters: BTreeMap<String, String>,
    /// Per kind; absent when the archive hides them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub counts: Option<BTreeMap<String, Decimal>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tombstones: Option<Decimal>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub entries: Option<Decimal>,
    /// Bytes of the file.
    pub size: Decimal,
    /// Every way in: all factors of one door together open the archive.
    pub doors: Vec<Door>,
    pub signer_key_id: String,
    /// `signed` (by a pinned key) · `claimed` (whole, signer unknown) · `bad: …`.
    pub verdict: String,
}

impl<S: ReadAt> Archive<S> {
    /// The clear facts. Without an anchor the verdict is at best `claimed`. The body is not read: `verify` does that.
    pub fn inspect(&self, anchor: Option<&Anchor>) -> Inspection {
        let (h, f) = (self.header(), self.footer());
        let factors = || h.doors.iter().flat_map(|d| &d.factors);
        let verdict = match self.verdict(anchor.unwrap_or(&Anchor::new(Vec::new()))) {
            Verdict::SignedByPinned { .. } => "signed".into(),
            Verdict::UnknownSigner { .. } => "claimed".into(),
            Verdict::Bad { why } => format!("bad: {why}"),
        };
        Inspection {
            version: h.format.to_string(),
            created_at: h.created_at,
            scope: h.scope,
            domain_id: h.domain.map(|d| d.to_string()).unwrap_or_default(),
            backup_key_id: factors()
                .find(|f| f.kind == FactorKind::BackupKey)
                .map(|f| f.id.clone())
                .unwrap_or_default(),
            is_encrypted: true,
            creator_account: h.creator.clone(),
            is_hsm_backed: h.doors.iter().all(|d| d.factors.iter().any(|f| f.kind == FactorKind::Hsm)),
            description: h.description.clone().unwrap_or_default(),
            checksum: f.body_sha256.to_string(),
            mkek_checksum: h.mkek_checksum.clone().unwrap_or_default(),
            product_version: h.product_version.clone(),
            id: h.id.to_string(),
            kind: h.kind,
            system: h.system.to_string(),
            incarnation: h.incarnation.to_string(),
            stream: h.stream.map(|s| s.to_string()),
            level: h.level,
            positions: h.positions,
            times: h.times,
            base: h.base,
            filters: h.filters.clone(),
            counts: f.counts.clone(),
            tombstones: f.tombstones,
            entries: f.entries,
            size: Decimal(self.length()),
            doors: h.doors.clone(),
            signer_key_id: self.signature().key_id(),
            verdict,
        }
    }
}
