//! `keyark points`: what can be restored from a destination, from what lies there alone.

use clap::parser::ArgMatches;
use clap::{Arg, Command};
use keyark_backup::Destination;
use keyark_backup::destination;
use keyark_backup::stream::survey;
use keyark_model::protection::Address;
use keyark_model::{DomainId, Id, Incarnation, SystemId, Time};

use crate::failure::Failure;
use crate::options;
use crate::output::{self, Format};

pub fn command() -> Command {
    Command::new("points")
        .about("Lists what can be restored from a destination, to which seconds, and with which backup keys")
        .arg(
            Arg::new("from")
                .long("from")
                .value_name("DESTINATION")
                .required(true)
                .help("The destination: a folder, or s3://bucket/prefix/"),
        )
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

/// Opens what a command line names: a folder, or a bucket as `s3://bucket/prefix/?region=R&endpoint=URL`. Credentials of a
/// bucket come from the environment, under the names that programs for S3 use.
pub fn destination(text: &str) -> Result<Box<dyn Destination>, Failure> {
    let address = match text.strip_prefix("s3://") {
        None => Address::Local { path: text.into() },
        Some(rest) => of_s3(rest)?,
    };
    destination::open(&address, None).map_err(|e| Failure::NotFound(format!("{text}: {e}")))
}

/// Whether a command line names a destination and not an archive's file.
pub fn is_destination(text: &str) -> bool {
    text.starts_with("s3://") || std::path::Path::new(text).is_dir()
}

fn of_s3(rest: &str) -> Result<Address, Failure> {
    let (place, query) = rest.split_once('?').unwrap_or((rest, ""));
    let (bucket, prefix) = place.split_once('/').unwrap_or((place, ""));
    let (mut region, mut endpoint) = (std::env::var("AWS_REGION").ok(), std::env::var("AWS_ENDPOINT_URL").ok());
    for (name, value) in form_urlencoded::parse(query.as_bytes()) {
        match &*name {
            "region" => region = Some(value.into_owned()),
            "endpoint" => endpoint = Some(value.into_owned()),
            other => return Err(Failure::Usage(format!("s3://{rest}: {other:?} is neither region nor endpoint"))),
        }
    }
    if bucket.is_empty() || !(prefix.is_empty() || prefix.ends_with('/')) {
        return Err(Failure::Usage(format!("s3://{rest}: write s3://bucket/ or s3://bucket/prefix/")));
    }
    let region = region.unwrap_or_else(|| "us-east-1".into());
    Ok(Address::S3 { bucket: bucket.into(), prefix: prefix.into(), region, endpoint })
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

#[cfg(test)]
mod tests {
    use keyark_model::protection::Address;

    use super::of_s3;

    #[test]
    fn a_bucket_is_named_with_its_prefix_region_and_server() {
        let address = of_s3("archives/keyark/?region=eu-central-1&endpoint=http%3A%2F%2F127.0.0.1%3A9000").unwrap();
        let expected = Address::S3 {
            bucket: "archives".into(),
            prefix: "keyark/".into(),
            region: "eu-central-1".into(),
            endpoint: Some("http://127.0.0.1:9000".into()),
        };
        assert_eq!(address, expected);
        for bad in ["", "/prefix/", "bucket/no-slash", "bucket/?password=x"] {
            assert!(of_s3(bad).is_err(), "{bad}");
        }
    }
}
