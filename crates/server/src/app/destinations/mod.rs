//! Destinations: records of root, used by every domain's backup instances.

mod address;
mod terms;

use std::sync::{Arc, PoisonError};

use keyark_api::destinations::{
    Destination, DestinationCheck, DestinationChecked, DestinationCreate, DestinationDelete, DestinationGet,
    DestinationList, DestinationUpdate,
};
use keyark_api::endpoint::NoBody;
use keyark_api::{ErrorCode, Page, PageQuery};
use keyark_backup::destination::throttle::{Pacer, Throttled};
use keyark_backup::destination::{self, Content, Credentials, DestinationError};
use keyark_model::DomainId;
use keyark_model::access::Right;
use keyark_model::protection::{Address, DestinationHeader, InstanceHeader, Pace};
use keyark_model::ssh::Login;

use self::address::{address_of, credential_names, credentials_of, nested};
pub use self::terms::expiry_alarm;
use crate::app::core::Core;
use crate::app::ctx::{Ctx, check_name};
use crate::app::error::{AppError, Result};
use crate::app::records::Stored;
use crate::app::{App, Handle, Reply};

impl From<DestinationError> for AppError {
    fn from(e: DestinationError) -> Self {
        let code = match e {
            DestinationError::Full(_) => ErrorCode::StorageFull,
            DestinationError::NotFound(_) => ErrorCode::NotFound,
            DestinationError::Locked { .. } => ErrorCode::Conflict,
            _ => ErrorCode::DestinationFailed,
        };
        AppError::new(code, format!("the destination: {e}"))
    }
}

impl Core {
    /// Opens the place that a record names.
    pub fn destination_open(&self, stored: &Stored<DestinationHeader>) -> Result<Box<dyn destination::Destination>> {
        let body = self.open_body(stored)?;
        let credentials = match body.expose().is_empty() {
            true => self.own_credentials(&stored.header.address)?,
            false => Some(Credentials::from_bytes(&body).ok_or_else(|| AppError::internal("damaged credentials"))?),
        };
        if credentials.is_none() && stored.header.address.needs_credentials() {
            return Err(AppError::new(
                ErrorCode::DestinationFailed,
                "the destination has no credentials: give it some",
            ));
        }
        let place = destination::open(&stored.header.address, credentials.as_ref(), stored.header.lock)?;
        match stored.header.pace.is_free() {
            true => Ok(place),
            false => Ok(Box::new(Throttled::new(place, self.pacer(stored)))),
        }
    }

    /// What everybody who uses a destination shares, as long as its record stays as it is.
    fn pacer(&self, stored: &Stored<DestinationHeader>) -> Arc<Pacer> {
        let mut pacers = self.pacers.lock().unwrap_or_else(PoisonError::into_inner);
        match pacers.get(&stored.id()) {
            Some((revision, pacer)) if *revision == stored.revision() => pacer.clone(),
            _ => {
                let pacer = Arc::new(Pacer::new(stored.header.pace));
                pacers.insert(stored.id(), (stored.revision(), pacer.clone()));
                pacer
            }
        }
    }

    /// The system's SSH key, where that is the way in.
    fn own_credentials(&self, address: &Address) -> Result<Option<Credentials>> {
        let Address::Sftp { host, .. } = address else { return Ok(None) };
        let what = "the system has no SSH key: `keyark scp public-key get` makes one, which the host must know";
        let key = self.ssh_key_of(DomainId::ROOT)?.filter(|_| host.login == Login::Key);
        let key = key.ok_or_else(|| AppError::new(ErrorCode::DestinationFailed, what))?;
        Ok(Some(Credentials { id: host.user.clone(), secret: self.open_body(&key)? }))
    }

    /// By id or name.
    pub fn destination_load(&self, id_or_name: &str) -> Result<Stored<DestinationHeader>> {
        self.load_any(DomainId::ROOT, id_or_name)
    }
}

fn shown(ctx: &Ctx, stored: &Stored<DestinationHeader>) -> Result<Destination> {
    let h = &stored.header;
    Ok(Destination {
        id: stored.id().to_string(),
        name: h.name.clone(),
        kind: h.address.kind().into(),
        address: (ctx.domain()? == DomainId::ROOT).then(|| h.address.shown()),
        lock_mode: h.lock.map(|l| terms::lock_word(l.mode).into()),
        lock_days: h.lock.map(|l| l.days),
        bytes_per_second_out: h.pace.bytes_per_second_out,
        bytes_per_second_in: h.pace.bytes_per_second_in,
        requests_per_second: h.pace.requests_per_second,
        parallelism: h.pace.parallelism,
        credentials_expire_at: h.credentials_expire_at,
        created_at: h.created_at,
    })
}

impl Handle<DestinationCreate> for App {
    async fn handle(&self, ctx: &Ctx, r: DestinationCreate) -> Result<Reply<Destination>> {
        ctx.require(Right::SystemBackup)?;
        check_name("a destination has a name", &r.name)?;
        let address = address_of(&r)?;
        for other in ctx.core.load_all::<DestinationHeader>(DomainId::ROOT)? {
            if nested(&address, &other.header.address) {
                let what = format!("the destination {:?} is there already, or around or inside it", other.header.name);
                return Err(AppError::new(ErrorCode::AlreadyExists, what));
            }
        }
        let given = [
            ("accessKeyId", r.access_key_id),
            ("secretAccessKey", r.secret_access_key),
            ("accountKey", r.account_key),
            ("sasToken", r.sas_token),
            ("password", r.password),
        ];
        let credentials = credentials_of(&address, given)?;
        if credentials.is_none() && address.needs_credentials() {
            let what = format!("a destination of the kind {} needs {}", address.kind(), credential_names(&address));
            return Err(AppError::invalid(what));
        }
        if matches!(&address, Address::Sftp { host, .. } if host.login == Login::Key) {
            // So that there is one whose public part can be shown.
            ctx.ssh_key().await?;
        }
        let lock = terms::lock_of(&address, r.lock_mode.as_deref(), r.lock_days)?.flatten();
        let asked = Pace {
            bytes_per_second_out: r.bytes_per_second_out,
            bytes_per_second_in: r.bytes_per_second_in,
            requests_per_second: r.requests_per_second,
            parallelism: r.parallelism,
        };
        let pace = terms::pace_of(Pace::default(), asked)?;
        let ends = r.credentials_expire_at.or_else(|| credentials.as_ref()?.ends());
        let credentials_expire_at = terms::expiry_of(&address, ends, ctx.now)?;
        let header =
            DestinationHeader { name: r.name, address, lock, pace, credentials_expire_at, created_at: ctx.now };
        let id = Core::new_id(ctx.now);
        let body = credentials.map(|c| c.to_bytes());
        let write = ctx.core.put(DomainId::ROOT, id, 1, &header, body.as_ref().map_or(b"", |b| b.expose()))?;
        ctx.commit_in(DomainId::ROOT, id.to_string(), vec![], vec![write]).await?;
        let stored = ctx.core.load::<DestinationHeader>(DomainId::ROOT, id)?;
        Ok(Reply::json(shown(ctx, &stored)?).at(1))
    }
}

impl Handle<DestinationList> for App {
    async fn handle(&self, ctx: &Ctx, r: DestinationList) -> Result<Reply<Page<Destination>>> {
        let all = ctx.core.load_all::<DestinationHeader>(DomainId::ROOT)?;
        let all = all.iter().map(|d| shown(ctx, d)).collect::<Result<_>>()?;
        Ok(Reply::json(PageQuery::from_wire(r.skip, r.limit).of(all)))
    }
}

impl Handle<DestinationGet> for App {
    async fn handle(&self, ctx: &Ctx, r: DestinationGet) -> Result<Reply<Destination>> {
        let stored = ctx.core.destination_load(&r.id)?;
        Ok(Reply::json(shown(ctx, &stored)?).at(stored.revision()))
    }
}

impl Handle<DestinationUpdate> for App {
    async fn handle(&self, ctx: &Ctx, r: DestinationUpdate) -> Result<Reply<Destination>> {
        ctx.require(Right::SystemBackup)?;
        let stored = ctx.core.destination_load(&r.id)?;
        ctx.check_match(stored.revision())?;
        let given = [
            ("accessKeyId", r.access_key_id),
            ("secretAccessKey", r.secret_access_key),
            ("accountKey", r.account_key),
            ("sasToken", r.sas_token),
            ("password", r.password),
        ];
        let credentials = credentials_of(&stored.header.address, given)?;
        let name = r.name.unwrap_or_else(|| stored.header.name.clone());
        let lock =
            terms::lock_of(&stored.header.address, r.lock_mode.as_deref(), r.lock_days)?.unwrap_or(stored.header.lock);
        let asked = Pace {
            bytes_per_second_out: r.bytes_per_second_out,
            bytes_per_second_in: r.bytes_per_second_in,
            requests_per_second: r.requests_per_second,
            parallelism: r.parallelism,
        };
        let pace = terms::pace_of(stored.header.pace, asked)?;
        let kept = stored.header.credentials_expire_at.filter(|_| credentials.is_none());
        let ends = r.credentials_expire_at.or_else(|| credentials.as_ref()?.ends());
        let credentials_expire_at = terms::expiry_of(&stored.header.address, ends, ctx.now)?.or(kept);
        let header = DestinationHeader { name, lock, pace, credentials_expire_at, ..stored.header.clone() };
        let body = credentials.map_or_else(|| ctx.core.open_body(&stored), |c| Ok(c.to_bytes()))?;
        let write = ctx.core.put(DomainId::ROOT, stored.id(), stored.revision() + 1, &header, body.expose())?;
        ctx.commit_in(DomainId::ROOT, stored.id().to_string(), vec![], vec![write]).await?;
        let stored = ctx.core.load::<DestinationHeader>(DomainId::ROOT, stored.id())?;
        Ok(Reply::json(shown(ctx, &stored)?).at(stored.revision()))
    }
}

impl Handle<DestinationDelete> for App {
    async fn handle(&self, ctx: &Ctx, r: DestinationDelete) -> Result<Reply<NoBody>> {
        ctx.require(Right::SystemBackup)?;
        let stored = ctx.core.destination_load(&r.id)?;
        ctx.check_match(stored.revision())?;
        for instance in ctx.core.load_all::<InstanceHeader>(DomainId::ROOT)? {
            if instance.header.order.as_ref().is_some_and(|o| o.destinations.contains(&stored.id())) {
                let what = format!("the backup instance {} ({:?}) sends there", instance.id(), instance.header.alias);
                return Err(AppError::new(ErrorCode::InUse, what));
            }
        }
        let write = ctx.core.delete(&stored);
        ctx.commit_in(DomainId::ROOT, stored.id().to_string(), vec![], vec![write]).await?;
        Ok(Reply::none())
    }
}

impl Handle<DestinationCheck> for App {
    async fn handle(&self, ctx: &Ctx, r: DestinationCheck) -> Result<Reply<DestinationChecked>> {
        ctx.require(Right::SystemBackup)?;
        let stored = ctx.core.destination_load(&r.id)?;
        let (core, name) = (ctx.core.clone(), format!("{}/check/{}", ctx.core.system, Core::new_id(ctx.now)));
        let checked = tokio::task::spawn_blocking(move || check(&core, &stored, &name));
        Ok(Reply::json(checked.await.map_err(AppError::internal)?))
    }
}

fn check(core: &Core, stored: &Stored<DestinationHeader>, name: &str) -> DestinationChecked {
    let mut told = DestinationChecked {
        usable: false,
        writes: false,
        reads_back: false,
        lists: false,
        refuses_overwrite: false,
        deletes: false,
        locked_until: None,
        problems: Vec::new(),
    };
    let place = match core.destination_open(stored) {
        Ok(place) => place,
        Err(e) => {
            told.problems.push(e.message);
            return told;
        }
    };
    let content = b"keyark destination check";
    match place.create(name, Content::Bytes(content)) {
        Ok(()) => told.writes = true,
        Err(e) => {
            told.problems.push(format!("writing: {e}"));
            return told;
        }
    }
    match place.read(name, 0..content.len() as u64) {
        Ok(bytes) => told.reads_back = bytes == content,
        Err(e) => told.problems.push(format!("reading back: {e}")),
    }
    match place.list(name, "", 2) {
        Ok(found) => told.lists = found.iter().any(|f| f.name == name && f.size == content.len() as u64),
        Err(e) => told.problems.push(format!("listing: {e}")),
    }
    match place.create(name, Content::Bytes(b"other")) {
        Err(DestinationError::Exists(_)) => told.refuses_overwrite = true,
        Err(e) => told.problems.push(format!("overwriting failed otherwise than it should: {e}")),
        Ok(()) => told.problems.push("an object that is there can be overwritten: this place keeps no promise".into()),
    }
    match place.delete(name) {
        Ok(()) => told.deletes = true,
        Err(DestinationError::Locked { until, .. }) => {
            told.locked_until = until;
            if stored.header.lock.is_none() {
                told.problems.push(
                    "the bucket locks what is created there by itself: give this destination a lockMode and lockDays, so that \
                     epoch files are locked for a day and not for longer"
                        .into(),
                );
            }
        }
        Err(e) => {
            told.problems.push(format!("deleting: {e}; retention must run elsewhere, with credentials of its own"))
        }
    }
    told.usable = told.writes && told.reads_back && told.lists && told.refuses_overwrite;
    told
}
