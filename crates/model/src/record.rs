//! A record: a clear header (JSON, kept as the bytes it was made of) and a sealed body.

use crate::{DomainId, Id, Kind, Time};

/// Anything stored, as it stands now.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Record {
    pub kind: Kind,
    pub id: Id,
    pub domain: DomainId,
    /// Counts the changes of this record from 1; a re-seal under another KEK keeps it.
    pub revision: u64,
    /// The log entry that wrote this revision (0 in a record read from an archive).
    pub seq: u64,
    /// When that entry was committed.
    pub time: Time,
    /// Clear attributes: one JSON object, hashed and sealed against as these very bytes.
    pub header: Box<[u8]>,
    /// Nonce, ciphertext and tag with the KEK generation in front; never empty (an empty body is sealed too).
    pub body: Box<[u8]>,
}

/// Whether a header has a word in it, wherever: of very many only such headers are then read as JSON.
pub fn mentions(header: &[u8], word: &[u8]) -> bool {
    memchr::memmem::find(header, word).is_some()
}

/// What the projection must know of a header: its unique names and how much it weighs in a quota.
///
/// Every header may have `name` (string), `aliases` (strings, or objects with a string `alias`) and `versions`
/// (array; each one counts in the quota) or `history` (versions that do not count). Names and aliases are unique together within (domain, kind).
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct RecordFacts {
    pub name: Option<String>,
    pub aliases: Vec<String>,
    pub weight: u64,
    /// Number of the newest version (the last one listed); 0 without versions. Part of what a body is sealed against.
    pub version: u64,
}

#[derive(serde::Deserialize)]
struct Lens<'a> {
    #[serde(borrow)]
    name: Option<std::borrow::Cow<'a, str>>,
    #[serde(borrow, default)]
    aliases: Vec<AliasLens<'a>>,
    versions: Option<Vec<VersionLens>>,
    /// Versions that do not weigh in a quota.
    history: Option<Vec<VersionLens>>,
}

#[derive(serde::Deserialize)]
struct VersionLens {
    #[serde(default)]
    version: u64,
}

#[derive(serde::Deserialize)]
#[serde(untagged)]
enum AliasLens<'a> {
    Text(#[serde(borrow)] std::borrow::Cow<'a, str>),
    Object { alias: String },
}

impl RecordFacts {
    /// Reads the facts out of a header.
    pub fn of_header(header: &[u8]) -> Result<RecordFacts, BadHeader> {
        let lens: Lens<'_> = serde_json::from_slice(header).map_err(|_| BadHeader)?;
        Ok(RecordFacts {
            name: lens.name.map(|n| n.into_owned()),
            aliases: lens
                .aliases
                .into_iter()
                .map(|a| match a {
                    AliasLens::Text(t) => t.into_owned(),
                    AliasLens::Object { alias } => alias,
                })
                .collect(),
            weight: lens.versions.as_ref().map_or(1, |v| v.len().max(1) as u64),
            version: lens.versions.or(lens.history).and_then(|v| v.last().map(|v| v.version)).unwrap_or(0),
        })
    }
}

/// The header is not one JSON object of the shape above.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a record's header is one JSON object with an optional name, aliases and versions")]
pub struct BadHeader;
