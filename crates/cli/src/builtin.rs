//! The commands that no endpoint answers, and what each noun is.

use std::path::PathBuf;

use clap::parser::ArgMatches;
use clap::{Arg, Command};

use crate::failure::Failure;
use crate::options::{self, Given};
use crate::output::Format;
use crate::profile::{Connection, DEFAULT_DATA, Places};
use crate::tree::Tree;
use crate::{archive, local, login, offline, points, recover, report, retain, serve, settings, tour};

/// Words and command of each.
pub fn commands() -> Vec<(&'static str, Command)> {
    let anchor = Command::new("export")
        .about("Writes the anchor: the public keys that verify this system's archives")
        .arg(offline::data_arg())
        .arg(Arg::new("file").long("file").value_name("FILE").help("Where to write it; else standard output"));
    let check = Command::new("check")
        .about("Replays the log and compares every record with it; the server must not run")
        .arg(offline::data_arg())
        .args(options::args());
    let reset = Command::new("reset-admin")
        .about("Gives admin a new first password, through the running server's own socket")
        .arg(offline::data_arg())
        .args(options::args());
    let completions = Command::new("completions")
        .about("Prints the completions of a shell")
        .arg(Arg::new("shell").required(true).value_parser(["bash", "elvish", "fish", "powershell", "zsh"]));
    let man = Command::new("man")
        .about("Writes the manual pages")
        .arg(Arg::new("folder").value_name("DIR").required(true).help("Where to write them"));
    let serve = Command::new("serve").about("Serves; makes a new system at the first start").args(settings::args());
    let mut all = vec![
        ("serve", serve),
        ("recover", recover::command()),
        ("points", points::command()),
        ("retain", retain::command()),
        ("report verify", report::command()),
        ("tour", tour::command()),
        ("login", login::command()),
        ("users reset-admin", reset),
        ("anchor export", anchor),
        ("store check", check),
        ("completions", completions),
        ("man", man),
    ];
    all.extend(archive::commands());
    all
}

/// Does one of them; `None`: the words mean an endpoint.
pub fn run(words: &[&str], tree: &Tree, given: &Given<'_>, matches: &ArgMatches) -> Option<Result<(), Failure>> {
    let data = || PathBuf::from(given.text("data").unwrap_or_else(|| DEFAULT_DATA.into()));
    Some(match words {
        ["serve"] => serve::run(given, matches),
        ["recover"] => recover::run(given, matches),
        ["points"] => format(given).and_then(|format| points::run(format, matches)),
        ["report", "verify"] => report::verify(matches),
        ["retain"] => format(given).and_then(|format| retain::run(format, matches)),
        ["tour"] => tour::run(matches),
        ["login"] => login::run(given, matches),
        ["users", "reset-admin"] => format(given).and_then(|format| local::reset_admin(&data(), format)),
        ["anchor", "export"] => offline::anchor_export(&data(), matches),
        ["store", "check"] => format(given).and_then(|format| offline::store_check(&data(), format)),
        ["completions"] => offline::completions(tree.command(), matches),
        ["man"] => offline::man(tree.command(), matches),
        ["archive", verb] => archive::run(verb, given, matches),
        _ => return None,
    })
}

fn format(given: &Given<'_>) -> Result<Format, Failure> {
    let config = Places::of(given).and_then(|places| places.config()).unwrap_or_default();
    Format::of(Connection::resolve(given, &config)?.output.as_deref())
}

/// What a noun is, for the overview.
pub fn noun_about(noun: &str) -> &'static str {
    match noun {
        "alarms" => "What somebody must do",
        "anchor" => "The keys that verify this system's archives",
        "archive" => "Archives, without a server",
        "backup" => "Backups of the system or of a domain",
        "backup-instance" => "Standing orders that protect a domain or the system",
        "backupkeys" => "The keys that open backups",
        "connectionmgmt" => "Hosts that backups are sent to",
        "crypto" => "Cryptography with keys",
        "destination" => "Places that backup instances send archives to",
        "domains" => "Domains and their key-encryption keys",
        "groups" => "Groups and their members",
        "jobs" => "Long-running operations",
        "uploads" => "Large files sent in parts",
        "keys" => "Keys and their versions",
        "protection" => "Where continuous protection stands",
        "public-key" => "The key that hosts must know",
        "records" => "The audit log",
        "policies" => "Policies of file encryption clients",
        "policysets" => "Sets that policies name: users, processes, resources, signatures",
        "report" => "Signed reports of drills, without a server",
        "scheduler" => "Work that is done by the clock",
        "scp" => "Files on their way to other machines over SSH",
        "secrets" => "Secrets and their versions",
        "self" => "Your own account",
        "store" => "The store, without a server",
        "system" => "The system as a whole",
        "tokens" => "Your own tokens",
        "users" => "Users",
        "webhook" => "Programs elsewhere that are told of alarms",
        _ => "",
    }
}
