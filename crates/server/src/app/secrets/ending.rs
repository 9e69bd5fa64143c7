//! How secrets end: deleted with a recovery window, undeleted, destroyed, and gone when the window has passed.

use std::ops::ControlFlow;

use keyark_api::ErrorCode;
use keyark_api::endpoint::NoBody;
use keyark_api::secrets::{Secret, SecretDelete, SecretDestroy, SecretUndelete};
use keyark_model::{DomainId, Id, Kind, Time};
use keyark_store::Write;

use super::days_allowed;
use super::record::{SecretHeader, secret_without};
use crate::app::core::Core;
use crate::app::ctx::{Ctx, confirmed};
use crate::app::error::{AppError, Result};
use crate::app::records::Stored;
use crate::app::{App, Handle, Reply};

fn deletable(header: &SecretHeader) -> Result<()> {
    match header.undeletable {
        true => {
            Err(AppError::new(ErrorCode::Undeletable, "the secret is marked undeletable; take the mark away first"))
        }
        false => Ok(()),
    }
}

/// The write after which the values are neither in the record nor in what the log keeps of it.
fn without_values(core: &Core, stored: &Stored<SecretHeader>, version: Option<u64>, now: Time) -> Result<Write> {
    let (header, body) = secret_without(&stored.header, core.secret_body(stored)?, version, now);
    let mut write = core.put(stored.record.domain, stored.id(), stored.revision() + 1, &header, &body.encode()?)?;
    if let Write::Put { purge, .. } = &mut write {
        *purge = !core.still_to_ship(stored.record.domain, now)?;
    }
    Ok(write)
}

/// Whether any version still has a value.
fn has_values(header: &SecretHeader) -> bool {
    header.versions.iter().any(|v| v.destroyed_at.is_none())
}

impl Handle<SecretDelete> for App {
    async fn handle(&self, ctx: &Ctx, r: SecretDelete) -> Result<Reply<NoBody>> {
        let stored = ctx.secret_load_mine(&r.id)?;
        deletable(&stored.header)?;
        let mut header = stored.header.clone();
        if r.confirm.is_some() {
            let what = format!("deleting {} at once destroys its {} versions", header.name, header.versions.len());
            confirmed(r.confirm.as_deref(), &[&header.name, &stored.id().to_string()], &what)?;
            ctx.secret_end(stored).await?;
            return Ok(Reply::none());
        }
        if let Some(date) = header.deletion_date {
            // Deleting twice is deleting once, unless another date is asked for.
            return match r.pending_days {
                None => Ok(Reply::none()),
                Some(_) => Err(AppError::conflict(format!(
                    "the secret is deleted already and ends at {date}; undelete it to choose another date"
                ))),
            };
        }
        let days = r.pending_days.map_or(Ok(header.recovery_days), days_allowed)?;
        header.deleted_at = Some(ctx.now);
        header.deletion_date = Some(ctx.now.plus_seconds(i64::from(days) * 86_400));
        header.updated_at = ctx.now;
        ctx.commit_header(&stored, &header).await?;
        Ok(Reply::none())
    }
}

impl Ctx {
    /// Ends a secret at once. The values go first, with their history: after a crash in between, nothing of them is
    /// left and the deletion can be repeated.
    async fn secret_end(&self, mut stored: Stored<SecretHeader>) -> Result<()> {
        let (domain, id, name) = (stored.record.domain, stored.id(), stored.header.name.clone());
        if has_values(&stored.header) {
            let write = without_values(&self.core, &stored, None, self.now)?;
            self.commit(name.clone(), vec![], vec![write]).await?;
            stored = self.core.load(domain, id)?;
        }
        self.commit(name, vec![], vec![self.core.delete(&stored)]).await?;
        Ok(())
    }
}

impl Handle<SecretUndelete> for App {
    async fn handle(&self, ctx: &Ctx, r: SecretUndelete) -> Result<Reply<Secret>> {
        let stored = ctx.secret_load_mine(&r.id)?;
        if stored.header.deletion_date.is_none() {
            return Err(AppError::conflict("the secret is not deleted; there is nothing to take back"));
        }
        let mut header = stored.header.clone();
        (header.deleted_at, header.deletion_date) = (None, None);
        header.updated_at = ctx.now;
        ctx.commit_header(&stored, &header).await?;
        let stored = ctx.core.load::<SecretHeader>(stored.record.domain, stored.id())?;
        Ok(Reply::json(ctx.secret_shown(&stored, None)?).at(stored.revision()))
    }
}

impl Handle<SecretDestroy> for App {
    async fn handle(&self, ctx: &Ctx, r: SecretDestroy) -> Result<Reply<Secret>> {
        let stored = ctx.secret_load_mine(&r.id)?;
        deletable(&stored.header)?;
        let (domain, id, name) = (stored.record.domain, stored.id(), stored.header.name.clone());
        let version = match r.version {
            None => None,
            wanted => Some(stored.header.version_of(wanted)?.version),
        };
        let what = match version {
            None => format!("destroying the value of every version of {name} cannot be undone"),
            Some(n) => format!("destroying the value of version {n} of {name} cannot be undone"),
        };
        confirmed(r.confirm.as_deref(), &[&name, &id.to_string()], &what)?;
        let shows = version.map(|n| n as i64);
        let nothing_left = match version {
            None => !has_values(&stored.header),
            Some(_) => stored.header.version_of(shows)?.destroyed_at.is_some(),
        };
        if nothing_left {
            return Ok(Reply::json(ctx.secret_shown(&stored, shows)?).at(stored.revision()));
        }
        let write = without_values(&ctx.core, &stored, version, ctx.now)?;
        ctx.commit(name, vec![], vec![write]).await?;
        let stored = ctx.core.load::<SecretHeader>(domain, id)?;
        let mut secret = ctx.secret_shown(&stored, shows)?;
        let born =
            stored.header.versions.iter().filter(|v| version.is_none_or(|n| n == v.version)).map(|v| v.created_at);
        secret.held_by = ctx.holders(Kind::Secret, born.min().unwrap_or(ctx.now), ctx.now)?;
        Ok(Reply::json(secret).at(stored.revision()))
    }
}

/// Ends every secret whose recovery window has passed; says how many. May be repeated and interrupted at any step.
pub fn secrets_expire(core: &Core, now: Time) -> Result<u64> {
    let mut ended = 0;
    for domain in core.store.domains()? {
        for id in expired(core, domain, now)? {
            match secret_expire(core, domain, id, now) {
                Ok(()) => ended += 1,
                // Somebody else ended or changed it at this very moment: the next run looks again.
                Err(e) if matches!(e.code, ErrorCode::NotFound | ErrorCode::Conflict) => {}
                Err(e) => return Err(e),
            }
        }
    }
    Ok(ended)
}

fn expired(core: &Core, domain: DomainId, now: Time) -> Result<Vec<Id>> {
    #[derive(serde::Deserialize)]
    struct Lens {
        deletion_date: Option<Time>,
    }
    let mut ids = Vec::new();
    core.store.scan(domain, Kind::Secret, |view| {
        if serde_json::from_slice::<Lens>(view.header).is_ok_and(|l| l.deletion_date.is_some_and(|date| date <= now)) {
            ids.push(view.id);
        }
        ControlFlow::Continue(())
    })?;
    Ok(ids)
}

fn secret_expire(core: &Core, domain: DomainId, id: Id, now: Time) -> Result<()> {
    let mut stored = core.load::<SecretHeader>(domain, id)?;
    if !stored.header.gone(now) {
        return Err(AppError::conflict("the secret was undeleted in between"));
    }
    if has_values(&stored.header) {
        let write = without_values(core, &stored, None, now)?;
        core.commit_as_system(now, domain, "secret_expire", vec![], vec![write])?;
        stored = core.load(domain, id)?;
    }
    core.commit_as_system(now, domain, "secret_expire", vec![], vec![core.delete(&stored)])?;
    Ok(())
}
