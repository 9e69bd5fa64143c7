//! What destinations know of a system that starts: whether its store is older than what it sent them.

use std::time::Duration;

use super::Step;

/// The first writes after a start wait for the answers no longer than this.
pub const LOOK_LONGEST: Duration = Duration::from_secs(5);

impl Step {
    /// Looks how far the stream is at its destination, and sends nothing. What it does not find out, the next step does.
    pub fn look(self) {
        let looked = self.place().map_err(|e| e.message);
        let looked = looked.and_then(|place| self.shipping(place.as_ref(), |shipper, s| shipper.look(s)));
        if let Err(reason) = looked {
            tracing::warn!(instance = %self.instance.id(), destination = %self.destination, reason, "the look at the start failed");
        }
    }
}
