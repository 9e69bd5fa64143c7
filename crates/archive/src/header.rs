//! The clear header: what an archive is, of which system, from where to where, and what opens it.

use std::collections::BTreeMap;

use keyark_model::{ArchiveId, Digest, DomainId, Incarnation, SystemId, Time};
use uuid::Uuid;

use crate::error::{ArchiveError, Result};
use crate::factors::{Door, Wrap};
use crate::json::{self, Decimal};

/// The format that is written, and the newest that is read.
pub const FORMAT: u64 = 1;

/// What kind of archive it is.
#[derive(Clone, Copy, PartialEq, Eq, Debug, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ArchiveKind {
    Full,
    Domain,
    Items,
    Segment,
    Download,
}

/// Whether it is of the system or of one domain.
#[derive(Clone, Copy, PartialEq, Eq, Debug, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Scope {
    System,
    Domain,
}

/// Sequence numbers of the first and last entry (a snapshot shows the state after `last`, and has both the same).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, serde::Serialize, serde::Deserialize)]
pub struct Positions {
    pub first: Decimal,
    pub last: Decimal,
}

/// The times of those entries.
#[derive(Clone, Copy, PartialEq, Eq, Debug, serde::Serialize, serde::Deserialize)]
pub struct Times {
    pub first: Time,
    pub last: Time,
}

/// The earlier backup that this one continues.
#[derive(Clone, Copy, PartialEq, Eq, Debug, serde::Serialize, serde::Deserialize)]
pub struct Base {
    pub id: ArchiveId,
    pub position: Decimal,
}

/// The header. `format` and `key_commitment` are set by the writer; see `docs/archive-format.md`, section 2.
#[derive(Clone, PartialEq, Debug, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Header {
    pub format: u64,
    pub product_version: String,
    pub id: ArchiveId,
    pub system: SystemId,
    pub incarnation: Incarnation,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stream: Option<Uuid>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub level: Option<u8>,
    pub kind: ArchiveKind,
    pub scope: Scope,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub domain: Option<DomainId>,
    pub creator: String,
    pub created_at: Time,
    pub positions: Positions,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub times: Option<Times>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub base: Option<Base>,
    /// `None` in a parsed header that hides it; the writer moves it into the index when `hidden`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    pub filters: BTreeMap<String, String>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub hidden: bool,
    pub doors: Vec<Door>,
    pub wraps: Vec<Wrap>,
    pub key_commitment: Digest,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mkek_checksum: Option<String>,
}

/// What every later format's header still says.
#[derive(serde::Deserialize)]
#[serde(rename_all = "camelCase")]
struct Front {
    format: u64,
    product_version: String,
}

impl Header {
    /// A header to be filled in: a full system archive at position 0 without doors.
    pub fn new(id: ArchiveId, system: SystemId, incarnation: Incarnation, created_at: Time) -> Header {
        Header {
            format: FORMAT,
            product_version: env!("CARGO_PKG_VERSION").into(),
            id,
            system,
            incarnation,
            stream: None,
            level: None,
            kind: ArchiveKind::Full,
            scope: Scope::System,
            domain: None,
            creator: String::new(),
            created_at,
            positions: Positions::default(),
            times: None,
            base: None,
            description: None,
            filters: BTreeMap::new(),
            hidden: false,
            doors: Vec::new(),
            wraps: Vec::new(),
            key_commitment: Digest::ZERO,
            mkek_checksum: None,
        }
    }

    /// Makes it a domain's.
    pub fn of_domain(mut self, domain: DomainId) -> Header {
        (self.kind, self.scope, self.domain) = (ArchiveKind::Domain, Scope::Domain, Some(domain));
        self
    }

    /// From the stored bytes. A newer format is refused by name, names unknown in format 1 are ignored.
    pub fn parse(bytes: &[u8]) -> Result<Header> {
        let front: Front = json::parse(bytes).map_err(ArchiveError::HeaderDamaged)?;
        if front.format != FORMAT {
            return Err(match front.format {
                0 => ArchiveError::HeaderDamaged("it has format 0, which never existed".into()),
                format => ArchiveError::NewerFormat { format, product: front.product_version },
            });
        }
        let header: Header = json::parse(bytes).map_err(ArchiveError::HeaderDamaged)?;
        header.check().map_err(|what| ArchiveError::HeaderDamaged(what.into()))?;
        Ok(header)
    }

    /// What the fields must keep between them.
    pub(crate) fn check(&self) -> std::result::Result<(), &'static str> {
        if (self.scope == Scope::Domain) != self.domain.is_some() {
            return Err("a domain is named exactly in a domain's scope");
        }
        if self.positions.first > self.positions.last {
            return Err("its first position is behind its last");
        }
        if self.doors.is_empty() || self.doors.iter().any(|d| d.factors.is_empty()) {
            return Err("it declares no door, or one without factors: nothing could open it");
        }
        if self.kind == ArchiveKind::Domain && self.scope != Scope::Domain {
            return Err("a domain backup has a domain's scope");
        }
        Ok(())
    }
}
