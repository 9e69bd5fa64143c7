//! Keys: finding them, showing them, and who may do what with one.

mod change;
mod copy;
mod counter;
mod create;
pub mod ending;
mod export;
mod list;
pub mod material;
mod rotate;
mod states;

use keyark_api::ErrorCode;
use keyark_api::keys::{Key, KeyLink};
use keyark_crypto::algorithm::{AlgorithmError, KeyBody};
use keyark_model::access::Right;
use keyark_model::key::{KeyHeader, Link, Operation, VersionHeader};
use keyark_model::{DomainId, Id, Kind};

use super::core::Core;
use super::ctx::{Ctx, account_of, uri_of};
use super::error::{AppError, Result};
use super::records::{Header, Stored};

pub use keyark_archive::json::hex;
pub use list::{KeyConditions, key_fits};

impl Header for KeyHeader {
    const KIND: Kind = Kind::Key;

    fn version(&self) -> u64 {
        self.newest().map_or(0, |v| u64::from(v.version))
    }
}

/// Constants that clients of this API copy around.
pub const APPLICATION: &str = "ncryptify:gemalto:admin:apps:kylo";
pub const DEV_ACCOUNT: &str = "ncryptify:gemalto:admin:accounts:gemalto";

/// One key by id, name or alias.
pub fn key_find(core: &Core, domain: DomainId, text: &str, kind: Option<&str>) -> Result<Stored<KeyHeader>> {
    match kind {
        None => core.load_any(domain, text),
        Some("id") => {
            core.load(domain, text.parse().map_err(|_| AppError::not_found(format_args!("the key {text:?}")))?)
        }
        Some(kind @ ("name" | "alias")) => {
            let found = core.load_named::<KeyHeader>(domain, text)?;
            match (found.header.name.as_str() == text) == (kind == "name") {
                true => Ok(found),
                false => Err(AppError::not_found(format_args!("the key {text:?}"))),
            }
        }
        Some("uri") => key_find_by_uri(core, domain, text),
        Some(_) => Err(AppError::invalid("type is id, name, alias or uri")),
    }
}

/// One key by an alias that is a URI, or by the URI that the key is shown with, whichever version that names.
fn key_find_by_uri(core: &Core, domain: DomainId, uri: &str) -> Result<Stored<KeyHeader>> {
    let own = uri_of(domain, "vault:keys", "");
    let shown = uri.strip_prefix(&own).and_then(|rest| rest.rsplit_once("-v"));
    match shown.filter(|(_, version)| version.parse::<u32>().is_ok()) {
        Some((name, _)) => core.load_named(domain, name),
        None => core.load_named(domain, uri),
    }
}

/// The version that a request means: by number, -1 or none for the newest.
pub fn version_of(header: &KeyHeader, wanted: Option<i64>) -> Result<&VersionHeader> {
    match wanted {
        None | Some(-1) => header.newest(),
        Some(n) => u32::try_from(n).ok().and_then(|n| header.version(n)),
    }
    .ok_or_else(|| AppError::not_found("this version of the key"))
}

impl Ctx {
    /// A key that the caller may see.
    pub fn key_load(&self, text: &str, kind: Option<&str>) -> Result<Stored<KeyHeader>> {
        let stored = key_find(&self.core, self.domain()?, text, kind)?;
        match self.caller()?.may(Right::KeyRead) || self.key_granted(&stored.header) {
            true => Ok(stored),
            false => Err(AppError::not_found(format_args!("{} {text:?}", Kind::Key))),
        }
    }

    /// A key that the caller may change.
    pub fn key_load_mine(&self, text: &str, kind: Option<&str>) -> Result<Stored<KeyHeader>> {
        let stored = self.key_load(text, kind)?;
        if !self.caller()?.may(Right::KeyWrite) {
            // The caller may see this key, by its role or by the key's permissions.
            return Err(AppError::forbidden(self.action));
        }
        self.check_match(stored.revision())?;
        Ok(stored)
    }

    /// Whether the key itself gives the caller anything.
    fn key_granted(&self, header: &KeyHeader) -> bool {
        self.principal.as_ref().is_some_and(|p| {
            header.owner_id == p.actor() || header.permissions.values().flatten().any(|g| p.groups.contains(g))
        })
    }

    /// Whether the caller may do an operation with a key: by role, as its owner, or by the key's own permissions.
    pub fn key_may(&self, header: &KeyHeader, operation: Operation) -> Result<()> {
        let caller = self.caller()?;
        let right = if operation == Operation::Export { Right::KeyExport } else { Right::KeyUse };
        let groups = caller.groups.iter().map(String::as_str);
        if caller.may(right) || header.owner_id == caller.actor() || header.grants(operation, groups) {
            return Ok(());
        }
        match caller.may(Right::KeyRead) || self.key_granted(header) {
            true => Err(AppError::forbidden(self.action)),
            false => Err(AppError::not_found(format_args!("{} {:?}", Kind::Key, header.name.as_str()))),
        }
    }

    /// The key's materials.
    pub fn key_body(&self, stored: &Stored<KeyHeader>) -> Result<KeyBody> {
        key_body(&self.core, stored)
    }
}

/// The key's materials, opened.
pub fn key_body(core: &Core, stored: &Stored<KeyHeader>) -> Result<KeyBody> {
    let body = core.open_body(stored)?;
    KeyBody::decode(stored.header.spec, &body).map_err(AppError::internal)
}

impl From<AlgorithmError> for AppError {
    fn from(e: AlgorithmError) -> Self {
        let code = match e {
            AlgorithmError::CheckFailed => ErrorCode::CryptoFailed,
            AlgorithmError::TooLarge { .. } => ErrorCode::TooLarge,
            AlgorithmError::WrongAlgorithm { .. } | AlgorithmError::BadInput(_) => ErrorCode::InvalidParam,
        };
        AppError::new(code, e.to_string())
    }
}

/// A key as the wire shows it: attributes of the key, and of one of its versions.
pub fn key_shown(ctx: &Ctx, stored: &Stored<KeyHeader>, version: &VersionHeader, fields: Option<&str>) -> Key {
    let (h, domain) = (&stored.header, stored.record.domain);
    let mut meta = serde_json::Map::new();
    let fields = fields.unwrap_or_default();
    if fields.split(',').any(|f| f.trim() == "meta") {
        meta = h.meta.clone();
    }
    if !h.owner_id.is_empty() {
        meta.insert("ownerId".into(), h.owner_id.clone().into());
    }
    if !h.permissions.is_empty() {
        let permissions = h.permissions.iter().map(|(p, groups)| (p.word().to_owned(), groups.clone().into()));
        meta.insert("permissions".into(), serde_json::Value::Object(permissions.collect()));
    }
    let links = match fields.split(',').any(|f| f.trim() == "links") {
        true => key_links(h),
        false => Vec::new(),
    };
    let dates = version.dates;
    Key {
        id: version.id.to_string(),
        uri: uri_of(domain, "vault:keys", format_args!("{}-v{}", h.name.as_str(), version.version)),
        account: account_of(domain),
        application: APPLICATION.into(),
        dev_account: DEV_ACCOUNT.into(),
        created_at: version.created_at,
        updated_at: h.updated_at,
        name: h.name.as_str().into(),
        version: version.version,
        versions_count: h.versions.len() as u64,
        algorithm: h.spec.algorithm().word().into(),
        size: Some(h.spec.size()),
        curveid: h.spec.curve().map(|c| c.word().into()),
        usage_mask: h.usage_mask.bits(),
        object_type: h.spec.object_type().word().into(),
        state: version.state_at(ctx.now).word().into(),
        uuid: version.id.to_string(),
        muid: version.muid.clone(),
        key_id: version.key_id.clone(),
        description: h.description.clone(),
        labels: h.labels.clone(),
        aliases: h.aliases.clone(),
        meta,
        unexportable: h.unexportable,
        undeletable: h.undeletable,
        activation_date: dates.activation,
        process_start_date: dates.process_start,
        protect_stop_date: dates.protect_stop,
        deactivation_date: dates.deactivation,
        archive_date: dates.archive,
        destroy_date: dates.destroy,
        compromise_date: dates.compromise,
        compromise_occurrence_date: dates.compromise_occurrence,
        revocation_reason: version.revocation.as_ref().map(|r| r.reason.word().into()),
        revocation_message: version.revocation.as_ref().map(|r| r.message.clone()),
        deletion_date: h.deletion_date,
        last_used_at: ctx.core.key_last_used(domain, stored.id(), version.version),
        state_message: version.state_message.clone(),
        sha256_fingerprint: version.fingerprint.map(|d| d.to_string()),
        key_check_value: version.fingerprint.map(|d| hex(&d.0[..3])),
        links,
        ..Key::default()
    }
}

/// Links as the wire shows them.
pub fn key_links(header: &KeyHeader) -> Vec<KeyLink> {
    let shown =
        |link: &Link| KeyLink { id: link_id(link), kind: link.kind.word().into(), target: link.target.to_string() };
    header.links.iter().map(shown).collect()
}

/// A link's name in its key: what it says, so that it stays the same when another one goes.
fn link_id(link: &Link) -> String {
    format!("{}-{}", link.kind.word(), link.target)
}

/// The id of a key named by id, name or alias, for links and secrets.
pub fn key_id_of(core: &Core, domain: DomainId, text: &str) -> Result<Id> {
    Ok(key_find(core, domain, text, None)?.id())
}
