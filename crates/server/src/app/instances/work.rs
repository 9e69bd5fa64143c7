//! What is done with an instance's data: a moment of it restored in one step, all of it deleted.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use keyark_api::ErrorCode;
use keyark_api::backup_instances::{BackupInstance, BackupInstanceReset, BackupInstanceRotateKey, InstanceWork};
use keyark_api::backups::BackupRestore;
use keyark_api::instance_data::{
    BackupInstanceDownload, BackupInstanceRestore, BackupInstanceUpload, InstanceDownload,
};
use keyark_archive::Archive;
use keyark_backup::destination::lock::check_free;
use keyark_backup::destination::{DestinationError, list_all};
use keyark_backup::source;
use keyark_backup::stream::{Catalogue, Chosen, doors};
use keyark_crypto::{Key256, SecretBytes, kdf, random};
use keyark_model::protection::{InstanceHeader, InstanceType, Order};
use keyark_model::system::{BackupHeader, BackupKeyHeader, BackupStatus, JobHeader};
use keyark_model::{DomainId, Id, Kind};

use super::There;
use super::hold::not_held;
use crate::app::backupkeys::right_of;
use crate::app::backups::create::Origin;
use crate::app::backups::items_of;
use crate::app::core::Core;
use crate::app::ctx::{Ctx, confirmed};
use crate::app::error::{AppError, Result};
use crate::app::{App, Handle, Reply};

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

/// What has to be read to restore these items; none: all of it. The count of a key's encryptions comes with the key.
fn chosen(domain: DomainId, items: &[String]) -> Result<Option<Chosen>> {
    let mut records = items_of(items)?;
    let keys: Vec<Id> = records.iter().filter(|(kind, _)| *kind == Kind::Key).map(|(_, id)| *id).collect();
    records.extend(keys.into_iter().map(|id| (Kind::Counter, id)));
    Ok((!records.is_empty()).then_some(Chosen { domain, records }))
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
        let (on, key) = match &r.into_domain {
            None => (ctx.going_on(), None),
            Some(_) if stored.header.upload.is_some() => {
                let what =
                    "an uploaded instance is restored where it was uploaded; upload the file in the other domain too";
                return Err(AppError::new(ErrorCode::WrongScope, what));
            }
            Some(name) => {
                let on = ctx.going_into(name)?;
                let scope = Some(on.domain()?);
                on.require(right_of(scope, true))?;
                // On its way the moment is a backup of the other domain, under that one's own key.
                let key = on.backup_key_chosen(scope, None)?;
                let material = on.core.backup_key_material(&key)?;
                (on, Some((key.id(), material)))
            }
        };
        // An uploaded instance is a backup already; of the others a moment is made into one.
        let uploaded = stored.header.upload;
        let begun = match uploaded {
            Some(_) => None,
            None => {
                let at = r.at.map_or_else(|| "the newest point".to_owned(), |at| at.to_string());
                let description = format!("{at} of the backup instance {:?}, to be restored", stored.header.alias);
                let mut begun = ctx.moment(&stored, r.at, r.destination.as_deref(), description, key).await?;
                if r.into_domain.is_some() {
                    begun.scope = Some(on.domain()?);
                }
                if let (Origin::Point(of), Some(domain)) = (&mut begun.from, stored.header.domain) {
                    of.chosen = chosen(domain, &r.items)?;
                }
                Some(begun)
            }
        };
        let (app, id) = (ctx.app.clone(), stored.id());
        let runtime = tokio::runtime::Handle::current();
        let job = ctx.job_beside("Backup instance restore", stored.header.domain, id, move |_| {
            runtime.block_on(async {
                let mut backup = uploaded.map(|id| id.to_string()).unwrap_or_default();
                if let Some(begun) = begun {
                    let made = app.backup_begin(&on, begun).await?.value()?;
                    on.job_awaited(made.job_id.as_deref().unwrap_or_default()).await?;
                    backup = made.id;
                }
                let request = BackupRestore {
                    id: backup.clone(),
                    signer: r.signer,
                    items: r.items,
                    conflict: r.conflict,
                    include_deleted: r.include_deleted,
                    include_destroyed: r.include_destroyed,
                    ..BackupRestore::default()
                };
                let restoring = Handle::<BackupRestore>::handle(&*app, &on, request).await?.value()?;
                let done = on.job_awaited(restoring.job_id.as_deref().unwrap_or_default()).await?;
                Ok((serde_json::json!({ "backup": backup, "restore": done }), Vec::new()))
            })
        });
        Ok(Reply::json(InstanceWork { id: id.to_string(), job_id: job.await?.to_string() }))
    }
}

impl Handle<BackupInstanceDownload> for App {
    async fn handle(&self, ctx: &Ctx, r: BackupInstanceDownload) -> Result<Reply<InstanceDownload>> {
        let stored = ctx.instance_own(&r.id)?;
        let (key_id, key) = (Core::new_id(ctx.now), random::secret::<32>());
        let shown = base64_simd::STANDARD.encode_to_string(key.expose());
        let description = format!("of the backup instance {:?}, for download", stored.header.alias);
        let begun = ctx.moment(&stored, r.at, r.destination.as_deref(), description, Some((key_id, key))).await?;
        let made = self.backup_begin(ctx, begun).await?.value()?;
        Ok(Reply::json(InstanceDownload {
            id: stored.id().to_string(),
            job_id: made.job_id.unwrap_or_default(),
            backup: made.id,
            encryption_key: shown,
        }))
    }
}

impl Handle<BackupInstanceUpload> for App {
    async fn handle(&self, ctx: &Ctx, r: BackupInstanceUpload) -> Result<Reply<BackupInstance>> {
        let backup = ctx.backup_load(&r.backup)?;
        let scope = match backup.header.domain {
            None => None,
            Some(_) => Some(ctx.domain()?),
        };
        ctx.require(right_of(scope, true))?;
        ctx.instance_alias_free(&r.alias)?;
        let wrong = || AppError::new(ErrorCode::WrongBackupKey, "this key does not open that backup");
        let bytes = base64_simd::STANDARD.decode_to_vec(r.encryption_key.trim().as_bytes()).map_err(|_| wrong())?;
        let key = Key256::from_slice(SecretBytes::new(bytes).expose()).ok_or_else(wrong)?;
        let key_id = backup.header.backup_key;
        let archive = Archive::open(std::fs::File::open(ctx.archive_path(&backup)?)?)?;
        source::unlock(&archive, key_id, &key).map_err(|_| wrong())?;
        let header = InstanceHeader {
            alias: r.alias.clone(),
            instance_type: InstanceType::Upload,
            domain: scope,
            range_days: 1,
            created_at: ctx.now,
            expires_at: None,
            order: None,
            upload: Some(backup.id()),
            hold: None,
            proofs: BTreeMap::new(),
        };
        let key_header = BackupKeyHeader {
            domain: scope,
            also: BTreeSet::new(),
            description: format!("of the uploaded backup instance {:?}", r.alias),
            fingerprint: kdf::fingerprint(key.expose()),
            default: false,
            created_at: ctx.now,
            proven: None,
        };
        let id = Core::new_id(ctx.now);
        let mut writes = vec![ctx.core.put(DomainId::ROOT, id, 1, &header, b"")?];
        if ctx.core.load::<BackupKeyHeader>(DomainId::ROOT, key_id).is_err() {
            let revision = ctx.core.store.tombstone(Kind::BackupKey, key_id)?.map_or(1, |t| t.revision + 1);
            writes.push(ctx.core.put(DomainId::ROOT, key_id, revision, &key_header, key.expose())?);
        }
        ctx.commit_in(DomainId::ROOT, id.to_string(), vec![], writes).await?;
        let stored = ctx.core.load::<InstanceHeader>(DomainId::ROOT, id)?;
        Ok(Reply::json(ctx.instance_shown(&stored)?).at(1))
    }
}

impl Handle<BackupInstanceRotateKey> for App {
    async fn handle(&self, ctx: &Ctx, r: BackupInstanceRotateKey) -> Result<Reply<InstanceWork>> {
        let stored = ctx.instance_own(&r.id)?;
        let scope = stored.header.domain;
        let order = stored.header.order.clone();
        let order = order.ok_or_else(|| AppError::conflict("the instance is disabled: it has no key to rotate"))?;
        let key = ctx.backup_key_chosen(scope, r.backup_key.as_deref())?;
        let (new, old) = (key.id(), order.backup_key);
        if new == old && !r.revoke_old {
            return Err(AppError::invalid("this backup key is the instance's already; create another one first"));
        }
        if r.revoke_old {
            not_held(&stored.header)?;
            let names = [stored.header.alias.as_str(), &stored.id().to_string()];
            confirmed(r.confirm.as_deref(), &names, "the old backup key opens nothing here any more")?;
        }
        let there = ctx.there(&stored, None)?;
        // What is sent from here on has the new door at once; the job opens what is there.
        let order = Order { backup_key: new, ..order };
        ctx.commit_header(&stored, &InstanceHeader { order: Some(order), ..stored.header.clone() }).await?;
        let (core, id, revoke) = (ctx.core.clone(), stored.id(), r.revoke_old);
        let job = ctx.job_beside("Backup instance rotate key", scope, id, move |progress| {
            let key = core.load::<BackupKeyHeader>(DomainId::ROOT, new)?;
            let material = core.backup_key_material(&key)?;
            let (mut epochs, mut made, mut removed) = (0, 0, 0);
            let (mut old_doors, mut kept) = (Vec::new(), Vec::new());
            for there in &there {
                let place = core.destination_open(&there.stored)?;
                let opener = core.opener(place.as_ref())?;
                let told = doors::add(&opener, &there.place, scope, (new, &material), &core.signer, progress)?;
                (epochs, made) = (epochs + told.epochs, made + told.made);
                // Every other key that has doors here is an old one.
                let others: BTreeSet<Id> = Catalogue::read(place.as_ref(), there.place)?.epochs.iter().map(|e| e.backup_key).collect();
                for other in others.into_iter().filter(|k| *k != new) {
                    if revoke {
                        let (gone, left) = doors::remove(place.as_ref(), &there.place, other, false)?;
                        removed += gone;
                        kept.extend(left.iter().map(|e| format!("{}: {e}", there.name)));
                    } else {
                        old_doors.push(format!("{}: backup key {other}", there.name));
                    }
                }
            }
            // Copies that the old key still opens, as far as this system knows.
            let backups = core.load_all::<BackupHeader>(DomainId::ROOT)?;
            let mine = backups.iter().filter(|b| b.header.backup_key == old && old != new);
            let result = serde_json::json!({
                "backupKey": new,
                "epochs": epochs,
                "made": made,
                "removed": removed,
                "oldDoors": old_doors,
                "notRemoved": kept,
                "backupsUnderTheOldKey": mine.map(|b| b.id()).collect::<Vec<_>>(),
                "remains": "exported files of the old key open every copy of archives and epoch files that was made before",
            });
            Ok((result, Vec::new()))
        });
        Ok(Reply::json(InstanceWork { id: id.to_string(), job_id: job.await?.to_string() }))
    }
}

impl Ctx {
    /// Refuses where a lock holds what an instance sent, and says until when.
    async fn nothing_locked(&self, there: Vec<There>) -> Result<Vec<There>> {
        let core = self.core.clone();
        let looked = tokio::task::spawn_blocking(move || {
            for there in &there {
                let place = core.destination_open(&there.stored)?;
                if let Err(e @ DestinationError::Locked { .. }) = check_free(place.as_ref(), &there.place.folder()) {
                    let what = format!("nothing was deleted: at {:?} {e}; reset the instance after that", there.name);
                    return Err(AppError::conflict(what));
                }
            }
            Ok(there)
        });
        looked.await.map_err(AppError::internal)?
    }
}

impl Handle<BackupInstanceReset> for App {
    async fn handle(&self, ctx: &Ctx, r: BackupInstanceReset) -> Result<Reply<InstanceWork>> {
        let stored = ctx.instance_own(&r.id)?;
        not_held(&stored.header)?;
        let names = [stored.header.alias.as_str(), &stored.id().to_string()];
        confirmed(r.confirm.as_deref(), &names, "everything that this instance sent is deleted at every destination")?;
        let there = ctx.there(&stored, None)?;
        let there = ctx.nothing_locked(there).await?;
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
