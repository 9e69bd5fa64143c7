//! A place in the change log.

use crate::Incarnation;

/// (incarnation, sequence number): never reused, because every system restore starts a new incarnation.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, serde::Serialize, serde::Deserialize)]
pub struct Position {
    pub incarnation: Incarnation,
    /// 0 is before the first entry.
    pub seq: u64,
}
