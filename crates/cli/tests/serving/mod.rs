//! The program in a home of its own, and servers that it starts.

// Not every test needs all of it.
#![allow(dead_code)]

use std::ffi::OsStr;
use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

/// The binary in this home, with nothing of this machine's settings.
pub fn keyark(home: &Path) -> Command {
    program(env!("CARGO_BIN_EXE_keyark"), home)
}

/// A program that lives in this home, finds the binary, and sees nothing of this machine's settings.
pub fn program(name: impl AsRef<OsStr>, home: &Path) -> Command {
    let binary = Path::new(env!("CARGO_BIN_EXE_keyark")).parent().expect("a binary stands in a folder").to_owned();
    let path = std::env::var_os("PATH").unwrap_or_default();
    let path = std::env::join_paths(std::iter::once(binary).chain(std::env::split_paths(&path))).expect("a path");
    let mut command = Command::new(name);
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("KEYARK") || name.to_string_lossy().starts_with("XDG") {
            command.env_remove(name);
        }
    }
    command.current_dir(home).env("HOME", home).env("PATH", path).stdin(Stdio::null());
    command
}

pub fn out(output: &Output) -> String {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// A server that was started, killed if its test fails.
pub struct Serving {
    pub child: Child,
    pub told: String,
    errors: BufReader<std::process::ChildStderr>,
}

impl Serving {
    /// Starts it and reads what it says up to a line that begins so.
    pub fn start(command: &mut Command, last: &str) -> Serving {
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let errors = BufReader::new(child.stderr.take().unwrap());
        let (mut told, mut lines) = (String::new(), BufReader::new(child.stdout.take().unwrap()));
        while !told.lines().last().unwrap_or_default().trim_start().starts_with(last) {
            assert_ne!(lines.read_line(&mut told).unwrap(), 0, "it ended after\n{told}");
        }
        Serving { child, told, errors }
    }

    /// What stands behind this word in what it said.
    pub fn said(&self, word: &str) -> String {
        let line = self.told.lines().find_map(|l| l.trim_start().strip_prefix(word));
        line.unwrap_or_else(|| panic!("no {word:?} in\n{}", self.told)).trim().to_owned()
    }

    /// What Ctrl-C sends.
    pub fn interrupt(&self) {
        let sent = Command::new("bash").args(["-c", &format!("kill -INT {}", self.child.id())]).status().unwrap();
        assert!(sent.success());
    }

    /// Reads its messages up to one with this text.
    pub fn wait_for(&mut self, text: &str) {
        let mut line = String::new();
        while !line.contains(text) {
            line.clear();
            assert_ne!(self.errors.read_line(&mut line).unwrap(), 0, "it never said {text:?}");
        }
    }

    /// Interrupts it and asserts that it ends well.
    pub fn end(mut self) {
        self.interrupt();
        self.wait_for("stopped");
        assert_eq!(self.child.wait().unwrap().code(), Some(0));
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
