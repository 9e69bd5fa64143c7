//! The records of a system's archives on their way into a database: read, opened and judged on a thread of their own,
//! while those before are being written.

use std::collections::{BTreeMap, HashSet};
use std::sync::mpsc::{SyncSender, sync_channel};

use keyark_archive::RecordRef;
use keyark_crypto::lthash::LtHash;
use keyark_crypto::seal::Kek;
use keyark_model::{DomainId, Id, Kind, Record};
use keyark_store::failpoint;

use crate::facts::{Fact, Ruling, body_without};
use crate::progress::{Cancelled, Progress, give_way};
use crate::restore_system::{SystemRestore, SystemRestoreError};
use crate::source::SourceError;
use crate::take::{element, name_of};

/// Records that are handed over together; bytes.
const PARCEL: usize = 256 << 10;
/// Parcels that may wait.
const AHEAD: usize = 4;

/// Reads what a restore asks for.
pub(crate) struct Reader<'a> {
    pub restore: &'a SystemRestore<'a>,
    /// What a changed record is sealed under.
    pub fresh: &'a BTreeMap<DomainId, Kek>,
}

/// What became of the records.
#[derive(Default)]
pub(crate) struct Outcome {
    pub negative: Vec<Fact>,
    /// Records that stayed away because of a fact.
    pub left_out: u64,
    /// What is known to be deleted here, and came back.
    pub came_back: HashSet<(Kind, Id)>,
    /// The sum of each domain's records as the archive has them.
    pub sums: BTreeMap<DomainId, LtHash>,
}

impl Reader<'_> {
    /// Hands over every record as it will stand, in the order of (domain, kind, id). An error on either side ends both.
    pub fn each(
        &self,
        progress: &Progress,
        mut put: impl FnMut(Record) -> Result<(), SystemRestoreError>,
    ) -> Result<Outcome, SystemRestoreError> {
        let (parcels, incoming) = sync_channel(AHEAD);
        std::thread::scope(|scope| {
            let reader = scope.spawn(move || self.read(progress, &parcels));
            for parcel in incoming {
                for (n, record) in (0..).zip(parcel) {
                    give_way(n);
                    put(record)?;
                }
            }
            reader.join().expect("reading does not panic")
        })
    }

    fn read(&self, progress: &Progress, parcels: &SyncSender<Vec<Record>>) -> Result<Outcome, SystemRestoreError> {
        let (mut outcome, mut parcel, mut weight) = (Outcome::default(), Vec::new(), 0);
        self.restore.links.each_record::<SystemRestoreError>(|record, link| {
            failpoint("load-record");
            progress.step()?;
            if let Some(record) = self.judged(&record, link, &mut outcome)? {
                weight += record.header.len() + record.body.len();
                parcel.push(record);
            }
            if weight > PARCEL {
                weight = 0;
                // Nobody listens after an error on the other side, which is the one that is told.
                parcels.send(std::mem::take(&mut parcel)).map_err(|_| Cancelled)?;
            }
            Ok(())
        })?;
        parcels.send(parcel).map_err(|_| Cancelled)?;
        Ok(outcome)
    }

    /// The record as it will stand, if it comes back. Its body is opened in either case.
    fn judged(
        &self,
        record: &RecordRef<'_>,
        link: usize,
        outcome: &mut Outcome,
    ) -> Result<Option<Record>, SystemRestoreError> {
        outcome.sums.entry(record.domain).or_default().add(&element(record));
        let SystemRestore { links, facts, options, .. } = self.restore;
        let body = links.body(record, link)?;
        let (ruling, found) = facts.rule(record.kind, record.id, record.header, options);
        outcome.negative.extend(found);
        let stands = match ruling {
            Ruling::Leave(_) => {
                outcome.left_out += 1;
                return Ok(None);
            }
            Ruling::Keep => record.to_record(),
            Ruling::Change { header, without } => {
                let body = body_without(record.header, body, &without)?;
                let changed = RecordRef { header: &header, revision: record.revision + 1, ..*record };
                // A restored generation only opens (rules B5).
                let missing = SourceError::Record { kind: record.kind, id: record.id };
                let kek = self.fresh.get(&record.domain).ok_or(missing)?;
                let sealed = kek.seal(&name_of(&changed), &header, body.expose());
                RecordRef { body: &sealed, ..changed }.to_record()
            }
        };
        if facts.knows_deleted(record.kind, record.id) {
            outcome.came_back.insert((record.kind, record.id));
        }
        Ok(Some(stands))
    }
}
