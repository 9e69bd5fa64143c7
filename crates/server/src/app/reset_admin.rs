//! A new first password for `admin`, asked for on the server's own machine by whoever forgot the old one.

use std::sync::{Arc, Mutex};

use keyark_crypto::{SecretBytes, password};
use keyark_model::access::Role;
use keyark_model::{DomainId, Kind};
use keyark_store::{Must, Write};
use serde::Serialize;

use super::App;
use super::auth::sessions_revoked;
use super::core::Core;
use super::ctx::{Ctx, Request};
use super::error::{AppError, Result};
use super::groups::GroupHeader;
use super::usage::Trace;
use super::users::{UserHeader, account_key};
use crate::boot::{FIRST_PASSWORD_HOURS, first_password_new};

const ADMIN: &str = "admin";

/// The password to log in with once, to choose another.
#[derive(Serialize)]
pub struct AdminReset {
    pub username: &'static str,
    pub password: String,
}

impl Core {
    /// Whether `admin` has a first password that was not changed yet.
    pub fn admin_waits(&self) -> Result<bool> {
        let admin = self.find_named::<UserHeader>(DomainId::ROOT, ADMIN)?;
        Ok(admin.is_some_and(|admin| admin.header.first_password_until.is_some()))
    }
}

impl App {
    /// Gives `admin` a first password of 24 hours that can do nothing but be changed, and ends its sessions. Makes the
    /// user, and its membership of the group, if they are gone. Only for the local administration socket, which is the
    /// server's own user: it could read the root key as well.
    pub async fn reset_admin(self: &Arc<Self>, request: Request) -> Result<AdminReset> {
        if !request.local {
            return Err(AppError::forbidden("user_reset_admin"));
        }
        let (core, now) = (self.core()?, self.now());
        let ctx = Ctx {
            app: self.clone(),
            core,
            principal: None,
            now,
            request,
            action: "user_reset_admin",
            trace: Mutex::new(Trace::default()),
        };
        let password = first_password_new();
        let given = SecretBytes::new(password.expose().clone().into_bytes());
        let verifier = self.argon.run(move || password::hash(&given)).await?;
        let core = &ctx.core;
        let found = core.find_named::<UserHeader>(DomainId::ROOT, ADMIN)?;
        if let Some(stored) = &found {
            // The seal vouches for what is kept of the user.
            core.open_body(stored)?;
        }
        let (id, revision) = found.as_ref().map_or((Core::new_id(now), 0), |s| (s.id(), s.revision()));
        let mut header = found.map_or_else(|| UserHeader::new(ADMIN, now), |s| s.header);
        (header.disabled, header.expires_at) = (false, None);
        header.password_change_required = true;
        header.first_password_until = Some(now.plus_seconds(FIRST_PASSWORD_HOURS * 3600));
        (header.password_changed_at, header.updated_at) = (Some(now), now);
        let mut writes: Vec<Write> = vec![core.put(DomainId::ROOT, id, revision + 1, &header, verifier.as_bytes())?];
        let mut must = Vec::new();
        let group = core.load_named::<GroupHeader>(DomainId::ROOT, Role::Admin.name())?;
        // The seal vouches for the members that are kept.
        core.open_body(&group)?;
        if !group.header.members.contains(&id) {
            let mut members = group.header.clone();
            members.members.push(id);
            members.updated_at = now;
            must.push(Must::Unchanged { kind: Kind::Group, id: group.id(), revision: group.revision() });
            writes.push(core.put_header(&group, &members)?);
        }
        writes.extend(sessions_revoked(core, DomainId::ROOT, id, now)?);
        ctx.commit_in(DomainId::ROOT, ADMIN, must, writes).await?;
        self.lockout.succeeded(&account_key(DomainId::ROOT, ADMIN));
        Ok(AdminReset { username: ADMIN, password: password.expose().clone() })
    }
}
