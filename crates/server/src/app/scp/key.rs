//! The SSH key of a domain: made when it is first asked for, rotated by hand.

use keyark_api::schedules::DatabaseBackupParams;
use keyark_api::scp::{ScpPublicKey, ScpPublicKeyGet, ScpPublicKeyRotate, ScpPublicKeyRotated};
use keyark_backup::ssh::{fingerprint, key_new};
use keyark_model::DomainId;
use keyark_model::protection::{Address, DestinationHeader};
use keyark_model::schedule::ScheduleHeader;
use keyark_model::ssh::{ConnectionHeader, Login};
use keyark_model::system::NodeHeader;
use keyark_store::Write;

use crate::app::core::Core;
use crate::app::ctx::{Ctx, confirmed};
use crate::app::error::Result;
use crate::app::records::Stored;
use crate::app::{App, Handle, Reply};

/// Its record's name: it stands in root, whatever its domain.
fn name_of(domain: DomainId) -> String {
    if domain == DomainId::ROOT { "ssh".into() } else { format!("ssh-{domain}") }
}

impl Core {
    /// A domain's SSH key, if it has one yet.
    pub fn ssh_key_of(&self, domain: DomainId) -> Result<Option<Stored<NodeHeader>>> {
        self.find_named(DomainId::ROOT, &name_of(domain))
    }
}

impl Ctx {
    /// The SSH key of the caller's domain.
    pub async fn ssh_key(&self) -> Result<Stored<NodeHeader>> {
        let domain = self.domain()?;
        if let Some(stored) = self.core.ssh_key_of(domain)? {
            return Ok(stored);
        }
        let write = self.ssh_key_write(domain, None)?;
        if let Err(e) = self.commit_in(DomainId::ROOT, name_of(domain), vec![], vec![write]).await {
            // Somebody else asked at the same moment.
            return self.core.ssh_key_of(domain)?.ok_or(e);
        }
        self.core.load_named(DomainId::ROOT, &name_of(domain))
    }

    fn ssh_key_write(&self, domain: DomainId, before: Option<&Stored<NodeHeader>>) -> Result<Write> {
        let (private, public) = key_new(&format!(
            "keyark-{}",
            if domain == DomainId::ROOT { self.core.system.to_string() } else { domain.to_string() }
        ));
        let header = NodeHeader { name: name_of(domain), public };
        let (id, revision) = before.map_or((Core::new_id(self.now), 1), |b| (b.id(), b.revision() + 1));
        self.core.put(DomainId::ROOT, id, revision, &header, private.expose())
    }

    /// What logs in with the key of the caller's domain.
    fn ssh_key_used(&self) -> Result<Vec<String>> {
        let domain = self.domain()?;
        let mut connections = self.core.load_all::<ConnectionHeader>(domain)?;
        connections.retain(|c| c.header.place.host.login == Login::Key);
        let mut used = Vec::new();
        for schedule in self.core.load_all::<ScheduleHeader>(DomainId::ROOT)?.iter().map(|s| &s.header) {
            let params = serde_json::from_value::<DatabaseBackupParams>(schedule.params.clone()).unwrap_or_default();
            let sends = params.connection.filter(|_| schedule.domain == domain && params.do_scp);
            let by_key =
                |name: &String| connections.iter().any(|c| c.header.name == *name || c.id().to_string() == *name);
            if sends.as_ref().is_some_and(by_key) {
                used.push(format!("schedule {}", schedule.name));
            }
        }
        used.extend(connections.iter().map(|c| format!("connection {}", c.header.name)));
        if domain == DomainId::ROOT {
            let by_key = |a: &Address| matches!(a, Address::Sftp { host, .. } if host.login == Login::Key);
            let destinations = self.core.load_all::<DestinationHeader>(DomainId::ROOT)?;
            let destinations = destinations.iter().filter(|d| by_key(&d.header.address));
            used.extend(destinations.map(|d| format!("destination {}", d.header.name)));
        }
        Ok(used)
    }
}

impl Handle<ScpPublicKeyGet> for App {
    async fn handle(&self, ctx: &Ctx, _: ScpPublicKeyGet) -> Result<Reply<ScpPublicKey>> {
        let stored = ctx.ssh_key().await?;
        let public_key = stored.header.public.clone();
        Ok(Reply::json(ScpPublicKey { fingerprint: fingerprint(&public_key), public_key }))
    }
}

impl Handle<ScpPublicKeyRotate> for App {
    async fn handle(&self, ctx: &Ctx, r: ScpPublicKeyRotate) -> Result<Reply<ScpPublicKeyRotated>> {
        let broken = ctx.ssh_key_used()?;
        if !broken.is_empty() {
            let what = format!(
                "until the new key stands in authorized_keys there, these log in no more: {}",
                broken.join(", ")
            );
            confirmed(r.confirm.as_deref(), &["rotate"], &what)?;
        }
        let domain = ctx.domain()?;
        let write = ctx.ssh_key_write(domain, ctx.core.ssh_key_of(domain)?.as_ref())?;
        ctx.commit_in(DomainId::ROOT, name_of(domain), vec![], vec![write]).await?;
        Ok(Reply::json(ScpPublicKeyRotated { success: true, broken }))
    }
}
