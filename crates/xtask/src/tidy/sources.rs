//! House style of Rust files: how they open, how long they are, what must not stand in them.

use super::Report;
use crate::tree::Source;

/// Lines from which a file should be split, and from which it must be.
const LONG: usize = 400;
const TOO_LONG: usize = 600;

/// Names that say nothing of what is inside.
const VAGUE: [&str; 4] = ["util", "common", "helpers", "prelude"];

/// Put together here, so that this file passes its own check.
const UNFINISHED: [&str; 3] = [concat!("todo", "!("), concat!("unimplemented", "!("), concat!("dbg", "!(")];

pub fn check(files: &[Source], report: &mut Report) {
    for file in files.iter().filter(|f| f.is_rust()) {
        shape(file, report);
        let test_file = is_test_file(&file.path);
        let mut in_tests = test_file;
        for (number, line) in file.lines() {
            // House style: the tests of a file stand at its end.
            in_tests |= line.trim() == "#[cfg(test)]";
            for what in wrong(line.trim(), in_tests) {
                report.problem(format_args!("{}:{number}", file.path), what);
            }
        }
    }
}

fn shape(file: &Source, report: &mut Report) {
    let first = file.lines().next().map_or("", |(_, line)| line);
    if first.strip_prefix("//! ").is_none_or(|sentence| sentence.trim().is_empty()) {
        report.problem(&file.path, "does not open with `//!` and a sentence that says what it is for");
    }
    match file.lines().count() {
        n if n > TOO_LONG => report.problem(&file.path, format_args!("{n} lines; split it before {TOO_LONG}")),
        n if n > LONG => report.warning(&file.path, format_args!("{n} lines; past {LONG} it needs a reason")),
        _ => {}
    }
    let names =
        file.path.trim_end_matches(".rs").split('/').flat_map(|part| part.strip_prefix("keyark-").or(Some(part)));
    if names.clone().any(|name| VAGUE.contains(&name) || VAGUE.iter().any(|v| name == format!("{v}s"))) {
        report.problem(&file.path, "a file named so tells nobody what is inside");
    }
}

fn is_test_file(path: &str) -> bool {
    path.contains("/tests/") || path.ends_with("/tests.rs")
}

/// What is wrong with a line of code.
fn wrong(line: &str, in_tests: bool) -> Vec<&'static str> {
    let mut found = Vec::new();
    if line.starts_with("//") {
        return found;
    }
    if UNFINISHED.iter().any(|word| line.contains(word)) {
        found.push("unfinished");
    }
    let import = line.trim_start_matches("pub ").trim_start_matches("pub(crate) ");
    if import.starts_with("use ") && import.contains('*') && !in_tests {
        found.push("a glob import hides where names come from");
    }
    let module = import.strip_prefix("mod ").and_then(|m| m.split([';', ' ']).next());
    if module.is_some_and(|name| VAGUE.contains(&name)) {
        found.push("a module named so tells nobody what is inside");
    }
    if in_tests && (line.contains("thread::sleep") || line.contains("time::sleep")) {
        found.push("a test that sleeps; wait for what it needs, or pass another time");
    }
    if line == "#[ignore]" {
        found.push("an ignored test without a reason: #[ignore = \"…\"]");
    }
    found
}

#[cfg(test)]
mod tests {
    use super::{check, wrong};
    use crate::tidy::Report;
    use crate::tree::Source;

    #[test]
    fn lines_that_must_not_stand() {
        for (line, in_tests, findings) in [
            ("use super::{a, b};", false, 0),
            ("use super::*;", false, 1),
            ("pub use super::*;", false, 1),
            ("use super::*;", true, 0),
            (concat!("todo", "!()"), false, 1),
            ("// nothing is left to do", false, 0),
            ("mod helpers;", false, 1),
            ("pub mod helper_keys;", false, 0),
            (concat!("std::thread::", "sleep(a);"), true, 1),
            (concat!("std::thread::", "sleep(a);"), false, 0),
            ("#[ignore]", true, 1),
            ("#[ignore = \"needs a second disk\"]", true, 0),
        ] {
            assert_eq!(wrong(line, in_tests).len(), findings, "{line}");
        }
    }

    #[test]
    fn a_file_opens_with_its_purpose_and_ends_before_it_is_too_long() {
        let found = |path: &str, text: String| {
            let mut report = Report::default();
            check(&[Source { path: path.into(), text: Some(text) }], &mut report);
            report.problems().len()
        };
        assert_eq!(found("crates/a/src/b.rs", "//! What it is for.\n".into()), 0);
        assert_eq!(found("crates/a/src/b.rs", "use a::b;\n".into()), 1);
        assert_eq!(found("crates/a/src/b.rs", format!("//! Long.\n{}", "\n".repeat(600))), 1);
        assert_eq!(found("crates/a/src/utils.rs", "//! Utilities.\n".into()), 1);
    }
}
