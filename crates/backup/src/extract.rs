//! One archive on demand out of a chain: the state at its last point, whole, opened by a backup key alone.

use std::collections::BTreeMap;
use std::path::Path;

use keyark_archive::{
    Chain, Closing, Decimal, Door, EntryRef, FactorKind, Header, OpeningKey, Positions, RecordRef, Scope, Summary,
    Times, Wrap,
};
use keyark_crypto::lthash::LtHash;
use keyark_crypto::seal::Kek;
use keyark_crypto::sign::Signer;
use keyark_crypto::{Key256, random};
use keyark_model::{ArchiveId, Digest, DomainId, Id, Time};

use crate::links::Links;
use crate::progress::Progress;
use crate::source::SourceError;
use crate::take::{TakeError, element, name_of, published, read_back, writer_at};

/// What to make of a chain.
pub struct ExtractRequest<'a> {
    pub links: &'a Links<'a, 'a>,
    pub signer: &'a Signer,
    pub id: ArchiveId,
    pub backup_key: Id,
    pub backup_key_material: &'a Key256,
    pub creator: String,
    pub description: String,
    pub now: Time,
}

impl From<SourceError> for TakeError {
    fn from(e: SourceError) -> Self {
        match e {
            SourceError::Archive(e) => TakeError::Archive(e),
            SourceError::Io(e) => TakeError::Io(e),
            other => TakeError::Chain(Box::new(other)),
        }
    }
}

/// Writes it to a new file at `path`. A system's bodies stay as they are sealed and
/// the KEKs come along; a domain's are sealed anew (rules A5).
pub fn extract(r: &ExtractRequest<'_>, path: &Path, progress: &Progress) -> Result<Summary, TakeError> {
    published(path, |making| extract_inside(r, making, progress))
}

fn extract_inside(r: &ExtractRequest<'_>, making: &Path, progress: &Progress) -> Result<Summary, TakeError> {
    let last = r.links.last();
    let (from, footer) = (last.unlocked.archive().header(), last.unlocked.archive().footer());
    let dek = random::secret::<32>();
    let key_id = r.backup_key.to_string();
    let by = OpeningKey { kind: FactorKind::BackupKey, id: &key_id, key: r.backup_key_material };
    let mut header = Header::new(r.id, from.system, from.incarnation, r.now);
    if let Some(domain) = from.domain {
        header = header.of_domain(domain);
    }
    let (number, time) = (from.positions.last.0, from.times.map_or(from.created_at, |t| t.last));
    header.positions = Positions { first: Decimal(number), last: Decimal(number) };
    header.times = Some(Times { first: time, last: time });
    header.creator = r.creator.clone();
    header.description = Some(r.description.clone());
    header.filters = from.filters.clone();
    header.doors = vec![Door::backup_key(r.backup_key)];
    header.wraps = vec![Wrap::new(&by, r.id, from.domain, &dek)];
    let mut writer = writer_at(making, header, &dek)?;

    let fresh = from.domain.map(|d| (d, Kek::generate(1)));
    match &fresh {
        Some((domain, kek)) => writer.kek(*domain, 1, kek.key())?,
        None => {
            for ((domain, generation), kek) in &last.keks {
                writer.kek(*domain, u64::from(*generation), kek.key())?;
            }
        }
    }
    progress.set_total(2 * r.links.count());
    let mut sums: BTreeMap<DomainId, LtHash> = BTreeMap::new();
    r.links.each_record::<TakeError>(|record, link| {
        progress.step()?;
        // Opened in either case: what does not open is found now and not at the restore.
        let body = r.links.body(&record, link)?;
        let sealed = fresh.as_ref().map(|(_, kek)| kek.seal(&name_of(&record), record.header, body.expose()));
        let written = RecordRef { body: sealed.as_deref().unwrap_or(record.body), ..record };
        sums.entry(written.domain).or_default().add(&element(&written));
        Ok(writer.record(&written)?)
    })?;
    r.links.each_tombstone::<TakeError>(|tombstone| Ok(writer.tombstone(&tombstone)?))?;
    if from.scope == Scope::System {
        r.links.each_audit_entry::<TakeError>(|e| Ok(writer.audit_entry(&EntryRef::of(&e))?))?;
    }
    let written: BTreeMap<DomainId, Digest> = sums.iter().map(|(d, sum)| (*d, sum.digest())).collect();
    let known = footer.record_digests.iter().filter(|_| from.scope == Scope::System);
    if known
        .into_iter()
        .any(|(d, digest)| written.get(d).map(|w| &w.0[..]).unwrap_or(&LtHash::default().digest().0) != digest.0)
    {
        return Err(TakeError::ReadBack("the records are not those that the chain was signed with"));
    }
    let chain = Chain { before: Digest::ZERO, after: footer.chain.after };
    let digests = written.iter().map(|(d, digest)| (*d, digest.0.to_vec())).collect();
    let (sink, summary) = writer.finish(&Closing { chain, record_digests: digests }, r.signer)?;
    sink.into_inner().map_err(|e| e.into_error())?.sync_all()?;
    read_back(making, &by, &written, &summary.counts, progress)?;
    Ok(summary)
}
