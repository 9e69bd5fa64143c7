//! `keyark points`: what can be restored from a destination, from what lies there alone.

use clap::parser::ArgMatches;
use clap::{Arg, Command};
use keyark_backup::Destination;
use keyark_backup::destination::local::Local;
use keyark_backup::stream::survey;
use serde_json::json;

use crate::failure::Failure;
use crate::options;
use crate::output::{self, Format};

pub fn command() -> Command {
    Command::new("points")
        .about("Lists what can be restored from a destination, to which seconds, and with which backup keys")
        .arg(Arg::new("from").long("from").value_name("DESTINATION").required(true).help("The destination: a folder"))
        .args(options::args())
}

/// Opens what a command line names.
pub fn destination(text: &str) -> Result<Box<dyn Destination>, Failure> {
    let local = Local::open(std::path::Path::new(text)).map_err(|e| Failure::NotFound(format!("{text}: {e}")))?;
    Ok(Box::new(local))
}

pub fn run(format: Format, matches: &ArgMatches) -> Result<(), Failure> {
    let from = matches.get_one::<String>("from").map(String::as_str).unwrap_or_default();
    let place = destination(from)?;
    let all = survey(place.as_ref()).map_err(|e| Failure::Damaged(format!("{from}: {e}")))?;
    let mut lines = Vec::new();
    for seen in &all {
        let catalogue = &seen.catalogue;
        let sizes = catalogue.fulls.iter().map(|f| &f.found).chain(catalogue.segments.iter().map(|s| &s.found));
        let bytes: u64 = sizes.map(|f| f.size).sum();
        for stretch in catalogue.points() {
            lines.push(json!({
                "system": catalogue.place.system,
                "incarnation": catalogue.place.incarnation,
                "stream": catalogue.place.stream,
                "scope": seen.domain.map_or("system", |_| "domain"),
                "domain": seen.domain,
                "from": stretch.from.time,
                "to": stretch.to.time,
                "knownUntil": stretch.known_until,
                "firstPosition": stretch.from.number,
                "lastPosition": stretch.to.number,
                "backupKeys": seen.backup_keys,
                "fullArchives": catalogue.fulls.len(),
                "segments": catalogue.segments.len(),
                "bytes": bytes,
            }));
        }
    }
    if lines.is_empty() {
        return Err(Failure::NotFound(format!("{from}: there is nothing that a stream left there")));
    }
    output::show_value(&json!({ "resources": lines, "total": lines.len() }), format)
}
