//! Long-running operations: one per domain at a time, a system operation excludes all.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use keyark_api::backups::JobProgress;
use keyark_api::jobs::{Job, JobCancel, JobGet, JobList};
use keyark_api::{ErrorCode, Page, PageQuery};
use keyark_backup::Progress;
use keyark_model::system::{BackupStatus, JobHeader};
use keyark_model::{DomainId, Id};

use super::core::Core;
use super::ctx::Ctx;
use super::error::{AppError, Result};
use super::records::Stored;
use super::{App, Handle, Reply};

/// How far background work gives way, as `nice` counts: where the processors are full it gets a tenth of what a request gets.
const GIVES_WAY: i32 = 10;

/// Runs long work on a thread of its own that gives way to the service: whoever waits for an answer goes first.
pub fn run_behind(work: impl FnOnce() + Send + 'static) {
    std::thread::spawn(move || {
        // Linux counts it for each thread, and threads that this one starts inherit it. Where it is refused, the work
        // runs like any other.
        let _ = rustix::process::setpriority_process(None, GIVES_WAY);
        work();
    });
}

/// What runs now.
#[derive(Default)]
pub struct Running {
    jobs: Mutex<HashMap<Id, Operation>>,
}

struct Operation {
    scope: Option<DomainId>,
    /// It stands in nobody's way: verification, drills.
    beside: bool,
    progress: Arc<Progress>,
}

impl Running {
    /// Registers an operation, unless one is in its way: its id is the error's.
    pub fn start(&self, id: Id, scope: Option<DomainId>) -> std::result::Result<Arc<Progress>, (Id, Option<DomainId>)> {
        let mut jobs = self.jobs.lock().expect("no panic while held");
        let same = |o: &Operation| o.scope.is_none() || scope.is_none() || o.scope == scope;
        let in_the_way = jobs.iter().find(|(_, o)| !o.beside && same(o));
        if let Some((id, other)) = in_the_way {
            return Err((*id, other.scope));
        }
        let progress = Arc::new(Progress::default());
        jobs.insert(id, Operation { scope, beside: false, progress: progress.clone() });
        Ok(progress)
    }

    /// Registers work beside the operations.
    pub fn start_beside(&self, id: Id, scope: Option<DomainId>) -> Arc<Progress> {
        let progress = Arc::new(Progress::default());
        let operation = Operation { scope, beside: true, progress: progress.clone() };
        self.jobs.lock().expect("no panic while held").insert(id, operation);
        progress
    }

    /// Cancels what runs beside the operations: a system restore takes the ground away.
    pub fn cancel_beside(&self) {
        let jobs = self.jobs.lock().expect("no panic while held");
        for beside in jobs.values().filter(|o| o.beside) {
            // One that ended in this very moment is as good as cancelled.
            let _ = beside.progress.cancel();
        }
    }

    pub fn end(&self, id: Id) {
        self.jobs.lock().expect("no panic while held").remove(&id);
    }

    /// What to show as the status of a job: whoever sees its end may start the next operation at once.
    pub fn status(&self, id: Id, recorded: BackupStatus) -> BackupStatus {
        if self.progress(id).is_some() { BackupStatus::InProgress } else { recorded }
    }

    /// How many operations run.
    pub fn count(&self) -> u64 {
        self.jobs.lock().expect("no panic while held").len() as u64
    }

    /// How far the operation on the whole system is, while one runs.
    pub fn of_system(&self) -> Option<Arc<Progress>> {
        let jobs = self.jobs.lock().expect("no panic while held");
        jobs.values().find(|o| !o.beside && o.scope.is_none()).map(|o| o.progress.clone())
    }

    /// How far a running job is.
    pub fn progress(&self, id: Id) -> Option<Arc<Progress>> {
        self.jobs.lock().expect("no panic while held").get(&id).map(|o| o.progress.clone())
    }
}

/// Progress as the wire shows it.
pub fn progress_shown(progress: &Progress) -> JobProgress {
    let (done, total) = progress.read();
    let percent = (done * 100).checked_div(total).unwrap_or(0).min(100) as u8;
    JobProgress { done, total, percent }
}

fn shown(app: &App, stored: &Stored<JobHeader>) -> Job {
    let h = &stored.header;
    let running = app.running.progress(stored.id());
    Job {
        id: stored.id().to_string(),
        operation: h.operation.clone(),
        status: app.running.status(stored.id(), h.status).of_job().into(),
        started_at: h.started,
        finished_at: h.finished,
        principal: h.actor.clone(),
        domain_id: h.domain.map(|d| d.to_string()),
        resource: h.resource.to_string(),
        progress: running.as_deref().map(progress_shown),
        result: h.result.clone(),
        error: h.failure.clone(),
        error_code: (h.code > 0).then_some(h.code),
        cancellable: running.is_some(),
    }
}

impl Core {
    /// The write that says a job is completed, for the batch that completes it.
    pub fn job_done(&self, id: Id, now: keyark_model::Time, result: serde_json::Value) -> Result<keyark_store::Write> {
        let stored = self.load::<JobHeader>(DomainId::ROOT, id)?;
        let status = BackupStatus::Completed;
        self.put_header(&stored, &JobHeader { finished: Some(now), status, result, ..stored.header.clone() })
    }

    /// Writes how a job ended, with further changes of root in the same entry.
    pub fn job_end(
        &self,
        id: Id,
        now: keyark_model::Time,
        outcome: std::result::Result<serde_json::Value, AppError>,
        mut more: Vec<keyark_store::Write>,
    ) -> Result<()> {
        let stored = self.load::<JobHeader>(DomainId::ROOT, id)?;
        let mut header = stored.header.clone();
        header.finished = Some(now);
        match outcome {
            Ok(result) => (header.status, header.result) = (BackupStatus::Completed, result),
            Err(e) => {
                header.status = match e.code {
                    ErrorCode::Cancelled => BackupStatus::Canceled,
                    _ => BackupStatus::Failed,
                };
                (header.code, header.failure) = (e.code.number(), e.message);
            }
        }
        more.insert(0, self.put_header(&stored, &header)?);
        self.commit_as_system(now, DomainId::ROOT, "job_end", vec![], more)?;
        Ok(())
    }
}

/// What work beside the operations came to: the job's result, and writes of root that go with it.
pub type Outcome = (serde_json::Value, Vec<keyark_store::Write>);

impl Ctx {
    /// The record of a job that begins now.
    pub fn job_begun(&self, operation: &str, domain: Option<DomainId>, actor: String, resource: Id) -> JobHeader {
        JobHeader {
            operation: operation.into(),
            domain,
            actor,
            resource,
            started: self.now,
            finished: None,
            status: BackupStatus::InProgress,
            failure: String::new(),
            code: 0,
            result: serde_json::Value::Null,
        }
    }

    /// Starts work that is no operation and stands in nobody's way; its job's id.
    pub async fn job_beside(
        &self,
        operation: &str,
        domain: Option<DomainId>,
        resource: Id,
        work: impl FnOnce(&Progress) -> Result<Outcome> + Send + 'static,
    ) -> Result<Id> {
        self.job_beside_about(operation, domain, resource, serde_json::Value::Null, work).await
    }

    /// The same, of a job of which something is known before it ends.
    pub async fn job_beside_about(
        &self,
        operation: &str,
        domain: Option<DomainId>,
        resource: Id,
        about: serde_json::Value,
        work: impl FnOnce(&Progress) -> Result<Outcome> + Send + 'static,
    ) -> Result<Id> {
        let job = Core::new_id(self.now);
        let begun = self.job_begun(operation, domain, self.caller()?.actor(), resource);
        let header = JobHeader { result: about, ..begun };
        let write = self.core.put(DomainId::ROOT, job, 1, &header, b"")?;
        let progress = self.app.running.start_beside(job, domain);
        if let Err(e) = self.commit_in(DomainId::ROOT, resource.to_string(), vec![], vec![write]).await {
            self.app.running.end(job);
            return Err(e);
        }
        let (app, core) = (self.app.clone(), self.core.clone());
        run_behind(move || {
            let ended = match work(&progress) {
                Ok((result, writes)) => core.job_end(job, app.now(), Ok(result), writes),
                Err(e) => core.job_end(job, app.now(), Err(e), Vec::new()),
            };
            if let Err(e) = ended {
                tracing::error!(%job, error = %e, "the end of a job could not be recorded");
            }
            app.running.end(job);
        });
        Ok(job)
    }

    fn jobs(&self) -> Result<Vec<Stored<JobHeader>>> {
        let mut seen = Vec::new();
        for job in self.core.load_all::<JobHeader>(DomainId::ROOT)? {
            if self.sees_scope(job.header.domain)? {
                seen.push(job);
            }
        }
        seen.reverse();
        Ok(seen)
    }

    fn job_load(&self, id: &str) -> Result<Stored<JobHeader>> {
        let missing = || AppError::not_found(format_args!("the job {id:?}"));
        let stored = self.core.load::<JobHeader>(DomainId::ROOT, id.parse().map_err(|_| missing())?)?;
        if self.sees_scope(stored.header.domain)? { Ok(stored) } else { Err(missing()) }
    }

    /// The latest operation that the caller may see.
    pub fn job_latest(&self) -> Result<Option<Stored<JobHeader>>> {
        Ok(self.jobs()?.into_iter().next())
    }
}

impl Handle<JobList> for App {
    async fn handle(&self, ctx: &Ctx, r: JobList) -> Result<Reply<Page<Job>>> {
        let all = ctx.jobs()?.iter().map(|j| shown(self, j)).collect();
        Ok(Reply::json(PageQuery::from_wire(r.skip, r.limit).of(all)))
    }
}

impl Handle<JobGet> for App {
    async fn handle(&self, ctx: &Ctx, r: JobGet) -> Result<Reply<Job>> {
        Ok(Reply::json(shown(self, &ctx.job_load(&r.id)?)))
    }
}

impl Handle<JobCancel> for App {
    async fn handle(&self, ctx: &Ctx, r: JobCancel) -> Result<Reply<Job>> {
        let stored = ctx.job_load(&r.id)?;
        let restore = stored.header.operation == "Backup restore";
        ctx.require(super::backupkeys::right_of(stored.header.domain, restore))?;
        match self.running.progress(stored.id()) {
            Some(progress) if progress.cancel() => Ok(Reply::json(shown(self, &stored))),
            _ => Err(AppError::conflict("the job has ended or passed the point of no return")),
        }
    }
}
