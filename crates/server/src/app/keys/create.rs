//! Making keys, importing them, and making further versions.

use std::collections::{BTreeMap, BTreeSet};

use keyark_api::ErrorCode;
use keyark_api::keys::{Key, KeyCreate, KeyVersionCreate, NewAlias};
use keyark_crypto::SecretBytes;
use keyark_crypto::algorithm::{Format, KeyBody, Material};
use keyark_model::key::{
    Algorithm, Alias, AliasType, Dates, KeyHeader, KeyName, KeyPermission, KeySpec, Operation, State, UsageMask,
    VersionHeader,
};
use keyark_model::{DomainId, Id, Kind, Record};
use serde_json::{Map, Value};

use super::{key_find, key_shown, version_of};
use crate::app::core::Core;
use crate::app::ctx::Ctx;
use crate::app::error::{AppError, Result};
use crate::app::records::Stored;
use crate::app::{App, Handle, Reply};

/// Reads a word of the wire; the error lists the allowed ones.
pub fn parse<T: std::str::FromStr<Err: std::fmt::Display>>(text: &str) -> Result<T> {
    text.parse().map_err(|e: T::Err| AppError::invalid(e.to_string()))
}

fn spec_of(r: &KeyCreate) -> Result<KeySpec> {
    let algorithm = r.algorithm.as_deref().map(parse::<Algorithm>).transpose()?.unwrap_or(Algorithm::Aes);
    let curve = r.curveid.as_deref().map(parse).transpose()?;
    KeySpec::new(algorithm, r.size, curve).map_err(|e| AppError::invalid(e.to_string()))
}

/// Splits `meta` into what has a meaning here (owner, permissions) and what is kept for the client.
pub fn meta_split(mut meta: Map<String, Value>) -> Result<(Option<String>, Permissions, Map<String, Value>)> {
    let owner = match meta.remove("ownerId").or_else(|| meta.remove("owner_id")) {
        None => None,
        Some(Value::String(owner)) => Some(owner),
        Some(_) => return Err(AppError::invalid("meta.ownerId is a string")),
    };
    let permissions = match meta.remove("permissions") {
        None => None,
        Some(value) => {
            let given: BTreeMap<String, Vec<String>> = serde_json::from_value(value)
                .map_err(|_| AppError::invalid("meta.permissions is an object of permission → list of groups"))?;
            Some(given.into_iter().map(|(p, g)| Ok((parse::<KeyPermission>(&p)?, g))).collect::<Result<_>>()?)
        }
    };
    Ok((owner, permissions, meta))
}

type Permissions = Option<BTreeMap<KeyPermission, Vec<String>>>;

/// New aliases with numbers that were not used before.
pub fn aliases_add(header: &mut KeyHeader, new: Vec<NewAlias>) -> Result<()> {
    for alias in new {
        let kind = alias.kind.as_deref().map(parse).transpose()?.unwrap_or(AliasType::String);
        let name = KeyName::new(alias.alias).map_err(|e| AppError::invalid(e.to_string()))?;
        let index = header.aliases.iter().map(|a| a.index + 1).max().unwrap_or(0);
        header.aliases.push(Alias { alias: name, index, kind });
    }
    names_distinct(header)
}

/// A key's name and aliases differ from each other; that they differ from those of other keys, the store sees to.
pub fn names_distinct(header: &KeyHeader) -> Result<()> {
    let mut seen = BTreeSet::from([header.name.as_str()]);
    match header.aliases.iter().find(|a| !seen.insert(a.alias.as_str())) {
        None => Ok(()),
        Some(a) => Err(AppError::new(
            ErrorCode::KeyAlreadyExists,
            format!("the name {:?} is taken by this key itself; choose another", a.alias.as_str()),
        )),
    }
}

/// What a request says of the material it brings.
struct Given<'a> {
    material: &'a str,
    encoding: Option<&'a str>,
    format: Option<&'a str>,
    wrap_key: Option<&'a str>,
}

impl Ctx {
    /// The id that an import brings, and the revision that its record begins with.
    fn id_given(&self, text: &str) -> Result<(Id, u64)> {
        let id: Id = text.parse().map_err(|_| AppError::invalid("id is a UUID"))?;
        if self.core.store.get(self.domain()?, Kind::Key, id)?.is_some() {
            return Err(AppError::new(
                ErrorCode::KeyAlreadyExists,
                format!("a key with the id {id} exists; leave the id out, or make a version of that key"),
            ));
        }
        // A tombstone keeps counting, so that an id that comes back continues where it ended.
        Ok((id, self.core.store.tombstone(Kind::Key, id)?.map_or(1, |t| t.revision + 1)))
    }

    fn material_read(&self, spec: KeySpec, given: &Given<'_>) -> Result<Material> {
        if let Some(name) = given.wrap_key {
            let wrapped = decode_text(given.material, given.encoding.unwrap_or("base64"))?;
            let key = key_find(&self.core, self.domain()?, name, None)?;
            self.key_may(&key.header, Operation::Unwrap)?;
            let bytes = self.core.key_unwrap(&key, None, wrapped.expose(), self.now)?;
            let format = if spec.is_symmetric() { Format::Raw } else { Format::Pkcs8 };
            return Ok(Material::import(spec, format, bytes.expose())?);
        }
        if given.material.trim_start().starts_with("-----BEGIN") {
            return Ok(Material::import_pem(spec, given.material.as_bytes())?);
        }
        let format = match given.format {
            None if spec.is_symmetric() => Format::Raw,
            None | Some("pkcs8") => Format::Pkcs8,
            Some("raw") => Format::Raw,
            Some("pkcs1") => Format::Pkcs1,
            Some("sec1") => Format::Sec1,
            Some(_) => return Err(AppError::invalid("format is raw, pkcs8, pkcs1 or sec1")),
        };
        let bytes = decode_text(given.material, given.encoding.unwrap_or("hex"))?;
        Ok(Material::import(spec, format, bytes.expose())?)
    }

    /// Makes material off the request threads where that takes long (RSA).
    async fn material_generate(&self, spec: KeySpec) -> Result<Material> {
        match spec.algorithm() {
            Algorithm::Rsa => {
                tokio::task::spawn_blocking(move || Material::generate(spec)).await.map_err(AppError::internal)
            }
            _ => Ok(Material::generate(spec)),
        }
    }
}

/// Hexadecimal or base64 text as bytes that are wiped.
pub fn decode_text(text: &str, encoding: &str) -> Result<SecretBytes> {
    let bytes = match encoding {
        "hex" => hex_decode(text),
        "base64" => base64_simd::STANDARD.decode_to_vec(text.trim()).ok(),
        _ => return Err(AppError::invalid("encoding is hex or base64")),
    };
    bytes.map(SecretBytes::new).ok_or_else(|| AppError::invalid(format!("the material is not {encoding}")))
}

fn hex_decode(text: &str) -> Option<Vec<u8>> {
    let text = text.trim().as_bytes();
    let digit = |b: u8| (b as char).to_digit(16).map(|d| d as u8);
    if !text.len().is_multiple_of(2) {
        return None;
    }
    text.chunks(2).map(|pair| Some(digit(pair[0])? << 4 | digit(pair[1])?)).collect()
}

impl Handle<KeyCreate> for App {
    async fn handle(&self, ctx: &Ctx, r: KeyCreate) -> Result<Reply<Key>> {
        let spec = spec_of(&r)?;
        let asked = r.usage_mask.map(UsageMask::new).transpose().map_err(|e| AppError::invalid(e.to_string()))?;
        let usage_mask = spec.usage(asked).map_err(|e| AppError::invalid(e.to_string()))?;
        let (id, revision) = match r.id.as_deref().or(r.uuid.as_deref()) {
            // A fresh id has no past, so nothing needs to be looked up.
            None => (Core::new_id(ctx.now), 1),
            Some(text) => ctx.id_given(text)?,
        };
        if r.include_material && r.unexportable {
            return Err(unexportable());
        }
        let imported = r.material.is_some();
        let material = match &r.material {
            None => ctx.material_generate(spec).await?,
            Some(material) => ctx.material_read(
                spec,
                &Given {
                    material,
                    encoding: r.encoding.as_deref(),
                    format: r.format.as_deref(),
                    wrap_key: r.wrap_key_name.as_deref(),
                },
            )?,
        };
        let dates = Dates {
            activation: Some(r.activation_date.unwrap_or(ctx.now)),
            process_start: r.process_start_date,
            protect_stop: r.protect_stop_date,
            deactivation: r.deactivation_date,
            ..Dates::default()
        };
        dates.check().map_err(|e| AppError::invalid(e.to_string()))?;
        let state = match r.state.as_deref().map(parse::<State>).transpose()? {
            Some(State::Destroyed | State::DestroyedCompromised) => {
                return Err(AppError::invalid("a destroyed key has no material to import"));
            }
            Some(state) if imported => state,
            Some(State::PreActive) => State::PreActive,
            _ => dates.initial_state(ctx.now),
        };
        let (owner, permissions, meta) = meta_split(r.meta.clone().unwrap_or_default())?;
        let owner_id = match (owner, r.assign_self_as_owner) {
            (_, true) => ctx.caller()?.actor(),
            (owner, false) => owner.unwrap_or_default(),
        };
        let name = KeyName::new(r.name.clone().unwrap_or_else(|| format!("key-{id}")));
        let mut header = KeyHeader {
            name: name.map_err(|e| AppError::invalid(e.to_string()))?,
            spec,
            usage_mask,
            owner_id,
            permissions: permissions.unwrap_or_default(),
            labels: r.labels,
            aliases: Vec::new(),
            description: r.description.unwrap_or_default(),
            unexportable: r.unexportable,
            undeletable: r.undeletable,
            meta,
            links: Vec::new(),
            created_at: ctx.now,
            updated_at: ctx.now,
            deletion_date: None,
            versions: vec![VersionHeader {
                version: 0,
                id,
                state,
                dates,
                revocation: None,
                created_at: ctx.now,
                fingerprint: Some(material.fingerprint()),
                imported,
                muid: r.muid,
                key_id: r.key_id,
                state_message: String::new(),
            }],
        };
        aliases_add(&mut header, r.aliases)?;
        let domain = ctx.domain()?;
        let body = KeyBody::new(0, material)?;
        let write = ctx.core.put(domain, id, revision, &header, body.encode().expose())?;
        ctx.commit(header.name.as_str(), ctx.core.quota(domain, Kind::Key)?, vec![write]).await?;
        let stored = stored_now(domain, id, revision, header);
        let mut key = key_shown(ctx, &stored, version_of(&stored.header, None)?, Some("meta,links"));
        if r.include_material {
            let material = &body.versions()[0].material;
            super::export::material_show(&mut key, material, r.format.as_deref(), r.encoding.as_deref())?;
        }
        Ok(Reply::json(key).at(revision))
    }
}

pub(super) fn unexportable() -> AppError {
    AppError::new(ErrorCode::Unexportable, "an unexportable key does not show its material; leave includeMaterial out")
}

/// A key that was just committed, with as much of its record as showing it needs.
pub(super) fn stored_now(domain: DomainId, id: Id, revision: u64, header: KeyHeader) -> Stored<KeyHeader> {
    let (seq, time, bytes) = (0, header.updated_at, Box::default());
    let record = Record { kind: Kind::Key, id, domain, revision, seq, time, header: bytes, body: Box::default() };
    Stored { record, header }
}

impl Handle<KeyVersionCreate> for App {
    async fn handle(&self, ctx: &Ctx, r: KeyVersionCreate) -> Result<Reply<Key>> {
        let stored = ctx.key_load_mine(&r.id, r.kind.as_deref())?;
        let mut header = stored.header.clone();
        if header.deletion_date.is_some() {
            return Err(AppError::new(ErrorCode::KeyState, "the key's deletion is scheduled; undelete it first"));
        }
        if r.include_material && header.unexportable {
            return Err(unexportable());
        }
        let newest = version_of(&header, None)?.clone();
        if newest.state_at(ctx.now).is_compromised() || newest.state_at(ctx.now).is_destroyed() {
            return Err(AppError::new(
                ErrorCode::KeyState,
                format!("the newest version is {}; make a new key instead", newest.state_at(ctx.now)),
            ));
        }
        let spec = header.spec;
        let material = match &r.material {
            None => ctx.material_generate(spec).await?,
            Some(material) => {
                let (encoding, format) = (r.encoding.as_deref(), r.format.as_deref());
                ctx.material_read(spec, &Given { material, encoding, format, wrap_key: None })?
            }
        };
        let number = header.next_version();
        match r.replaced_state.as_deref() {
            None | Some("") => {}
            Some("ProtectStop") => {
                if let Some(old) = header.version_mut(newest.version) {
                    old.dates.protect_stop = Some(ctx.now);
                }
            }
            Some("Deactivated") => {
                if let Some(old) = header.version_mut(newest.version) {
                    old.state = State::Deactivated;
                    old.dates.deactivation = Some(ctx.now);
                }
            }
            Some(_) => return Err(AppError::invalid("replacedState is ProtectStop or Deactivated")),
        }
        header.versions.push(VersionHeader {
            version: number,
            id: Core::new_id(ctx.now),
            state: State::Active,
            dates: Dates { activation: Some(ctx.now), ..Dates::default() },
            revocation: None,
            created_at: ctx.now,
            fingerprint: Some(material.fingerprint()),
            imported: r.material.is_some(),
            muid: None,
            key_id: None,
            state_message: String::new(),
        });
        header.updated_at = ctx.now;
        let mut body = ctx.key_body(&stored)?;
        body.push(number, material)?;
        let (domain, revision) = (stored.record.domain, stored.revision() + 1);
        let write = ctx.core.put(domain, stored.id(), revision, &header, body.encode().expose())?;
        ctx.commit(header.name.as_str(), ctx.core.quota(domain, Kind::Key)?, vec![write]).await?;
        let stored = Stored { record: keyark_model::Record { revision, ..stored.record }, header };
        let mut key = key_shown(ctx, &stored, version_of(&stored.header, None)?, None);
        if r.include_material {
            let material = &body.version(number).ok_or_else(|| AppError::internal("no new version"))?.material;
            super::export::material_show(&mut key, material, r.format.as_deref(), r.encoding.as_deref())?;
        }
        Ok(Reply::json(key).at(revision))
    }
}
