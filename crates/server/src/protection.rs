//! Ships what enabled backup instances protect: each to each of its destinations, none waiting for another.

mod look;
mod retention;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use keyark_backup::Destination;
use keyark_backup::stream::{ShipError, Shipper, Shipping, owner};
use keyark_model::protection::{DestinationHeader, InstanceHeader, InstanceState, Order, midnight};
use keyark_model::system::{BackupKeyHeader, NodeHeader};
use keyark_model::{DomainId, Id, Incarnation, Kind, Time};

pub use self::look::LOOK_LONGEST;
pub use self::retention::{Readers, Retained};
use crate::app::core::Core;
use crate::app::error::Result;
use crate::app::records::Stored;

/// The longest wait after failures; seconds.
const LONGEST_WAIT: i64 = 300;
/// A heartbeat goes out when nothing else did for so long; seconds.
const HEARTBEAT: i64 = 300;
/// The owner's mark is looked at again after so long: another life of the system may have taken over; seconds.
const OWNED: i64 = 60;

/// One instance at one destination. What is remembered here can be found again there.
#[derive(Default)]
struct Pair {
    shipper: Mutex<Shipper>,
    busy: AtomicBool,
    /// When to look again; µs.
    next: AtomicI64,
    failures: AtomicU32,
    /// Until when the owner's mark need not be looked at again; µs.
    owned: AtomicI64,
    /// The open destination, with its connections, and the revision of the record that names it.
    place: Mutex<Option<(u64, Arc<dyn Destination>)>>,
    /// The midnight up to which retention was looked after, and one more while it is held; µs.
    retained: AtomicI64,
    told: Mutex<Told>,
}

/// How far an instance is at one destination.
#[derive(Clone, Debug, Default)]
pub struct Told {
    /// The log's position up to which everything is there.
    pub shipped: Option<u64>,
    /// The last entry there, by the stream's own numbers.
    pub number: Option<u64>,
    /// Everything up to then is there.
    pub until: Option<Time>,
    pub objects: u64,
    pub bytes: u64,
    /// Why the last try failed.
    pub error: Option<String>,
}

/// An enabled instance's stream at one destination, in one life of the system.
type Place = (Incarnation, uuid::Uuid, Id);

/// All of them.
#[derive(Default)]
pub struct Protection {
    pairs: Mutex<BTreeMap<Place, Arc<Pair>>>,
    pub readers: Readers,
    purged: Mutex<Option<Purged>>,
}

impl Core {
    fn enabled(&self, now: Time) -> Result<Vec<(Stored<InstanceHeader>, Order)>> {
        let all = self.instances()?;
        let enabled = all.iter().filter(|i| i.header.state(now) == InstanceState::Enabled);
        let ordered = enabled.filter_map(|i| {
            let order = i.header.order.clone().filter(|order| !order.ending)?;
            Some((Stored { record: i.record.clone(), header: i.header.clone() }, order))
        });
        Ok(ordered.collect())
    }

    /// Whether something that is destroyed in a domain now has still to be sent somewhere.
    pub fn still_to_ship(&self, domain: DomainId, now: Time) -> Result<bool> {
        let sends = |i: &&Stored<InstanceHeader>| {
            i.header.state(now) == InstanceState::Enabled && i.header.order.as_ref().is_some_and(|o| !o.ending)
        };
        let all = self.instances()?;
        Ok(all.iter().filter(sends).any(|i| i.header.domain.is_none_or(|d| d == domain)))
    }

    /// What a record was before leaves the log: at once, or once every stream has it (rules C5).
    pub fn forget(&self, domain: DomainId, kind: Kind, id: Id, now: Time) -> Result<()> {
        match self.still_to_ship(domain, now)? {
            true => Ok(()),
            false => Ok(self.store.purge(kind, id)?),
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Protection {
    /// What is known of an instance at a destination since this server started.
    pub fn told(&self, core: &Core, order: &Order, destination: Id) -> Told {
        let pair = lock(&self.pairs).get(&(core.incarnation, order.stream, destination)).cloned();
        pair.map(|p| lock(&p.told).clone()).unwrap_or_default()
    }
}

/// Where all enabled instances stand together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Standing {
    pub instances: u64,
    /// Up to then each of them is protected; absent when one never was, or there is none.
    pub until: Option<Time>,
    pub failing: u64,
}

/// The moment up to which as many destinations as the quorum asks for have everything.
pub fn protected_until(order: &Order, untils: impl Iterator<Item = Option<Time>>) -> Option<Time> {
    let mut untils: Vec<Option<Time>> = untils.collect();
    untils.sort_by(|a, b| b.cmp(a));
    untils.get((order.quorum as usize).checked_sub(1)?).copied().flatten()
}

impl Protection {
    /// How things stand, for who watches.
    pub fn standing(&self, core: &Core, now: Time) -> Result<Standing> {
        let (mut standing, mut oldest) = (Standing::default(), Some(now));
        for (_, order) in core.enabled(now)? {
            let told: Vec<Told> = order.destinations.iter().map(|d| self.told(core, &order, *d)).collect();
            standing.instances += 1;
            standing.failing += told.iter().filter(|t| t.error.is_some()).count() as u64;
            let until = protected_until(&order, told.iter().map(|t| t.until));
            oldest = oldest.zip(until).map(|(a, b)| a.min(b));
        }
        standing.until = oldest.filter(|_| standing.instances > 0);
        Ok(standing)
    }
}

/// Up to which entry of which life the log was looked through for what was destroyed, and up to which that is written down.
struct Purged {
    life: Incarnation,
    upto: u64,
    marked: u64,
}

/// What a mark says, if it is of this life.
fn marked(core: &Core, mark: &Stored<NodeHeader>) -> Option<u64> {
    mark.header.public.strip_prefix(&format!("{} ", core.incarnation))?.parse().ok()
}

/// The node record that says up to which entry of which life the log was looked through.
const PURGED: &str = "purged";
/// Entries between two such marks: so many are looked through once more after a start.
const PURGED_STEP: u64 = 10_000;

/// Records that an entry of such an action made unreadable for good; deletions are told by their changes.
const DESTROYING: [&str; 2] = ["key_destroy", "secret_destroy"];

impl Protection {
    /// What was destroyed leaves the log's history once every enabled stream has it everywhere (rules C5), or when a
    /// destination has not taken it for `max_lag` seconds: that one needs a full archive then, and begins with one, since a
    /// day has passed. A start begins where the last mark stands; forgetting twice is forgetting once.
    pub fn purge_shipped(&self, core: &Core, max_lag: i64, now: Time) -> Result<()> {
        let head = core.store.head().seq;
        let mut upto = head;
        for (_, order) in core.enabled(now)? {
            for destination in &order.destinations {
                upto = upto.min(self.told(core, &order, *destination).shipped.unwrap_or(0));
            }
        }
        if upto < head {
            upto = upto.max(core.store.audit_start(now.plus_seconds(-max_lag))?).min(head);
        }
        let mut purged = lock(&self.purged);
        let (from, marked) = match *purged {
            Some(Purged { life, upto, marked }) if life == core.incarnation => (upto, marked),
            _ => {
                let marked = core.load_named::<NodeHeader>(DomainId::ROOT, PURGED).ok().and_then(|m| marked(core, &m));
                (marked.unwrap_or(core.store.base()?.seq), marked.unwrap_or(0))
            }
        };
        let mut after = from;
        while after < upto {
            let page = core.store.audit(Some(after), 2000, None, false)?;
            let Some(last) = page.last() else { break };
            after = last.seq;
            for entry in page.iter().filter(|e| e.seq <= upto) {
                let destroys = DESTROYING.contains(&entry.action.as_str());
                for (kind, id, _, deleted) in &entry.changes {
                    if matches!(kind, Kind::Key | Kind::Secret) && (destroys || *deleted) {
                        core.store.purge(*kind, *id)?;
                    }
                }
            }
        }
        let done = from.max(upto);
        let due = done >= marked + PURGED_STEP;
        if due {
            let header = NodeHeader { name: PURGED.into(), public: format!("{} {done}", core.incarnation) };
            let write = match core.load_named::<NodeHeader>(DomainId::ROOT, PURGED) {
                Ok(stored) => core.put_header(&stored, &header)?,
                Err(_) => core.put(DomainId::ROOT, Core::new_id(now), 1, &header, b"")?,
            };
            core.commit_as_system(now, DomainId::ROOT, "log_purged", vec![], vec![write])?;
        }
        *purged = Some(Purged { life: core.incarnation, upto: done, marked: if due { done } else { marked } });
        Ok(())
    }
}

/// What a step needs to know of its server.
#[derive(Clone)]
pub struct Ground {
    /// Where full archives wait for their way.
    pub spool: PathBuf,
    /// Days that a system's archive holds audit fields of.
    pub audit_days: u32,
    /// The newest midnight where the administrator lives.
    pub day: Time,
    /// The time by which something may be deleted.
    pub believed: Time,
}

/// Whether a moment that was set is still to come. A clock that was set back since makes nobody wait for longer than was meant.
fn waits(until: &AtomicI64, now: Time, longest: i64) -> bool {
    (1..=longest * 1_000_000).contains(&(until.load(Ordering::Acquire) - now.0))
}

/// One step that is due.
pub struct Step {
    ground: Ground,
    readers: Readers,
    core: Arc<Core>,
    instance: Stored<InstanceHeader>,
    order: Order,
    destination: Id,
    pair: Arc<Pair>,
    now: Time,
}

impl Protection {
    /// The steps that are due at a moment, and are not under way.
    pub fn due(&self, core: &Arc<Core>, ground: &Ground, now: Time) -> Result<Vec<Step>> {
        if core.suspended() {
            return Ok(Vec::new());
        }
        let mut steps = Vec::new();
        let mut known = BTreeMap::new();
        for (instance, order) in core.enabled(now)? {
            for destination in order.destinations.clone() {
                let place = (core.incarnation, order.stream, destination);
                let pair = lock(&self.pairs).get(&place).cloned().unwrap_or_default();
                known.insert(place, pair.clone());
                if waits(&pair.next, now, LONGEST_WAIT) || pair.busy.swap(true, Ordering::AcqRel) {
                    continue;
                }
                let instance = Stored { record: instance.record.clone(), header: instance.header.clone() };
                steps.push(Step {
                    ground: ground.clone(),
                    readers: self.readers.clone(),
                    core: core.clone(),
                    instance,
                    order: order.clone(),
                    destination,
                    pair,
                    now,
                });
            }
        }
        *lock(&self.pairs) = known;
        Ok(steps)
    }
}

impl Drop for Step {
    fn drop(&mut self) {
        // However it ended, also by a panic: the next look begins anew.
        self.pair.busy.store(false, Ordering::Release);
    }
}

impl Step {
    /// Sends what is new, and notes how it went and when to look again.
    pub fn run(self) {
        let outcome = self.ship();
        let mut told = lock(&self.pair.told);
        let wait = match outcome {
            Ok(()) => {
                told.error = None;
                self.pair.failures.store(0, Ordering::Release);
                i64::from(self.order.interval)
            }
            Err(reason) => {
                let failures = self.pair.failures.fetch_add(1, Ordering::AcqRel).min(8);
                if told.error.as_ref() != Some(&reason) {
                    tracing::warn!(instance = %self.instance.id(), destination = %self.destination, reason, "shipping failed");
                }
                told.error = Some(reason);
                self.pair.owned.store(0, Ordering::Release);
                // Opened anew, with the credentials of then.
                *lock(&self.pair.place) = None;
                // A little more or less for each, so that many do not come back at once.
                let spread = i64::from(self.destination.as_bytes()[15]) + i64::from(self.order.stream.as_bytes()[15]);
                ((i64::from(self.order.interval) << failures) + spread % 5).min(LONGEST_WAIT)
            }
        };
        self.pair.next.store(self.now.plus_seconds(wait).0, Ordering::Release);
    }

    fn ship(&self) -> std::result::Result<(), String> {
        let core = &self.core;
        let place = self.place().map_err(|e| e.message)?;
        if !waits(&self.pair.owned, self.now, OWNED) {
            let ancestors = core.ancestors();
            let claim = owner::Claim { system: core.system, incarnation: core.incarnation, ancestors: &ancestors };
            owner::claim(place.as_ref(), &claim, &core.signer, self.now).map_err(|e| e.to_string())?;
            self.pair.owned.store(self.now.plus_seconds(OWNED).0, Ordering::Release);
        }
        let head = core.store.head().seq;
        let (shipped, stream) =
            self.shipping(place.as_ref(), |shipper, s| Ok((shipper.step(s, self.now)?, s.place())))?;
        let mut told = lock(&self.pair.told);
        (told.shipped, told.number) = (Some(head), Some(shipped.number));
        // Nothing that was committed before this step began is missing there.
        told.until = Some(self.now.max(shipped.time));
        told.objects += shipped.objects;
        told.bytes += shipped.bytes;
        drop(told);
        // Once a day, and when a legal hold is set or lifted.
        let held = self.instance.header.hold.is_some();
        let turn = midnight(self.ground.believed).0 + i64::from(held);
        if self.pair.retained.load(Ordering::Acquire) != turn {
            // What fails waits for the next night; that it is held is said again until it is there.
            if !held {
                self.pair.retained.store(turn, Ordering::Release);
            }
            let (id, now) = (self.instance.id(), self.ground.believed);
            let done = self.readers.retain(core, id, place.as_ref(), stream, now);
            for reason in done.map_err(|e| format!("retention: {e}"))?.kept {
                tracing::info!(destination = %self.destination, %reason, "retention left an object");
            }
            self.pair.retained.store(turn, Ordering::Release);
        }
        Ok(())
    }

    /// Does something with what is sent, and where to. That this state is an older one than what is there, or another, is noted.
    fn shipping<T>(
        &self,
        place: &dyn Destination,
        work: impl FnOnce(&mut Shipper, &Shipping<'_>) -> std::result::Result<T, ShipError>,
    ) -> std::result::Result<T, String> {
        let core = &self.core;
        let said = |e: crate::app::error::AppError| e.message;
        let key = core.load::<BackupKeyHeader>(DomainId::ROOT, self.order.backup_key).map_err(said)?;
        let material = core.backup_key_material(&key).map_err(said)?;
        let shipping = Shipping {
            store: &core.store,
            keyring: &core.keyring,
            signer: &core.signer,
            stream: self.order.stream,
            domain: self.instance.header.domain,
            backup_key: self.order.backup_key,
            backup_key_material: &material,
            destination: place,
            spool: &self.ground.spool,
            audit_from: self.now.plus_seconds(-86_400 * i64::from(self.ground.audit_days)),
            day: self.ground.day,
            heartbeat: HEARTBEAT,
        };
        work(&mut lock(&self.pair.shipper), &shipping).map_err(|e| {
            if matches!(e, ShipError::RolledBack { .. } | ShipError::Forked { .. }) {
                core.roll_back(e.to_string());
            }
            e.to_string()
        })
    }

    fn place(&self) -> Result<Arc<dyn Destination>> {
        let stored = self.core.load::<DestinationHeader>(DomainId::ROOT, self.destination)?;
        let mut kept = lock(&self.pair.place);
        if let Some((revision, place)) = kept.as_ref()
            && *revision == stored.revision()
        {
            return Ok(place.clone());
        }
        let opened: Arc<dyn Destination> = self.core.destination_open(&stored)?.into();
        *kept = Some((stored.revision(), opened.clone()));
        Ok(opened)
    }
}
