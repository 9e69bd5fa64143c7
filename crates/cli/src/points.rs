//! `keyark points`: what can be restored from a destination, from what lies there alone.

use clap::parser::ArgMatches;
use clap::{Arg, Command};
use keyark_backup::stream::survey;
use keyark_model::{DomainId, Id, Incarnation, SystemId, Time};

use crate::failure::Failure;
use crate::output::{self, Format};
use crate::{options, places};

pub fn command() -> Command {
    Command::new("points")
        .about("Lists what can be restored from a destination, to which seconds, and with which backup keys")
        .arg(Arg::new("from").long("from").value_name("DESTINATION").required(true).help(places::HELP))
        .args(options::args())
}

/// One stretch of one stream: every entry between can be restored.
#[derive(serde::Serialize)]
#[serde(rename_all = "camelCase")]
struct Line {
    scope: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    domain: Option<DomainId>,
    from: Time,
    to: Time,
    /// Nothing was left out up to then.
    known_until: Time,
    first_position: u64,
    last_position: u64,
    /// Each opens a part of it at least.
    backup_keys: Vec<Id>,
    full_archives: usize,
    segments: usize,
    bytes: u64,
    system: SystemId,
    incarnation: Incarnation,
    stream: String,
}

#[derive(serde::Serialize)]
struct Lines {
    total: usize,
    resources: Vec<Line>,
}

pub fn run(format: Format, matches: &ArgMatches) -> Result<(), Failure> {
    let from = matches.get_one::<String>("from").map(String::as_str).unwrap_or_default();
    let place = places::destination(from)?;
    let all = survey(place.as_ref()).map_err(|e| Failure::Damaged(format!("{from}: {e}")))?;
    let mut lines = Vec::new();
    for seen in &all {
        let catalogue = &seen.catalogue;
        let sizes = catalogue.fulls.iter().map(|f| &f.found).chain(catalogue.segments.iter().map(|s| &s.found));
        let bytes: u64 = sizes.map(|f| f.size).sum();
        for stretch in catalogue.points() {
            lines.push(Line {
                scope: seen.domain.map_or("system", |_| "domain"),
                domain: seen.domain,
                from: stretch.from.time,
                to: stretch.to.time,
                known_until: stretch.known_until,
                first_position: stretch.from.number,
                last_position: stretch.to.number,
                backup_keys: seen.backup_keys.iter().copied().collect(),
                full_archives: catalogue.fulls.len(),
                segments: catalogue.segments.len(),
                bytes,
                system: catalogue.place.system,
                incarnation: catalogue.place.incarnation,
                stream: catalogue.place.stream.hyphenated().to_string(),
            });
        }
    }
    if lines.is_empty() {
        return Err(Failure::NotFound(format!("{from}: there is nothing that a stream left there")));
    }
    output::show_value(&Lines { total: lines.len(), resources: lines }, format)
}
