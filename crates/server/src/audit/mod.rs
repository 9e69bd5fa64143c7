//! The usage log: reads, cryptographic operations, logins and denied attempts, chained, on this node alone.
//!
//! What changes something stands in the change log and not here. Records are written in batches by one thread; the
//! hash of the newest enters the change log hourly, so that whoever alters the file cannot make a new chain unseen.

mod error;
mod file;
mod queue;
mod record;
#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use keyark_model::{DomainId, Id, Time};
use tokio::sync::oneshot;

pub use self::error::UsageError;
pub use self::file::{Head, Room};
pub use self::record::{Named, UsageRecord};

use self::file::UsageFile;
use self::queue::Shared;

/// How long a caller waits for room before its record is given up and counted as lost.
const PATIENCE: Duration = Duration::from_millis(50);

/// An open usage log. What was recorded is written when it is dropped.
pub struct UsageLog {
    shared: Arc<Shared>,
    path: PathBuf,
    log: String,
    before_answer: bool,
    thread: Mutex<Option<JoinHandle<()>>>,
}

/// Which records to list; what is absent does not narrow.
#[derive(Clone, Debug, Default)]
pub struct UsageQuery {
    pub action: Option<String>,
    pub actor: Option<Id>,
    pub target: Option<String>,
    pub success: Option<bool>,
    /// No records older than this.
    pub since: Option<Time>,
    /// Records with smaller numbers only.
    pub before: Option<u64>,
    pub limit: u64,
}

impl UsageQuery {
    fn fits(&self, record: &UsageRecord) -> bool {
        self.action.as_ref().is_none_or(|a| *a == record.action)
            && self.actor.is_none_or(|id| record.actor == Named::Id(id))
            && self.target.as_ref().is_none_or(|t| *t == record.target.shown())
            && self.success.is_none_or(|s| s == record.success)
            && self.since.is_none_or(|since| record.time >= since)
    }
}

impl UsageLog {
    /// Opens or makes the file and starts the thread that writes it. `before_answer`: `record` returns when the record
    /// is on disk; otherwise within 200 ms of it, and a power cut may take the last moments.
    pub fn open(path: &Path, before_answer: bool, room: Room) -> Result<UsageLog, UsageError> {
        let file = UsageFile::open(path, before_answer, room)?;
        let (log, shared) = (file.log().to_owned(), Arc::new(Shared::new(file.head())));
        let thread = std::thread::Builder::new().name("usage-log".into()).spawn({
            let shared = Arc::clone(&shared);
            move || shared.run(file)
        });
        let thread = thread.map_err(|e| UsageError::Io { path: path.into(), reason: e.to_string() })?;
        Ok(UsageLog { shared, path: path.into(), log, before_answer, thread: Mutex::new(Some(thread)) })
    }

    /// Hands a record in. An error means that the record is not on disk although the mode demands it; in batches, a
    /// record that finds no room for 50 ms is counted as lost and the caller goes on.
    pub async fn record(&self, record: UsageRecord) -> Result<(), UsageError> {
        if !self.before_answer {
            if let Some(full) = self.shared.push(record, None) {
                let _ = self.push_patiently(full).await;
            }
            return Ok(());
        }
        let (tell, told) = oneshot::channel();
        if let Some(full) = self.shared.push(record, Some(tell)) {
            self.push_patiently(full).await?;
        }
        told.await.unwrap_or(Err(UsageError::Closed))
    }

    async fn push_patiently(&self, mut full: (UsageRecord, Option<queue::Waiter>)) -> Result<(), UsageError> {
        let pushed = tokio::time::timeout(PATIENCE, async {
            loop {
                let room = self.shared.room.notified();
                tokio::pin!(room);
                // Listen first, then try: room that is made in between is not missed.
                room.as_mut().enable();
                match self.shared.push(full.0, full.1) {
                    None => return,
                    Some(again) => full = again,
                }
                room.await;
            }
        });
        pushed.await.map_err(|_| {
            self.shared.lost.fetch_add(1, Ordering::Relaxed);
            UsageError::Busy
        })
    }

    /// Waits until everything recorded so far is written.
    pub async fn flush(&self) -> Result<(), UsageError> {
        let (tell, told) = oneshot::channel();
        self.shared.ask(tell);
        told.await.unwrap_or(Err(UsageError::Closed))
    }

    /// The end of what is written.
    pub fn head(&self) -> Head {
        self.shared.head()
    }

    /// A place in this log as the change log keeps it: which log, position, hash.
    pub fn anchor(&self, head: Head) -> String {
        format!("{} {} {}", self.log, head.position, head.hash)
    }

    /// The place that an anchor names, if it is one of this log: a system that was brought back on another machine
    /// has the anchors of the old one in its change log.
    pub fn anchor_read(&self, text: &str) -> Option<Head> {
        let (position, hash) = text.strip_prefix(&self.log)?.strip_prefix(' ')?.split_once(' ')?;
        Some(Head { position: position.parse().ok()?, hash: hash.parse().ok()? })
    }

    /// Records that found no room since the start.
    pub fn lost(&self) -> u64 {
        self.shared.lost.load(Ordering::Relaxed)
    }

    /// A domain's records with their numbers, newest first. Reads the disk.
    pub fn list(&self, domain: DomainId, query: &UsageQuery) -> Result<Vec<(u64, UsageRecord)>, UsageError> {
        let mut found = Vec::new();
        if query.limit == 0 {
            return Ok(found);
        }
        file::read_newest_first(&self.path, domain, query.before, |position, record| {
            // Requests end a little out of order; a minute is more than any waits for its record.
            let past = query.since.is_some_and(|since| record.time < since.plus_seconds(-60));
            if query.fits(&record) {
                found.push((position, record));
            }
            !past && (found.len() as u64) < query.limit
        })?;
        Ok(found)
    }

    /// Walks the chain: the first position where it is broken, or none. `anchors` are hashes that the change log has.
    pub fn verify(&self, anchors: &[Head]) -> Result<Option<u64>, UsageError> {
        file::verify(&self.path, anchors)
    }

    /// Drops what is older than `before`, in whole batches from the oldest; how many records went.
    pub fn trim(&self, before: Time) -> Result<u64, UsageError> {
        file::trim(&self.path, before)
    }
}

impl Drop for UsageLog {
    fn drop(&mut self) {
        self.shared.stop();
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(thread) = thread {
            // A panic there was reported when it happened.
            let _ = thread.join();
        }
    }
}
