//! Continuous protection (`docs/stream-format.md`): what one instance ships to one destination, and how a point comes back.

pub mod catalogue;
pub mod doors;
pub mod epoch;
pub mod heal;
pub mod names;
pub mod note;
pub mod owner;
mod parts;
pub mod point;
mod replay;
pub mod retain;
pub mod segment;
pub mod ship;
pub mod survey;
mod tail;
pub mod verify;
pub mod view;

pub use catalogue::{Catalogue, NoPoint, Until};
pub use epoch::Epoch;
pub use names::{SegmentName, StreamObject, StreamPlace};
pub use note::{Note, Signed};
pub use point::{Opener, Point, PointError};
pub use replay::Chosen;
pub use ship::{ShipError, Shipper, Shipping};
pub use survey::{Seen, survey};
