//! Ships what is new of one scope to one destination: full archives, segments, heartbeats.

use std::path::Path;

use keyark_archive::{Archive, ArchiveError, Decimal};
use keyark_crypto::keyring::Keyring;
use keyark_crypto::sign::Signer;
use keyark_crypto::{Key256, random};
use keyark_model::{ArchiveId, DomainId, Id, Time};
use keyark_store::{EntriesError, Fault, Placed, SnapshotError, Store, failpoint};
use uuid::Uuid;

use super::epoch::Epoch;
use super::names::{StreamObject, StreamPlace};
use super::note::{HeartbeatNote, Note};
use super::segment;
use super::tail::{find, own_anchor, signed_end};
use crate::destination::{Content, Destination, DestinationError, Found, create_or_same};
use crate::progress::Progress;
use crate::take::{InStream, TakeError, TakeRequest, take};

/// Segments of a level that become one of the next.
const FAN_OUT: u64 = 32;
/// The highest level of segments.
pub(super) const HIGHEST: u8 = 3;
/// A full archive is made anew at the latest after this long; seconds.
pub(super) const EPOCH_LONGEST: i64 = 31 * 86_400;

/// What is shipped, and where to.
pub struct Shipping<'a> {
    pub store: &'a Store,
    pub keyring: &'a Keyring,
    pub signer: &'a Signer,
    pub stream: Uuid,
    /// None: the whole system.
    pub domain: Option<DomainId>,
    pub backup_key: Id,
    pub backup_key_material: &'a Key256,
    pub destination: &'a dyn Destination,
    /// A folder of this machine for full archives on their way.
    pub spool: &'a Path,
    /// A system's full archive holds the audit fields of entries that are not older.
    pub audit_from: Time,
    /// The newest midnight, where the administrator lives.
    pub day: Time,
    /// A heartbeat goes out when nothing else did for so long; seconds.
    pub heartbeat: i64,
}

/// How far a stream is at its destination. Forgetting it loses nothing: it is found again there.
#[derive(Default)]
pub struct Shipper {
    at: Option<At>,
    /// The epoch goes on when the destination is looked at again.
    epoch: Option<Epoch>,
}

impl Shipper {
    fn look_again(&mut self) {
        self.epoch = self.at.take().and_then(|at| at.epoch).or(self.epoch.take());
    }
}

pub(super) struct At {
    /// The last entry that is there; none before the first full archive.
    pub(super) end: Option<Placed>,
    /// The newest full archive: its last entry's number, and when it was made.
    pub(super) full: Option<(u64, Time)>,
    /// When something was last said.
    pub(super) told: Time,
    /// What is missing between stretches: after the first entry, up to the second.
    pub(super) gaps: Vec<(u64, u64)>,
    pub(super) levels: Vec<Level>,
    pub(super) epoch: Option<Epoch>,
}

/// The segments of one level that came since the last that was merged from them: how many, after which entry, up to which.
#[derive(Clone, Copy)]
pub(super) struct Level {
    pub(super) level: u8,
    pub(super) count: u64,
    pub(super) begin: u64,
    pub(super) end: u64,
}

/// What one step sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Shipped {
    /// The last entry that is there now.
    pub number: u64,
    pub time: Time,
    pub objects: u64,
    pub bytes: u64,
    pub entries: u64,
    pub full: bool,
}

/// Why nothing, or not all, was shipped. What was is there; the next step goes on.
#[derive(Debug, thiserror::Error)]
pub enum ShipError {
    #[error("{place}: {error}")]
    Destination { place: String, error: DestinationError },
    #[error(
        "the log ends at {ours}, but {place} holds entry {theirs} of this very life of the system: this machine was set back \
         to an older state"
    )]
    RolledBack { place: String, ours: u64, theirs: u64 },
    #[error("entry {number} is not the one that was shipped: two machines have gone on from one state")]
    Forked { number: u64 },
    #[error("generation {generation} of the KEK of domain {domain} is not in the keyring; run `keyark store check`")]
    Kek { domain: DomainId, generation: u32 },
    #[error(transparent)]
    Archive(ArchiveError),
    #[error(transparent)]
    Take(#[from] TakeError),
    #[error(transparent)]
    Snapshot(#[from] SnapshotError),
    #[error(transparent)]
    Entries(#[from] EntriesError),
    #[error(transparent)]
    Store(#[from] Fault),
}

impl Shipping<'_> {
    pub fn place(&self) -> StreamPlace {
        let identity = self.store.identity();
        StreamPlace { system: identity.system, incarnation: identity.incarnation, stream: self.stream }
    }

    pub(super) fn head(&self) -> Result<Placed, Fault> {
        match self.domain {
            None => {
                let h = self.store.head();
                Ok(Placed { seq: h.seq, number: h.seq, hash: h.hash, time: h.time })
            }
            Some(domain) => {
                let h = self.store.domain_head(domain)?;
                let placed = self.store.placed(Some(domain), h.domain_seq)?;
                Ok(placed.unwrap_or(Placed { seq: h.seq, number: h.domain_seq, hash: h.hash, time: Time::default() }))
            }
        }
    }

    pub(super) fn at_destination<T>(&self, outcome: Result<T, DestinationError>) -> Result<T, ShipError> {
        outcome.map_err(|error| ShipError::Destination { place: self.destination.describe(), error })
    }

    fn create(&self, object: &StreamObject, content: Content<'_>, told: &mut Shipped) -> Result<(), ShipError> {
        let size = content.size().map_err(TakeError::from)?;
        self.at_destination(create_or_same(self.destination, &self.place().name(object), content))?;
        told.objects += 1;
        told.bytes += size;
        Ok(())
    }
}

impl Shipper {
    /// Finds how far the stream is at its destination, and sends nothing; the next step begins there.
    pub fn look(&mut self, s: &Shipping<'_>) -> Result<(), ShipError> {
        if self.at.is_none() {
            let found = find(s)?;
            self.at = Some(At { epoch: self.epoch.take(), ..found });
        }
        Ok(())
    }

    /// Sends all that is due at `now`. After an error the destination is looked at again.
    pub fn step(&mut self, s: &Shipping<'_>, now: Time) -> Result<Shipped, ShipError> {
        let outcome = self.step_inside(s, now);
        if outcome.is_err() {
            self.look_again();
        }
        outcome
    }

    fn step_inside(&mut self, s: &Shipping<'_>, now: Time) -> Result<Shipped, ShipError> {
        self.look(s)?;
        let at = self.at.as_mut().expect("it was just found");
        let mut told = Shipped::default();
        let head = s.head()?;
        // Times of what is sent never go back, whatever the clock does.
        let now = now.max(head.time);
        if at.full_due(s, &head, now) {
            at.ship_full(s, now, &mut told)?;
        }
        at.ship_segments(s, head.number, now, &mut told)?;
        at.mend(s, now, &mut told)?;
        at.merge(s, now, &mut told)?;
        let end = at.end.expect("a full archive was due without one");
        if told.objects == 0 && now >= at.told.plus_seconds(s.heartbeat) {
            at.ship_heartbeat(s, &end, now, &mut told)?;
        }
        if told.objects > 0 {
            at.told = now;
        }
        (told.number, told.time) = (end.number, end.time);
        if told.full {
            // Once a day what is there is looked at again.
            self.look_again();
        }
        Ok(told)
    }
}

impl At {
    /// On enabling, when a day begins after something changed, at the latest after 31 days, and when the log no longer has what
    /// comes next.
    fn full_due(&self, s: &Shipping<'_>, head: &Placed, now: Time) -> bool {
        let (Some(end), Some((number, made))) = (self.end, self.full) else { return true };
        let changed = head.number > number;
        let lost = !matches!(s.store.placed(s.domain, end.number), Ok(Some(_)));
        lost || (changed && made < s.day && now >= s.day) || now >= made.plus_seconds(EPOCH_LONGEST)
    }

    /// A new epoch, its file first: whatever an archive needs to be opened is there before it shows.
    fn begin_epoch(&mut self, s: &Shipping<'_>, now: Time, told: &mut Shipped) -> Result<(), ShipError> {
        let epoch = Epoch::begin(now);
        let note = epoch.note(&s.place(), s.domain, s.backup_key, s.backup_key_material);
        let object = StreamObject::Epoch { epoch: epoch.id, backup_key: s.backup_key };
        s.create(&object, Content::Bytes(&Note::Epoch(note).sign(s.signer)), told)?;
        self.epoch = Some(epoch);
        Ok(())
    }

    fn ship_full(&mut self, s: &Shipping<'_>, now: Time, told: &mut Shipped) -> Result<(), ShipError> {
        self.begin_epoch(s, now, told)?;
        let epoch = self.epoch.as_ref().expect("it just began");
        let id = ArchiveId(random::uuid_v7(now));
        let path = s.spool.join(format!("{id}.keyark"));
        let request = TakeRequest {
            store: s.store,
            keyring: s.keyring,
            signer: s.signer,
            id,
            domain: s.domain,
            backup_key: s.backup_key,
            backup_key_material: s.backup_key_material,
            creator: "system".into(),
            description: String::new(),
            filters: std::collections::BTreeMap::new(),
            select: None,
            since: None,
            stream: Some(InStream { stream: s.stream, epoch }),
            audit_from: s.audit_from,
            now,
        };
        let sent = take(&request, &path, &Progress::default()).map_err(ShipError::from).and_then(|taken| {
            failpoint("ship-full-taken");
            let archive = Archive::open(std::fs::File::open(&path).map_err(TakeError::from)?)?;
            let number = archive.header().positions.last.0;
            let end = Placed { seq: taken.seq, number, hash: archive.footer().chain.after, time: taken.time };
            // Never before its last entry: a time at or after it is one at which all of it had happened.
            let object = StreamObject::Full { seq: number, time: now.max(taken.time) };
            s.create(&object, Content::File(&path), told)?;
            Ok(end)
        });
        let _ = std::fs::remove_file(&path);
        let end = sent?;
        told.full = true;
        self.full = Some((end.number, now));
        // What came before the full archive is still shipped while the log has it: no second between is lost.
        let lost = self.end.is_none_or(|e| !matches!(s.store.placed(s.domain, e.number), Ok(Some(_))));
        if lost {
            self.end = Some(s.store.placed(s.domain, end.number)?.unwrap_or(end));
        }
        Ok(())
    }

    /// Sends what the log held when the step began, and what came meanwhile only along with it: where answers take long, there is
    /// always more.
    fn ship_segments(&mut self, s: &Shipping<'_>, upto: u64, now: Time, told: &mut Shipped) -> Result<(), ShipError> {
        while let Some(end) = self.end.filter(|end| end.number < upto) {
            match self.ship_segment(s, &end, (u64::MAX, 0), now, told)? {
                Some(end) => self.end = Some(end),
                None => return Ok(()),
            }
        }
        Ok(())
    }

    /// Sends what is missing between stretches and is still in the log.
    fn mend(&mut self, s: &Shipping<'_>, now: Time, told: &mut Shipped) -> Result<(), ShipError> {
        while let Some((from, upto)) = self.gaps.pop() {
            let mut at = s.store.placed(s.domain, from)?;
            while let Some(end) = at.filter(|end| end.number < upto) {
                at = self.ship_segment(s, &end, (upto, 0), now, told)?;
            }
        }
        Ok(())
    }

    fn ship_segment(
        &mut self,
        s: &Shipping<'_>,
        from: &Placed,
        (upto, level): (u64, u8),
        now: Time,
        told: &mut Shipped,
    ) -> Result<Option<Placed>, ShipError> {
        if self.epoch.is_none() {
            self.begin_epoch(s, now, told)?;
        }
        let epoch = self.epoch.as_ref().expect("it was begun");
        let Some(next) = segment::next(s, epoch, from, (upto, level), now)? else { return Ok(None) };
        failpoint("ship-segment-made");
        let object = StreamObject::Segment(next.name);
        match s.create(&object, Content::Bytes(&next.bytes), told) {
            // The same entries are there under another key: they were sent before, and a list had not shown them.
            Err(ShipError::Destination { error: DestinationError::Exists(name), .. }) => {
                let found = Found { size: s.at_destination(s.destination.size(&name))?, name };
                let there = signed_end(s, &own_anchor(s), &found)?;
                if there != Some((next.end.number, next.end.hash)) {
                    let error = DestinationError::Exists(found.name);
                    return Err(ShipError::Destination { place: s.destination.describe(), error });
                }
            }
            outcome => outcome?,
        }
        if level == 0 {
            told.entries += next.entries;
        }
        match self.levels.iter_mut().find(|l| l.level == level) {
            Some(l) if l.count > 0 => (l.count, l.end) = (l.count + 1, l.end.max(next.end.number)),
            Some(l) => *l = Level { level, count: 1, begin: from.number, end: next.end.number },
            None => self.levels.push(Level { level, count: 1, begin: from.number, end: next.end.number }),
        }
        Ok(Some(next.end))
    }

    /// Where many segments of a level have come since the last that was merged from them, one of the next level takes their
    /// place; the log still has their entries. The small ones go when retention finds them covered.
    fn merge(&mut self, s: &Shipping<'_>, now: Time, told: &mut Shipped) -> Result<(), ShipError> {
        for level in 0..HIGHEST {
            let Some(below) = self.levels.iter().find(|l| l.level == level).copied() else { continue };
            if below.count < FAN_OUT {
                continue;
            }
            let mut at = s.store.placed(s.domain, below.begin)?;
            // What the log no longer has stays as it is; the next round begins behind it.
            while let Some(from) = at.filter(|at| at.number < below.end) {
                at = self.ship_segment(s, &from, (below.end, level + 1), now, told)?;
            }
            if let Some(below) = self.levels.iter_mut().find(|l| l.level == level) {
                below.count = 0;
            }
        }
        Ok(())
    }

    fn ship_heartbeat(&self, s: &Shipping<'_>, end: &Placed, now: Time, told: &mut Shipped) -> Result<(), ShipError> {
        let StreamPlace { system, incarnation, stream } = s.place();
        let (seq, hash) = (Decimal(end.number), end.hash);
        let note = Note::Heartbeat(HeartbeatNote { system, incarnation, stream, seq, hash, time: now });
        let object = StreamObject::Heartbeat { seq: end.number, time: now };
        s.create(&object, Content::Bytes(&note.sign(s.signer)), told)
    }
}
