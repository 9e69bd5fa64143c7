//! What one incarnation of the system runs on: store, keyring, identity. Replaced whole by a system restore.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use keyark_api::ErrorCode;
use keyark_api::domains::Quotas;
use keyark_archive::anchor::Anchor;
use keyark_backup::destination::throttle::Pacer;
use keyark_crypto::keyring::{KekOwner, Keyring, SEALS_FIRST, SEALS_PER_GENERATION};
use keyark_crypto::seal::{Kek, generation_of};
use keyark_crypto::sign::Signer;
use keyark_crypto::{Secret, random};
use keyark_model::protection::InstanceHeader;
pub use keyark_model::system::{KekHeader, NodeHeader, SettingHeader};
use keyark_model::{DomainId, Id, Incarnation, Kind, Outcome, Record, RecordFacts, SystemId, Time};
use keyark_store::{Batch, Committed, Draft, Must, Page, Store, Write, failpoint};
use tokio::sync::watch;

use super::error::{AppError, Result};
use super::keys::material::KeyCache;
use super::records::{Stored, record_name};

/// The store with everything that opens it.
pub struct Core {
    pub store: Store,
    pub keyring: Keyring,
    pub system: SystemId,
    pub incarnation: Incarnation,
    pub jwt_key: Secret<[u8; 32]>,
    /// Derived when it is first needed.
    pub(super) position_key: OnceLock<Secret<[u8; 32]>>,
    pub signer: Signer,
    pub anchor: Anchor,
    /// Grows with every change of users, groups, sessions and domains: cached principals of an older epoch are stale.
    pub epoch: AtomicU64,
    reserving: Mutex<()>,
    /// One reservation of encryptions at a time.
    pub(super) counting: Mutex<()>,
    /// Open keys.
    pub keys: KeyCache,
    /// Every backup instance, until one changes.
    instances: Mutex<Option<Arc<Vec<Stored<InstanceHeader>>>>>,
    /// How it was found that this state is an older one than what it sent itself.
    rolled_back: OnceLock<String>,
    /// Whether it was looked for, as far as a start waits for that.
    looked: watch::Sender<bool>,
    /// Quotas of domains, each good for the epoch that stands beside it.
    pub(super) quotas: Mutex<HashMap<DomainId, (u64, Quotas)>>,
    /// What limits the use of each destination, by the revision of its record.
    pub(super) pacers: Mutex<HashMap<Id, (u64, Arc<Pacer>)>>,
}

/// The smallest and the largest number of seals reserved at once: a crash loses at most one reservation, and a
/// generation outlives any number of restarts.
const RESERVE_FIRST: u64 = SEALS_FIRST;
const RESERVE_MOST: u64 = 1 << 24;
/// Bodies sealed anew in one commit.
const RESEAL_BATCH: u64 = 500;

/// Seconds that the clock may be behind the log.
pub const CLOCK_DOUBTFUL: i64 = 5;

/// Keys kept open in memory at most; each takes about 1 KiB.
const KEYS_OPEN: usize = 50_000;

impl Core {
    pub fn new(store: Store, keyring: Keyring, jwt_key: Secret<[u8; 32]>, signer: Signer, anchor: Anchor) -> Core {
        let identity = store.identity();
        Core {
            system: identity.system,
            incarnation: identity.incarnation,
            store,
            keyring,
            jwt_key,
            position_key: OnceLock::new(),
            signer,
            anchor,
            epoch: AtomicU64::new(0),
            reserving: Mutex::new(()),
            counting: Mutex::new(()),
            keys: KeyCache::new(KEYS_OPEN),
            instances: Mutex::default(),
            rolled_back: OnceLock::new(),
            looked: watch::Sender::new(true),
            quotas: Mutex::default(),
            pacers: Mutex::default(),
        }
    }

    /// A fresh id for a record made at `now`.
    pub fn new_id(now: Time) -> Id {
        Id(random::uuid_v7(now))
    }

    /// How far this machine's clock is behind the newest entry of the log; seconds.
    pub fn clock_behind(&self, now: Time) -> i64 {
        ((self.store.head().time.0 - now.0) / 1_000_000).max(0)
    }

    /// Times in the log never go back: entries made under a clock that went back carry times that nobody's clock showed.
    pub fn clock_warning(&self, now: Time) -> Option<String> {
        let behind = self.clock_behind(now);
        (behind > CLOCK_DOUBTFUL).then(|| {
            format!(
                "clock_doubtful: this machine's clock is {behind} s behind the newest entry of the log; set it right, \
                 until then times of new entries only keep their order"
            )
        })
    }

    /// From here on writes are refused: a stream of this very life of the system reaches further than its log, or goes on
    /// otherwise (rules B1). A restore of the system begins another life, and ends it.
    pub fn roll_back(&self, found: String) {
        if self.rolled_back.set(found).is_ok() {
            tracing::error!(found = self.rolled_back(), "writes are refused from here on");
        }
        self.look_ended();
    }

    /// Writes wait from here on.
    pub fn look_begun(&self) {
        self.looked.send_replace(false);
    }

    pub fn look_ended(&self) {
        self.looked.send_replace(true);
    }

    /// Comes when it was looked for; who waits holds nothing of the system.
    pub fn looked(&self) -> impl Future<Output = ()> + use<> {
        let mut looked = self.looked.subscribe();
        // Where the system went meanwhile, nobody looks any more.
        async move { drop(looked.wait_for(|over| *over).await) }
    }

    pub fn rolled_back(&self) -> Option<&str> {
        self.rolled_back.get().map(String::as_str)
    }

    /// Refuses where nothing may be written, once that is known.
    pub async fn may_write(&self) -> Result<()> {
        self.looked().await;
        self.writable()
    }

    /// Refuses where nothing may be written until a person has decided how to go on.
    pub fn writable(&self) -> Result<()> {
        let Some(found) = self.rolled_back() else { return Ok(()) };
        let what = format!(
            "{found}; reads go on, writes wait for a decision: restore the newest point of the backup instance (`keyark \
             backup-instance extract`, `keyark backup restore`), or keep this state by a system backup that you take now and \
             restore; either begins a new life of the system"
        );
        Err(AppError::new(ErrorCode::StoreRolledBack, what))
    }

    /// Every backup instance. Asked for each destroyed version and every second, so they are remembered.
    pub fn instances(&self) -> Result<Arc<Vec<Stored<InstanceHeader>>>> {
        // Held while they are loaded: a change waits, and then drops what it made old.
        let mut known = self.instances.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(all) = known.as_ref() {
            return Ok(all.clone());
        }
        let all = Arc::new(self.load_all::<InstanceHeader>(DomainId::ROOT)?);
        *known = Some(all.clone());
        Ok(all)
    }

    /// Drops what is remembered of changed records: open keys, and who callers are.
    pub fn changed(&self, records: &[(DomainId, Kind, Id)]) {
        for (domain, kind, id) in records {
            match kind {
                Kind::Key => self.keys.forget(*domain, *id),
                Kind::BackupInstance => *self.instances.lock().unwrap_or_else(PoisonError::into_inner) = None,
                Kind::User | Kind::Group | Kind::Session | Kind::Domain => {
                    self.epoch.fetch_add(1, Ordering::Release);
                }
                _ => {}
            }
        }
    }

    /// Commits as the server itself.
    pub fn commit_as_system(
        &self,
        now: Time,
        domain: DomainId,
        action: &str,
        must: Vec<Must>,
        changes: Vec<Write>,
    ) -> Result<Committed> {
        self.commit_as_system_on(now, domain, action, String::new(), must, changes)
    }

    /// Commits as the server itself, saying on what.
    pub fn commit_as_system_on(
        &self,
        now: Time,
        domain: DomainId,
        action: &str,
        target: String,
        must: Vec<Must>,
        changes: Vec<Write>,
    ) -> Result<Committed> {
        let changed: Vec<_> = changes.iter().map(|c| c.key()).map(|(kind, id)| (domain, kind, id)).collect();
        let draft = Draft {
            domain,
            actor: "system".into(),
            request_id: String::new(),
            action: action.into(),
            target,
            outcome: Outcome::Success,
            changes,
        };
        let result = self.store.commit(Batch { must, entries: vec![draft] }, now);
        self.changed(&changed);
        Ok(result?)
    }

    /// The write of a KEK's record.
    pub fn kek_write(id: Id, revision: u64, header: &KekHeader) -> Result<Write> {
        let header = serde_json::to_vec(header).map_err(AppError::internal)?;
        Ok(Write::Put { kind: Kind::Kek, id, revision, header: header.into(), body: Box::default(), purge: false })
    }

    /// A new KEK generation of a domain as a record to commit, and the key to add once it is committed.
    pub fn kek_generate(&self, domain: DomainId, now: Time) -> Result<(Write, Arc<Kek>, u64)> {
        let owner = KekOwner::Domain(domain);
        let last = self.keyring.generations(owner).last().map_or(0, |k| k.generation);
        let kek = Arc::new(Kek::generate(last + 1));
        let header = self.keyring.mkek.kek_header(owner, &kek, RESERVE_FIRST, true, now);
        Ok((Core::kek_write(Core::new_id(now), 1, &header)?, kek, RESERVE_FIRST))
    }

    /// Starts to seal with a KEK whose record was committed.
    pub fn kek_adopt(&self, domain: DomainId, kek: Arc<Kek>, reserved: u64) {
        failpoint("kek-committed");
        let (owner, generation) = (KekOwner::Domain(domain), kek.generation);
        self.keyring.add(owner, kek, 0, true);
        self.keyring.reserved(owner, generation, reserved);
    }

    /// Accounts durably for more seals of a KEK, or rotates it when it has none left.
    pub fn reserve_seals(&self, owner: KekOwner, generation: u32) -> Result<()> {
        let _one_at_a_time = self.reserving.lock().expect("no panic while held");
        let domain = match owner {
            KekOwner::Local => DomainId::ROOT,
            KekOwner::Domain(d) => d,
        };
        let purpose = owner.word();
        let all = self.load_all::<KekHeader>(domain)?;
        let Some(found) = all.into_iter().find(|k| k.header.purpose == purpose && k.header.generation == generation)
        else {
            return Err(AppError::internal(format!("no record of generation {generation} of {owner:?}")));
        };
        let now = self.store.head().time;
        let mut header = found.header.clone();
        let step = header.reserved.clamp(RESERVE_FIRST, RESERVE_MOST);
        if header.reserved + step > SEALS_PER_GENERATION {
            return self.kek_rotate(owner, domain, now);
        }
        header.reserved += step;
        let write = Core::kek_write(found.id(), found.revision() + 1, &header)?;
        self.commit_as_system(now, domain, "kek_reserve", vec![], vec![write])?;
        self.keyring.reserved(owner, generation, header.reserved);
        Ok(())
    }

    /// Reservations for what the first entry of an incarnation seals in root, to be committed with it.
    pub fn reserve_first(&self) -> Result<Vec<Write>> {
        let mut writes = Vec::new();
        for stored in self.load_all::<KekHeader>(DomainId::ROOT)? {
            let owner = [KekOwner::Local, KekOwner::Domain(DomainId::ROOT)];
            let Some(owner) = owner.into_iter().find(|o| stored.header.current && o.word() == stored.header.purpose)
            else {
                continue;
            };
            let header = KekHeader { reserved: stored.header.reserved + RESERVE_FIRST, ..stored.header.clone() };
            writes.push(Core::kek_write(stored.id(), stored.revision() + 1, &header)?);
            self.keyring.reserved(owner, header.generation, header.reserved);
        }
        Ok(writes)
    }

    /// What the first entry of a restored incarnation names: the one before, its position and hash.
    pub fn continues(&self) -> String {
        self.store
            .identity()
            .parent
            .map_or_else(String::new, |p| format!("{} at {}, hash {}", p.position.incarnation, p.position.seq, p.hash))
    }

    /// Seals anew, under the current generation, every body of a domain that stands under an older one; how many. Readers
    /// are never blocked, and after a stop it goes on where it was: what is done is under the current generation.
    pub fn reseal(&self, domain: DomainId) -> Result<u64> {
        let owner = KekOwner::Domain(domain);
        let mut done = 0;
        for kind in Kind::ALL.iter().filter(|k| KekOwner::of(**k, domain) == owner) {
            let mut page = Page { limit: RESEAL_BATCH, ..Page::default() };
            loop {
                let records = self.store.page(domain, *kind, &page)?;
                let Some(last) = records.last().map(|r| r.id) else { break };
                let writes = self.resealed(owner, &records)?;
                failpoint("reseal-batch");
                let count = writes.len() as u64;
                let outcome = match writes.is_empty() {
                    true => Ok(()),
                    false => self
                        .commit_as_system(self.store.head().time, domain, "kek_reseal", vec![], writes)
                        .map(|_| done += count),
                };
                match outcome {
                    Ok(()) => page.after = Some(last),
                    // Somebody changed one of them meanwhile: the same page again sees its new state.
                    Err(e) if e.code == ErrorCode::Conflict => {}
                    Err(e) => return Err(e),
                }
            }
        }
        Ok(done)
    }

    /// The writes that seal anew what stands under an older generation.
    fn resealed(&self, owner: KekOwner, records: &[Record]) -> Result<Vec<Write>> {
        let current = self.keyring.current(owner);
        let mut writes = Vec::new();
        for record in records.iter().filter(|r| generation_of(&r.body) != current) {
            let version = RecordFacts::of_header(&record.header).map_err(AppError::internal)?.version;
            let name = record_name(record, version);
            let body = self.keyring.open(&name, &record.header, &record.body)?;
            let body = self.seal(&name, &record.header, body.expose())?;
            writes.push(Write::Reseal { kind: record.kind, id: record.id, revision: record.revision, body });
        }
        Ok(writes)
    }

    fn kek_rotate(&self, owner: KekOwner, domain: DomainId, now: Time) -> Result<()> {
        let last = self.keyring.generations(owner).last().map_or(0, |k| k.generation);
        let kek = Arc::new(Kek::generate(last + 1));
        let header = self.keyring.mkek.kek_header(owner, &kek, RESERVE_FIRST, true, now);
        let write = Core::kek_write(Core::new_id(now), 1, &header)?;
        self.commit_as_system(now, domain, "kek_rotate", vec![], vec![write])?;
        let generation = kek.generation;
        self.keyring.add(owner, kek, 0, true);
        self.keyring.reserved(owner, generation, RESERVE_FIRST);
        Ok(())
    }
}

/// Standard base64, for headers.
pub fn encode(bytes: &[u8]) -> String {
    base64_simd::STANDARD.encode_to_string(bytes)
}

/// Standard base64 of a header, back.
pub fn decode(text: &str) -> Result<Vec<u8>> {
    base64_simd::STANDARD.decode_to_vec(text).map_err(|_| AppError::internal("damaged base64 in a header"))
}
