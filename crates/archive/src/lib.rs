//! The archive format (`docs/archive-format.md`): write, read, verify, inspect, without a server and without async.

pub mod anchor;
pub mod archive;
pub mod block;
mod body;
mod entries;
pub mod error;
pub mod factors;
pub mod footer;
pub mod header;
pub mod index;
pub mod inspect;
pub mod item;
pub mod json;
pub mod keyfile;
pub mod keys;
pub mod layout;
pub mod passphrase;
mod pipe;
pub mod scan;
mod segments;
pub mod signature;
pub mod source;
pub mod unlocked;
pub mod writer;

pub use anchor::{Anchor, AnchorKey, Verdict};
pub use archive::Archive;
pub use error::{ArchiveError, Result};
pub use factors::{Door, Factor, FactorKind, OpeningKey, Wrap};
pub use footer::{Chain, Counts};
pub use header::{ArchiveKind, Base, Header, Positions, Scope, Times};
pub use inspect::Inspection;
pub use item::{EntryRef, RecordRef, StoredEntry, Tombstone};
pub use json::Decimal;
pub use source::{Counting, ReadAt};
pub use unlocked::{Kek, Unlocked};
pub use writer::{Closing, Summary, Writer};
