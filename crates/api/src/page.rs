//! Lists: `{skip, limit, total, resources}`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// One page of a list.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct Page<T> {
    /// How many matching resources were passed over.
    pub skip: u64,
    /// The largest number of resources in this answer; -1 in the request means all (at most 100 000).
    pub limit: u64,
    /// How many resources match in all.
    pub total: u64,
    pub resources: Vec<T>,
}

/// The paging part of a list request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PageQuery {
    pub skip: u64,
    pub limit: u64,
}

/// The largest page.
pub const LARGEST_PAGE: u64 = 100_000;

impl PageQuery {
    /// From the wire: `skip` defaults to 0, `limit` to 10, and -1 means all.
    pub fn from_wire(skip: Option<u64>, limit: Option<i64>) -> PageQuery {
        let limit = match limit {
            None => 10,
            Some(n) if n < 0 => LARGEST_PAGE,
            Some(n) => (n as u64).min(LARGEST_PAGE),
        };
        PageQuery { skip: skip.unwrap_or(0), limit }
    }

    /// The page of a sequence that is already in memory.
    pub fn of<T>(self, all: Vec<T>) -> Page<T> {
        let total = all.len() as u64;
        let resources = all.into_iter().skip(self.skip as usize).take(self.limit as usize).collect();
        Page { skip: self.skip, limit: self.limit, total, resources }
    }
}
