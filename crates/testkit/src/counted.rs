//! A destination that counts what is read of it, answers as late as one far away, and may keep what it has.

use std::collections::BTreeSet;
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use keyark_backup::destination::{Content, Destination, DestinationError, Found};

/// Counts reads and passes everything on, each call after a delay.
pub struct Counted<D> {
    inner: D,
    delay: Duration,
    keeps: bool,
    bytes: AtomicU64,
    objects: Mutex<BTreeSet<String>>,
    /// How many reads at once are said to be worth it, are under way, and were at most.
    several: usize,
    now: AtomicU64,
    most: AtomicU64,
}

impl<D> Counted<D> {
    pub fn new(inner: D) -> Counted<D> {
        Counted::late(inner, Duration::ZERO)
    }

    pub fn late(inner: D, delay: Duration) -> Counted<D> {
        let (bytes, now, most) = Default::default();
        Counted { inner, delay, keeps: false, bytes, objects: Mutex::default(), several: 1, now, most }
    }

    /// Whose objects cannot be deleted.
    pub fn that_keeps(inner: D) -> Counted<D> {
        Counted { keeps: true, ..Counted::new(inner) }
    }

    /// That answers so late that several reads are under way.
    pub fn several(inner: D, several: usize) -> Counted<D> {
        Counted { several, ..Counted::late(inner, Duration::from_millis(20)) }
    }

    /// Reads that were under way at most.
    pub fn most_at_once(&self) -> u64 {
        self.most.load(Ordering::Relaxed)
    }

    /// (objects, bytes) that were read since the start or the last call.
    pub fn take(&self) -> (usize, u64) {
        let objects = std::mem::take(&mut *self.objects.lock().unwrap_or_else(PoisonError::into_inner));
        (objects.len(), self.bytes.swap(0, Ordering::Relaxed))
    }

    fn far(&self) -> &D {
        if !self.delay.is_zero() {
            std::thread::sleep(self.delay);
        }
        &self.inner
    }
}

impl<D: Destination> Destination for Counted<D> {
    fn create(&self, name: &str, content: Content<'_>) -> Result<(), DestinationError> {
        self.far().create(name, content)
    }

    fn size(&self, name: &str) -> Result<u64, DestinationError> {
        self.far().size(name)
    }

    fn read(&self, name: &str, range: Range<u64>) -> Result<Vec<u8>, DestinationError> {
        self.bytes.fetch_add(range.end - range.start, Ordering::Relaxed);
        self.objects.lock().unwrap_or_else(PoisonError::into_inner).insert(name.into());
        self.most.fetch_max(self.now.fetch_add(1, Ordering::Relaxed) + 1, Ordering::Relaxed);
        let outcome = self.far().read(name, range);
        self.now.fetch_sub(1, Ordering::Relaxed);
        outcome
    }

    fn list(&self, prefix: &str, after: &str, limit: usize) -> Result<Vec<Found>, DestinationError> {
        self.far().list(prefix, after, limit)
    }

    fn folders(&self, folder: &str) -> Result<Vec<String>, DestinationError> {
        self.far().folders(folder)
    }

    fn delete(&self, name: &str) -> Result<(), DestinationError> {
        match self.keeps {
            true => Err(DestinationError::Locked { name: name.into(), until: None }),
            false => self.far().delete(name),
        }
    }

    fn parallelism(&self) -> usize {
        self.several
    }

    fn describe(&self) -> String {
        self.inner.describe()
    }
}
