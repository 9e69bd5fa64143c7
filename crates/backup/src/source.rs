//! An archive that was verified and unlocked for a restore.

use std::fs::File;
use std::path::Path;

use keyark_archive::{Anchor, Archive, ArchiveError, FactorKind, OpeningKey, Unlocked};
use keyark_crypto::Key256;
use keyark_crypto::seal::Kek;
use keyark_model::{DomainId, Id, Kind};
use std::collections::BTreeMap;

use crate::links::ChainError;

/// Why an archive cannot be used for a restore.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    #[error(transparent)]
    Archive(#[from] ArchiveError),
    #[error("the archive cannot be read: {0}")]
    Io(#[from] std::io::Error),
    #[error("{kind} {id} in the archive does not open under the key it names; take another archive")]
    Record { kind: Kind, id: Id },
    #[error("the file of archive {claimed} holds archive {found}: it was exchanged; take another copy of {claimed}")]
    Exchanged { claimed: Id, found: Id },
    #[error(transparent)]
    Chain(#[from] ChainError),
}

/// Opens a file as an archive and checks its signature: by a pinned key, or by the signer that the caller names.
pub fn open(path: &Path, anchor: &Anchor, signer: Option<&str>) -> Result<Archive<File>, SourceError> {
    let archive = Archive::open(File::open(path)?)?;
    let verdict = archive.verify(anchor)?;
    match (&verdict, signer) {
        (keyark_archive::Verdict::UnknownSigner { key_id }, Some(named)) if key_id == named => {}
        _ => verdict.require_pinned()?,
    }
    Ok(archive)
}

/// The same for a file that stands where the archive with this id should: its name is a claim (rules D4).
pub fn open_claimed(
    path: &Path,
    claimed: Id,
    anchor: &Anchor,
    signer: Option<&str>,
) -> Result<Archive<File>, SourceError> {
    let archive = open(path, anchor, signer)?;
    let found = Id(archive.header().id.0);
    if found == claimed { Ok(archive) } else { Err(SourceError::Exchanged { claimed, found }) }
}

/// Opens an archive with a backup key.
pub fn unlock<'a>(archive: &'a Archive<File>, id: Id, key: &Key256) -> Result<Opened<'a>, SourceError> {
    let id = id.to_string();
    opened(archive.unlock(&OpeningKey { kind: FactorKind::BackupKey, id: &id, key })?)
}

/// An unlocked archive with its KEKs.
pub fn opened(unlocked: Unlocked<'_, File>) -> Result<Opened<'_>, SourceError> {
    let mut keks = BTreeMap::new();
    for kek in unlocked.keks()? {
        let generation = u32::try_from(kek.generation)
            .map_err(|_| ArchiveError::BlockDamaged { block: 0, what: "a KEK generation is out of range" })?;
        keks.insert((kek.domain, generation), Kek::new(generation, kek.key));
    }
    Ok(Opened { unlocked, keks })
}

/// An unlocked archive with the KEKs that open its records.
pub struct Opened<'a> {
    pub unlocked: Unlocked<'a, File>,
    pub keks: BTreeMap<(DomainId, u32), Kek>,
}
