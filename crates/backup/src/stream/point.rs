//! A point of a stream as local archives that a restore reads: the full one, and increments out of the segments after it.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::fs::File;
use std::path::PathBuf;

use keyark_archive::{Anchor, Archive, ArchiveError, FactorKind, Header, ReadAt, Verdict};
use keyark_crypto::Key256;
use keyark_model::{DomainId, Id, Time};
use uuid::Uuid;

use super::catalogue::{Catalogue, ChainPlan, NoPoint, Until};
use super::epoch::{Epoch, EpochError};
use super::names::StreamPlace;
use super::note::{MAX_NOTE, Note, NoteError};
use super::replay::{Increment, Replay};
use crate::destination::{Destination, DestinationError, Found, Remote, fetch, list_all, read_small};
use crate::links::Links;
use crate::source::{self, SourceError};

/// Segments up to this size are read at once; bytes.
const AT_ONCE: u64 = 32 << 20;

/// What opens a stream, and who may have signed it.
pub struct Opener<'a> {
    pub destination: &'a dyn Destination,
    pub anchor: &'a Anchor,
    /// A signer that the anchor does not know and the caller names.
    pub signer: Option<&'a str>,
    /// Backup keys by id.
    pub keys: HashMap<Id, Key256>,
}

/// A point, ready to be restored. Its files go away with it.
pub struct Point {
    folder: tempfile::TempDir,
    full: PathBuf,
    epoch: Epoch,
    increments: Vec<Increment>,
    pub number: u64,
    /// Of the last entry.
    pub time: Time,
    pub domain: Option<DomainId>,
    /// Objects and bytes that were read for it.
    pub objects: u64,
    pub bytes: u64,
}

/// Why a point cannot be restored.
#[derive(Debug, thiserror::Error)]
pub enum PointError {
    #[error(transparent)]
    NoPoint(#[from] NoPoint),
    #[error("{place}: {error}")]
    Destination { place: String, error: DestinationError },
    #[error(transparent)]
    Archive(ArchiveError),
    #[error(transparent)]
    Source(#[from] SourceError),
    #[error("{name}: {error}")]
    Note { name: String, error: NoteError },
    #[error("{name}: {error}")]
    Epoch { name: String, error: EpochError },
    #[error("no key at hand opens epoch {epoch}; it needs one of the backup keys {needs}")]
    NeedsKey { epoch: Uuid, needs: String },
    #[error("{name} holds something else than its name says ({what}): it was exchanged or renamed")]
    Misnamed { name: String, what: &'static str },
    #[error("an entry of the log is damaged: {0}")]
    Entry(String),
    #[error("entry {after} does not follow entry {before} there: a segment was exchanged or left out")]
    Joint { before: u64, after: u64 },
    #[error("at this point stood what was destroyed before it was shipped: {0}; take a later or earlier point")]
    Purged(String),
    #[error("a file of the point cannot be written: {0}")]
    Io(#[from] std::io::Error),
    #[error("cancelled")]
    Cancelled,
}

impl PointError {
    /// Whether it is the destination that fails, and trying again may help.
    pub fn is_transient(&self) -> bool {
        match self {
            PointError::Destination { error, .. } => error.is_transient(),
            PointError::Archive(ArchiveError::Io(_)) => true,
            _ => false,
        }
    }
}

impl<'a> Opener<'a> {
    /// With one backup key, of which it keeps a copy.
    pub fn with_key(destination: &'a dyn Destination, anchor: &'a Anchor, (id, key): (Id, &Key256)) -> Opener<'a> {
        let keys = HashMap::from([(id, Key256::new(*key.expose()))]);
        Opener { destination, anchor, signer: None, keys }
    }

    pub(super) fn at_destination<T>(&self, outcome: Result<T, DestinationError>) -> Result<T, PointError> {
        outcome.map_err(|error| PointError::Destination { place: self.destination.describe(), error })
    }

    pub(super) fn trusted(&self, verdict: Verdict) -> Result<(), PointError> {
        match (&verdict, self.signer) {
            (Verdict::UnknownSigner { key_id }, Some(named)) if key_id == named => Ok(()),
            _ => Ok(verdict.require_pinned().map(|_| ())?),
        }
    }

    /// The key of an epoch, out of one of its files.
    pub fn epoch(&self, stream: &StreamPlace, id: Uuid) -> Result<Epoch, PointError> {
        let prefix = format!("{}epoch/{}-", stream.folder(), id.hyphenated());
        let files = self.at_destination(list_all(self.destination, &prefix))?;
        let mut needs = Vec::new();
        for file in files {
            let key = file.name[prefix.len()..].strip_suffix(".json").and_then(|k| k.parse::<Id>().ok());
            let Some(key_id) = key else { continue };
            let Some(key) = self.keys.get(&key_id) else {
                needs.push(key_id.to_string());
                continue;
            };
            let name = file.name;
            let bytes = self.at_destination(read_small(self.destination, &name, MAX_NOTE))?;
            let signed = Note::parse(&bytes).map_err(|error| PointError::Note { name: name.clone(), error })?;
            self.trusted(signed.verdict(self.anchor))?;
            let Note::Epoch(note) = signed.note else {
                return Err(PointError::Misnamed { name, what: "another note" });
            };
            if note.epoch != id || (note.system, note.incarnation, note.stream) != stream_ids(stream) {
                return Err(PointError::Misnamed { name, what: "another epoch" });
            }
            return Epoch::open(&note, key_id, key).map_err(|error| PointError::Epoch { name, error });
        }
        let needs = if needs.is_empty() { "of which no file is there".into() } else { needs.join(", ") };
        Err(PointError::NeedsKey { epoch: id, needs })
    }

    /// The key of the epoch that an archive's header names.
    pub fn epoch_of(&self, stream: &StreamPlace, header: &Header, found: &Found) -> Result<Epoch, PointError> {
        self.epoch(stream, epoch_of(header, found)?)
    }

    /// Reads what a plan names and makes the point of it, in a new folder below `within`.
    pub fn point(&self, stream: &StreamPlace, plan: &ChainPlan, within: &std::path::Path) -> Result<Point, PointError> {
        let folder = tempfile::Builder::new().prefix("point-").tempdir_in(within)?;
        let full = folder.path().join("full.keyark");
        self.at_destination(fetch(self.destination, &plan.full.found, &full))?;
        let archive = source::open(&full, self.anchor, self.signer)?;
        let last = archive.header().positions.last.0;
        belongs(archive.header(), stream, &plan.full.found, last == plan.full.seq)?;
        let domain = archive.header().domain;
        let epoch = self.epoch(stream, epoch_of(archive.header(), &plan.full.found)?)?;
        let mut replay = Replay::start(folder.path(), &archive.unlock(&epoch.opening())?)?;
        let mut epochs: HashMap<Uuid, Epoch> = HashMap::new();
        let (mut objects, mut bytes) = (1, plan.full.found.size);
        for segment in &plan.segments {
            let found = &segment.found;
            objects += 1;
            bytes += found.size;
            let remote: Box<dyn ReadAt> = match found.size <= AT_ONCE {
                true => Box::new(self.at_destination(self.destination.read(&found.name, 0..found.size))?),
                false => Box::new(Remote { place: self.destination, found: found.clone() }),
            };
            let archive = Archive::open(remote)?;
            self.trusted(archive.verify(self.anchor)?)?;
            let header = archive.header();
            let named = (header.positions.first.0, header.positions.last.0) == (segment.name.first, segment.name.last);
            belongs(header, stream, found, named && header.domain == domain)?;
            let id = epoch_of(header, found)?;
            let epoch = match epochs.entry(id) {
                Entry::Occupied(known) => known.into_mut(),
                Entry::Vacant(new) => new.insert(self.epoch(stream, id)?),
            };
            let unlocked = archive.unlock(&epoch.opening())?;
            if !replay.segment(&unlocked, plan.until)? {
                break;
            }
        }
        let (number, time) = (replay.number, replay.time);
        let increments = replay.finish()?;
        Ok(Point { folder, full, epoch, increments, number, time, domain, objects, bytes })
    }
}

fn stream_ids(s: &StreamPlace) -> (keyark_model::SystemId, keyark_model::Incarnation, Uuid) {
    (s.system, s.incarnation, s.stream)
}

/// A name is a claim: the header decides (rules D4).
pub(super) fn belongs(header: &Header, stream: &StreamPlace, found: &Found, numbers: bool) -> Result<(), PointError> {
    let misnamed = |what| Err(PointError::Misnamed { name: found.name.clone(), what });
    if (header.system, header.incarnation, header.stream) != (stream.system, stream.incarnation, Some(stream.stream)) {
        return misnamed("an archive of another stream");
    }
    if !numbers {
        return misnamed("other entries");
    }
    Ok(())
}

pub(super) fn epoch_of(header: &Header, found: &Found) -> Result<Uuid, PointError> {
    let factors = header.wraps.iter().flat_map(|w| &w.factors);
    let mut epochs = factors.filter(|f| f.kind == FactorKind::EpochKey).filter_map(|f| Uuid::try_parse(&f.id).ok());
    epochs.next().ok_or_else(|| PointError::Misnamed { name: found.name.clone(), what: "an archive without an epoch" })
}

impl Point {
    /// Opens the archives as one chain.
    pub fn with_links<T, E: From<PointError>>(
        &self,
        work: impl FnOnce(&Links<'_, '_>) -> Result<T, E>,
    ) -> Result<T, E> {
        let read = |path: &PathBuf| Ok::<_, PointError>(Archive::open(File::open(path)?)?);
        let full = read(&self.full)?;
        let increments = self.increments.iter().map(|i| read(&i.path)).collect::<Result<Vec<_>, _>>()?;
        let mut opened = vec![
            source::opened(full.unlock(&self.epoch.opening()).map_err(PointError::from)?).map_err(PointError::from)?,
        ];
        for (archive, increment) in increments.iter().zip(&self.increments) {
            let unlocked = archive.unlock_with_dek(&increment.dek).map_err(PointError::from)?;
            opened.push(source::opened(unlocked).map_err(PointError::from)?);
        }
        let links = Links::of(opened.iter().collect()).map_err(PointError::from)?;
        work(&links)
    }

    /// Where its files are.
    pub fn folder(&self) -> &std::path::Path {
        self.folder.path()
    }
}

/// Looks a point up and makes it.
pub fn open(
    opener: &Opener<'_>,
    stream: &StreamPlace,
    until: Until,
    within: &std::path::Path,
) -> Result<Point, PointError> {
    let catalogue = opener.at_destination(Catalogue::read(opener.destination, *stream))?;
    let plan = catalogue.plan(until)?;
    opener.point(stream, &plan, within)
}
