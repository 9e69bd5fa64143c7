//! `keyark report`: a drill's signed report, read and checked without a server.

use std::path::Path;

use clap::parser::ArgMatches;
use clap::{Arg, Command};
use keyark_archive::Anchor;
use keyark_backup::drill::{DrillReport, SignedReport};

use crate::failure::Failure;
use crate::output;
use crate::{files, options};

pub fn command() -> Command {
    Command::new("verify")
        .about("Checks the signature of a drill's report with the anchor alone, and tells what it proved")
        .arg(
            Arg::new("report")
                .value_name("FILE")
                .required(true)
                .help("The report: the result of the drill's job, or the part `signed` of it"),
        )
        .arg(
            Arg::new("anchor")
                .long("anchor")
                .value_name("FILE")
                .required(true)
                .help("The pinned anchor of the system that ran the drill"),
        )
        .args(options::args())
}

/// What a file may hold: the signed report, a job's result with it, or the job.
fn signed(text: &str) -> Option<SignedReport> {
    let mut value: serde_json::Value = serde_json::from_str(text).ok()?;
    for part in ["result", "signed"] {
        if let Some(inner) = value.get_mut(part) {
            value = inner.take();
        }
    }
    serde_json::from_value(value).ok()
}

pub fn verify(matches: &ArgMatches) -> Result<(), Failure> {
    let text = |name: &str| matches.get_one::<String>(name).map(String::as_str).unwrap_or_default();
    let (report, file) = (text("report"), Path::new(text("anchor")));
    let anchor = Anchor::parse(&std::fs::read(file).map_err(Failure::at(file))?)?;
    let signed = signed(&files::text(report)?)
        .ok_or_else(|| Failure::Damaged(format!("{report}: this is no report of a drill")))?;
    let proven = signed.open(&anchor).ok_or_else(|| {
        Failure::Damaged(format!(
            "{report}: it was changed, or this anchor does not know who signed it; trust nothing in it"
        ))
    })?;
    output::print(&page(&proven))
}

fn page(r: &DrillReport) -> String {
    let scope = r.domain.map_or_else(|| "the whole system".to_owned(), |d| format!("domain {d}"));
    let records: Vec<String> = r.records.iter().map(|(kind, n)| format!("{n} {kind}")).collect();
    let built = match r.store_built {
        true => "a whole database was built of it and checked against its log",
        false => "a domain's records were opened; no database is built of a domain alone",
    };
    format!(
        "Drill of {} from {}, signed and unchanged\n\n  system        {}\n  restored      entry {} of {}\n  age (RPO)     {} s\n  \
         time (RTO)    {} ms, {} objects, {} bytes\n  records       {}, each opened\n  known answers {} keys, {} versions\n  digests       \
         {} domains, equal to those that were shipped\n  store         {built}\n",
        scope,
        r.destination,
        r.system,
        r.position,
        r.position_time,
        r.rpo_seconds,
        r.rto_ms,
        r.objects,
        r.bytes,
        records.join(", "),
        r.keys_proven,
        r.versions_proven,
        r.digests_compared,
    )
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use keyark_archive::{Anchor, AnchorKey};
    use keyark_backup::drill::{DrillReport, SignedReport};
    use keyark_crypto::sign::Signer;
    use keyark_model::{Incarnation, SystemId, Time};

    use super::{page, signed};

    #[test]
    fn a_report_is_found_in_what_the_server_answers_and_told_in_words() {
        let (system, incarnation) = (SystemId::from_bytes([1; 16]), Incarnation::from_bytes([2; 16]));
        let report = DrillReport {
            report: "drill".into(),
            product_version: "0".into(),
            system,
            incarnation,
            domain: None,
            destination: "nas".into(),
            asked: None,
            position: "7".into(),
            position_time: Time(0),
            started_at: Time(9_000_000),
            rpo_seconds: 9,
            rto_ms: 120,
            objects: 2,
            bytes: 3000,
            records: BTreeMap::from([("keys".into(), 40)]),
            keys_proven: 3,
            versions_proven: 4,
            digests_compared: 2,
            store_built: true,
        };
        let signer = Signer::generate();
        let made = SignedReport::of(&report, &signer);
        let anchor = Anchor::new(vec![AnchorKey::pinned(system, incarnation, &signer.public(), 0)]);
        let part = serde_json::to_value(&made).unwrap();
        for text in [
            part.clone(),
            serde_json::json!({ "report": report, "signed": part }),
            serde_json::json!({ "id": "x", "result": { "report": report, "signed": part } }),
        ] {
            let found = signed(&text.to_string()).unwrap().open(&anchor).unwrap();
            let told = page(&found);
            assert!(
                told.contains("Drill of the whole system from nas") && told.contains("40 keys, each opened"),
                "{told}"
            );
        }
        assert!(signed("{}").is_none() && signed("nothing").is_none());
    }
}
