//! Exporting material, in clear or wrapped; never of an unexportable key.

use keyark_api::ErrorCode;
use keyark_api::keys::{Key, KeyExport};
use keyark_crypto::algorithm::{Format, Material};
use keyark_model::key::Operation;

use super::{hex, key_find, key_shown, version_of};
use crate::app::ctx::Ctx;
use crate::app::error::{AppError, Result};
use crate::app::{App, Handle, Reply};

/// Puts the material into an answer: hexadecimal or base64 for symmetric keys, PEM for others (PKCS#8 unless told otherwise) unless raw was asked for.
pub fn material_show(key: &mut Key, material: &Material, format: Option<&str>, encoding: Option<&str>) -> Result<()> {
    let symmetric = material.spec().is_symmetric();
    match (format, symmetric) {
        (None | Some("pkcs8"), false) => {
            let pem = material.export_pem()?;
            key.material = Some(String::from_utf8_lossy(pem.expose()).into_owned());
            key.format = Some("pkcs8".into());
        }
        (Some("pkcs1"), false) => {
            let pem = material.export_pem_pkcs1()?;
            key.material = Some(String::from_utf8_lossy(pem.expose()).into_owned());
            key.format = Some("pkcs1".into());
        }
        (None | Some("raw"), _) => {
            let bytes = material.export(Format::Raw)?;
            let (text, word) = match encoding.unwrap_or("hex") {
                "hex" => (hex(bytes.expose()), "hex"),
                "base64" => (crate::app::core::encode(bytes.expose()), "base64"),
                _ => return Err(AppError::invalid("encoding is hex or base64")),
            };
            (key.material, key.encoding, key.format) = (Some(text), Some(word.into()), Some("raw".into()));
        }
        _ => return Err(AppError::invalid("format is raw for symmetric keys, pkcs8, pkcs1 (RSA) or raw for others")),
    }
    Ok(())
}

impl Handle<KeyExport> for App {
    async fn handle(&self, ctx: &Ctx, r: KeyExport) -> Result<Reply<Key>> {
        let stored = ctx.key_load(&r.id, r.kind.as_deref())?;
        ctx.key_may(&stored.header, Operation::Export)?;
        if stored.header.unexportable {
            return Err(AppError::new(ErrorCode::Unexportable, "the key is unexportable; back it up instead"));
        }
        if stored.header.deletion_date.is_some() {
            return Err(AppError::new(ErrorCode::KeyState, "the key's deletion is scheduled; undelete it first"));
        }
        let version = version_of(&stored.header, r.version)?;
        let permitted = version.permit(ctx.now, Operation::Export);
        permitted.map_err(|e| AppError::new(ErrorCode::KeyState, e.to_string()))?;
        let mut body = ctx.key_body(&stored)?;
        let found = body.version(version.version).ok_or_else(|| AppError::not_found("the material"))?;
        let mut key = key_shown(ctx, &stored, version, None);
        match &r.wrap_key_name {
            None => material_show(&mut key, &found.material, r.format.as_deref(), r.encoding.as_deref())?,
            Some(name) => {
                let wrapping = key_find(&ctx.core, ctx.domain()?, name, None)?;
                ctx.key_may(&wrapping.header, Operation::Wrap)?;
                let format = if stored.header.spec.is_symmetric() { Format::Raw } else { Format::Pkcs8 };
                let bytes = found.material.export(format)?;
                let wrapped = ctx.core.key_wrap(&wrapping, None, bytes.expose(), ctx.now)?;
                key.material = Some(crate::app::core::encode(&wrapped));
                key.encoding = Some("base64".into());
                key.format = Some(if format == Format::Raw { "raw" } else { "pkcs8" }.into());
                key.wrapped_by = Some(wrapping.id().to_string());
            }
        }
        body.destroy(version.version);
        // An export is a change worth an entry of its own: what left the system stands in the audit log for ever.
        ctx.commit(stored.header.name.as_str(), vec![], vec![]).await?;
        Ok(Reply::json(key))
    }
}
