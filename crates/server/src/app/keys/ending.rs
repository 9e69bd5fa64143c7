//! How keys end: deleted or destroyed by schedule, at once when named twice, or not after all.

use std::ops::ControlFlow;

use keyark_api::ErrorCode;
use keyark_api::endpoint::NoBody;
use keyark_api::keys::{Key, KeyDelete, KeyDestroy, KeyUndelete, KeyUndestroy};
use keyark_api::protection::Holder;
use keyark_model::key::{KeyHeader, Transition, VersionHeader, mentions_an_end};
use keyark_model::{Kind, Time};
use keyark_store::Write;

use super::{key_body, key_shown, version_of};
use crate::app::core::Core;
use crate::app::ctx::{Ctx, confirmed};
use crate::app::error::{AppError, Result};
use crate::app::records::Stored;
use crate::app::{App, Handle, Reply};

/// Shortest, longest and default days until a deleted key, or a destroyed version, is gone.
const PENDING_DAYS: std::ops::RangeInclusive<u32> = 7..=30;
const PENDING_DEFAULT: u32 = 30;

fn deletable(header: &KeyHeader) -> Result<()> {
    match header.undeletable {
        true => Err(AppError::new(ErrorCode::Undeletable, "the key is undeletable; take that mark away first")),
        false => Ok(()),
    }
}

/// The day that a request sets.
fn pending_until(days: Option<u32>, now: Time) -> Result<Time> {
    let days = days.unwrap_or(PENDING_DEFAULT);
    match PENDING_DAYS.contains(&days) {
        true => Ok(now.plus_seconds(i64::from(days) * 86_400)),
        false => Err(AppError::invalid("pendingDays is 7 to 30; to do it at once, give the name in `confirm`")),
    }
}

impl Handle<KeyDelete> for App {
    async fn handle(&self, ctx: &Ctx, r: KeyDelete) -> Result<Reply<NoBody>> {
        let stored = ctx.key_load_mine(&r.id, r.kind.as_deref())?;
        deletable(&stored.header)?;
        let names = [stored.header.name.as_str().to_owned(), stored.id().to_string()];
        if r.confirm.is_some() {
            let names = names.each_ref().map(String::as_str);
            confirmed(r.confirm.as_deref(), &names, "deleting a key at once")?;
            let write = ctx.core.delete(&stored);
            ctx.commit(names[0], vec![], vec![write]).await?;
            ctx.core.forget(stored.record.domain, Kind::Key, stored.id(), ctx.now)?;
            return Ok(Reply::none());
        }
        let mut header = stored.header.clone();
        header.deletion_date = Some(pending_until(r.pending_days, ctx.now)?);
        header.updated_at = ctx.now;
        ctx.commit_header(&stored, &header).await?;
        Ok(Reply::none())
    }
}

impl Handle<KeyUndelete> for App {
    async fn handle(&self, ctx: &Ctx, r: KeyUndelete) -> Result<Reply<Key>> {
        let stored = ctx.key_load_mine(&r.id, None)?;
        if stored.header.deletion_date.is_none() {
            return Err(AppError::new(ErrorCode::KeyState, "no deletion of this key is scheduled"));
        }
        let header = KeyHeader { deletion_date: None, updated_at: ctx.now, ..stored.header.clone() };
        let revision = ctx.commit_header(&stored, &header).await?;
        let stored = Stored { record: stored.record, header };
        Ok(Reply::json(key_shown(ctx, &stored, version_of(&stored.header, None)?, None)).at(revision))
    }
}

/// The numbers of the versions that a request means: one, or all.
fn versions_meant(header: &KeyHeader, version: Option<i64>) -> Result<Vec<u32>> {
    match version {
        None => Ok(header.versions.iter().map(|v| v.version).collect()),
        some => Ok(vec![version_of(header, some)?.version]),
    }
}

impl Handle<KeyDestroy> for App {
    async fn handle(&self, ctx: &Ctx, r: KeyDestroy) -> Result<Reply<Key>> {
        let stored = ctx.key_load_mine(&r.id, r.kind.as_deref())?;
        deletable(&stored.header)?;
        let numbers = versions_meant(&stored.header, r.version)?;
        if stored.header.versions.iter().all(|v| !numbers.contains(&v.version) || v.state.is_destroyed()) {
            return Err(AppError::new(ErrorCode::KeyState, "its material is destroyed already"));
        }
        let (header, revision) = if r.confirm.is_some() {
            let id = stored.id().to_string();
            let what = "destroying a key's material cannot be undone here (archives may still hold it)";
            confirmed(r.confirm.as_deref(), &[stored.header.name.as_str(), &id], what)?;
            let (header, write) = destroyed(&ctx.core, &stored, |v| numbers.contains(&v.version), ctx.now)?;
            ctx.commit(header.name.as_str(), vec![], vec![write]).await?;
            (header, stored.revision() + 1)
        } else {
            let mut header = stored.header.clone();
            let until = pending_until(r.pending_days, ctx.now)?;
            let meant = |v: &&mut VersionHeader| numbers.contains(&v.version) && !v.state.is_destroyed();
            header.versions.iter_mut().filter(meant).for_each(|v| v.dates.destroy = Some(until));
            header.updated_at = ctx.now;
            let revision = ctx.commit_header(&stored, &header).await?;
            (header, revision)
        };
        let stored = Stored { record: stored.record, header };
        let shown = version_of(&stored.header, numbers.last().map(|n| i64::from(*n)))?;
        let mut key = key_shown(ctx, &stored, shown, None);
        let meant = stored.header.versions.iter().filter(|v| numbers.contains(&v.version));
        key.held_by = ctx.key_holders(meant)?;
        Ok(Reply::json(key).at(revision))
    }
}

impl Handle<KeyUndestroy> for App {
    async fn handle(&self, ctx: &Ctx, r: KeyUndestroy) -> Result<Reply<Key>> {
        let stored = ctx.key_load_mine(&r.id, r.kind.as_deref())?;
        let mut header = stored.header.clone();
        let numbers = versions_meant(&header, r.version)?;
        let meant = |v: &&mut VersionHeader| numbers.contains(&v.version) && v.destruction().is_some();
        let cancelled = header.versions.iter_mut().filter(meant).map(|v| v.dates.destroy = None).count();
        if cancelled == 0 {
            return Err(AppError::new(ErrorCode::KeyState, "no destruction of this key's material is scheduled"));
        }
        header.updated_at = ctx.now;
        let revision = ctx.commit_header(&stored, &header).await?;
        let stored = Stored { record: stored.record, header };
        let shown = version_of(&stored.header, numbers.last().map(|n| i64::from(*n)))?;
        Ok(Reply::json(key_shown(ctx, &stored, shown, None)).at(revision))
    }
}

impl Ctx {
    /// What holds the material of these versions (rules C5), of each until its own end.
    pub fn key_holders<'a>(&self, versions: impl Iterator<Item = &'a VersionHeader>) -> Result<Vec<Holder>> {
        let lives = versions.map(|v| (v.created_at, v.dates.destroy.unwrap_or(self.now)));
        let life = lives.reduce(|a, b| (a.0.min(b.0), a.1.max(b.1)));
        life.map_or(Ok(Vec::new()), |(born, ended)| self.holders(Kind::Key, born, ended))
    }
}

/// The key without the material of some versions, and the write after which neither the record nor what the log keeps
/// of it has that material.
fn destroyed(
    core: &Core,
    stored: &Stored<KeyHeader>,
    meant: impl Fn(&VersionHeader) -> bool,
    now: Time,
) -> Result<(KeyHeader, Write)> {
    let (mut header, mut body) = (stored.header.clone(), key_body(core, stored)?);
    for version in header.versions.iter_mut().filter(|v| meant(v)) {
        if version.state_at(now).is_destroyed() {
            continue;
        }
        version
            .apply(Transition::Destroy, "", None, now)
            .map_err(|e| AppError::new(ErrorCode::KeyState, e.to_string()))?;
        body.destroy(version.version);
    }
    header.updated_at = now;
    let mut write =
        core.put(stored.record.domain, stored.id(), stored.revision() + 1, &header, body.encode().expose())?;
    if let Write::Put { purge, .. } = &mut write {
        *purge = !core.still_to_ship(stored.record.domain, now)?;
    }
    Ok((header, write))
}

/// Deletes the keys and destroys the versions whose day has come; how many keys. A job calls it.
pub fn keys_expire(core: &Core, now: Time) -> Result<usize> {
    let mut ended = 0;
    for domain in core.store.domains()? {
        let mut due = Vec::new();
        core.store.scan(domain, Kind::Key, |record| {
            if mentions_an_end(record.header) {
                due.push(record.to_record());
            }
            ControlFlow::Continue(())
        })?;
        let (mut deletions, mut destructions) = (Vec::new(), Vec::new());
        for record in due {
            let stored = core.read_header::<KeyHeader>(record)?;
            let come = |v: &VersionHeader| v.destruction().is_some_and(|at| at <= now);
            if stored.header.deletion_date.is_some_and(|at| at <= now) {
                // A header that the seal does not vouch for deletes nothing.
                core.open_body(&stored)?;
                deletions.push(core.delete(&stored));
            } else if stored.header.versions.iter().any(come) {
                destructions.push(destroyed(core, &stored, come, now)?.1);
            }
        }
        ended += deletions.len() + destructions.len();
        if !destructions.is_empty() {
            core.commit_as_system(now, domain, "key_destroy", vec![], destructions)?;
        }
        if !deletions.is_empty() {
            let ids: Vec<_> = deletions.iter().map(Write::key).collect();
            core.commit_as_system(now, domain, "key_delete", vec![], deletions)?;
            for (kind, id) in ids {
                core.forget(domain, kind, id, now)?;
            }
        }
    }
    Ok(ended)
}
