//! A drill: a point is restored into a throw-away store, as a person would, and what came back is proven.

use std::collections::BTreeMap;
use std::path::Path;

use keyark_archive::{Anchor, Scope};
use keyark_crypto::algorithm::KeyBody;
use keyark_crypto::hash::sha256;
use keyark_crypto::lthash::LtHash;
use keyark_crypto::root::FileRoot;
use keyark_crypto::sign::{Context, PublicKey, Signer};
use keyark_model::key::KeyHeader;
use keyark_model::{Digest, DomainId, Id, Incarnation, Kind, SystemId, Time};
use keyark_store::{Options, Store};

use crate::facts::Facts;
use crate::links::Links;
use crate::options::RestoreOptions;
use crate::progress::{Cancelled, Progress};
use crate::restore_system::{SystemRestore, SystemRestoreError, build};
use crate::source::SourceError;
use crate::stream::{Point, PointError};
use crate::take::element;

/// One key in so many has its known answers computed.
const SAMPLE: u64 = 16;

/// What a drill proved. Signed, so that an auditor can check it with the anchor alone.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DrillReport {
    pub report: String,
    pub product_version: String,
    pub system: SystemId,
    pub incarnation: Incarnation,
    /// The scope that was restored: a domain, or everything.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub domain: Option<DomainId>,
    pub destination: String,
    /// The moment that was asked for; the newest if none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub asked: Option<Time>,
    /// The last entry that was restored, and its time.
    pub position: String,
    pub position_time: Time,
    pub started_at: Time,
    /// Seconds between the last moment that is known to be protected and the start.
    pub rpo_seconds: i64,
    /// Milliseconds from the first byte that was read to the last proof.
    pub rto_ms: u64,
    pub objects: u64,
    pub bytes: u64,
    /// Kind → records, each of which was opened.
    pub records: BTreeMap<String, u64>,
    /// Keys whose check values were computed again from the material that came back, and versions of them.
    pub keys_proven: u64,
    pub versions_proven: u64,
    /// Domains whose records have the digest that was signed when they were shipped.
    pub digests_compared: u64,
    /// A whole database was built of it, and its log and records were checked.
    pub store_built: bool,
}

/// Where a drill stands: what is asked, and what only its caller knows.
pub struct Drill<'a> {
    pub point: &'a Point,
    pub destination: String,
    pub asked: Option<Time>,
    /// Everything up to then is known to be there.
    pub protected_until: Time,
    pub started_at: Time,
    /// Milliseconds since it began; the caller has the clock.
    pub elapsed: &'a dyn Fn() -> u64,
}

/// Why a drill failed: the backup is not good enough, and the alarm is right.
#[derive(Debug, thiserror::Error)]
pub enum DrillError {
    #[error(transparent)]
    Point(#[from] PointError),
    #[error(transparent)]
    Source(#[from] SourceError),
    #[error(transparent)]
    Build(#[from] SystemRestoreError),
    #[error("the material of key {0} does not give its check value")]
    KnownAnswer(Id),
    #[error("the records of domain {0} are not those that were shipped")]
    Digest(DomainId),
    #[error("the restored database is not what its log says: {0}")]
    Store(String),
    #[error("the drill's folder: {0}")]
    Io(#[from] std::io::Error),
    #[error(transparent)]
    Cancelled(#[from] Cancelled),
}

/// Runs it in the point's own folder, which goes away with the point. Nothing goes out, nothing else is touched.
pub fn drill(d: &Drill<'_>, progress: &Progress) -> Result<DrillReport, DrillError> {
    d.point.with_links(|links| {
        let header = links.last().unlocked.archive().header().clone();
        let mut report = DrillReport {
            report: "drill".into(),
            product_version: env!("CARGO_PKG_VERSION").into(),
            system: header.system,
            incarnation: header.incarnation,
            domain: header.domain,
            destination: d.destination.clone(),
            asked: d.asked,
            position: d.point.number.to_string(),
            position_time: d.point.time,
            started_at: d.started_at,
            rpo_seconds: (d.started_at.0 - d.protected_until.0).max(0) / 1_000_000,
            rto_ms: 0,
            objects: d.point.objects,
            bytes: d.point.bytes,
            records: BTreeMap::new(),
            keys_proven: 0,
            versions_proven: 0,
            digests_compared: 0,
            store_built: false,
        };
        prove_records(links, &mut report, progress)?;
        if header.scope == Scope::System {
            build_store(links, d.point.folder(), d.started_at, progress)?;
            report.store_built = true;
        }
        report.rto_ms = (d.elapsed)();
        Ok(report)
    })
}

/// Opens every body, computes known answers of a sample of keys, and compares the digests of the records.
fn prove_records(links: &Links<'_, '_>, report: &mut DrillReport, progress: &Progress) -> Result<(), DrillError> {
    let mut sums: BTreeMap<DomainId, LtHash> = BTreeMap::new();
    let mut keys = 0;
    progress.set_total(links.count());
    links.each_record::<DrillError>(|r, link| {
        progress.step()?;
        sums.entry(r.domain).or_default().add(&element(&r));
        *report.records.entry(r.kind.word().to_owned()).or_default() += 1;
        let body = links.body(&r, link)?;
        if r.kind == Kind::Key {
            keys += 1;
            if keys % SAMPLE == 1 {
                let wrong = || DrillError::KnownAnswer(r.id);
                let header: KeyHeader = serde_json::from_slice(r.header).map_err(|_| wrong())?;
                let versions = KeyBody::decode(header.spec, &body).and_then(|body| body.prove());
                report.versions_proven += versions.map_err(|_| wrong())? as u64;
                report.keys_proven += 1;
            }
        }
        Ok(())
    })?;
    for (domain, stated) in &links.last().unlocked.archive().footer().record_digests {
        if sums.get(domain).cloned().unwrap_or_default().digest().0[..] != stated.0[..] {
            return Err(DrillError::Digest(*domain));
        }
        report.digests_compared += 1;
    }
    Ok(())
}

fn build_store(links: &Links<'_, '_>, folder: &Path, now: Time, progress: &Progress) -> Result<(), DrillError> {
    let root = FileRoot::create(&folder.join("root.key"), None).map_err(SystemRestoreError::from)?;
    let path = folder.join("drill.db");
    let (facts, options) = (Facts::default(), RestoreOptions::default());
    let restore =
        SystemRestore { links, root: &root, facts: &facts, options: &options, extras: Vec::new(), replaced: None, now };
    build(&restore, &path, &Progress::default())?;
    progress.check()?;
    let told = |e: &dyn std::fmt::Display| DrillError::Store(e.to_string());
    let store = Store::open(&path, Options { reserve_bytes: 0, ..Options::default() }).map_err(|e| told(&e))?;
    let checked = store.check().map_err(|e| told(&e))?;
    match checked.findings.first() {
        None => Ok(()),
        Some(finding) => Err(told(finding)),
    }
}

/// A report with the signature of the server that ran the drill: over the very text of `report`.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SignedReport {
    /// One line of JSON.
    pub report: String,
    /// Hexadecimal.
    pub public_key: String,
    pub signature: String,
}

impl SignedReport {
    pub fn of(report: &DrillReport, signer: &Signer) -> SignedReport {
        let report = serde_json::to_string(report).expect("a report has no value that JSON lacks");
        let signature = signer.sign(Context::Report, &digest(&report).0);
        let hex = keyark_archive::json::hex;
        SignedReport { report, public_key: hex(&signer.public().0), signature: hex(&signature) }
    }

    /// The report, if the anchor knows who signed it and nothing of it was changed.
    pub fn open(&self, anchor: &Anchor) -> Option<DrillReport> {
        let unhex = keyark_archive::json::unhex;
        let public = PublicKey(unhex(&self.public_key)?.try_into().ok()?);
        public.verify(Context::Report, &digest(&self.report).0, &unhex(&self.signature)?).ok()?;
        let report: DrillReport = serde_json::from_str(&self.report).ok()?;
        anchor.judge(&public, report.system, report.incarnation, None).require_pinned().ok()?;
        Some(report)
    }
}

fn digest(report: &str) -> Digest {
    sha256(&[report.as_bytes()])
}
