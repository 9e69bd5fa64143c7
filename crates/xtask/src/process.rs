//! Running other programs: never with a terminal, always saying which one failed.

use std::io::{BufRead as _, BufReader};
use std::process::{Command, Stdio};

/// What a task ends with: a message that tells the reader what to do next.
pub type Outcome<T = ()> = Result<T, String>;

/// The cargo that runs this task.
pub fn cargo() -> Command {
    Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
}

/// Runs it with our output; fails unless it ends well.
pub fn run(command: &mut Command) -> Outcome {
    let name = shown(command);
    let status = command.stdin(Stdio::null()).status().map_err(|e| format!("{name} did not start: {e}"))?;
    if status.success() { Ok(()) } else { Err(format!("{name} ended with {status}")) }
}

/// Whether it starts and ends well; its output is dropped.
pub fn succeeds(command: &mut Command) -> bool {
    let command = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}

/// What it prints.
pub fn output(command: &mut Command) -> Outcome<String> {
    let name = shown(command);
    let command = command.stdin(Stdio::null()).stderr(Stdio::inherit());
    let output = command.output().map_err(|e| format!("{name} did not start: {e}"))?;
    if !output.status.success() {
        return Err(format!("{name} ended with {}", output.status));
    }
    String::from_utf8(output.stdout).map_err(|_| format!("{name} did not print UTF-8"))
}

/// Prints what it prints and hands each line to `look`; gives whether it ended well.
pub fn watch(command: &mut Command, mut look: impl FnMut(&str)) -> Outcome<bool> {
    let name = shown(command);
    let command = command.stdin(Stdio::null()).stdout(Stdio::piped());
    let mut child = command.spawn().map_err(|e| format!("{name} did not start: {e}"))?;
    let stdout = child.stdout.take().expect("it was piped");
    for line in BufReader::new(stdout).split(b'\n') {
        let line = line.map_err(|e| format!("{name}: {e}"))?;
        let line = String::from_utf8_lossy(&line);
        println!("{line}");
        look(&line);
    }
    child.wait().map(|status| status.success()).map_err(|e| format!("{name}: {e}"))
}

fn shown(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    words.map(|w| w.to_string_lossy()).collect::<Vec<_>>().join(" ")
}
