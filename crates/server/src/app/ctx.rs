//! One call: who makes it, when, with which request id, on which system.

use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use keyark_api::ErrorCode;
use keyark_model::access::{Right, Roles};
use keyark_model::{Digest, DomainId, Id, Kind, Outcome, Time};
use keyark_store::{Batch, CommitError, Committed, Draft, Must, Write};

use super::App;
use super::core::Core;
use super::error::{AppError, Result};
use super::records::{Header, Stored};
use super::usage::Trace;
use crate::access::principal;

/// What a surface knows of a request besides its content.
#[derive(Clone, Debug, Default)]
pub struct Request {
    pub id: String,
    /// The bearer token.
    pub token: Option<String>,
    /// The revision that `If-Match` names.
    pub if_match: Option<u64>,
    pub idempotency_key: Option<String>,
    pub source: Option<IpAddr>,
    /// Came over the local administration socket.
    pub local: bool,
    /// A body that is a file, spooled.
    pub file: Option<PathBuf>,
    /// What the path names, for the usage log.
    pub target: String,
    /// Tells query and body apart from another's; there with an idempotency key.
    pub fingerprint: Option<Digest>,
}

/// Who makes a call, in which domain, with which roles there.
#[derive(Clone, Debug)]
pub struct Principal {
    pub user: Id,
    pub username: String,
    /// Where the call happens.
    pub domain: DomainId,
    /// Where the user lives.
    pub auth_domain: DomainId,
    pub groups: Vec<String>,
    pub roles: Roles,
    /// The refresh token's family, if any.
    pub session: Option<Id>,
    pub must_change_password: bool,
    pub expires: Time,
}

impl Principal {
    pub fn may(&self, right: Right) -> bool {
        self.roles.give(right, self.domain == DomainId::ROOT)
    }

    /// `local|<uuid>`.
    pub fn actor(&self) -> String {
        format!("local|{}", self.user)
    }
}

/// What may still be written where the store was set back to an older state: logging in, and what a decision takes.
const DECIDING: [&str; 11] = [
    "token_create",
    "token_revoke",
    "password_change",
    "backup_create",
    "backup_upload",
    "backup_restore",
    "backup_key_create",
    "backup_key_default",
    "backup_key_download",
    "backup_key_upload",
    "backup_instance_extract",
];

/// Everything a handler needs.
pub struct Ctx {
    pub app: Arc<App>,
    pub core: Arc<Core>,
    pub principal: Option<Arc<Principal>>,
    pub now: Time,
    pub request: Request,
    pub action: &'static str,
    /// What the usage log will say of the call.
    pub(crate) trace: Mutex<Trace>,
}

impl Ctx {
    /// The caller; only endpoints without authentication have none.
    pub fn caller(&self) -> Result<&Arc<Principal>> {
        self.principal.as_ref().ok_or_else(AppError::unauthorized)
    }

    /// A call that the server itself makes, as somebody with these roles in a domain.
    pub fn of_server(
        app: &Arc<App>,
        core: &Arc<Core>,
        (user, username): (Id, &str),
        domain: DomainId,
        roles: Roles,
        action: &'static str,
        now: Time,
    ) -> Ctx {
        let principal = Principal {
            user,
            username: username.into(),
            domain,
            auth_domain: domain,
            groups: Vec::new(),
            roles,
            session: None,
            must_change_password: false,
            expires: Time(i64::MAX),
        };
        let request = Request { id: Core::new_id(now).to_string(), ..Request::default() };
        let (app, core, principal) = (app.clone(), core.clone(), Some(Arc::new(principal)));
        Ctx { app, core, principal, now, request, action, trace: Mutex::default() }
    }

    /// The same call, for what goes on after its answer.
    pub fn going_on(&self) -> Ctx {
        Ctx {
            app: self.app.clone(),
            core: self.core.clone(),
            principal: self.principal.clone(),
            now: self.now,
            request: Request { if_match: None, idempotency_key: None, ..self.request.clone() },
            action: self.action,
            trace: Mutex::default(),
        }
    }

    /// The same in another domain, with the rights that the caller has there; one that it may not enter is not there.
    pub fn going_into(&self, domain: &str) -> Result<Ctx> {
        let missing = || AppError::not_found(format_args!("the domain {domain:?}"));
        let (caller, into) = (self.caller()?, self.domain_named(Some(domain)).map_err(|_| missing())?);
        let there =
            principal(&self.core, caller.user, caller.auth_domain, into, caller.session, caller.expires, self.now);
        Ok(Ctx { principal: Some(Arc::new(there.map_err(|_| missing())?)), ..self.going_on() })
    }

    /// The domain where the call happens.
    pub fn domain(&self) -> Result<DomainId> {
        Ok(self.caller()?.domain)
    }

    /// Demands a further right.
    pub fn require(&self, right: Right) -> Result<()> {
        let caller = self.caller()?;
        match caller.may(right) {
            true => Ok(()),
            false if caller.may(right.to_see()) => Err(AppError::forbidden(self.action)),
            false => Err(AppError::not_found("the resource")),
        }
    }

    /// Checks `If-Match` against a revision.
    pub fn check_match(&self, revision: u64) -> Result<()> {
        match self.request.if_match {
            Some(wanted) if wanted != revision => Err(AppError::new(
                ErrorCode::PreconditionFailed,
                format!("the current revision is {revision}, If-Match names {wanted}; read it again"),
            )),
            _ => Ok(()),
        }
    }

    /// Commits changes of the caller's domain under this action.
    pub async fn commit(&self, target: impl Into<String>, must: Vec<Must>, changes: Vec<Write>) -> Result<Committed> {
        let domain = self.domain()?;
        self.commit_in(domain, target, must, changes).await
    }

    /// Commits changes of one domain.
    pub async fn commit_in(
        &self,
        domain: DomainId,
        target: impl Into<String>,
        must: Vec<Must>,
        changes: Vec<Write>,
    ) -> Result<Committed> {
        self.commit_all(must, vec![self.draft(domain, target, changes)]).await
    }

    /// A log entry of this call.
    pub fn draft(&self, domain: DomainId, target: impl Into<String>, changes: Vec<Write>) -> Draft {
        Draft {
            domain,
            actor: self.principal.as_ref().map_or_else(|| "system".into(), |p| p.actor()),
            request_id: self.request.id.clone(),
            action: self.action.into(),
            target: target.into(),
            outcome: Outcome::Success,
            changes,
        }
    }

    /// Commits entries of several domains together, then drops what was remembered of the records that changed. What a
    /// caller changes elsewhere (a domain's backups are records of root) its own domain's log tells as well.
    pub async fn commit_all(&self, must: Vec<Must>, mut entries: Vec<Draft>) -> Result<Committed> {
        if !DECIDING.contains(&self.action) {
            self.core.may_write().await?;
        }
        if let (Some(first), Some(caller)) = (entries.first(), &self.principal)
            && entries.iter().all(|e| e.domain != caller.domain)
        {
            entries.push(self.draft(caller.domain, first.target.clone(), Vec::new()));
        }
        let changed: Vec<(DomainId, Kind, Id)> = entries
            .iter()
            .flat_map(|e| e.changes.iter().map(|c| c.key()).map(|(kind, id)| (e.domain, kind, id)))
            .collect();
        let entered = !entries.is_empty();
        let (sender, receiver) = tokio::sync::oneshot::channel();
        let answer = Box::new(move |result: std::result::Result<Committed, CommitError>| {
            // A caller that went away does not undo the commit.
            let _ = sender.send(result);
        });
        self.core.store.submit(Batch { must, entries }, self.now, answer);
        let result = receiver.await.map_err(|_| AppError::internal("the store stopped"))?;
        self.core.changed(&changed);
        if let (Ok(committed), true) = (&result, entered) {
            self.tell(|trace| (trace.committed, trace.position) = (true, Some(committed.position.seq)));
        }
        Ok(result?)
    }

    /// Commits the next revision of one record with the same body.
    pub async fn commit_header<H: Header>(&self, stored: &Stored<H>, header: &H) -> Result<u64> {
        let write = self.core.put_header(stored, header)?;
        self.commit_in(stored.record.domain, stored.id().to_string(), vec![], vec![write]).await?;
        Ok(stored.revision() + 1)
    }
}

/// Refuses what could be taken for an id, or for nothing, where a path takes an id or a name. `what`: "a schedule has a name".
pub fn check_name(what: &str, name: &str) -> Result<()> {
    match name.trim().is_empty() || name.parse::<Id>().is_ok() {
        true => Err(AppError::invalid(format!("{what}, which does not look like an id"))),
        false => Ok(()),
    }
}

/// Demands that a resource is named again before something that cannot be undone.
pub fn confirmed(confirm: Option<&str>, names: &[&str], what: &str) -> Result<()> {
    match confirm {
        Some(given) if names.contains(&given) => Ok(()),
        _ => Err(AppError::new(
            ErrorCode::ConfirmNeeded,
            format!("{what}; to go on, give {} in `confirm` (command line: --confirm)", names.join(" or ")),
        )),
    }
}

/// `account` as the wire shows it.
pub fn account_of(domain: DomainId) -> String {
    if domain == DomainId::ROOT {
        "kylo:kylo:admin:accounts:kylo".into()
    } else {
        format!("kylo:{domain}:admin:accounts:{domain}")
    }
}

/// `uri` as the wire shows it.
pub fn uri_of(domain: DomainId, path: &str, id: impl std::fmt::Display) -> String {
    if domain == DomainId::ROOT { format!("kylo:kylo:{path}:{id}") } else { format!("kylo:{domain}:{path}:{id}") }
}

/// Whether a name fits a pattern with `*` (any run) and `?` (any one character).
pub fn wildcard(pattern: &str, name: &str) -> bool {
    let (pattern, name): (Vec<char>, Vec<char>) = (pattern.chars().collect(), name.chars().collect());
    let (mut p, mut n, mut star) = (0, 0, None);
    while n < name.len() {
        match pattern.get(p) {
            Some('*') => {
                star = Some((p, n));
                p += 1;
            }
            Some(c) if *c == '?' || *c == name[n] => {
                p += 1;
                n += 1;
            }
            _ => match star {
                Some((at, from)) => {
                    p = at + 1;
                    n = from + 1;
                    star = Some((at, from + 1));
                }
                None => return false,
            },
        }
    }
    pattern[p..].iter().all(|c| *c == '*')
}

#[cfg(test)]
mod tests {
    use super::wildcard;

    #[test]
    fn wildcards() {
        for (pattern, name, fits) in [
            ("*", "", true),
            ("a*c", "abbc", true),
            ("a*c", "abbd", false),
            ("?b", "ab", true),
            ("?b", "b", false),
            ("*enc-key*", "my-enc-key-1", true),
            ("a*b*c", "a-b-b-c", true),
            ("abc", "abcd", false),
        ] {
            assert_eq!(wildcard(pattern, name), fits, "{pattern} {name}");
        }
    }
}
