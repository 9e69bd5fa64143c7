//! Backup and restore: take an archive, verify it, plan a restore, carry it out, recover an empty machine.

mod conflict;
pub mod destination;
pub mod drill;
pub mod extract;
pub mod facts;
pub mod history;
pub mod links;
mod network;
pub mod options;
pub mod people;
pub mod plan;
pub mod progress;
pub mod restore_domain;
mod restore_reader;
pub mod restore_system;
pub mod source;
pub mod ssh;
pub mod stream;
pub mod take;

pub use destination::{Destination, DestinationError};
pub use facts::Facts;
pub use links::{ChainError, Links};
pub use options::{Conflict, Mode, RestoreOptions};
pub use plan::{Action, Plan, PlanItem};
pub use progress::{Cancelled, Progress};
pub use source::{Opened, SourceError};
pub use take::{TakeError, TakeRequest, Taken, take};
