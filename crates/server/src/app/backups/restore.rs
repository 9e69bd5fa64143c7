//! Restoring: the plan, and the plan carried out.

use keyark_api::ErrorCode;
use keyark_api::backups::{Backup, BackupRestore, RestorePlan, RestoreQuery};
use keyark_backup::plan::{PlanError, PlanInput, plan};
use keyark_backup::restore_domain::{RestoreError, Target, writes};
use keyark_backup::{Action, Facts, Links, Mode, Plan, Progress};
use keyark_crypto::keyring::KeyringError;
use keyark_model::{DomainId, Id, Kind};
use keyark_store::{Batch, Draft, Must, failpoint};

use super::asked::{Asked, as_restore};
use crate::app::core::Core;
use crate::app::ctx::{Ctx, confirmed};
use crate::app::domains::DomainHeader;
use crate::app::error::{AppError, Result};
use crate::app::secrets::record::secret_append;
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
            RestoreError::NeedsKey { .. } => ErrorCode::EncryptionKeyMissing,
            RestoreError::Changed => ErrorCode::PlanChanged,
            RestoreError::Cancelled(_) => ErrorCode::Cancelled,
            RestoreError::Header { .. } | RestoreError::Key(_) => ErrorCode::ArchiveDamaged,
            RestoreError::Keyring(_) => return AppError::internal(e),
        };
        AppError::new(code, e.to_string())
    }
}

impl Asked {
    fn input<'a>(
        &'a self,
        links: &'a Links<'a, 'a>,
        (facts, unread): &'a (Facts, Vec<String>),
        may_grant: &'a dyn Fn(&str) -> bool,
    ) -> Result<PlanInput<'a>> {
        let whole = links.unfiltered() && self.options.items.is_empty();
        if self.options.mode == Mode::Exact && !whole {
            // Whatever such a backup left out would be taken for something that did not exist at the point.
            return Err(AppError::invalid(
                "exact needs a whole backup: this one holds only a selection, or items were named; use merge",
            ));
        }
        Ok(PlanInput {
            links,
            from: self.from(links)?,
            store: &self.core.store,
            into: self.into,
            options: &self.options,
            facts,
            not_looked_into: unread,
            may_grant,
        })
    }

    /// Makes the plan again, compares its digest, and commits its writes in one batch.
    fn restore_domain(&self, job: Id, digest: Option<&str>, progress: &Progress) -> Result<()> {
        self.with_links(|links| {
            let known = self.facts(Some(self.into))?;
            let may_grant = |group: &str| self.roles.may_grant(group);
            let input = self.input(links, &known, &may_grant)?;
            let plan = plan(&input)?;
            if digest.is_some_and(|d| d != plan.digest.to_string()) {
                return Err(RestoreError::Changed.into());
            }
            let seal = |name: &keyark_crypto::seal::RecordName, header: &[u8], body: &[u8]| {
                self.core.seal(name, header, body).map_err(|_| KeyringError::Crypto(keyark_crypto::CryptoError))
            };
            let append = |current, header: &[u8], body: &_| secret_append(&self.core, current, header, body).ok();
            let made = writes(&input, &plan, &Target { seal: &seal, append: &append }, progress)?;
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

impl Handle<RestoreQuery> for App {
    async fn handle(&self, ctx: &Ctx, r: RestoreQuery) -> Result<Reply<RestorePlan>> {
        let asked = ctx.restore_asked(&as_restore(&r))?;
        let (skip, limit) = (r.skip.unwrap_or(0), r.limit.unwrap_or(PLAN_LINES));
        let made = tokio::task::spawn_blocking(move || match asked.whole_system() {
            true => super::system::system_plan(&asked),
            false => asked.with_links(|links| {
                let known = asked.facts(Some(asked.into))?;
                let may_grant = |group: &str| asked.roles.may_grant(group);
                shown(&asked, &plan(&asked.input(links, &known, &may_grant)?)?, skip, limit)
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
        actions: plan.actions.iter().map(|(a, n)| (a.word().into(), *n)).collect(),
        total: plan.items.len() as u64,
        resources: lines.map(value).collect::<Result<_>>()?,
        problems: over_quota(asked, plan)?,
        negative_facts: plan.negative_facts.iter().map(value).collect::<Result<_>>()?,
        not_looked_into: plan.not_looked_into.clone(),
        carried_over: Vec::new(),
    })
}

/// Quotas that what arrives does not fit in. What an exact restore deletes makes room that is not known here.
fn over_quota(asked: &Asked, plan: &Plan) -> Result<Vec<String>> {
    let quotas = asked.core.quotas(asked.into)?;
    let mut problems = Vec::new();
    for (kind, limit) in [(Kind::Key, quotas.keys), (Kind::Secret, quotas.secrets)] {
        let (here, come) =
            (asked.core.store.count(asked.into, kind)?.weight, plan.weights.get(kind.word()).copied().unwrap_or(0));
        if let Some(limit) = limit.filter(|limit| here + come > *limit && asked.options.mode != Mode::Exact) {
            problems.push(format!(
                "quota: the domain may hold {limit} {kind}, counted by version; it holds {here} and {come} would come: ask for a larger \
                 quota, or restore fewer"
            ));
        }
    }
    Ok(problems)
}

/// A line of a plan as JSON.
fn value(line: &impl serde::Serialize) -> Result<serde_json::Value> {
    serde_json::to_value(line).map_err(AppError::internal)
}

impl Handle<BackupRestore> for App {
    async fn handle(&self, ctx: &Ctx, r: BackupRestore) -> Result<Reply<Backup>> {
        let asked = ctx.restore_asked(&r)?;
        let whole = asked.whole_system();
        if !whole {
            ctx.core.may_write().await?;
        }
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
        let scope = if whole || asked.rescues() { None } else { Some(asked.into) };
        let progress = self.operation_start(ctx, job, scope)?;
        let header = ctx.job_begun("Backup restore", scope, asked.actor.clone(), asked.backup.id());
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
