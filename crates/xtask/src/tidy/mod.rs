//! `cargo xtask tidy`: what the compiler does not check of how this project is made.

mod documents;
mod doors;
mod features;
mod layers;
mod server;
mod sources;
mod words;

use crate::process::Outcome;
use crate::tree::{self, Source};

/// What the checks found.
#[derive(Default)]
pub struct Report {
    problems: Vec<String>,
    warnings: Vec<String>,
}

impl Report {
    pub fn problem(&mut self, place: impl std::fmt::Display, what: impl std::fmt::Display) {
        self.problems.push(format!("{place}: {what}"));
    }

    pub fn warning(&mut self, place: impl std::fmt::Display, what: impl std::fmt::Display) {
        self.warnings.push(format!("{place}: {what}"));
    }

    #[cfg(test)]
    pub fn problems(&self) -> &[String] {
        &self.problems
    }
}

/// Runs every check; fails when one found a problem.
pub fn tidy() -> Outcome {
    let files = tree::sources()?;
    let mut report = Report::default();
    sources::check(&files, &mut report);
    layers::check(&files, &mut report);
    doors::check(&files, &mut report);
    server::check(&files, &mut report);
    words::check(&files, &mut report);
    documents::check(&files, &mut report);
    let states = features::check(&files, &mut report);
    report.warnings.iter().for_each(|w| println!("warning: {w}"));
    report.problems.iter().for_each(|p| println!("problem: {p}"));
    let lines: usize = files.iter().filter(|f| f.is_rust()).map(|f| f.lines().count()).sum();
    println!("tidy: {} files, {lines} lines of Rust; {states}", files.len());
    match report.problems.len() {
        0 => Ok(()),
        n => Err(format!("{n} problems, listed above")),
    }
}

/// The text of one file of the tree.
fn text<'f>(files: &'f [Source], path: &str) -> Option<&'f str> {
    files.iter().find(|f| f.path == path)?.text.as_deref()
}
