//! Backup instances: records of root that say what is protected, for how long, and where.

use std::collections::{BTreeMap, HashMap};

use keyark_api::backup_instances::{
    BackupInstance, BackupInstanceCreate, BackupInstanceDelete, BackupInstanceEnable, BackupInstanceExtend,
    BackupInstanceExtract, BackupInstanceGet, BackupInstanceList, BackupInstancePoints, BackupInstanceRenew,
    InstanceDestination, PointStretch,
};
use keyark_api::backups::Backup;
use keyark_api::endpoint::NoBody;
use keyark_api::{ErrorCode, Page, PageQuery};
use keyark_backup::stream::{Catalogue, StreamPlace, Until};
use keyark_crypto::{Key256, random};
use keyark_model::protection::{DestinationHeader, InstanceHeader, InstanceState, InstanceType, Order};
use keyark_model::system::BackupKeyHeader;
use keyark_model::{DomainId, Id, Incarnation, Time};
use keyark_store::Write;

use super::backupkeys::{right_of, scope_of};
use super::backups::create::{Begun, Origin, PointOf};
use super::core::Core;
use super::ctx::{Ctx, account_of, confirmed};
use super::error::{AppError, Result};
use super::records::Stored;
use super::{App, Handle, Reply};
use crate::protection::protected_until;

/// Days that an instance may be asked for.
const RANGE: std::ops::RangeInclusive<u32> = 7..=600;
const RANGE_CHOSEN: u32 = 30;
/// Seconds between two looks for what is new.
const INTERVAL: std::ops::RangeInclusive<u32> = 1..=300;
const INTERVAL_CHOSEN: u32 = 5;
/// The longest that an instance is ordered for at a time; days.
const DURATION_LONGEST: u32 = 3_660;

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

    /// Every backup key that is here, by id.
    pub fn backup_keys_open(&self) -> Result<HashMap<Id, Key256>> {
        let all = self.load_all::<BackupKeyHeader>(DomainId::ROOT)?;
        all.iter().map(|key| Ok((key.id(), self.backup_key_material(key)?))).collect()
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
        let mut destinations = Vec::new();
        let mut untils: Vec<Option<Time>> = Vec::new();
        for id in h.order.iter().flat_map(|o| &o.destinations) {
            let name = self.core.load::<DestinationHeader>(DomainId::ROOT, *id).map(|d| d.header.name.clone());
            let told = h.order.as_ref().map(|o| self.app.protection.told(&self.core, o, *id)).unwrap_or_default();
            untils.push(told.until);
            destinations.push(InstanceDestination {
                id: id.to_string(),
                name: name.unwrap_or_default(),
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
        let mut warnings = Vec::new();
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
            warnings,
        })
    }

    async fn instance_commit(&self, stored: &Instance, header: &InstanceHeader) -> Result<Reply<BackupInstance>> {
        self.commit_header(stored, header).await?;
        let stored = self.core.load::<InstanceHeader>(DomainId::ROOT, stored.id())?;
        Ok(Reply::json(self.instance_shown(&stored)?).at(stored.revision()))
    }

    /// A domain's extended instances together have at most the days that an administrator granted it.
    fn range_granted(&self, domain: Option<DomainId>, but: Option<Id>, days: u32) -> Result<()> {
        if !RANGE.contains(&days) {
            return Err(AppError::invalid(format!("rangeDays is {} to {}", RANGE.start(), RANGE.end())));
        }
        let Some(domain) = domain.filter(|d| *d != DomainId::ROOT) else { return Ok(()) };
        let granted = self.core.quotas(domain)?.backup_range_days.unwrap_or(0);
        let all = self.core.load_all::<InstanceHeader>(DomainId::ROOT)?;
        let mine = all.iter().filter(|i| i.header.domain == Some(domain) && Some(i.id()) != but);
        let used: u64 = mine.map(|i| u64::from(i.header.range_days)).sum();
        if used + u64::from(days) > granted {
            let what = format!(
                "the domain was granted {granted} days of backup range and uses {used}; an administrator of the root domain \
                 grants more (`keyark domains modify --quotas`)"
            );
            return Err(AppError::new(ErrorCode::QuotaExceeded, what));
        }
        Ok(())
    }

    fn ends_after(&self, from: Time, days: u32) -> Result<Time> {
        match days {
            1..=DURATION_LONGEST => Ok(from.plus_seconds(i64::from(days) * 86_400)),
            _ => Err(AppError::invalid(format!("durationDays is 1 to {DURATION_LONGEST}"))),
        }
    }
}

impl Handle<BackupInstanceCreate> for App {
    async fn handle(&self, ctx: &Ctx, r: BackupInstanceCreate) -> Result<Reply<BackupInstance>> {
        let (instance_type, scope) = match r.instance_type.as_deref() {
            None | Some("extended") => (InstanceType::Extended, scope_of(ctx, Some("domain"))?),
            Some("system") => (InstanceType::System, None),
            Some("default") => {
                return Err(AppError::invalid("the default instance is there from the first start; enable that one"));
            }
            Some(_) => return Err(AppError::invalid("type is extended or system")),
        };
        ctx.require(right_of(scope, false))?;
        if r.alias.trim().is_empty() || r.alias.parse::<Id>().is_ok() {
            return Err(AppError::invalid("an instance has an alias, which does not look like an id"));
        }
        if ctx.instance_load(&r.alias).is_ok() {
            return Err(AppError::new(ErrorCode::AlreadyExists, format!("there is an instance {:?}", r.alias)));
        }
        let range_days = r.range_days.unwrap_or(RANGE_CHOSEN);
        ctx.range_granted(scope, None, range_days)?;
        let expires_at = r.duration_days.map(|days| ctx.ends_after(ctx.now, days)).transpose()?;
        let header = InstanceHeader {
            alias: r.alias,
            instance_type,
            domain: scope,
            range_days,
            created_at: ctx.now,
            expires_at,
            order: None,
            upload: None,
            proofs: BTreeMap::new(),
        };
        let id = Core::new_id(ctx.now);
        let write = ctx.core.put(DomainId::ROOT, id, 1, &header, b"")?;
        ctx.commit_in(DomainId::ROOT, id.to_string(), vec![], vec![write]).await?;
        let stored = ctx.core.load::<InstanceHeader>(DomainId::ROOT, id)?;
        Ok(Reply::json(ctx.instance_shown(&stored)?).at(1))
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

impl Handle<BackupInstanceEnable> for App {
    async fn handle(&self, ctx: &Ctx, r: BackupInstanceEnable) -> Result<Reply<BackupInstance>> {
        let stored = ctx.instance_own(&r.id)?;
        let scope = stored.header.domain;
        if stored.header.upload.is_some() {
            return Err(AppError::invalid("an uploaded instance is read only"));
        }
        if r.destinations.is_empty() {
            return Err(AppError::invalid("name at least one destination (`keyark destination create`)"));
        }
        let mut destinations = Vec::new();
        for name in &r.destinations {
            let id = ctx.core.destination_load(name)?.id();
            if destinations.contains(&id) {
                return Err(AppError::invalid(format!("the destination {name:?} is named twice")));
            }
            destinations.push(id);
        }
        let key = match &r.backup_key {
            Some(id) => ctx.backup_key_load(id)?,
            None => ctx.core.backup_key_default(scope)?.ok_or_else(|| {
                let what = if scope.is_some() { "domain" } else { "system" };
                let say = format!(
                    "there is no default {what} backup key; create one (`keyark backupkeys create --scope {what}`)"
                );
                AppError::new(ErrorCode::BackupKeyMissing, say)
            })?,
        };
        if key.header.domain != scope {
            return Err(AppError::new(ErrorCode::WrongScope, "the backup key is of the other scope"));
        }
        let count = destinations.len() as u32;
        let quorum = r.quorum.unwrap_or(count);
        if quorum == 0 || quorum > count {
            return Err(AppError::invalid(format!("quorum is 1 to the number of destinations, here {count}")));
        }
        let interval = r.interval.unwrap_or(INTERVAL_CHOSEN);
        if !INTERVAL.contains(&interval) {
            return Err(AppError::invalid(format!("interval is {} to {} seconds", INTERVAL.start(), INTERVAL.end())));
        }
        // One that is enabled goes on in its stream with other destinations or another key; a new key begins a new one.
        let before = stored.header.order.as_ref().filter(|o| o.backup_key == key.id());
        let order = Order {
            stream: before.map_or_else(|| random::uuid_v7(ctx.now), |o| o.stream),
            enabled_at: before.map_or(ctx.now, |o| o.enabled_at),
            backup_key: key.id(),
            destinations,
            quorum,
            interval,
            ending: false,
        };
        let alias = r.alias.unwrap_or_else(|| stored.header.alias.clone());
        let header = InstanceHeader { alias, order: Some(order), ..stored.header.clone() };
        ctx.instance_commit(&stored, &header).await
    }
}

impl Handle<BackupInstanceExtend> for App {
    async fn handle(&self, ctx: &Ctx, r: BackupInstanceExtend) -> Result<Reply<BackupInstance>> {
        let stored = ctx.instance_own(&r.id)?;
        if stored.header.instance_type == InstanceType::Default {
            return Err(AppError::invalid(
                "the range of the default instance is a week; create an extended one for more",
            ));
        }
        if r.range_days <= stored.header.range_days {
            let what = format!("the range is {} days and can only grow", stored.header.range_days);
            return Err(AppError::invalid(what));
        }
        ctx.range_granted(stored.header.domain, Some(stored.id()), r.range_days)?;
        let header = InstanceHeader { range_days: r.range_days, ..stored.header.clone() };
        ctx.instance_commit(&stored, &header).await
    }
}

impl Handle<BackupInstanceRenew> for App {
    async fn handle(&self, ctx: &Ctx, r: BackupInstanceRenew) -> Result<Reply<BackupInstance>> {
        let stored = ctx.instance_own(&r.id)?;
        let Some(end) = stored.header.expires_at else {
            return Err(AppError::invalid("this instance never expires"));
        };
        if stored.header.state(ctx.now) == InstanceState::Released {
            let what = "this instance was released; create a new one";
            return Err(AppError::new(ErrorCode::InstanceExpired, what));
        }
        let expires_at = Some(ctx.ends_after(end.max(ctx.now), r.duration_days)?);
        let header = InstanceHeader { expires_at, ..stored.header.clone() };
        ctx.instance_commit(&stored, &header).await
    }
}

impl Handle<BackupInstanceDelete> for App {
    async fn handle(&self, ctx: &Ctx, r: BackupInstanceDelete) -> Result<Reply<NoBody>> {
        let stored = ctx.instance_load(&r.id)?;
        ctx.require(right_of(stored.header.domain, false))?;
        ctx.check_match(stored.revision())?;
        if stored.header.instance_type == InstanceType::Default {
            return Err(AppError::invalid("each system keeps its default instance"));
        }
        if stored.header.order.is_some() {
            let names = [stored.header.alias.as_str(), &stored.id().to_string()];
            confirmed(r.confirm.as_deref(), &names, "protection ends; what was sent stays at its destinations")?;
        }
        let write = ctx.core.delete(&stored);
        ctx.commit_in(DomainId::ROOT, stored.id().to_string(), vec![], vec![write]).await?;
        Ok(Reply::none())
    }
}

/// One destination's stream of an instance.
pub struct There {
    pub name: String,
    pub stored: Stored<DestinationHeader>,
    pub place: StreamPlace,
}

impl Ctx {
    /// Where an instance's data is: at each destination, this life of the system before those that it came from.
    pub fn there(&self, stored: &Instance) -> Result<Vec<There>> {
        let order = stored.header.order.as_ref();
        let order = order.ok_or_else(|| {
            let what = match stored.header.upload {
                Some(backup) => format!("an uploaded instance is one moment: look at the backup {backup}"),
                None => "the instance is disabled: it has no data".into(),
            };
            AppError::new(ErrorCode::NoPoint, what)
        })?;
        let lives: Vec<Incarnation> = self.core.ancestors().into_iter().chain([self.core.incarnation]).rev().collect();
        let mut all = Vec::new();
        for id in &order.destinations {
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

impl Handle<BackupInstancePoints> for App {
    async fn handle(&self, ctx: &Ctx, r: BackupInstancePoints) -> Result<Reply<Page<PointStretch>>> {
        let stored = ctx.instance_load(&r.id)?;
        let (there, core) = (ctx.there(&stored)?, ctx.core.clone());
        let start = stored.header.range_start(ctx.now);
        let found = tokio::task::spawn_blocking(move || -> Result<Vec<PointStretch>> {
            let mut all = Vec::new();
            for there in there {
                let catalogue = Catalogue::read(core.destination_open(&there.stored)?.as_ref(), there.place)?;
                let fulls = catalogue.fulls.iter().map(|f| f.found.size);
                let bytes: u64 = fulls.chain(catalogue.segments.iter().map(|s| s.found.size)).sum();
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
        let mut there = self.there(stored)?;
        if let Some(wanted) = destination {
            let id = self.core.destination_load(wanted)?.id();
            there.retain(|t| t.stored.id() == id);
        }
        self.in_range(stored, at)?;
        let until = at.map_or(Until::Newest, Until::Time);
        let core = self.core.clone();
        let found = tokio::task::spawn_blocking(move || {
            // The first destination that has it; what the others lack is said of the first.
            let mut refused = None;
            for there in there {
                let planned = core
                    .destination_open(&there.stored)
                    .and_then(|place| Ok(Catalogue::read(place.as_ref(), there.place)?))
                    .and_then(|catalogue| Ok(catalogue.plan(until)?));
                match planned {
                    Ok(plan) => return Ok((there, plan)),
                    Err(e) => refused = refused.or(Some(e)),
                }
            }
            Err(refused.unwrap_or_else(|| AppError::invalid("the instance does not send to that destination")))
        });
        let (there, plan) = found.await.map_err(AppError::internal)?.map_err(|e| match e.code {
            ErrorCode::NoPoint if e.message.starts_with("the first point is") => AppError::new(
                e.code,
                format!("{}: what was deleted or changed before the instance was enabled is not there", e.message),
            ),
            _ => e,
        })?;
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
            from: Origin::Point(Box::new(PointOf { destination: there.stored, place: there.place, plan })),
        })
    }
}
