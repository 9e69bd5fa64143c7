//! Everything tests share: throw-away servers, clients of them, and pages held against their committed copies.

pub mod azure;
pub mod canaries;
pub mod client;
pub mod committed;
pub mod counted;
pub mod destinations;
pub mod distance;
pub mod files;
pub mod listening;
pub mod proxy;
mod python;
pub mod receiver;
pub mod s3;
pub mod server;
pub mod ssh;
mod tool;

pub use client::{Answer, Client};
pub use python::python;
pub use server::{TestDomain, TestServer};
