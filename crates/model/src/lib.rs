//! The nouns of Keyark and their rules: no I/O, no async, no clock, no randomness.

pub mod access;
pub mod digest;
pub mod entry;
pub mod entry_cbor;
pub mod id;
pub mod key;
pub mod kind;
pub mod people;
pub mod position;
pub mod protection;
pub mod record;
pub mod schedule;
pub mod ssh;
pub mod system;
pub mod time;
pub mod webhook;

pub use digest::Digest;
pub use entry::{Change, ChangeContent, Entry, Outcome};
pub use entry_cbor::{BadEntry, EntryScope};
pub use id::{ArchiveId, DomainId, Id, Incarnation, SystemId};
pub use kind::{Carrier, Kind, Shipping};
pub use position::Position;
pub use record::{Record, RecordFacts};
pub use time::Time;
