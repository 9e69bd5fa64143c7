//! A log in memory that several stores share: the reference for a shared log, conflicts included.

use std::sync::{Arc, Mutex, PoisonError};

use keyark_model::{Digest, Entry, Time};

use crate::log::{AppendError, Log, LogError, Projection};
use crate::options::Head;

/// A handle on a shared log; clones share it.
#[derive(Clone, Debug, Default)]
pub struct MemoryLog {
    shared: Arc<Mutex<Shared>>,
}

#[derive(Debug, Default)]
struct Shared {
    entries: Vec<Entry>,
    lose_answers: usize,
}

impl MemoryLog {
    /// An empty log.
    pub fn new() -> Self {
        MemoryLog::default()
    }

    /// The next `count` appends are done, and then answer as if the log could not be reached.
    pub fn lose_answers(&self, count: usize) {
        self.lock().lose_answers = count;
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Shared> {
        // A panic elsewhere leaves whole entries only: pages are pushed by one `extend`.
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn head_of(entries: &[Entry]) -> Head {
    entries.last().map_or(Head { seq: 0, hash: Digest::ZERO, time: Time::default() }, |last| Head {
        seq: last.seq,
        hash: keyark_crypto::chain::hash_entry(last).global,
        time: last.time,
    })
}

impl Log for MemoryLog {
    fn head(&mut self) -> Result<Head, LogError> {
        Ok(head_of(&self.lock().entries))
    }

    fn append(&mut self, at: &Head, page: &[Entry], projection: &mut dyn Projection) -> Result<(), AppendError> {
        {
            let mut shared = self.lock();
            let head = head_of(&shared.entries);
            if (head.seq, head.hash) != (at.seq, at.hash) {
                return Err(AppendError::Conflict(head));
            }
            shared.entries.extend_from_slice(page);
            if shared.lose_answers > 0 {
                shared.lose_answers -= 1;
                return Err(LogError::Unreachable("the answer was lost".into()).into());
            }
        }
        projection.commit().map_err(AppendError::NotProjected)
    }

    fn read_from(&mut self, seq: u64, limit: usize) -> Result<Vec<Entry>, LogError> {
        let shared = self.lock();
        let start = shared.entries.partition_point(|e| e.seq <= seq);
        Ok(shared.entries[start..].iter().take(limit).cloned().collect())
    }
}
