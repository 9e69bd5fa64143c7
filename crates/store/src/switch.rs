//! Puts a new database file in the place of the old one, in one step.

use std::path::Path;

use rusqlite::Connection;

use crate::error::OpenError;
use crate::failpoint::failpoint;
use crate::lock::{LockFile, beside};
use crate::store::publish_file;

/// Makes `new` (from `BulkLoader::finish`) the store at `path`, and keeps the old one as `kept`, which must not exist.
/// The store at `path` must be closed. Whenever it is interrupted, `path` is the old store or the new one, whole.
pub fn switch(new: &Path, path: &Path, kept: &Path) -> Result<(), OpenError> {
    let _lock = LockFile::take(path)?;
    let io = |source| OpenError::Io { path: path.to_owned(), source };
    if kept.exists() {
        return Err(OpenError::Exists { path: kept.to_owned() });
    }
    if path.exists() {
        // A write-ahead log left by a crash would be taken for the new file's.
        let conn = Connection::open(path)?;
        conn.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))?;
        conn.close().map_err(|(_, e)| e)?;
        for suffix in ["-wal", "-shm"] {
            let file = beside(path, suffix);
            match std::fs::metadata(&file) {
                Ok(left) if suffix == "-wal" && left.len() > 0 => {
                    return Err(OpenError::InUse { path: path.to_owned(), holder: String::new() });
                }
                Ok(_) => std::fs::remove_file(&file).map_err(io)?,
                Err(_) => {}
            }
        }
        failpoint("switch-checkpointed");
        std::fs::hard_link(path, kept).map_err(io)?;
    }
    failpoint("switch-kept");
    publish_file(new, path).map_err(io)?;
    failpoint("switch-published");
    // Nothing is under this name any more for the lock to keep.
    let left = beside(new, "-lock");
    if left.exists() { std::fs::remove_file(left).map_err(io) } else { Ok(()) }
}
