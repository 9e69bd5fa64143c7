//! What a restore was asked to do: which archives with which keys, into which domain, and whether the caller may.

use std::collections::BTreeSet;
use std::sync::Arc;

use keyark_api::ErrorCode;
use keyark_api::backups::{BackupRestore, RestoreQuery};
use keyark_archive::Scope;
use keyark_backup::{Conflict, Links, Mode, RestoreOptions, source};
use keyark_crypto::Key256;
use keyark_model::access::Roles;
use keyark_model::system::{BackupHeader, BackupStatus};
use keyark_model::{DomainId, Id, Kind};

use crate::app::App;
use crate::app::backupkeys::right_of;
use crate::app::core::Core;
use crate::app::ctx::Ctx;
use crate::app::domains::DomainHeader;
use crate::app::error::{AppError, Result};
use crate::app::records::Stored;

fn id(text: &str) -> Result<Id> {
    text.parse().map_err(|_| AppError::invalid(format!("{text:?} is no id")))
}

/// Items as a request names them: `kind:id`, or the id of a key.
pub fn items_of(items: &[String]) -> Result<BTreeSet<(Kind, Id)>> {
    let one = |item: &String| {
        let (word, text) = item.split_once(':').unwrap_or((Kind::Key.word(), item));
        let kind = Kind::ALL.iter().find(|k| k.word() == word);
        let kind = kind.ok_or_else(|| AppError::invalid(format!("{word:?} is no kind of record; write keys:<id>")))?;
        Ok((*kind, id(text)?))
    };
    items.iter().map(one).collect()
}

/// The options of either request.
fn options_of(r: &BackupRestore) -> Result<RestoreOptions> {
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
            Some("newVersion") => Conflict::NewVersion,
            Some(_) => return Err(AppError::invalid("conflict is fail, skip, overwrite, rename or newVersion")),
        },
        items: items_of(&r.items)?.into_iter().map(|(kind, id)| (kind.word().to_owned(), id)).collect(),
        include_deleted: r.include_deleted,
        include_destroyed: r.include_destroyed.iter().map(|text| id(text)).collect::<Result<_>>()?,
        include_users: r.include_users,
    })
}

pub(super) fn as_restore(r: &RestoreQuery) -> BackupRestore {
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
        from_domain: r.from_domain,
        into_domain: r.into_domain,
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
    /// The destination of a domain restore: where the caller works, unless it rescues a deleted domain.
    pub into: DomainId,
    /// The deleted domain that root takes out of a system archive.
    rescued: Option<DomainId>,
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

    /// Which deleted domain root takes out of a system archive, and the new, empty domain that receives it. Nobody gets
    /// at what exists this way: a domain that is here is restored by its own restorers alone.
    fn rescue(&self, r: &BackupRestore, backup: &Stored<BackupHeader>) -> Result<Option<(DomainId, DomainId)>> {
        let (old, new) = match (&r.from_domain, &r.into_domain) {
            (None, None) => return Ok(None),
            (Some(old), Some(new)) => (old, new),
            _ => return Err(AppError::invalid("fromDomain and intoDomain are given together")),
        };
        if backup.header.domain.is_some() || self.domain()? != DomainId::ROOT {
            let what = "fromDomain takes a deleted domain out of a system backup, for a restorer of the root domain";
            return Err(AppError::new(ErrorCode::WrongScope, what));
        }
        if r.include_users || r.mode.as_deref() == Some("exact") {
            let what = "out of a deleted domain come its resources, not its users, and nothing is deleted for them";
            return Err(AppError::invalid(what));
        }
        let old: Id = old.parse().map_err(|_| AppError::invalid("fromDomain is the id of the deleted domain"))?;
        if self.core.store.get(DomainId::ROOT, Kind::Domain, old)?.is_some() {
            let what =
                format!("the domain {old} exists: its own restorers take it out of this backup, logged in there");
            return Err(AppError::new(ErrorCode::WrongScope, what));
        }
        let new = self.core.load_any::<DomainHeader>(DomainId::ROOT, new)?;
        let into = DomainId(new.id().0);
        for kind in [Kind::Key, Kind::Secret, Kind::CtePolicy, Kind::CteSet] {
            if into == DomainId::ROOT || self.core.store.count(into, kind)?.records > 0 {
                let what = format!("the domain {:?} is not new: make one that holds nothing yet", new.header.name);
                return Err(AppError::new(ErrorCode::WrongScope, what));
            }
        }
        Ok(Some((DomainId(old.0), into)))
    }

    pub(super) fn restore_asked(&self, r: &BackupRestore) -> Result<Asked> {
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
        let rescue = self.rescue(r, &backup)?;
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
            into: rescue.map_or(into, |(_, new)| new),
            rescued: rescue.map(|(old, _)| old),
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

    /// Whether root brings a deleted domain back into a new one.
    pub fn rescues(&self) -> bool {
        self.rescued.is_some()
    }

    /// Whose facts an archive of the whole system tells of, when these are wanted for a domain.
    pub fn source_of(&self, into: Option<DomainId>) -> Option<DomainId> {
        into.map(|domain| self.rescued.unwrap_or(domain))
    }

    /// Verifies and unlocks the archives.
    pub fn with_links<T>(&self, work: impl FnOnce(&Links<'_, '_>) -> Result<T>) -> Result<T> {
        let mut archives = Vec::new();
        for link in &self.links {
            let path = self.app.folder.archive(link.id);
            let archive = source::open_claimed(&path, link.id, &self.core.anchor, self.signer.as_deref())?;
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

    /// Whose records of the archive are restored.
    pub fn from(&self, links: &Links<'_, '_>) -> Result<DomainId> {
        let opened = links.last();
        let header = opened.unlocked.archive().header();
        let from = match header.scope {
            Scope::Domain => return Ok(header.domain.unwrap_or(self.into)),
            // Out of a system archive a domain comes back only into itself, or, when it is no more, into a new one.
            Scope::System => self.rescued.unwrap_or(self.into),
        };
        match self.rescued.is_none() || opened.keks.keys().any(|(domain, _)| *domain == from) {
            true => Ok(from),
            false => Err(AppError::not_found(format_args!("the domain {from} in this backup"))),
        }
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
