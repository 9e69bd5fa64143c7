//! What a bulk load derives from its records, on a thread of its own beside the inserts: digests, weights, names.

use std::path::PathBuf;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;

use keyark_crypto::lthash::{LtElement, LtHash};
use keyark_model::{Id, Kind, RecordFacts, Shipping};

use crate::bulk::LoadError;
use crate::bulk_names::Names;
use crate::error::Fault;
use crate::read::RecordView;
use crate::stage::names_of;

/// Records that are handed over together; bytes.
const PARCEL: usize = 256 << 10;

/// The thread and what is on its way to it.
pub(crate) struct FactsThread {
    parcels: SyncSender<Parcel>,
    thread: JoinHandle<Result<Facts, LoadError>>,
    parcel: Parcel,
}

/// What all the records said.
pub(crate) struct Facts {
    /// By the place of the domain in the load.
    pub sums: Vec<LtHash>,
    /// In the order of the load.
    pub slots: Vec<SlotFacts>,
    pub names: Names,
}

/// What the records of one slot said.
pub(crate) struct SlotFacts {
    pub slot: i64,
    pub kind: Kind,
    pub weight: u64,
}

#[derive(Default)]
struct Parcel {
    bytes: Vec<u8>,
    records: Vec<Parceled>,
}

struct Parceled {
    domain: usize,
    slot: i64,
    n: u32,
    kind: Kind,
    id: Id,
    revision: u64,
    header: usize,
    body: usize,
}

impl FactsThread {
    /// What is too much for memory goes to files in a folder.
    pub(crate) fn start(folder: PathBuf) -> Result<FactsThread, LoadError> {
        let (parcels, incoming) = sync_channel(8);
        let thread = std::thread::Builder::new()
            .name("store-load-facts".into())
            .spawn(move || gather(&incoming, folder))
            .map_err(|e| Fault::Database(format!("no thread could be started: {e}")))?;
        Ok(FactsThread { parcels, thread, parcel: Parcel::default() })
    }

    /// Hands a record over: of the load's domain number `domain`, kept under row id `rid(slot, n)`.
    pub(crate) fn add(&mut self, domain: usize, slot: i64, n: u32, record: &RecordView<'_>) {
        let RecordView { kind, id, revision, .. } = *record;
        let (header, body) = (record.header.len(), record.body.len());
        self.parcel.bytes.extend_from_slice(record.header);
        self.parcel.bytes.extend_from_slice(record.body);
        self.parcel.records.push(Parceled { domain, slot, n, kind, id, revision, header, body });
        if self.parcel.bytes.len() > PARCEL {
            self.send();
        }
    }

    /// The last record was added: begins what needs all of them.
    pub(crate) fn finish(mut self) -> JoinHandle<Result<Facts, LoadError>> {
        self.send();
        self.thread
    }

    fn send(&mut self) {
        let next = Parcel { bytes: Vec::with_capacity(PARCEL + PARCEL / 8), records: Vec::with_capacity(1024) };
        // A thread that has met an error listens no more; the error is told at the end.
        let _ = self.parcels.send(std::mem::replace(&mut self.parcel, next));
    }
}

fn gather(incoming: &Receiver<Parcel>, folder: PathBuf) -> Result<Facts, LoadError> {
    let mut facts = Facts { sums: Vec::new(), slots: Vec::new(), names: Names::new(folder) };
    for parcel in incoming {
        let mut rest = &parcel.bytes[..];
        for record in &parcel.records {
            let (header, after) = rest.split_at(record.header);
            let (body, after) = after.split_at(record.body);
            rest = after;
            facts.add(record, header, body)?;
        }
    }
    facts.names = facts.names.ended()?;
    Ok(facts)
}

impl Facts {
    fn add(&mut self, record: &Parceled, header: &[u8], body: &[u8]) -> Result<(), LoadError> {
        let (kind, id) = (record.kind, record.id);
        let facts = RecordFacts::of_header(header).map_err(|_| LoadError::BadHeader { kind, id })?;
        if self.slots.last().is_none_or(|last| last.slot != record.slot) {
            self.slots.push(SlotFacts { slot: record.slot, kind, weight: 0 });
        }
        if let Some(slot) = self.slots.last_mut() {
            slot.weight += facts.weight;
        }
        for name in names_of(&facts) {
            self.names.add(record.slot, name, record.n)?;
        }
        if kind.shipping() != Shipping::Never {
            if self.sums.len() <= record.domain {
                self.sums.resize_with(record.domain + 1, LtHash::default);
            }
            self.sums[record.domain].add(&LtElement::new(kind, id, record.revision, header, body));
        }
        Ok(())
    }
}
