//! Commands that need no server: the anchor, the store's own check, shell completions, manual pages.

use std::path::Path;

use clap::parser::ArgMatches;
use clap::{Arg, Command};
use keyark_archive::Anchor;
use keyark_server::Folder;
use keyark_store::{Options, Store};
use serde_json::json;

use crate::failure::Failure;
use crate::output::{self, Format};
use crate::{files, progress};

/// `--data`.
pub fn data_arg() -> Arg {
    let help = "The server's data folder [KEYARK_DATA; default keyark-data]";
    Arg::new("data").long("data").value_name("DIR").help(help)
}

/// `keyark anchor export`: the anchor that archives are verified with.
pub fn anchor_export(data: &Path, matches: &ArgMatches) -> Result<(), Failure> {
    let path = Folder::at(data).anchor();
    let bytes = std::fs::read(&path).map_err(Failure::at(&path))?;
    let anchor = Anchor::parse(&bytes)?;
    eprintln!("Fingerprint {}", anchor.fingerprint());
    match matches.get_one::<String>("file") {
        Some(file) => files::write_private(Path::new(file), &bytes),
        None => output::show(&bytes, Format::Json),
    }
}

/// `keyark store check`: replays the log and compares everything with it.
pub fn store_check(data: &Path, format: Format) -> Result<(), Failure> {
    let path = Folder::at(data).store();
    let store = Store::open(&path, Options::default()).map_err(|e| Failure::Refused(e.to_string()))?;
    let bar = progress::work("replaying the log");
    let checked = store.check();
    bar.finish_and_clear();
    let report = checked.map_err(|e| Failure::Damaged(format!("{}: {e}", path.display())))?;
    let findings: Vec<String> = report.findings.iter().map(ToString::to_string).collect();
    let shown = json!({ "entries": report.entries, "records": report.records, "findings": findings });
    output::show_value(&shown, format)?;
    match findings.len() {
        0 => Ok(()),
        n => Err(Failure::Damaged(format!(
            "the store is not what its log says, in {n} places: stop writing to it and restore from a backup"
        ))),
    }
}

/// `keyark completions SHELL`.
pub fn completions(mut command: Command, matches: &ArgMatches) -> Result<(), Failure> {
    let shell = matches.get_one::<String>("shell").map(String::as_str).unwrap_or_default();
    let shell: clap_complete::Shell = shell.parse().map_err(Failure::Usage)?;
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut command, "keyark", &mut script);
    output::print(&String::from_utf8_lossy(&script))
}

/// `keyark man DIR`: one page for each command.
pub fn man(command: Command, matches: &ArgMatches) -> Result<(), Failure> {
    let folder = Path::new(matches.get_one::<String>("folder").map(String::as_str).unwrap_or("."));
    std::fs::create_dir_all(folder).map_err(Failure::at(folder))?;
    clap_mangen::generate_to(command, folder).map_err(Failure::at(folder))
}
