//! Legal holds of backup instances: set, lifted, and asked for by whatever would take something away.

use keyark_api::ErrorCode;
use keyark_api::backup_instances::BackupInstance;
use keyark_api::holds::{BackupInstanceHold, BackupInstanceLift};
use keyark_backup::stream::retain;
use keyark_model::DomainId;
use keyark_model::access::Right;
use keyark_model::protection::{InstanceHeader, InstanceState, LegalHold};

use super::{Instance, There};
use crate::app::ctx::{Ctx, confirmed};
use crate::app::error::{AppError, Result};
use crate::app::{App, Content, Handle, Reply};

/// Characters of a reason.
const REASON: std::ops::RangeInclusive<usize> = 3..=1000;

/// Refuses what would take away something that is held.
pub fn not_held(header: &InstanceHeader) -> Result<()> {
    let Some(hold) = &header.hold else { return Ok(()) };
    let what = format!(
        "the backup instance {:?} is under a legal hold since {} ({}), set by {}: nothing of it goes before that is lifted \
         (`keyark backup-instance lift`)",
        header.alias, hold.since, hold.reason, hold.by
    );
    Err(AppError::new(ErrorCode::LegalHold, what))
}

impl Ctx {
    /// Refuses to make an end of a backup key whose scope has an instance that is held: what that sent may open with it.
    pub fn scope_not_held(&self, scope: Option<DomainId>) -> Result<()> {
        self.core.instances()?.iter().filter(|i| i.header.domain == scope).try_for_each(|i| not_held(&i.header))
    }

    /// The instance for somebody who may hold it: whoever administers what it protects, not whoever takes backups of it.
    fn instance_to_hold(&self, id: &str) -> Result<Instance> {
        let stored = self.instance_load(id)?;
        self.require(if stored.header.domain.is_some() { Right::LegalHold } else { Right::SystemWrite })?;
        self.check_match(stored.revision())?;
        Ok(stored)
    }
}

impl Ctx {
    /// Says at every destination that an instance is held; gives those where it could not be said.
    async fn hold_said(&self, stored: &Instance) -> Result<Vec<String>> {
        let (mut there, core, now) = (self.there(stored, None)?, self.core.clone(), self.now);
        there.retain(|t| t.place.incarnation == core.incarnation);
        let say = move |there: &There| -> Result<()> {
            let place = core.destination_open(&there.stored)?;
            if !retain::held(place.as_ref(), there.place, &core.anchor)? {
                retain::hold(place.as_ref(), there.place, &core.signer, now)?;
            }
            Ok(())
        };
        let unsaid = move |there: There| {
            let e = say(&there).err()?;
            let what = "whoever deletes there knows nothing of the hold: when the destination is back, lift it and set it again";
            Some(format!("hold_not_said: {}: {}; {what}", there.name, e.message))
        };
        let told = tokio::task::spawn_blocking(move || there.into_iter().filter_map(unsaid).collect());
        told.await.map_err(AppError::internal)
    }
}

impl Handle<BackupInstanceHold> for App {
    async fn handle(&self, ctx: &Ctx, r: BackupInstanceHold) -> Result<Reply<BackupInstance>> {
        let stored = ctx.instance_to_hold(&r.id)?;
        not_held(&stored.header)?;
        if stored.header.order.as_ref().is_none_or(|o| o.ending) {
            let what = "the instance has nothing that could be held: it is disabled, being reset, or an upload";
            return Err(AppError::conflict(what));
        }
        let reason = r.reason.trim();
        if !REASON.contains(&reason.chars().count()) || reason.chars().any(char::is_control) {
            return Err(AppError::invalid("reason says why, in one line of 3 to 1000 characters"));
        }
        let caller = ctx.caller()?;
        let by = format!("{} ({})", caller.username, caller.actor());
        let hold = Some(LegalHold { reason: reason.into(), by, since: ctx.now });
        let mut reply = ctx.instance_commit(&stored, &InstanceHeader { hold, ..stored.header.clone() }).await?;
        // The shipping step says it where it ships; an instance that has expired ships nothing.
        if stored.header.state(ctx.now) != InstanceState::Enabled {
            let unsaid = ctx.hold_said(&stored).await?;
            if let Content::Json(shown) = &mut reply.content {
                shown.warnings.extend(unsaid);
            }
        }
        Ok(reply)
    }
}

impl Handle<BackupInstanceLift> for App {
    async fn handle(&self, ctx: &Ctx, r: BackupInstanceLift) -> Result<Reply<BackupInstance>> {
        let stored = ctx.instance_to_hold(&r.id)?;
        if stored.header.hold.is_none() {
            return Err(AppError::conflict("the instance is under no legal hold"));
        }
        let names = [stored.header.alias.as_str(), &stored.id().to_string()];
        confirmed(r.confirm.as_deref(), &names, "retention deletes again what has left the range")?;
        ctx.instance_commit(&stored, &InstanceHeader { hold: None, ..stored.header.clone() }).await
    }
}
