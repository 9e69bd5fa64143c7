//! What can go wrong with the usage log, with what to do next.

use std::path::PathBuf;

/// Why the usage log cannot be opened, read or written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UsageError {
    #[error("the usage log {path}: {reason}: check that the data folder belongs to the server's user")]
    Io { path: PathBuf, reason: String },
    #[error("the usage log {path} was written by a later version: install that version, or move the file aside")]
    Newer { path: PathBuf },
    #[error(
        "the usage log is damaged ({0}): move usage.db aside and start again; the change log holds the hashes it had"
    )]
    Damaged(String),
    /// Less room than the reserve: what is left belongs to the store.
    #[error("the disk is nearly full: free space; the usage log goes on by itself")]
    Full,
    #[error("the usage log cannot keep up: its records wait for the disk")]
    Busy,
    #[error("the server is stopping")]
    Closed,
    #[error("the database of the usage log failed ({0})")]
    Database(String),
}

impl From<rusqlite::Error> for UsageError {
    fn from(e: rusqlite::Error) -> Self {
        use rusqlite::{Error as E, ErrorCode as C};
        if let E::InvalidColumnType(..) | E::FromSqlConversionFailure(..) | E::IntegralValueOutOfRange(..) = e {
            return UsageError::Damaged(e.to_string());
        }
        match e.sqlite_error_code() {
            Some(C::DiskFull | C::SystemIoFailure | C::ReadOnly) => UsageError::Full,
            Some(C::DatabaseCorrupt | C::NotADatabase) => UsageError::Damaged(e.to_string()),
            _ => UsageError::Database(e.to_string()),
        }
    }
}
