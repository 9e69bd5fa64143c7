//! Recovery on an empty machine: an archive or a stream, the backup key's file and its passphrase make a running system again.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use keyark_archive::keyfile::{self, BackupKeyFile, KeyFileError};
use keyark_archive::{Anchor, AnchorKey, Archive, Scope};
use keyark_backup::restore_system::{Built, Extra, SystemRestore, build};
use keyark_backup::source;
use keyark_backup::stream::{Opener, Point, PointError, Until, survey};
use keyark_backup::{Destination, Facts, Links, Progress, RestoreOptions};
use keyark_crypto::root::FileRoot;
use keyark_crypto::sign::Signer;
use keyark_crypto::{SecretBytes, kdf};
use keyark_model::system::{BackupHeader, BackupKeyHeader, BackupStatus, NodeHeader};
use keyark_model::{DomainId, Id, Kind, Time};
use keyark_store::{Options, Store};

use crate::app::backups::{anchor_write, made_new};
use crate::app::core::Core;
use crate::app::error::AppError;
use crate::boot::{self, BootError, Folder};
use crate::http::tls;
use crate::settings::Settings;

/// What to recover from.
pub struct Recovery<'a> {
    pub settings: &'a Settings,
    pub from: Origin<'a>,
    /// Text of the exported backup key.
    pub key_file: &'a str,
    pub passphrase: &'a str,
    pub now: Time,
}

/// Where a system comes back from.
pub enum Origin<'a> {
    Archive(&'a Path),
    /// What an instance shipped there; the newest life of the system that has the point.
    Stream {
        destination: &'a dyn Destination,
        until: Until,
    },
}

/// What was recovered, and what a person must do next.
#[derive(Debug)]
pub struct Recovered {
    pub built: Built,
    /// Of the new anchor, to be pinned.
    pub fingerprint: String,
    /// When the archive was made, or the time of the point's last entry.
    pub at: Time,
    /// What no archive holds and is new or missing on this machine.
    pub missing: Vec<String>,
}

/// Why nothing was recovered. The data folder is as it was.
#[derive(Debug, thiserror::Error)]
pub enum RecoverError {
    #[error("{0} holds a system already; recover into another folder, or restore through the running server")]
    NotEmpty(PathBuf),
    #[error(transparent)]
    KeyFile(#[from] KeyFileError),
    #[error("this backup key is of scope domain; a system is recovered with a system backup key")]
    Scope,
    #[error(transparent)]
    Source(#[from] source::SourceError),
    #[error(transparent)]
    Build(#[from] keyark_backup::restore_system::SystemRestoreError),
    #[error(transparent)]
    Point(#[from] PointError),
    #[error("there is no stream of this backup key's system; look at what is there with `keyark points`")]
    NoStream,
    #[error(transparent)]
    Boot(#[from] BootError),
    #[error("{0}")]
    App(#[from] AppError),
    #[error("{path}: {source}")]
    Io { path: PathBuf, source: std::io::Error },
}

/// Recovers; a kill at any moment leaves a folder that can be recovered into again, or a whole system.
pub fn recover(r: &Recovery<'_>, progress: &Progress) -> Result<Recovered, RecoverError> {
    let folder = Folder::at(&r.settings.data);
    if folder.store().exists() {
        return Err(RecoverError::NotEmpty(folder.path().into()));
    }
    let key = keyfile::keyfile_open(r.key_file, r.passphrase)?;
    if key.info.scope != Scope::System {
        return Err(RecoverError::Scope);
    }
    match r.from {
        Origin::Archive(path) => {
            let archive = source::open(path, &key.anchor, None)?;
            let opened = source::unlock(&archive, key.info.keyid, &key.key)?;
            let making = Making { r, folder: &folder, key: &key, at: archive.header().created_at };
            making.run(&Links::of(vec![&opened])?, Some((&archive, path)), progress)
        }
        Origin::Stream { destination, until } => {
            folder.create().map_err(io(folder.path()))?;
            let within = folder.path().join("point");
            let _ = std::fs::remove_dir_all(&within);
            std::fs::create_dir(&within).map_err(io(&within))?;
            let opener = Opener::with_key(destination, &key.anchor, (key.info.keyid, &key.key));
            let made = reached(&opener, until, &within).and_then(|(point, others)| {
                let making = Making { r, folder: &folder, key: &key, at: point.time };
                let mut made = point.with_links(|links| making.run(links, None, progress))?;
                made.missing.extend(others);
                Ok(made)
            });
            let _ = std::fs::remove_dir_all(&within);
            made
        }
    }
}

fn io(path: &Path) -> impl FnOnce(std::io::Error) -> RecoverError + use<> {
    let path = path.to_owned();
    move |source| RecoverError::Io { path, source }
}

/// The point in the newest life of the system that has it, and the backup keys that domains' streams there need.
fn reached(opener: &Opener<'_>, until: Until, within: &Path) -> Result<(Point, Vec<String>), RecoverError> {
    let place = |error| PointError::Destination { place: opener.destination.describe(), error };
    let mut all = survey(opener.destination).map_err(place)?;
    all.retain(|s| opener.anchor.keys.iter().any(|k| k.system == s.catalogue.place.system));
    let of_domains = all.iter().filter_map(|s| Some((s.domain?, &s.backup_keys)));
    let needs = of_domains.flat_map(|(domain, keys)| keys.iter().map(move |key| (domain, *key)));
    let others = needs.filter(|(_, key)| !opener.keys.contains_key(key)).collect::<BTreeSet<_>>().into_iter();
    let others = others
        .map(|(domain, key)| format!("backup key {key}, which opens the stream of domain {domain}: upload its file"));
    let mut refused = None;
    for seen in all.iter().filter(|s| s.domain.is_none()) {
        match seen.catalogue.plan(until) {
            Ok(plan) => return Ok((opener.point(&seen.catalogue.place, &plan, within)?, others.collect())),
            Err(e) => refused = refused.or(Some(e)),
        }
    }
    Err(refused.map_or(RecoverError::NoStream, |e| PointError::from(e).into()))
}

/// A recovery whose archives are open.
struct Making<'a> {
    r: &'a Recovery<'a>,
    folder: &'a Folder,
    key: &'a BackupKeyFile,
    at: Time,
}

impl Making<'_> {
    /// Makes the system of what the links show. An archive on demand is kept and stands in the new catalogue.
    fn run(
        &self,
        links: &Links<'_, '_>,
        archive: Option<(&Archive<std::fs::File>, &Path)>,
        progress: &Progress,
    ) -> Result<Recovered, RecoverError> {
        let Making { r, folder, key, at } = *self;
        folder.create().map_err(io(folder.path()))?;
        let passphrase = boot::root_passphrase()?;
        let root = match folder.root_key().exists() {
            true => FileRoot::open(&folder.root_key(), passphrase.as_ref()).map_err(BootError::from)?,
            false => FileRoot::create(&folder.root_key(), passphrase.as_ref()).map_err(BootError::from)?,
        };
        let signer = Signer::generate();
        let header = links.last().unlocked.archive().header().clone();
        let mut extras = made_new(r.now)?;
        extras.extend(own_secrets(&header.system.to_string(), &signer, r.now)?);
        extras.push(backup_key(key, r.now)?);
        if let Some((archive, path)) = archive {
            let kept = folder.archive(header.id);
            if kept != path {
                std::fs::copy(path, &kept).map_err(io(&kept))?;
            }
            extras.push(catalogue(archive, &kept, r.now).map_err(io(&kept))?);
        }
        let building = folder.path().join("store.db.restoring");
        boot::remove_database(&building);
        let options = RestoreOptions::default();
        let facts = Facts::default();
        let restore =
            SystemRestore { links, root: &root, facts: &facts, options: &options, extras, replaced: None, now: r.now };
        let built = build(&restore, &building, progress).inspect_err(|_| boot::remove_database(&building))?;
        finish(r, folder, &root, &building, &key.anchor, &signer, &built)?;
        let fingerprint = signer.public().fingerprint();
        let missing = vec![
            "new: root of trust, MKEK, signing key, certificates and token key of this machine; pin the fingerprint above"
                .into(),
            "other backup keys than the one given: upload their files".into(),
            "the catalogue of backups, but for an archive that was recovered from".into(),
            "every proof that a backup key is kept elsewhere: export and check the keys again".into(),
        ];
        Ok(Recovered { built, fingerprint, at, missing })
    }
}

/// Opens what was built, writes its new anchor as the first entry of the incarnation, then gives it its name.
fn finish(
    r: &Recovery<'_>,
    folder: &Folder,
    root: &FileRoot,
    building: &Path,
    old: &Anchor,
    signer: &Signer,
    built: &Built,
) -> Result<(), RecoverError> {
    let options = Options { reserve_bytes: r.settings.disk_reserve, ..Options::default() };
    let store = Store::open(building, options).map_err(BootError::from)?;
    let core = boot::open(store, root)?;
    let mut keys = old.keys.clone();
    keys.push(AnchorKey::pinned(built.identity.system, built.identity.incarnation, &signer.public(), 0));
    let mut changes = core.reserve_first()?;
    changes.push(anchor_write(&core, Anchor::new(keys))?);
    core.commit_as_system_on(r.now, DomainId::ROOT, "system_recover", core.continues(), vec![], changes)?;
    drop(core);
    std::fs::rename(building, folder.store())
        .and_then(|()| std::fs::File::open(folder.path())?.sync_all())
        .map_err(|source| RecoverError::Io { path: folder.store(), source })?;
    for ending in ["-wal", "-shm", "-lock"] {
        let mut left = building.as_os_str().to_owned();
        left.push(ending);
        let _ = std::fs::remove_file(left);
    }
    Ok(())
}

fn own_secrets(system: &str, signer: &Signer, now: Time) -> Result<Vec<Extra>, RecoverError> {
    let authority = tls::authority_new(now, system).map_err(BootError::from)?;
    let node = |name: &str, public: String, body: &[u8]| -> Result<Extra, AppError> {
        extra(Kind::Node, Core::new_id(now), now, &NodeHeader { name: name.into(), public }, body)
    };
    Ok(vec![
        node("signing", String::new(), signer.seed().expose())?,
        node("authority", authority.certificate.clone(), authority.key.expose())?,
    ])
}

fn backup_key(key: &BackupKeyFile, now: Time) -> Result<Extra, AppError> {
    let header = BackupKeyHeader {
        domain: None,
        also: std::collections::BTreeSet::new(),
        description: "recovered from its file".into(),
        fingerprint: kdf::fingerprint(key.key.expose()),
        default: true,
        created_at: key.info.created_at,
        proven: None,
    };
    extra(Kind::BackupKey, key.info.keyid, now, &header, key.key.expose())
}

fn catalogue(archive: &Archive<std::fs::File>, path: &Path, now: Time) -> std::io::Result<Extra> {
    let (header, facts) = (archive.header(), archive.inspect(None));
    let backup = BackupHeader {
        domain: None,
        also: std::collections::BTreeSet::new(),
        description: facts.description,
        created_at: header.created_at,
        finished_at: Some(now),
        status: BackupStatus::Completed,
        failure: String::new(),
        backup_key: facts.backup_key_id.parse().unwrap_or(Id::from_bytes([0; 16])),
        creator: header.creator.clone(),
        product_version: header.product_version.clone(),
        since: None,
        filters: serde_json::Value::Null,
        seq: header.positions.last.0,
        size: archive.length(),
        checksum: keyark_backup::restore_system::file_digest(path)?.to_string(),
        counts: facts.counts.unwrap_or_default().into_iter().map(|(k, n)| (k, n.0)).collect(),
        uploaded: true,
        job: Core::new_id(now),
    };
    extra(Kind::Backup, Id(header.id.0), now, &backup, b"").map_err(std::io::Error::other)
}

fn extra<H: serde::Serialize>(kind: Kind, id: Id, now: Time, header: &H, body: &[u8]) -> Result<Extra, AppError> {
    let header = serde_json::to_vec(header).map_err(AppError::internal)?;
    Ok(Extra { kind, id, revision: 1, time: now, header, body: SecretBytes::new(body.to_vec()) })
}
