//! What still holds what was destroyed or deleted, and until when (rules C5): told by records alone, nothing is kept for it.

use std::ops::ControlFlow;

use keyark_api::protection::{Ended, Holder, ProtectionDestroyed};
use keyark_api::{Page, PageQuery};
use keyark_model::key::KeyHeader;
use keyark_model::protection::DestinationHeader;
use keyark_model::record::mentions;
use keyark_model::system::{BackupHeader, BackupStatus};
use keyark_model::{DomainId, Id, Kind, Time};

use super::ctx::Ctx;
use super::error::{AppError, Result};
use super::instances::Instance;
use super::records::{Header, Stored};
use super::secrets::SecretHeader;
use super::{App, Handle, Reply};

/// Days to look back.
const DAYS: u32 = 90;
const DAYS_MOST: u32 = 3_660;
const DAY: i64 = 86_400;
/// How the dates of what was destroyed begin in headers; only headers with one are read.
const ENDS: &[u8] = b"\"destroy";
/// Deletions that are read at a time.
const PAGE: u64 = 2_000;

impl Ctx {
    /// What took along something of the caller's domain that existed from one moment to another.
    pub fn holders(&self, kind: Kind, born: Time, ended: Time) -> Result<Vec<Holder>> {
        self.holders_among(&self.core.load_all(DomainId::ROOT)?, kind, born, ended)
    }

    fn holders_among(
        &self,
        backups: &[Stored<BackupHeader>],
        kind: Kind,
        born: Time,
        ended: Time,
    ) -> Result<Vec<Holder>> {
        let domain = self.domain()?;
        let mut all = Vec::new();
        for backup in backups {
            let (id, h) = (backup.id(), &backup.header);
            let ours = h.domain.is_none_or(|d| d == domain) && h.counts.contains_key(kind.word());
            // One that was taken later may be of an earlier moment of an instance.
            if ours && h.status == BackupStatus::Completed && h.created_at >= born {
                all.push(Holder {
                    backup: self.sees_scope(h.domain)?.then(|| id.to_string()),
                    partial: h.since.is_some() || !h.filters.is_null(),
                    ..holder("backup", h.domain, h.created_at)
                });
            }
        }
        for instance in self.core.instances()?.iter().filter(|i| i.header.domain.is_none_or(|d| d == domain)) {
            self.instance_holds(instance, ended, &mut all)?;
        }
        all.sort_by_key(|h| h.created_at);
        Ok(all)
    }

    /// An instance at each of its destinations, and the log that waits for them.
    fn instance_holds(&self, instance: &Instance, ended: Time, all: &mut Vec<Holder>) -> Result<()> {
        let h = &instance.header;
        let Some(order) = h.order.as_ref().filter(|o| o.enabled_at <= ended) else { return Ok(()) };
        let named = self.sees_scope(h.domain)?;
        let mut waits = false;
        for id in &order.destinations {
            let Ok(place) = self.core.load::<DestinationHeader>(DomainId::ROOT, *id) else { continue };
            let locked = place.header.lock.map(|l| ended.plus_seconds(i64::from(l.days) * DAY));
            let until = h.free_of(ended).map(|until| until.max(locked.unwrap_or(until)));
            let told = self.app.protection.told(&self.core, order, *id);
            waits |= told.until.is_none_or(|until| until < ended);
            if until.is_none_or(|until| until > self.now) {
                all.push(Holder {
                    instance: named.then(|| h.alias.clone()),
                    destination: named.then(|| place.header.name.clone()),
                    until,
                    ..holder("instance", h.domain, order.enabled_at)
                });
            }
        }
        let until = ended.plus_seconds(self.app.settings.max_lag());
        if waits && until > self.now && !all.iter().any(|h| h.what == "log") {
            all.push(Holder { until: Some(until), ..holder("log", h.domain, order.enabled_at) });
        }
        Ok(())
    }

    /// What of the caller's domain ended after a moment, without its holders.
    fn ended_since(&self, since: Time) -> Result<Vec<(Time, Ended)>> {
        let domain = self.domain()?;
        let mut all = Vec::new();
        for key in self.ending::<KeyHeader>(domain)? {
            for v in key.header.versions.iter().filter(|v| v.state.is_destroyed()) {
                let at = v.dates.destroy.unwrap_or(key.header.updated_at);
                all.push((
                    v.created_at,
                    ended(Kind::Key, key.id(), key.header.name.as_str(), Some(v.version.into()), at),
                ));
            }
        }
        for secret in self.ending::<SecretHeader>(domain)? {
            for v in &secret.header.versions {
                if let Some(at) = v.destroyed_at {
                    all.push((
                        v.created_at,
                        ended(Kind::Secret, secret.id(), &secret.header.name, Some(v.version), at),
                    ));
                }
            }
        }
        let mut after = self.core.store.audit_start(since)?;
        loop {
            let page = self.core.store.tombstones(Some(domain), after, PAGE)?;
            for gone in page.iter().filter(|t| matches!(t.kind, Kind::Key | Kind::Secret)) {
                all.push((
                    born(gone.id),
                    ended(gone.kind, gone.id, gone.name.as_deref().unwrap_or_default(), None, gone.time),
                ));
            }
            match page.last() {
                Some(last) => after = last.seq,
                None => break,
            }
        }
        all.retain(|(_, e)| e.at >= since);
        all.sort_by_key(|(_, e)| std::cmp::Reverse((e.at, e.id.clone(), e.version)));
        Ok(all)
    }

    /// The records of a domain of which something ended or is to end.
    fn ending<H: Header>(&self, domain: DomainId) -> Result<Vec<Stored<H>>> {
        let mut found = Vec::new();
        self.core.store.scan(domain, H::KIND, |record| {
            if mentions(record.header, ENDS) {
                found.push(record.to_record());
            }
            ControlFlow::Continue(())
        })?;
        found.into_iter().map(|record| self.core.read_header(record)).collect()
    }
}

fn holder(what: &str, scope: Option<DomainId>, created_at: Time) -> Holder {
    Holder {
        what: what.into(),
        backup: None,
        instance: None,
        destination: None,
        scope: if scope.is_some() { "domain" } else { "system" }.into(),
        created_at,
        partial: false,
        until: None,
    }
}

fn ended(kind: Kind, id: Id, name: &str, version: Option<u64>, at: Time) -> Ended {
    let (kind, id, name) = (kind.word().into(), id.to_string(), name.into());
    Ended { kind, id, name, version, at, held_by: Vec::new(), until: None }
}

/// When a record that is gone was made: its id says so if it was made here; what came with an id of its own may be of any age.
fn born(id: Id) -> Time {
    let made = id.0.get_timestamp().map(|t| t.to_unix());
    made.map_or(Time(0), |(seconds, _)| Time(i64::try_from(seconds).unwrap_or(0).saturating_mul(1_000_000)))
}

impl Handle<ProtectionDestroyed> for App {
    async fn handle(&self, ctx: &Ctx, r: ProtectionDestroyed) -> Result<Reply<Page<Ended>>> {
        let days = r.days.unwrap_or(DAYS);
        if !(1..=DAYS_MOST).contains(&days) {
            return Err(AppError::invalid(format!("days is 1 to {DAYS_MOST}")));
        }
        let all = ctx.ended_since(ctx.now.plus_seconds(-DAY * i64::from(days)))?;
        let backups = ctx.core.load_all(DomainId::ROOT)?;
        let mut page = PageQuery::from_wire(r.skip, r.limit).of(all);
        let mut resources = Vec::new();
        for (born, mut ended) in page.resources.drain(..) {
            let kind = if ended.kind == Kind::Key.word() { Kind::Key } else { Kind::Secret };
            ended.held_by = ctx.holders_among(&backups, kind, born, ended.at)?;
            let untils: Option<Vec<Time>> = ended.held_by.iter().map(|h| h.until).collect();
            ended.until = untils.and_then(|all| all.into_iter().max());
            resources.push(ended);
        }
        Ok(Reply::json(Page { skip: page.skip, limit: page.limit, total: page.total, resources }))
    }
}
