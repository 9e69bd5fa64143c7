//! `docs/cli.md`, the reference of the command line: made from the command tree, compared with its committed copy.

use std::fmt::Write as _;
use std::path::Path;

use clap::{Arg, ArgAction, Command};
use keyark_api::list::endpoints;

use crate::tree::Tree;

fn flag(arg: &Arg) -> String {
    let value = arg.get_value_names().and_then(|names| names.first()).map(|name| format!(" {name}"));
    let value = match arg.get_action() {
        ArgAction::SetTrue | ArgAction::Count => String::new(),
        _ => value.unwrap_or_default(),
    };
    let name = match (arg.get_long(), arg.get_short()) {
        (Some(long), _) => format!("--{long}{value}"),
        (None, Some(short)) => format!("-{short}{value}"),
        (None, None) => arg.get_id().to_string().to_uppercase(),
    };
    if arg.is_required_set() { format!("**`{name}`**") } else { format!("`{name}`") }
}

fn command(out: &mut String, words: &str, leaf: &Command, root: &Command) {
    let about = leaf.get_about().map(ToString::to_string).unwrap_or_default();
    let _ = write!(out, "\n### `{words}`\n\n{about}\n");
    let args: Vec<&Arg> = leaf.get_arguments().filter(|a| !a.is_hide_set() && !everywhere(root, a)).collect();
    if !args.is_empty() {
        out.push('\n');
    }
    for arg in args {
        line(out, arg);
    }
}

/// Whether every command takes this option.
fn everywhere(root: &Command, arg: &Arg) -> bool {
    root.get_arguments().any(|a| a.get_long() == arg.get_long() && a.get_help() == arg.get_help())
}

fn line(out: &mut String, arg: &Arg) {
    let help = arg.get_help().map(|h| h.to_string().replace('\n', " ")).unwrap_or_default();
    let _ = writeln!(out, "{}", format!("- {} {help}", flag(arg)).trim_end());
}

fn page() -> String {
    let root = Tree::of(endpoints()).command();
    let mut out = String::from(
        "# The command line\n\nThis page is made from the command tree; the same words are in `keyark help`, the manual \
         pages (`keyark man`) and the shell completions.\nOptions in bold are needed. Every command takes these:\n\n",
    );
    for arg in root.get_arguments().filter(|a| !a.is_hide_set()) {
        line(&mut out, arg);
    }
    for noun in root.get_subcommands() {
        let about = noun.get_about().map(ToString::to_string).unwrap_or_default();
        if noun.get_subcommands().next().is_none() {
            let _ = write!(out, "\n## {}\n", noun.get_name());
            command(&mut out, &format!("keyark {}", noun.get_name()), noun, &root);
            continue;
        }
        let _ = write!(out, "\n## {}\n\n{about}\n", noun.get_name());
        for verb in noun.get_subcommands() {
            command(&mut out, &format!("keyark {} {}", noun.get_name(), verb.get_name()), verb, &root);
        }
    }
    out
}

#[test]
fn the_page_about_the_command_line_is_up_to_date() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/cli.md");
    let made = page();
    if std::env::var_os("KEYARK_BLESS").is_some_and(|v| v == "1") {
        std::fs::write(&file, &made).unwrap();
    }
    let committed = std::fs::read_to_string(&file).unwrap_or_default();
    let differs = committed.lines().zip(made.lines()).position(|(a, b)| a != b);
    assert!(
        committed == made,
        "docs/cli.md is not what the code says, from line {:?} on: run this test with KEYARK_BLESS=1 and read the difference",
        differs.map(|at| at + 1)
    );
}

#[test]
fn every_noun_says_what_it_is_of() {
    let root = Tree::of(endpoints()).command();
    for noun in root.get_subcommands() {
        assert!(noun.get_about().is_some_and(|about| !about.to_string().is_empty()), "{}", noun.get_name());
    }
}
