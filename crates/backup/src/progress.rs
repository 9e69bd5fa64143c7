//! How far an operation is, and whether somebody wants it to stop.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// After so many records, about 100 µs, whoever waits for a processor may have it: a time slice is far longer.
const PATCH: u64 = 64;

/// Shared between the operation and whoever watches it.
#[derive(Debug, Default)]
pub struct Progress {
    done: AtomicU64,
    total: AtomicU64,
    cancelled: AtomicBool,
    /// From here on it cannot be cancelled any more.
    committed: AtomicBool,
}

/// Somebody cancelled the operation; nothing of it remains.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the operation was cancelled; nothing was changed")]
pub struct Cancelled;

/// Lets whoever waits for a processor have it, once in so many records.
pub(crate) fn give_way(done: u64) {
    if done.is_multiple_of(PATCH) {
        std::thread::yield_now();
    }
}

impl Progress {
    /// Records done and in all (0: not known).
    pub fn read(&self) -> (u64, u64) {
        (self.done.load(Ordering::Relaxed), self.total.load(Ordering::Relaxed))
    }

    pub fn set_total(&self, total: u64) {
        self.total.store(total, Ordering::Relaxed);
    }

    /// One more is done. Fails when the operation was cancelled.
    pub fn step(&self) -> Result<(), Cancelled> {
        give_way(self.done.fetch_add(1, Ordering::Relaxed));
        self.check()
    }

    /// Fails when the operation was cancelled.
    pub fn check(&self) -> Result<(), Cancelled> {
        if self.cancelled.load(Ordering::Relaxed) { Err(Cancelled) } else { Ok(()) }
    }

    /// The last moment at which it can be cancelled.
    pub fn commit(&self) -> Result<(), Cancelled> {
        self.committed.store(true, Ordering::SeqCst);
        if self.cancelled.load(Ordering::SeqCst) { Err(Cancelled) } else { Ok(()) }
    }

    /// Asks for a stop; false when it is too late.
    pub fn cancel(&self) -> bool {
        self.cancelled.store(true, Ordering::SeqCst);
        !self.committed.load(Ordering::SeqCst)
    }
}
