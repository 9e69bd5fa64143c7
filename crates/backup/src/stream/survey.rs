//! Everything that lies at a destination: streams, of which scope and life of a system, opened by which backup keys.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};

use keyark_archive::{Archive, ArchiveError};
use keyark_model::{DomainId, Id, Incarnation, SystemId};

use super::catalogue::{Catalogue, streams};
use super::names::{owner_folder, owner_number};
use super::note::{MAX_NOTE, Note};
use crate::destination::{Destination, DestinationError, Remote, list_all, read_small};

/// One stream as a list and the clear header of its newest full archive show it. Claims: what is restored is verified then.
#[derive(Clone, Debug)]
pub struct Seen {
    pub catalogue: Catalogue,
    /// None: of the whole system.
    pub domain: Option<DomainId>,
    /// Number of the owner mark of this life of the system; 0: there is none.
    pub owner: u64,
    /// Backup keys that open at least one epoch.
    pub backup_keys: BTreeSet<Id>,
}

/// All streams, those of the newest life of each system first. A stream without a full archive, or whose newest is no archive, is
/// left out: nothing can be restored from it.
pub fn survey(place: &dyn Destination) -> Result<Vec<Seen>, DestinationError> {
    let mut owners: BTreeMap<SystemId, BTreeMap<Incarnation, u64>> = BTreeMap::new();
    let mut all = Vec::new();
    for stream in streams(place)? {
        let marks = match owners.entry(stream.system) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(new) => new.insert(marks(place, stream.system)?),
        };
        let owner = marks.get(&stream.incarnation).copied().unwrap_or(0);
        let catalogue = Catalogue::read(place, stream)?;
        let Some(newest) = catalogue.fulls.last() else { continue };
        let header = match Archive::open(Remote { place, found: newest.found.clone() }) {
            Ok(archive) => archive.header().clone(),
            Err(ArchiveError::Io(e)) => return Err(DestinationError::Unreachable(e.to_string())),
            Err(_) => continue,
        };
        let backup_keys = catalogue.epochs.iter().map(|e| e.backup_key).collect();
        all.push(Seen { catalogue, domain: header.domain, owner, backup_keys });
    }
    all.sort_by_key(|s| {
        let newest = s.catalogue.fulls.last().map(|f| f.time);
        (s.catalogue.place.system, std::cmp::Reverse((s.owner, newest)))
    });
    Ok(all)
}

fn marks(place: &dyn Destination, system: SystemId) -> Result<BTreeMap<Incarnation, u64>, DestinationError> {
    let mut marks = BTreeMap::new();
    for found in list_all(place, &owner_folder(system))? {
        let Some(n) = owner_number(system, &found.name) else { continue };
        let bytes = read_small(place, &found.name, MAX_NOTE)?;
        if let Ok(Note::Owner(mark)) = Note::parse(&bytes).map(|signed| signed.note) {
            marks.insert(mark.incarnation, n);
        }
    }
    Ok(marks)
}
