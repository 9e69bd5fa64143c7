//! What this system is, its anchor, its audit log.

use keyark_api::system::{
    AnchorGet, AnchorShown, AuditList, AuditRecord, ClockAccept, Info, Service, Services, ServicesStatus,
    SystemActivate, SystemInfo,
};
use keyark_api::{ErrorCode, Page};
use keyark_model::DomainId;
use keyark_model::system::NodeHeader;

use super::core::Core;
use super::ctx::{Ctx, confirmed};
use super::error::{AppError, Result};
use super::users::UserHeader;
use super::{App, Handle, Reply};

/// The node record that says whether a restored system may go out.
pub const OUTBOUND: &str = "outbound";

/// How the file of a store begins that a system restore replaced; it is kept until the new one is activated.
pub const KEPT: &str = "store.db.before-";

impl Core {
    /// Whether a restored system waits for its activation: nothing goes out.
    pub fn suspended(&self) -> bool {
        let outbound = self.load_named::<NodeHeader>(DomainId::ROOT, OUTBOUND).ok();
        outbound.is_some_and(|o| o.header.public == "suspended")
    }

    /// Refuses what would go out while that is so.
    pub fn may_go_out(&self) -> Result<()> {
        let what = "this system was restored; nothing goes out before `keyark system activate`";
        if self.suspended() { Err(AppError::new(ErrorCode::Suspended, what)) } else { Ok(()) }
    }
}

impl Ctx {
    fn info(&self) -> Result<Info> {
        let suspended = self.core.suspended();
        let domain = self.domain()?;
        let mut warnings: Vec<String> = self.app.clock_warning(&self.core, self.now).into_iter().collect();
        if domain == DomainId::ROOT {
            warnings.extend(self.core.escrow_warning(None, self.now)?);
        }
        if let Err(e) = self.core.writable() {
            warnings.push(format!("store_rolled_back: {}", e.message));
        }
        if suspended {
            warnings.push("suspended: this system was restored; look at it, then `keyark system activate`".into());
        }
        Ok(Info {
            name: "keyark".into(),
            version: env!("CARGO_PKG_VERSION").into(),
            model: "Keyark".into(),
            vendor: "Keyark".into(),
            system: self.core.system.to_string(),
            incarnation: self.core.incarnation.to_string(),
            system_time: self.now,
            position: self.core.store.head().seq,
            outbound: if suspended { "suspended" } else { "active" }.into(),
            anchor_fingerprint: self.core.anchor.fingerprint(),
            warnings,
        })
    }
}

impl Handle<SystemInfo> for App {
    async fn handle(&self, ctx: &Ctx, _: SystemInfo) -> Result<Reply<Info>> {
        Ok(Reply::json(ctx.info()?))
    }
}

fn services(writable: bool, suspended: bool) -> Services {
    let service = |name: &str, works: bool, otherwise: &str| Service {
        name: name.into(),
        status: if works { "started" } else { otherwise }.into(),
    };
    // Who reads this has an answer of the API.
    let services = vec![
        service("api", true, ""),
        service("store", writable, "read_only"),
        service("outbound", !suspended, "suspended"),
    ];
    let all = writable && !suspended;
    Services { status: if all { "started" } else { "degraded" }.into(), services }
}

impl Handle<ServicesStatus> for App {
    async fn handle(&self, ctx: &Ctx, _: ServicesStatus) -> Result<Reply<Services>> {
        let free_space = keyark_store::Options::default().free_space;
        let room = free_space(self.folder.path()).is_ok_and(|free| free > self.settings.disk_reserve);
        Ok(Reply::json(services(room && ctx.core.writable().is_ok(), ctx.core.suspended())))
    }
}

impl Handle<AnchorGet> for App {
    async fn handle(&self, ctx: &Ctx, _: AnchorGet) -> Result<Reply<AnchorShown>> {
        let anchor = serde_json::to_value(&ctx.core.anchor).map_err(AppError::internal)?;
        Ok(Reply::json(AnchorShown { fingerprint: ctx.core.anchor.fingerprint(), anchor }))
    }
}

impl Handle<SystemActivate> for App {
    async fn handle(&self, ctx: &Ctx, r: SystemActivate) -> Result<Reply<Info>> {
        confirmed(
            r.confirm.as_deref(),
            &["activate"],
            "the restored system will take the place of the one it came from",
        )?;
        if let Ok(stored) = ctx.core.load_named::<NodeHeader>(DomainId::ROOT, OUTBOUND) {
            let header = NodeHeader { public: "active".into(), ..stored.header.clone() };
            ctx.commit_header(&stored, &header).await?;
        }
        // Confirmed: what was replaced is not needed any more, and it holds what was destroyed since.
        for entry in std::fs::read_dir(self.folder.path())? {
            let path = entry?.path();
            if path.file_name().is_some_and(|n| n.to_string_lossy().starts_with(KEPT)) {
                std::fs::remove_file(path)?;
            }
        }
        Ok(Reply::json(ctx.info()?))
    }
}

impl Handle<ClockAccept> for App {
    async fn handle(&self, ctx: &Ctx, r: ClockAccept) -> Result<Reply<Info>> {
        let now = ctx.now;
        let what = format!("retention and expiry will delete by this machine's clock, which shows {now}");
        confirmed(r.confirm.as_deref(), &["accept"], &what)?;
        ctx.commit_in(DomainId::ROOT, now.to_string(), vec![], vec![]).await?;
        let (app, core) = (ctx.app.clone(), ctx.core.clone());
        tokio::task::spawn_blocking(move || app.clock_accept(&core)).await.map_err(AppError::internal)??;
        Ok(Reply::json(ctx.info()?))
    }
}

impl Handle<AuditList> for App {
    async fn handle(&self, ctx: &Ctx, r: AuditList) -> Result<Reply<Page<AuditRecord>>> {
        let limit = r.limit.map_or(100, |n| if n < 0 { 10_000 } else { n as u64 }).min(10_000);
        let domain = ctx.domain()?;
        let actor = match &r.username {
            None => None,
            Some(name) => {
                let user = ctx.core.load_named::<UserHeader>(domain, &name.to_lowercase())?;
                Some(format!("local|{}", user.id()))
            }
        };
        let mut resources = Vec::new();
        let mut before = r.before;
        while (resources.len() as u64) < limit {
            let page = ctx.core.store.audit(before, 1000, Some(domain), true)?;
            let Some(last) = page.last() else { break };
            before = Some(last.seq);
            for e in page {
                let fits =
                    r.action.as_ref().is_none_or(|a| *a == e.action) && actor.as_ref().is_none_or(|a| *a == e.actor);
                if fits && (resources.len() as u64) < limit {
                    resources.push(AuditRecord {
                        id: format!("{}-{}", ctx.core.incarnation, e.seq),
                        position: e.seq,
                        created_at: e.time,
                        action: e.action,
                        target: e.target,
                        success: e.outcome == keyark_model::Outcome::Success,
                        user_id: e.actor,
                        request_id: e.request_id,
                        domain_id: e.domain.to_string(),
                        changes: e
                            .changes
                            .iter()
                            .map(|(kind, id, revision, gone)| {
                                format!("{kind}/{id}@{revision}{}", if *gone { " deleted" } else { "" })
                            })
                            .collect(),
                        hash: e.hash.to_string(),
                    });
                }
            }
        }
        let total = ctx.core.store.audit_count(domain)?;
        Ok(Reply::json(Page { skip: 0, limit, total, resources }))
    }
}

#[cfg(test)]
mod tests {
    use super::services;

    #[test]
    fn what_does_not_work_is_named_and_degrades_the_whole() {
        for (writable, suspended, whole, store, outbound) in [
            (true, false, "started", "started", "started"),
            (false, false, "degraded", "read_only", "started"),
            (true, true, "degraded", "started", "suspended"),
        ] {
            let shown = services(writable, suspended);
            assert_eq!(shown.status, whole);
            let status = |name: &str| &shown.services.iter().find(|s| s.name == name).unwrap().status;
            assert_eq!((status("api").as_str(), status("store").as_str()), ("started", store));
            assert_eq!(status("outbound"), outbound);
        }
    }
}
