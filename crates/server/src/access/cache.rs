//! Who a token stands for: verified once, remembered until rights change or the token expires.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use keyark_api::ErrorCode;
use keyark_model::access::Roles;
use keyark_model::{DomainId, Id, Time};
use quick_cache::sync::Cache;

use super::tokens::{Claims, SessionHeader, expired, jwt_verify};
use crate::app::core::Core;
use crate::app::ctx::{Principal, Request};
use crate::app::error::{AppError, Result};
use crate::app::groups::groups_of;
use crate::app::users::UserHeader;

/// Tokens remembered; each takes about 1 KiB.
const CAPACITY: usize = 4096;

/// Verified tokens.
pub struct PrincipalCache {
    known: Cache<Box<str>, (u64, Arc<Principal>)>,
}

impl Default for PrincipalCache {
    fn default() -> Self {
        PrincipalCache { known: Cache::new(CAPACITY) }
    }
}

impl PrincipalCache {
    pub fn clear(&self) {
        self.known.clear();
    }

    /// The caller behind a request's bearer token.
    pub fn authenticate(&self, core: &Core, request: &Request, now: Time) -> Result<Arc<Principal>> {
        let token = request.token.as_deref().ok_or_else(AppError::unauthorized)?;
        let epoch = core.epoch.load(Ordering::Acquire);
        if let Some((seen, principal)) = self.known.get(token)
            && seen == epoch
        {
            return if now < principal.expires { Ok(principal) } else { Err(expired()) };
        }
        let claims = jwt_verify(core, token, now)?;
        let principal = Arc::new(resolve(core, &claims, now)?);
        self.known.insert(token.into(), (epoch, principal.clone()));
        Ok(principal)
    }
}

/// Looks up what the claims name: a user that is gone or disabled, or a session that was revoked, ends the token.
fn resolve(core: &Core, claims: &Claims, now: Time) -> Result<Principal> {
    let user: Id = claims.sub.strip_prefix("local|").and_then(|s| s.parse().ok()).ok_or_else(AppError::unauthorized)?;
    let domain: DomainId = claims.cust.domain_id.parse().map_err(|_| AppError::unauthorized())?;
    let auth_domain: DomainId = claims.cust.auth_domain_id.parse().map_err(|_| AppError::unauthorized())?;
    let revoked = || AppError::new(ErrorCode::Unauthorized, "Token has been revoked: log in again");
    let session = match claims.cust.sid.as_str() {
        "" => None,
        sid => {
            let id: Id = sid.parse().map_err(|_| AppError::unauthorized())?;
            let stored = core.load::<SessionHeader>(auth_domain, id).map_err(|_| revoked())?;
            if stored.header.revoked {
                return Err(revoked());
            }
            Some(id)
        }
    };
    // A token from before a password change ends with it, also one that has no session.
    let stored = core.load::<UserHeader>(auth_domain, user).map_err(|_| revoked())?;
    if stored.header.password_changed_at.is_some_and(|at| claims.iat < at.unix_seconds()) {
        return Err(revoked());
    }
    principal(core, user, auth_domain, domain, session, Time(claims.exp * 1_000_000), now).map_err(|_| revoked())
}

/// A user as a caller in a domain. Fails if the user is gone, disabled, or in no group of a domain that is not its own.
pub fn principal(
    core: &Core,
    user: Id,
    auth_domain: DomainId,
    domain: DomainId,
    session: Option<Id>,
    expires: Time,
    now: Time,
) -> Result<Principal> {
    let stored = core.load::<UserHeader>(auth_domain, user)?;
    if stored.header.out(now) {
        return Err(AppError::unauthorized());
    }
    let groups = groups_of(core, domain, user)?;
    if domain != auth_domain && groups.is_empty() {
        return Err(AppError::unauthorized());
    }
    if stored.header.first_password_until.is_some_and(|until| now >= until) {
        return Err(AppError::unauthorized());
    }
    Ok(Principal {
        user,
        username: stored.header.username.clone(),
        domain,
        auth_domain,
        roles: Roles::from_names(groups.iter().map(String::as_str)),
        groups,
        session,
        must_change_password: stored.header.password_change_required,
        expires: stored.header.expires_at.map_or(expires, |ends| ends.min(expires)),
    })
}
