//! Logging in, refreshing, revoking, and the caller's own account.

use keyark_api::auth::{
    PasswordChange, SelfDomain, SelfDomains, SelfUser, Token, TokenCreate, TokenGet, TokenIssued, TokenList,
    TokenRevoke,
};
use keyark_api::endpoint::NoBody;
use keyark_api::users::User;
use keyark_api::{ErrorCode, Page, PageQuery};
use keyark_crypto::{SecretBytes, hash, password, random};
use keyark_model::{DomainId, Id, Time};

use super::core::Core;
use super::ctx::{Ctx, account_of, uri_of};
use super::domains::DomainHeader;
use super::error::{AppError, Result};
use super::records::Stored;
use super::users::{UserHeader, account_key, password_allowed};
use super::{App, Handle, Reply};
use crate::access::principal;
use crate::access::tokens::{
    Claims, Custom, JWT_SECONDS, SessionHeader, jwt_sign, refresh_token_family, refresh_token_new,
};
use crate::audit::Named;

/// Default and longest life of a refresh token in minutes.
const REFRESH_MINUTES: u32 = 30;
const REFRESH_MINUTES_MOST: u32 = 43_200;

/// A verifier that no password fits, so that an unknown user costs the same work as a known one.
const NO_USER: &str =
    "$argon2id$v=19$m=19456,t=2,p=1$AAAAAAAAAAAAAAAAAAAAAA$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";

impl Ctx {
    /// A domain by name or id; root when absent.
    pub fn domain_named(&self, name: Option<&str>) -> Result<DomainId> {
        match name {
            None | Some("" | "root") => Ok(DomainId::ROOT),
            Some(name) => {
                let stored = self.core.load_any::<DomainHeader>(DomainId::ROOT, name)?;
                Ok(DomainId(stored.id().0))
            }
        }
    }

    /// Checks a password: the same work and the same answer for an unknown user and a wrong password.
    async fn password_check(&self, auth_domain: DomainId, username: &str, given: String) -> Result<Stored<UserHeader>> {
        self.tell(|trace| (trace.domain, trace.target) = (Some(auth_domain), Named::text(username)));
        let key = account_key(auth_domain, &username.to_lowercase());
        if !self.request.local
            && let Some(seconds) = self.app.lockout.wait(&key, self.request.source, self.now)
        {
            let mut e = AppError::new(
                ErrorCode::TooManyAttempts,
                format!("too many failed attempts for this account or from this address; wait {seconds} s"),
            );
            e.retry_after = Some(seconds);
            return Err(e);
        }
        let stored = self.core.load_named::<UserHeader>(auth_domain, &username.to_lowercase()).ok();
        let phc = match &stored {
            None => SecretBytes::new(NO_USER.as_bytes().to_vec()),
            Some(user) => self.core.open_body(user)?,
        };
        let given = SecretBytes::new(given.into_bytes());
        let check = move || {
            let phc = std::str::from_utf8(phc.expose()).unwrap_or_default();
            let fits = password::verify(&given, phc);
            (fits, (fits && password::is_outdated(phc)).then(|| password::hash(&given)))
        };
        let (fits, stronger) = self.app.argon.run(check).await?;
        match stored {
            Some(user) if fits && !user.header.out(self.now) => {
                if user.header.first_password_until.is_some_and(|until| self.now >= until) {
                    return Err(AppError::new(
                        ErrorCode::Unauthorized,
                        "the first password has expired; make a new one on the server's own machine: `keyark user reset-admin`",
                    ));
                }
                self.app.lockout.succeeded(&key);
                self.tell(|trace| trace.actor = Named::Id(user.id()));
                match stronger {
                    None => Ok(user),
                    Some(phc) => self.verifier_renew(user, &phc).await,
                }
            }
            _ => {
                self.app.lockout.failed(&key, self.request.source, self.now);
                Err(AppError::new(ErrorCode::Unauthorized, "the user name or the password is wrong"))
            }
        }
    }

    /// Stores a verifier of today's cost in place of a weaker one. Where that cannot be written now, the next login will.
    async fn verifier_renew(&self, user: Stored<UserHeader>, phc: &str) -> Result<Stored<UserHeader>> {
        let (domain, id, revision) = (user.record.domain, user.id(), user.revision() + 1);
        let write = self.core.put(domain, id, revision, &user.header, phc.as_bytes())?;
        match self.commit_in(domain, user.header.username.clone(), vec![], vec![write]).await {
            Ok(_) => self.core.load(domain, id),
            Err(e) => {
                tracing::warn!(error = %e, user = %id, "a weak password verifier was not renewed");
                Ok(user)
            }
        }
    }

    fn issue(&self, session: Option<(Id, &SessionHeader, String)>, who: Who) -> Result<TokenIssued> {
        let principal = principal(
            &self.core,
            who.user,
            who.auth_domain,
            who.domain,
            session.as_ref().map(|s| s.0),
            self.now,
            self.now,
        )
        .map_err(|_| AppError::new(ErrorCode::Unauthorized, "this user may not work in this domain"))?;
        let issued_at = self.now.unix_seconds();
        let claims = Claims {
            sub: format!("local|{}", who.user),
            iss: self.core.incarnation.to_string(),
            aud: "keyark".into(),
            acc: "kylo".into(),
            preferred_username: principal.username.clone(),
            cust: Custom {
                groups: principal.groups.clone(),
                domain_id: who.domain.to_string(),
                auth_domain_id: who.auth_domain.to_string(),
                sid: session.as_ref().map(|s| s.0.to_string()).unwrap_or_default(),
            },
            jwtid: uuid::Uuid::from_bytes(random::bytes()).to_string(),
            iat: issued_at,
            exp: issued_at + i64::from(JWT_SECONDS),
        };
        let (refresh_token_id, refresh_token, expires) = match session {
            None => (None, None, None),
            Some((id, header, token)) => {
                let left = (header.expires_at.0 - self.now.0).div_euclid(1_000_000).max(0) as u32;
                (Some(id.to_string()), Some(token), Some(left))
            }
        };
        Ok(TokenIssued {
            jwt: jwt_sign(&self.core, &claims)?,
            duration: JWT_SECONDS,
            token_type: "Bearer".into(),
            client_id: self.core.system.to_string(),
            refresh_token_id,
            refresh_token,
            refresh_token_expires_in: expires,
            password_change_required: principal.must_change_password,
        })
    }

    async fn login(&self, r: TokenCreate) -> Result<TokenIssued> {
        let username = r.username.or(r.name).ok_or_else(|| AppError::invalid("username is missing"))?;
        let given = r.password.ok_or_else(|| AppError::invalid("password is missing"))?;
        let wrong = || AppError::new(ErrorCode::Unauthorized, "the user name, the password or the domain is wrong");
        let auth_domain = self.domain_named(r.auth_domain.as_deref()).map_err(|_| wrong())?;
        let domain = match (&r.domain, &r.auth_domain) {
            // Without a domain, a user works where it lives.
            (None, Some(_)) => auth_domain,
            (name, _) => self.domain_named(name.as_deref()).map_err(|_| wrong())?,
        };
        let stored = self.password_check(auth_domain, &username, given).await?;
        self.app.counters.logged_in(stored.id(), self.now);
        let who = Who { user: stored.id(), auth_domain, domain };
        if stored.header.password_change_required || r.issue_refresh_token == Some(false) {
            return self.issue(None, who);
        }
        let minutes = r.refresh_token_lifetime.unwrap_or(REFRESH_MINUTES);
        if minutes == 0 || minutes > REFRESH_MINUTES_MOST {
            return Err(AppError::invalid(format!("refresh_token_lifetime is 1 to {REFRESH_MINUTES_MOST} minutes")));
        }
        let id = Core::new_id(self.now);
        let (token, current) = refresh_token_new(id);
        let header = SessionHeader {
            user: stored.id(),
            username: stored.header.username.clone(),
            domain,
            auth_domain,
            created_at: self.now,
            refreshed_at: self.now,
            expires_at: self.now.plus_seconds(i64::from(minutes) * 60),
            unused_seconds: r.refresh_token_revoke_unused_in.map(|m| i64::from(m) * 60),
            labels: r.labels,
            current,
            revoked: false,
        };
        let issued = self.issue(Some((id, &header, token)), who)?;
        let write = self.core.put(auth_domain, id, 1, &header, b"")?;
        self.commit_in(auth_domain, header.username.clone(), vec![], vec![write]).await?;
        Ok(issued)
    }

    /// One use of a refresh token; a second use of the same one revokes the whole family.
    async fn refresh(&self, token: &str) -> Result<TokenIssued> {
        let bad = || AppError::new(ErrorCode::Unauthorized, "the refresh token is unknown, used, expired or revoked");
        let family = refresh_token_family(token).ok_or_else(bad)?;
        let record = self.core.store.get_any(keyark_model::Kind::Session, family)?.ok_or_else(bad)?;
        let stored = self.core.read_header::<SessionHeader>(record)?;
        let h = &stored.header;
        self.tell(|trace| {
            (trace.domain, trace.actor) = (Some(h.auth_domain), Named::Id(h.user));
            trace.target = Named::text(&h.username);
        });
        let unused = h.unused_seconds.is_some_and(|s| self.now >= h.refreshed_at.plus_seconds(s));
        if h.revoked || unused || self.now >= h.expires_at {
            return Err(bad());
        }
        let given = hash::sha256(&[token.as_bytes()]);
        let mut header = h.clone();
        if given != h.current {
            header.revoked = true;
            let write = self.core.put_header(&stored, &header)?;
            self.commit_in(h.auth_domain, format!("{} (refresh token used twice)", h.username), vec![], vec![write])
                .await?;
            return Err(bad());
        }
        let (next, current) = refresh_token_new(stored.id());
        header.current = current;
        header.refreshed_at = self.now;
        let who = Who { user: h.user, auth_domain: h.auth_domain, domain: h.domain };
        let issued = self.issue(Some((stored.id(), &header, next)), who)?;
        let write = self.core.put_header(&stored, &header)?;
        self.commit_in(h.auth_domain, h.username.clone(), vec![], vec![write]).await?;
        Ok(issued)
    }

    fn own_sessions(&self) -> Result<Vec<Stored<SessionHeader>>> {
        let caller = self.caller()?;
        let mut all = self.core.load_all::<SessionHeader>(caller.auth_domain)?;
        all.retain(|s| s.header.user == caller.user && s.header.expires_at > self.now);
        Ok(all)
    }
}

#[derive(Clone, Copy)]
struct Who {
    user: Id,
    auth_domain: DomainId,
    domain: DomainId,
}

fn shown(stored: &Stored<SessionHeader>) -> Token {
    let (h, domain) = (&stored.header, stored.record.domain);
    Token {
        id: stored.id().to_string(),
        uri: uri_of(domain, "auth:tokens", stored.id()),
        account: account_of(domain),
        created_at: h.created_at,
        updated_at: h.refreshed_at,
        user_id: format!("local|{}", h.user),
        expires_at: h.expires_at,
        labels: h.labels.clone(),
        revoked: h.revoked,
    }
}

impl Handle<TokenCreate> for App {
    async fn handle(&self, ctx: &Ctx, r: TokenCreate) -> Result<Reply<TokenIssued>> {
        if r.connection.as_deref().is_some_and(|c| c != "local_account") {
            return Err(AppError::invalid("connection: only local_account is offered"));
        }
        match (r.grant_type.as_deref(), &r.refresh_token) {
            (None | Some("password"), None) => Ok(Reply::json(ctx.login(r).await?)),
            (None | Some("refresh_token"), Some(token)) => Ok(Reply::json(ctx.refresh(token).await?)),
            (Some("refresh_token"), None) => Err(AppError::invalid("refresh_token is missing")),
            (Some(_), _) => Err(AppError::invalid("grant_type is password or refresh_token")),
        }
    }
}

impl Handle<TokenList> for App {
    async fn handle(&self, ctx: &Ctx, r: TokenList) -> Result<Reply<Page<Token>>> {
        let all = ctx.own_sessions()?.iter().map(shown).collect();
        Ok(Reply::json(PageQuery::from_wire(r.skip, r.limit).of(all)))
    }
}

impl Handle<TokenGet> for App {
    async fn handle(&self, ctx: &Ctx, r: TokenGet) -> Result<Reply<Token>> {
        let found = ctx.own_sessions()?.into_iter().find(|s| s.id().to_string() == r.id);
        Ok(Reply::json(shown(&found.ok_or_else(|| AppError::not_found("the token"))?)))
    }
}

impl Handle<TokenRevoke> for App {
    async fn handle(&self, ctx: &Ctx, r: TokenRevoke) -> Result<Reply<NoBody>> {
        let found = ctx.own_sessions()?.into_iter().find(|s| s.id().to_string() == r.id);
        let stored = found.ok_or_else(|| AppError::not_found("the token"))?;
        let mut header = stored.header.clone();
        header.revoked = true;
        ctx.commit_header(&stored, &header).await?;
        Ok(Reply::none())
    }
}

impl Handle<SelfUser> for App {
    async fn handle(&self, ctx: &Ctx, _: SelfUser) -> Result<Reply<User>> {
        Ok(Reply::json(ctx.user_self()?))
    }
}

impl Handle<SelfDomains> for App {
    async fn handle(&self, ctx: &Ctx, r: SelfDomains) -> Result<Reply<Page<SelfDomain>>> {
        let caller = ctx.caller()?;
        let mut own = Vec::new();
        for domain in ctx.core.load_all::<DomainHeader>(DomainId::ROOT)? {
            let id = DomainId(domain.id().0);
            let member = !super::groups::groups_of(&ctx.core, id, caller.user)?.is_empty();
            if id == caller.auth_domain || member {
                own.push(SelfDomain { id: id.to_string(), name: domain.header.name });
            }
        }
        Ok(Reply::json(PageQuery::from_wire(r.skip, r.limit).of(own)))
    }
}

impl Handle<PasswordChange> for App {
    async fn handle(&self, ctx: &Ctx, r: PasswordChange) -> Result<Reply<NoBody>> {
        password_allowed(&r.new_password)?;
        if r.new_password == r.password {
            return Err(AppError::invalid("the new password equals the old one"));
        }
        let wrong = || AppError::new(ErrorCode::Unauthorized, "the user name or the password is wrong");
        let auth_domain = ctx.domain_named(r.auth_domain.as_deref()).map_err(|_| wrong())?;
        let stored = ctx.password_check(auth_domain, &r.username, r.password).await?;
        let mut header = stored.header.clone();
        header.password_change_required = false;
        header.first_password_until = None;
        header.password_changed_at = Some(ctx.now);
        header.updated_at = ctx.now;
        let phc = self.verifier(r.new_password).await?;
        let mut writes =
            vec![ctx.core.put(auth_domain, stored.id(), stored.revision() + 1, &header, phc.as_bytes())?];
        writes.extend(sessions_revoked(&ctx.core, auth_domain, stored.id(), ctx.now)?);
        let mut draft = ctx.draft(auth_domain, header.username.clone(), writes);
        draft.actor = format!("local|{}", stored.id());
        ctx.commit_all(vec![], vec![draft]).await?;
        if stored.header.first_password_until.is_some() {
            // It is worth nothing any more; whether it still stands there or was taken away makes no difference.
            let _ = std::fs::remove_file(self.folder.first_password());
        }
        Ok(Reply::none())
    }
}

/// The writes that revoke every live session of a user.
pub fn sessions_revoked(core: &Core, auth_domain: DomainId, user: Id, now: Time) -> Result<Vec<keyark_store::Write>> {
    let mut writes = Vec::new();
    for stored in core.load_all::<SessionHeader>(auth_domain)? {
        if stored.header.user == user && !stored.header.revoked && stored.header.expires_at > now {
            let header = SessionHeader { revoked: true, ..stored.header.clone() };
            writes.push(core.put_header(&stored, &header)?);
        }
    }
    Ok(writes)
}

/// Removes the sessions that ended a day ago or longer; how many. A job calls it.
pub fn sessions_expire(core: &Core, now: Time) -> Result<u64> {
    let mut gone = 0;
    for domain in core.store.domains()? {
        let mut writes = Vec::new();
        for stored in core.load_all::<SessionHeader>(domain)? {
            if stored.header.expires_at.plus_seconds(86_400) <= now {
                writes.push(core.delete(&stored));
            }
        }
        gone += writes.len() as u64;
        if !writes.is_empty() {
            core.commit_as_system(now, domain, "token_expire", vec![], writes)?;
        }
    }
    Ok(gone)
}
