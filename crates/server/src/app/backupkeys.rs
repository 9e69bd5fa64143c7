//! Backup keys. Their records stand in root, whatever their scope, so that a deleted domain's archives can be opened.

mod file;
mod shred;

use std::collections::BTreeSet;

use keyark_api::backupkeys::{
    BackupKey, BackupKeyCreate, BackupKeyDefault, BackupKeyDelete, BackupKeyGet, BackupKeyList,
};
use keyark_api::endpoint::NoBody;
use keyark_api::{ErrorCode, Page, PageQuery};
use keyark_archive::keyfile;
use keyark_crypto::{Key256, kdf, random};
use keyark_model::access::Right;
use keyark_model::protection::InstanceHeader;
use keyark_model::system::{BackupHeader, BackupKeyHeader};
use keyark_model::{DomainId, Id, Time};
use keyark_store::Write;

use super::core::Core;
use super::ctx::{Ctx, account_of, confirmed};
use super::error::{AppError, Result};
use super::records::Stored;
use super::{App, Handle, Reply};

/// Days after which a proof that a key is kept elsewhere is overdue (rules E4).
const PROOF_DAYS: i64 = 180;

/// Reads a scope word: whose keys and backups it means for this caller.
pub fn scope_of(ctx: &Ctx, scope: Option<&str>) -> Result<Option<DomainId>> {
    match scope {
        None | Some("system") => Ok(None),
        Some("domain") => Ok(Some(ctx.domain()?)),
        Some(_) => Err(AppError::invalid("scope is system or domain")),
    }
}

/// The right that a scope needs to back up, or to restore.
pub fn right_of(scope: Option<DomainId>, restore: bool) -> Right {
    match (scope.is_some(), restore) {
        (false, false) => Right::SystemBackup,
        (false, true) => Right::SystemRestore,
        (true, false) => Right::DomainBackup,
        (true, true) => Right::DomainRestore,
    }
}

impl Core {
    /// Fingerprint of the key that signs now.
    pub fn signer_fingerprint(&self) -> String {
        self.signer.public().fingerprint()
    }

    /// Whether a copy of a backup key is known to be kept elsewhere.
    pub fn escrowed(&self, header: &BackupKeyHeader, now: Time) -> bool {
        header
            .proven
            .as_ref()
            .is_some_and(|p| p.anchor == self.signer_fingerprint() && now < p.at.plus_seconds(PROOF_DAYS * 86_400))
    }

    /// The default backup key of a scope.
    pub fn backup_key_default(&self, scope: Option<DomainId>) -> Result<Option<Stored<BackupKeyHeader>>> {
        let all = self.load_all::<BackupKeyHeader>(DomainId::ROOT)?;
        Ok(all.into_iter().find(|k| k.header.domain == scope && k.header.default))
    }

    /// A backup key's 32 bytes.
    pub fn backup_key_material(&self, stored: &Stored<BackupKeyHeader>) -> Result<Key256> {
        let body = self.open_body(stored)?;
        Key256::from_slice(body.expose()).ok_or_else(|| AppError::internal("a backup key without its 32 bytes"))
    }

    /// What serve, status and every backup say while nobody outside this machine can open the backups.
    pub fn escrow_warning(&self, scope: Option<DomainId>, now: Time) -> Result<Option<String>> {
        let what = if scope.is_some() { "domain" } else { "system" };
        Ok(match self.backup_key_default(scope)? {
            None => Some(format!("no_backup_key: there is no default {what} backup key; create one")),
            Some(key) if !self.escrowed(&key.header, now) => Some(format!(
                "backup_key_not_escrowed: nobody outside this machine can open {what} backups; download backup key {} and check the file",
                key.id()
            )),
            Some(_) => None,
        })
    }
}

fn shown(core: &Core, stored: &Stored<BackupKeyHeader>, now: Time) -> BackupKey {
    let h = &stored.header;
    BackupKey {
        scope: if h.domain.is_some() { "domain" } else { "system" }.into(),
        account: account_of(h.domain.unwrap_or(DomainId::ROOT)),
        domain_id: h.domain.map(|d| d.to_string()),
        version: keyfile::VERSION.to_string(),
        id: stored.id().to_string(),
        created_at: h.created_at,
        is_default: h.default,
        state: "active".into(),
        description: h.description.clone(),
        escrowed: core.escrowed(h, now),
        checked_at: h.proven.as_ref().map(|p| p.at),
    }
}

impl Ctx {
    /// Whether the caller may see what belongs to a scope: the system's in root, a domain's in that very domain. What a
    /// deleted domain left behind is root's.
    pub fn sees_scope(&self, scope: Option<DomainId>) -> Result<bool> {
        let domain = self.domain()?;
        Ok(match scope {
            None => domain == DomainId::ROOT,
            Some(d) if d == domain => true,
            Some(d) => domain == DomainId::ROOT && self.domain_gone(d)?,
        })
    }

    /// The same for what further domains may have uploaded too.
    pub fn sees(&self, scope: Option<DomainId>, also: &BTreeSet<DomainId>) -> Result<bool> {
        Ok(also.contains(&self.domain()?) || self.sees_scope(scope)?)
    }

    /// Whether the caller's domain only uploaded a copy of what is another domain's.
    pub fn only_also(&self, scope: Option<DomainId>, also: &BTreeSet<DomainId>) -> Result<bool> {
        let domain = self.domain()?;
        Ok(scope != Some(domain) && also.contains(&domain))
    }

    /// Whether a domain was deleted.
    pub fn domain_gone(&self, domain: DomainId) -> Result<bool> {
        Ok(self.core.store.get(DomainId::ROOT, keyark_model::Kind::Domain, Id(domain.0))?.is_none())
    }

    fn backup_keys(&self) -> Result<Vec<Stored<BackupKeyHeader>>> {
        let all = self.core.load_all::<BackupKeyHeader>(DomainId::ROOT)?;
        let mut seen = Vec::new();
        for key in all {
            if self.sees(key.header.domain, &key.header.also)? {
                seen.push(key);
            }
        }
        Ok(seen)
    }

    /// A backup key that the caller may see.
    pub fn backup_key_load(&self, id: &str) -> Result<Stored<BackupKeyHeader>> {
        let missing = || AppError::not_found(format_args!("the backup key {id:?}"));
        let stored = self.core.load::<BackupKeyHeader>(DomainId::ROOT, id.parse().map_err(|_| missing())?)?;
        if self.sees(stored.header.domain, &stored.header.also)? { Ok(stored) } else { Err(missing()) }
    }

    /// The backup key for new backups of a scope: the named one, or else the scope's default.
    pub fn backup_key_chosen(&self, scope: Option<DomainId>, named: Option<&str>) -> Result<Stored<BackupKeyHeader>> {
        let key = match named {
            Some(id) => self.backup_key_load(id)?,
            None => self.core.backup_key_default(scope)?.ok_or_else(|| {
                let what = if scope.is_some() { "domain" } else { "system" };
                let say = format!(
                    "there is no default {what} backup key; create one (`keyark backupkeys create --scope {what}`)"
                );
                AppError::new(ErrorCode::BackupKeyMissing, say)
            })?,
        };
        match key.header.domain == scope {
            true => Ok(key),
            false => Err(AppError::new(ErrorCode::WrongScope, "the backup key is of the other scope")),
        }
    }

    /// A backup key as the caller's domain sees it.
    fn backup_key_shown(&self, stored: &Stored<BackupKeyHeader>) -> Result<BackupKey> {
        let mut key = shown(&self.core, stored, self.now);
        if self.only_also(stored.header.domain, &stored.header.also)? {
            let domain = self.domain()?;
            (key.account, key.domain_id, key.is_default) = (account_of(domain), Some(domain.to_string()), false);
        }
        Ok(key)
    }

    /// Refuses what only the domain whose key it is may do.
    fn backup_key_own(&self, stored: &Stored<BackupKeyHeader>) -> Result<()> {
        match self.only_also(stored.header.domain, &stored.header.also)? {
            true => {
                Err(AppError::conflict("this key was uploaded to restore with it; create a backup key for backups"))
            }
            false => Ok(()),
        }
    }

    /// The writes that take the default mark from every other key of a scope.
    fn others_not_default(&self, scope: Option<DomainId>, but: Option<Id>) -> Result<Vec<Write>> {
        let all = self.core.load_all::<BackupKeyHeader>(DomainId::ROOT)?;
        all.iter()
            .filter(|k| k.header.domain == scope && k.header.default && Some(k.id()) != but)
            .map(|k| self.core.put_header(k, &BackupKeyHeader { default: false, ..k.header.clone() }))
            .collect()
    }

    async fn backup_key_add(&self, id: Id, header: BackupKeyHeader, key: &Key256) -> Result<Reply<BackupKey>> {
        let kind = keyark_model::Kind::BackupKey;
        let revision = self.core.store.tombstone(kind, id)?.map_or(1, |t| t.revision + 1);
        let mut writes = vec![self.core.put(DomainId::ROOT, id, revision, &header, key.expose())?];
        if header.default {
            writes.extend(self.others_not_default(header.domain, None)?);
        }
        self.commit_in(DomainId::ROOT, id.to_string(), vec![], writes).await?;
        let stored = self.core.load::<BackupKeyHeader>(DomainId::ROOT, id)?;
        Ok(Reply::json(shown(&self.core, &stored, self.now)).at(revision))
    }
}

impl Handle<BackupKeyCreate> for App {
    async fn handle(&self, ctx: &Ctx, r: BackupKeyCreate) -> Result<Reply<BackupKey>> {
        let scope = scope_of(ctx, r.scope.as_deref())?;
        ctx.require(right_of(scope, false))?;
        let key = random::secret::<32>();
        let header = BackupKeyHeader {
            domain: scope,
            also: BTreeSet::new(),
            description: r.description.unwrap_or_default(),
            fingerprint: kdf::fingerprint(key.expose()),
            default: r.is_default || ctx.core.backup_key_default(scope)?.is_none(),
            created_at: ctx.now,
            proven: None,
        };
        ctx.backup_key_add(Core::new_id(ctx.now), header, &key).await
    }
}

impl Handle<BackupKeyList> for App {
    async fn handle(&self, ctx: &Ctx, r: BackupKeyList) -> Result<Reply<Page<BackupKey>>> {
        let scope = r.scope.as_deref().map(|s| scope_of(ctx, Some(s))).transpose()?;
        let mut all = ctx.backup_keys()?;
        all.retain(|k| {
            scope.is_none_or(|s| s.is_some() == k.header.domain.is_some())
                && r.is_default.is_none_or(|d| d == k.header.default)
        });
        let all = all.iter().map(|k| ctx.backup_key_shown(k)).collect::<Result<_>>()?;
        Ok(Reply::json(PageQuery::from_wire(r.skip, r.limit).of(all)))
    }
}

impl Handle<BackupKeyGet> for App {
    async fn handle(&self, ctx: &Ctx, r: BackupKeyGet) -> Result<Reply<BackupKey>> {
        let stored = ctx.backup_key_load(&r.id)?;
        Ok(Reply::json(ctx.backup_key_shown(&stored)?).at(stored.revision()))
    }
}

impl Handle<BackupKeyDefault> for App {
    async fn handle(&self, ctx: &Ctx, r: BackupKeyDefault) -> Result<Reply<BackupKey>> {
        let stored = ctx.backup_key_load(&r.id)?;
        ctx.require(right_of(stored.header.domain, false))?;
        ctx.backup_key_own(&stored)?;
        let mut writes = ctx.others_not_default(stored.header.domain, Some(stored.id()))?;
        if !stored.header.default {
            let header = BackupKeyHeader { default: true, ..stored.header.clone() };
            writes.push(ctx.core.put_header(&stored, &header)?);
        }
        ctx.commit_in(DomainId::ROOT, r.id, vec![], writes).await?;
        let stored = ctx.core.load(DomainId::ROOT, stored.id())?;
        Ok(Reply::json(shown(&ctx.core, &stored, ctx.now)).at(stored.revision()))
    }
}

impl Handle<BackupKeyDelete> for App {
    async fn handle(&self, ctx: &Ctx, r: BackupKeyDelete) -> Result<Reply<NoBody>> {
        let stored = ctx.backup_key_load(&r.id)?;
        ctx.require(right_of(stored.header.domain, false))?;
        ctx.check_match(stored.revision())?;
        if ctx.only_also(stored.header.domain, &stored.header.also)? {
            let mut header = stored.header.clone();
            header.also.remove(&ctx.domain()?);
            ctx.commit_header(&stored, &header).await?;
            return Ok(Reply::none());
        }
        if let Some(next) = stored.header.also.first().copied() {
            // Another domain still restores with it: it becomes that domain's.
            let mut header = stored.header.clone();
            header.also.remove(&next);
            (header.domain, header.default) = (Some(next), false);
            ctx.commit_header(&stored, &header).await?;
            return Ok(Reply::none());
        }
        ctx.scope_not_held(stored.header.domain)?;
        let backups = ctx.core.load_all::<BackupHeader>(DomainId::ROOT)?;
        let needed = backups.iter().filter(|b| b.header.backup_key == stored.id()).count();
        let instances = ctx.core.load_all::<InstanceHeader>(DomainId::ROOT)?;
        let with_it =
            |i: &&Stored<InstanceHeader>| i.header.order.as_ref().is_some_and(|o| o.backup_key == stored.id());
        let sending = instances.iter().filter(with_it).count();
        if needed + sending > 0 && !r.force {
            let what = format!(
                "{needed} backups known here open only with this key, and {sending} backup instances send under it; force \
                 with confirm deletes it all the same"
            );
            return Err(AppError::new(ErrorCode::InUse, what));
        }
        if r.force {
            let what = format!(
                "deleting this key makes {needed} backups known here, and what {sending} backup instances sent, unreadable \
                 without an exported copy"
            );
            confirmed(r.confirm.as_deref(), &[&stored.id().to_string()], &what)?;
        }
        let write = ctx.core.delete(&stored);
        ctx.commit_in(DomainId::ROOT, r.id, vec![], vec![write]).await?;
        Ok(Reply::none())
    }
}
