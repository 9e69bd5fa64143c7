//! Archives that come in: looked at, uploaded, and taken back by the domain that they belong to.

use std::collections::BTreeSet;
use std::path::Path;

use keyark_api::ErrorCode;
use keyark_api::backups::{Backup, BackupFacts, BackupInspect, BackupUpload};
use keyark_archive::{Archive, Scope};
use keyark_model::system::{BackupHeader, BackupStatus};
use keyark_model::{DomainId, Id};

use crate::app::backupkeys::right_of;
use crate::app::core::Core;
use crate::app::ctx::Ctx;
use crate::app::error::{AppError, Result};
use crate::app::records::Stored;
use crate::app::{App, Handle, Reply};

fn here_already(id: Id) -> AppError {
    AppError::new(ErrorCode::AlreadyExists, format!("the backup {id} is here already"))
}

impl Ctx {
    /// What a deleted domain left behind becomes the backup of the domain into which its very bytes are uploaded: that
    /// is how it comes back, in a new domain of the same system.
    async fn backup_adopt(
        &self,
        known: Stored<BackupHeader>,
        scope: Option<DomainId>,
        upload: &Path,
    ) -> Result<Reply<Backup>> {
        let id = known.id();
        let mut header = known.header.clone();
        match (known.header.domain, scope) {
            (Some(of), Some(into)) if of != into && self.domain_gone(of)? => header.domain = scope,
            // Another domain restores from the same bytes too; it must have them to get this far.
            (Some(of), Some(into)) if of != into => drop(header.also.insert(into)),
            _ => {}
        }
        if header == known.header || known.header.status != BackupStatus::Completed {
            return Err(here_already(id));
        }
        if keyark_backup::restore_system::file_digest(upload)?.to_string() != known.header.checksum {
            return Err(here_already(id));
        }
        let _ = std::fs::remove_file(upload);
        self.commit_header(&known, &header).await?;
        let stored = self.core.load(DomainId::ROOT, id)?;
        Ok(Reply::json(self.backup_shown(&stored)?).at(stored.revision()))
    }
}

/// The file of an upload request.
fn uploaded(ctx: &Ctx) -> Result<&Path> {
    ctx.request.file.as_deref().ok_or_else(|| AppError::new(ErrorCode::BadRequest, "the body is the archive itself"))
}

impl Handle<BackupInspect> for App {
    async fn handle(&self, ctx: &Ctx, _: BackupInspect) -> Result<Reply<BackupFacts>> {
        let archive = Archive::open(std::fs::File::open(uploaded(ctx)?)?)?;
        let facts = serde_json::to_value(archive.inspect(Some(&ctx.core.anchor))).map_err(AppError::internal)?;
        Ok(Reply::json(BackupFacts(facts)))
    }
}

impl Handle<BackupUpload> for App {
    async fn handle(&self, ctx: &Ctx, r: BackupUpload) -> Result<Reply<Backup>> {
        let path = match &r.upload_id {
            Some(id) => ctx.upload_find(id)?,
            None => uploaded(ctx)?.to_owned(),
        };
        let archive = Archive::open(std::fs::File::open(&path)?)?;
        let header = archive.header().clone();
        let scope = match header.scope {
            Scope::System => None,
            Scope::Domain => Some(ctx.domain()?),
        };
        ctx.require(right_of(scope, true))?;
        // Who signed it is asked at the restore; that it is whole is asked now.
        if let keyark_archive::Verdict::Bad { why } = archive.verify(&ctx.core.anchor)? {
            return Err(AppError::new(
                ErrorCode::ArchiveDamaged,
                format!("the archive is damaged: {why}; upload it again"),
            ));
        }
        let facts = archive.inspect(None);
        let id = Id(header.id.0);
        let known = ctx.core.load::<BackupHeader>(DomainId::ROOT, id).ok();
        if let Some(known) = known {
            return ctx.backup_adopt(known, scope, &path).await;
        }
        let digest = {
            let path = path.clone();
            tokio::task::spawn_blocking(move || keyark_backup::restore_system::file_digest(&path))
                .await
                .map_err(AppError::internal)??
        };
        let backup = BackupHeader {
            domain: scope,
            also: BTreeSet::new(),
            description: facts.description.clone(),
            created_at: header.created_at,
            finished_at: Some(ctx.now),
            status: BackupStatus::Completed,
            failure: String::new(),
            backup_key: facts
                .backup_key_id
                .parse()
                .map_err(|_| AppError::invalid("the archive names no backup key"))?,
            creator: header.creator.clone(),
            product_version: header.product_version.clone(),
            since: header.base.map(|b| Id(b.id.0)),
            filters: serde_json::Value::Null,
            seq: header.positions.last.0,
            size: archive.length(),
            checksum: digest.to_string(),
            counts: facts.counts.unwrap_or_default().into_iter().map(|(k, n)| (k, n.0)).collect(),
            uploaded: true,
            job: Core::new_id(ctx.now),
        };
        let kept = self.folder.archive(id);
        // Never over a file that is there: two uploads of one archive race for its name.
        std::fs::hard_link(&path, &kept).map_err(|e| match e.kind() {
            std::io::ErrorKind::AlreadyExists => here_already(id),
            _ => e.into(),
        })?;
        let _ = std::fs::remove_file(&path);
        let revision = ctx.core.store.tombstone(keyark_model::Kind::Backup, id)?.map_or(1, |t| t.revision + 1);
        let write = ctx.core.put(DomainId::ROOT, id, revision, &backup, b"")?;
        if let Err(e) = ctx.commit_in(DomainId::ROOT, id.to_string(), vec![], vec![write]).await {
            let _ = std::fs::remove_file(&kept);
            return Err(e);
        }
        let stored = ctx.core.load(DomainId::ROOT, id)?;
        Ok(Reply::json(ctx.backup_shown(&stored)?).at(revision))
    }
}
