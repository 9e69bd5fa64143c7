//! Places where a test may stop the process dead, or look in: nothing at all in a release build.

use std::sync::Arc;

/// What a test does at a place.
pub type Look = Arc<dyn Fn() + Send + Sync>;

#[cfg(debug_assertions)]
enum Armed {
    /// Kills the process when it comes by for the n-th time.
    Kill { place: String, left: u64 },
    /// Runs this each time.
    Look { place: String, look: Look },
}

#[cfg(debug_assertions)]
static ARMED: std::sync::Mutex<Vec<Armed>> = std::sync::Mutex::new(Vec::new());

/// From now on the process kills itself at this place; with `:n` behind it, when it comes by for the n-th time.
/// Without effect in a release build.
pub fn arm(place: &str) {
    #[cfg(debug_assertions)]
    {
        let (place, nth) = place.split_once(':').map_or((place, 1), |(p, n)| (p, n.parse().unwrap_or(1)));
        ARMED.lock().expect("no panic while held").push(Armed::Kill { place: place.to_owned(), left: nth });
    }
    #[cfg(not(debug_assertions))]
    let _ = place;
}

/// From now on every thread of the process does this at the place; other tests of the process come by too. Without
/// effect in a release build.
pub fn arm_with(place: &str, look: Look) {
    #[cfg(debug_assertions)]
    ARMED.lock().expect("no panic while held").push(Armed::Look { place: place.to_owned(), look });
    #[cfg(not(debug_assertions))]
    let _ = (place, look);
}

/// Dies here by SIGKILL when that was armed: nothing is flushed, nothing is unwound.
#[cfg(debug_assertions)]
pub fn failpoint(name: &str) {
    let mut looks = Vec::new();
    for armed in ARMED.lock().expect("no panic while held").iter_mut() {
        match armed {
            Armed::Kill { place, left } if place == name => {
                *left -= 1;
                if *left == 0 {
                    let _ = rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL);
                }
            }
            Armed::Look { place, look } if place == name => looks.push(look.clone()),
            _ => {}
        }
    }
    looks.iter().for_each(|look| look());
}

/// Costs nothing in a release build.
#[cfg(not(debug_assertions))]
#[inline]
pub fn failpoint(_name: &str) {}

/// Set: nothing is brought to disk, for the control of the test of a power cut. Without effect in a release build.
pub const NO_FSYNC: &str = "KEYARK_TEST_NO_FSYNC";

/// How SQLite brings commits to disk.
pub(crate) fn synchronous() -> &'static str {
    if cfg!(debug_assertions) && std::env::var_os(NO_FSYNC).is_some() { "OFF" } else { "FULL" }
}
