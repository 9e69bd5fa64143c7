//! Backup and restore, tested over the sockets of whole servers; one module per question.

mod domain;
mod faults;
mod keys_of_backups;
mod model;
mod people;
mod recover;
mod stories;
mod support;
mod system;
mod take;
