//! Orders to backup instances: made, enabled, extended, renewed, deleted.

use std::collections::BTreeMap;

use keyark_api::ErrorCode;
use keyark_api::backup_instances::{
    BackupInstance, BackupInstanceCreate, BackupInstanceDelete, BackupInstanceEnable, BackupInstanceExtend,
    BackupInstanceRenew,
};
use keyark_api::endpoint::NoBody;
use keyark_crypto::random;
use keyark_model::protection::{InstanceHeader, InstanceState, InstanceType, Order};
use keyark_model::{DomainId, Id, Time};

use super::RANGE;
use super::hold::not_held;
use crate::app::backupkeys::{right_of, scope_of};
use crate::app::core::Core;
use crate::app::ctx::{Ctx, confirmed};
use crate::app::error::{AppError, Result};
use crate::app::{App, Handle, Reply};

const RANGE_CHOSEN: u32 = 30;
/// Seconds between two looks for what is new.
const INTERVAL: std::ops::RangeInclusive<u32> = 1..=300;
const INTERVAL_CHOSEN: u32 = 5;
/// The longest that an instance is ordered for at a time; days.
const DURATION_LONGEST: u32 = 3_660;

impl Ctx {
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
        ctx.instance_alias_free(&r.alias)?;
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
            hold: None,
            proofs: BTreeMap::new(),
        };
        let id = Core::new_id(ctx.now);
        let write = ctx.core.put(DomainId::ROOT, id, 1, &header, b"")?;
        ctx.commit_in(DomainId::ROOT, id.to_string(), vec![], vec![write]).await?;
        let stored = ctx.core.load::<InstanceHeader>(DomainId::ROOT, id)?;
        Ok(Reply::json(ctx.instance_shown(&stored)?).at(1))
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
        let key = ctx.backup_key_chosen(scope, r.backup_key.as_deref())?;
        if stored.header.order.as_ref().is_some_and(|o| o.backup_key != key.id()) {
            // Another stream would begin, and nobody would know this one any more.
            not_held(&stored.header)?;
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
        not_held(&stored.header)?;
        if stored.header.order.is_some() {
            let names = [stored.header.alias.as_str(), &stored.id().to_string()];
            confirmed(r.confirm.as_deref(), &names, "protection ends; what was sent stays at its destinations")?;
        }
        let write = ctx.core.delete(&stored);
        ctx.commit_in(DomainId::ROOT, stored.id().to_string(), vec![], vec![write]).await?;
        Ok(Reply::none())
    }
}
