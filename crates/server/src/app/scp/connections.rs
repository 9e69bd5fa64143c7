//! Connections: hosts under a name that a domain's backups are sent to.

use keyark_api::endpoint::NoBody;
use keyark_api::schedules::DatabaseBackupParams;
use keyark_api::scp::{
    ScpConnection, ScpConnectionCreate, ScpConnectionDelete, ScpConnectionGet, ScpConnectionList, ScpConnectionTest,
    ScpConnectionTested, ScpConnectionTry, ScpConnectionUpdate,
};
use keyark_api::{ErrorCode, Page, PageQuery};
use keyark_backup::ssh::transfer::Target;
use keyark_model::DomainId;
use keyark_model::schedule::ScheduleHeader;
use keyark_model::ssh::ConnectionHeader;

use super::{connection_tried, password_of, place_of};
use crate::app::core::Core;
use crate::app::ctx::{Ctx, account_of, check_name, uri_of, wildcard};
use crate::app::error::{AppError, Result};
use crate::app::records::Stored;
use crate::app::{App, Handle, Reply};

/// The one product that sends files.
const PRODUCT: &str = "backup/restore";

type Connection = Stored<ConnectionHeader>;

impl Ctx {
    /// By id or name, of the caller's domain.
    pub fn connection_load(&self, id: &str) -> Result<Connection> {
        self.core.load_any(self.domain()?, id)
    }
}

fn shown(ctx: &Ctx, stored: &Connection) -> Result<ScpConnection> {
    let (h, domain) = (&stored.header, ctx.domain()?);
    let (host, tried) = (&h.place.host, h.tried.as_ref());
    Ok(ScpConnection {
        id: stored.id().to_string(),
        uri: uri_of(domain, "connectionmgmt:scp", stored.id()),
        account: account_of(domain),
        created_at: h.created_at,
        updated_at: h.updated_at,
        name: h.name.clone(),
        description: h.description.clone(),
        products: vec![PRODUCT.into()],
        host: host.host.clone(),
        port: host.port,
        username: host.user.clone(),
        auth_method: host.login.word().into(),
        public_key: host.key.clone(),
        path_to: h.place.path.clone(),
        protocol: h.place.protocol.word().into(),
        labels: h.labels.clone(),
        meta: h.meta.clone(),
        last_connection_ok: tried.map(|(_, problem)| problem.is_empty()),
        last_connection_error: tried.map(|(_, problem)| problem.clone()).filter(|p| !p.is_empty()),
        last_connection_at: tried.map(|(at, _)| *at),
    })
}

async fn tried(target: Target) -> Result<ScpConnectionTested> {
    let outcome = tokio::task::spawn_blocking(move || target.try_out()).await.map_err(AppError::internal)?;
    let connection_error = outcome.err().map(|e| e.to_string()).unwrap_or_default();
    Ok(ScpConnectionTested { connection_ok: connection_error.is_empty(), connection_error })
}

impl Handle<ScpConnectionCreate> for App {
    async fn handle(&self, ctx: &Ctx, r: ScpConnectionCreate) -> Result<Reply<ScpConnection>> {
        check_name("a connection has a name", &r.name)?;
        if r.products.iter().any(|p| p != PRODUCT) {
            return Err(AppError::invalid(format!("products is {PRODUCT}")));
        }
        let place = place_of(&r.place(), None)?;
        let password = password_of(&r.place(), &place, None)?;
        let header = ConnectionHeader {
            name: r.name,
            description: r.description.unwrap_or_default(),
            place,
            labels: r.labels,
            meta: r.meta,
            created_at: ctx.now,
            updated_at: ctx.now,
            tried: None,
        };
        let (id, domain) = (Core::new_id(ctx.now), ctx.domain()?);
        let write = ctx.core.put(domain, id, 1, &header, password.expose())?;
        ctx.commit(id.to_string(), vec![], vec![write]).await?;
        Ok(Reply::json(shown(ctx, &ctx.core.load(domain, id)?)?).at(1))
    }
}

impl Handle<ScpConnectionList> for App {
    async fn handle(&self, ctx: &Ctx, r: ScpConnectionList) -> Result<Reply<Page<ScpConnection>>> {
        let mut all = ctx.core.load_all::<ConnectionHeader>(ctx.domain()?)?;
        all.retain(|c| {
            r.name.as_ref().is_none_or(|pattern| wildcard(pattern, &c.header.name))
                && r.host.as_ref().is_none_or(|host| *host == c.header.place.host.host)
        });
        let all = all.iter().map(|c| shown(ctx, c)).collect::<Result<_>>()?;
        Ok(Reply::json(PageQuery::from_wire(r.skip, r.limit).of(all)))
    }
}

impl Handle<ScpConnectionGet> for App {
    async fn handle(&self, ctx: &Ctx, r: ScpConnectionGet) -> Result<Reply<ScpConnection>> {
        let stored = ctx.connection_load(&r.id)?;
        Ok(Reply::json(shown(ctx, &stored)?).at(stored.revision()))
    }
}

impl Handle<ScpConnectionUpdate> for App {
    async fn handle(&self, ctx: &Ctx, r: ScpConnectionUpdate) -> Result<Reply<ScpConnection>> {
        let stored = ctx.connection_load(&r.id)?;
        ctx.check_match(stored.revision())?;
        let place = place_of(&r.place(), Some(&stored.header.place))?;
        // A password is for one host: it does not go to another that somebody writes in its place.
        let same_host = place.host == stored.header.place.host;
        let before = same_host.then(|| ctx.core.open_body(&stored)).transpose()?;
        let password = password_of(&r.place(), &place, before)?;
        let mut header = ConnectionHeader { place, updated_at: ctx.now, tried: None, ..stored.header.clone() };
        header.description = r.description.unwrap_or(header.description);
        if !r.labels.is_null() {
            header.labels = r.labels;
        }
        if !r.meta.is_null() {
            header.meta = r.meta;
        }
        let domain = ctx.domain()?;
        let write = ctx.core.put(domain, stored.id(), stored.revision() + 1, &header, password.expose())?;
        ctx.commit(stored.id().to_string(), vec![], vec![write]).await?;
        let stored = ctx.core.load(domain, stored.id())?;
        Ok(Reply::json(shown(ctx, &stored)?).at(stored.revision()))
    }
}

impl Handle<ScpConnectionDelete> for App {
    async fn handle(&self, ctx: &Ctx, r: ScpConnectionDelete) -> Result<Reply<NoBody>> {
        let stored = ctx.connection_load(&r.id)?;
        ctx.check_match(stored.revision())?;
        let (domain, names) = (ctx.domain()?, [stored.id().to_string(), stored.header.name.clone()]);
        for schedule in ctx.core.load_all::<ScheduleHeader>(DomainId::ROOT)? {
            let h = &schedule.header;
            let params = serde_json::from_value::<DatabaseBackupParams>(h.params.clone()).unwrap_or_default();
            if h.domain == domain && params.connection.is_some_and(|c| names.contains(&c)) {
                return Err(AppError::new(ErrorCode::InUse, format!("the schedule {:?} sends backups there", h.name)));
            }
        }
        ctx.commit(stored.id().to_string(), vec![], vec![ctx.core.delete(&stored)]).await?;
        Ok(Reply::none())
    }
}

impl Handle<ScpConnectionTry> for App {
    async fn handle(&self, ctx: &Ctx, r: ScpConnectionTry) -> Result<Reply<ScpConnectionTested>> {
        let stored = ctx.connection_load(&r.id)?;
        ctx.check_match(stored.revision())?;
        let told = tried(ctx.connection_target(&stored).await?).await?;
        connection_tried(&ctx.core, ctx.domain()?, stored.id(), ctx.now, told.connection_error.clone())?;
        Ok(Reply::json(told))
    }
}

impl Handle<ScpConnectionTest> for App {
    async fn handle(&self, ctx: &Ctx, r: ScpConnectionTest) -> Result<Reply<ScpConnectionTested>> {
        let (target, _) = ctx.target_of(None, &r.place()).await?;
        Ok(Reply::json(tried(target).await?))
    }
}
