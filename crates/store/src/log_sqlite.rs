//! The embedded log: its rows are in the same database and the same transaction as the records.

use keyark_model::Entry;

use crate::error::Fault;
use crate::log::{AppendError, Log, LogError, Projection};
use crate::options::Head;

/// The log of a system of one node. Nobody else writes it: the lock file sees to that.
#[derive(Debug)]
pub struct SqliteLog {
    head: Head,
}

impl SqliteLog {
    /// For the database whose log ends at `head`.
    pub(crate) fn new(head: Head) -> Self {
        SqliteLog { head }
    }
}

impl Log for SqliteLog {
    fn head(&mut self) -> Result<Head, LogError> {
        Ok(self.head)
    }

    fn append(&mut self, at: &Head, page: &[Entry], projection: &mut dyn Projection) -> Result<(), AppendError> {
        if *at != self.head {
            return Err(AppendError::Conflict(self.head));
        }
        let Some(last) = page.last() else { return Ok(()) };
        projection.commit().map_err(|fault: Fault| AppendError::Failed(fault.into()))?;
        let hash = keyark_crypto::chain::hash_entry(last).global;
        self.head = Head { seq: last.seq, hash, time: last.time };
        Ok(())
    }

    fn read_from(&mut self, _: u64, _: usize) -> Result<Vec<Entry>, LogError> {
        Ok(Vec::new())
    }
}
