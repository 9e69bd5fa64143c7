//! Schedules: what is done by the clock, and what came of it.

mod cron;
pub mod run;
mod work;

use keyark_api::endpoint::NoBody;
use keyark_api::protection::Alarm;
use keyark_api::schedules::{
    JobConfig, JobConfigCreate, JobConfigDelete, JobConfigGet, JobConfigList, JobConfigRunNow, JobConfigUpdate,
    ScheduledJob, ScheduledJobList,
};
use keyark_api::{ErrorCode, Page, PageQuery};
use keyark_model::schedule::{Run, ScheduleHeader};
use keyark_model::system::{BackupStatus, JobHeader};
use keyark_model::{DomainId, Id};

use self::cron::Timetable;
pub use self::work::DATABASE_BACKUP;
use self::work::{Given, Work};
use super::core::Core;
use super::ctx::{Ctx, account_of, check_name, uri_of};
use super::error::{AppError, Result};
use super::records::Stored;
use super::scp::transfer_shown;
use super::{App, Handle, Reply};

type Schedule = Stored<ScheduleHeader>;

impl Ctx {
    fn schedules(&self) -> Result<Vec<Schedule>> {
        let domain = self.domain()?;
        let all = self.core.load_all::<ScheduleHeader>(DomainId::ROOT)?;
        Ok(all.into_iter().filter(|s| s.header.domain == domain).collect())
    }

    /// By id or name, of the caller's domain.
    fn schedule_load(&self, id: &str) -> Result<Schedule> {
        let found = self.schedules()?.into_iter().find(|s| s.id().to_string() == id || s.header.name == id);
        found.ok_or_else(|| AppError::not_found(format_args!("the schedule {id:?}")))
    }

    /// Refuses who may not do what the schedule does.
    fn schedule_own(&self, id: &str) -> Result<Schedule> {
        let stored = self.schedule_load(id)?;
        self.require(Work::of(&stored.header)?.right(self, stored.header.domain)?)?;
        self.check_match(stored.revision())?;
        Ok(stored)
    }

    /// Schedules whose last run failed.
    pub fn schedule_alarms(&self) -> Result<Vec<Alarm>> {
        let mut alarms = Vec::new();
        for schedule in self.schedules()?.iter().filter(|s| s.header.is_on(self.now)) {
            let last = schedule.header.runs.last().map(|run| self.run_shown(schedule, run));
            if let Some(error) =
                last.filter(|run| run.status == "failed" || run.scp.is_some()).and_then(|run| run.error)
            {
                let message = format!("its last run failed: {error}");
                let (code, resource) = ("schedule_failed".into(), schedule.header.name.clone());
                alarms.push(Alarm { code, resource, destination: None, message });
            }
        }
        Ok(alarms)
    }

    fn run_shown(&self, schedule: &Schedule, run: &Run) -> ScheduledJob {
        let load = |id: Id| self.core.load::<JobHeader>(DomainId::ROOT, id).ok();
        let (job, sent) = (run.job.and_then(load), run.transfers.last().copied().and_then(load));
        let status = match (&job, run.job) {
            (Some(job), Some(id)) => self.app.running.status(id, job.header.status).of_job(),
            _ => BackupStatus::Failed.of_job(),
        };
        let failure = job.map(|j| j.header.failure.clone()).filter(|f| !f.is_empty());
        let mut error = failure.unwrap_or_else(|| run.failure.clone());
        let sent = sent.map(|job| transfer_shown(&self.app, job.id(), &job.header));
        if let Some(failed) = sent.as_ref().filter(|s| !s.error.is_empty()) {
            error = format!("transfer: {}", failed.error);
        }
        ScheduledJob {
            id: run.id.to_string(),
            job_config_id: schedule.id().to_string(),
            name: schedule.header.name.clone(),
            operation: schedule.header.operation.clone(),
            created_at: run.at,
            status: status.into(),
            job_id: run.job.map(|id| id.to_string()),
            backup: run.backup.map(|id| id.to_string()),
            scp_status: sent.as_ref().map(|s| s.connection_status.clone()),
            scp: sent.map(|s| s.id),
            error: Some(error).filter(|e| !e.is_empty()),
        }
    }
}

fn shown(ctx: &Ctx, stored: &Schedule) -> JobConfig {
    let h = &stored.header;
    let table = Timetable::new(&h.run_at, &h.time_zone).ok();
    let next = table.and_then(|t| t.next(ctx.now.max(h.start_date.unwrap_or(ctx.now))));
    JobConfig {
        id: stored.id().to_string(),
        uri: uri_of(h.domain, "scheduler:job-configs", stored.id()),
        account: account_of(h.domain),
        created_at: h.created_at,
        updated_at: h.updated_at,
        name: h.name.clone(),
        description: h.description.clone(),
        operation: h.operation.clone(),
        run_at: h.run_at.clone(),
        run_on: "any".into(),
        time_zone: h.time_zone.clone(),
        disabled: h.disabled,
        start_date: h.start_date,
        end_date: h.end_date,
        job_config_params: h.params.clone(),
        next_run: next.filter(|next| !h.disabled && h.end_date.is_none_or(|end| *next <= end)),
    }
}

fn dates_fit(header: &ScheduleHeader) -> Result<()> {
    match (header.start_date, header.end_date) {
        (Some(start), Some(end)) if end < start => Err(AppError::invalid("end_date is before start_date")),
        _ => Ok(()),
    }
}

impl Handle<JobConfigCreate> for App {
    async fn handle(&self, ctx: &Ctx, r: JobConfigCreate) -> Result<Reply<JobConfig>> {
        let (backup, instance, rotation) = (r.database_backup_params, r.instance_params, r.key_rotation_params);
        let work = Work::given(&r.operation, Given { backup, instance, rotation })?;
        work.check(ctx)?;
        check_name("a schedule has a name", &r.name)?;
        if r.run_on.as_deref().is_some_and(|node| node != "any") {
            return Err(AppError::invalid("run_on is any"));
        }
        let time_zone = r.time_zone.unwrap_or_else(|| "UTC".into());
        Timetable::new(&r.run_at, &time_zone)?;
        if ctx.schedule_load(&r.name).is_ok() {
            return Err(AppError::new(ErrorCode::AlreadyExists, format!("there is a schedule {:?}", r.name)));
        }
        let header = ScheduleHeader {
            name: r.name,
            description: r.description.unwrap_or_default(),
            operation: r.operation,
            run_at: r.run_at,
            time_zone,
            disabled: r.disabled,
            start_date: r.start_date,
            end_date: r.end_date,
            domain: ctx.domain()?,
            created_at: ctx.now,
            updated_at: ctx.now,
            params: work.value()?,
            handled: None,
            runs: Vec::new(),
        };
        dates_fit(&header)?;
        let id = Core::new_id(ctx.now);
        let write = ctx.core.put(DomainId::ROOT, id, 1, &header, b"")?;
        ctx.commit_in(DomainId::ROOT, id.to_string(), vec![], vec![write]).await?;
        let stored = ctx.core.load::<ScheduleHeader>(DomainId::ROOT, id)?;
        Ok(Reply::json(shown(ctx, &stored)).at(1))
    }
}

impl Handle<JobConfigList> for App {
    async fn handle(&self, ctx: &Ctx, r: JobConfigList) -> Result<Reply<Page<JobConfig>>> {
        let mut all = ctx.schedules()?;
        all.retain(|s| r.operation.as_ref().is_none_or(|o| *o == s.header.operation));
        let all = all.iter().map(|s| shown(ctx, s)).collect();
        Ok(Reply::json(PageQuery::from_wire(r.skip, r.limit).of(all)))
    }
}

impl Handle<JobConfigGet> for App {
    async fn handle(&self, ctx: &Ctx, r: JobConfigGet) -> Result<Reply<JobConfig>> {
        let stored = ctx.schedule_load(&r.id)?;
        Ok(Reply::json(shown(ctx, &stored)).at(stored.revision()))
    }
}

impl Handle<JobConfigUpdate> for App {
    async fn handle(&self, ctx: &Ctx, r: JobConfigUpdate) -> Result<Reply<JobConfig>> {
        let stored = ctx.schedule_own(&r.id)?;
        let mut header = stored.header.clone();
        let (backup, instance, rotation) = (r.database_backup_params, r.instance_params, r.key_rotation_params);
        let given = Given { backup, instance, rotation };
        if given.any() {
            let work = Work::given(&header.operation, given)?;
            work.check(ctx)?;
            header.params = work.value()?;
        }
        header.description = r.description.unwrap_or(header.description);
        header.run_at = r.run_at.unwrap_or(header.run_at);
        header.time_zone = r.time_zone.unwrap_or(header.time_zone);
        header.disabled = r.disabled.unwrap_or(header.disabled);
        header.start_date = r.start_date.or(header.start_date);
        header.end_date = r.end_date.or(header.end_date);
        header.updated_at = ctx.now;
        // What was due under the old times, or while it was disabled, is not made up for.
        header.handled = Some(ctx.now);
        dates_fit(&header)?;
        Timetable::new(&header.run_at, &header.time_zone)?;
        ctx.commit_header(&stored, &header).await?;
        let stored = ctx.core.load::<ScheduleHeader>(DomainId::ROOT, stored.id())?;
        Ok(Reply::json(shown(ctx, &stored)).at(stored.revision()))
    }
}

impl Handle<JobConfigDelete> for App {
    async fn handle(&self, ctx: &Ctx, r: JobConfigDelete) -> Result<Reply<NoBody>> {
        let stored = ctx.schedule_own(&r.id)?;
        let write = ctx.core.delete(&stored);
        ctx.commit_in(DomainId::ROOT, stored.id().to_string(), vec![], vec![write]).await?;
        Ok(Reply::none())
    }
}

impl Handle<JobConfigRunNow> for App {
    async fn handle(&self, ctx: &Ctx, r: JobConfigRunNow) -> Result<Reply<ScheduledJob>> {
        let stored = ctx.schedule_own(&r.id)?;
        let id = stored.id();
        // A due time that has passed counts as looked after; one to come is not touched.
        let due = stored.header.handled.unwrap_or(ctx.now);
        let ran = run::run(&ctx.app, &ctx.core, stored, due, ctx.now).await?;
        let ran =
            ran.ok_or_else(|| AppError::new(ErrorCode::OperationRunning, "another operation is running; wait for it"))?;
        let stored = ctx.core.load::<ScheduleHeader>(DomainId::ROOT, id)?;
        Ok(Reply::json(ctx.run_shown(&stored, &ran)))
    }
}

impl Handle<ScheduledJobList> for App {
    async fn handle(&self, ctx: &Ctx, r: ScheduledJobList) -> Result<Reply<Page<ScheduledJob>>> {
        let mut all = Vec::new();
        for schedule in ctx.schedules()? {
            if r.job_config_id.as_ref().is_none_or(|id| *id == schedule.id().to_string()) {
                all.extend(schedule.header.runs.iter().map(|run| ctx.run_shown(&schedule, run)));
            }
        }
        all.sort_by_key(|run| std::cmp::Reverse((run.created_at, run.id.clone())));
        Ok(Reply::json(PageQuery::from_wire(r.skip, r.limit).of(all)))
    }
}
