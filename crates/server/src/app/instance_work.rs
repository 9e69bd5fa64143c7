//! What is done with an instance's data: a moment of it restored in one step, all of it deleted.

use std::time::Duration;

use keyark_api::ErrorCode;
use keyark_api::backup_instances::{BackupInstanceReset, BackupInstanceRestore, InstanceWork};
use keyark_api::backups::BackupRestore;
use keyark_backup::destination::{DestinationError, list_all};
use keyark_model::DomainId;
use keyark_model::protection::{InstanceHeader, Order};
use keyark_model::system::{BackupStatus, JobHeader};

use super::backupkeys::right_of;
use super::ctx::{Ctx, confirmed};
use super::error::{AppError, Result};
use super::{App, Content, Handle, Reply};

/// Between two looks whether a part of the work has ended.
const LOOK: Duration = Duration::from_millis(20);

impl Ctx {
    /// Waits for a job and answers what it came to.
    async fn job_awaited(&self, job: &str) -> Result<serde_json::Value> {
        let id = job.parse().map_err(|_| AppError::internal("a job without an id"))?;
        while self.app.running.progress(id).is_some() {
            tokio::time::sleep(LOOK).await;
        }
        let ended = self.core.load::<JobHeader>(DomainId::ROOT, id)?;
        match ended.header.status {
            BackupStatus::Completed => Ok(ended.header.result.clone()),
            _ => {
                let code = ErrorCode::from_number(ended.header.code).unwrap_or(ErrorCode::Internal);
                Err(AppError::new(code, ended.header.failure.clone()))
            }
        }
    }
}

fn json<T>(reply: Reply<T>) -> Result<T> {
    match reply.content {
        Content::Json(value) => Ok(value),
        _ => Err(AppError::internal("an answer without content")),
    }
}

impl Handle<BackupInstanceRestore> for App {
    async fn handle(&self, ctx: &Ctx, r: BackupInstanceRestore) -> Result<Reply<InstanceWork>> {
        let stored = ctx.instance_load(&r.id)?;
        ctx.require(right_of(stored.header.domain, true))?;
        ctx.check_match(stored.revision())?;
        if stored.header.domain.is_none() {
            let what = "this instance holds the whole system: take the moment out (`keyark backup-instance extract`), look at the \
                        plan and restore that backup";
            return Err(AppError::new(ErrorCode::WrongScope, what));
        }
        let at = r.at.map_or_else(|| "the newest point".to_owned(), |at| at.to_string());
        let description = format!("{at} of the backup instance {:?}, to be restored", stored.header.alias);
        let begun = ctx.moment(&stored, r.at, r.destination.as_deref(), description).await?;
        let (on, app, id) = (ctx.going_on(), ctx.app.clone(), stored.id());
        let runtime = tokio::runtime::Handle::current();
        let job = ctx.job_beside("Backup instance restore", stored.header.domain, id, move |_| {
            runtime.block_on(async {
                let backup = json(app.backup_begin(&on, begun).await?)?;
                on.job_awaited(backup.job_id.as_deref().unwrap_or_default()).await?;
                let request = BackupRestore {
                    id: backup.id.clone(),
                    items: r.items,
                    conflict: r.conflict,
                    include_deleted: r.include_deleted,
                    include_destroyed: r.include_destroyed,
                    ..BackupRestore::default()
                };
                let restoring = json(Handle::<BackupRestore>::handle(&*app, &on, request).await?)?;
                let done = on.job_awaited(restoring.job_id.as_deref().unwrap_or_default()).await?;
                Ok((serde_json::json!({ "backup": backup.id, "restore": done }), Vec::new()))
            })
        });
        Ok(Reply::json(InstanceWork { id: id.to_string(), job_id: job.await?.to_string() }))
    }
}

impl Handle<BackupInstanceReset> for App {
    async fn handle(&self, ctx: &Ctx, r: BackupInstanceReset) -> Result<Reply<InstanceWork>> {
        let stored = ctx.instance_own(&r.id)?;
        let names = [stored.header.alias.as_str(), &stored.id().to_string()];
        confirmed(r.confirm.as_deref(), &names, "everything that this instance sent is deleted at every destination")?;
        let there = ctx.there(&stored)?;
        let order = stored.header.order.clone().map(|order| Order { ending: true, ..order });
        // Nothing more is sent from here on.
        ctx.commit_header(&stored, &InstanceHeader { order, ..stored.header.clone() }).await?;
        let (core, id) = (ctx.core.clone(), stored.id());
        let job = ctx.job_beside("Backup instance reset", stored.header.domain, id, move |progress| {
            let (mut deleted, mut kept) = (0_u64, Vec::new());
            for there in there {
                let place = core.destination_open(&there.stored)?;
                let all = list_all(place.as_ref(), &there.place.folder())?;
                progress.set_total(all.len() as u64);
                // Once more for what a step that was under way had still sent.
                let late = || list_all(place.as_ref(), &there.place.folder()).unwrap_or_default();
                for found in all.into_iter().chain(std::iter::once_with(late).flatten()) {
                    progress.step().map_err(|e| AppError::new(ErrorCode::Cancelled, e.to_string()))?;
                    match place.delete(&found.name) {
                        Ok(()) | Err(DestinationError::NotFound(_)) => deleted += 1,
                        Err(e) if e.is_transient() => return Err(e.into()),
                        Err(e) => kept.push(format!("{}: {e}", there.name)),
                    }
                }
            }
            if let Some(first) = kept.first() {
                let what = format!(
                    "{deleted} objects are deleted, {} cannot be ({first}); reset it again when they can",
                    kept.len()
                );
                return Err(AppError::new(ErrorCode::DestinationFailed, what));
            }
            let stored = core.load::<InstanceHeader>(DomainId::ROOT, id)?;
            let header = InstanceHeader { order: None, proofs: Default::default(), ..stored.header.clone() };
            Ok((serde_json::json!({ "deleted": deleted }), vec![core.put_header(&stored, &header)?]))
        });
        Ok(Reply::json(InstanceWork { id: id.to_string(), job_id: job.await?.to_string() }))
    }
}
