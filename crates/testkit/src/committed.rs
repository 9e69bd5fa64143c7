//! Pages under `docs/` that are made from tables in the code: the committed copy must say the same.

use std::path::PathBuf;

/// A path below the project's folder.
pub fn project(path: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../..").join(path)
}

/// Compares a made page with its committed copy; with `KEYARK_BLESS=1` writes it instead.
///
/// # Panics
/// When they differ, naming the first line that does.
pub fn compare(path: &str, made: &str) {
    let file = project(path);
    if std::env::var_os("KEYARK_BLESS").is_some_and(|v| v == "1") {
        std::fs::write(&file, made).unwrap_or_else(|e| panic!("{path}: {e}"));
        return;
    }
    let committed = std::fs::read_to_string(&file).unwrap_or_default();
    if committed != made {
        let lines = committed.lines().zip(made.lines()).position(|(a, b)| a != b);
        let at = lines.unwrap_or_else(|| committed.lines().count().min(made.lines().count()));
        panic!(
            "{path} is not what the code says, from line {} on:\n  committed: {:?}\n  made:      {:?}\n\
             run the test again with KEYARK_BLESS=1 and read the difference",
            at + 1,
            committed.lines().nth(at).unwrap_or_default(),
            made.lines().nth(at).unwrap_or_default(),
        );
    }
}
