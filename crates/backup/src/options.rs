//! What a restore is asked to do.

use std::collections::BTreeSet;

use keyark_model::{Id, Kind};
use serde::{Deserialize, Serialize};

/// Whether records that did not exist at the point are deleted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Mode {
    #[default]
    Merge,
    /// Each deletion stands in the plan and the domain is named twice.
    Exact,
}

/// What happens when an id or name exists in the destination.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Conflict {
    /// The whole restore is refused; the plan lists every conflict.
    #[default]
    Fail,
    Skip,
    Overwrite,
    /// A new id and a new name; links follow.
    Rename,
    /// A secret that is here gets the archived value as its newest version.
    NewVersion,
}

/// Everything that can be chosen.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct RestoreOptions {
    pub mode: Mode,
    pub conflict: Conflict,
    /// Only these; empty: everything in the archive.
    pub items: BTreeSet<(String, Id)>,
    /// Bring back what was deleted here since.
    pub include_deleted: bool,
    /// Bring back the material of these keys although it was destroyed here.
    pub include_destroyed: BTreeSet<Id>,
    /// Restore users and groups too: users arrive disabled, existing groups are left as they are.
    pub include_users: bool,
}

impl RestoreOptions {
    /// Whether a record is among what was asked for.
    pub fn wants(&self, kind: Kind, id: Id) -> bool {
        self.items.is_empty() || self.items.contains(&(kind.word().to_owned(), id))
    }
}
