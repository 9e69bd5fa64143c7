//! New versions of many keys, by the clock.

use keyark_api::keys::KeyVersionCreate;
use keyark_api::schedules::KeyRotationParams;
use keyark_api::{Endpoint, ErrorCode};
use keyark_model::Id;
use keyark_model::key::KeyHeader;

use super::list::{KeyConditions, key_fits};
use crate::app::Handle;
use crate::app::ctx::Ctx;
use crate::app::error::{AppError, Result};
use crate::app::records::Stored;

/// Keys that a failure names; of more it tells the number.
const NAMED: usize = 20;

impl Ctx {
    /// The keys that a rotation means. Of a pattern, those that end are left alone.
    fn keys_meant(&self, p: &KeyRotationParams) -> Result<Vec<Stored<KeyHeader>>> {
        if let Some(key) = &p.key {
            return Ok(vec![self.key_load_mine(key, None)?]);
        }
        let fits = KeyConditions { names: p.name.iter().cloned().collect(), ..KeyConditions::default() };
        let mut all = self.core.load_all::<KeyHeader>(self.domain()?)?;
        all.retain(|k| {
            let ends = k.header.newest().is_none_or(|v| v.state_at(self.now).is_destroyed());
            !ends && k.header.deletion_date.is_none() && key_fits(&fits, &k.header, self.now)
        });
        Ok(all)
    }

    /// Begins to make a new version of each; its job names those that could not get one.
    pub async fn keys_rotate(&self, p: &KeyRotationParams, resource: Id) -> Result<Id> {
        let keys = self.keys_meant(p)?;
        let on = Ctx { action: KeyVersionCreate::ID, ..self.going_on() };
        let runtime = tokio::runtime::Handle::current();
        self.job_beside("Key rotation", Some(self.domain()?), resource, move |progress| {
            progress.set_total(keys.len() as u64);
            let (mut rotated, mut failed, mut code) = (0_u64, Vec::new(), None);
            for key in &keys {
                progress.step().map_err(|e| AppError::new(ErrorCode::Cancelled, e.to_string()))?;
                let request = KeyVersionCreate { id: key.id().to_string(), ..KeyVersionCreate::default() };
                match runtime.block_on(Handle::<KeyVersionCreate>::handle(&*on.app, &on, request)) {
                    Ok(_) => rotated += 1,
                    Err(e) => {
                        code = code.or(Some(e.code));
                        failed.push(format!("{}: {}", key.header.name.as_str(), e.message));
                    }
                }
            }
            let Some(code) = code else { return Ok((serde_json::json!({ "rotated": rotated }), Vec::new())) };
            let (count, all) = (failed.len(), keys.len());
            failed.truncate(NAMED);
            let more = if count > NAMED { format!("; and {} more", count - NAMED) } else { String::new() };
            let what = format!("{count} of {all} keys have no new version: {}{more}", failed.join("; "));
            Err(AppError::new(code, what))
        })
        .await
    }
}
