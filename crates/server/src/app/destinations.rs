//! Destinations: records of root, used by every domain's backup instances.

use std::path::Path;

use keyark_api::destinations::{
    Destination, DestinationCheck, DestinationChecked, DestinationCreate, DestinationDelete, DestinationGet,
    DestinationList, DestinationUpdate,
};
use keyark_api::endpoint::NoBody;
use keyark_api::{ErrorCode, Page, PageQuery};
use keyark_backup::destination::{self, Content, Credentials, DestinationError};
use keyark_model::DomainId;
use keyark_model::access::Right;
use keyark_model::protection::{Address, DestinationHeader, InstanceHeader};

use super::core::Core;
use super::ctx::Ctx;
use super::error::{AppError, Result};
use super::records::Stored;
use super::{App, Handle, Reply};

impl From<DestinationError> for AppError {
    fn from(e: DestinationError) -> Self {
        let code = match e {
            DestinationError::Full(_) => ErrorCode::StorageFull,
            DestinationError::NotFound(_) => ErrorCode::NotFound,
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
            true => None,
            false => Some(Credentials::from_bytes(&body).ok_or_else(|| AppError::internal("damaged credentials"))?),
        };
        if credentials.is_none() && stored.header.address.needs_credentials() {
            return Err(AppError::new(
                ErrorCode::DestinationFailed,
                "the destination has no credentials: give it some",
            ));
        }
        Ok(destination::open(&stored.header.address, credentials.as_ref())?)
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
        created_at: h.created_at,
    })
}

fn address_of(r: &DestinationCreate) -> Result<Address> {
    let of_s3 = [&r.bucket, &r.prefix, &r.region, &r.endpoint, &r.access_key_id, &r.secret_access_key];
    match (r.kind.as_deref().unwrap_or("local"), &r.path, &r.bucket) {
        ("local", Some(path), _) if Path::new(path).is_absolute() && of_s3.iter().all(|f| f.is_none()) => {
            Ok(Address::Local { path: path.clone() })
        }
        ("local", ..) => {
            Err(AppError::invalid("a local destination has a `path` alone: a folder, from the root of the file system"))
        }
        ("s3", None, Some(bucket)) => {
            let prefix = r.prefix.clone().unwrap_or_default();
            if !prefix.is_empty() && destination::check_folder(&prefix).is_err() {
                return Err(AppError::invalid(
                    "prefix is a path of letters, digits, - _ and . with a slash at its end",
                ));
            }
            let region = r.region.clone().unwrap_or_else(|| "us-east-1".into());
            Ok(Address::S3 { bucket: bucket.clone(), prefix, region, endpoint: r.endpoint.clone() })
        }
        ("s3", ..) => Err(AppError::invalid("an S3 destination has a `bucket` and no `path`")),
        _ => Err(AppError::invalid("kind is local or s3")),
    }
}

/// Credentials as they were pasted, if any were.
fn credentials_of(id: Option<&String>, secret: Option<&String>) -> Result<Option<Credentials>> {
    match (id, secret) {
        (None, None) => Ok(None),
        (Some(id), Some(secret)) => match Credentials::pasted(id, secret) {
            Some(credentials) => Ok(Some(credentials)),
            None => Err(AppError::invalid("accessKeyId and secretAccessKey are one line each, and not empty")),
        },
        _ => Err(AppError::invalid("accessKeyId and secretAccessKey are given together")),
    }
}

/// Whether two places are one, or one lies in the other: their objects would be taken for each other's.
fn nested(a: &Address, b: &Address) -> bool {
    match (a, b) {
        (Address::Local { path: a }, Address::Local { path: b }) => {
            let real = |p: &str| Path::new(p).canonicalize().unwrap_or_else(|_| p.into());
            let (a, b) = (real(a), real(b));
            a.starts_with(&b) || b.starts_with(&a)
        }
        (Address::S3 { bucket, prefix, endpoint, .. }, Address::S3 { bucket: b, prefix: p, endpoint: e, .. }) => {
            (bucket, endpoint) == (b, e) && (prefix.starts_with(p.as_str()) || p.starts_with(prefix.as_str()))
        }
        _ => false,
    }
}

impl Handle<DestinationCreate> for App {
    async fn handle(&self, ctx: &Ctx, r: DestinationCreate) -> Result<Reply<Destination>> {
        ctx.require(Right::SystemBackup)?;
        if r.name.trim().is_empty() || r.name.parse::<keyark_model::Id>().is_ok() {
            return Err(AppError::invalid("a destination has a name, which does not look like an id"));
        }
        let address = address_of(&r)?;
        for other in ctx.core.load_all::<DestinationHeader>(DomainId::ROOT)? {
            if nested(&address, &other.header.address) {
                let what = format!("the destination {:?} is there already, or around or inside it", other.header.name);
                return Err(AppError::new(ErrorCode::AlreadyExists, what));
            }
        }
        let header = DestinationHeader { name: r.name, address, created_at: ctx.now };
        let id = Core::new_id(ctx.now);
        let credentials = credentials_of(r.access_key_id.as_ref(), r.secret_access_key.as_ref())?;
        if credentials.is_none() && header.address.needs_credentials() {
            return Err(AppError::invalid("this kind of destination needs accessKeyId and secretAccessKey"));
        }
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
        let credentials = credentials_of(r.access_key_id.as_ref(), r.secret_access_key.as_ref())?;
        if credentials.is_some() && !stored.header.address.needs_credentials() {
            return Err(AppError::invalid("this kind of destination has no credentials"));
        }
        let name = r.name.unwrap_or_else(|| stored.header.name.clone());
        let header = DestinationHeader { name, ..stored.header.clone() };
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
        Err(e) => {
            told.problems.push(format!("deleting: {e}; retention must run elsewhere, with credentials of its own"))
        }
    }
    told.usable = told.writes && told.reads_back && told.lists && told.refuses_overwrite;
    told
}
