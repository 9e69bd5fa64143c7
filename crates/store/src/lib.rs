//! The store: a change log and the records it gives, in one SQLite file.
//!
//! `Store::commit` is the only way to write; everything read is a projection of the log (`docs/log-format.md`).

mod admit;
mod batch;
mod bulk;
mod bulk_facts;
mod bulk_names;
mod check;
mod checkpoint;
mod entries;
mod entry_row;
mod error;
pub mod failpoint;
mod lock;
mod log;
mod log_memory;
mod log_sqlite;
mod migrate;
mod options;
mod pool;
mod read;
mod salts;
mod schema;
mod shared;
mod snapshot;
mod stage;
mod state;
mod store;
mod switch;
mod trim;
mod writer;

pub use batch::{Batch, Committed, Draft, Must, Write};
pub use bulk::{BulkLoader, LoadError, Loaded, LoadedDomain};
pub use check::{CheckReport, Finding};
pub use entries::{AuditEntry, EntriesError, Placed};
pub use error::{CommitError, Fault, OpenError};
pub use failpoint::failpoint;
pub use log::{AppendError, Log, LogError, Projection};
pub use log_memory::MemoryLog;
pub use log_sqlite::SqliteLog;
pub use options::{DomainHead, FreeSpace, Head, Identity, Options, Parent};
pub use read::{Count, Page, RecordView, Tombstone};
pub use snapshot::{Records, Snapshot, SnapshotError};
pub use store::Store;
pub use switch::switch;
pub use trim::Trimmed;
