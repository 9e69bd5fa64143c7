//! Restores a whole system into a new database file: verified, every body opened, then switched to by the caller.

use std::collections::{BTreeMap, HashSet};
use std::fs::File;
use std::path::Path;

use keyark_archive::{ArchiveKind, Scope};
use keyark_crypto::algorithm::AlgorithmError;
use keyark_crypto::keyring::{KekOwner, Mkek, SEALS_FIRST};
use keyark_crypto::root::{RootError, RootOfTrust};
use keyark_crypto::seal::Kek;
use keyark_crypto::{hash, random};
use keyark_model::system::KekHeader;
use keyark_model::{Carrier, Digest, DomainId, Id, Incarnation, Kind, Position, Record, RecordFacts, Time};
use keyark_store::{BulkLoader, Head, Identity, LoadError, Loaded, Parent, RecordView, Store};

use crate::facts::{Fact, Facts, fact_of};
use crate::links::Links;
use crate::options::RestoreOptions;
use crate::progress::{Cancelled, Progress};
use crate::restore_reader::{Outcome, Reader};
use crate::source::{Opened, SourceError};

/// A record that no archive holds: carried over from the running system, or made new. Its body is in clear here and
/// sealed under the new local KEK.
pub struct Extra {
    pub kind: Kind,
    pub id: Id,
    pub revision: u64,
    pub time: Time,
    pub header: Vec<u8>,
    pub body: keyark_crypto::SecretBytes,
}

/// What to restore.
pub struct SystemRestore<'a> {
    pub links: &'a Links<'a, 'a>,
    pub root: &'a dyn RootOfTrust,
    /// What the running system knows; empty on an empty machine.
    pub facts: &'a Facts,
    pub options: &'a RestoreOptions,
    pub extras: Vec<Extra>,
    /// The system that is replaced, closed for writers: what happened in it since the point is carried over as history.
    pub replaced: Option<&'a Store>,
    pub now: Time,
}

/// What was built.
#[derive(Debug)]
pub struct Built {
    pub identity: Identity,
    pub loaded: Loaded,
    pub negative_facts: Vec<Fact>,
    /// Records that stayed away because of a fact.
    pub left_out: u64,
}

/// Why a system was not restored. The target file is to be removed; nothing else was touched.
#[derive(Debug, thiserror::Error)]
pub enum SystemRestoreError {
    #[error("this archive is of scope domain; restore it into a domain of a running system")]
    WrongScope,
    #[error("the records of domain {0} are not those that the archive was signed with; take another archive")]
    Digest(DomainId),
    #[error(transparent)]
    Source(#[from] SourceError),
    #[error(transparent)]
    Load(#[from] LoadError),
    #[error(transparent)]
    Root(#[from] RootError),
    #[error("a key of the archive cannot be read: {0}")]
    Key(#[from] AlgorithmError),
    #[error(transparent)]
    Cancelled(#[from] Cancelled),
}

/// Builds the new database at `path`, which must not exist.
pub fn build(r: &SystemRestore<'_>, path: &Path, progress: &Progress) -> Result<Built, SystemRestoreError> {
    let archive = r.links.last().unlocked.archive();
    let header = archive.header();
    if header.scope != Scope::System || header.kind != ArchiveKind::Full {
        return Err(SystemRestoreError::WrongScope);
    }
    let (position, hash) = (header.positions.last.0, archive.footer().chain.after);
    let parent = Parent { position: Position { incarnation: header.incarnation, seq: position }, hash };
    let identity =
        Identity { system: header.system, incarnation: Incarnation::from_bytes(random::bytes()), parent: Some(parent) };
    let mkek = Mkek::generate(header.system);
    let fresh = fresh_keks(r.links.last());
    let mut inserts = sealed_extras(r, &mkek, &fresh)?;
    inserts.sort_by_key(|e| (e.domain, e.kind, e.id));
    progress.set_total(r.links.count());

    // The restored log goes on counting behind every position of its history, so that none is used twice.
    let replaced = r.replaced.filter(|store| store.identity().system == header.system);
    let ends = replaced.map_or(0, |store| store.head().seq);
    let base = Head { seq: position.max(ends), hash, time: r.now };
    let mut loader = BulkLoader::create(path, &identity, base, Vec::new(), r.now)?;
    let mut inserts = inserts.into_iter().peekable();
    let reader = Reader { restore: r, fresh: &fresh };
    let Outcome { negative, left_out, came_back, sums } = reader.each(progress, |record| {
        while let Some(extra) = inserts.next_if(|e| (e.domain, e.kind, e.id) < (record.domain, record.kind, record.id))
        {
            loader.add(&RecordView::of(&extra))?;
        }
        Ok(loader.add(&RecordView::of(&record))?)
    })?;
    for extra in inserts {
        loader.add(&RecordView::of(&extra))?;
    }
    add_tombstones(r, &mut loader, &came_back)?;
    add_history(r, &mut loader, replaced, position)?;
    for (domain, expected) in &archive.footer().record_digests {
        let found = sums.get(domain).cloned().unwrap_or_default().digest();
        if expected.0 != found.0 {
            return Err(SystemRestoreError::Digest(*domain));
        }
    }
    progress.commit()?;
    let loaded = loader.finish()?;
    Ok(Built { identity, loaded, negative_facts: negative, left_out })
}

/// Audit fields that the archives hold, then those of the replaced system since the point.
fn add_history(
    r: &SystemRestore<'_>,
    loader: &mut BulkLoader,
    replaced: Option<&Store>,
    position: u64,
) -> Result<(), SystemRestoreError> {
    r.links.each_audit_entry::<SystemRestoreError>(|e| {
        let entry = crate::history::decode(&e).map_err(SourceError::from)?;
        Ok(loader.add_history(&entry)?)
    })?;
    let Some(store) = replaced else { return Ok(()) };
    let (mut after, ends) = (position, loader.base().seq);
    loop {
        let page = store.audit(Some(after), 2000, None, false).map_err(LoadError::from)?;
        for entry in page.iter().filter(|e| e.seq <= ends) {
            loader.add_history(entry)?;
        }
        match page.last() {
            Some(entry) if entry.seq < ends => after = entry.seq,
            _ => return Ok(()),
        }
    }
}

/// What the archive and the replaced system know to be deleted, but for what was asked back: a fact that stayed behind
/// would let the next restore bring the record back unasked.
fn add_tombstones(
    r: &SystemRestore<'_>,
    loader: &mut BulkLoader,
    came_back: &HashSet<(Kind, Id)>,
) -> Result<(), SystemRestoreError> {
    r.links.each_tombstone::<SystemRestoreError>(|gone| Ok(loader.add_tombstone(&fact_of(gone))?))?;
    let carried = |kind: Kind, id| r.extras.iter().any(|e| (e.kind, e.id) == (kind, id));
    for gone in r.facts.deleted() {
        let shipped = gone.kind.travels(Carrier::System);
        if shipped && !came_back.contains(&(gone.kind, gone.id)) && !carried(gone.kind, gone.id) {
            loader.add_tombstone(gone)?;
        }
    }
    Ok(())
}

/// A new KEK generation for each domain of the archive.
fn fresh_keks(opened: &Opened<'_>) -> BTreeMap<DomainId, Kek> {
    let mut newest: BTreeMap<DomainId, u32> = BTreeMap::new();
    for (domain, generation) in opened.keks.keys() {
        newest.insert(*domain, *generation);
    }
    newest.into_iter().map(|(domain, generation)| (domain, Kek::generate(generation + 1))).collect()
}

/// KEKs wrapped by the new MKEK, and the extras sealed under the new local KEK. A restored generation only opens; each
/// domain seals under a new one (rules B5).
fn sealed_extras(
    r: &SystemRestore<'_>,
    mkek: &Mkek,
    fresh: &BTreeMap<DomainId, Kek>,
) -> Result<Vec<Record>, SystemRestoreError> {
    let local = Kek::generate(1);
    let of = |owner, kek: &Kek, reserved, current| mkek.kek_header(owner, kek, reserved, current, r.now);
    let mut out = vec![
        kek_record(DomainId::ROOT, &mkek.header(r.root, r.now)?, r.now),
        kek_record(DomainId::ROOT, &of(KekOwner::Local, &local, SEALS_FIRST, true), r.now),
    ];
    for ((domain, _), kek) in &r.links.last().keks {
        out.push(kek_record(*domain, &of(KekOwner::Domain(*domain), kek, 0, false), r.now));
    }
    for (domain, kek) in fresh {
        // What changed records were sealed with here is far below the first reservation, which counts as used.
        out.push(kek_record(*domain, &of(KekOwner::Domain(*domain), kek, SEALS_FIRST, true), r.now));
    }
    for extra in &r.extras {
        let version = RecordFacts::of_header(&extra.header).map_or(0, |f| f.version);
        let (domain, kind, id, revision) = (DomainId::ROOT, extra.kind, extra.id, extra.revision);
        let name = keyark_crypto::seal::RecordName { domain, kind, id, version, revision };
        let body = local.seal(&name, &extra.header, extra.body.expose());
        let header = extra.header.clone().into();
        out.push(Record { kind, id, domain, revision, seq: 0, time: extra.time, header, body });
    }
    Ok(out)
}

fn kek_record(domain: DomainId, header: &KekHeader, now: Time) -> Record {
    let (kind, id) = (Kind::Kek, Id(random::uuid_v7(now)));
    let header = serde_json::to_vec(header).expect("a KEK's header has no value that JSON lacks");
    Record { kind, id, domain, revision: 1, seq: 0, time: now, header: header.into(), body: Box::default() }
}

/// SHA-256 of a file, as 64 hexadecimal digits.
pub fn file_digest(path: &Path) -> std::io::Result<Digest> {
    use std::io::Read as _;
    let mut file = File::open(path)?;
    let mut hasher = hash::Sha256::default();
    let mut buffer = vec![0; 1 << 20];
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(hasher.finish()),
            n => hasher.update(&buffer[..n]),
        }
    }
}
