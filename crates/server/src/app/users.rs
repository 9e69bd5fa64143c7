//! Users.

use keyark_api::users::{LoginFlags, User, UserCreate, UserDelete, UserGet, UserList, UserUpdate};
use keyark_api::{ErrorCode, Page, PageQuery};
use keyark_crypto::{SecretBytes, password};
use keyark_model::access::Role;
pub use keyark_model::people::UserHeader;
use keyark_model::{DomainId, Id, Kind, Time};
use keyark_store::{Must, Write};

use super::auth::sessions_revoked;
use super::core::Core;
use super::ctx::{Ctx, wildcard};
use super::error::{AppError, Result};
use super::groups::{GroupHeader, groups_of, groups_without};
use super::records::{Header, Stored};
use super::{App, Handle, Reply};

impl Header for UserHeader {
    const KIND: Kind = Kind::User;
}

/// Reads `local|<uuid>` or a bare UUID.
pub fn user_id(text: &str) -> Option<Id> {
    text.strip_prefix("local|").unwrap_or(text).parse().ok()
}

/// A name that can be a user's or a group's.
pub fn name_allowed(name: &str) -> bool {
    (1..=255).contains(&name.chars().count())
        && !name.chars().any(|c| matches!(c, '/' | '|' | '\\' | '<' | '>') || c.is_control())
        && !name.eq_ignore_ascii_case("global")
}

/// A password that may be chosen.
pub fn password_allowed(password: &str) -> Result<()> {
    match password.chars().count() {
        8..=1024 => Ok(()),
        _ => Err(AppError::invalid("a password has 8 to 1024 characters")),
    }
}

impl App {
    /// Passwords stretched since the start.
    pub fn argon_runs(&self) -> u64 {
        self.argon.runs.get()
    }

    /// Makes a verifier.
    pub(super) async fn verifier(&self, password: String) -> Result<String> {
        self.argon.run(move || password::hash(&SecretBytes::new(password.into_bytes()))).await
    }
}

/// When a user's account ends: a time, or nothing for never.
fn ends(text: &str) -> Result<Option<Time>> {
    match text {
        "" => Ok(None),
        text => text.parse().map(Some).map_err(|_| AppError::invalid("expires_at is a time in RFC 3339, or empty")),
    }
}

fn shown(app: &App, core: &Core, stored: &Stored<UserHeader>) -> Result<User> {
    let h = &stored.header;
    let (logins_count, last_login) = app.counters.logins_of(stored.id());
    let (failed, locked) = app.lockout.of(&account_key(stored.record.domain, &h.name));
    Ok(User {
        user_id: format!("local|{}", stored.id()),
        username: h.username.clone(),
        name: h.full_name.clone(),
        nickname: h.nickname.clone(),
        email: h.email.clone(),
        created_at: h.created_at,
        updated_at: h.updated_at,
        password_changed_at: h.password_changed_at,
        password_change_required: h.password_change_required,
        logins_count,
        last_login,
        failed_logins_count: u64::from(failed),
        account_lockout_at: locked,
        is_domain_user: h.is_domain_user,
        disabled: h.disabled,
        expires_at: h.expires_at,
        login_flags: LoginFlags { prevent_ui_login: h.prevent_ui_login },
        user_metadata: h.user_metadata.clone(),
        groups: groups_of(core, stored.record.domain, stored.id())?,
    })
}

/// The name under which failed logins are counted.
pub fn account_key(domain: DomainId, lower_name: &str) -> String {
    format!("{domain}/{lower_name}")
}

impl Ctx {
    fn user_load(&self, id: &str) -> Result<Stored<UserHeader>> {
        let domain = self.domain()?;
        let id = if id == "self" { Some(self.caller()?.user) } else { user_id(id) };
        self.core.load(domain, id.ok_or_else(|| AppError::not_found("the user"))?)
    }

    /// The caller's own account, which may live in another domain than the one worked in.
    pub fn user_self(&self) -> Result<User> {
        let caller = self.caller()?;
        let mut user = shown(&self.app, &self.core, &self.core.load(caller.auth_domain, caller.user)?)?;
        user.groups = caller.groups.clone();
        Ok(user)
    }
}

impl Handle<UserCreate> for App {
    async fn handle(&self, ctx: &Ctx, r: UserCreate) -> Result<Reply<User>> {
        if !name_allowed(&r.username) {
            return Err(AppError::invalid(
                "a user name has 1 to 255 characters, none of / | \\ < >, and is not global",
            ));
        }
        password_allowed(&r.password)?;
        let id = Core::new_id(ctx.now);
        let mut header = UserHeader::new(&r.username, ctx.now);
        header.full_name = r.name.unwrap_or(header.full_name);
        header.email = r.email.unwrap_or(header.email);
        header.nickname = r.nickname;
        header.password_change_required = r.password_change_required.unwrap_or(false);
        header.is_domain_user = r.is_domain_user.unwrap_or(ctx.domain()? != DomainId::ROOT);
        header.user_metadata = r.user_metadata.unwrap_or_default();
        header.expires_at = r.expires_at.as_deref().map_or(Ok(None), ends)?;
        header.prevent_ui_login = r.login_flags.is_some_and(|f| f.prevent_ui_login);
        let phc = self.verifier(r.password).await?;
        let write = ctx.core.put(ctx.domain()?, id, 1, &header, phc.as_bytes())?;
        ctx.commit(header.username.clone(), vec![], vec![write]).await?;
        Ok(Reply::json(shown(&ctx.app, &ctx.core, &ctx.core.load(ctx.domain()?, id)?)?).at(1))
    }
}

impl Handle<UserList> for App {
    async fn handle(&self, ctx: &Ctx, r: UserList) -> Result<Reply<Page<User>>> {
        let fits = |pattern: &Option<String>, text: &str| {
            pattern.as_ref().is_none_or(|p| wildcard(&p.to_lowercase(), &text.to_lowercase()))
        };
        let members = match &r.groups {
            None => None,
            Some(group) => Some(ctx.core.load_named::<GroupHeader>(ctx.domain()?, group)?.header.members),
        };
        let mut all = ctx.core.load_all::<UserHeader>(ctx.domain()?)?;
        all.retain(|u| {
            fits(&r.name, &u.header.full_name)
                && fits(&r.username, &u.header.username)
                && fits(&r.email, &u.header.email)
                && members.as_ref().is_none_or(|m| m.contains(&u.id()))
        });
        let page = PageQuery::from_wire(r.skip, r.limit).of(all);
        let resources = page.resources.iter().map(|u| shown(&ctx.app, &ctx.core, u)).collect::<Result<_>>()?;
        Ok(Reply::json(Page { skip: page.skip, limit: page.limit, total: page.total, resources }))
    }
}

impl Handle<UserGet> for App {
    async fn handle(&self, ctx: &Ctx, r: UserGet) -> Result<Reply<User>> {
        let stored = ctx.user_load(&r.id)?;
        Ok(Reply::json(shown(&ctx.app, &ctx.core, &stored)?).at(stored.revision()))
    }
}

impl Handle<UserUpdate> for App {
    async fn handle(&self, ctx: &Ctx, r: UserUpdate) -> Result<Reply<User>> {
        let stored = ctx.user_load(&r.id)?;
        ctx.check_match(stored.revision())?;
        self.may_touch(ctx, stored.id())?;
        let mut header = stored.header.clone();
        header.updated_at = ctx.now;
        header.full_name = r.name.unwrap_or(header.full_name);
        header.email = r.email.unwrap_or(header.email);
        header.nickname = r.nickname.or(header.nickname);
        header.password_change_required = r.password_change_required.unwrap_or(header.password_change_required);
        header.user_metadata = r.user_metadata.unwrap_or(header.user_metadata);
        header.prevent_ui_login = r.login_flags.map_or(header.prevent_ui_login, |f| f.prevent_ui_login);
        header.expires_at = r.expires_at.as_deref().map_or(Ok(header.expires_at), ends)?;
        let must = match r.disabled == Some(true) || r.expires_at.is_some() && header.expires_at.is_some() {
            true => self.keep_admins(ctx, stored.id())?,
            false => Vec::new(),
        };
        header.disabled = r.disabled.unwrap_or(header.disabled);
        // Who was locked out, or whose password somebody else now knows, must not go on with an old token.
        let out = r.disabled == Some(true) || r.password.is_some();
        if r.locked == Some(false) {
            ctx.app.lockout.succeeded(&account_key(stored.record.domain, &header.name));
        }
        let (domain, revision) = (stored.record.domain, stored.revision() + 1);
        let write = match r.password {
            None => ctx.core.put_header(&stored, &header)?,
            Some(password) => {
                password_allowed(&password)?;
                header.password_changed_at = Some(ctx.now);
                header.first_password_until = None;
                // A password that somebody else chose is good for changing it, unless the request says otherwise.
                header.password_change_required = r.password_change_required.unwrap_or(true);
                let phc = self.verifier(password).await?;
                ctx.core.put(domain, stored.id(), revision, &header, phc.as_bytes())?
            }
        };
        let mut writes = vec![write];
        if out {
            writes.extend(sessions_revoked(&ctx.core, domain, stored.id(), ctx.now)?);
        }
        ctx.commit(header.username.clone(), must, writes).await?;
        let stored = ctx.core.load(domain, stored.id())?;
        Ok(Reply::json(shown(&ctx.app, &ctx.core, &stored)?).at(stored.revision()))
    }
}

impl Handle<UserDelete> for App {
    async fn handle(&self, ctx: &Ctx, r: UserDelete) -> Result<Reply<keyark_api::endpoint::NoBody>> {
        let stored = ctx.user_load(&r.id)?;
        ctx.check_match(stored.revision())?;
        self.may_touch(ctx, stored.id())?;
        let must = self.keep_admins(ctx, stored.id())?;
        // A user of root may be a member in other domains: it leaves them too.
        let mut entries = Vec::new();
        for domain in ctx.core.store.domains()? {
            let mut writes: Vec<Write> = groups_without(&ctx.core, domain, stored.id(), ctx.now)?;
            if domain == stored.record.domain {
                writes.push(ctx.core.delete(&stored));
            }
            if !writes.is_empty() {
                entries.push(ctx.draft(domain, stored.header.username.clone(), writes));
            }
        }
        ctx.commit_all(must, entries).await?;
        Ok(Reply::none())
    }
}

impl App {
    /// Nobody changes or removes a user with rights that they could not give: that would be a way to take them. A user
    /// of root may have rights in other domains; only root's own administrators stand above those.
    fn may_touch(&self, ctx: &Ctx, user: Id) -> Result<()> {
        let (own, roles) = (ctx.domain()?, ctx.caller()?.roles);
        for domain in ctx.core.store.domains()? {
            for group in groups_of(&ctx.core, domain, user)? {
                if !roles.may_grant(&group) || domain != own && !roles.has(Role::Admin) {
                    return Err(AppError::new(
                        ErrorCode::Forbidden,
                        "this user has rights that the caller may not give; ask an administrator",
                    ));
                }
            }
        }
        Ok(())
    }

    /// The same for every domain: a user of root may be the only administrator of another one.
    fn keep_admins(&self, ctx: &Ctx, leaving: Id) -> Result<Vec<Must>> {
        let mut must = Vec::new();
        for domain in ctx.core.store.domains()? {
            must.extend(self.keep_an_admin(ctx, domain, leaving)?);
        }
        Ok(must)
    }

    /// The last admin of a domain that has one cannot be removed or disabled. What this was decided by must still stand
    /// at the commit: otherwise two admins who remove each other at the same moment leave none.
    pub(super) fn keep_an_admin(&self, ctx: &Ctx, domain: DomainId, leaving: Id) -> Result<Vec<Must>> {
        // A domain that was deleted has no groups any more.
        let Ok(group) = ctx.core.load_named::<GroupHeader>(domain, Role::Admin.name()) else { return Ok(Vec::new()) };
        if !group.header.members.contains(&leaving) {
            return Ok(Vec::new());
        }
        let enabled = |id: &Id| {
            [domain, DomainId::ROOT]
                .iter()
                .find_map(|d| ctx.core.load::<UserHeader>(*d, *id).ok())
                .filter(|u| !u.header.disabled && u.header.expires_at.is_none())
        };
        let Some(other) = group.header.members.iter().filter(|id| **id != leaving).find_map(enabled) else {
            return Err(AppError::new(
                ErrorCode::LastAdmin,
                "this is the last member of the group admin; put another user into it first",
            ));
        };
        Ok(vec![
            Must::Unchanged { kind: Kind::Group, id: group.id(), revision: group.revision() },
            Must::Unchanged { kind: Kind::User, id: other.id(), revision: other.revision() },
        ])
    }
}
