//! `keyark retain`: carries out statements of retention with credentials that may delete, where the server has none.

use std::path::Path;

use clap::parser::ArgMatches;
use clap::{Arg, ArgAction, Command};
use keyark_archive::Anchor;
use keyark_backup::stream::{retain, survey};

use crate::failure::Failure;
use crate::output::{self, Format};
use crate::{clock, options, places};

/// Hours that a statement lies there before it is carried out.
const WAIT: &str = "24";

pub fn command() -> Command {
    Command::new("retain")
        .about("Deletes at a destination what the server's signed statements of retention let go; needs no server")
        .arg(Arg::new("from").long("from").value_name("DESTINATION").required(true).help(places::HELP))
        .arg(
            Arg::new("anchor")
                .long("anchor")
                .value_name("FILE")
                .required(true)
                .help("The system's anchor: only statements that it signed count"),
        )
        .arg(
            Arg::new("wait")
                .long("wait")
                .value_name("HOURS")
                .default_value(WAIT)
                .value_parser(clap::value_parser!(i64).range(0..))
                .help("How long a statement must have lain there"),
        )
        .arg(Arg::new("dry-run").long("dry-run").action(ArgAction::SetTrue).help("Only tell what would be deleted"))
        .args(options::args())
}

#[derive(serde::Serialize)]
#[serde(rename_all = "camelCase")]
struct Line {
    stream: String,
    /// Deleted, or to be deleted in a dry run.
    objects: usize,
    bytes: u64,
    names: Vec<String>,
    /// What could not be deleted, with the reason.
    kept: Vec<String>,
}

pub fn run(format: Format, matches: &ArgMatches) -> Result<(), Failure> {
    let from = matches.get_one::<String>("from").map(String::as_str).unwrap_or_default();
    let file = Path::new(matches.get_one::<String>("anchor").map(String::as_str).unwrap_or_default());
    let anchor = Anchor::parse(&std::fs::read(file).map_err(Failure::at(file))?)?;
    let wait = matches.get_one::<i64>("wait").copied().unwrap_or_default() * 3600;
    let dry = matches.get_flag("dry-run");
    let place = places::destination(from)?;
    let failed = |e| Failure::Damaged(format!("{from}: {e}"));
    let mut lines = Vec::new();
    for seen in survey(place.as_ref()).map_err(failed)? {
        let (stream, now) = (seen.catalogue.place, clock::now());
        let ripe = retain::ripe(place.as_ref(), stream, &anchor, &[], wait, now).map_err(failed)?;
        let Some((removal, _)) = ripe else { continue };
        let kept = match dry {
            true => Vec::new(),
            false => retain::sweep(place.as_ref(), stream, &anchor, &[], wait, now).map_err(failed)?.1,
        };
        lines.push(Line {
            stream: stream.stream.hyphenated().to_string(),
            objects: removal.names.len() - kept.len().min(removal.names.len()),
            bytes: removal.bytes,
            names: removal.names,
            kept: kept.iter().map(ToString::to_string).collect(),
        });
    }
    let left = lines.iter().map(|l| l.kept.len()).sum::<usize>();
    output::show_value(&lines, format)?;
    match left {
        0 => Ok(()),
        n => Err(Failure::Refused(format!("{n} objects could not be deleted; give it credentials that may"))),
    }
}
