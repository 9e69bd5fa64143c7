//! What leaves a stream, and what keeps it there: moments that something under way reads.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use keyark_backup::stream::retain::{self, Removal};
use keyark_backup::stream::{Catalogue, StreamPlace};
use keyark_backup::{Destination, DestinationError};
use keyark_model::protection::InstanceHeader;
use keyark_model::{DomainId, Id, Time};

use super::lock;
use crate::app::core::Core;

/// A statement of retention is carried out after it has lain there for so long; seconds.
const WAIT: i64 = 20 * 3600;

/// Moments that something under way reads: retention leaves what they need.
#[derive(Clone, Default)]
pub struct Readers(Arc<Mutex<BTreeMap<u64, Time>>>);

/// While it lives, nothing goes that its moment needs.
pub struct Reading {
    readers: Readers,
    key: u64,
}

impl Drop for Reading {
    fn drop(&mut self) {
        lock(&self.readers.0).remove(&self.key);
    }
}

/// What retention did at one destination.
#[derive(Default)]
pub struct Retained {
    pub removed: Removal,
    /// What could not be removed.
    pub kept: Vec<DestinationError>,
    /// What today's statement lets go.
    pub announced: Removal,
}

impl Readers {
    /// Keeps what a moment needs.
    pub fn reads(&self, at: Time) -> Reading {
        let mut all = lock(&self.0);
        let key = all.last_key_value().map_or(0, |(key, _)| key + 1);
        all.insert(key, at);
        Reading { readers: self.clone(), key }
    }

    /// Carries out yesterday's statement and makes today's, if there is anything to remove. Of an instance that is held nothing
    /// goes, and a statement says so to whoever deletes elsewhere.
    pub fn retain(
        &self,
        core: &Core,
        instance: Id,
        place: &dyn Destination,
        stream: StreamPlace,
        now: Time,
    ) -> Result<Retained, DestinationError> {
        // As it is now: it may have been held since this began.
        let Ok(instance) = core.load::<InstanceHeader>(DomainId::ROOT, instance) else {
            return Ok(Retained::default());
        };
        if instance.header.hold.is_some() {
            if !retain::held(place, stream, &core.anchor)? {
                retain::hold(place, stream, &core.signer, now)?;
            }
            return Ok(Retained::default());
        }
        let read: Vec<Time> = lock(&self.0).values().copied().collect();
        let (removed, kept) = retain::sweep(place, stream, &core.anchor, &read, WAIT, now)?;
        // Without an end to the range only what is superfluous goes.
        let keep_from = instance.header.keep_from(now).unwrap_or(Time(0));
        let announced = retain::plan(&Catalogue::read(place, stream)?, keep_from, now);
        if !announced.names.is_empty() {
            retain::mark(place, stream, keep_from, &core.signer, now)?;
        }
        Ok(Retained { removed, kept, announced })
    }
}
