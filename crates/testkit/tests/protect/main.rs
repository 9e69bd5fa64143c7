//! Continuous protection: destinations, streams, and the points that come back out of them.

mod azure;
mod chosen;
mod destinations;
mod faults;
mod ground;
mod heal;
mod hold;
mod model;
mod proof;
mod ssh;
mod story;
mod stream;
