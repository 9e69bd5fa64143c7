//! Domains: tenants below root, with quotas and a KEK each.

use std::ops::ControlFlow;
use std::sync::atomic::Ordering;

use keyark_api::domains::{
    Domain, DomainCreate, DomainDelete, DomainGet, DomainList, DomainUpdate, Kek, KekGet, KekList, KekRotate, Quotas,
    Usage,
};
use keyark_api::endpoint::NoBody;
use keyark_api::{ErrorCode, Page, PageQuery};
use keyark_crypto::keyring::KekOwner;
use keyark_model::{DomainId, Id, Kind, Time};
use keyark_store::{Must, Write};
use serde::{Deserialize, Serialize};

use super::core::{Core, KekHeader};
use super::ctx::{Ctx, account_of, confirmed, uri_of, wildcard};
use super::error::{AppError, Result};
use super::groups::groups_built_in;
use super::keys::{APPLICATION, DEV_ACCOUNT};
use super::records::{Header, Stored};
use super::users::{UserHeader, name_allowed, user_id};
use super::{App, Handle, Reply};

/// Clear attributes of a domain. Its record stands in root under the domain's own id.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct DomainHeader {
    pub name: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub description: String,
    pub created_at: Time,
    pub updated_at: Time,
    #[serde(default, skip_serializing_if = "serde_json::Map::is_empty")]
    pub meta: serde_json::Map<String, serde_json::Value>,
    pub allow_user_management: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent_ca_id: Option<String>,
    #[serde(default)]
    pub quotas: Quotas,
}

impl Header for DomainHeader {
    const KIND: Kind = Kind::Domain;
}

impl DomainHeader {
    pub fn new(name: &str, now: Time) -> DomainHeader {
        DomainHeader {
            name: name.into(),
            description: String::new(),
            created_at: now,
            updated_at: now,
            meta: serde_json::Map::new(),
            allow_user_management: true,
            parent_ca_id: None,
            quotas: Quotas::default(),
        }
    }
}

impl Core {
    /// The preconditions that keep a domain inside its quota of a kind.
    pub fn quota(&self, domain: DomainId, kind: Kind) -> Result<Vec<Must>> {
        let quotas = self.quotas(domain)?;
        let limit = match kind {
            Kind::Key => quotas.keys,
            Kind::Secret => quotas.secrets,
            _ => None,
        };
        Ok(limit.map(|limit| Must::WeightAtMost { domain, kind, limit }).into_iter().collect())
    }

    /// Every creation asks for them, so they are remembered until a domain changes.
    pub fn quotas(&self, domain: DomainId) -> Result<Quotas> {
        // Read before the record: a change in between makes what is kept here stale at once.
        let epoch = self.epoch.load(Ordering::Acquire);
        if let Some((at, quotas)) = self.quotas.lock().expect("no panic while held").get(&domain)
            && *at == epoch
        {
            return Ok(*quotas);
        }
        let quotas = self.load::<DomainHeader>(DomainId::ROOT, Id(domain.0))?.header.quotas;
        self.quotas.lock().expect("no panic while held").insert(domain, (epoch, quotas));
        Ok(quotas)
    }
}

fn shown(core: &Core, stored: &Stored<DomainHeader>) -> Result<Domain> {
    let (h, id) = (&stored.header, DomainId(stored.id().0));
    Ok(Domain {
        id: id.to_string(),
        uri: uri_of(DomainId::ROOT, "admin:domains", id),
        account: account_of(DomainId::ROOT),
        application: APPLICATION.into(),
        dev_account: DEV_ACCOUNT.into(),
        name: h.name.clone(),
        description: h.description.clone(),
        created_at: h.created_at,
        updated_at: h.updated_at,
        meta: h.meta.clone(),
        allow_user_management: h.allow_user_management,
        quotas: h.quotas,
        parent_ca_id: h.parent_ca_id.clone(),
        usage: Usage {
            keys: core.store.count(id, Kind::Key)?.weight,
            secrets: core.store.count(id, Kind::Secret)?.weight,
        },
    })
}

impl Ctx {
    fn domain_load(&self, id: &str) -> Result<Stored<DomainHeader>> {
        self.core.load_any(DomainId::ROOT, id)
    }

    /// A user of root by id or name.
    fn root_user(&self, text: &str) -> Result<Id> {
        let by_id = user_id(text).and_then(|id| self.core.load::<UserHeader>(DomainId::ROOT, id).ok());
        match by_id {
            Some(user) => Ok(user.id()),
            None => Ok(self.core.load_named::<UserHeader>(DomainId::ROOT, &text.to_lowercase())?.id()),
        }
    }
}

impl Handle<DomainCreate> for App {
    async fn handle(&self, ctx: &Ctx, r: DomainCreate) -> Result<Reply<Domain>> {
        if !name_allowed(&r.name) || r.name == "root" {
            return Err(AppError::invalid(
                "a domain name has 1 to 255 characters, none of / | \\ < >, and is not root",
            ));
        }
        if [&r.hsm_connection_id, &r.hsm_kek_label].iter().any(|f| f.as_ref().is_some_and(|text| !text.is_empty())) {
            return Err(AppError::invalid(
                "domains anchored in an HSM are not on offer: leave hsm_connection_id and hsm_kek_label out",
            ));
        }
        let admins = match r.admins.is_empty() {
            true => vec![ctx.caller()?.user],
            false => r.admins.iter().map(|a| ctx.root_user(a)).collect::<Result<_>>()?,
        };
        let id = Core::new_id(ctx.now);
        let domain = DomainId(id.0);
        let mut header = DomainHeader::new(&r.name, ctx.now);
        header.description = r.description.unwrap_or_default();
        header.meta = r.meta.unwrap_or_default();
        header.allow_user_management = r.allow_user_management.unwrap_or(true);
        header.quotas = r.quotas.unwrap_or_default();
        header.parent_ca_id = r.parent_ca_id;
        let (kek_write, kek, reserved) = ctx.core.kek_generate(domain, ctx.now)?;
        // Adopted before the commit, because the groups of the same batch are sealed under it.
        ctx.core.kek_adopt(domain, kek, reserved);
        let commit = async {
            let mut inside = vec![kek_write];
            inside.extend(groups_built_in(&ctx.core, domain, &admins, ctx.now)?);
            let record = ctx.core.put(DomainId::ROOT, id, 1, &header, b"")?;
            let entries = vec![
                ctx.draft(DomainId::ROOT, r.name.clone(), vec![record]),
                ctx.draft(domain, r.name.clone(), inside),
            ];
            ctx.commit_all(vec![], entries).await
        };
        if let Err(e) = commit.await {
            ctx.core.keyring.forget(KekOwner::Domain(domain));
            return Err(e);
        }
        Ok(Reply::json(shown(&ctx.core, &ctx.core.load(DomainId::ROOT, id)?)?).at(1))
    }
}

impl Handle<DomainList> for App {
    async fn handle(&self, ctx: &Ctx, r: DomainList) -> Result<Reply<Page<Domain>>> {
        let mut all = ctx.core.load_all::<DomainHeader>(DomainId::ROOT)?;
        all.retain(|d| r.name.as_ref().is_none_or(|p| wildcard(p, &d.header.name)));
        let page = PageQuery::from_wire(r.skip, r.limit).of(all);
        let resources = page.resources.iter().map(|d| shown(&ctx.core, d)).collect::<Result<_>>()?;
        Ok(Reply::json(Page { skip: page.skip, limit: page.limit, total: page.total, resources }))
    }
}

impl Handle<DomainGet> for App {
    async fn handle(&self, ctx: &Ctx, r: DomainGet) -> Result<Reply<Domain>> {
        let stored = ctx.domain_load(&r.id)?;
        Ok(Reply::json(shown(&ctx.core, &stored)?).at(stored.revision()))
    }
}

impl Handle<DomainUpdate> for App {
    async fn handle(&self, ctx: &Ctx, r: DomainUpdate) -> Result<Reply<Domain>> {
        let stored = ctx.domain_load(&r.id)?;
        ctx.check_match(stored.revision())?;
        let mut header = stored.header.clone();
        if let Some(name) = r.name {
            if !name_allowed(&name) || (name == "root") != (header.name == "root") {
                return Err(AppError::invalid(
                    "a domain name has 1 to 255 characters, none of / | \\ < >; root stays root",
                ));
            }
            header.name = name;
        }
        header.description = r.description.unwrap_or(header.description);
        header.meta = r.meta.unwrap_or(header.meta);
        header.allow_user_management = r.allow_user_management.unwrap_or(header.allow_user_management);
        header.quotas = r.quotas.unwrap_or(header.quotas);
        header.updated_at = ctx.now;
        ctx.commit_header(&stored, &header).await?;
        let stored = ctx.core.load(DomainId::ROOT, stored.id())?;
        Ok(Reply::json(shown(&ctx.core, &stored)?).at(stored.revision()))
    }
}

impl Handle<DomainDelete> for App {
    async fn handle(&self, ctx: &Ctx, r: DomainDelete) -> Result<Reply<NoBody>> {
        let stored = ctx.domain_load(&r.id)?;
        ctx.check_match(stored.revision())?;
        let domain = DomainId(stored.id().0);
        if domain == DomainId::ROOT {
            return Err(AppError::conflict("the root domain cannot be deleted"));
        }
        let counted = [Kind::Key, Kind::Secret, Kind::CtePolicy, Kind::CteSet];
        let mut held = 0;
        for kind in counted {
            held += ctx.core.store.count(domain, kind)?.records;
        }
        let mut must = Vec::new();
        if r.force == Some(true) {
            let what = format!("deleting {} destroys {held} keys, secrets and policies in it", stored.header.name);
            confirmed(r.confirm.as_deref(), &[&stored.header.name, &stored.id().to_string()], &what)?;
        } else if held > 0 {
            return Err(AppError::new(
                ErrorCode::InUse,
                format!("the domain holds {held} keys, secrets and policies; empty it, or use force with confirm"),
            ));
        } else {
            must.extend(counted.map(|kind| Must::NoneOf { domain, kind }));
        }
        let mut inside: Vec<Write> = Vec::new();
        for kind in Kind::ALL {
            ctx.core.store.scan(domain, *kind, |record| {
                inside.push(Write::Delete { kind: *kind, id: record.id, revision: record.revision + 1 });
                ControlFlow::Continue(())
            })?;
        }
        let name = stored.header.name.clone();
        let ssh_key = ctx.core.ssh_key_of(domain)?.map(|key| ctx.core.delete(&key));
        let of_root: Vec<Write> = ssh_key.into_iter().chain([ctx.core.delete(&stored)]).collect();
        // Its backups and backup keys are records of root: they stay, and restore into a new domain.
        let entries = vec![ctx.draft(domain, name.clone(), inside), ctx.draft(DomainId::ROOT, name, of_root)];
        ctx.commit_all(must, entries).await?;
        ctx.core.keyring.forget(KekOwner::Domain(domain));
        Ok(Reply::none())
    }
}

fn kek_shown(stored: &Stored<KekHeader>, current: Option<u32>) -> Kek {
    Kek {
        id: stored.id().to_string(),
        generation: stored.header.generation,
        created_at: stored.header.created_at,
        current: current == Some(stored.header.generation),
        seals_reserved: stored.header.reserved,
    }
}

impl Ctx {
    /// KEKs are seen and rotated in their own domain only.
    fn kek_domain(&self, id: &str) -> Result<DomainId> {
        let domain = DomainId(self.domain_load(id)?.id().0);
        if domain != self.domain()? {
            return Err(AppError::not_found("the domain"));
        }
        Ok(domain)
    }

    fn keks(&self, domain: DomainId) -> Result<Vec<Kek>> {
        let current = self.core.keyring.current(KekOwner::Domain(domain));
        let mut all = self.core.load_all::<KekHeader>(domain)?;
        all.retain(|k| k.header.purpose == "kek");
        all.sort_by_key(|k| k.header.generation);
        Ok(all.iter().map(|k| kek_shown(k, current)).collect())
    }
}

impl Handle<KekList> for App {
    async fn handle(&self, ctx: &Ctx, r: KekList) -> Result<Reply<Page<Kek>>> {
        let all = ctx.keks(ctx.kek_domain(&r.id)?)?;
        Ok(Reply::json(PageQuery::from_wire(r.skip, r.limit).of(all)))
    }
}

impl Handle<KekGet> for App {
    async fn handle(&self, ctx: &Ctx, r: KekGet) -> Result<Reply<Kek>> {
        let mut all = ctx.keks(ctx.kek_domain(&r.id)?)?.into_iter();
        let found = all.find(|k| k.id == r.kek || k.generation.to_string() == r.kek);
        Ok(Reply::json(found.ok_or_else(|| AppError::not_found(format_args!("the KEK {:?}", r.kek)))?))
    }
}

impl Handle<KekRotate> for App {
    async fn handle(&self, ctx: &Ctx, r: KekRotate) -> Result<Reply<Kek>> {
        let domain = ctx.kek_domain(&r.id)?;
        let (write, kek, reserved) = ctx.core.kek_generate(domain, ctx.now)?;
        let target = r.archive_opened.map_or_else(|| domain.to_string(), |a| format!("{domain} (archive opened: {a})"));
        ctx.commit_in(domain, target, vec![], vec![write]).await?;
        ctx.core.kek_adopt(domain, kek, reserved);
        let core = ctx.core.clone();
        tokio::task::spawn_blocking(move || {
            if let Err(e) = core.reseal(domain) {
                tracing::warn!(%domain, error = %e, "sealing anew stopped; it goes on at the next start");
            }
        });
        let last = ctx.keks(domain)?.into_iter().find(|k| k.current);
        Ok(Reply::json(last.ok_or_else(|| AppError::internal("the new generation is not there"))?))
    }
}
