//! Verification of what is stored: that nothing was altered, cut, exchanged, left out or set back.

use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, BTreeSet, HashMap};

use keyark_archive::{Archive, ReadAt};
use keyark_crypto::hash::sha256;
use keyark_crypto::lthash::LtHash;
use keyark_model::{Digest, DomainId, Time};

use super::catalogue::{Catalogue, Interval};
use super::epoch::Epoch;
use super::names::{StreamObject, StreamPlace};
use super::note::{MAX_NOTE, Note};
use super::point::{Opener, PointError, belongs, epoch_of};
use super::replay::check_segment;
use crate::destination::{Found, Remote, list_all, read_small};
use crate::progress::{Cancelled, Progress};
use crate::take::element;

/// How thoroughly.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Depth {
    /// Names, sizes, and whether what is there is complete: from the list alone.
    Quick,
    /// Every byte of one object in `of`, those whose turn `turn` is: each is read once in `of` turns.
    Sample { of: u64, turn: u64 },
    /// Every byte.
    Full,
}

/// Something that is not as it should be.
#[derive(Clone, PartialEq, Eq, Debug, serde::Serialize)]
pub struct Finding {
    /// The object, or the stream's folder.
    pub object: String,
    pub what: String,
    /// Its bytes are not those that were signed: it is good for nothing.
    #[serde(skip)]
    pub damaged: bool,
}

/// What was looked at, and what was found.
#[derive(Clone, Debug, Default, serde::Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Verified {
    pub objects: u64,
    /// Objects of which every byte was read, and how many bytes that were.
    pub read_objects: u64,
    pub read_bytes: u64,
    pub findings: Vec<Finding>,
    /// What can be restored by this list.
    pub points: Vec<Interval>,
}

/// Verifies a stream. `known`: an entry that must be there, since somebody remembers it from elsewhere, and when.
pub fn verify(
    opener: &Opener<'_>,
    stream: &StreamPlace,
    depth: Depth,
    known: Option<(u64, Time)>,
    progress: &Progress,
) -> Result<Verified, PointError> {
    let listed = opener.at_destination(list_all(opener.destination, &stream.folder()))?;
    let mut told = Verified { objects: listed.len() as u64, ..Verified::default() };
    let there = Catalogue::of(*stream, listed.clone());
    told.points = there.points();
    complete(&there, known, &mut told);
    progress.set_total(listed.len() as u64);
    let mut epochs = HashMap::new();
    for found in &listed {
        progress.step()?;
        let chosen = match depth {
            Depth::Quick => false,
            Depth::Full => true,
            Depth::Sample { of, turn } => place_in_turn(&found.name) % of.max(1) == turn % of.max(1),
        };
        let Some(object) = StreamObject::parse(&found.name[stream.folder().len()..]).filter(|_| chosen) else {
            continue;
        };
        told.read_objects += 1;
        told.read_bytes += found.size;
        match object_is_good(opener, stream, found, &object, &mut epochs) {
            Ok(()) => {}
            // A destination that fails says nothing of what lies there.
            Err(e) if e.is_transient() => return Err(e),
            Err(e) => told.findings.push(Finding {
                object: found.name.clone(),
                damaged: object.is_archive() && e.is_damage(),
                what: e.to_string(),
            }),
        }
    }
    Ok(told)
}

fn place_in_turn(name: &str) -> u64 {
    u64::from_be_bytes(sha256(&[name.as_bytes()]).0[..8].try_into().expect("8 bytes"))
}

/// What the list alone tells.
fn complete(there: &Catalogue, known: Option<(u64, Time)>, told: &mut Verified) {
    let folder = there.place.folder();
    let mut say =
        |object: &str, what: String| told.findings.push(Finding { object: object.into(), what, damaged: false });
    for name in &there.strange {
        say(name, "the format does not know this name: somebody else wrote here".into());
    }
    let archives = there.fulls.iter().map(|f| &f.found).chain(there.segments.iter().map(|s| &s.found));
    for found in archives.filter(|f| f.size == 0) {
        say(&found.name, "it is empty".into());
    }
    for pair in told.points.windows(2) {
        let (before, after) = (pair[0].to, pair[1].from);
        say(
            &folder,
            format!(
                "entries {} to {} are missing: no moment between {} and {} can be restored",
                before.number + 1,
                after.number,
                before.time,
                after.time
            ),
        );
    }
    let ends = told.points.last().map_or(0, |i| i.to.number);
    if there.fulls.is_empty() {
        say(&folder, "there is no full archive: nothing can be restored".into());
    }
    if let Some(last) =
        there.segments.iter().map(|s| s.name.last).max().filter(|last| *last > ends && !there.fulls.is_empty())
    {
        say(&folder, format!("entries after {ends} do not join, although segments reach to {last}"));
    }
    if let Some((number, at)) = known.filter(|(number, _)| *number > ends) {
        say(
            &folder,
            format!(
                "it ends at entry {ends}, but entry {number} was there at {at}: objects were removed, or an older state was put back"
            ),
        );
    }
}

fn object_is_good(
    opener: &Opener<'_>,
    stream: &StreamPlace,
    found: &Found,
    object: &StreamObject,
    epochs: &mut HashMap<uuid::Uuid, Epoch>,
) -> Result<(), PointError> {
    match object.is_archive() {
        true => {
            let source = Remote { place: opener.destination, found: found.clone() };
            archive_is_good(opener, stream, found, source, epochs)
        }
        false => note_is_good(opener, stream, found, object),
    }
}

/// Reads every byte of an archive of a stream, wherever it lies.
pub(super) fn archive_is_good<S: ReadAt>(
    opener: &Opener<'_>,
    stream: &StreamPlace,
    found: &Found,
    source: S,
    epochs: &mut HashMap<uuid::Uuid, Epoch>,
) -> Result<(), PointError> {
    let object = StreamObject::parse(&found.name[stream.folder().len()..]);
    let archive = Archive::open(source)?;
    opener.trusted(archive.verify(opener.anchor)?)?;
    let header = archive.header();
    let numbers = (header.positions.first.0, header.positions.last.0);
    let named = match &object {
        Some(StreamObject::Full { seq, .. }) => numbers == (*seq, *seq),
        Some(StreamObject::Segment(name)) => numbers == (name.first, name.last),
        _ => false,
    };
    belongs(header, stream, found, named)?;
    let id = epoch_of(header, found)?;
    let epoch = match epochs.entry(id) {
        Entry::Occupied(known) => known.into_mut(),
        Entry::Vacant(new) => new.insert(opener.epoch(stream, id)?),
    };
    let unlocked = archive.unlock(&epoch.opening())?;
    let mut sums: BTreeMap<DomainId, LtHash> = BTreeMap::new();
    unlocked.verify_full(|record| sums.entry(record.domain).or_default().add(&element(record)))?;
    match object {
        Some(StreamObject::Full { .. }) => {
            let nothing = LtHash::default().digest();
            let sum = |domain: &DomainId| sums.get(domain).map_or(nothing, LtHash::digest);
            let stated = &archive.footer().record_digests;
            let domains: BTreeSet<_> = stated.keys().chain(sums.keys()).collect();
            let same = |d: &&DomainId| {
                stated.get(*d).map_or(nothing, |s| Digest(s.0[..].try_into().unwrap_or_default())) == sum(d)
            };
            match domains.iter().all(same) {
                true => Ok(()),
                false => Err(PointError::Entry("its records are not those of its digest".into())),
            }
        }
        _ => check_segment(&unlocked),
    }
}

fn note_is_good(
    opener: &Opener<'_>,
    stream: &StreamPlace,
    found: &Found,
    object: &StreamObject,
) -> Result<(), PointError> {
    let name = found.name.clone();
    let bytes = opener.at_destination(read_small(opener.destination, &name, MAX_NOTE))?;
    let signed = Note::parse(&bytes).map_err(|error| PointError::Note { name: name.clone(), error })?;
    opener.trusted(signed.verdict(opener.anchor))?;
    let origin = (stream.system, stream.incarnation, stream.stream);
    let fits = match (&signed.note, object) {
        (Note::Epoch(n), StreamObject::Epoch { epoch, .. }) => {
            (n.system, n.incarnation, n.stream) == origin && n.epoch == *epoch
        }
        (Note::Heartbeat(n), StreamObject::Heartbeat { seq, time }) => {
            (n.system, n.incarnation, n.stream) == origin && (n.seq.0, n.time) == (*seq, *time)
        }
        (Note::Retention(n), StreamObject::Retention { time }) => {
            (n.system, n.incarnation, n.stream) == origin && n.created_at == *time
        }
        _ => false,
    };
    match fits {
        true => Ok(()),
        false => Err(PointError::Misnamed { name, what: "another note" }),
    }
}

impl From<Cancelled> for PointError {
    fn from(_: Cancelled) -> Self {
        PointError::Cancelled
    }
}
