//! A log segment: the entries after a point, as an archive.

use std::collections::BTreeMap;

use keyark_archive::{
    ArchiveError, ArchiveKind, Chain, Closing, Decimal, Door, EntryRef, Header, Positions, Times, Wrap, Writer,
};
use keyark_crypto::chain::hash_entry;
use keyark_crypto::keyring::KekOwner;
use keyark_crypto::random;
use keyark_crypto::seal::generation_of;
use keyark_model::{ArchiveId, ChangeContent, Digest, DomainId, Entry, EntryScope, Id, Kind, Time};
use keyark_store::Placed;

use super::epoch::Epoch;
use super::names::SegmentName;
use super::ship::{ShipError, Shipping};

/// Raw bytes of entries after which a segment is closed, as shipped and merged.
const FULL: usize = 8 << 20;
const FULL_MERGED: usize = 48 << 20;
/// Entries that are read at a time.
const PAGE: u64 = 1000;

/// A segment that is ready to be sent.
pub(super) struct Segment {
    pub bytes: Vec<u8>,
    pub name: SegmentName,
    /// The last entry in it.
    pub end: Placed,
    pub entries: u64,
}

struct Encoded {
    number: u64,
    domain: DomainId,
    time: Time,
    bytes: Vec<u8>,
    touches: Vec<(Kind, Id)>,
}

/// The numbers and hashes of an entry in the scope of a stream.
pub(super) fn own_number(entry: &Entry, domain: Option<DomainId>) -> u64 {
    domain.map_or(entry.seq, |_| entry.domain_seq)
}

pub(super) fn own_prev(entry: &Entry, domain: Option<DomainId>) -> Digest {
    domain.map_or(entry.prev, |_| entry.domain_prev)
}

pub(super) fn own_hash(entry: &Entry, domain: Option<DomainId>) -> Digest {
    let hashes = hash_entry(entry);
    domain.map_or(hashes.global, |_| hashes.domain)
}

/// The next entries after `from`, at most up to `upto`; none if there is nothing new.
pub(super) fn next(
    s: &Shipping<'_>,
    epoch: &Epoch,
    from: &Placed,
    (upto, level): (u64, u8),
    now: Time,
) -> Result<Option<Segment>, ShipError> {
    let snapshot = s.store.snapshot()?;
    let head = snapshot.head();
    let full = if level == 0 { FULL } else { FULL_MERGED };
    let scope = s.domain.map_or(EntryScope::System, |_| EntryScope::Domain);
    let (mut all, mut size, mut end) = (Vec::new(), 0, *from);
    let mut keks: BTreeMap<(DomainId, u32), ()> = BTreeMap::new();
    let mut first_time = None;
    'pages: loop {
        let page = s.store.entries(end.seq, PAGE, s.domain)?;
        let last_page = (page.len() as u64) < PAGE;
        for mut entry in page {
            let number = own_number(&entry, s.domain);
            if entry.seq > head.seq || number > upto || size >= full {
                break 'pages;
            }
            if own_prev(&entry, s.domain) != end.hash || number != end.number + 1 {
                return Err(ShipError::Forked { number: end.number });
            }
            entry.withhold_unshipped(scope);
            for change in &entry.changes {
                if let ChangeContent::Put { body, .. } = &change.content
                    && let Some(generation) = generation_of(body)
                {
                    keks.insert((entry.domain, generation), ());
                }
            }
            end = Placed { seq: entry.seq, number, hash: own_hash(&entry, s.domain), time: entry.time };
            first_time.get_or_insert(entry.time);
            let bytes = entry.encode(scope);
            size += bytes.len();
            let touches = entry.changes.iter().map(|c| (c.kind, c.id)).collect();
            all.push(Encoded { number, domain: entry.domain, time: entry.time, bytes, touches });
        }
        if last_page {
            break;
        }
    }
    let (Some(first_time), Some(first)) = (first_time, all.first()) else { return Ok(None) };
    let name = SegmentName { level, first: first.number, last: end.number, first_time, last_time: end.time };
    // What the records are at its end is known only if nothing came since.
    let mut digests = BTreeMap::new();
    if end.seq == head.seq && s.domain.is_none() {
        digests.extend(all.iter().map(|e| (e.domain, snapshot.digest(e.domain).0.to_vec())));
    }
    drop(snapshot);

    let dek = random::secret::<32>();
    let identity = s.store.identity();
    let id = ArchiveId(random::uuid_v7(now));
    let mut header = Header::new(id, identity.system, identity.incarnation, now);
    if let Some(domain) = s.domain {
        header = header.of_domain(domain);
    }
    header.kind = ArchiveKind::Segment;
    header.stream = Some(s.place().stream);
    header.level = Some(name.level);
    header.positions = Positions { first: Decimal(name.first), last: Decimal(name.last) };
    header.times = Some(Times { first: first_time, last: end.time });
    header.creator = "system".into();
    header.doors = vec![Door::backup_key(s.backup_key)];
    header.wraps = vec![Wrap::new(&epoch.opening(), id, s.domain, &dek)];
    let mut writer = Writer::new(Vec::new(), header, &dek)?;
    for (domain, generation) in keks.into_keys() {
        let all = s.keyring.generations(KekOwner::Domain(domain));
        let kek = all.iter().find(|k| k.generation == generation);
        let kek = kek.ok_or(ShipError::Kek { domain, generation })?;
        writer.kek(domain, u64::from(generation), kek.key())?;
    }
    let entries = all.len() as u64;
    for e in &all {
        let entry = EntryRef { seq: e.number, domain: e.domain, time: e.time, bytes: &e.bytes };
        writer.entry(&entry, &e.touches)?;
    }
    let chain = Chain { before: from.hash, after: end.hash };
    let (bytes, _) = writer.finish(&Closing { chain, record_digests: digests }, s.signer)?;
    Ok(Some(Segment { bytes, name, end, entries }))
}

impl From<ArchiveError> for ShipError {
    fn from(e: ArchiveError) -> Self {
        ShipError::Archive(e)
    }
}
