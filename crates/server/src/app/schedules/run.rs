//! Running what is due: each schedule once, however much was missed; one that fails holds up no other.

use std::sync::Arc;

use keyark_api::ErrorCode;
use keyark_api::backup_instances::{BackupInstanceDrill, BackupInstanceVerify};
use keyark_api::backups::{BackupCreate, BackupDelete};
use keyark_api::schedules::{DatabaseBackupParams, InstanceParams};
use keyark_api::scp::BackupScp;
use keyark_model::schedule::{Run, ScheduleHeader};
use keyark_model::system::{BackupHeader, BackupStatus, JobHeader};
use keyark_model::{DomainId, Id, Time};

use super::cron::Timetable;
use super::work::Work;
use crate::app::core::Core;
use crate::app::ctx::Ctx;
use crate::app::error::{AppError, Result};
use crate::app::records::Stored;
use crate::app::{App, Handle};

/// Runs that a schedule remembers.
const REMEMBERED: usize = 50;

type Schedule = Stored<ScheduleHeader>;

/// A call that the schedule itself makes in its domain.
fn calling(app: &Arc<App>, core: &Arc<Core>, schedule: &Schedule, work: &Work, now: Time) -> Ctx {
    let (who, domain) = ((schedule.id(), schedule.header.name.as_str()), schedule.header.domain);
    Ctx::of_server(app, core, who, domain, work.roles(), "schedule_run", now)
}

/// Begins the work of a due time; the ids of its job and of the backup that it makes.
async fn begin(ctx: &Ctx, schedule: &Schedule, work: Work, due: Time) -> Result<(Option<Id>, Option<Id>)> {
    let (app, h) = (&*ctx.app, &schedule.header);
    let id = |text: String| text.parse::<Id>().ok();
    match work {
        Work::Backup(p) => {
            let request = BackupCreate {
                scope: p.scope,
                backup_key: p.backup_key,
                description: Some(p.description.unwrap_or_else(|| format!("of the schedule {:?}", h.name))),
                filters: p.filters,
                ..BackupCreate::default()
            };
            let made = Handle::<BackupCreate>::handle(app, ctx, request).await?.value()?;
            Ok((made.job_id.and_then(id), id(made.id)))
        }
        Work::Rotation(p) => Ok((Some(ctx.keys_rotate(&p, schedule.id()).await?), None)),
        Work::Verification(p) => {
            let InstanceParams { instance: id_or_alias, destination, depth, days } = p;
            let day =
                days.map(|_| Ok::<_, AppError>(Timetable::new(&h.run_at, &h.time_zone)?.date(due))).transpose()?;
            let request = BackupInstanceVerify { id: id_or_alias, destination, depth, days, day, heal: true };
            let made = Handle::<BackupInstanceVerify>::handle(app, ctx, request).await?.value()?;
            Ok((id(made.job_id), None))
        }
        Work::Drill(InstanceParams { instance: id_or_alias, destination, .. }) => {
            let request = BackupInstanceDrill { id: id_or_alias, destination, at: None };
            let made = Handle::<BackupInstanceDrill>::handle(app, ctx, request).await?.value()?;
            Ok((id(made.job_id), None))
        }
        Work::Retention(p) => Ok((Some(ctx.instance_retain(&p.instance, p.destination.as_deref()).await?), None)),
    }
}

/// Runs a schedule for a due time, and notes it. `None`: another operation is in the way, and the next look tries again.
pub async fn run(app: &Arc<App>, core: &Arc<Core>, schedule: Schedule, due: Time, now: Time) -> Result<Option<Run>> {
    let id = Core::new_id(now);
    let mut run = Run { id, at: now, job: None, backup: None, failure: String::new(), transfers: Vec::new() };
    let begun = match Work::of(&schedule.header) {
        Ok(work) => begin(&calling(app, core, &schedule, &work, now), &schedule, work, due).await,
        Err(e) => Err(e),
    };
    match begun {
        Ok((job, backup)) => (run.job, run.backup) = (job, backup),
        Err(e) if e.code == ErrorCode::OperationRunning => return Ok(None),
        Err(e) => {
            tracing::warn!(schedule = %schedule.id(), error = %e, "a schedule could not run");
            run.failure = e.message;
        }
    }
    let mut header = schedule.header.clone();
    header.handled = Some(due);
    header.runs.push(run.clone());
    let mut old = header.runs.len().saturating_sub(REMEMBERED);
    // What still has a backup is remembered for its retention.
    header.runs.retain(|r| {
        let drop = old > 0 && r.backup.is_none_or(|b| core.load::<BackupHeader>(DomainId::ROOT, b).is_err());
        old -= usize::from(drop);
        !drop
    });
    let write = core.put_header(&schedule, &header)?;
    core.commit_as_system(now, DomainId::ROOT, "schedule_run", vec![], vec![write])?;
    Ok(Some(run))
}

/// Tries of sending one backup away.
const TRIES: usize = 6;
/// Seconds between a try that failed and the next; each waits twice as long as the one before.
const AGAIN: i64 = 60;

/// Sends what a schedule made to where it is told, once it is completed; a transfer that failed is tried again.
async fn send(app: &Arc<App>, core: &Arc<Core>, schedule: Schedule, now: Time) -> Result<Schedule> {
    let work = Work::of(&schedule.header)?;
    let Work::Backup(params) = &work else { return Ok(schedule) };
    let due = |run: &&Run| params.do_scp && transfer_is_due(app, core, run, now);
    let Some(run) = schedule.header.runs.iter().find(due) else { return Ok(schedule) };
    let (id, backup) = (run.id, run.backup.map(|b| b.to_string()).unwrap_or_default());
    let ctx = calling(app, core, &schedule, &work, now);
    let request = BackupScp { id: backup, connection: params.connection.clone(), ..BackupScp::default() };
    let begun = Handle::<BackupScp>::handle(&**app, &ctx, request).await.and_then(|r| r.value());
    let mut header = schedule.header.clone();
    for run in header.runs.iter_mut().filter(|r| r.id == id) {
        match &begun {
            Ok(transfer) => run.transfers.extend(transfer.id.parse::<Id>()),
            // What cannot even begin does not begin the next second either.
            Err(e) => {
                tracing::warn!(schedule = %schedule.id(), error = %e, "a backup could not be sent");
                run.failure = format!("transfer: {}", e.message);
            }
        }
    }
    let write = core.put_header(&schedule, &header)?;
    core.commit_as_system(now, DomainId::ROOT, "schedule_send", vec![], vec![write])?;
    core.load(DomainId::ROOT, schedule.id())
}

/// Whether a run's backup is there and has still to be sent.
fn transfer_is_due(app: &App, core: &Core, run: &Run, now: Time) -> bool {
    let made = run.backup.and_then(|b| core.load::<BackupHeader>(DomainId::ROOT, b).ok());
    let there = made.is_some_and(|b| b.header.status == BackupStatus::Completed);
    if !there || !run.failure.is_empty() || run.transfers.len() >= TRIES {
        return false;
    }
    let Some(last) = run.transfers.last() else { return true };
    if app.running.progress(*last).is_some() {
        return false;
    }
    // Of a job that is not remembered any more nothing is known: once more.
    let Ok(job) = core.load::<JobHeader>(DomainId::ROOT, *last) else { return true };
    let wait = AGAIN << (run.transfers.len() - 1);
    let ended = job.header.finished.unwrap_or(job.header.started);
    job.header.status != BackupStatus::Completed && now >= ended.plus_seconds(wait)
}

/// Deletes the oldest completed backups of a schedule beyond those that it keeps. Failed ones do not count.
async fn retain(app: &Arc<App>, core: &Arc<Core>, schedule: &Schedule, now: Time) -> Result<()> {
    let work = Work::of(&schedule.header)?;
    let Work::Backup(DatabaseBackupParams { retention_count: Some(keep), .. }) = &work else { return Ok(()) };
    let made = schedule.header.runs.iter().filter_map(|r| core.load::<BackupHeader>(DomainId::ROOT, r.backup?).ok());
    let completed: Vec<Id> = made.filter(|b| b.header.status == BackupStatus::Completed).map(|b| b.id()).collect();
    let beyond = completed.len().saturating_sub(*keep as usize);
    let ctx = calling(app, core, schedule, &work, now);
    for id in &completed[..beyond] {
        let request = BackupDelete { id: id.to_string(), ..BackupDelete::default() };
        if let Err(e) = Handle::<BackupDelete>::handle(&**app, &ctx, request).await {
            // One that an increment continues stays until that is gone.
            tracing::info!(backup = %id, error = %e, "retention of a schedule left a backup");
        }
    }
    Ok(())
}

/// Looks for what is due now.
pub async fn run_due(app: &Arc<App>) -> Result<u64> {
    let (core, now) = (app.core()?, app.now());
    if core.suspended() {
        return Ok(0);
    }
    let mut begun = 0;
    for schedule in core.load_all::<ScheduleHeader>(DomainId::ROOT)? {
        let id = schedule.id();
        let schedule = match send(app, &core, schedule, now).await {
            Ok(schedule) => schedule,
            Err(e) => {
                tracing::warn!(schedule = %id, error = %e, "what a schedule made could not be sent");
                continue;
            }
        };
        if let Err(e) = retain(app, &core, &schedule, now).await {
            tracing::warn!(schedule = %id, error = %e, "retention of a schedule failed");
        }
        let h = &schedule.header;
        let inside = h.start_date.is_none_or(|start| now >= start) && h.end_date.is_none_or(|end| now <= end);
        if h.disabled || !inside {
            continue;
        }
        let Ok(table) = Timetable::new(&h.run_at, &h.time_zone) else { continue };
        let since = h.handled.unwrap_or(h.created_at).max(h.start_date.unwrap_or(Time(0)));
        let Some(due) = table.last_due(since, now) else { continue };
        // One that still runs is not begun a second time.
        let busy = h.runs.last().and_then(|r| r.job).is_some_and(|job| app.running.progress(job).is_some());
        if busy {
            continue;
        }
        match run(app, &core, schedule, due, now).await {
            Ok(run) => begun += u64::from(run.is_some()),
            Err(e) => tracing::error!(error = %e, "the run of a schedule could not be recorded"),
        }
    }
    Ok(begun)
}
