//! Taking a backup: a job that ends completed only after the archive was read back.

use std::collections::BTreeMap;
use std::sync::Arc;

use keyark_api::ErrorCode;
use keyark_api::backups::{Backup, BackupCreate, Filter};
use keyark_archive::Archive;
use keyark_backup::extract::{ExtractRequest, extract};
use keyark_backup::stream::catalogue::ChainPlan;
use keyark_backup::stream::{Chosen, NoPoint, PointError, StreamPlace};
use keyark_backup::take::Since;
use keyark_backup::{Links, Progress, TakeError, TakeRequest, Taken, take};
use keyark_crypto::Key256;
use keyark_model::protection::DestinationHeader;
use keyark_model::system::{BackupHeader, BackupStatus};
use keyark_model::{ArchiveId, DomainId, Id, Kind};
use keyark_store::failpoint;

use super::filters::Selected;
use crate::app::backupkeys::{right_of, scope_of};
use crate::app::core::Core;
use crate::app::ctx::Ctx;
use crate::app::error::{AppError, Result};
use crate::app::jobs::run_behind;
use crate::app::records::Stored;
use crate::app::{App, Handle, Reply};

impl From<TakeError> for AppError {
    fn from(e: TakeError) -> Self {
        match e {
            TakeError::Io(e) => e.into(),
            TakeError::Archive(e) => e.into(),
            TakeError::Store(e) => e.into(),
            TakeError::Chain(e) => (*e).into(),
            TakeError::Cancelled(e) => AppError::new(ErrorCode::Cancelled, e.to_string()),
            other => AppError::internal(other),
        }
    }
}

impl From<PointError> for AppError {
    fn from(e: PointError) -> Self {
        let code = match e {
            PointError::NoPoint(e) => return e.into(),
            PointError::Destination { error, .. } => return error.into(),
            PointError::Archive(e) => return e.into(),
            PointError::Source(e) => return e.into(),
            PointError::Io(e) => return e.into(),
            PointError::NeedsKey { .. } => ErrorCode::BackupKeyMissing,
            PointError::Cancelled => ErrorCode::Cancelled,
            PointError::Epoch { .. } => ErrorCode::WrongBackupKey,
            PointError::Purged(_) => ErrorCode::NoPoint,
            PointError::Note { .. } | PointError::Misnamed { .. } | PointError::Entry(_) | PointError::Joint { .. } => {
                ErrorCode::ArchiveDamaged
            }
        };
        AppError::new(code, e.to_string())
    }
}

impl From<NoPoint> for AppError {
    fn from(e: NoPoint) -> Self {
        AppError::new(ErrorCode::NoPoint, e.to_string())
    }
}

impl App {
    /// Registers an operation, or refuses with the id of the one in its way, if the caller may see that.
    pub(super) fn operation_start(&self, ctx: &Ctx, id: Id, scope: Option<DomainId>) -> Result<Arc<Progress>> {
        self.running.start(id, scope).map_err(|(other, its_scope)| {
            let what = match ctx.sees_scope(its_scope) {
                Ok(true) => format!("the operation {other} is running; wait for it (`keyark jobs get --id {other}`)"),
                _ => "another operation is running; wait for it".into(),
            };
            AppError::new(ErrorCode::OperationRunning, what)
        })
    }
}

impl Handle<BackupCreate> for App {
    async fn handle(&self, ctx: &Ctx, r: BackupCreate) -> Result<Reply<Backup>> {
        let scope = scope_of(ctx, r.scope.as_deref())?;
        ctx.require(right_of(scope, false))?;
        if r.tied_to_hsm {
            return Err(AppError::invalid("tiedToHSM needs an HSM root of trust; this system has a file"));
        }
        if scope.is_none() && !r.filters.is_empty() {
            return Err(AppError::invalid("filters apply to domain scoped backups only"));
        }
        let key = ctx.backup_key_chosen(scope, r.backup_key.as_deref())?;
        let since = match &r.since {
            None => None,
            Some(id) => {
                let earlier = ctx.backup_load(id)?;
                if earlier.header.domain != scope || earlier.header.uploaded {
                    return Err(AppError::invalid("since names a backup of the same scope that was taken here"));
                }
                let archive = Archive::open(std::fs::File::open(ctx.archive_path(&earlier)?)?)?;
                if archive.header().incarnation != ctx.core.incarnation {
                    return Err(AppError::invalid(
                        "since names a backup from before a system restore: positions were given twice since then; \
                         take a whole backup first",
                    ));
                }
                let position = archive.header().positions.last.0;
                Some(Since { id: ArchiveId(earlier.id().0), seq: earlier.header.seq, position })
            }
        };
        let selected = match (scope, r.filters.is_empty()) {
            (Some(domain), false) => Some(Selected::of(ctx, domain, &r.filters)?),
            _ => None,
        };
        let from = Origin::Store { selected };
        let key = (key.id(), ctx.core.backup_key_material(&key)?);
        let description = r.description.unwrap_or_default();
        self.backup_begin(ctx, Begun { scope, key, description, since, filters: r.filters, from }).await
    }
}

/// What a backup is made of.
pub enum Origin {
    /// What the store holds now.
    Store { selected: Option<Selected> },
    /// What a stream holds of a moment.
    Point(Box<PointOf>),
}

/// A moment of a stream at one destination.
pub struct PointOf {
    pub destination: Stored<DestinationHeader>,
    pub place: StreamPlace,
    pub plan: ChainPlan,
    /// Only these records; none: all of it.
    pub chosen: Option<Chosen>,
}

impl Origin {
    /// Items that were chosen, as a backup shows them in the place of its filters.
    fn items(&self) -> Option<serde_json::Value> {
        let Origin::Point(of) = self else { return None };
        let word = |(kind, id): &(Kind, Id)| format!("{}:{id}", kind.word());
        of.chosen.as_ref().map(|chosen| chosen.records.iter().map(word).collect())
    }
}

/// A backup that is about to be made.
pub struct Begun {
    pub scope: Option<DomainId>,
    /// What opens it: a backup key's id and material.
    pub key: (Id, Key256),
    pub description: String,
    pub since: Option<Since>,
    pub filters: Vec<Filter>,
    pub from: Origin,
}

impl App {
    /// Registers the backup and its job, and starts the work.
    pub async fn backup_begin(&self, ctx: &Ctx, begun: Begun) -> Result<Reply<Backup>> {
        let Begun { scope, key, description, since, filters, from } = begun;
        let (id, job) = (Core::new_id(ctx.now), Core::new_id(ctx.now));
        let progress = self.operation_start(ctx, job, scope)?;
        let header = BackupHeader {
            domain: scope,
            also: std::collections::BTreeSet::new(),
            description,
            created_at: ctx.now,
            finished_at: None,
            status: BackupStatus::InProgress,
            failure: String::new(),
            backup_key: key.0,
            creator: ctx.caller()?.actor(),
            product_version: env!("CARGO_PKG_VERSION").into(),
            since: since.map(|s| Id(s.id.0)),
            filters: match filters.is_empty() {
                true => from.items().unwrap_or_default(),
                false => serde_json::to_value(&filters).map_err(AppError::internal)?,
            },
            seq: 0,
            size: 0,
            checksum: String::new(),
            counts: BTreeMap::new(),
            // Not of this moment: no increment goes on from it.
            uploaded: matches!(from, Origin::Point(_)),
            job,
        };
        let job_header = ctx.job_begun("Backup create", scope, header.creator.clone(), id);
        let begun = async {
            let writes = vec![
                ctx.core.put(DomainId::ROOT, id, 1, &header, b"")?,
                ctx.core.put(DomainId::ROOT, job, 1, &job_header, b"")?,
            ];
            ctx.commit_in(DomainId::ROOT, id.to_string(), vec![], writes).await?;
            Ok::<(), AppError>(())
        };
        if let Err(e) = begun.await {
            self.running.end(job);
            return Err(e);
        }
        let material = key.1;
        let work = Work { app: ctx.app.clone(), core: ctx.core.clone(), id, job, material, from, since, progress };
        run_behind(move || work.run());
        let stored = ctx.core.load::<BackupHeader>(DomainId::ROOT, id)?;
        Ok(Reply::json(ctx.backup_shown(&stored)?))
    }
}

/// Refuses where something that was asked for is not there. A count is there only of a key that has one.
fn all_there(links: &Links<'_, '_>, chosen: &Chosen) -> Result<()> {
    let mut missing = chosen.records.clone();
    missing.retain(|(kind, _)| *kind != Kind::Counter);
    links.each_record::<AppError>(|r, _| {
        missing.remove(&(r.kind, r.id));
        Ok(())
    })?;
    match missing.first() {
        None => Ok(()),
        Some((kind, id)) => {
            let what =
                format!("{}:{id} was not there at that moment; look at the instance's data of that day", kind.word());
            Err(AppError::new(ErrorCode::NoPoint, what))
        }
    }
}

/// A backup under way.
struct Work {
    app: Arc<App>,
    core: Arc<Core>,
    id: Id,
    job: Id,
    material: Key256,
    from: Origin,
    since: Option<Since>,
    progress: Arc<Progress>,
}

impl Work {
    fn run(self) {
        let outcome = self.take();
        if let Err(e) = &outcome {
            tracing::warn!(backup = %self.id, error = %e, "backup failed");
        }
        if let Err(e) = self.end(outcome) {
            tracing::error!(backup = %self.id, error = %e, "the end of a backup could not be recorded");
        }
        self.app.running.end(self.job);
    }

    fn take(&self) -> Result<Taken> {
        let stored = self.core.load::<BackupHeader>(DomainId::ROOT, self.id)?;
        let h = &stored.header;
        let selected = match &self.from {
            Origin::Store { selected } => selected.as_ref(),
            Origin::Point(of) => return self.extract(h, of),
        };
        let select = selected.map(|s| move |kind, id, _: &[u8]| s.contains(kind, id));
        let request = TakeRequest {
            store: &self.core.store,
            keyring: &self.core.keyring,
            signer: &self.core.signer,
            id: ArchiveId(self.id.0),
            domain: h.domain,
            backup_key: h.backup_key,
            backup_key_material: &self.material,
            creator: h.creator.clone(),
            description: h.description.clone(),
            filters: match h.filters.as_array() {
                None => BTreeMap::new(),
                Some(all) => all.iter().enumerate().map(|(n, f)| (n.to_string(), f.to_string())).collect(),
            },
            select: select.as_ref().map(|s| s as &keyark_backup::take::Selection<'_>),
            since: self.since,
            stream: None,
            audit_from: h.created_at.plus_seconds(-86_400 * i64::from(self.app.settings.audit_days)),
            now: h.created_at,
        };
        Ok(take(&request, &self.app.folder.archive(self.id), &self.progress)?)
    }

    fn extract(&self, h: &BackupHeader, of: &PointOf) -> Result<Taken> {
        let place = self.core.destination_open(&of.destination)?;
        let _reading = self.app.protection.readers.reads(of.plan.full.time);
        let point = self.core.opener(place.as_ref())?.point_of(
            &of.place,
            &of.plan,
            of.chosen.as_ref(),
            &self.app.folder.spool(),
        )?;
        let (seq, time) = (point.number, point.time);
        point.with_links(|links| {
            of.chosen.as_ref().map_or(Ok(()), |chosen| all_there(links, chosen))?;
            let request = ExtractRequest {
                links,
                signer: &self.core.signer,
                id: ArchiveId(self.id.0),
                backup_key: h.backup_key,
                backup_key_material: &self.material,
                creator: h.creator.clone(),
                description: h.description.clone(),
                now: h.created_at,
            };
            let summary = extract(&request, &self.app.folder.archive(self.id), &self.progress)?;
            Ok(Taken { summary, seq, time })
        })
    }

    fn end(&self, outcome: Result<Taken>) -> Result<()> {
        let now = self.app.now();
        let stored: Stored<BackupHeader> = self.core.load(DomainId::ROOT, self.id)?;
        let mut header = stored.header.clone();
        header.finished_at = Some(now);
        let result = match outcome {
            Ok(taken) => {
                header.status = BackupStatus::Completed;
                header.seq = taken.seq;
                header.size = taken.summary.length;
                header.checksum = taken.summary.sha256.to_string();
                let counts = &taken.summary.counts.records;
                header.counts = counts.iter().map(|(kind, n)| (kind.word().to_owned(), *n)).collect();
                Ok(serde_json::json!({
                    "backup": self.id,
                    "counts": header.counts,
                    "includedBy": match &self.from {
                        Origin::Store { selected } => selected.as_ref().map(Selected::included_by),
                        Origin::Point(_) => None,
                    },
                }))
            }
            Err(e) => {
                header.status = match e.code {
                    ErrorCode::Cancelled => BackupStatus::Canceled,
                    _ => BackupStatus::Failed,
                };
                header.failure = e.message.clone();
                Err(e)
            }
        };
        let write = self.core.put_header(&stored, &header)?;
        failpoint("take-ended");
        self.core.job_end(self.job, now, result, vec![write])
    }
}
