//! What was deleted, destroyed or compromised, as far as this system can know: its own records, and later backups that were brought here.

use keyark_archive::Scope;
use keyark_backup::{Facts, source};
use keyark_model::system::{BackupHeader, BackupKeyHeader, BackupStatus};
use keyark_model::{DomainId, Id};

use super::asked::Asked;
use crate::app::error::{AppError, Result};
use crate::app::records::Stored;

impl Asked {
    /// The facts for a restore into a domain, or into the whole system, and which later backups could not be asked. What was
    /// taken here this system knows by itself: only what came from elsewhere is opened.
    pub fn facts(&self, into: Option<DomainId>) -> Result<(Facts, Vec<String>)> {
        let mut facts = Facts::of_store(&self.core.store, into)?;
        if let Some(other) = self.made_of()?.filter(|of| into.is_some_and(|into| into != *of)) {
            facts.learn_keys(&self.core.store, other)?;
        }
        let mut unread = Vec::new();
        let chain = self.chain();
        for later in self.core.load_all::<BackupHeader>(DomainId::ROOT)? {
            let h = &later.header;
            let same = h.domain == self.backup.header.domain || h.also.contains(&self.into);
            let newer = h.created_at > self.backup.header.created_at;
            let whole = h.uploaded && h.status == BackupStatus::Completed;
            if !(same && newer && whole) || chain.contains(&later.id().to_string()) {
                continue;
            }
            if let Err(e) = self.learn(&mut facts, later.id(), &later, into) {
                unread.push(format!("{}, made at {}: {}", later.id(), h.created_at, e.message));
            }
        }
        Ok((facts, unread))
    }

    /// The domain that the archive was made of.
    fn made_of(&self) -> Result<Option<DomainId>> {
        let path = self.app.folder.archive(self.backup.id());
        Ok(keyark_archive::Archive::open(std::fs::File::open(path)?)?.header().domain)
    }

    fn learn(&self, facts: &mut Facts, id: Id, later: &Stored<BackupHeader>, into: Option<DomainId>) -> Result<()> {
        let archive =
            source::open_claimed(&self.app.folder.archive(id), id, &self.core.anchor, self.signer.as_deref())?;
        let ours = keyark_archive::Archive::open(std::fs::File::open(self.app.folder.archive(self.backup.id()))?)?;
        if archive.header().system != ours.header().system {
            // Another system's backup says nothing of this one's records.
            return Ok(());
        }
        let key = self.core.load::<BackupKeyHeader>(DomainId::ROOT, later.header.backup_key);
        let key = key.map_err(|_| AppError::not_found(format_args!("its backup key {}", later.header.backup_key)))?;
        let opened = source::unlock(&archive, key.id(), &self.core.backup_key_material(&key)?)?;
        let of = match archive.header().scope {
            Scope::Domain => archive.header().domain,
            Scope::System => self.source_of(into),
        };
        Ok(facts.learn_archive(&opened, of)?)
    }
}
