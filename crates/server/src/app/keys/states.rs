//! States of key versions: activate, suspend, deactivate, revoke. How keys end stands in `ending`.

use keyark_api::ErrorCode;
use keyark_api::keys::{
    Key, KeyActivate, KeyArchive, KeyDeactivate, KeyReactivate, KeyRecover, KeyResume, KeyRevoke, KeySuspend,
};
use keyark_model::Time;
use keyark_model::key::{Transition, VersionHeader};

use super::create::parse;
use super::{key_shown, version_of};
use crate::app::ctx::Ctx;
use crate::app::error::{AppError, Result};
use crate::app::records::Stored;
use crate::app::{App, Handle, Reply};

impl Ctx {
    /// Changes one version of a key and shows it.
    async fn version_change(
        &self,
        id: &str,
        kind: Option<&str>,
        version: Option<i64>,
        change: impl FnOnce(&mut VersionHeader) -> Result<()>,
    ) -> Result<Reply<Key>> {
        let stored = self.key_load_mine(id, kind)?;
        let mut header = stored.header.clone();
        let number = version_of(&header, version)?.version;
        let found = header.version_mut(number).ok_or_else(|| AppError::not_found("this version of the key"))?;
        change(found)?;
        header.updated_at = self.now;
        let revision = self.commit_header(&stored, &header).await?;
        let stored = Stored { record: stored.record, header };
        let shown = key_shown(self, &stored, version_of(&stored.header, Some(i64::from(number)))?, None);
        Ok(Reply::json(shown).at(revision))
    }

    async fn transit(
        &self,
        id: &str,
        kind: Option<&str>,
        version: Option<i64>,
        order: Transition,
        message: Option<&str>,
        occurred: Option<Time>,
    ) -> Result<Reply<Key>> {
        self.version_change(id, kind, version, |v| {
            v.apply(order, message.unwrap_or_default(), occurred, self.now)
                .map_err(|e| AppError::new(ErrorCode::KeyState, e.to_string()))
        })
        .await
    }
}

macro_rules! transitions {
    ($($request:ident => $order:ident;)*) => {
        $(impl Handle<$request> for App {
            async fn handle(&self, ctx: &Ctx, r: $request) -> Result<Reply<Key>> {
                let message = r.message.as_deref();
                ctx.transit(&r.id, r.kind.as_deref(), r.version, Transition::$order, message, None).await
            }
        })*
    };
}

transitions! {
    KeyActivate => Activate;
    KeySuspend => Suspend;
    KeyResume => Resume;
    KeyDeactivate => Deactivate;
    KeyReactivate => Reactivate;
}

impl Handle<KeyRevoke> for App {
    async fn handle(&self, ctx: &Ctx, r: KeyRevoke) -> Result<Reply<Key>> {
        let order = Transition::Revoke(parse(&r.reason)?);
        let (message, occurred) = (r.message.as_deref(), r.compromise_occurrence_date);
        ctx.transit(&r.id, r.kind.as_deref(), r.version, order, message, occurred).await
    }
}

impl Handle<KeyArchive> for App {
    async fn handle(&self, ctx: &Ctx, r: KeyArchive) -> Result<Reply<Key>> {
        ctx.version_change(&r.id, r.kind.as_deref(), r.version, |v| {
            v.dates.archive = Some(v.dates.archive.unwrap_or(ctx.now));
            Ok(())
        })
        .await
    }
}

impl Handle<KeyRecover> for App {
    async fn handle(&self, ctx: &Ctx, r: KeyRecover) -> Result<Reply<Key>> {
        ctx.version_change(&r.id, r.kind.as_deref(), r.version, |v| {
            v.dates.archive = None;
            Ok(())
        })
        .await
    }
}
