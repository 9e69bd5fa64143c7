//! Doors and wraps: which factors open an archive, and the wrapped keys that go with them.

use keyark_crypto::{Key256, wrap};
use keyark_model::{ArchiveId, DomainId};

use crate::error::{ArchiveError, Result};
use crate::json::Base64;

/// What a factor is.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FactorKind {
    BackupKey,
    /// The key of a stream's epoch, which the backup key wraps in an epoch file beside the archives.
    EpochKey,
    Hsm,
    Custodians,
}

impl FactorKind {
    fn words(self) -> &'static str {
        match self {
            FactorKind::BackupKey => "backup key",
            FactorKind::EpochKey => "epoch key",
            FactorKind::Hsm => "HSM root key",
            FactorKind::Custodians => "custodians",
        }
    }
}

/// One thing needed to open an archive.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug, serde::Serialize, serde::Deserialize)]
pub struct Factor {
    pub kind: FactorKind,
    /// Of the backup key, root key or share set; the epoch's number.
    pub id: String,
}

impl std::fmt::Display for Factor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}", self.kind.words(), self.id)
    }
}

/// All factors of one door together open the archive.
#[derive(Clone, PartialEq, Eq, Debug, serde::Serialize, serde::Deserialize)]
pub struct Door {
    pub factors: Vec<Factor>,
}

impl Door {
    /// The ordinary door: one backup key alone.
    pub fn backup_key(id: impl std::fmt::Display) -> Door {
        Door { factors: vec![Factor { kind: FactorKind::BackupKey, id: id.to_string() }] }
    }
}

/// The DEK wrapped by each of its factors in turn, innermost first.
#[derive(Clone, PartialEq, Eq, Debug, serde::Serialize, serde::Deserialize)]
pub struct Wrap {
    pub factors: Vec<Factor>,
    pub wrapped: Base64,
}

/// A key that may open an archive: a backup key, or the key of a stream's epoch.
#[derive(Clone, Copy)]
pub struct OpeningKey<'a> {
    pub kind: FactorKind,
    pub id: &'a str,
    pub key: &'a Key256,
}

fn purpose<'a>(archive: &'a ArchiveId, domain: &'a DomainId) -> wrap::Purpose<'a> {
    wrap::Purpose { name: "archive-dek", context: archive.as_bytes(), domain: domain.as_bytes(), generation: 0 }
}

impl Wrap {
    /// Wraps the DEK of `archive` by one key alone. `domain` is that of a domain's archive.
    pub fn new(by: &OpeningKey<'_>, archive: ArchiveId, domain: Option<DomainId>, dek: &Key256) -> Wrap {
        let domain = domain.unwrap_or(DomainId::ROOT);
        let wrapped = wrap::wrap(by.key, &purpose(&archive, &domain), dek.expose());
        Wrap { factors: vec![Factor { kind: by.kind, id: by.id.to_owned() }], wrapped: Base64(wrapped) }
    }

    /// Undoes the innermost layer; with one factor alone that gives the DEK.
    pub(crate) fn open(&self, key: &OpeningKey<'_>, archive: ArchiveId, domain: Option<DomainId>) -> Result<Key256> {
        if self.factors.len() > 1 {
            let others = self.factors.iter().filter(|f| f.kind != key.kind || f.id != key.id);
            return Err(ArchiveError::MissingFactor { needs: list(others) });
        }
        let domain = domain.unwrap_or(DomainId::ROOT);
        wrap::unwrap(key.key, &purpose(&archive, &domain), &self.wrapped.0)
            .ok()
            .and_then(|dek| Key256::from_slice(dek.expose()))
            .ok_or_else(|| ArchiveError::WrongKey { id: key.id.to_owned() })
    }

    /// Whether this wrap demands exactly what one of the doors demands (rules D5); in a stream an epoch key stands for a door.
    pub fn is_declared(&self, doors: &[Door], in_stream: bool) -> bool {
        if let [Factor { kind: FactorKind::EpochKey, .. }] = self.factors[..] {
            return in_stream;
        }
        doors.iter().any(|door| sorted(&door.factors) == sorted(&self.factors))
    }
}

/// Whether factors of these kinds are exactly those of one door: what an epoch file's own factors must satisfy.
pub fn kinds_are_declared(doors: &[Door], kinds: &[FactorKind]) -> bool {
    let mut kinds = kinds.to_vec();
    kinds.sort();
    doors.iter().any(|door| sorted(&door.factors).iter().map(|f| f.kind).eq(kinds.iter().copied()))
}

fn sorted(factors: &[Factor]) -> Vec<&Factor> {
    let mut out: Vec<_> = factors.iter().collect();
    out.sort();
    out
}

pub(crate) fn list<'a>(factors: impl Iterator<Item = &'a Factor>) -> String {
    factors.map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::{Door, Factor, FactorKind, Wrap, kinds_are_declared};
    use crate::json::Base64;

    fn factor(kind: FactorKind, id: &str) -> Factor {
        Factor { kind, id: id.into() }
    }

    #[test]
    fn a_wrap_demands_all_factors_of_one_door() {
        let both = vec![factor(FactorKind::BackupKey, "b"), factor(FactorKind::Hsm, "h")];
        let doors = [Door { factors: both.clone() }];
        let wrap = |factors: Vec<Factor>| Wrap { factors, wrapped: Base64::default() };
        assert!(wrap(both.iter().rev().cloned().collect()).is_declared(&doors, false));
        assert!(!wrap(both[..1].to_vec()).is_declared(&doors, false));
        assert!(!wrap(vec![]).is_declared(&doors, true));
        assert!(wrap(vec![factor(FactorKind::EpochKey, "3")]).is_declared(&doors, true));
        assert!(!wrap(vec![factor(FactorKind::EpochKey, "3")]).is_declared(&doors, false));
        assert!(kinds_are_declared(&doors, &[FactorKind::Hsm, FactorKind::BackupKey]));
        assert!(!kinds_are_declared(&doors, &[FactorKind::BackupKey]));
        assert!(!kinds_are_declared(&doors, &[]));
    }
}
