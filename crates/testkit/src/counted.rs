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
}

impl<D> Counted<D> {
    pub fn new(inner: D) -> Counted<D> {
        Counted::late(inner, Duration::ZERO)
    }

    pub fn late(inner: D, delay: Duration) -> Counted<D> {
        Counted { inner, delay, keeps: false, bytes: AtomicU64::new(0), objects: Mutex::default() }
    }

    /// Whose objects cannot be deleted.
    pub fn that_keeps(inner: D) -> Counted<D> {
        Counted { keeps: true, ..Counted::new(inner) }
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
        self.far().read(name, range)
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

    fn describe(&self) -> String {
        self.inner.describe()
    }
}
