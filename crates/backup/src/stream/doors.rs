//! Doors of a stream: which backup keys open its epochs. A further door is a further epoch file; no archive is touched.

use std::collections::BTreeSet;

use keyark_crypto::Key256;
use keyark_crypto::sign::Signer;
use keyark_model::{DomainId, Id};
use uuid::Uuid;

use super::catalogue::Catalogue;
use super::names::{StreamObject, StreamPlace};
use super::note::Note;
use super::point::{Opener, PointError};
use crate::destination::{Content, Destination, DestinationError, create_or_same};
use crate::progress::Progress;

/// What was done to the doors.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Opened {
    pub epochs: u64,
    /// Epoch files that were made now; the others were there.
    pub made: u64,
}

/// Gives a backup key a door to every epoch of a stream. Broken off and begun again it goes on: what is there is left.
pub fn add(
    opener: &Opener<'_>,
    stream: &StreamPlace,
    domain: Option<DomainId>,
    (key_id, key): (Id, &Key256),
    signer: &Signer,
    progress: &Progress,
) -> Result<Opened, PointError> {
    let there = opener.at_destination(Catalogue::read(opener.destination, *stream))?;
    let has: BTreeSet<Uuid> = there.epochs.iter().filter(|e| e.backup_key == key_id).map(|e| e.epoch).collect();
    let all: BTreeSet<Uuid> = there.epochs.iter().map(|e| e.epoch).collect();
    progress.set_total(all.len() as u64);
    let mut told = Opened { epochs: all.len() as u64, made: 0 };
    for id in all {
        progress.step()?;
        if has.contains(&id) {
            continue;
        }
        let epoch = opener.epoch(stream, id)?;
        let note = Note::Epoch(epoch.note(stream, domain, key_id, key)).sign(signer);
        let name = stream.name(&StreamObject::Epoch { epoch: id, backup_key: key_id });
        opener.at_destination(create_or_same(opener.destination, &name, Content::Bytes(&note)))?;
        told.made += 1;
    }
    Ok(told)
}

/// Takes a backup key's doors away; those of an epoch that has no other only if the epoch shall die (`also_the_last`). How many went, and
/// what could not be deleted.
pub fn remove(
    place: &dyn Destination,
    stream: &StreamPlace,
    key_id: Id,
    also_the_last: bool,
) -> Result<(u64, Vec<DestinationError>), DestinationError> {
    let there = Catalogue::read(place, *stream)?;
    let other = |epoch: Uuid| also_the_last || there.epochs.iter().any(|e| e.epoch == epoch && e.backup_key != key_id);
    let (mut gone, mut kept) = (0, Vec::new());
    for e in there.epochs.iter().filter(|e| e.backup_key == key_id && other(e.epoch)) {
        match place.delete(&e.found.name) {
            Ok(()) | Err(DestinationError::NotFound(_)) => gone += 1,
            Err(error) if error.is_transient() => return Err(error),
            Err(error) => kept.push(error),
        }
    }
    Ok((gone, kept))
}
