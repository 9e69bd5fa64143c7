//! Which calls enter the usage log, and the list of its records.

use std::sync::PoisonError;

use keyark_api::records::{ClientRecord, ClientRecordList};
use keyark_api::{EndpointInfo, ErrorCode, Method, Page};
use keyark_model::{DomainId, Time};

use super::core::Core;
use super::ctx::{Ctx, Request};
use super::error::{AppError, Result};
use super::users::UserHeader;
use super::{App, Handle, Reply};
use crate::audit::{Named, UsageError, UsageQuery, UsageRecord};

/// The action of the entries that hold the end of the usage log.
pub const USAGE_ANCHOR: &str = "usage_anchor";
/// The largest page of usage records.
const LARGEST_PAGE: u64 = 10_000;

/// What is known of a call when it has ended.
#[derive(Debug, Default)]
pub struct Trace {
    pub domain: Option<DomainId>,
    pub actor: Named,
    pub target: Named,
    /// Whether the call wrote to the change log.
    pub committed: bool,
    /// Where its last entry stands.
    pub position: Option<u64>,
}

impl Trace {
    pub fn of(request: &Request) -> Trace {
        Trace { target: Named::text(&request.target), ..Trace::default() }
    }
}

impl Ctx {
    /// Says what the usage log could not know of the request alone.
    pub fn tell(&self, say: impl FnOnce(&mut Trace)) {
        say(&mut self.trace.lock().unwrap_or_else(PoisonError::into_inner));
    }
}

impl From<UsageError> for AppError {
    fn from(e: UsageError) -> Self {
        match e {
            UsageError::Full => AppError::new(
                ErrorCode::StorageFull,
                "the disk is nearly full: nothing is answered that cannot be recorded; free space",
            ),
            UsageError::Busy | UsageError::Closed => {
                let mut e = AppError::new(ErrorCode::Unavailable, "the server cannot take more now; try again");
                e.retry_after = Some(1);
                e
            }
            e => AppError::internal(e),
        }
    }
}

/// Reads, cryptography, logins and denied attempts; and what succeeded without an entry of the change log.
fn belongs(endpoint: &EndpointInfo, code: Option<ErrorCode>, committed: bool) -> bool {
    let reads = endpoint.method == Method::GET || endpoint.path.starts_with("/v1/crypto/");
    let always = reads || endpoint.id == "token_create";
    let denied = code.is_some_and(|c| matches!(c.status(), 401 | 403 | 404 | 429));
    always || denied || code.is_none() && !committed
}

impl App {
    /// Records a call that has ended, if it belongs into the usage log.
    pub(super) async fn usage_record(
        &self,
        endpoint: &EndpointInfo,
        code: Option<ErrorCode>,
        trace: Trace,
        request_id: &str,
        source: Option<std::net::IpAddr>,
        time: Time,
    ) -> Result<()> {
        if !belongs(endpoint, code, trace.committed) {
            return Ok(());
        }
        let record = UsageRecord {
            time,
            domain: trace.domain.unwrap_or(DomainId::ROOT),
            actor: trace.actor,
            action: endpoint.id.into(),
            target: trace.target,
            success: code.is_none(),
            code: code.map_or(0, ErrorCode::number),
            request_id: request_id.into(),
            source,
        };
        self.usage.record(record).await.map_err(AppError::from)
    }
}

impl App {
    /// A request that was refused before it was read: recorded and counted like every other.
    pub async fn refused(&self, endpoint: &EndpointInfo, request: &Request, e: &AppError) {
        let now = self.now();
        let mut trace = Trace::of(request);
        let caller = self.core().and_then(|core| self.principals.authenticate(&core, request, now));
        if let Ok(caller) = caller {
            (trace.domain, trace.actor) = (Some(caller.domain), Named::Id(caller.user));
        }
        self.counters.called(endpoint.id, Err(e.code), 0);
        if let Err(e) = self.usage_record(endpoint, Some(e.code), trace, &request.id, request.source, now).await {
            // It is refused either way.
            tracing::error!(error = %e, "a refusal was not recorded");
        }
    }
}

impl App {
    /// Walks the usage log, and compares it with the hashes that the change log has of it: the first position that is
    /// broken, if any.
    pub fn usage_verify(&self, core: &Core) -> Result<Option<u64>> {
        let (mut anchors, mut before) = (Vec::new(), None);
        loop {
            let page = core.store.audit(before, 1000, Some(DomainId::ROOT), true)?;
            let Some(last) = page.last() else { break };
            before = Some(last.seq);
            let own = page.iter().filter(|e| e.action == USAGE_ANCHOR && e.actor == "system");
            anchors.extend(own.filter_map(|e| self.usage.anchor_read(&e.target)));
        }
        Ok(self.usage.verify(&anchors)?)
    }
}

fn shown(position: u64, record: UsageRecord) -> ClientRecord {
    ClientRecord {
        id: position.to_string(),
        position,
        created_at: record.time,
        action: record.action.into_owned(),
        target: record.target.shown(),
        success: record.success,
        code: record.code,
        user_id: match &record.actor {
            Named::Id(id) => format!("local|{id}"),
            other => other.shown(),
        },
        request_id: record.request_id,
        domain_id: record.domain.to_string(),
        source: record.source.map(|ip| ip.to_string()),
    }
}

impl Handle<ClientRecordList> for App {
    async fn handle(&self, ctx: &Ctx, r: ClientRecordList) -> Result<Reply<Page<ClientRecord>>> {
        let limit = r.limit.map_or(100, |n| if n < 0 { LARGEST_PAGE } else { n as u64 }).min(LARGEST_PAGE);
        let domain = ctx.domain()?;
        let actor = match &r.username {
            None => None,
            Some(name) => Some(ctx.core.load_named::<UserHeader>(domain, &name.to_lowercase())?.id()),
        };
        let query = UsageQuery {
            action: r.action,
            actor,
            target: r.target,
            success: r.success,
            since: r.created_after,
            before: r.before,
            limit,
        };
        if let Err(e) = self.usage.flush().await {
            // What is on disk can be read although nothing can be added.
            tracing::warn!(error = %e, "the newest usage records are not on disk yet");
        }
        let app = ctx.app.clone();
        let found = tokio::task::spawn_blocking(move || app.usage.list(domain, &query));
        let found = found.await.map_err(AppError::internal)??;
        let resources: Vec<_> = found.into_iter().map(|(position, record)| shown(position, record)).collect();
        Ok(Reply::json(Page { skip: 0, limit, total: resources.len() as u64, resources }))
    }
}

#[cfg(test)]
mod tests {
    use keyark_api::auth::TokenCreate;
    use keyark_api::crypto::Encrypt;
    use keyark_api::keys::{KeyCreate, KeyGet};
    use keyark_api::secrets::SecretExport;
    use keyark_api::{Endpoint, EndpointInfo, ErrorCode};

    fn belongs<E: Endpoint>(code: Option<ErrorCode>, committed: bool) -> bool {
        super::belongs(&EndpointInfo::of::<E>(), code, committed)
    }

    #[test]
    fn what_changed_something_is_in_the_change_log_and_everything_else_here() {
        assert!(belongs::<KeyGet>(None, false) && belongs::<KeyGet>(Some(ErrorCode::NotFound), false));
        assert!(belongs::<Encrypt>(None, false) && belongs::<Encrypt>(Some(ErrorCode::KeyState), false));
        assert!(belongs::<TokenCreate>(None, true), "a login is a session and a use");
        assert!(belongs::<SecretExport>(None, false), "it reads, although it is a POST");
        assert!(!belongs::<KeyCreate>(None, true));
        assert!(belongs::<KeyCreate>(Some(ErrorCode::Forbidden), false));
        assert!(!belongs::<KeyCreate>(Some(ErrorCode::InvalidParam), false));
    }
}
