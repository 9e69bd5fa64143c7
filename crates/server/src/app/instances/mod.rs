//! Backup instances: records of root that say what is protected, for how long, and where.

pub mod hold;
pub mod order;
pub mod proofs;
mod retention;
pub mod view;
pub mod work;

use std::collections::{BTreeMap, BTreeSet};

use keyark_api::backup_instances::{BackupInstance, BackupInstanceGet, BackupInstanceList, InstanceDestination};
use keyark_api::backups::Backup;
use keyark_api::instance_data::{BackupInstanceExtract, BackupInstancePoints, PointStretch};
use keyark_api::{ErrorCode, Page, PageQuery};
use keyark_backup::Destination;
use keyark_backup::stream::{Catalogue, NoPoint, Opener, StreamPlace, Until};
use keyark_crypto::Key256;
use keyark_model::protection::{DestinationHeader, InstanceHeader, InstanceState, InstanceType};
use keyark_model::system::BackupKeyHeader;
use keyark_model::{DomainId, Id, Incarnation, Time};
use keyark_store::Write;

use crate::app::backupkeys::right_of;
use crate::app::backups::create::{Begun, Origin, PointOf};
use crate::app::core::Core;
use crate::app::ctx::{Ctx, account_of, check_name};
use crate::app::error::{AppError, Result};
use crate::app::records::Stored;
use crate::app::{App, Handle, Reply};
use crate::protection::protected_until;

/// Days that an instance may be asked for.
pub const RANGE: std::ops::RangeInclusive<u32> = 7..=600;

pub type Instance = Stored<InstanceHeader>;

/// The instance that each system has: of the root domain, a week, disabled until it has a destination.
pub fn default_instance(core: &Core, now: Time) -> Result<Write> {
    let header = InstanceHeader {
        alias: "default".into(),
        instance_type: InstanceType::Default,
        domain: Some(DomainId::ROOT),
        range_days: *RANGE.start(),
        created_at: now,
        expires_at: None,
        order: None,
        upload: None,
        hold: None,
        proofs: BTreeMap::new(),
    };
    core.put(DomainId::ROOT, Core::new_id(now), 1, &header, b"")
}

impl Core {
    /// The lives of this system before this one, oldest first.
    pub fn ancestors(&self) -> Vec<keyark_model::Incarnation> {
        let mut all: Vec<_> = self.anchor.keys.iter().map(|k| k.incarnation).collect();
        all.retain(|i| *i != self.incarnation);
        all.dedup();
        all
    }

    /// What opens streams there, with every backup key that is here.
    pub fn opener<'a>(&'a self, destination: &'a dyn Destination) -> Result<Opener<'a>> {
        let all = self.load_all::<BackupKeyHeader>(DomainId::ROOT)?;
        let keys = all.iter().map(|key| Ok((key.id(), self.backup_key_material(key)?))).collect::<Result<_>>()?;
        Ok(Opener::with_keys(destination, &self.anchor, keys))
    }
}

impl Ctx {
    pub fn instance_load(&self, id: &str) -> Result<Instance> {
        let missing = || AppError::not_found(format_args!("the backup instance {id:?}"));
        let all = self.core.load_all::<InstanceHeader>(DomainId::ROOT)?;
        for stored in all {
            if (stored.id().to_string() == id || stored.header.alias == id) && self.sees_scope(stored.header.domain)? {
                return Ok(stored);
            }
        }
        Err(missing())
    }

    /// An alias for a new instance.
    fn instance_alias_free(&self, alias: &str) -> Result<()> {
        check_name("an instance has an alias", alias)?;
        if self.instance_load(alias).is_ok() {
            return Err(AppError::new(ErrorCode::AlreadyExists, format!("there is an instance {alias:?}")));
        }
        Ok(())
    }

    /// The instance for somebody who may change it. An expired one can only be renewed.
    pub fn instance_own(&self, id: &str) -> Result<Instance> {
        let stored = self.instance_load(id)?;
        self.require(right_of(stored.header.domain, false))?;
        self.check_match(stored.revision())?;
        let state = stored.header.state(self.now);
        match state {
            InstanceState::Expired | InstanceState::Released if self.action != "backup_instance_renew" => {
                let what = "this backup instance has expired: renew it; what it sent stays where it is";
                Err(AppError::new(ErrorCode::InstanceExpired, what))
            }
            _ => Ok(stored),
        }
    }

    pub fn instance_shown(&self, stored: &Instance) -> Result<BackupInstance> {
        let h = &stored.header;
        let (mut destinations, mut warnings) = (Vec::new(), Vec::new());
        let mut untils: Vec<Option<Time>> = Vec::new();
        for id in h.order.iter().flat_map(|o| &o.destinations) {
            let destination = self.core.load::<DestinationHeader>(DomainId::ROOT, *id).ok().map(|d| d.header.clone());
            if let Some(d) = &destination
                && let Some(lock) = d.lock.filter(|lock| lock.days < h.range_days)
            {
                let (name, days, range) = (&d.name, lock.days, h.range_days);
                warnings.push(format!(
                    "lock_too_short: {name} locks for {days} days, and the range is {range}: give the destination as many lockDays"
                ));
            }
            let told = h.order.as_ref().map(|o| self.app.protection.told(&self.core, o, *id)).unwrap_or_default();
            untils.push(told.until);
            destinations.push(InstanceDestination {
                id: id.to_string(),
                name: destination.map(|d| d.name).unwrap_or_default(),
                protected_until: told.until,
                lag: told.until.map(|t| (self.now.0 - t.0).max(0) / 1_000_000),
                objects: told.objects,
                bytes: told.bytes,
                error: told.error,
                verified_at: h.proofs.get(id).and_then(|p| p.verified).map(|(at, _)| at),
                findings: h.proofs.get(id).and_then(|p| p.verified).map(|(_, findings)| findings),
                drilled_at: h.proofs.get(id).and_then(|p| p.drilled),
            });
        }
        let protected_until = h.order.as_ref().and_then(|o| protected_until(o, untils.into_iter()));
        if h.state(self.now) == InstanceState::Disabled {
            warnings.push("not_protected: it is disabled; enable it with a destination and a backup key".into());
        }
        if h.order.is_some() && self.core.suspended() {
            warnings
                .push("suspended: this system was restored; nothing goes out before `keyark system activate`".into());
        }
        if let Some(order) = &h.order {
            match self.core.load::<BackupKeyHeader>(DomainId::ROOT, order.backup_key) {
                Err(_) => warnings.push("backup_key_missing: its backup key is gone; enable it with another".into()),
                Ok(key) if !self.core.escrowed(&key.header, self.now) => warnings.push(format!(
                    "backup_key_not_escrowed: nobody outside this machine can open what it sends; download backup key {} and check the file",
                    key.id()
                )),
                Ok(_) => {}
            }
        }
        Ok(BackupInstance {
            id: stored.id().to_string(),
            alias: h.alias.clone(),
            instance_type: h.instance_type,
            state: h.state(self.now),
            scope: if h.domain.is_some() { "domain" } else { "system" }.into(),
            account: account_of(h.domain.unwrap_or(DomainId::ROOT)),
            domain_id: h.domain.map(|d| d.to_string()),
            range_days: h.range_days,
            created_at: h.created_at,
            enabled_at: h.order.as_ref().map(|o| o.enabled_at),
            expires_at: h.expires_at,
            backup_key: h.order.as_ref().map(|o| o.backup_key.to_string()),
            stream: h.order.as_ref().map(|o| o.stream.to_string()),
            quorum: h.order.as_ref().map(|o| o.quorum),
            interval: h.order.as_ref().map(|o| o.interval),
            protected_until,
            destinations,
            backup: h.upload.map(|id| id.to_string()),
            hold: h.hold.clone().map(Into::into),
            warnings,
        })
    }

    pub async fn instance_commit(&self, stored: &Instance, header: &InstanceHeader) -> Result<Reply<BackupInstance>> {
        self.commit_header(stored, header).await?;
        let stored = self.core.load::<InstanceHeader>(DomainId::ROOT, stored.id())?;
        Ok(Reply::json(self.instance_shown(&stored)?).at(stored.revision()))
    }
}

impl Handle<BackupInstanceList> for App {
    async fn handle(&self, ctx: &Ctx, r: BackupInstanceList) -> Result<Reply<Page<BackupInstance>>> {
        let mut seen = Vec::new();
        for stored in ctx.core.load_all::<InstanceHeader>(DomainId::ROOT)? {
            if ctx.sees_scope(stored.header.domain)? {
                seen.push(ctx.instance_shown(&stored)?);
            }
        }
        Ok(Reply::json(PageQuery::from_wire(r.skip, r.limit).of(seen)))
    }
}

impl Handle<BackupInstanceGet> for App {
    async fn handle(&self, ctx: &Ctx, r: BackupInstanceGet) -> Result<Reply<BackupInstance>> {
        let stored = ctx.instance_load(&r.id)?;
        Ok(Reply::json(ctx.instance_shown(&stored)?).at(stored.revision()))
    }
}

/// One destination's stream of an instance.
pub struct There {
    pub name: String,
    pub stored: Stored<DestinationHeader>,
    pub place: StreamPlace,
}

/// A stream that has what is asked for, at its open destination.
pub struct Reached<T> {
    pub there: There,
    pub destination: Box<dyn Destination>,
    pub catalogue: Catalogue,
    pub plan: T,
}

impl Core {
    /// The first stream whose list answers a plan. Where none does, the first one's refusal is told.
    pub fn reached<T>(
        &self,
        there: Vec<There>,
        plan: impl Fn(&Catalogue) -> std::result::Result<T, NoPoint>,
    ) -> Result<Reached<T>> {
        let mut refused = None;
        for there in there {
            let looked = self.destination_open(&there.stored).and_then(|destination| {
                let catalogue = Catalogue::read(destination.as_ref(), there.place)?;
                let plan = plan(&catalogue).map_err(not_planned)?;
                Ok((destination, catalogue, plan))
            });
            match looked {
                Ok((destination, catalogue, plan)) => return Ok(Reached { there, destination, catalogue, plan }),
                Err(e) => refused = refused.or(Some(e)),
            }
        }
        Err(refused.unwrap_or_else(|| AppError::invalid("the instance does not send to that destination")))
    }
}

impl Ctx {
    /// Where an instance's data is: at each destination, or the named one, this life of the system before those
    /// that it came from.
    pub fn there(&self, stored: &Instance, destination: Option<&str>) -> Result<Vec<There>> {
        let order = stored.header.order.as_ref();
        let order = order.ok_or_else(|| {
            let what = match stored.header.upload {
                Some(backup) => format!("an uploaded instance is one moment: look at the backup {backup}"),
                None => "the instance is disabled: it has no data".into(),
            };
            AppError::new(ErrorCode::NoPoint, what)
        })?;
        let named = destination.map(|name| Ok::<_, AppError>(self.core.destination_load(name)?.id())).transpose()?;
        let lives: Vec<Incarnation> = self.core.ancestors().into_iter().chain([self.core.incarnation]).rev().collect();
        let mut all = Vec::new();
        for id in order.destinations.iter().filter(|id| named.is_none_or(|named| named == **id)) {
            for incarnation in &lives {
                let stored = self.core.load::<DestinationHeader>(DomainId::ROOT, *id)?;
                let place = StreamPlace { system: self.core.system, incarnation: *incarnation, stream: order.stream };
                all.push(There { name: stored.header.name.clone(), stored, place });
            }
        }
        Ok(all)
    }
}

impl Ctx {
    /// What is older than the range is hidden, not gone.
    pub fn in_range(&self, stored: &Instance, at: Option<Time>) -> Result<()> {
        match at.filter(|at| *at < stored.header.range_start(self.now)) {
            None => Ok(()),
            Some(at) => {
                let (has, needs) = (stored.header.range_days, InstanceHeader::range_needed(at, self.now));
                let what = format!(
                    "{at} is outside of the range of {has} days: a range of {needs} days has it; extend the instance"
                );
                Err(AppError::new(ErrorCode::NoPoint, what))
            }
        }
    }
}

impl Core {
    /// The backup keys that have doors into a stream, and whether each of its epochs has one that is here.
    fn doors_of(&self, catalogue: &Catalogue) -> (Vec<String>, bool) {
        let (mut keys, mut epochs) = (BTreeSet::new(), BTreeMap::new());
        for door in &catalogue.epochs {
            let here = self.load::<BackupKeyHeader>(DomainId::ROOT, door.backup_key).is_ok();
            keys.insert(door.backup_key.to_string());
            *epochs.entry(door.epoch).or_insert(false) |= here;
        }
        (keys.into_iter().collect(), epochs.into_values().all(|opens| opens))
    }
}

impl Handle<BackupInstancePoints> for App {
    async fn handle(&self, ctx: &Ctx, r: BackupInstancePoints) -> Result<Reply<Page<PointStretch>>> {
        let stored = ctx.instance_load(&r.id)?;
        let (there, core) = (ctx.there(&stored, None)?, ctx.core.clone());
        let start = stored.header.range_start(ctx.now);
        let found = tokio::task::spawn_blocking(move || -> Result<Vec<PointStretch>> {
            let mut all = Vec::new();
            for there in there {
                let catalogue = Catalogue::read(core.destination_open(&there.stored)?.as_ref(), there.place)?;
                let fulls = catalogue.fulls.iter().map(|f| f.found.size);
                let bytes: u64 = fulls.chain(catalogue.segments.iter().map(|s| s.found.size)).sum();
                let (backup_keys, opens) = core.doors_of(&catalogue);
                let shown = catalogue.points().into_iter().filter(|stretch| stretch.known_until >= start);
                all.extend(shown.map(|stretch| PointStretch {
                    destination: there.name.clone(),
                    incarnation: there.place.incarnation.to_string(),
                    from: stretch.from.time.max(start),
                    to: stretch.to.time,
                    known_until: stretch.known_until,
                    full_archives: catalogue.fulls.len() as u64,
                    segments: catalogue.segments.len() as u64,
                    bytes,
                    backup_keys: backup_keys.clone(),
                    opens,
                }));
            }
            Ok(all)
        });
        let found = found.await.map_err(AppError::internal)??;
        Ok(Reply::json(PageQuery::from_wire(None, Some(-1)).of(found)))
    }
}

impl Handle<BackupInstanceExtract> for App {
    async fn handle(&self, ctx: &Ctx, r: BackupInstanceExtract) -> Result<Reply<Backup>> {
        let stored = ctx.instance_own(&r.id)?;
        let description = r.description.unwrap_or_else(|| format!("of the backup instance {:?}", stored.header.alias));
        let begun = ctx.moment(&stored, r.at, r.destination.as_deref(), description, None).await?;
        self.backup_begin(ctx, begun).await
    }
}

/// Why a moment cannot be had; before the first point it also says what that means.
fn not_planned(e: NoPoint) -> AppError {
    let first = matches!(e, NoPoint::BeforeFirst { .. });
    let mut told = AppError::from(e);
    if first {
        told.message.push_str(": what was deleted or changed before the instance was enabled is not there");
    }
    told
}

impl Ctx {
    /// A backup to be, of a moment: from the first destination that has it. Without a key that of the instance opens it.
    pub async fn moment(
        &self,
        stored: &Instance,
        at: Option<Time>,
        destination: Option<&str>,
        description: String,
        key: Option<(Id, Key256)>,
    ) -> Result<Begun> {
        let there = self.there(stored, destination)?;
        self.in_range(stored, at)?;
        let until = at.map_or(Until::Newest, Until::Time);
        let core = self.core.clone();
        let found = tokio::task::spawn_blocking(move || core.reached(there, |catalogue| catalogue.plan(until)));
        let Reached { there, plan, .. } = found.await.map_err(AppError::internal)??;
        let order = stored.header.order.as_ref().ok_or_else(|| AppError::internal("an instance without an order"))?;
        let own = || {
            let key = self.core.load::<BackupKeyHeader>(DomainId::ROOT, order.backup_key)?;
            Ok::<_, AppError>((key.id(), self.core.backup_key_material(&key)?))
        };
        let key = key.map_or_else(own, Ok)?;
        Ok(Begun {
            scope: stored.header.domain,
            key,
            description,
            since: None,
            filters: Vec::new(),
            from: Origin::Point(Box::new(PointOf {
                destination: there.stored,
                place: there.place,
                plan,
                chosen: None,
            })),
        })
    }
}
