//! Retention (`docs/stream-format.md`, section 6): what may go, computed from a list and a promise, and how it goes.

use std::collections::BTreeSet;

use keyark_archive::Anchor;
use keyark_crypto::sign::Signer;
use keyark_model::Time;

use super::catalogue::{Catalogue, Moment, StatementAt};
use super::names::{StreamObject, StreamPlace};
use super::note::{MAX_NOTE, Note, RetentionNote};
use super::ship::EPOCH_LONGEST;
use crate::destination::{Content, Destination, DestinationError, create_or_same, read_small};

/// Segments that a merged one covers, and heartbeats that later entries make useless, stay for so long; seconds.
const SETTLED: i64 = 86_400;

/// What retention would remove.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Removal {
    pub names: Vec<String>,
    pub bytes: u64,
    /// The first point that stays.
    pub first: Option<Moment>,
}

/// What is not needed for any point at `keep_from` or later. A pure function: the same list gives the same answer, whoever asks.
///
/// A point is read from the newest full archive that is not later than it, so everything before the newest full archive that is
/// not later than `keep_from` is free. Without such an archive nothing old is.
pub fn plan(there: &Catalogue, keep_from: Time, now: Time) -> Removal {
    let base = there.fulls.iter().rev().find(|f| f.time <= keep_from);
    let settled = |time: Time| now >= time.plus_seconds(SETTLED);
    let mut removal = Removal::default();
    let mut remove = |found: &crate::destination::Found| {
        removal.names.push(found.name.clone());
        removal.bytes += found.size;
    };
    let before = |seq: u64, time: Time| base.is_some_and(|b| (seq, time) < (b.seq, b.time));
    there.fulls.iter().filter(|f| before(f.seq, f.time)).for_each(|f| remove(&f.found));
    for s in &there.segments {
        let behind = base.is_some_and(|b| s.name.last <= b.seq);
        let covered = there
            .segments
            .iter()
            .any(|c| c.name.level > s.name.level && c.name.first <= s.name.first && c.name.last >= s.name.last);
        if behind || (covered && settled(s.name.last_time)) {
            remove(&s.found);
        }
    }
    // A heartbeat says something only where the entries end: the newest of each such place stays.
    let ends: BTreeSet<u64> = there.points().iter().map(|i| i.to.number).collect();
    for (n, beat) in there.heartbeats.iter().enumerate() {
        let newest = there.heartbeats.get(n + 1).is_none_or(|next| next.seq != beat.seq);
        if settled(beat.time) && !(newest && ends.contains(&beat.seq)) {
            remove(&beat.found);
        }
    }
    // Archives were made in or after the epoch that had begun when the first of them was taken; those that came from another
    // destination have its epochs, which last no longer.
    if let Some(base) = base {
        let began = |e: &super::catalogue::EpochAt| epoch_time(&e.epoch);
        let first = there.epochs.iter().map(began).filter(|t| *t <= base.time).max();
        let over = base.time.plus_seconds(-EPOCH_LONGEST);
        let older = |e: &&super::catalogue::EpochAt| first.is_some_and(|first| began(e) < first.min(over));
        there.epochs.iter().filter(older).for_each(|e| remove(&e.found));
    }
    removal.first = base.or(there.fulls.first()).map(|f| Moment { number: f.seq, time: f.time });
    removal
}

/// When an epoch began: its id says so, to the millisecond.
fn epoch_time(epoch: &uuid::Uuid) -> Time {
    let (seconds, nanos) = epoch.get_timestamp().map_or((u64::MAX, 0), |t| t.to_unix());
    Time(i64::try_from(seconds).unwrap_or(i64::MAX / 2_000_000).saturating_mul(1_000_000) + i64::from(nanos / 1000))
}

/// Announces what will go: a signed statement that lies there for everybody to see.
pub fn mark(
    place: &dyn Destination,
    stream: StreamPlace,
    keep_from: Time,
    signer: &Signer,
    now: Time,
) -> Result<(), DestinationError> {
    say(place, stream, keep_from, false, signer, now)
}

/// Says that nothing at all may go from now on: a statement that counts at once, until a newer one says otherwise.
pub fn hold(place: &dyn Destination, stream: StreamPlace, signer: &Signer, now: Time) -> Result<(), DestinationError> {
    say(place, stream, Time(0), true, signer, now)
}

fn say(
    place: &dyn Destination,
    stream: StreamPlace,
    keep_from: Time,
    hold: bool,
    signer: &Signer,
    now: Time,
) -> Result<(), DestinationError> {
    let StreamPlace { system, incarnation, stream: id } = stream;
    let note = Note::Retention(RetentionNote { system, incarnation, stream: id, keep_from, hold, created_at: now });
    create_or_same(place, &stream.name(&StreamObject::Retention { time: now }), Content::Bytes(&note.sign(signer)))
}

/// What a statement says, if this system made it for this stream.
fn said(
    place: &dyn Destination,
    stream: StreamPlace,
    anchor: &Anchor,
    statement: &StatementAt,
) -> Result<Option<RetentionNote>, DestinationError> {
    let signed = Note::parse(&read_small(place, &statement.found.name, MAX_NOTE)?);
    let genuine = signed.ok().filter(|signed| signed.verdict(anchor).require_pinned().is_ok());
    Ok(match genuine.map(|signed| signed.note) {
        Some(Note::Retention(note))
            if (note.system, note.incarnation, note.stream) == (stream.system, stream.incarnation, stream.stream)
                && note.created_at == statement.time =>
        {
            Some(note)
        }
        _ => None,
    })
}

/// Whether the newest statement of a stream says that nothing may go.
pub fn held(place: &dyn Destination, stream: StreamPlace, anchor: &Anchor) -> Result<bool, DestinationError> {
    held_in(place, &Catalogue::read(place, stream)?, anchor)
}

fn held_in(place: &dyn Destination, there: &Catalogue, anchor: &Anchor) -> Result<bool, DestinationError> {
    for statement in there.statements.iter().rev() {
        if let Some(note) = said(place, there.place, anchor, statement)? {
            return Ok(note.hold);
        }
    }
    Ok(false)
}

/// What the newest statement that has lain there for `wait` seconds lets go, by the list as it is now, and the statements up to it. `holds`:
/// moments that somebody is restoring, or must be kept for another reason; nothing that they need goes. None: nothing is ripe, or
/// the newest statement of all is a legal hold. What was said before a hold does not count after it either.
pub fn ripe(
    place: &dyn Destination,
    stream: StreamPlace,
    anchor: &Anchor,
    holds: &[Time],
    wait: i64,
    now: Time,
) -> Result<Option<(Removal, Vec<String>)>, DestinationError> {
    let there = Catalogue::read(place, stream)?;
    let ripe: Vec<_> = there.statements.iter().filter(|s| now >= s.time.plus_seconds(wait)).collect();
    if ripe.is_empty() || held_in(place, &there, anchor)? {
        return Ok(None);
    }
    for statement in ripe.iter().rev() {
        if let Some(note) = said(place, stream, anchor, statement)? {
            if note.hold {
                // What was said before it does not count any more.
                return Ok(None);
            }
            let keep_from = holds.iter().copied().fold(note.keep_from, Time::min);
            let statements = ripe.iter().map(|s| s.found.name.clone()).collect();
            return Ok(Some((plan(&there, keep_from, now), statements)));
        }
    }
    Ok(None)
}

/// A file that was half written so long ago is nobody's any more; seconds.
const ABANDONED: i64 = 86_400;

/// Carries out what is ripe, and removes the statements and what somebody left half written. What cannot be deleted is told with
/// its reason.
pub fn sweep(
    place: &dyn Destination,
    stream: StreamPlace,
    anchor: &Anchor,
    holds: &[Time],
    wait: i64,
    now: Time,
) -> Result<(Removal, Vec<DestinationError>), DestinationError> {
    place.clear(&stream.folder(), now.plus_seconds(-ABANDONED))?;
    let Some((removal, statements)) = ripe(place, stream, anchor, holds, wait, now)? else {
        return Ok((Removal::default(), Vec::new()));
    };
    let mut kept = Vec::new();
    for name in removal.names.iter().chain(&statements) {
        match place.delete(name) {
            Ok(()) | Err(DestinationError::NotFound(_)) => {}
            Err(e) if e.is_transient() => return Err(e),
            Err(e) => kept.push(e),
        }
    }
    Ok((removal, kept))
}
