//! States of key versions: activate, suspend, revoke, destroy; scheduled deletion.

use std::ops::ControlFlow;

use keyark_api::ErrorCode;
use keyark_api::endpoint::NoBody;
use keyark_api::keys::{
    Key, KeyActivate, KeyArchive, KeyDeactivate, KeyDelete, KeyDestroy, KeyReactivate, KeyRecover, KeyResume,
    KeyRevoke, KeySuspend, KeyUndelete,
};
use keyark_model::key::{KeyHeader, Transition, VersionHeader};
use keyark_model::{Kind, Time};
use keyark_store::Write;

use super::create::parse;
use super::{key_shown, version_of};
use crate::app::core::Core;
use crate::app::ctx::{Ctx, confirmed};
use crate::app::error::{AppError, Result};
use crate::app::records::Stored;
use crate::app::{App, Handle, Reply};

/// Shortest, longest and default days until a deleted key is gone.
const PENDING_DAYS: std::ops::RangeInclusive<u32> = 7..=30;
const PENDING_DEFAULT: u32 = 30;

impl Ctx {
    /// Changes one version of a key and shows it.
    async fn version_change(
        &self,
        id: &str,
        kind: Option<&str>,
        version: Option<i64>,
        change: impl FnOnce(&mut VersionHeader) -> Result<()>,
    ) -> Result<Reply<Key>> {
        let stored = self.key_load_mine(id, kind)?;
        let mut header = stored.header.clone();
        let number = version_of(&header, version)?.version;
        let found = header.version_mut(number).ok_or_else(|| AppError::not_found("this version of the key"))?;
        change(found)?;
        header.updated_at = self.now;
        let revision = self.commit_header(&stored, &header).await?;
        let stored = Stored { record: stored.record, header };
        let shown = key_shown(self, &stored, version_of(&stored.header, Some(i64::from(number)))?, None);
        Ok(Reply::json(shown).at(revision))
    }

    async fn transit(
        &self,
        id: &str,
        kind: Option<&str>,
        version: Option<i64>,
        order: Transition,
        message: Option<&str>,
        occurred: Option<Time>,
    ) -> Result<Reply<Key>> {
        self.version_change(id, kind, version, |v| {
            v.apply(order, message.unwrap_or_default(), occurred, self.now)
                .map_err(|e| AppError::new(ErrorCode::KeyState, e.to_string()))
        })
        .await
    }
}

macro_rules! transitions {
    ($($request:ident => $order:ident;)*) => {
        $(impl Handle<$request> for App {
            async fn handle(&self, ctx: &Ctx, r: $request) -> Result<Reply<Key>> {
                let message = r.message.as_deref();
                ctx.transit(&r.id, r.kind.as_deref(), r.version, Transition::$order, message, None).await
            }
        })*
    };
}

transitions! {
    KeyActivate => Activate;
    KeySuspend => Suspend;
    KeyResume => Resume;
    KeyDeactivate => Deactivate;
    KeyReactivate => Reactivate;
}

impl Handle<KeyRevoke> for App {
    async fn handle(&self, ctx: &Ctx, r: KeyRevoke) -> Result<Reply<Key>> {
        let order = Transition::Revoke(parse(&r.reason)?);
        let (message, occurred) = (r.message.as_deref(), r.compromise_occurrence_date);
        ctx.transit(&r.id, r.kind.as_deref(), r.version, order, message, occurred).await
    }
}

impl Handle<KeyArchive> for App {
    async fn handle(&self, ctx: &Ctx, r: KeyArchive) -> Result<Reply<Key>> {
        ctx.version_change(&r.id, r.kind.as_deref(), r.version, |v| {
            v.dates.archive = Some(v.dates.archive.unwrap_or(ctx.now));
            Ok(())
        })
        .await
    }
}

impl Handle<KeyRecover> for App {
    async fn handle(&self, ctx: &Ctx, r: KeyRecover) -> Result<Reply<Key>> {
        ctx.version_change(&r.id, r.kind.as_deref(), r.version, |v| {
            v.dates.archive = None;
            Ok(())
        })
        .await
    }
}

fn deletable(header: &KeyHeader) -> Result<()> {
    match header.undeletable {
        true => Err(AppError::new(ErrorCode::Undeletable, "the key is undeletable; take that mark away first")),
        false => Ok(()),
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
            // Nothing is shipped from here yet: the material leaves the log's history at once (rules C5).
            ctx.core.store.purge(Kind::Key, stored.id())?;
            return Ok(Reply::none());
        }
        let days = r.pending_days.unwrap_or(PENDING_DEFAULT);
        if !PENDING_DAYS.contains(&days) {
            return Err(AppError::invalid("pendingDays is 7 to 30; to delete at once, give the name in `confirm`"));
        }
        let mut header = stored.header.clone();
        header.deletion_date = Some(ctx.now.plus_seconds(i64::from(days) * 86_400));
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

impl Handle<KeyDestroy> for App {
    async fn handle(&self, ctx: &Ctx, r: KeyDestroy) -> Result<Reply<Key>> {
        let stored = ctx.key_load_mine(&r.id, r.kind.as_deref())?;
        deletable(&stored.header)?;
        let id = stored.id().to_string();
        let what = "destroying a key's material cannot be undone here (archives may still hold it)";
        confirmed(r.confirm.as_deref(), &[stored.header.name.as_str(), &id], what)?;
        let mut header = stored.header.clone();
        let mut body = ctx.key_body(&stored)?;
        let numbers: Vec<u32> = match r.version {
            None => header.versions.iter().map(|v| v.version).collect(),
            some => vec![version_of(&header, some)?.version],
        };
        for number in &numbers {
            let version = header.version_mut(*number).ok_or_else(|| AppError::internal("a version went missing"))?;
            if version.state_at(ctx.now).is_destroyed() {
                continue;
            }
            version
                .apply(Transition::Destroy, "", None, ctx.now)
                .map_err(|e| AppError::new(ErrorCode::KeyState, e.to_string()))?;
            body.destroy(*number);
        }
        header.updated_at = ctx.now;
        let revision = stored.revision() + 1;
        let mut write = ctx.core.put(stored.record.domain, stored.id(), revision, &header, body.encode().expose())?;
        if let Write::Put { purge, .. } = &mut write {
            *purge = true;
        }
        ctx.commit(header.name.as_str(), vec![], vec![write]).await?;
        let stored = Stored { record: stored.record, header };
        let shown = version_of(&stored.header, numbers.last().map(|n| i64::from(*n)))?;
        Ok(Reply::json(key_shown(ctx, &stored, shown, None)).at(revision))
    }
}

/// Deletes the keys whose scheduled deletion has come; how many. A job calls it.
pub fn keys_expire(core: &Core, now: Time) -> Result<usize> {
    let mut gone = 0;
    for domain in core.store.domains()? {
        let mut due = Vec::new();
        core.store.scan(domain, Kind::Key, |record| {
            // Only headers that mention a deletion are read.
            if record.header.windows(14).any(|w| w == b"\"deletionDate\"") {
                due.push(record.to_record());
            }
            ControlFlow::Continue(())
        })?;
        let mut writes = Vec::new();
        for record in due {
            let stored = core.read_header::<KeyHeader>(record)?;
            if stored.header.deletion_date.is_some_and(|at| at <= now) {
                // A header that the seal does not vouch for deletes nothing.
                core.open_body(&stored)?;
                writes.push(core.delete(&stored));
            }
        }
        if !writes.is_empty() {
            gone += writes.len();
            let ids: Vec<_> = writes.iter().map(Write::key).collect();
            core.commit_as_system(now, domain, "key_delete", vec![], writes)?;
            for (kind, id) in ids {
                core.store.purge(kind, id)?;
            }
        }
    }
    Ok(gone)
}
