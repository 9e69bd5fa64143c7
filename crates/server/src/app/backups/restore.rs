//! Restoring: the plan, and the plan carried out.

use std::sync::Arc;

use keyark_api::ErrorCode;
use keyark_api::backups::{Backup, BackupRestore, RestorePlan, RestoreQuery};
use keyark_archive::Scope;
use keyark_backup::plan::{PlanError, PlanInput, plan};
use keyark_backup::restore_domain::{RestoreError, writes};
use keyark_backup::source;
use keyark_backup::{Action, Conflict, Facts, Links, Mode, Plan, Progress, RestoreOptions};
use keyark_crypto::Key256;
use keyark_crypto::keyring::KeyringError;
use keyark_model::access::Roles;
use keyark_model::system::{BackupHeader, BackupStatus, JobHeader};
use keyark_model::{DomainId, Id, Kind};
use keyark_store::{Batch, Draft, Must, failpoint};

use crate::app::backupkeys::right_of;
use crate::app::core::Core;
use crate::app::ctx::{Ctx, confirmed};
use crate::app::domains::DomainHeader;
use crate::app::error::{AppError, Result};
use crate::app::records::Stored;
use crate::app::{App, Handle, Reply};

/// Lines of a plan in one answer.
const PLAN_LINES: u64 = 1000;
/// Lines of a plan in the report of what was done. A plan of the same digest has them all, and so has the audit log.
const REPORT_LINES: usize = 1000;
/// A log entry of a restore holds at most about this many bytes of changes.
const ENTRY_BYTES: usize = 1 << 20;

impl From<PlanError> for AppError {
    fn from(e: PlanError) -> Self {
        match e {
            PlanError::Source(e) => e.into(),
            PlanError::Store(e) => e.into(),
        }
    }
}

impl From<RestoreError> for AppError {
    fn from(e: RestoreError) -> Self {
        let code = match e {
            RestoreError::Source(e) => return e.into(),
            RestoreError::Store(e) => return e.into(),
            RestoreError::Refused(_) => ErrorCode::RestoreConflict,
            RestoreError::Changed => ErrorCode::PlanChanged,
            RestoreError::Cancelled(_) => ErrorCode::Cancelled,
            RestoreError::Header { .. } | RestoreError::Key(_) => ErrorCode::ArchiveDamaged,
            RestoreError::Keyring(_) => return AppError::internal(e),
        };
        AppError::new(code, e.to_string())
    }
}

/// The options of either request.
fn options_of(r: &BackupRestore) -> Result<RestoreOptions> {
    let id = |text: &String| text.parse::<Id>().map_err(|_| AppError::invalid(format!("{text:?} is no id")));
    Ok(RestoreOptions {
        mode: match r.mode.as_deref() {
            None | Some("merge") => Mode::Merge,
            Some("exact") => Mode::Exact,
            Some(_) => return Err(AppError::invalid("mode is merge or exact")),
        },
        conflict: match r.conflict.as_deref() {
            None | Some("fail") => Conflict::Fail,
            Some("skip") => Conflict::Skip,
            Some("overwrite") => Conflict::Overwrite,
            Some("rename") => Conflict::Rename,
            Some(_) => return Err(AppError::invalid("conflict is fail, skip, overwrite or rename")),
        },
        items: r
            .items
            .iter()
            .map(|item| {
                let (kind, text) = item.split_once(':').unwrap_or((Kind::Key.word(), item));
                let known = Kind::ALL.iter().any(|k| k.word() == kind);
                match known {
                    true => Ok((kind.to_owned(), id(&text.to_owned())?)),
                    false => Err(AppError::invalid(format!("{kind:?} is no kind of record; write keys:<id>"))),
                }
            })
            .collect::<Result<_>>()?,
        include_deleted: r.include_deleted,
        include_destroyed: r.include_destroyed.iter().map(id).collect::<Result<_>>()?,
        include_users: r.include_users,
    })
}

fn as_restore(r: &RestoreQuery) -> BackupRestore {
    let r = r.clone();
    BackupRestore {
        id: r.id,
        mode: r.mode,
        conflict: r.conflict,
        items: r.items,
        include_deleted: r.include_deleted,
        include_destroyed: r.include_destroyed,
        include_users: r.include_users,
        signer: r.signer,
        ..BackupRestore::default()
    }
}

/// A restore as it was asked for, with what may be asked only once.
pub(super) struct Asked {
    pub app: Arc<App>,
    pub core: Arc<Core>,
    pub backup: Stored<BackupHeader>,
    /// The whole backup, then the increments up to the one that was asked for.
    links: Vec<Link>,
    pub options: RestoreOptions,
    pub signer: Option<String>,
    /// Where the caller works: the destination of a domain restore.
    pub into: DomainId,
    pub roles: Roles,
    pub actor: String,
    pub request_id: String,
}

/// One archive of a restore, with the key that opens it.
struct Link {
    id: Id,
    backup_key: Id,
    key: Key256,
}

impl Ctx {
    fn link(&self, backup: &Stored<BackupHeader>, own_part: bool) -> Result<Link> {
        let (id, backup_key) = (backup.id(), backup.header.backup_key);
        let key = match (own_part, self.core.load(DomainId::ROOT, backup_key)) {
            (true, Ok(key)) => self.core.backup_key_material(&key)?,
            _ => self.opening_key(&backup.header)?,
        };
        self.archive_path(backup)?;
        Ok(Link { id, backup_key, key })
    }

    /// The backup with all that it continues, the whole one first. A link that is not here is named.
    fn links(&self, backup: &Stored<BackupHeader>, own_part: bool) -> Result<Vec<Link>> {
        let mut links = vec![self.link(backup, own_part)?];
        let (mut this, mut since) = (backup.id(), backup.header.since);
        while let Some(base) = since {
            let missing = || {
                let what = format!(
                    "the backup {this} holds only what changed after backup {base}, which is not here: upload that one too"
                );
                AppError::new(ErrorCode::RestoreConflict, what)
            };
            let earlier = self.core.load::<BackupHeader>(DomainId::ROOT, base).map_err(|_| missing())?;
            let h = &earlier.header;
            let visible = own_part && h.domain.is_none() || self.sees(h.domain, &h.also)?;
            if !visible || h.status != BackupStatus::Completed || links.iter().any(|l| l.id == base) {
                return Err(missing());
            }
            links.push(self.link(&earlier, own_part)?);
            (this, since) = (base, h.since);
        }
        links.reverse();
        Ok(links)
    }

    fn restore_asked(&self, r: &BackupRestore) -> Result<Asked> {
        let missing = || AppError::not_found(format_args!("the backup {:?}", r.id));
        let backup = self.core.load::<BackupHeader>(DomainId::ROOT, r.id.parse().map_err(|_| missing())?)?;
        let into = self.domain()?;
        // A domain's restorers may take their own domain out of a system archive; they need its id for that.
        let own_part = backup.header.domain.is_none() && into != DomainId::ROOT;
        if !self.sees(backup.header.domain, &backup.header.also)? && !own_part {
            return Err(missing());
        }
        let scope = if own_part { Some(into) } else { backup.header.domain };
        self.require(right_of(scope, true))?;
        let links = self.links(&backup, own_part)?;
        if into == DomainId::ROOT && backup.header.domain.is_some_and(|d| d != into) {
            return Err(AppError::new(
                ErrorCode::WrongScope,
                "this is the backup of a deleted domain: download it and its backup key, make a new domain, log in \
                 there, upload both and restore them there",
            ));
        }
        Ok(Asked {
            app: self.app.clone(),
            core: self.core.clone(),
            links,
            options: options_of(r)?,
            signer: r.signer.clone(),
            into,
            roles: self.caller()?.roles,
            actor: self.caller()?.actor(),
            request_id: self.request.id.clone(),
            backup,
        })
    }
}

impl Asked {
    /// Whether the whole system will be replaced.
    pub fn whole_system(&self) -> bool {
        self.backup.header.domain.is_none() && self.into == DomainId::ROOT && self.options.items.is_empty()
    }

    /// Verifies and unlocks the archives.
    pub fn with_links<T>(&self, work: impl FnOnce(&Links<'_, '_>) -> Result<T>) -> Result<T> {
        let mut archives = Vec::new();
        for link in &self.links {
            let path = self.app.folder.archive(link.id);
            let archive = source::open(&path, &self.core.anchor, self.signer.as_deref())?;
            version_check(&archive.header().product_version)?;
            archives.push(archive);
        }
        let unlock = |(archive, link): (_, &Link)| source::unlock(archive, link.backup_key, &link.key);
        let opened = archives.iter().zip(&self.links).map(unlock).collect::<std::result::Result<Vec<_>, _>>()?;
        work(&Links::of(opened.iter().collect())?)
    }

    /// The ids of the archives in the order in which they are applied.
    pub fn chain(&self) -> Vec<String> {
        self.links.iter().map(|l| l.id.to_string()).collect()
    }

    fn from(&self, links: &Links<'_, '_>) -> DomainId {
        let header = links.last().unlocked.archive().header();
        match header.scope {
            Scope::Domain => header.domain.unwrap_or(self.into),
            // Out of a system archive a domain comes back only into itself.
            Scope::System => self.into,
        }
    }

    fn plan(&self, links: &Links<'_, '_>, (facts, unread): &(Facts, Vec<String>)) -> Result<Plan> {
        let whole = links.unfiltered() && self.options.items.is_empty();
        if self.options.mode == Mode::Exact && !whole {
            // Whatever such a backup left out would be taken for something that did not exist at the point.
            return Err(AppError::invalid(
                "exact needs a whole backup: this one holds only a selection, or items were named; use merge",
            ));
        }
        let may_grant = |group: &str| self.roles.may_grant(group);
        Ok(plan(&PlanInput {
            links,
            from: self.from(links),
            store: &self.core.store,
            into: self.into,
            options: &self.options,
            facts,
            not_looked_into: unread,
            may_grant: &may_grant,
        })?)
    }

    /// Makes the plan again, compares its digest, and commits its writes in one batch.
    fn restore_domain(&self, job: Id, digest: Option<&str>, progress: &Progress) -> Result<()> {
        self.with_links(|links| {
            let known = self.facts(Some(self.into))?;
            let plan = self.plan(links, &known)?;
            if digest.is_some_and(|d| d != plan.digest.to_string()) {
                return Err(RestoreError::Changed.into());
            }
            let may_grant = |group: &str| self.roles.may_grant(group);
            let input = PlanInput {
                links,
                from: self.from(links),
                store: &self.core.store,
                into: self.into,
                options: &self.options,
                facts: &known.0,
                not_looked_into: &known.1,
                may_grant: &may_grant,
            };
            let seal = |name: &keyark_crypto::seal::RecordName, header: &[u8], body: &[u8]| {
                self.core.seal(name, header, body).map_err(|_| KeyringError::Crypto(keyark_crypto::CryptoError))
            };
            let made = writes(&input, &plan, &seal, progress)?;
            let mut must: Vec<Must> = made.must;
            for kind in [Kind::Key, Kind::Secret] {
                must.extend(self.core.quota(self.into, kind)?);
            }
            // What the plan compared with must still stand when it is carried out.
            must.extend(plan.items.iter().filter(|i| i.current > 0 && i.action != Action::Delete).map(|i| {
                Must::Unchanged { kind: i.kind, id: i.id, revision: i.current }
            }));
            must.retain(|m| !matches!(m, Must::Unchanged { kind, id, .. } if made.changes.iter().any(|c| c.key() == (*kind, *id))));
            progress.commit().map_err(RestoreError::from)?;
            let restored = made.changes.len();
            let mut entries = self.entries(made.changes);
            // In the same batch: a crash must not leave a restore that was done beside a job that says it failed.
            let report = serde_json::json!({
                "planDigest": plan.digest,
                "chain": self.chain(),
                "actions": plan.actions,
                "restored": restored,
                "records": plan.items.iter().take(REPORT_LINES).collect::<Vec<_>>(),
                "recordsLeftOff": plan.items.len().saturating_sub(REPORT_LINES),
                "negativeFacts": plan.negative_facts,
                "notLookedInto": plan.not_looked_into,
            });
            let done = self.core.job_done(job, self.app.now(), report)?;
            entries.push(Draft { domain: DomainId::ROOT, changes: vec![done], ..self.draft() });
            let changed: Vec<_> =
                entries.iter().flat_map(|e| e.changes.iter().map(|c| (e.domain, c.key().0, c.key().1))).collect();
            failpoint("restore-planned");
            let result = self.core.store.commit(Batch { must, entries }, self.app.now());
            failpoint("restore-committed");
            self.core.changed(&changed);
            result?;
            Ok(())
        })
    }

    fn draft(&self) -> Draft {
        Draft {
            domain: self.into,
            actor: self.actor.clone(),
            request_id: self.request_id.clone(),
            action: "backup_restore".into(),
            target: self.backup.id().to_string(),
            outcome: keyark_model::Outcome::Success,
            changes: Vec::new(),
        }
    }

    /// Splits the changes into entries of a bounded size, which commit together.
    fn entries(&self, changes: Vec<keyark_store::Write>) -> Vec<Draft> {
        let (mut entries, mut bytes) = (vec![self.draft()], 0);
        for change in changes {
            let size = match &change {
                keyark_store::Write::Put { header, body, .. } => header.len() + body.len(),
                _ => 64,
            };
            if bytes + size > ENTRY_BYTES {
                entries.push(self.draft());
                bytes = 0;
            }
            bytes += size;
            if let Some(last) = entries.last_mut() {
                last.changes.push(change);
            }
        }
        entries
    }
}

/// Never into an older product.
fn version_check(made_by: &str) -> Result<()> {
    let numbers = |text: &str| -> Vec<u64> { text.split(['.', '-']).map_while(|p| p.parse().ok()).collect() };
    match numbers(made_by) > numbers(env!("CARGO_PKG_VERSION")) {
        true => Err(AppError::new(
            ErrorCode::NewerFormat,
            format!("the backup was made by version {made_by}; install that version or a later one, then restore it"),
        )),
        false => Ok(()),
    }
}

impl Handle<RestoreQuery> for App {
    async fn handle(&self, ctx: &Ctx, r: RestoreQuery) -> Result<Reply<RestorePlan>> {
        let asked = ctx.restore_asked(&as_restore(&r))?;
        let (skip, limit) = (r.skip.unwrap_or(0), r.limit.unwrap_or(PLAN_LINES));
        let made = tokio::task::spawn_blocking(move || match asked.whole_system() {
            true => super::system::system_plan(&asked),
            false => asked.with_links(|links| {
                let plan = asked.plan(links, &asked.facts(Some(asked.into))?)?;
                shown(&asked, &plan, skip, limit)
            }),
        });
        Ok(Reply::json(made.await.map_err(AppError::internal)??))
    }
}

fn shown(asked: &Asked, plan: &Plan, skip: u64, limit: u64) -> Result<RestorePlan> {
    let lines = plan.items.iter().skip(skip as usize).take(limit as usize);
    Ok(RestorePlan {
        digest: plan.digest.to_string(),
        backup: asked.backup.id().to_string(),
        scope: "domain".into(),
        chain: asked.chain(),
        actions: plan.actions.iter().map(|(a, n)| (format!("{a:?}").to_lowercase(), *n)).collect(),
        total: plan.items.len() as u64,
        resources: lines.map(value).collect::<Result<_>>()?,
        negative_facts: plan.negative_facts.iter().map(value).collect::<Result<_>>()?,
        not_looked_into: plan.not_looked_into.clone(),
        carried_over: Vec::new(),
    })
}

/// A line of a plan as JSON.
fn value(line: &impl serde::Serialize) -> Result<serde_json::Value> {
    serde_json::to_value(line).map_err(AppError::internal)
}

impl Handle<BackupRestore> for App {
    async fn handle(&self, ctx: &Ctx, r: BackupRestore) -> Result<Reply<Backup>> {
        let asked = ctx.restore_asked(&r)?;
        let whole = asked.whole_system();
        if whole {
            confirmed(
                r.confirm.as_deref(),
                &["system"],
                "a system restore replaces everything that this server holds",
            )?;
        } else if asked.options.mode == Mode::Exact {
            let domain = ctx.core.load::<DomainHeader>(DomainId::ROOT, Id(asked.into.0))?;
            let names = [domain.header.name.as_str(), &asked.into.to_string()];
            confirmed(r.confirm.as_deref(), &names, "exact deletes what did not exist at the point")?;
        }
        let job = Core::new_id(ctx.now);
        let scope = if whole { None } else { Some(asked.into) };
        let progress = self.operation_start(ctx, job, scope)?;
        let header = JobHeader {
            operation: "Backup restore".into(),
            domain: scope,
            actor: asked.actor.clone(),
            resource: asked.backup.id(),
            started: ctx.now,
            finished: None,
            status: BackupStatus::InProgress,
            failure: String::new(),
            code: 0,
            result: serde_json::Value::Null,
        };
        let write = ctx.core.put(DomainId::ROOT, job, 1, &header, b"");
        let begun = match write {
            Ok(write) => ctx.commit_in(DomainId::ROOT, asked.backup.id().to_string(), vec![], vec![write]).await,
            Err(e) => Err(e),
        };
        if let Err(e) = begun {
            self.running.end(job);
            return Err(e);
        }
        let mut shown = ctx.backup_shown(&asked.backup)?;
        shown.status = "In Progress".into();
        shown.job_id = Some(job.to_string());
        let digest = r.digest.clone();
        let app = ctx.app.clone();
        tokio::task::spawn_blocking(move || {
            let outcome = match whole {
                true => super::system::system_restore(asked, job, header, digest.as_deref(), &progress),
                false => asked
                    .restore_domain(job, digest.as_deref(), &progress)
                    .or_else(|e| asked.core.job_end(job, asked.app.now(), Err(e), Vec::new())),
            };
            if let Err(e) = outcome {
                tracing::error!(%job, error = %e, "the end of a restore could not be recorded");
            }
            app.running.end(job);
        });
        Ok(Reply::json(shown))
    }
}
