//! Secrets: stored, shown, changed, read.

mod ending;
mod list;
pub mod material;
pub mod record;
mod versions;

use std::collections::BTreeMap;

use keyark_api::ErrorCode;
use keyark_api::secrets::{Secret, SecretCreate, SecretExport, SecretGet, SecretUpdate, SecretVersionGet};
use keyark_crypto::SecretBytes;
use keyark_model::access::Right;
use keyark_model::key::KeyName;
use keyark_model::{DomainId, Id, Kind, RecordFacts};
use keyark_store::Must;
use serde_json::{Map, Value};

use super::core::Core;
use super::ctx::{Ctx, account_of, uri_of};
use super::error::{AppError, Result};
use super::keys::{APPLICATION, DEV_ACCOUNT};
use super::records::Stored;
use super::{App, Handle, Reply};
use material::{DataType, Encoding, value_decode, value_encode};
pub use record::SecretHeader;
use record::{SecretBody, SecretState, SecretVersion};

pub use ending::secrets_expire;

/// Days of the recovery window, when a request names none.
const RECOVERY_DAYS: u32 = 30;

/// A secret as the wire shows it, with one version.
fn shown(stored: &Stored<SecretHeader>, version: &SecretVersion, key_name: Option<String>) -> Secret {
    let (h, domain) = (&stored.header, stored.record.domain);
    let state = if version.destroyed_at.is_some() { SecretState::Destroyed } else { h.state() };
    Secret {
        id: stored.id().to_string(),
        uri: uri_of(domain, "vault:secrets", format_args!("{}-v{}", h.name, version.version)),
        account: account_of(domain),
        application: APPLICATION.into(),
        dev_account: DEV_ACCOUNT.into(),
        created_at: h.created_at,
        updated_at: h.updated_at,
        name: h.name.clone(),
        data_type: h.data_type.word().into(),
        object_type: h.data_type.object_type().into(),
        version: version.version,
        versions_count: h.versions.len() as u64,
        version_created_at: version.created_at,
        size: version.size,
        key_id: version.key_id.to_string(),
        key_name,
        key_version: version.key_version,
        description: h.description.clone(),
        labels: h.labels.clone(),
        meta: h.meta.clone(),
        unexportable: h.unexportable,
        undeletable: h.undeletable,
        held_by: Vec::new(),
        state: state.word().into(),
        recovery_days: h.recovery_days,
        deleted_at: h.deleted_at,
        deletion_date: h.deletion_date,
        recoverable_until: h.deletion_date,
        destroy_date: version.destroyed_at,
        sha256_fingerprint: version.sha256.to_string(),
        material: None,
        encoding: None,
    }
}

/// The name of a key, if it is here.
fn key_name(core: &Core, domain: DomainId, key: Id) -> Result<Option<String>> {
    let record = core.store.get(domain, Kind::Key, key)?;
    Ok(record.and_then(|r| RecordFacts::of_header(&r.header).ok()).and_then(|facts| facts.name))
}

/// Bounds on what a client keeps in clear with a secret.
fn attributes_allowed(description: &str, labels: &BTreeMap<String, String>, meta: &Map<String, Value>) -> Result<()> {
    let sized = |text: &str, least: usize| (least..=255).contains(&text.chars().count());
    if description.chars().count() > 4096 {
        return Err(AppError::invalid("a description has at most 4096 characters"));
    }
    if labels.len() > 100 || !labels.iter().all(|(label, value)| sized(label, 1) && sized(value, 0)) {
        return Err(AppError::invalid(
            "there are at most 100 labels, each with a name of 1 to 255 and a value of at most 255 characters",
        ));
    }
    if serde_json::to_vec(meta).map_err(AppError::internal)?.len() > 16 << 10 {
        return Err(AppError::invalid("meta has at most 16 KiB as JSON"));
    }
    Ok(())
}

/// Days of a recovery window.
fn days_allowed(days: u32) -> Result<u32> {
    match days {
        7..=30 => Ok(days),
        _ => Err(AppError::invalid("a recovery window has 7 to 30 days")),
    }
}

fn name_allowed(name: &str) -> Result<()> {
    KeyName::check(name).map_err(|e| AppError::invalid(e.to_string()))
}

fn unexportable() -> AppError {
    AppError::new(ErrorCode::Unexportable, "this secret is marked unexportable: its value never leaves the server")
}

impl Ctx {
    /// A secret by id or name; one whose recovery window has ended is not there any more.
    fn secret_load(&self, id: &str) -> Result<Stored<SecretHeader>> {
        let stored = self.core.load_any::<SecretHeader>(self.domain()?, id)?;
        match stored.header.gone(self.now) {
            true => Err(AppError::not_found(format_args!("{} {id:?}", Kind::Secret))),
            false => Ok(stored),
        }
    }

    /// A secret to change: `If-Match` fits.
    fn secret_load_mine(&self, id: &str) -> Result<Stored<SecretHeader>> {
        let stored = self.secret_load(id)?;
        self.check_match(stored.revision())?;
        Ok(stored)
    }

    /// The same, and its deletion is not scheduled.
    fn secret_load_active(&self, id: &str) -> Result<Stored<SecretHeader>> {
        let stored = self.secret_load_mine(id)?;
        not_deleted(&stored.header)?;
        Ok(stored)
    }

    /// Shows one version; the newest by default.
    fn secret_shown(&self, stored: &Stored<SecretHeader>, version: Option<i64>) -> Result<Secret> {
        let version = stored.header.version_of(version)?;
        Ok(shown(stored, version, key_name(&self.core, stored.record.domain, version.key_id)?))
    }

    /// Shows one version with its value.
    fn secret_shown_open(
        &self,
        stored: &Stored<SecretHeader>,
        version: Option<i64>,
        encoding: Option<&str>,
    ) -> Result<Secret> {
        let encoding = Encoding::chosen(encoding, stored.header.data_type)?;
        let value = self.secret_value(stored, version)?;
        let mut secret = self.secret_shown(stored, version)?;
        secret.material = Some(value_encode(&value, encoding)?);
        secret.encoding = Some(encoding.word().into());
        Ok(secret)
    }

    /// The value of one version, if the caller and the secret allow it.
    fn secret_value(&self, stored: &Stored<SecretHeader>, version: Option<i64>) -> Result<SecretBytes> {
        self.require(Right::SecretValue)?;
        let header = &stored.header;
        let version = header.version_of(version)?.version;
        not_deleted(header)?;
        if header.unexportable {
            return Err(unexportable());
        }
        let body = self.core.secret_body(stored)?;
        let sealed = body.versions.iter().find(|v| v.version == version).ok_or_else(|| {
            AppError::conflict(
                "the value of this version was destroyed; restore it from a backup, or read another version",
            )
        })?;
        self.core.secret_open(stored.record.domain, stored.id(), sealed, self.now)
    }
}

fn not_deleted(header: &SecretHeader) -> Result<()> {
    match header.deletion_date {
        None => Ok(()),
        Some(date) => Err(AppError::conflict(format!("the secret is deleted and ends at {date}; undelete it first"))),
    }
}

/// The key must still be there when the secret is written.
fn key_stays(key: Id) -> Must {
    Must::Exists { kind: Kind::Key, id: key }
}

impl Handle<SecretCreate> for App {
    async fn handle(&self, ctx: &Ctx, r: SecretCreate) -> Result<Reply<Secret>> {
        let domain = ctx.domain()?;
        name_allowed(&r.name)?;
        if r.return_existing
            && let Some(record) = ctx.core.store.find(domain, Kind::Secret, &r.name)?
        {
            let stored = ctx.core.read_header::<SecretHeader>(record)?;
            // One whose window has ended is shown to nobody, although its name is taken until it is swept.
            if !stored.header.gone(ctx.now) {
                let mut reply = Reply::json(ctx.secret_shown(&stored, None)?).at(stored.revision());
                reply.status = Some(200);
                return Ok(reply);
            }
        }
        if r.include_material && r.unexportable {
            return Err(unexportable());
        }
        let data_type = r.data_type.as_deref().map_or(Ok(DataType::Blob), DataType::from_word)?;
        let value = value_decode(r.material, Encoding::chosen(r.encoding.as_deref(), data_type)?, data_type)?;
        let (description, meta) = (r.description.unwrap_or_default(), r.meta.unwrap_or_default());
        attributes_allowed(&description, &r.labels, &meta)?;
        let recovery_days = days_allowed(r.recovery_days.unwrap_or(RECOVERY_DAYS))?;
        let id = Core::new_id(ctx.now);
        let sealed = ctx.core.secret_seal((domain, id, 0), &r.key, &value, ctx.now)?;
        let mut must = ctx.core.quota(domain, Kind::Secret)?;
        must.push(key_stays(sealed.key));
        let header = SecretHeader {
            name: r.name,
            data_type,
            created_at: ctx.now,
            updated_at: ctx.now,
            versions: vec![SecretVersion::new(&sealed, value.expose().len(), ctx.now)],
            description,
            labels: r.labels,
            meta,
            unexportable: r.unexportable,
            undeletable: r.undeletable,
            recovery_days,
            deleted_at: None,
            deletion_date: None,
        };
        let body = SecretBody { versions: vec![sealed] };
        let write = ctx.core.put(domain, id, 1, &header, &body.encode()?)?;
        ctx.commit(header.name.clone(), must, vec![write]).await?;
        let stored = ctx.core.load::<SecretHeader>(domain, id)?;
        let secret = match r.include_material {
            true => ctx.secret_shown_open(&stored, None, r.encoding.as_deref())?,
            false => ctx.secret_shown(&stored, None)?,
        };
        Ok(Reply::json(secret).at(stored.revision()))
    }
}

impl Handle<SecretGet> for App {
    async fn handle(&self, ctx: &Ctx, r: SecretGet) -> Result<Reply<Secret>> {
        let stored = ctx.secret_load(&r.id)?;
        let secret = match r.include_material {
            true => ctx.secret_shown_open(&stored, r.version, None)?,
            false => ctx.secret_shown(&stored, r.version)?,
        };
        Ok(Reply::json(secret).at(stored.revision()))
    }
}

impl Handle<SecretVersionGet> for App {
    async fn handle(&self, ctx: &Ctx, r: SecretVersionGet) -> Result<Reply<Secret>> {
        let get = SecretGet { id: r.id, version: Some(r.version), include_material: r.include_material };
        self.handle(ctx, get).await
    }
}

impl Handle<SecretExport> for App {
    async fn handle(&self, ctx: &Ctx, r: SecretExport) -> Result<Reply<Secret>> {
        let stored = ctx.secret_load(&r.id)?;
        Ok(Reply::json(ctx.secret_shown_open(&stored, r.version, r.encoding.as_deref())?).at(stored.revision()))
    }
}

impl Handle<SecretUpdate> for App {
    async fn handle(&self, ctx: &Ctx, r: SecretUpdate) -> Result<Reply<Secret>> {
        let stored = ctx.secret_load_active(&r.id)?;
        let mut header = stored.header.clone();
        if let Some(name) = r.name {
            name_allowed(&name)?;
            header.name = name;
        }
        header.description = r.description.unwrap_or(header.description);
        for (label, value) in r.labels.unwrap_or_default() {
            match value {
                Some(value) => drop(header.labels.insert(label, value)),
                None => drop(header.labels.remove(&label)),
            }
        }
        for (member, value) in r.meta.unwrap_or_default() {
            match value {
                Value::Null => drop(header.meta.remove(&member)),
                value => drop(header.meta.insert(member, value)),
            }
        }
        if header.unexportable && r.unexportable == Some(false) {
            return Err(AppError::invalid("unexportable cannot be taken back"));
        }
        header.unexportable |= r.unexportable.unwrap_or(false);
        header.undeletable = r.undeletable.unwrap_or(header.undeletable);
        header.recovery_days = r.recovery_days.map_or(Ok(header.recovery_days), days_allowed)?;
        attributes_allowed(&header.description, &header.labels, &header.meta)?;
        header.updated_at = ctx.now;
        ctx.commit_header(&stored, &header).await?;
        let stored = ctx.core.load::<SecretHeader>(stored.record.domain, stored.id())?;
        Ok(Reply::json(ctx.secret_shown(&stored, None)?).at(stored.revision()))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde_json::{Map, json};

    use super::{attributes_allowed, days_allowed, name_allowed};

    #[test]
    fn what_stands_in_clear_is_bounded() {
        let labels = |label: &str, value: &str| BTreeMap::from([(label.to_owned(), value.to_owned())]);
        let none = BTreeMap::new();
        let long = "x".repeat(256);
        let many: BTreeMap<_, _> = (0..101).map(|n| (n.to_string(), String::new())).collect();
        for (description, labels, allowed) in [
            ("", none.clone(), true),
            ("ß".repeat(4096).as_str(), labels("a", ""), true),
            ("x".repeat(4097).as_str(), none.clone(), false),
            ("", labels("", "a"), false),
            ("", labels(&long, "a"), false),
            ("", labels("a", &long), false),
            ("", many, false),
        ] {
            assert_eq!(attributes_allowed(description, &labels, &Map::new()).is_ok(), allowed, "{labels:?}");
        }
        let meta = |size: usize| Map::from_iter([("m".to_owned(), json!("x".repeat(size)))]);
        assert!(attributes_allowed("", &none, &meta(16_000)).is_ok());
        assert!(attributes_allowed("", &none, &meta(17_000)).is_err());
    }

    #[test]
    fn days_and_names_are_checked() {
        for (days, allowed) in [(0, false), (6, false), (7, true), (30, true), (31, false)] {
            assert_eq!(days_allowed(days).is_ok(), allowed, "{days}");
        }
        for (name, allowed) in [("db password/1", true), ("", false), ("a<b", false), ("a\\b", false)] {
            assert_eq!(name_allowed(name).is_ok(), allowed, "{name:?}");
        }
    }
}
