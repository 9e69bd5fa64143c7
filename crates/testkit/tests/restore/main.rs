//! Backup and restore, tested over the sockets of whole servers; one module per question.

mod chains;
mod contents;
mod domain;
mod facts;
mod faults;
mod history;
mod keys_of_backups;
mod killed;
mod model;
mod other_domain;
mod people;
mod protected;
mod recover;
mod schedules;
mod sealing;
mod stories;
mod support;
mod system;
mod take;
mod transfers;
mod webhooks;
