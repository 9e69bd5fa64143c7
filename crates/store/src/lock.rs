//! The lock file beside a database: one process at a time.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read, Seek, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::error::OpenError;

/// How long a lock of this very process may outlive its store.
const LET_GO: Duration = Duration::from_millis(500);
const LOOK_AGAIN: Duration = Duration::from_millis(5);

/// Held while the store is open; the operating system lets go of it when the process ends, however it ends.
pub(crate) struct LockFile {
    _file: File,
}

impl LockFile {
    /// Takes the lock, or says who has it.
    pub(crate) fn take(database: &Path) -> Result<LockFile, OpenError> {
        let path = beside(database, "-lock");
        let io = |source| OpenError::Io { path: path.clone(), source };
        // The file is never deleted: a lock on a deleted file would keep nobody out.
        // Whoever can open it can hold it, and keep the store shut.
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false).mode(0o600);
        let mut file = options.open(&path).map_err(io)?;
        let until = Instant::now() + LET_GO;
        loop {
            match file.try_lock() {
                Ok(()) => break,
                Err(TryLockError::Error(source)) => return Err(io(source)),
                Err(TryLockError::WouldBlock) => {
                    let mut holder = String::new();
                    // An unreadable holder is left out of the message.
                    let _ = file.rewind().and_then(|()| file.read_to_string(&mut holder));
                    let holder = holder.trim();
                    // Our own lock that was let go of already: a child process that is about to start still has it.
                    if holder == std::process::id().to_string() && Instant::now() < until {
                        std::thread::sleep(LOOK_AGAIN);
                        continue;
                    }
                    let holder = if holder.is_empty() { String::new() } else { format!(" (process {holder})") };
                    return Err(OpenError::InUse { path: database.to_owned(), holder });
                }
            }
        }
        file.set_len(0).and_then(|()| file.rewind()).map_err(io)?;
        // The lock is what counts; a full disk must not keep the store from opening.
        let _ = writeln!(file, "{}", std::process::id());
        Ok(LockFile { _file: file })
    }
}

/// A file named after the database.
pub(crate) fn beside(database: &Path, suffix: &str) -> PathBuf {
    let mut name = database.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}
