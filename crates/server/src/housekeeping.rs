//! What the server does by itself: ends jobs that a stop interrupted, sweeps files, deletes what is due.

use std::sync::Arc;
use std::time::Duration;

use keyark_api::ErrorCode;
use keyark_crypto::keyring::KekOwner;
use keyark_model::protection::{InstanceHeader, InstanceType};
use keyark_model::system::{BackupHeader, BackupStatus, JobHeader};
use keyark_model::{DomainId, Kind, Time};

use crate::app::App;
use crate::app::auth::sessions_expire;
use crate::app::core::Core;
use crate::app::error::{AppError, Result};
use crate::app::instances::default_instance;
use crate::app::keys::ending::keys_expire;
use crate::app::schedules::run::run_due;
use crate::app::secrets::secrets_expire;
use crate::app::usage::USAGE_ANCHOR;
use crate::app::webhooks::deliver::{self, Delivery};
use crate::boot::Folder;
use crate::protection::{Ground, LOOK_LONGEST, Step};

/// Between two looks for what is due.
const INTERVAL: Duration = Duration::from_secs(60);
/// Between two looks for what protection has to send.
const PROTECTION_LOOK: Duration = Duration::from_secs(1);
/// Between two looks for alarms that were raised or are over.
const WEBHOOK_LOOK: Duration = Duration::from_secs(10);
const ROUNDS_AN_HOUR: u32 = 60;

/// At the start: whatever was under way when the server stopped has failed, and left nothing behind.
pub fn tidy(app: &App) -> Result<()> {
    let (core, folder, now) = (&*app.core()?, &app.folder, app.now());
    // Before anything that carries its time.
    app.clock_note(core)?;
    let interrupted = "the server stopped while it ran; nothing of it remains, start it again";
    let mut writes = Vec::new();
    for stored in core.load_all::<BackupHeader>(DomainId::ROOT)? {
        if stored.header.status == BackupStatus::InProgress {
            let mut header = stored.header.clone();
            (header.status, header.failure, header.finished_at) = (BackupStatus::Failed, interrupted.into(), Some(now));
            writes.push(core.put_header(&stored, &header)?);
            let _ = std::fs::remove_file(folder.archive(stored.id()));
        }
    }
    for stored in core.load_all::<JobHeader>(DomainId::ROOT)? {
        if stored.header.status == BackupStatus::InProgress {
            let mut header = stored.header.clone();
            (header.status, header.failure, header.finished) = (BackupStatus::Failed, interrupted.into(), Some(now));
            header.code = ErrorCode::Unavailable.number();
            writes.push(core.put_header(&stored, &header)?);
        }
    }
    if !writes.is_empty() {
        core.commit_as_system(now, DomainId::ROOT, "jobs_interrupted", vec![], writes)?;
    }
    let instances = core.load_all::<InstanceHeader>(DomainId::ROOT)?;
    if !instances.iter().any(|i| i.header.instance_type == InstanceType::Default) {
        // A system of an earlier version, or restored from one.
        let write = default_instance(core, now)?;
        core.commit_as_system(now, DomainId::ROOT, "backup_instance_default", vec![], vec![write])?;
    }
    sweep(core, folder)
}

/// Removes uploads that nobody finished and archives without a line in the catalogue.
fn sweep(core: &Core, folder: &Folder) -> Result<()> {
    for name in ["uploads", "backups"] {
        for entry in std::fs::read_dir(folder.path().join(name))? {
            let path = entry?.path();
            let stem = path.file_stem().and_then(|s| s.to_str()).unwrap_or_default();
            let known = match stem.parse() {
                Ok(id) => core.store.get(DomainId::ROOT, Kind::Backup, id).map_err(AppError::from)?.is_some(),
                Err(_) => false,
            };
            let partial = path.extension().is_some_and(|e| e == "part");
            if name == "uploads" || partial || !known {
                let _ = std::fs::remove_file(path);
            }
        }
    }
    for entry in std::fs::read_dir(folder.spool())? {
        let path = entry?.path();
        let _ = if path.is_dir() { std::fs::remove_dir_all(path) } else { std::fs::remove_file(path) };
    }
    boot_leftovers(folder);
    Ok(())
}

fn boot_leftovers(folder: &Folder) {
    for name in ["store.db.new", "store.db.restoring"] {
        crate::boot::remove_database(&folder.path().join(name));
    }
}

/// Deletes keys and secrets whose day has come, and sessions that ended; how many. Notes when keys were used.
pub fn expire(core: &Core, now: Time) -> Result<u64> {
    core.uses_note(now)?;
    Ok(keys_expire(core, now)? as u64 + secrets_expire(core, now)? + sessions_expire(core, now)?)
}

/// What is due every minute; nothing where a person has to decide first which state counts.
pub fn chores(app: &App, core: &Core, now: Time) -> Result<u64> {
    if core.rolled_back().is_some() {
        return Ok(0);
    }
    app.clock_note(core)?;
    let ended = expire(core, app.believed())?;
    app.protection.purge_shipped(core, app.settings.max_lag(), now)?;
    Ok(ended)
}

/// Before the store closes: what only memory knows and people ask for later is written down.
pub fn stop(app: &App) {
    // During a system restore there is none.
    let Ok(core) = app.core() else { return };
    if let Err(e) = core.uses_note_all(app.now()) {
        tracing::warn!(error = %e, "the last uses of keys were not noted");
    }
    if let Err(e) = app.clock_note(&core) {
        tracing::warn!(error = %e, "what is believed of the clock was not noted");
    }
}

/// Goes on with sealing anew where a stop interrupted it, and after a restore.
fn reseal(core: &Core) -> Result<()> {
    for domain in core.store.domains()? {
        if core.keyring.generations(KekOwner::Domain(domain)).len() > 1 {
            core.reseal(domain)?;
        }
    }
    Ok(())
}

/// Enters the end of the usage log into the change log, and drops its records past their days. Answers the position
/// that is anchored now; `anchored` is the last one, so that an idle server writes nothing.
pub fn usage_anchor(app: &App, core: &Core, now: Time, anchored: u64) -> Result<u64> {
    let head = app.usage.head();
    if head.position != anchored {
        let target = app.usage.anchor(head);
        core.commit_as_system_on(now, DomainId::ROOT, USAGE_ANCHOR, target, vec![], vec![])?;
    }
    app.usage.trim(now.plus_seconds(-86_400 * i64::from(app.settings.audit_days)))?;
    Ok(head.position)
}

/// Keeps the usage log; where the change log cannot be written now, the next hour is as good.
async fn usage_keep(app: &Arc<App>, anchored: u64) -> u64 {
    let (flushed, app) = (app.usage.flush().await, app.clone());
    let done = tokio::task::spawn_blocking(move || {
        flushed?;
        let core = app.core()?;
        usage_anchor(&app, &core, app.now(), anchored)
    });
    match done.await {
        Ok(Ok(position)) => position,
        Ok(Err(e)) => {
            tracing::error!(error = %e, "the usage log was not anchored");
            anchored
        }
        Err(e) => {
            tracing::error!(error = %e, "anchoring the usage log ended");
            anchored
        }
    }
}

/// The steps of protection that are due now.
fn protection_due(app: &App) -> Result<Vec<Step>> {
    let (core, now) = (app.core()?, app.now());
    if let Err(e) = app.clock_note_begun(&core) {
        tracing::error!(error = %e, "that the clock is doubted was not noted; a minute from now it is tried again");
    }
    let day = app.settings.time_zone.midnight(now);
    let ground =
        Ground { spool: app.folder.spool(), audit_days: app.settings.audit_days, day, believed: app.believed() };
    app.protection.due(&core, &ground, now)
}

/// At the start: asks every destination at once how far this system is there. Writes wait for the answers, or for the first that
/// says that this store is older, and not for long: which destination does not answer in time, its first step looks at.
pub fn look(app: &App) -> Result<()> {
    let (core, steps) = (app.core()?, protection_due(app)?);
    if steps.is_empty() {
        return Ok(());
    }
    core.look_begun();
    let looks: Vec<_> = steps.into_iter().map(|step| tokio::task::spawn_blocking(move || step.look())).collect();
    tokio::spawn(async move {
        if tokio::time::timeout(LOOK_LONGEST, futures_util::future::join_all(looks)).await.is_err() {
            tracing::warn!("writes wait no longer for destinations that do not answer");
        }
        core.look_ended();
    });
    Ok(())
}

/// Waits until that is over.
async fn looked(app: &App) {
    let looked = app.core().map(|core| core.looked());
    if let Ok(looked) = looked {
        looked.await;
    }
}

/// Ships everything that is due now, one after the other; how many steps that were.
pub fn protect(app: &App) -> Result<usize> {
    let steps = protection_due(app)?;
    let count = steps.len();
    steps.into_iter().for_each(Step::run);
    Ok(count)
}

/// Ships what is due until the server stops; each step runs beside the others.
pub async fn run_protection(app: Arc<App>) {
    let mut interval = tokio::time::interval(PROTECTION_LOOK);
    loop {
        interval.tick().await;
        match protection_due(&app) {
            Ok(steps) => steps.into_iter().for_each(|step| drop(tokio::task::spawn_blocking(move || step.run()))),
            // A system restore is running: the next look comes in a second.
            Err(e) if e.code == ErrorCode::Unavailable => {}
            Err(e) => tracing::error!(error = %e, "protection cannot look for what is due"),
        }
    }
}

/// Tells every webhook what it has still to be told, and waits until they heard it; how many deliveries that were.
pub async fn tell(app: &Arc<App>) -> Result<usize> {
    let due = deliver::due(app)?;
    let count = due.len();
    futures_util::future::join_all(due.into_iter().map(Delivery::run)).await;
    Ok(count)
}

/// Tells webhooks until the server stops; each delivery runs beside the others.
pub async fn run_webhooks(app: Arc<App>) {
    looked(&app).await;
    let mut interval = tokio::time::interval(WEBHOOK_LOOK);
    loop {
        interval.tick().await;
        let looking = app.clone();
        match tokio::task::spawn_blocking(move || deliver::due(&looking)).await {
            Ok(Ok(due)) => due.into_iter().for_each(|delivery| drop(tokio::spawn(delivery.run()))),
            // A system restore is running: the next look comes in a moment.
            Ok(Err(e)) if e.code == ErrorCode::Unavailable => {}
            Ok(Err(e)) => tracing::error!(error = %e, "webhooks were not looked after"),
            Err(e) => tracing::error!(error = %e, "looking after webhooks ended"),
        }
    }
}

/// Does so every minute until the server stops.
pub async fn run(app: Arc<App>) {
    looked(&app).await;
    if let Ok(core) = app.core() {
        let done = tokio::task::spawn_blocking(move || reseal(&core));
        if let Ok(Err(e)) = done.await {
            tracing::error!(error = %e, "sealing anew failed");
        }
    }
    let mut interval = tokio::time::interval(INTERVAL);
    let mut anchored = 0;
    for round in 0_u32.. {
        interval.tick().await;
        if round.is_multiple_of(ROUNDS_AN_HOUR) {
            anchored = usage_keep(&app, anchored).await;
        }
        let (scheduling, app) = (app.clone(), app.clone());
        let done = tokio::task::spawn_blocking(move || match app.core() {
            Ok(core) => chores(&app, &core, app.now()).map(|_| ()),
            // A system restore is running: the next look comes in a minute.
            Err(_) => Ok(()),
        });
        match run_due(&scheduling).await {
            Ok(_) => {}
            Err(e) if e.code == ErrorCode::Unavailable => {}
            Err(e) => tracing::error!(error = %e, "schedules were not looked after"),
        }
        match done.await {
            Ok(Err(e)) => tracing::error!(error = %e, "housekeeping failed"),
            Err(e) => tracing::error!(error = %e, "housekeeping ended"),
            Ok(Ok(())) => {}
        }
    }
}
