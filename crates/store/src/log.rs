//! The seam for the log: where entries are appended, at home or shared with other nodes.

use keyark_model::Entry;

use crate::error::Fault;
use crate::options::Head;

/// An append-only log of entries. One store appends at a time from each process; others may append from elsewhere.
pub trait Log: Send {
    /// Where the log ends now.
    fn head(&mut self) -> Result<Head, LogError>;

    /// Appends the page right after `at`, or says where the log ends instead; then nothing was appended.
    ///
    /// `projection` makes the records and the local copy of the page durable: a log that is the same database commits
    /// both with it, a shared log appends first and commits it after. When a shared log has taken the page and the
    /// projection fails, the page stands (`AppendError::NotProjected`): the store reads it back from the log.
    fn append(&mut self, at: &Head, page: &[Entry], projection: &mut dyn Projection) -> Result<(), AppendError>;

    /// Entries after `seq`, at most `limit`, in order. Empty at the end, and always for a log without other writers.
    fn read_from(&mut self, seq: u64, limit: usize) -> Result<Vec<Entry>, LogError>;
}

/// The local rows of a page, staged and not yet durable.
pub trait Projection {
    /// Makes them durable.
    fn commit(&mut self) -> Result<(), Fault>;
}

/// The log did not answer, or not as it must.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LogError {
    #[error(transparent)]
    Local(#[from] Fault),
    /// The outcome is not known; the next append finds out.
    #[error("the shared log cannot be reached ({0}): the change may or may not have been made; read it again")]
    Unreachable(String),
    /// The log is not the one that this store follows.
    #[error("the shared log is not the one this node follows ({0}): writes stop; compare the heads of all nodes")]
    Forked(String),
}

/// Why a page was not appended as asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AppendError {
    /// Others were first: the log ends here.
    #[error("the log ends at {} now", .0.seq)]
    Conflict(Head),
    /// The page stands in the log, but not on this disk yet.
    #[error("appended, but not on this node's disk yet: {0}")]
    NotProjected(Fault),
    #[error(transparent)]
    Failed(#[from] LogError),
}
