//! Door one: who may do it, what is recorded and how an error looks are decided here once for every surface.

pub mod core;
pub mod counters;
pub mod ctx;
pub mod error;
pub mod idempotency;
mod position;
pub mod records;
pub mod usage;
pub mod watch;

mod alarms;
pub mod auth;
pub mod backupkeys;
pub mod backups;
pub mod crypto;
pub mod destinations;
pub mod domains;
pub mod groups;
pub mod handler;
mod holders;
pub mod instances;
pub mod jobs;
pub mod keys;
pub mod policies;
pub mod policy_sets;
pub mod reset_admin;
pub mod schedules;
mod scp;
pub mod secrets;
pub mod system;
pub mod uploads;
pub mod users;
pub mod webhooks;

use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use keyark_api::{Endpoint, EndpointInfo, ErrorCode};
use keyark_model::Time;
use keyark_model::access::Right;

pub use self::core::Core;
pub use ctx::{Ctx, Principal, Request};
pub use error::{AppError, Result};

use self::counters::Counters;
use self::handler::{Call, Written};
use self::idempotency::Idempotency;
use self::usage::Trace;
use self::watch::ClockWatch;
use self::webhooks::Webhooks;
use crate::access::{Argon, Lockout, PrincipalCache};
use crate::audit::{Named, Room, UsageError, UsageLog};
use crate::boot::Folder;
use crate::protection::Protection;
use crate::settings::{AuditMode, Settings};

/// The clock: the one place where time enters.
pub type Clock = Arc<dyn Fn() -> Time + Send + Sync>;

/// Time since some moment, by a timer that nobody sets.
pub type Timer = Arc<dyn Fn() -> Duration + Send + Sync>;

/// The whole server without its sockets.
pub struct App {
    core: RwLock<Option<Arc<Core>>>,
    pub folder: Folder,
    pub settings: Settings,
    pub clock: Clock,
    /// Beside the clock, to tell when that is set.
    pub timer: Timer,
    pub(crate) watch: ClockWatch,
    pub(crate) principals: PrincipalCache,
    pub(crate) lockout: Lockout,
    pub(crate) running: jobs::Running,
    pub(crate) protection: Protection,
    pub(crate) webhooks: Webhooks,
    pub counters: Counters,
    pub usage: UsageLog,
    pub(crate) idempotency: Idempotency,
    pub(crate) argon: Argon,
}

/// A handler: one per endpoint, so that the compiler finds the missing one.
pub trait Handle<E: Endpoint> {
    fn handle(&self, ctx: &Ctx, request: E) -> impl Future<Output = Result<Reply<E::Response>>> + Send;
}

/// A handler's answer.
#[derive(Debug)]
pub struct Reply<T> {
    pub content: Content<T>,
    /// The resource's revision, sent as ETag.
    pub revision: Option<u64>,
    /// Another status than the endpoint's usual one.
    pub status: Option<u16>,
    /// Of a write: the token of its position in the log.
    pub position: Option<String>,
}

/// What an answer holds.
#[derive(Debug)]
pub enum Content<T> {
    Json(T),
    None,
    File { path: std::path::PathBuf, name: String, etag: String },
}

impl<T> Reply<T> {
    pub fn json(value: T) -> Reply<T> {
        Reply { content: Content::Json(value), revision: None, status: None, position: None }
    }

    pub fn none() -> Reply<T> {
        Reply { content: Content::None, revision: None, status: None, position: None }
    }

    pub fn at(mut self, revision: u64) -> Reply<T> {
        self.revision = Some(revision);
        self
    }

    /// What was answered, for a handler that calls another.
    pub fn value(self) -> Result<T> {
        match self.content {
            Content::Json(value) => Ok(value),
            _ => Err(AppError::internal("an answer without content")),
        }
    }
}

impl App {
    /// Fails when the usage log of the data folder cannot be opened.
    pub fn new(
        core: Core,
        folder: Folder,
        settings: Settings,
        clock: Clock,
        timer: Timer,
    ) -> std::result::Result<App, UsageError> {
        let room = Room { reserve: settings.disk_reserve, free_space: keyark_store::Options::default().free_space };
        let watch = ClockWatch::new(core.clock_known(), clock(), timer());
        let usage = UsageLog::open(&folder.usage(), settings.audit == AuditMode::BeforeAnswer, room)?;
        Ok(App {
            core: RwLock::new(Some(Arc::new(core))),
            folder,
            settings,
            counters: Counters::new(clock()),
            usage,
            idempotency: Idempotency::default(),
            clock,
            timer,
            watch,
            principals: PrincipalCache::default(),
            lockout: Lockout::default(),
            running: jobs::Running::default(),
            protection: Protection::default(),
            webhooks: Webhooks::default(),
            argon: Argon::default(),
        })
    }

    /// The running system; while a system restore replaces it, nobody gets it.
    pub fn core(&self) -> Result<Arc<Core>> {
        self.core.read().expect("no panic while held").clone().ok_or_else(|| {
            let shown = self.running.of_system().map(|p| jobs::progress_shown(&p));
            let far = shown.map(|p| format!(" ({} of {} records, {} %)", p.done, p.total, p.percent));
            let what = format!("a system restore is running{}; try again when it is done", far.unwrap_or_default());
            let mut e = AppError::new(ErrorCode::Unavailable, what);
            e.retry_after = Some(2);
            e
        })
    }

    /// Takes the running system away (a restore begins) or puts one in place (it ended).
    pub fn swap_core(&self, core: Option<Arc<Core>>) -> Option<Arc<Core>> {
        self.principals.clear();
        self.idempotency.clear();
        std::mem::replace(&mut *self.core.write().expect("no panic while held"), core)
    }

    pub fn now(&self) -> Time {
        (self.clock)()
    }

    /// The time by which something may be deleted: the clock's, as far as that can be believed.
    pub fn believed(&self) -> Time {
        self.watch.believed(self.now(), (self.timer)())
    }

    /// What is wrong with the clock: behind the log, or ahead of what can be.
    pub fn clock_warning(&self, core: &Core, now: Time) -> Option<String> {
        core.clock_warning(now).or_else(|| self.watch.warning(now, (self.timer)()))
    }

    /// The one door: authorizes, runs, records.
    pub async fn call(
        self: &Arc<Self>,
        endpoint: &EndpointInfo,
        request: Request,
        call: Call,
    ) -> (String, Result<Written>) {
        let (request_id, source, now) = (request.id.clone(), request.source, self.now());
        let mut trace = Trace::of(&request);
        let mut result = self.call_inside(endpoint, request, call, now, &mut trace).await;
        let code = result.as_ref().err().map(|e| e.code);
        if let Err(e) = self.usage_record(endpoint, code, trace, &request_id, source, now).await {
            // What cannot be recorded is not answered.
            result = Err(e);
        }
        let ended = result.as_ref().map(|reply| reply.status.unwrap_or(endpoint.status)).map_err(|e| e.code);
        self.counters.called(endpoint.id, ended, self.now().0 - now.0);
        if let Err(e) = &result {
            let action = endpoint.id;
            match &e.internal {
                Some(reason) => tracing::error!(action, request = %request_id, reason, "request failed"),
                None => tracing::debug!(action, request = %request_id, code = e.code.wire(), "request refused"),
            }
        }
        (request_id, result)
    }

    async fn call_inside(
        self: &Arc<Self>,
        endpoint: &EndpointInfo,
        request: Request,
        call: Call,
        now: Time,
        trace: &mut Trace,
    ) -> Result<Written> {
        let core = self.core()?;
        let principal = self.admit_at(endpoint, &core, &request, now, trace)?;
        let known = Mutex::new(std::mem::take(trace));
        let ctx = Ctx { app: self.clone(), core, principal, now, request, action: endpoint.id, trace: known };
        let mut result = call(&ctx).await;
        let written = ctx.trace.lock().unwrap_or_else(PoisonError::into_inner).position;
        if let (Ok(reply), Some(seq), Some(caller)) = (&mut result, written, &ctx.principal) {
            reply.position = Some(ctx.core.position_token(caller.domain, seq)?);
        }
        *trace = ctx.trace.into_inner().unwrap_or_else(PoisonError::into_inner);
        result
    }
}

impl App {
    /// Whether a request may come in at all; asked before a large body is read, and again by `call`.
    pub fn admit(&self, endpoint: &EndpointInfo, request: &Request) -> Result<Option<Arc<Principal>>> {
        self.admit_at(endpoint, &*self.core()?, request, self.now(), &mut Trace::default())
    }

    fn admit_at(
        &self,
        endpoint: &EndpointInfo,
        core: &Core,
        request: &Request,
        now: Time,
        trace: &mut Trace,
    ) -> Result<Option<Arc<Principal>>> {
        if endpoint.right == Right::Public {
            return Ok(None);
        }
        let principal = self.principals.authenticate(core, request, now)?;
        (trace.domain, trace.actor) = (Some(principal.domain), Named::Id(principal.user));
        if principal.must_change_password {
            return Err(AppError::new(
                ErrorCode::PasswordChangeRequired,
                "change the password first: PATCH /v1/auth/changepw or `keyark self changepw`",
            ));
        }
        if !principal.may(endpoint.right) && !decides_by_itself(endpoint) {
            return Err(refusal(endpoint, &principal));
        }
        Ok(Some(principal))
    }
}

/// Endpoints whose handler may let in callers without the general right: a key's own permissions do that.
fn decides_by_itself(endpoint: &EndpointInfo) -> bool {
    // A change needs the right in any case, but whether its refusal may name the key depends on the key.
    let of_keys = matches!(endpoint.right, Right::KeyUse | Right::KeyExport | Right::KeyRead | Right::KeyWrite);
    of_keys && endpoint.path.contains('{') || endpoint.path.starts_with("/v1/crypto/")
}

/// What you may not see looks as if it did not exist; what you may see but not do names the action (promise P9).
fn refusal(endpoint: &EndpointInfo, principal: &Principal) -> AppError {
    if endpoint.path.contains('{') && !principal.may(endpoint.right.to_see()) {
        AppError::not_found("the resource")
    } else {
        AppError::forbidden(endpoint.id)
    }
}
