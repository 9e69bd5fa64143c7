//! What a store is opened with.

use std::path::Path;
use std::sync::Arc;

use keyark_model::{Digest, Incarnation, Position, SystemId, Time};

/// How much room the file system of a path has, in bytes.
pub type FreeSpace = Arc<dyn Fn(&Path) -> std::io::Result<u64> + Send + Sync>;

/// How to run a store. `Options::default()` is right for a server.
#[derive(Clone)]
pub struct Options {
    /// Commits are refused while less than this is free on the disk; bytes.
    pub reserve_bytes: u64,
    /// Asks for the free room; `statvfs` by default.
    pub free_space: FreeSpace,
    /// Batches that may wait before `CommitError::Busy`.
    pub queue_limit: usize,
    /// Read connections that are kept open.
    pub readers: usize,
    /// Page cache of the writer, and of each reader; KiB.
    pub writer_cache_kib: u32,
    pub reader_cache_kib: u32,
    /// A snapshot lets go of its read transaction when the WAL is longer, and goes on in key ranges; bytes.
    pub snapshot_wal_bytes: u64,
    /// The database may not grow past so many pages of 4 KiB (tests of a full disk).
    pub max_pages: Option<u32>,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            reserve_bytes: 64 << 20,
            free_space: Arc::new(free_space_statvfs),
            queue_limit: 65_536,
            readers: 8,
            // Every page split makes SQLite walk the whole cache at the commit: a large one costs more than what it misses.
            writer_cache_kib: 4 << 10,
            reader_cache_kib: 8 << 10,
            snapshot_wal_bytes: 256 << 20,
            max_pages: None,
        }
    }
}

/// What an unprivileged process may still write on the path's file system.
fn free_space_statvfs(path: &Path) -> std::io::Result<u64> {
    let stat = rustix::fs::statvfs(path)?;
    Ok(stat.f_bavail.saturating_mul(stat.f_frsize))
}

/// Which system, and which life of it, a store is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Identity {
    pub system: SystemId,
    pub incarnation: Incarnation,
    /// The life before this one: where it ended (or was restored from) and the global hash there.
    pub parent: Option<Parent>,
}

/// Where an incarnation branches off another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Parent {
    pub position: Position,
    pub hash: Digest,
}

/// A place in the log with its hash and time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    pub seq: u64,
    /// Global hash of entry `seq`; zeros when `seq` is 0.
    pub hash: Digest,
    pub time: Time,
}

/// A place in one domain's own log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct DomainHead {
    /// The domain's own sequence number; 0 before its first entry.
    pub domain_seq: u64,
    pub hash: Digest,
    /// The system's sequence number of that entry; 0 when it is none of this incarnation.
    pub seq: u64,
}
