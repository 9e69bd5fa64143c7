//! The one place where threads that may wait meet clients that are asynchronous.

use std::sync::OnceLock;

use tokio::runtime::{Builder, Runtime};

use crate::destination::DestinationError;

/// The runtime of everything that goes over the network: callers are threads that may wait.
pub fn runtime() -> Result<&'static Runtime, DestinationError> {
    static RUNTIME: OnceLock<Runtime> = OnceLock::new();
    if let Some(running) = RUNTIME.get() {
        return Ok(running);
    }
    let made = Builder::new_multi_thread().worker_threads(1).thread_name("network").enable_all().build();
    let made = made.map_err(|e| DestinationError::Other(e.to_string()))?;
    Ok(RUNTIME.get_or_init(|| made))
}
