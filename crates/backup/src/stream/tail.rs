//! How far a stream is at its destination, found out there: what a server remembers is only a shortcut.

use keyark_archive::{Anchor, AnchorKey, Archive, ArchiveError};
use keyark_model::{Digest, Time};

use super::catalogue::{Catalogue, FullAt, SegmentAt};
use super::note::{MAX_NOTE, Note};
use super::ship::{At, HIGHEST, Level, ShipError, Shipping};
use crate::destination::{DestinationError, Found, Remote, read_small};

/// Looks at the destination: how far this stream is there, and whether it is this log's.
pub(super) fn find(s: &Shipping<'_>) -> Result<At, ShipError> {
    let place = s.place();
    let there = s.at_destination(Catalogue::read(s.destination, place))?;
    let head = s.head()?;
    let anchor = own_anchor(s);
    let mut end: Option<(u64, Digest)> = None;
    if let Some(segment) = newest_segment(&there) {
        end = signed_end(s, &anchor, &segment.found)?.filter(|(number, _)| *number == segment.name.last);
    }
    let newest_full: Option<&FullAt> = there.fulls.last();
    if let Some(full) = newest_full
        && end.is_none_or(|(number, _)| number < full.seq)
        && let Some(found) = signed_end(s, &anchor, &full.found)?
    {
        end = Some(found);
    }
    if let Some(beat) = there.heartbeats.last()
        && let Ok(signed) = Note::parse(&s.at_destination(read_small(s.destination, &beat.found.name, MAX_NOTE))?)
        && signed.verdict(&anchor).require_pinned().is_ok()
        && let Note::Heartbeat(note) = signed.note
        && end.is_none_or(|(number, _)| number < note.seq.0)
    {
        end = Some((note.seq.0, note.hash));
    }
    let nothing =
        At { end: None, full: None, told: Time::default(), gaps: Vec::new(), levels: Vec::new(), epoch: None };
    let Some((number, hash)) = end else { return Ok(nothing) };
    if number > head.number {
        return Err(ShipError::RolledBack { place: s.destination.describe(), ours: head.number, theirs: number });
    }
    let ours = s.store.placed(s.domain, number)?;
    if ours.is_some_and(|ours| ours.hash != hash) {
        return Err(ShipError::Forked { number });
    }
    let told = there.heartbeats.last().map_or(Time::default(), |b| b.time);
    // On from where the chain holds: what is missing behind that is sent again.
    let reach = newest_full.map(|f| there.reach(f).number).filter(|reach| *reach < number);
    let end = match reach {
        Some(reach) => s.store.placed(s.domain, reach)?,
        None => ours,
    };
    let points = there.points();
    let gaps = points.windows(2).map(|w| (w[0].to.number, w[1].from.number)).collect();
    let levels = levels(&there);
    Ok(At { end, gaps, levels, full: newest_full.map(|f| (f.seq, f.time)), told, epoch: None })
}

/// Only what this very server signed counts: anybody who may write there can write names.
pub(super) fn own_anchor(s: &Shipping<'_>) -> Anchor {
    let place = s.place();
    Anchor::new(vec![AnchorKey::pinned(place.system, place.incarnation, &s.signer.public(), 0)])
}

fn levels(there: &Catalogue) -> Vec<Level> {
    let last = |level: u8| there.segments.iter().filter(|s| s.name.level == level).map(|s| s.name.last).max();
    let of = |level: u8| {
        let merged = last(level + 1).unwrap_or(0);
        let since = || there.segments.iter().filter(move |s| s.name.level == level && s.name.first > merged);
        let begin = since().map(|s| s.name.first - 1).min()?;
        Some(Level { level, count: since().count() as u64, begin, end: last(level)? })
    };
    (0..=HIGHEST).filter_map(of).collect()
}

fn newest_segment(there: &Catalogue) -> Option<&SegmentAt> {
    there.segments.iter().max_by_key(|s| s.name.last)
}

/// Number and hash of the last entry that an archive shows, if this server signed it.
pub(super) fn signed_end(s: &Shipping<'_>, anchor: &Anchor, found: &Found) -> Result<Option<(u64, Digest)>, ShipError> {
    match Archive::open(Remote { place: s.destination, found: found.clone() }) {
        Ok(archive) if archive.verdict(anchor).require_pinned().is_ok() => {
            Ok(Some((archive.header().positions.last.0, archive.footer().chain.after)))
        }
        Err(ArchiveError::Io(e)) => {
            let error = DestinationError::Unreachable(e.to_string());
            Err(ShipError::Destination { place: s.destination.describe(), error })
        }
        _ => Ok(None),
    }
}
