//! Crypto-shred: a backup key and the epoch files that it opens go away, so that nothing that was sent under it is ever read again.

use std::collections::BTreeSet;

use keyark_api::ErrorCode;
use keyark_api::backupkeys::{BackupKeyShred, BackupKeyShredPlan, ShredJob, ShredPlan, ShreddedStream};
use keyark_backup::Progress;
use keyark_backup::stream::catalogue::streams;
use keyark_backup::stream::{Catalogue, doors};
use keyark_crypto::hash::sha256;
use keyark_model::protection::{DestinationHeader, InstanceHeader};
use keyark_model::system::{BackupHeader, BackupKeyHeader};
use keyark_model::{DomainId, Id, Kind};

use crate::app::backupkeys::right_of;
use crate::app::core::Core;
use crate::app::ctx::{Ctx, confirmed};
use crate::app::error::{AppError, Result};
use crate::app::jobs::Outcome;
use crate::app::records::Stored;
use crate::app::{App, Handle, Reply};

/// Audit entries that are read at a time.
const PAGE: u64 = 2000;

impl Core {
    /// What dies with a backup key, and what would still open what it opened.
    fn shred_plan(&self, key: &Stored<BackupKeyHeader>) -> Result<ShredPlan> {
        let (mut all, mut not_looked_into) = (Vec::new(), Vec::new());
        for stored in self.load_all::<DestinationHeader>(DomainId::ROOT)? {
            match self.shredded_at(&stored, key.id()) {
                Ok(streams) => all.extend(streams),
                Err(e) => not_looked_into.push(format!("{}: {}", stored.header.name, e.message)),
            }
        }
        let backups = self.load_all::<BackupHeader>(DomainId::ROOT)?;
        let mine: Vec<&Stored<BackupHeader>> = backups.iter().filter(|b| b.header.backup_key == key.id()).collect();
        let mut copies: Vec<String> = all.iter().flat_map(other_doors).collect();
        let others = backups.iter().filter(|b| b.header.domain == key.header.domain && b.header.backup_key != key.id());
        copies.extend(
            others.map(|b| format!("the backup {}, which opens with backup key {}", b.id(), b.header.backup_key)),
        );
        copies.extend(self.taken_out(key.id(), &mine)?);
        let dies = serde_json::json!([key.id(), all, mine.iter().map(|b| b.id()).collect::<Vec<_>>(), not_looked_into]);
        Ok(ShredPlan {
            digest: sha256(&[b"keyark/shred/1", dies.to_string().as_bytes()]).to_string(),
            backup_key: key.id().to_string(),
            streams: all,
            backups: mine.iter().map(|b| b.id().to_string()).collect(),
            still_open: copies,
            not_looked_into,
        })
    }

    /// The streams at a destination that have a door for the key.
    fn shredded_at(&self, stored: &Stored<DestinationHeader>, key: Id) -> Result<Vec<ShreddedStream>> {
        let place = self.destination_open(stored)?;
        let mut all = Vec::new();
        for stream in streams(place.as_ref())?.into_iter().filter(|s| s.system == self.system) {
            let there = Catalogue::read(place.as_ref(), stream)?;
            let doors: BTreeSet<_> = there.epochs.iter().map(|e| (e.epoch, e.backup_key)).collect();
            let mine: Vec<_> = doors.iter().filter(|(_, k)| *k == key).map(|(epoch, _)| *epoch).collect();
            if mine.is_empty() {
                continue;
            }
            let others: BTreeSet<Id> = doors.iter().filter(|(_, k)| *k != key).map(|(_, k)| *k).collect();
            let open = |epoch| doors.iter().any(|(e, k)| e == epoch && *k != key);
            let points = there.points();
            all.push(ShreddedStream {
                destination: stored.header.name.clone(),
                incarnation: stream.incarnation.to_string(),
                stream: stream.stream.to_string(),
                epoch_files: mine.len() as u64,
                epochs_that_die: mine.iter().filter(|epoch| !open(*epoch)).count() as u64,
                from: points.first().map(|i| i.from.time),
                to: points.last().map(|i| i.known_until),
                other_backup_keys: others.iter().map(ToString::to_string).collect(),
            });
        }
        Ok(all)
    }

    /// Exports of the key and downloads of its backups that the audit log knows: copies that nobody here can take back.
    fn taken_out(&self, key: Id, backups: &[&Stored<BackupHeader>]) -> Result<Vec<String>> {
        let archives: BTreeSet<String> = backups.iter().map(|b| b.id().to_string()).collect();
        let (key, mut all, mut after) = (key.to_string(), Vec::new(), 0);
        loop {
            let page = self.store.audit(Some(after), PAGE, Some(DomainId::ROOT), false)?;
            for e in &page {
                let what = match e.action.as_str() {
                    "backup_key_download" if e.target == key => "a file of this key, exported",
                    "backup_download" if archives.contains(&e.target) => {
                        "the archive of a backup under this key, downloaded"
                    }
                    _ => continue,
                };
                all.push(format!("{what} at {} by {} ({})", e.time, e.actor, e.target));
            }
            match page.last() {
                Some(last) => after = last.seq,
                None => return Ok(all),
            }
        }
    }

    /// Carries a plan out: the epoch files first, so that a run that broke off can be begun again, then the key.
    fn shred(&self, id: Id, digest: &str, now: keyark_model::Time, progress: &Progress) -> Result<Outcome> {
        let key = self.load::<BackupKeyHeader>(DomainId::ROOT, id)?;
        let plan = self.shred_plan(&key)?;
        if plan.digest != digest {
            return Err(AppError::new(ErrorCode::PlanChanged, "what would die has changed; make a new plan"));
        }
        let (mut removed, mut kept) = (0, Vec::new());
        progress.set_total(plan.streams.len() as u64);
        for stored in self.load_all::<DestinationHeader>(DomainId::ROOT)? {
            let Ok(place) = self.destination_open(&stored) else { continue };
            for stream in streams(place.as_ref())?.into_iter().filter(|s| s.system == self.system) {
                let (gone, left) = doors::remove(place.as_ref(), &stream, id, true)?;
                removed += gone;
                kept.extend(left.iter().map(|e| format!("{}: {e}", stored.header.name)));
            }
        }
        self.commit_as_system_on(
            now,
            DomainId::ROOT,
            "backup_key_shred",
            id.to_string(),
            vec![],
            vec![self.delete(&key)],
        )?;
        self.store.purge(Kind::BackupKey, id)?;
        let result = serde_json::json!({
            "backupKey": id,
            "epochFilesRemoved": removed,
            "notRemoved": kept,
            "streams": plan.streams,
            "backups": plan.backups,
            "stillOpen": plan.still_open,
            "notLookedInto": plan.not_looked_into,
            "remains": "what is locked or out of reach opens with nothing but an exported file of the key",
        });
        Ok((result, Vec::new()))
    }
}

/// Keys that open some of a stream's epochs too.
fn other_doors(s: &ShreddedStream) -> Vec<String> {
    let told =
        |key: &String| format!("{}: backup key {key}, which has doors of the same stream {}", s.destination, s.stream);
    s.other_backup_keys.iter().map(told).collect()
}

impl Ctx {
    /// The key for somebody who may make an end of it. What still sends under it, or is another domain's too, is in the way.
    fn shreddable(&self, id: &str) -> Result<Stored<BackupKeyHeader>> {
        let stored = self.backup_key_load(id)?;
        self.require(right_of(stored.header.domain, false))?;
        self.check_match(stored.revision())?;
        if !stored.header.also.is_empty() {
            return Err(AppError::new(ErrorCode::InUse, "another domain restores with this key too"));
        }
        self.scope_not_held(stored.header.domain)?;
        let instances = self.core.load_all::<InstanceHeader>(DomainId::ROOT)?;
        let sends = |i: &&Stored<InstanceHeader>| i.header.order.as_ref().is_some_and(|o| o.backup_key == stored.id());
        match instances.iter().find(sends) {
            None => Ok(stored),
            Some(instance) => {
                let what = format!(
                    "the backup instance {:?} sends under this key: enable it with another key, which begins another stream, or \
                     reset it; then this key can be shredded",
                    instance.header.alias
                );
                Err(AppError::new(ErrorCode::InUse, what))
            }
        }
    }
}

impl Handle<BackupKeyShredPlan> for App {
    async fn handle(&self, ctx: &Ctx, r: BackupKeyShredPlan) -> Result<Reply<ShredPlan>> {
        let (core, stored) = (ctx.core.clone(), ctx.shreddable(&r.id)?);
        let plan = tokio::task::spawn_blocking(move || core.shred_plan(&stored));
        Ok(Reply::json(plan.await.map_err(AppError::internal)??))
    }
}

impl Handle<BackupKeyShred> for App {
    async fn handle(&self, ctx: &Ctx, r: BackupKeyShred) -> Result<Reply<ShredJob>> {
        let stored = ctx.shreddable(&r.id)?;
        let what =
            "nothing that this key opens is ever read again, but with a copy of the key that was exported before";
        confirmed(r.confirm.as_deref(), &[&stored.id().to_string()], what)?;
        let (core, app, id, digest) = (ctx.core.clone(), ctx.app.clone(), stored.id(), r.digest);
        let job = ctx.job_beside("Backup key shred", stored.header.domain, id, move |progress| {
            core.shred(id, &digest, app.now(), progress)
        });
        Ok(Reply::json(ShredJob { id: id.to_string(), job_id: job.await?.to_string() }))
    }
}
