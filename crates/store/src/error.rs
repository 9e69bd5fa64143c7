//! What can go wrong, with what to do next.

use std::path::PathBuf;

use keyark_model::{Id, Kind};

use crate::batch::Must;
use crate::log::LogError;

/// SQLite or the disk under it failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// No room: SQLite said full, or could not write.
    #[error("the disk of the data folder is full or cannot be written ({0}): free space; the store goes on by itself")]
    Full(String),
    /// Rows that the store cannot have written.
    #[error("the database is damaged ({0}): run `keyark store check` and restore from a destination")]
    Damaged(String),
    /// Anything else that SQLite says.
    #[error("the database failed ({0}): see the system log for the disk, then run `keyark store check`")]
    Database(String),
}

impl From<rusqlite::Error> for Fault {
    fn from(e: rusqlite::Error) -> Self {
        use rusqlite::{Error as E, ErrorCode as C};
        if let E::InvalidColumnType(..) | E::FromSqlConversionFailure(..) | E::IntegralValueOutOfRange(..) = e {
            return Fault::Damaged(e.to_string());
        }
        match e.sqlite_error_code() {
            Some(C::DiskFull | C::SystemIoFailure | C::ReadOnly) => Fault::Full(e.to_string()),
            Some(C::DatabaseCorrupt | C::NotADatabase) => Fault::Damaged(e.to_string()),
            _ => Fault::Database(e.to_string()),
        }
    }
}

/// Why a batch was not committed. Nothing of it was.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CommitError {
    /// The revision does not follow on what stands.
    #[error("{kind} {id} is at revision {current} (0: it never was): read it again and repeat the change")]
    Conflict {
        kind: Kind,
        id: Id,
        /// Of the record or its tombstone; 0 when there is neither.
        current: u64,
    },
    /// The record stands in another domain; records do not move.
    #[error("{kind} {id} exists in another domain: choose another id")]
    Elsewhere { kind: Kind, id: Id },
    /// A name or alias is another record's.
    #[error("the name {name:?} is taken among {kind} by {by}: choose another")]
    NameTaken { kind: Kind, name: String, by: Id },
    /// A precondition does not hold.
    #[error("a precondition does not hold any more ({0:?}): read again and repeat")]
    Unmet(Must),
    /// A header is not what `RecordFacts` reads.
    #[error("the header of {kind} {id} is not one JSON object with a valid name, aliases and versions")]
    BadHeader { kind: Kind, id: Id },
    /// A batch writes one record twice.
    #[error("the batch writes {kind} {id} twice: put both into one change")]
    Twice { kind: Kind, id: Id },
    /// No room; nothing was written, and the store goes on when there is room again.
    #[error("no room on the disk of the data folder ({0}): free space and repeat")]
    Full(String),
    /// Too many batches wait.
    #[error("too many changes wait to be written: repeat in a moment")]
    Busy,
    /// The store is closing.
    #[error("the server is stopping: repeat when it is back")]
    Closed,
    /// The log did not take it, or the database failed.
    #[error(transparent)]
    Log(LogError),
    #[error(transparent)]
    Fault(Fault),
}

impl From<Fault> for CommitError {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::Full(what) => CommitError::Full(what),
            other => CommitError::Fault(other),
        }
    }
}

impl From<rusqlite::Error> for CommitError {
    fn from(e: rusqlite::Error) -> Self {
        Fault::from(e).into()
    }
}

/// Why a store could not be opened or made.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error(
        "{path} is in use by another process{holder}: stop that server first, or point this one at another data folder"
    )]
    InUse { path: PathBuf, holder: String },
    #[error("{path} exists already: open it, or choose another place")]
    Exists { path: PathBuf },
    #[error("there is no store at {path}: start the server once, or run `keyark recover`")]
    Missing { path: PathBuf },
    #[error("{path} is not a Keyark store: check `data_dir`")]
    Foreign { path: PathBuf },
    #[error(
        "{path} has schema {found}, written by Keyark {written_by}; this version reads up to {supported}: \
         install Keyark {written_by} or later"
    )]
    Newer { path: PathBuf, found: i64, supported: i64, written_by: String },
    #[error("{path}: {source}: check that the folder exists and belongs to the server's user")]
    Io { path: PathBuf, source: std::io::Error },
    #[error(transparent)]
    Log(#[from] LogError),
    #[error(transparent)]
    Fault(#[from] Fault),
}

impl From<rusqlite::Error> for OpenError {
    fn from(e: rusqlite::Error) -> Self {
        OpenError::Fault(e.into())
    }
}
