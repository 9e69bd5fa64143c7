//! The source tree: where it is, which files belong to it.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::process::{Outcome, output};

/// The workspace's folder.
pub fn root() -> PathBuf {
    let here = std::env::var_os("CARGO_MANIFEST_DIR").map_or_else(|| env!("CARGO_MANIFEST_DIR").into(), PathBuf::from);
    here.join("../..").canonicalize().expect("crates/xtask stands two folders below the root")
}

/// Where cargo puts what it builds.
pub fn target() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), |path| root().join(path))
}

/// A file of the tree: its path from the root, with `/` between, and its text (none when it is not UTF-8).
pub struct Source {
    pub path: String,
    pub text: Option<String>,
}

impl Source {
    /// Its lines with their numbers from 1.
    pub fn lines(&self) -> impl Iterator<Item = (usize, &str)> {
        self.text.as_deref().unwrap_or_default().lines().enumerate().map(|(i, line)| (i + 1, line))
    }

    pub fn is_rust(&self) -> bool {
        self.path.ends_with(".rs")
    }
}

/// Every file that git tracks or would track.
pub fn sources() -> Outcome<Vec<Source>> {
    let root = root();
    let mut git = Command::new("git");
    // A clone that another user made is read all the same.
    git.args(["-c", "safe.directory=*", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]);
    let names = output(git.current_dir(&root))?;
    let mut names: Vec<&str> = names.split_terminator('\0').collect();
    names.sort_unstable();
    names.dedup();
    let there = names.into_iter().filter(|name| root.join(name).is_file());
    there.map(|name| Ok(Source { path: name.to_owned(), text: read_if_text(&root.join(name))? })).collect()
}

/// A file's text, or a message that names it.
pub fn read(path: &str) -> Outcome<String> {
    std::fs::read_to_string(root().join(path)).map_err(|e| format!("{path}: {e}"))
}

fn read_if_text(path: &Path) -> Outcome<Option<String>> {
    let bytes = std::fs::read(path).map_err(|e| format!("{}: {e}", path.display()))?;
    Ok(String::from_utf8(bytes).ok())
}
