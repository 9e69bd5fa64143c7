//! `keyark`: the server, the client and the offline tools in one binary.

mod archive;
mod ask;
mod builtin;
mod caller;
mod clock;
mod failure;
mod field;
mod files;
mod local;
mod login;
mod offline;
mod options;
mod output;
mod passphrase;
mod places;
mod points;
mod profile;
mod progress;
mod recover;
#[cfg(test)]
mod reference;
mod report;
mod request;
mod retain;
mod run;
mod serve;
mod session;
mod settings;
mod tls;
mod tour;
mod transfer;
mod tree;
mod wait;
mod words;

use std::process::ExitCode;

use clap::parser::ArgMatches;
use keyark_api::list::endpoints;

use crate::failure::Failure;
use crate::options::Given;
use crate::tree::Tree;

fn main() -> ExitCode {
    let tree = Tree::of(endpoints());
    let matches = tree.command().get_matches();
    match dispatch(&tree, &matches) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("Error: {failure}");
            if let Some(detail) = failure.detail() {
                eprintln!("  {detail}");
            }
            ExitCode::from(failure.exit() as u8)
        }
    }
}

/// Finds what the words mean and does it.
fn dispatch(tree: &Tree, root: &ArgMatches) -> Result<(), Failure> {
    let (mut words, mut matches) = (Vec::new(), root);
    while let Some((word, inner)) = matches.subcommand() {
        words.push(word);
        matches = inner;
    }
    if let Some(verb) = tree.find(&words) {
        return run::run(tree, verb, &Given::new(root, matches, verb.field_flags()), matches);
    }
    let given = Given::new(root, matches, Vec::new());
    let done = builtin::run(&words, tree, &given, matches);
    done.unwrap_or_else(|| Err(Failure::Usage(format!("`keyark {}` is no command", words.join(" ")))))
}
