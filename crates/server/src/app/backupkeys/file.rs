//! Backup keys as files: exported under a password, uploaded, looked into, proven.

use std::collections::BTreeSet;

use keyark_api::ErrorCode;
use keyark_api::backupkeys::{
    BackupKey, BackupKeyCheck, BackupKeyChecked, BackupKeyDownload, BackupKeyFacts, BackupKeyFile, BackupKeyInspect,
    BackupKeyUpload,
};
use keyark_archive::keyfile::{self, KeyFileError, KeyFileInfo};
use keyark_archive::{Anchor, Scope, passphrase};
use keyark_crypto::jwe::JweError;
use keyark_crypto::kdf;
use keyark_model::system::{BackupKeyHeader, Proof};
use keyark_model::{Digest, DomainId};

use crate::app::backupkeys::right_of;
use crate::app::ctx::Ctx;
use crate::app::error::{AppError, Result};
use crate::app::records::Stored;
use crate::app::{App, Handle, Reply};

impl Handle<BackupKeyDownload> for App {
    async fn handle(&self, ctx: &Ctx, r: BackupKeyDownload) -> Result<Reply<BackupKeyFile>> {
        let stored = ctx.backup_key_load(&r.id)?;
        let caller = ctx.caller()?;
        let (take, give) = (right_of(stored.header.domain, false), right_of(stored.header.domain, true));
        if !caller.may(take) && !caller.may(give) {
            ctx.require(take)?;
        }
        if r.password.as_ref().is_some_and(|p| p.chars().count() < 8) {
            return Err(AppError::invalid(
                "the password of a backup key file has at least 8 characters; leave it out for one of 128 bits",
            ));
        }
        let made = r.password.is_none().then(passphrase::generate);
        let password = match (&r.password, &made) {
            (Some(p), _) => p.clone(),
            (None, Some(made)) => made.expose().clone(),
            (None, None) => return Err(AppError::internal("no passphrase")),
        };
        let info = KeyFileInfo {
            version: keyfile::VERSION,
            keyid: stored.id(),
            created_at: stored.header.created_at,
            scope: if stored.header.domain.is_some() { Scope::Domain } else { Scope::System },
            domain_id: stored.header.domain,
            hint: r.hint.clone(),
        };
        let key = ctx.core.backup_key_material(&stored)?;
        let anchor: Anchor = ctx.core.anchor.clone();
        let file = self.argon.run(move || keyfile::keyfile_export(&info, &key, &anchor, &password)).await?;
        // An export leaves the system: it stands in the log for ever, although nothing changed.
        ctx.commit_in(DomainId::ROOT, r.id, vec![], vec![]).await?;
        Ok(Reply::json(BackupKeyFile {
            keyid: stored.id().to_string(),
            version: keyfile::VERSION as u32,
            created_at: stored.header.created_at,
            hint: r.hint,
            file,
            file_name: format!("keyark-backupkey-{}.jwe", stored.id()),
            passphrase: made.map(|m| m.expose().clone()),
        }))
    }
}

impl From<KeyFileError> for AppError {
    fn from(e: KeyFileError) -> Self {
        let code = match &e {
            KeyFileError::NotAKeyFile(_) | KeyFileError::Contradicts => ErrorCode::ArchiveDamaged,
            KeyFileError::NewerVersion(_) => ErrorCode::NewerFormat,
            KeyFileError::TypingSlip { .. } | KeyFileError::Jwe(JweError::WrongPassword) => ErrorCode::WrongPassword,
            _ => ErrorCode::InvalidParam,
        };
        AppError::new(code, e.to_string())
    }
}

impl Handle<BackupKeyUpload> for App {
    async fn handle(&self, ctx: &Ctx, r: BackupKeyUpload) -> Result<Reply<BackupKey>> {
        let info = keyfile::keyfile_inspect(&r.file)?;
        // A domain's key becomes the caller's domain's, wherever it was made.
        let scope = match info.scope {
            Scope::System => None,
            Scope::Domain => Some(ctx.domain()?),
        };
        ctx.require(right_of(scope, true))?;
        let opened = self.argon.run(move || keyfile::keyfile_open(&r.file, &r.password)).await??;
        let fingerprint = kdf::fingerprint(opened.key.expose());
        if let Ok(known) = ctx.core.load::<BackupKeyHeader>(DomainId::ROOT, info.keyid) {
            return ctx.backup_key_adopt(known, scope, fingerprint).await;
        }
        let header = BackupKeyHeader {
            domain: scope,
            also: BTreeSet::new(),
            description: String::new(),
            fingerprint,
            default: false,
            created_at: info.created_at,
            proven: None,
        };
        ctx.backup_key_add(info.keyid, header, &opened.key).await
    }
}

impl Ctx {
    /// A key that is known already: a deleted domain's becomes the uploading domain's, another domain's may be used by
    /// this one too.
    async fn backup_key_adopt(
        &self,
        known: Stored<BackupKeyHeader>,
        scope: Option<DomainId>,
        fingerprint: Digest,
    ) -> Result<Reply<BackupKey>> {
        if known.header.fingerprint != fingerprint {
            return Err(AppError::new(ErrorCode::AlreadyExists, "another backup key has this id here"));
        }
        let mut header = known.header.clone();
        match (known.header.domain, scope) {
            (Some(of), Some(into)) if of != into && self.domain_gone(of)? => {
                (header.domain, header.default) = (scope, false);
            }
            (Some(of), Some(into)) if of != into => drop(header.also.insert(into)),
            _ => {}
        }
        if header != known.header {
            self.commit_header(&known, &header).await?;
        }
        let stored = self.core.load::<BackupKeyHeader>(DomainId::ROOT, known.id())?;
        let status = (header == known.header).then_some(200);
        Ok(Reply { status, ..Reply::json(self.backup_key_shown(&stored)?).at(stored.revision()) })
    }
}

impl Handle<BackupKeyInspect> for App {
    async fn handle(&self, _: &Ctx, r: BackupKeyInspect) -> Result<Reply<BackupKeyFacts>> {
        let info = keyfile::keyfile_inspect(&r.file)?;
        Ok(Reply::json(BackupKeyFacts {
            version: info.version as u32,
            keyid: info.keyid.to_string(),
            created_at: info.created_at,
            scope: if info.scope == Scope::Domain { "domain" } else { "system" }.into(),
            domain_id: info.domain_id.map(|d| d.to_string()),
            hint: info.hint,
        }))
    }
}

impl Handle<BackupKeyCheck> for App {
    async fn handle(&self, ctx: &Ctx, r: BackupKeyCheck) -> Result<Reply<BackupKeyChecked>> {
        let info = keyfile::keyfile_inspect(&r.file)?;
        let opened = self.argon.run(move || keyfile::keyfile_open(&r.file, &r.password)).await??;
        let known = ctx.backup_key_load(&info.keyid.to_string()).ok();
        let known = known.filter(|k| k.header.fingerprint == kdf::fingerprint(opened.key.expose()));
        let mut answer = BackupKeyChecked {
            keyid: info.keyid.to_string(),
            opens: true,
            known: known.is_some(),
            escrowed: false,
            checked_at: ctx.now,
        };
        if let Some(stored) = known {
            // The file proves something only if its anchor knows the key that signs now.
            let pins = opened.anchor.keys.iter().any(|k| k.public_key.0[..] == ctx.core.signer.public().0[..]);
            if pins {
                let anchor = ctx.core.signer_fingerprint();
                let proven = Some(Proof { at: ctx.now, by: ctx.caller()?.actor(), anchor });
                let header = BackupKeyHeader { proven, ..stored.header.clone() };
                ctx.commit_header(&stored, &header).await?;
                answer.escrowed = true;
            }
        }
        Ok(Reply::json(answer))
    }
}
