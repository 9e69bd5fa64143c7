//! A point of a stream as local archives that a restore reads: the full one, and increments out of the segments after it.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::fs::File;
use std::path::Path;

use keyark_archive::{Anchor, Archive, ArchiveError, Counting, FactorKind, Header, ReadAt, Verdict};
use keyark_crypto::Key256;
use keyark_model::{DomainId, Id, Time};
use tempfile::TempPath;
use uuid::Uuid;

use super::catalogue::{Catalogue, ChainPlan, NoPoint, SegmentAt, Until};
use super::epoch::{Epoch, EpochError};
use super::names::StreamPlace;
use super::note::{MAX_NOTE, Note, NoteError};
use super::parts::{self, Part};
use super::replay::{Chosen, Replay};
use crate::destination::{Destination, DestinationError, Found, Remote, fetch, list_all, read_small};
use crate::links::Links;
use crate::source::SourceError;

/// Segments up to this size are read at once; bytes.
const AT_ONCE: u64 = 32 << 20;
/// The same where only parts of it are wanted: one answer costs less than several for a part each.
const SMALL: u64 = 256 << 10;

/// Bytes of changes that a point in the making holds in memory.
const HOLD: usize = 64 << 20;

/// Where an archive is read from.
type Source<'d> = Box<dyn ReadAt + Send + 'd>;

/// What opens a stream, and who may have signed it.
pub struct Opener<'a> {
    pub destination: &'a dyn Destination,
    pub anchor: &'a Anchor,
    /// A signer that the anchor does not know and the caller names.
    pub signer: Option<&'a str>,
    /// Backup keys by id.
    pub keys: HashMap<Id, Key256>,
    /// Bytes of changes that a point in the making holds in memory.
    pub hold: usize,
}

/// A point, ready to be restored. Its files go away with it.
pub struct Point {
    folder: tempfile::TempDir,
    parts: Vec<Part>,
    /// Of the last entry; of a point of chosen records, of the last that changed any of them.
    pub number: u64,
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

impl PointError {
    /// Whether the bytes themselves are wrong, and not only what is needed to read them.
    pub fn is_damage(&self) -> bool {
        match self {
            PointError::Archive(e) => matches!(
                e,
                ArchiveError::NotAnArchive
                    | ArchiveError::Truncated { .. }
                    | ArchiveError::HeaderDamaged(_)
                    | ArchiveError::FooterDamaged(_)
                    | ArchiveError::BodyDamaged { .. }
                    | ArchiveError::BodyReplaced
                    | ArchiveError::IndexDamaged(_)
                    | ArchiveError::BlockDamaged { .. }
                    | ArchiveError::SignatureBad(_)
            ),
            PointError::Misnamed { .. } | PointError::Entry(_) | PointError::Joint { .. } => true,
            _ => false,
        }
    }
}

impl<'a> Opener<'a> {
    /// With one backup key, of which it keeps a copy.
    pub fn with_key(destination: &'a dyn Destination, anchor: &'a Anchor, (id, key): (Id, &Key256)) -> Opener<'a> {
        Opener::with_keys(destination, anchor, HashMap::from([(id, Key256::new(*key.expose()))]))
    }

    /// With backup keys by id.
    pub fn with_keys(destination: &'a dyn Destination, anchor: &'a Anchor, keys: HashMap<Id, Key256>) -> Opener<'a> {
        Opener { destination, anchor, signer: None, keys, hold: HOLD }
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
    pub fn point(&self, stream: &StreamPlace, plan: &ChainPlan, within: &Path) -> Result<Point, PointError> {
        self.point_of(stream, plan, None, within)
    }

    /// The same, of chosen records alone: of each archive its ends, its index and the blocks that tell of them are read. The
    /// signature covers the index, and the index every block.
    pub fn point_of(
        &self,
        stream: &StreamPlace,
        plan: &ChainPlan,
        chosen: Option<&Chosen>,
        within: &Path,
    ) -> Result<Point, PointError> {
        let folder = tempfile::Builder::new().prefix("point-").tempdir_in(within)?;
        let found = &plan.full.found;
        let path = folder.path().join("full.keyark");
        let source: Source<'_> = match chosen {
            None => {
                self.at_destination(fetch(self.destination, found, &path))?;
                Box::new(File::open(&path)?)
            }
            Some(_) => self.source(found, SMALL)?,
        };
        let archive = self.opened(source, chosen.is_some())?;
        let header = archive.header();
        belongs(header, stream, found, header.positions.last.0 == plan.full.seq)?;
        let domain = header.domain;
        let dek = archive.dek(&self.epoch(stream, epoch_of(header, found)?)?.opening())?;
        let unlocked = archive.unlock_with_dek(&dek)?;
        let mut replay = match chosen {
            None => {
                let part = Part { path: TempPath::try_from_path(path)?, dek };
                Replay::start(folder.path(), self.hold, &unlocked, part)?
            }
            Some(chosen) => Replay::of_chosen(folder.path(), self.hold, &unlocked, chosen)?,
        };
        let mut epochs: HashMap<Uuid, Epoch> = HashMap::new();
        let (mut objects, mut bytes) = (1, read_of(&archive, found, chosen));
        let at_once = if chosen.is_some() { SMALL } else { AT_ONCE };
        for (segment, source) in self.sources(&plan.segments, at_once) {
            let (found, source) = (&segment.found, source?);
            let archive = self.opened(source, chosen.is_some())?;
            let header = archive.header();
            let named = (header.positions.first.0, header.positions.last.0) == (segment.name.first, segment.name.last);
            belongs(header, stream, found, named && header.domain == domain)?;
            let id = epoch_of(header, found)?;
            let epoch = match epochs.entry(id) {
                Entry::Occupied(known) => known.into_mut(),
                Entry::Vacant(new) => new.insert(self.epoch(stream, id)?),
            };
            let unlocked = archive.unlock(&epoch.opening())?;
            let on = replay.segment(&unlocked, plan.until)?;
            objects += 1;
            bytes += read_of(&archive, found, chosen);
            if !on {
                break;
            }
        }
        let (number, time) = (replay.number, replay.time);
        let parts = replay.finish()?;
        Ok(Point { folder, parts, number, time, domain, objects, bytes })
    }

    /// Segments and where each is read from, one after the other; as many are fetched at once as the destination is worth.
    fn sources<'d>(
        &'d self,
        segments: &'d [SegmentAt],
        at_once: u64,
    ) -> impl Iterator<Item = (&'d SegmentAt, Result<Source<'d>, PointError>)> {
        let workers = self.destination.parallelism().max(1);
        // Together they hold no more than one alone may.
        let at_once = at_once / workers as u64;
        segments.chunks(workers).flat_map(move |some| {
            let fetched: Vec<_> = match some {
                [one] => vec![self.source(&one.found, at_once)],
                some => std::thread::scope(|scope| {
                    let fetch = |s: &'d SegmentAt| scope.spawn(move || self.source(&s.found, at_once));
                    let reads: Vec<_> = some.iter().map(fetch).collect();
                    reads.into_iter().map(|read| read.join().expect("reading does not panic")).collect()
                }),
            };
            some.iter().zip(fetched)
        })
    }

    /// An object up to a size is read at once, a larger one by ranges.
    fn source<'d>(&'d self, found: &Found, at_once: u64) -> Result<Source<'d>, PointError> {
        Ok(match found.size <= at_once {
            true => Box::new(self.at_destination(self.destination.read(&found.name, 0..found.size))?),
            false => Box::new(Remote { place: self.destination, found: found.clone() }),
        })
    }

    /// An archive of whose signer nobody need be afraid. In parts: its body is not hashed as a whole.
    fn opened<'d>(&self, source: Source<'d>, in_parts: bool) -> Result<Archive<Counting<Source<'d>>>, PointError> {
        let archive = Archive::open(Counting::new(source))?;
        self.trusted(if in_parts { archive.verdict(self.anchor) } else { archive.verify(self.anchor)? })?;
        Ok(archive)
    }
}

/// Bytes that were read of an object.
fn read_of<S: ReadAt>(archive: &Archive<Counting<S>>, found: &Found, chosen: Option<&Chosen>) -> u64 {
    match chosen {
        Some(_) if found.size > SMALL => archive.source().take().1,
        _ => found.size,
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
        parts::opened(&self.parts, |all| work(&Links::of(all).map_err(PointError::from)?))
    }

    /// Where its files are.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }
}

/// Looks a point up and makes it.
pub fn open(opener: &Opener<'_>, stream: &StreamPlace, until: Until, within: &Path) -> Result<Point, PointError> {
    let catalogue = opener.at_destination(Catalogue::read(opener.destination, *stream))?;
    let plan = catalogue.plan(until)?;
    opener.point(stream, &plan, within)
}
