//! Takes an archive of the system or of a domain, and reads it back: a backup is completed only when it was opened.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufReader, BufWriter, Seek};
use std::path::Path;

use keyark_archive::{
    Archive, ArchiveError, Base, Chain, Closing, Counts, Decimal, Door, EntryRef, FactorKind, Header, OpeningKey,
    Positions, RecordRef, Summary, Times, Tombstone, Wrap, Writer,
};
use keyark_crypto::keyring::{KekOwner, Keyring, KeyringError};
use keyark_crypto::lthash::{LtElement, LtHash};
use keyark_crypto::seal::{Kek, RecordName};
use keyark_crypto::sign::Signer;
use keyark_crypto::{Key256, SecretBytes, random};
use keyark_model::{ArchiveId, Carrier, Digest, DomainId, Id, Kind, Record, RecordFacts, Time};
use keyark_store::{Fault, SnapshotError, Store, failpoint};
use uuid::Uuid;

use crate::progress::{Cancelled, Progress};
use crate::stream::epoch::Epoch;

/// Audit entries that are read at a time.
const AUDIT_PAGE: u64 = 2000;

/// Which records of a domain: kind, id, header → whether it comes along.
pub type Selection<'a> = dyn Fn(Kind, Id, &[u8]) -> bool + Send + Sync + 'a;

/// What to take.
pub struct TakeRequest<'a> {
    pub store: &'a Store,
    pub keyring: &'a Keyring,
    pub signer: &'a Signer,
    pub id: ArchiveId,
    /// None: the whole system.
    pub domain: Option<DomainId>,
    pub backup_key: Id,
    pub backup_key_material: &'a Key256,
    pub creator: String,
    pub description: String,
    /// Shown in the clear header, as the caller gave it.
    pub filters: BTreeMap<String, String>,
    /// Only for a domain; none: everything.
    pub select: Option<&'a Selection<'a>>,
    /// Only what changed after an earlier archive, and tombstones.
    pub since: Option<Since>,
    /// In a stream: sealed as it stands in the store, and opened by the epoch's key.
    pub stream: Option<InStream<'a>>,
    /// A system's archive holds the audit fields of entries that are not older.
    pub audit_from: Time,
    pub now: Time,
}

/// The stream that an archive belongs to.
#[derive(Clone, Copy)]
pub struct InStream<'a> {
    pub stream: Uuid,
    pub epoch: &'a Epoch,
}

impl TakeRequest<'_> {
    fn opening<'s>(&'s self, key_id: &'s str) -> OpeningKey<'s> {
        match &self.stream {
            Some(s) => s.epoch.opening(),
            None => OpeningKey { kind: FactorKind::BackupKey, id: key_id, key: self.backup_key_material },
        }
    }

    fn carrier(&self) -> Carrier {
        match (self.domain, self.stream) {
            (None, _) => Carrier::System,
            (Some(_), None) => Carrier::Domain,
            (Some(_), Some(_)) => Carrier::DomainStream,
        }
    }
}

/// The archive that an increment continues.
#[derive(Clone, Copy, Debug)]
pub struct Since {
    pub id: ArchiveId,
    /// The log's position of its state.
    pub seq: u64,
    /// Its last position as its header says it: in a domain's scope the domain's own number.
    pub position: u64,
}

/// What was taken.
#[derive(Debug)]
pub struct Taken {
    pub summary: Summary,
    /// Position of the state that it holds.
    pub seq: u64,
    pub time: Time,
}

/// Why an archive was not taken. Nothing of it remains.
#[derive(Debug, thiserror::Error)]
pub enum TakeError {
    #[error(transparent)]
    Archive(#[from] ArchiveError),
    #[error(transparent)]
    Snapshot(#[from] SnapshotError),
    #[error(transparent)]
    Store(#[from] Fault),
    #[error("{kind} {id} does not open ({source}); run `keyark store check`")]
    Record { kind: Kind, id: Id, source: KeyringError },
    #[error(transparent)]
    Chain(Box<crate::source::SourceError>),
    #[error("the archive does not read back as it was written: {0}")]
    ReadBack(&'static str),
    #[error("the archive cannot be written: {0}")]
    Io(#[from] std::io::Error),
    #[error(transparent)]
    Cancelled(#[from] Cancelled),
}

/// Takes it into a new file at `path`.
pub fn take(request: &TakeRequest<'_>, path: &Path, progress: &Progress) -> Result<Taken, TakeError> {
    published(path, |making| take_inside(request, making, progress))
}

/// What `make` writes and reads back appears at `path` once it is on disk; until then, and if it fails, nothing does.
pub(crate) fn published<T>(path: &Path, make: impl FnOnce(&Path) -> Result<T, TakeError>) -> Result<T, TakeError> {
    let making = path.with_extension("part");
    let outcome = make(&making).and_then(|taken| {
        failpoint("take-read-back");
        std::fs::rename(&making, path)?;
        failpoint("take-renamed");
        File::open(folder_of(path))?.sync_all()?;
        Ok(taken)
    });
    if outcome.is_err() {
        let _ = std::fs::remove_file(&making);
    }
    outcome
}

fn folder_of(path: &Path) -> &Path {
    path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

fn take_inside(r: &TakeRequest<'_>, making: &Path, progress: &Progress) -> Result<Taken, TakeError> {
    let mut snapshot = r.store.snapshot()?;
    let head = snapshot.head();
    let domains: Vec<DomainId> = snapshot.domains().filter(|d| r.domain.is_none_or(|only| only == *d)).collect();
    progress.set_total(2 * domains.iter().map(|d| count_of(r, &snapshot, *d)).sum::<u64>());
    let mut digests: BTreeMap<DomainId, Digest> = BTreeMap::new();
    let chain = match r.domain {
        None => Chain { before: Digest::ZERO, after: head.hash },
        Some(d) => Chain { before: Digest::ZERO, after: snapshot.domain_head(d).hash },
    };
    let gone = Waiting::of(r, &snapshot, making)?;
    if r.domain.is_none() {
        digests.extend(domains.iter().map(|d| (*d, snapshot.digest(*d))));
    }

    let dek = random::secret::<32>();
    let key_id = r.backup_key.to_string();
    let by = r.opening(&key_id);
    let identity = r.store.identity();
    let mut header = Header::new(r.id, identity.system, identity.incarnation, r.now);
    if let Some(domain) = r.domain {
        header = header.of_domain(domain);
    }
    header.stream = r.stream.map(|s| s.stream);
    let seq = r.domain.map_or(head.seq, |d| snapshot.domain_head(d).domain_seq);
    header.positions = Positions { first: Decimal(seq), last: Decimal(seq) };
    header.times = Some(Times { first: head.time, last: head.time });
    header.creator = r.creator.clone();
    header.description = Some(r.description.clone());
    header.filters = r.filters.clone();
    header.base = r.since.map(|s| Base { id: s.id, position: Decimal(s.position) });
    header.mkek_checksum = Some(r.keyring.mkek.fingerprint());
    header.doors = vec![Door::backup_key(r.backup_key)];
    header.wraps = vec![Wrap::new(&by, r.id, r.domain, &dek)];

    let mut writer = writer_at(making, header, &dek)?;

    // A domain's archive is sealed anew under a KEK of its own (rules A5); the system's and streams carry the KEKs in use.
    let fresh = r.domain.filter(|_| r.stream.is_none()).map(|d| (d, Kek::generate(1)));
    match &fresh {
        Some((domain, kek)) => writer.kek(*domain, 1, kek.key())?,
        None => {
            for domain in &domains {
                for kek in r.keyring.generations(KekOwner::Domain(*domain)) {
                    writer.kek(*domain, u64::from(kek.generation), kek.key())?;
                }
            }
        }
    }

    let mut sums: BTreeMap<DomainId, LtHash> = BTreeMap::new();
    for record in snapshot.records(r.domain) {
        let record = record?;
        failpoint("take-record");
        progress.step()?;
        if !wanted(r, &record) {
            continue;
        }
        let record = match &fresh {
            None => record,
            Some((_, kek)) => resealed(r.keyring, kek, record)?,
        };
        sums.entry(record.domain).or_default().add(&element(&RecordRef::of(&record)));
        writer.record(&RecordRef::of(&record))?;
    }
    gone.write(&mut writer)?;
    if r.domain.is_none() {
        write_audit(r, &mut writer, head.seq)?;
    }
    drop(snapshot);
    let written: BTreeMap<DomainId, Digest> = sums.iter().map(|(d, sum)| (*d, sum.digest())).collect();
    let nothing = LtHash::default().digest();
    let whole = r.since.is_none() && r.domain.is_none();
    if whole && digests.iter().any(|(d, digest)| written.get(d).unwrap_or(&nothing) != digest) {
        return Err(TakeError::ReadBack("the records written are not those of the snapshot"));
    }
    // Of a system: what stands at this position, also when only a part of it stands here. A domain's bodies are other ones.
    let stated = if r.domain.is_none() { &digests } else { &written };
    let closing = Closing { chain, record_digests: stated.iter().map(|(d, digest)| (*d, digest.0.to_vec())).collect() };
    let (sink, summary) = writer.finish(&closing, r.signer)?;
    let file = sink.into_inner().map_err(|e| e.into_error())?;
    file.sync_all()?;
    drop(file);
    failpoint("take-written");
    read_back(making, &by, &written, &summary.counts, progress)?;
    Ok(Taken { summary, seq: head.seq, time: head.time })
}

/// Tombstones in a file without a name: they are read before records and written behind them, however many there are.
struct Waiting(File);

/// A kind's code, id, domain, revision, time, name.
type WaitingTombstone = (u8, Id, DomainId, u64, i64, Option<String>);

impl Waiting {
    fn of(r: &TakeRequest<'_>, snapshot: &keyark_store::Snapshot, making: &Path) -> Result<Waiting, TakeError> {
        let mut out = BufWriter::new(tempfile::tempfile_in(folder_of(making))?);
        snapshot.each_tombstone::<TakeError>(r.domain, r.since.map_or(0, |s| s.seq), |t| {
            if t.kind.travels(r.carrier()) {
                let waiting: WaitingTombstone = (t.kind as u8, t.id, t.domain, t.revision, t.time.0, t.name);
                serde_json::to_writer(&mut out, &waiting).map_err(std::io::Error::from)?;
            }
            Ok(())
        })?;
        let mut file = out.into_inner().map_err(|e| e.into_error())?;
        file.rewind()?;
        Ok(Waiting(file))
    }

    fn write(self, writer: &mut Writer<BufWriter<File>>) -> Result<(), TakeError> {
        let all = serde_json::Deserializer::from_reader(BufReader::new(self.0)).into_iter::<WaitingTombstone>();
        for waiting in all {
            let (code, id, domain, revision, time, name) = waiting.map_err(std::io::Error::from)?;
            let kind = Kind::from_code(code).expect("a kind's own code");
            writer.tombstone(&Tombstone { kind, domain, id, revision, time: Time(time), name })?;
        }
        Ok(())
    }
}

/// What people read of the log inside the audit retention, and of an increment only what its base does not have.
fn write_audit(r: &TakeRequest<'_>, writer: &mut Writer<BufWriter<File>>, last: u64) -> Result<(), TakeError> {
    let mut after = r.store.audit_start(r.audit_from)?.max(r.since.map_or(0, |s| s.seq));
    loop {
        let page = r.store.audit(Some(after), AUDIT_PAGE, None, false)?;
        for entry in page.iter().filter(|e| e.seq <= last) {
            let bytes = crate::history::encode(entry);
            let (seq, domain, time) = (entry.seq, entry.domain, entry.time);
            writer.audit_entry(&EntryRef { seq, domain, time, bytes: &bytes })?;
        }
        match page.last() {
            Some(entry) if entry.seq < last => after = entry.seq,
            _ => return Ok(()),
        }
    }
}

fn count_of(r: &TakeRequest<'_>, snapshot: &keyark_store::Snapshot, domain: DomainId) -> u64 {
    let kinds = Kind::ALL.iter().filter(|k| k.travels(r.carrier()));
    kinds.map(|kind| snapshot.count(domain, *kind).records).sum()
}

fn wanted(r: &TakeRequest<'_>, record: &Record) -> bool {
    record.kind.travels(r.carrier())
        && r.since.is_none_or(|s| record.seq > s.seq)
        && r.select.is_none_or(|select| select(record.kind, record.id, &record.header))
}

/// The element of the record digest.
pub fn element(r: &RecordRef<'_>) -> LtElement {
    LtElement::new(r.kind, r.id, r.revision, r.header, r.body)
}

/// The sealing name of a record.
pub fn name_of(r: &RecordRef<'_>) -> RecordName {
    let version = RecordFacts::of_header(r.header).map_or(0, |f| f.version);
    RecordName { domain: r.domain, kind: r.kind, id: r.id, version, revision: r.revision }
}

fn resealed(keyring: &Keyring, kek: &Kek, mut record: Record) -> Result<Record, TakeError> {
    let name = name_of(&RecordRef::of(&record));
    let (kind, id) = (record.kind, record.id);
    let mut body =
        keyring.open(&name, &record.header, &record.body).map_err(|source| TakeError::Record { kind, id, source })?;
    if kind == Kind::User {
        // A password verifier travels in system archives only (rules A3).
        body = SecretBytes::new(Vec::new());
    }
    record.body = kek.seal(&name, &record.header, body.expose());
    Ok(record)
}

/// Begins a file for its owner alone.
pub(crate) fn writer_at(path: &Path, header: Header, dek: &Key256) -> Result<Writer<BufWriter<File>>, TakeError> {
    let mut options = std::fs::OpenOptions::new();
    options.write(true).create(true).truncate(true);
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    Ok(Writer::new(BufWriter::with_capacity(1 << 20, options.open(path)?), header, dek)?)
}

/// Opens what was written as anybody would who has the key, and compares all of it.
pub(crate) fn read_back(
    path: &Path,
    by: &OpeningKey<'_>,
    expected: &BTreeMap<DomainId, Digest>,
    counts: &Counts,
    progress: &Progress,
) -> Result<(), TakeError> {
    let archive = Archive::open(File::open(path)?)?;
    let unlocked = archive.unlock(by)?;
    let mut sums: BTreeMap<DomainId, LtHash> = BTreeMap::new();
    let mut cancelled = Ok(());
    let found = unlocked.verify_full(|record| {
        sums.entry(record.domain).or_default().add(&element(record));
        if cancelled.is_ok() {
            cancelled = progress.step();
        }
    })?;
    cancelled?;
    let read: BTreeMap<DomainId, Digest> = sums.iter().map(|(d, sum)| (*d, sum.digest())).collect();
    if &read != expected || &found != counts {
        return Err(TakeError::ReadBack("counts or record digests differ; check the disk and take it again"));
    }
    progress.commit()?;
    Ok(())
}
