//! Cloning: one version's material as a key of its own.

use keyark_api::ErrorCode;
use keyark_api::keys::{Key, KeyClone};
use keyark_crypto::algorithm::KeyBody;
use keyark_model::Kind;
use keyark_model::key::{KeyHeader, KeyName, Operation, VersionHeader};

use super::create::{meta_split, stored_now, unexportable};
use super::{key_shown, version_of};
use crate::app::core::Core;
use crate::app::ctx::Ctx;
use crate::app::error::{AppError, Result};
use crate::app::{App, Handle, Reply};

impl Handle<KeyClone> for App {
    async fn handle(&self, ctx: &Ctx, r: KeyClone) -> Result<Reply<Key>> {
        let source = ctx.key_load_mine(&r.id, r.kind.as_deref())?;
        let (h, domain) = (&source.header, source.record.domain);
        let version = version_of(h, r.version)?;
        let state = version.state_at(ctx.now);
        if state.is_destroyed() || state.is_compromised() {
            // A copy would not be known to be compromised.
            return Err(AppError::new(ErrorCode::KeyState, format!("this version is {state}; make a new key instead")));
        }
        if h.deletion_date.is_some() || version.destruction().is_some() {
            return Err(AppError::new(ErrorCode::KeyState, "its end is scheduled; cancel that first"));
        }
        if r.include_material {
            // To show it is to export it.
            ctx.key_may(h, Operation::Export)?;
            version
                .permit(ctx.now, Operation::Export)
                .map_err(|e| AppError::new(ErrorCode::KeyState, e.to_string()))?;
            if h.unexportable {
                return Err(unexportable());
            }
        }
        let id = Core::new_id(ctx.now);
        let name = KeyName::new(r.new_key_name.unwrap_or_else(|| format!("key-{id}")));
        let mut header = KeyHeader {
            name: name.map_err(|e| AppError::invalid(e.to_string()))?,
            aliases: Vec::new(),
            links: Vec::new(),
            created_at: ctx.now,
            updated_at: ctx.now,
            versions: vec![VersionHeader { version: 0, id, muid: None, key_id: None, ..version.clone() }],
            ..h.clone()
        };
        if let Some(meta) = r.meta {
            let (owner, permissions, meta) = meta_split(meta)?;
            header.owner_id = owner.unwrap_or(header.owner_id);
            header.permissions = permissions.unwrap_or(header.permissions);
            header.meta = meta;
        }
        let number = version.version;
        let material = ctx.key_body(&source)?.into_material(number);
        let material = material.ok_or_else(|| AppError::not_found("the material"))?;
        let mut writes = ctx.core.count_shared(domain, source.id(), number, id, material.spec())?;
        let body = KeyBody::new(0, material)?;
        writes.push(ctx.core.put(domain, id, 1, &header, body.encode().expose())?);
        ctx.commit(header.name.as_str(), ctx.core.quota(domain, Kind::Key)?, writes).await?;
        let stored = stored_now(domain, id, 1, header);
        let mut key = key_shown(ctx, &stored, version_of(&stored.header, None)?, Some("meta"));
        if r.include_material {
            super::export::material_show(&mut key, &body.versions()[0].material, None, None)?;
        }
        Ok(Reply::json(key).at(1))
    }
}
