//! Heals a stream at one destination out of the same stream at another: what is missing or damaged here comes from there, verified
//! once more on its way. Nothing is overwritten: what is damaged is deleted when its place was taken.

use std::collections::{BTreeSet, HashMap};
use std::fs::File;
use std::path::Path;

use keyark_archive::Archive;

use super::catalogue::{Catalogue, Interval};
use super::epoch::Epoch;
use super::names::{StreamObject, StreamPlace};
use super::note::{MAX_NOTE, Note};
use super::point::{Opener, PointError, epoch_of};
use super::verify::{Finding, archive_is_good};
use crate::destination::{Content, DestinationError, Found, create_or_same, fetch, list_all, read_small};

/// What was done.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Healed {
    pub copied: Vec<String>,
    pub deleted: Vec<String>,
    /// What could not be healed, and what to do.
    pub left: Vec<Finding>,
}

impl Healed {
    /// Whether the stream is another one now.
    pub fn changed(&self) -> bool {
        !(self.copied.is_empty() && self.deleted.is_empty())
    }

    fn leave(&mut self, object: &str, what: String) {
        self.left.push(Finding { object: object.into(), what, damaged: false });
    }
}

/// Copies into `here` what it lacks and `other` has, by way of the folder `within`. `damaged`: archives here whose bytes are not those
/// that were signed; `known`: an entry that must be there.
pub fn heal(
    here: &Opener<'_>,
    other: &Opener<'_>,
    stream: &StreamPlace,
    damaged: &BTreeSet<String>,
    known: Option<u64>,
    within: &Path,
) -> Result<Healed, PointError> {
    let listed = here.at_destination(list_all(here.destination, &stream.folder()))?;
    let all = Catalogue::of(*stream, listed.clone());
    let good = without(*stream, listed, damaged);
    let there = other.at_destination(Catalogue::read(other.destination, *stream))?;
    let (mut healed, mut epochs) = (Healed::default(), HashMap::new());
    for found in replacements(&good, &all, &there, known) {
        let folder = tempfile::Builder::new().prefix("heal-").tempdir_in(within)?;
        let copy = folder.path().join("copy.keyark");
        match fetched(other, stream, &found, &copy, &mut epochs) {
            Ok(()) => {}
            Err(e) if e.is_transient() => return Err(e),
            Err(e) => {
                healed.leave(&found.name, format!("{} has no good copy either: {e}", other.destination.describe()));
                continue;
            }
        }
        epoch_copied(here, other, stream, &found, &copy)?;
        if damaged.contains(&found.name) && !deleted(here, &found.name, &mut healed)? {
            continue;
        }
        here.at_destination(create_or_same(here.destination, &found.name, Content::File(&copy)))?;
        healed.copied.push(found.name);
    }
    // What is still there and damaged stands in the way of a plan: it goes, if nothing is lost by that.
    let now = here.at_destination(list_all(here.destination, &stream.folder()))?;
    let standing = |name: &&String| !healed.copied.contains(name) && now.iter().any(|f| f.name == **name);
    let bad: BTreeSet<String> = damaged.iter().filter(standing).cloned().collect();
    let points = without(*stream, now, &bad).points();
    for name in bad.iter().filter(|name| healed.left.iter().all(|f| f.object != **name)).cloned().collect::<Vec<_>>() {
        let covered = range_of(stream, &name)
            .is_some_and(|(first, last)| points.iter().any(|i| i.from.number <= first && last <= i.to.number));
        match covered {
            true => drop(deleted(here, &name, &mut healed)?),
            false => healed.leave(&name, "no other destination has what it held".into()),
        }
    }
    Ok(healed)
}

/// A list as it would be without these.
fn without(stream: StreamPlace, listed: Vec<Found>, names: &BTreeSet<String>) -> Catalogue {
    Catalogue::of(stream, listed.into_iter().filter(|f| !names.contains(&f.name)).collect())
}

/// The points that an archive gives, by its name: from the state after which entry, to that after which.
fn range_of(stream: &StreamPlace, name: &str) -> Option<(u64, u64)> {
    match StreamObject::parse(name.strip_prefix(&stream.folder())?)? {
        StreamObject::Full { seq, .. } => Some((seq, seq)),
        StreamObject::Segment(s) => Some((s.first - 1, s.last)),
        _ => None,
    }
}

/// What closes the gaps of a list out of another: a full archive where the first one is gone, and segments.
fn replacements(good: &Catalogue, all: &Catalogue, there: &Catalogue, known: Option<u64>) -> Vec<Found> {
    let (mut list, mut out) = (good.clone(), Vec::new());
    let begins = all.fulls.first().map_or(0, |f| f.seq);
    let first = list.fulls.first().map_or(u64::MAX, |f| f.seq);
    if first > begins {
        let before = there.fulls.iter().rev().find(|f| f.seq <= begins);
        if let Some(full) = before.or(there.fulls.iter().find(|f| f.seq < first)) {
            list.fulls.insert(0, full.clone());
            out.push(full.found.clone());
        }
    }
    let end = |c: &Catalogue| {
        let fulls = c.fulls.last().map_or(0, |f| f.seq);
        c.segments.iter().map(|s| s.name.last).max().unwrap_or(0).max(fulls)
    };
    let end = if all.fulls.is_empty() { end(there) } else { end(all).max(known.unwrap_or(0)) };
    let mut looked = 0;
    loop {
        let points = list.points();
        let ends = |(n, stretch): (usize, &Interval)| {
            (stretch.to.number, points.get(n + 1).map_or(end, |next| next.from.number))
        };
        let gap = points.iter().enumerate().map(ends).find(|(to, upto)| to < upto && *to >= looked);
        let Some((to, upto)) = gap else { return out };
        looked = to + 1;
        let mut at = to;
        for segment in there.follow(to).into_iter().take_while(|s| s.name.first <= upto) {
            if at > to && !good.follow(at).is_empty() {
                break;
            }
            at = segment.name.last;
            list.segments.push(segment.clone());
            out.push(segment.found.clone());
        }
        list.segments.sort_by_key(|s| (s.name.first, std::cmp::Reverse(s.name.last)));
    }
}

/// A copy on this machine that was verified like any archive that lies at a destination.
fn fetched(
    from: &Opener<'_>,
    stream: &StreamPlace,
    found: &Found,
    copy: &Path,
    epochs: &mut HashMap<uuid::Uuid, Epoch>,
) -> Result<(), PointError> {
    from.at_destination(fetch(from.destination, found, copy))?;
    archive_is_good(from, stream, found, File::open(copy)?, epochs)
}

/// Every door of an archive's epoch comes along, and before it.
fn epoch_copied(
    here: &Opener<'_>,
    other: &Opener<'_>,
    stream: &StreamPlace,
    found: &Found,
    copy: &Path,
) -> Result<(), PointError> {
    let epoch = epoch_of(Archive::open(File::open(copy)?)?.header(), found)?;
    let prefix = format!("{}epoch/{}-", stream.folder(), epoch.hyphenated());
    for file in other.at_destination(list_all(other.destination, &prefix))? {
        let bytes = other.at_destination(read_small(other.destination, &file.name, MAX_NOTE))?;
        let signed = Note::parse(&bytes).map_err(|error| PointError::Note { name: file.name.clone(), error })?;
        other.trusted(signed.verdict(other.anchor))?;
        here.at_destination(create_or_same(here.destination, &file.name, Content::Bytes(&bytes)))?;
    }
    Ok(())
}

/// Deletes what is damaged; where that is not allowed somebody else has to.
fn deleted(here: &Opener<'_>, name: &str, healed: &mut Healed) -> Result<bool, PointError> {
    match here.destination.delete(name) {
        Ok(()) | Err(DestinationError::NotFound(_)) => {
            healed.deleted.push(name.into());
            Ok(true)
        }
        Err(e) if e.is_transient() => here.at_destination(Err(e)),
        Err(e) => {
            let what = format!(
                "it is damaged and stands in the place of a good copy ({e}): delete it with credentials that may, then verify again"
            );
            healed.leave(name, what);
            Ok(false)
        }
    }
}
