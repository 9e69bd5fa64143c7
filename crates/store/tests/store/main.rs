//! Tests of the store through its public interface.

mod bulk;
mod check;
mod commits;
mod conformance;
mod crash;
mod fixture;
mod format;
mod full;
mod log_of_the_store;
mod model;
mod opening;
mod power;
mod snapshots;
