//! Backups: the catalogue, downloads and contents.

mod asked;
pub mod create;
mod filters;
mod later;
mod restore;
mod system;
mod upload;

use std::path::PathBuf;

use keyark_api::backups::{
    Backup, BackupContents, BackupDelete, BackupDownload, BackupGet, BackupItem, BackupList, BackupStatusGet,
    OperationStatus,
};
use keyark_api::endpoint::{FileBody, NoBody};
use keyark_api::{ErrorCode, Page, PageQuery};
use keyark_archive::{Archive, ArchiveError};
use keyark_backup::source::{self, SourceError};
use keyark_crypto::Key256;
use keyark_model::system::{BackupHeader, BackupKeyHeader, BackupStatus};
use keyark_model::{DomainId, Id, RecordFacts};

use super::backupkeys::{right_of, scope_of};
use super::core::Core;
use super::ctx::{Ctx, account_of, confirmed, wildcard};
use super::error::{AppError, Result};
use super::jobs::progress_shown;
use super::records::Stored;
use super::{App, Content, Handle, Reply};

pub use asked::items_of;
pub use system::{anchor_write, made_new};

impl From<ArchiveError> for AppError {
    fn from(e: ArchiveError) -> Self {
        let code = match &e {
            ArchiveError::Io(_) => match e {
                ArchiveError::Io(e) => return e.into(),
                _ => ErrorCode::Internal,
            },
            ArchiveError::NotAnArchive => ErrorCode::NotAnArchive,
            ArchiveError::UnknownSigner { .. } => ErrorCode::UnknownSigner,
            ArchiveError::NeedsKey { .. } | ArchiveError::MissingFactor { .. } => ErrorCode::BackupKeyMissing,
            ArchiveError::WrongKey { .. } => ErrorCode::WrongBackupKey,
            ArchiveError::NewerFormat { .. } => ErrorCode::NewerFormat,
            ArchiveError::BadDraft(_) => return AppError::internal(e),
            _ => ErrorCode::ArchiveDamaged,
        };
        AppError::new(code, e.to_string())
    }
}

impl From<SourceError> for AppError {
    fn from(e: SourceError) -> Self {
        match e {
            SourceError::Archive(e) => e.into(),
            SourceError::Io(e) => e.into(),
            SourceError::Chain(e) => AppError::new(ErrorCode::RestoreConflict, e.to_string()),
            e @ (SourceError::Record { .. } | SourceError::Exchanged { .. }) => {
                AppError::new(ErrorCode::ArchiveDamaged, e.to_string())
            }
        }
    }
}

/// What was uploaded is whole, but nobody here has opened it as long as its key is not here.
fn unopened(core: &Core, h: &BackupHeader) -> Result<Option<String>> {
    let there = core.store.get(DomainId::ROOT, keyark_model::Kind::BackupKey, h.backup_key)?.is_some();
    let key = h.backup_key;
    Ok((h.uploaded && !there).then(|| {
        format!("backup_key_missing: the backup key {key} is not here, so nobody opened this archive; upload its file")
    }))
}

fn shown(app: &App, core: &Core, stored: &Stored<BackupHeader>, now: keyark_model::Time) -> Result<Backup> {
    let h = &stored.header;
    let running = app.running.progress(h.job);
    Ok(Backup {
        scope: if h.domain.is_some() { "domain" } else { "system" }.into(),
        account: account_of(h.domain.unwrap_or(DomainId::ROOT)),
        domain_id: h.domain.map(|d| d.to_string()),
        version: format!("v{}", keyark_archive::header::FORMAT),
        id: stored.id().to_string(),
        created_at: h.created_at,
        status: match app.running.status(h.job, h.status) {
            BackupStatus::InProgress => "In Progress".into(),
            BackupStatus::Completed => "Completed".into(),
            BackupStatus::Failed => format!("Failed: {}", h.failure),
            BackupStatus::Canceled => "Canceled".into(),
        },
        tied_to_hsm: false,
        backup_key: h.backup_key.to_string(),
        product_version: h.product_version.clone(),
        description: h.description.clone(),
        finished_at: h.finished_at,
        duration_ms: h.finished_at.map(|t| (t.0 - h.created_at.0) / 1000),
        size: h.size,
        checksum: h.checksum.clone(),
        counts: h.counts.clone(),
        since: h.since.map(|s| s.to_string()),
        filters: h.filters.clone(),
        progress: running.as_deref().map(progress_shown),
        job_id: Some(h.job.to_string()),
        uploaded: h.uploaded,
        covers: None,
        warnings: unopened(core, h)?.into_iter().chain(core.escrow_warning(h.domain, now)?).collect(),
    })
}

impl Ctx {
    /// A backup that the caller may see.
    pub fn backup_load(&self, id: &str) -> Result<Stored<BackupHeader>> {
        let missing = || AppError::not_found(format_args!("the backup {id:?}"));
        let stored = self.core.load::<BackupHeader>(DomainId::ROOT, id.parse().map_err(|_| missing())?)?;
        if self.sees(stored.header.domain, &stored.header.also)? { Ok(stored) } else { Err(missing()) }
    }

    pub fn archive_path(&self, backup: &Stored<BackupHeader>) -> Result<PathBuf> {
        match backup.header.status {
            BackupStatus::Completed => Ok(self.app.folder.archive(backup.id())),
            _ => Err(AppError::conflict("this backup is not completed; take another one")),
        }
    }

    fn backup_shown(&self, stored: &Stored<BackupHeader>) -> Result<Backup> {
        let mut backup = shown(&self.app, &self.core, stored, self.now)?;
        if self.only_also(stored.header.domain, &stored.header.also)? {
            let domain = self.domain()?;
            (backup.account, backup.domain_id) = (account_of(domain), Some(domain.to_string()));
        }
        Ok(backup)
    }

    /// The backup key that an archive needs, if it is here.
    fn opening_key(&self, backup: &BackupHeader) -> Result<Key256> {
        let missing = || {
            AppError::new(
                ErrorCode::BackupKeyMissing,
                format!(
                    "the backup key {} is not here; upload its file first (`keyark backupkeys upload`)",
                    backup.backup_key
                ),
            )
        };
        let stored = self.core.load::<BackupKeyHeader>(DomainId::ROOT, backup.backup_key).map_err(|_| missing())?;
        if !self.sees(stored.header.domain, &stored.header.also)? && stored.header.domain.is_some() {
            return Err(missing());
        }
        self.core.backup_key_material(&stored)
    }
}

impl Handle<BackupList> for App {
    async fn handle(&self, ctx: &Ctx, r: BackupList) -> Result<Reply<Page<Backup>>> {
        let scope = r.scope.as_deref().map(|s| scope_of(ctx, Some(s))).transpose()?;
        let mut all = Vec::new();
        for backup in ctx.core.load_all::<BackupHeader>(DomainId::ROOT)? {
            let fits = scope.is_none_or(|s| s.is_some() == backup.header.domain.is_some());
            if fits && ctx.sees(backup.header.domain, &backup.header.also)? {
                all.push(ctx.backup_shown(&backup)?);
            }
        }
        all.retain(|b| r.status.as_ref().is_none_or(|s| b.status.starts_with(s.as_str())));
        Ok(Reply::json(PageQuery::from_wire(r.skip, r.limit).of(all)))
    }
}

impl Handle<BackupGet> for App {
    async fn handle(&self, ctx: &Ctx, r: BackupGet) -> Result<Reply<Backup>> {
        let stored = ctx.backup_load(&r.id)?;
        let mut shown = ctx.backup_shown(&stored)?;
        if let Some(token) = &r.position {
            let (seq, h) = (ctx.core.position_read(ctx.domain()?, token)?, &stored.header);
            let whole = h.status == BackupStatus::Completed && h.filters.is_null() && !h.uploaded;
            shown.covers = Some(whole && h.seq >= seq);
        }
        Ok(Reply::json(shown).at(stored.revision()))
    }
}

impl Handle<BackupDelete> for App {
    async fn handle(&self, ctx: &Ctx, r: BackupDelete) -> Result<Reply<NoBody>> {
        let stored = ctx.backup_load(&r.id)?;
        ctx.require(right_of(stored.header.domain, false))?;
        ctx.check_match(stored.revision())?;
        if ctx.only_also(stored.header.domain, &stored.header.also)? {
            let mut header = stored.header.clone();
            header.also.remove(&ctx.domain()?);
            ctx.commit_header(&stored, &header).await?;
            return Ok(Reply::none());
        }
        if let Some(next) = stored.header.also.first().copied() {
            // Another domain still restores from it: it becomes that domain's.
            let mut header = stored.header.clone();
            header.also.remove(&next);
            header.domain = Some(next);
            ctx.commit_header(&stored, &header).await?;
            return Ok(Reply::none());
        }
        if stored.header.status == BackupStatus::InProgress {
            return Err(AppError::conflict("this backup is running; cancel its job first"));
        }
        let all = ctx.core.load_all::<BackupHeader>(DomainId::ROOT)?;
        if all.iter().any(|b| b.header.since == Some(stored.id())) {
            let what = "later backups continue this one and cannot be restored without it";
            confirmed(r.confirm.as_deref(), &[&stored.id().to_string()], what)?;
        }
        let write = ctx.core.delete(&stored);
        ctx.commit_in(DomainId::ROOT, r.id, vec![], vec![write]).await?;
        // The catalogue first: a file without its line is swept at the next start, never the other way round.
        let _ = std::fs::remove_file(self.folder.archive(stored.id()));
        Ok(Reply::none())
    }
}

impl Handle<BackupStatusGet> for App {
    async fn handle(&self, ctx: &Ctx, _: BackupStatusGet) -> Result<Reply<OperationStatus>> {
        let domain = ctx.domain()?;
        let mut warnings: Vec<String> = ctx.app.clock_warning(&ctx.core, ctx.now).into_iter().collect();
        warnings.extend(ctx.core.escrow_warning(Some(domain).filter(|d| *d != DomainId::ROOT), ctx.now)?);
        let Some(job) = ctx.job_latest()? else {
            let status = OperationStatus {
                scope: if domain == DomainId::ROOT { "system" } else { "domain" }.into(),
                account: account_of(domain),
                status: "None".into(),
                warnings,
                ..OperationStatus::default()
            };
            return Ok(Reply::json(status));
        };
        let h = &job.header;
        Ok(Reply::json(OperationStatus {
            scope: if h.domain.is_some() { "domain" } else { "system" }.into(),
            account: account_of(h.domain.unwrap_or(DomainId::ROOT)),
            domain_id: h.domain.map(|d| d.to_string()),
            operation: h.operation.clone(),
            id: job.id().to_string(),
            backup_id: h.resource.to_string(),
            started: Some(h.started),
            finished: h.finished,
            status: match self.running.status(job.id(), h.status) {
                BackupStatus::InProgress => "In Progress".into(),
                BackupStatus::Completed => "Completed".into(),
                BackupStatus::Failed => format!("Failed: {}", h.failure),
                BackupStatus::Canceled => "Canceled".into(),
            },
            progress: self.running.progress(job.id()).as_deref().map(progress_shown),
            tied_to_hsm: false,
            warnings,
        }))
    }
}

impl Handle<BackupDownload> for App {
    async fn handle(&self, ctx: &Ctx, r: BackupDownload) -> Result<Reply<FileBody>> {
        let stored = ctx.backup_load(&r.id)?;
        ctx.require(right_of(stored.header.domain, false))?;
        let path = ctx.archive_path(&stored)?;
        ctx.commit_in(DomainId::ROOT, r.id, vec![], vec![]).await?;
        let name = format!("keyark-backup-{}.keyark", stored.id());
        let content = Content::File { path, name, etag: stored.header.checksum.clone() };
        Ok(Reply { content, revision: None, status: None, position: None })
    }
}

impl Handle<BackupContents> for App {
    async fn handle(&self, ctx: &Ctx, r: BackupContents) -> Result<Reply<Page<BackupItem>>> {
        let stored = ctx.backup_load(&r.id)?;
        let (path, key) = (ctx.archive_path(&stored)?, ctx.opening_key(&stored.header)?);
        let archive = Archive::open(std::fs::File::open(path)?)?;
        if archive.header().id.0 != stored.id().0 {
            return Err(SourceError::Exchanged { claimed: stored.id(), found: Id(archive.header().id.0) }.into());
        }
        let opened = source::unlock(&archive, stored.header.backup_key, &key)?;
        let page = PageQuery::from_wire(r.skip, r.limit);
        let (mut total, mut resources) = (0, Vec::new());
        opened.unlocked.each_record::<ArchiveError>(|record| {
            let name = RecordFacts::of_header(record.header).ok().and_then(|f| f.name);
            let fits = r.kind.as_ref().is_none_or(|k| k == record.kind.word())
                && r.name.as_ref().is_none_or(|p| name.as_ref().is_some_and(|n| wildcard(p, n)));
            if fits {
                total += 1;
                if total > page.skip && (resources.len() as u64) < page.limit {
                    resources.push(BackupItem {
                        kind: record.kind.word().into(),
                        id: record.id.to_string(),
                        name,
                        revision: record.revision,
                        domain: record.domain.to_string(),
                    });
                }
            }
            Ok(())
        })?;
        Ok(Reply::json(Page { skip: page.skip, limit: page.limit, total, resources }))
    }
}
