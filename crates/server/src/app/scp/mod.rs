//! Backups on their way to other machines: the transfers, and the key that lets this system in there.

mod connections;
mod key;

use keyark_api::scp::{BackupScp, BackupScpStatus, ScpPlace, ScpTransfer, ScpTransfers};
use keyark_backup::ssh::{host_keys, transfer::Target};
use keyark_crypto::SecretBytes;
use keyark_model::ssh::{ConnectionHeader, Host, Login, Place, Protocol};
use keyark_model::system::{BackupStatus, JobHeader};
use keyark_model::{DomainId, Id, Time};
use serde_json::json;

use super::backupkeys::right_of;
use super::core::Core;
use super::ctx::Ctx;
use super::error::{AppError, Result};
use super::records::Stored;
use super::{App, Handle, Reply};

/// The job of a transfer.
const OPERATION: &str = "Backup transfer";
/// How long the status of a transfer is shown; then the audit log has it. Seconds.
const SHOWN: i64 = 4 * 86_400;

/// A place as a request says it; what it leaves out is as it was before.
fn place_of(r: &ScpPlace, before: Option<&Place>) -> Result<Place> {
    let old = |f: fn(&Place) -> String| before.map(f);
    let needed = |value: Option<String>, name: &str| {
        value.filter(|v| !v.trim().is_empty()).ok_or_else(|| AppError::invalid(format!("{name} is missing")))
    };
    let host = needed(r.host.clone().or(old(|p| p.host.host.clone())), "host, the name or address of the machine")?;
    let key = needed(
        r.public_key.clone().or(old(|p| p.host.key.clone())),
        "public_key, the host's own: `ssh-keyscan HOST` shows it, compare it with the host's administrator",
    )?;
    host_keys(&key).map_err(|e| AppError::invalid(format!("public_key: {e}")))?;
    let user = needed(r.username.clone().or(old(|p| p.host.user.clone())), "username")?;
    let path = needed(r.path_to.clone().or(old(|p| p.path.clone())), "path_to, a folder there")?;
    if [&host, &user, &path].iter().any(|text| text.chars().any(char::is_control)) {
        return Err(AppError::invalid("host, username and path_to are one line each"));
    }
    let login = match r.auth_method.as_deref() {
        Some("key") => Login::Key,
        Some("password") => Login::Password,
        None if r.password.is_some() => Login::Password,
        None => before.map_or(Login::Key, |p| p.host.login),
        Some(_) => return Err(AppError::invalid("auth_method is key or password")),
    };
    let protocol = match r.protocol.as_deref() {
        None => before.map(|p| p.protocol).unwrap_or_default(),
        Some("sftp") => Protocol::Sftp,
        Some("scp") => Protocol::Scp,
        Some(_) => return Err(AppError::invalid("protocol is sftp or scp")),
    };
    let port = r.port.or(before.map(|p| p.host.port)).unwrap_or(22);
    Ok(Place { host: Host { host, port, key, user, login }, protocol, path })
}

/// A password as it was pasted; demanded where it is the way in.
fn password_of(r: &ScpPlace, place: &Place, before: Option<SecretBytes>) -> Result<SecretBytes> {
    let clean = |text: &str| text.trim_matches(|c| c == '\u{feff}' || c == '\r' || c == '\n').as_bytes().to_vec();
    match (place.host.login, &r.password) {
        (Login::Key, None) => Ok(SecretBytes::new(Vec::new())),
        (Login::Key, Some(_)) => Err(AppError::invalid("a password goes with auth_method password")),
        (Login::Password, Some(given)) if !clean(given).is_empty() => Ok(SecretBytes::new(clean(given))),
        (Login::Password, _) => before
            .filter(|b| !b.expose().is_empty())
            .ok_or_else(|| AppError::invalid("auth_method password needs the password")),
    }
}

impl Ctx {
    /// What lets this system in at a place.
    async fn secret_for(&self, place: &Place, password: SecretBytes) -> Result<SecretBytes> {
        match place.host.login {
            Login::Password => Ok(password),
            Login::Key => self.core.open_body(&self.ssh_key().await?),
        }
    }

    /// Where a connection leads, or what a request says.
    async fn target_of(&self, connection: Option<&str>, r: &ScpPlace) -> Result<(Target, Option<Id>)> {
        let Some(connection) = connection else {
            let place = place_of(r, None)?;
            let password = password_of(r, &place, None)?;
            let secret = self.secret_for(&place, password).await?;
            return Ok((Target { place, secret }, None));
        };
        let stored = self.connection_load(connection)?;
        let target = self.connection_target(&stored).await?;
        Ok((target, Some(stored.id())))
    }

    /// Where a connection leads.
    async fn connection_target(&self, stored: &Stored<ConnectionHeader>) -> Result<Target> {
        let place = stored.header.place.clone();
        let secret = self.secret_for(&place, self.core.open_body(stored)?).await?;
        Ok(Target { place, secret })
    }
}

/// A transfer as the wire shows it, out of its job.
pub fn transfer_shown(app: &App, id: Id, h: &JobHeader) -> ScpTransfer {
    let told = |name: &str| h.result[name].as_str().unwrap_or_default().to_owned();
    ScpTransfer {
        id: id.to_string(),
        host: told("host"),
        connection_status: match app.running.status(id, h.status) {
            BackupStatus::Canceled => "failed",
            status => status.of_job(),
        }
        .into(),
        created_at: h.started,
        updated_at: h.finished.unwrap_or(h.started),
        path: told("path"),
        protocol: told("protocol"),
        job_id: id.to_string(),
        error: h.failure.clone(),
    }
}

/// Notes how a connection did.
pub(super) fn connection_tried(core: &Core, domain: DomainId, id: Id, now: Time, problem: String) -> Result<()> {
    let stored = core.load::<ConnectionHeader>(domain, id)?;
    let header = ConnectionHeader { tried: Some((now, problem)), ..stored.header.clone() };
    let write = core.put_header(&stored, &header)?;
    core.commit_as_system(now, domain, "connection_tried", vec![], vec![write])?;
    Ok(())
}

impl Handle<BackupScp> for App {
    async fn handle(&self, ctx: &Ctx, r: BackupScp) -> Result<Reply<ScpTransfer>> {
        let backup = ctx.backup_load(&r.id)?;
        ctx.require(right_of(backup.header.domain, false))?;
        ctx.core.may_go_out()?;
        let archive = ctx.archive_path(&backup)?;
        let (target, connection) = ctx.target_of(r.connection.as_deref(), &r.place()).await?;
        let name = format!("keyark-backup-{}.keyark", backup.id());
        let place = &target.place;
        let about = json!({
            "host": place.host.host,
            "path": format!("{}/{name}", place.path.trim_end_matches('/')),
            "protocol": place.protocol.word(),
        });
        let (app, core, domain, told) = (ctx.app.clone(), ctx.core.clone(), ctx.domain()?, about.clone());
        let job = ctx
            .job_beside_about(OPERATION, backup.header.domain, backup.id(), about, move |progress| {
                let sent = target.send(&name, &archive, &|| progress.check()).map_err(AppError::from);
                // Stopped, and not failed. What was sent by then is sent.
                if sent.is_err() {
                    progress.check()?;
                }
                if let Some(id) = connection {
                    let problem = sent.as_ref().err().map(|e| e.message.clone()).unwrap_or_default();
                    if let Err(e) = connection_tried(&core, domain, id, app.now(), problem) {
                        tracing::warn!(connection = %id, error = %e, "how a connection did could not be noted");
                    }
                }
                sent?;
                Ok((told, Vec::new()))
            })
            .await?;
        let stored = ctx.core.load::<JobHeader>(DomainId::ROOT, job)?;
        Ok(Reply::json(transfer_shown(self, job, &stored.header)))
    }
}

impl Handle<BackupScpStatus> for App {
    async fn handle(&self, ctx: &Ctx, r: BackupScpStatus) -> Result<Reply<ScpTransfers>> {
        let backup = ctx.backup_load(&r.id)?;
        let since = ctx.now.plus_seconds(-SHOWN);
        let mut all = ctx.core.load_all::<JobHeader>(DomainId::ROOT)?;
        all.retain(|j| {
            j.header.operation == OPERATION && j.header.resource == backup.id() && j.header.started >= since
        });
        all.reverse();
        let mut all = all.iter().map(|j| transfer_shown(self, j.id(), &j.header));
        Ok(Reply::json(match r.scpid {
            None => ScpTransfers::All(all.collect()),
            Some(id) => {
                let found = all.find(|t| t.id == id);
                ScpTransfers::One(found.ok_or_else(|| AppError::not_found(format_args!("the transfer {id:?}")))?)
            }
        }))
    }
}
