//! Libraries of others, in Python: what they make of what we write.

use std::io::Write;
use std::path::PathBuf;
use std::process::{Command, Stdio};

/// Runs a script in the environment that `cargo xtask test` installs: what it printed, or what it complained of.
///
/// # Panics
/// When the environment is not there.
pub fn python(script: &str, arguments: &[&str], input: &[u8]) -> Result<String, String> {
    let target =
        std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| crate::committed::project("target"), PathBuf::from);
    let mut python = Command::new(target.join("tools/python/bin/python"));
    python.arg("-c").arg(script).args(arguments);
    let piped = python.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
    let mut child = piped.expect("the Python environment: `cargo xtask test` installs it");
    let mut stdin = child.stdin.take().expect("it was piped");
    // Who does not read to the end has said what it thinks.
    let _ = stdin.write_all(input);
    drop(stdin);
    let done = child.wait_with_output().expect("it ends");
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    if done.status.success() { Ok(text(done.stdout)) } else { Err(text(done.stderr)) }
}
