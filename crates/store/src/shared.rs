//! What the writer, the checkpointer and the readers of one store share.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::AtomicUsize;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use crate::options::{Head, Options};

pub(crate) struct Shared {
    pub path: PathBuf,
    pub options: Options,
    /// Batches handed in and not yet answered.
    pub queued: AtomicUsize,
    /// Held by the writer during a transaction, and by a checkpoint that must find none.
    pub gate: Mutex<()>,
    head: Mutex<Head>,
    wal: Mutex<WalSignal>,
    pub wal_changed: Condvar,
    held: Mutex<BTreeMap<u64, usize>>,
}

/// What the writer tells the checkpointer.
#[derive(Clone, Copy, Default)]
pub(crate) struct WalSignal {
    /// Grows with each commit.
    pub commits: u64,
    /// The WAL is long enough to be copied into the database now.
    pub long: bool,
    /// The WAL still holds purged content: truncate it.
    pub truncate: bool,
    pub stop: bool,
}

impl Shared {
    pub(crate) fn new(path: PathBuf, options: Options, head: Head) -> Self {
        Shared {
            path,
            options,
            queued: AtomicUsize::new(0),
            gate: Mutex::new(()),
            head: Mutex::new(head),
            wal: Mutex::new(WalSignal::default()),
            wal_changed: Condvar::new(),
            held: Mutex::new(BTreeMap::new()),
        }
    }

    /// The end of the log as committed.
    pub(crate) fn head(&self) -> Head {
        *lock(&self.head)
    }

    pub(crate) fn publish(&self, head: Head) {
        *lock(&self.head) = head;
    }

    pub(crate) fn signal(&self, change: impl FnOnce(&mut WalSignal)) {
        let mut wal = lock(&self.wal);
        change(&mut wal);
        if wal.long || wal.truncate || wal.stop {
            self.wal_changed.notify_all();
        }
    }

    pub(crate) fn wal(&self) -> MutexGuard<'_, WalSignal> {
        lock(&self.wal)
    }

    /// How long the WAL file is now; bytes.
    pub(crate) fn wal_bytes(&self) -> u64 {
        let mut name = self.path.clone().into_os_string();
        name.push("-wal");
        std::fs::metadata(name).map_or(0, |m| m.len())
    }

    /// Trimming stops before the position of a running snapshot.
    pub(crate) fn hold(&self, seq: u64) {
        *lock(&self.held).entry(seq).or_default() += 1;
    }

    pub(crate) fn release(&self, seq: u64) {
        let mut held = lock(&self.held);
        if let Some(count) = held.get_mut(&seq) {
            *count -= 1;
            if *count == 0 {
                held.remove(&seq);
            }
        }
    }

    pub(crate) fn oldest_held(&self) -> Option<u64> {
        lock(&self.held).keys().next().copied()
    }
}

/// Every value behind these locks is whole after each statement, so a panic elsewhere spoils nothing.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
