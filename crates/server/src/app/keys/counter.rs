//! What is counted of a key on disk: encryptions that were reserved (rules C2), and the last use of each version.

use std::collections::BTreeMap;

use keyark_model::key::KeySpec;
use keyark_model::system::CounterHeader;
use keyark_model::{DomainId, Id, Kind, Time};
use keyark_store::Write;

use super::material::{ENCRYPTIONS_PER_VERSION, Use, is_counted};
use crate::app::core::Core;
use crate::app::error::Result;

/// Counters that one entry of the log changes at most.
const NOTED_AT_ONCE: usize = 1000;

impl Core {
    /// A key's counter and its revision, which its record or its tombstone has; vouched for by its seal.
    pub(super) fn counter(&self, domain: DomainId, key: Id) -> Result<(u64, CounterHeader)> {
        match self.store.get(domain, Kind::Counter, key)? {
            None => {
                let gone = self.store.tombstone(Kind::Counter, key)?;
                Ok((gone.map_or(0, |t| t.revision), CounterHeader::default()))
            }
            Some(record) => {
                let stored = self.read_header::<CounterHeader>(record)?;
                self.open_body(&stored)?;
                Ok((stored.revision(), stored.header))
            }
        }
    }

    /// When a version was last used, as far as memory or the disk knows.
    pub fn key_last_used(&self, domain: DomainId, key: Id, version: u32) -> Option<Time> {
        let noted = || {
            let stored = self.load::<CounterHeader>(domain, key).ok()?;
            stored.header.last_used.get(&version).copied()
        };
        self.keys.last_used(domain, key, version).or_else(noted)
    }

    /// The writes that give a copy of a version half of the encryptions which that one has left: both together never
    /// make more than one may.
    pub(super) fn count_shared(
        &self,
        domain: DomainId,
        source: Id,
        version: u32,
        copy: Id,
        spec: KeySpec,
    ) -> Result<Vec<Write>> {
        if !is_counted(spec) {
            return Ok(Vec::new());
        }
        let (revision, mut counter) = self.counter(domain, source)?;
        let reserved = counter.reserved.entry(version).or_default();
        *reserved += ENCRYPTIONS_PER_VERSION.saturating_sub(*reserved) / 2;
        let of_copy = CounterHeader { reserved: [(0, *reserved)].into(), ..CounterHeader::default() };
        Ok(vec![self.put(domain, source, revision + 1, &counter, b"")?, self.put(domain, copy, 1, &of_copy, b"")?])
    }

    /// Writes down the uses that memory took note of; how many. A job calls it every minute.
    pub fn uses_note(&self, now: Time) -> Result<usize> {
        let uses = std::mem::take(&mut *self.keys.to_note.lock().expect("no panic while held"));
        let count = uses.len();
        let mut domains: BTreeMap<DomainId, BTreeMap<Id, Vec<Use>>> = BTreeMap::new();
        for used in uses {
            domains.entry(used.domain).or_default().entry(used.id).or_default().push(used);
        }
        for (domain, keys) in domains {
            let keys: Vec<_> = keys.into_iter().collect();
            for part in keys.chunks(NOTED_AT_ONCE) {
                // Whoever reserves encryptions changes the same records.
                let _one_at_a_time = self.counting.lock().expect("no panic while held");
                let mut writes = Vec::new();
                for (id, uses) in part {
                    // The key may be gone by now.
                    if self.store.get(domain, Kind::Key, *id)?.is_none() {
                        continue;
                    }
                    let (revision, mut counter) = self.counter(domain, *id)?;
                    let of_uses = uses.iter().map(|u| (u.version, u.at)).collect();
                    counter.at_least(&CounterHeader { last_used: of_uses, ..CounterHeader::default() });
                    writes.push(self.put(domain, *id, revision + 1, &counter, b"")?);
                }
                if !writes.is_empty() {
                    self.commit_as_system(now, domain, "key_use_note", vec![], writes)?;
                }
            }
        }
        Ok(count)
    }

    /// The same for every use, however recent: the server stops.
    pub fn uses_note_all(&self, now: Time) -> Result<usize> {
        self.keys.note_all();
        self.uses_note(now)
    }
}
