//! The versions of a secret: the next one, and all of them under the newest version of their key.

use std::collections::HashMap;

use keyark_api::ErrorCode;
use keyark_api::secrets::{Secret, SecretRewrap, SecretVersionCreate};
use keyark_model::Id;
use keyark_store::Must;

use super::key_stays;
use super::material::{Encoding, value_decode};
use super::record::{SecretBody, SecretHeader, SecretVersion};
use crate::app::ctx::Ctx;
use crate::app::error::{AppError, Result};
use crate::app::records::Stored;
use crate::app::{App, Handle, Reply};

/// Versions of one secret, destroyed ones counted.
const MOST_VERSIONS: usize = 500;
/// Bytes of all the values that one secret holds: every change of a secret writes them again.
const LARGEST_BODY: usize = 4 << 20;

impl Ctx {
    /// Writes the next revision of a secret with another body, while the keys stay, and shows it.
    async fn secret_write(
        &self,
        stored: &Stored<SecretHeader>,
        header: &SecretHeader,
        body: &SecretBody,
    ) -> Result<Reply<Secret>> {
        let (domain, id) = (stored.record.domain, stored.id());
        let mut must: Vec<Must> = Vec::new();
        for sealed in &body.versions {
            // Versions that stay as they are may be under a key that is gone; their secret can still be rotated.
            let known = stored.header.versions.iter().any(|v| v.version == sealed.version && v.key_id == sealed.key);
            if !known && !must.contains(&key_stays(sealed.key)) {
                must.push(key_stays(sealed.key));
            }
        }
        let write = self.core.put(domain, id, stored.revision() + 1, header, &body.encode()?)?;
        self.commit(header.name.clone(), must, vec![write]).await?;
        let stored = self.core.load::<SecretHeader>(domain, id)?;
        Ok(Reply::json(self.secret_shown(&stored, None)?).at(stored.revision()))
    }
}

impl Handle<SecretVersionCreate> for App {
    async fn handle(&self, ctx: &Ctx, r: SecretVersionCreate) -> Result<Reply<Secret>> {
        let stored = ctx.secret_load_active(&r.id)?;
        let mut header = stored.header.clone();
        let value =
            value_decode(r.material, Encoding::chosen(r.encoding.as_deref(), header.data_type)?, header.data_type)?;
        let mut body = ctx.core.secret_body(&stored)?;
        if header.versions.len() >= MOST_VERSIONS {
            return Err(AppError::new(
                ErrorCode::QuotaExceeded,
                format!("a secret has at most {MOST_VERSIONS} versions; store the value as a new secret"),
            ));
        }
        if body.size() + value.expose().len() > LARGEST_BODY {
            return Err(AppError::new(
                ErrorCode::QuotaExceeded,
                format!(
                    "the versions of one secret hold at most {LARGEST_BODY} bytes together; destroy old versions first"
                ),
            ));
        }
        let last = header.version_of(None)?;
        let place = (stored.record.domain, stored.id(), last.version + 1);
        let key = r.key.unwrap_or_else(|| last.key_id.to_string());
        let sealed = ctx.core.secret_seal(place, &key, &value, ctx.now)?;
        header.versions.push(SecretVersion::new(&sealed, value.expose().len(), ctx.now));
        header.updated_at = ctx.now;
        body.versions.push(sealed);
        ctx.secret_write(&stored, &header, &body).await
    }
}

impl Handle<SecretRewrap> for App {
    async fn handle(&self, ctx: &Ctx, r: SecretRewrap) -> Result<Reply<Secret>> {
        let stored = ctx.secret_load_active(&r.id)?;
        let mut body = ctx.core.secret_body(&stored)?;
        let mut header = stored.header.clone();
        let (domain, id) = (stored.record.domain, stored.id());
        // Which version of a key is the newest shows when something was encrypted with it.
        let mut newest: HashMap<String, (Id, u64)> = HashMap::new();
        let mut changed = false;
        for sealed in &mut body.versions {
            let key = r.key.clone().unwrap_or_else(|| sealed.key.to_string());
            if newest.get(&key) == Some(&(sealed.key, sealed.key_version)) {
                continue;
            }
            let value = ctx.core.secret_open(domain, id, sealed, ctx.now)?;
            let fresh = ctx.core.secret_seal((domain, id, sealed.version), &key, &value, ctx.now)?;
            newest.insert(key, (fresh.key, fresh.key_version));
            if (fresh.key, fresh.key_version) == (sealed.key, sealed.key_version) {
                continue;
            }
            if let Some(version) = header.versions.iter_mut().find(|v| v.version == sealed.version) {
                (version.key_id, version.key_version) = (fresh.key, fresh.key_version);
                version.sha256 = fresh.digest();
            }
            *sealed = fresh;
            changed = true;
        }
        if !changed {
            return Ok(Reply::json(ctx.secret_shown(&stored, None)?).at(stored.revision()));
        }
        header.updated_at = ctx.now;
        ctx.secret_write(&stored, &header, &body).await
    }
}
