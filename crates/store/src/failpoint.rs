//! Places where a test may stop the process dead: nothing at all in a release build.

/// The place that was armed, and how often it may still be passed.
#[cfg(debug_assertions)]
static ARMED: std::sync::Mutex<Option<(String, u64)>> = std::sync::Mutex::new(None);

/// From now on the process kills itself at this place; with `:n` behind it, when it comes by for the n-th time.
/// Without effect in a release build.
pub fn arm(place: &str) {
    #[cfg(debug_assertions)]
    {
        let (place, nth) = place.split_once(':').map_or((place, 1), |(p, n)| (p, n.parse().unwrap_or(1)));
        *ARMED.lock().expect("no panic while held") = Some((place.to_owned(), nth));
    }
    #[cfg(not(debug_assertions))]
    let _ = place;
}

/// Dies here by SIGKILL when it was armed: nothing is flushed, nothing is unwound.
#[cfg(debug_assertions)]
pub fn failpoint(name: &str) {
    let mut armed = ARMED.lock().expect("no panic while held");
    let Some((_, left)) = armed.as_mut().filter(|(place, _)| place == name) else { return };
    *left -= 1;
    if *left == 0 {
        let _ = rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL);
    }
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
