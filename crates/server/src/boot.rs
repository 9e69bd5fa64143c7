//! The data folder: first start, later starts, and what lies where.

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use keyark_archive::{Anchor, AnchorKey};
use keyark_crypto::keyring::{KekOwner, Keyring, Mkek, SEALS_FIRST};
use keyark_crypto::root::{FileRoot, RootError, RootOfTrust};
use keyark_crypto::seal::Kek;
use keyark_crypto::sign::Signer;
use keyark_crypto::{Key256, Secret, SecretBytes, password, random};
use keyark_model::{DomainId, Id, Incarnation, Kind, Outcome, SystemId, Time};
use keyark_store::{Batch, CommitError, Draft, Fault, Identity, OpenError, Options, Store, Write};

use crate::app::core::{Core, KekHeader, NodeHeader, SettingHeader, decode};
use crate::app::domains::DomainHeader;
use crate::app::error::AppError;
use crate::app::groups::groups_built_in;
use crate::app::instances::default_instance;
use crate::app::users::UserHeader;
use crate::audit::UsageError;
use crate::http::tls::{self, TlsError};
use crate::settings::Settings;

/// Hours that the first password is good for.
pub const FIRST_PASSWORD_HOURS: i64 = 24;

/// What lies where in the data folder.
#[derive(Clone, Debug)]
pub struct Folder(PathBuf);

impl Folder {
    pub fn at(path: &Path) -> Folder {
        Folder(path.into())
    }

    pub fn path(&self) -> &Path {
        &self.0
    }

    pub fn store(&self) -> PathBuf {
        self.0.join("store.db")
    }

    pub fn root_key(&self) -> PathBuf {
        self.0.join("root.key")
    }

    pub fn archive(&self, id: impl std::fmt::Display) -> PathBuf {
        self.0.join("backups").join(format!("{id}.keyark"))
    }

    /// Where full archives wait for their way to a destination, and points for their restore.
    pub fn spool(&self) -> PathBuf {
        self.0.join("spool")
    }

    pub fn authority(&self) -> PathBuf {
        self.0.join("ca.pem")
    }

    pub fn anchor(&self) -> PathBuf {
        self.0.join("anchor.json")
    }

    pub fn usage(&self) -> PathBuf {
        self.0.join("usage.db")
    }

    pub fn first_password(&self) -> PathBuf {
        self.0.join("first-password")
    }

    pub fn admin_socket(&self) -> PathBuf {
        self.0.join("admin.sock")
    }

    /// The file of an upload in parts.
    pub fn upload(&self, name: &str) -> PathBuf {
        self.0.join("uploads").join(name)
    }

    /// A new name for an uploaded file.
    pub fn upload_path(&self) -> PathBuf {
        self.0.join("uploads").join(format!("{:032x}", u128::from_be_bytes(random::bytes())))
    }

    /// Makes the folder and its subfolders, readable for their owner only.
    pub fn create(&self) -> std::io::Result<()> {
        use std::os::unix::fs::DirBuilderExt as _;
        for folder in [self.0.clone(), self.0.join("backups"), self.0.join("uploads"), self.spool()] {
            std::fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
        }
        Ok(())
    }
}

/// Why the server could not start.
#[derive(Debug, thiserror::Error)]
pub enum BootError {
    #[error("{path}: {source}")]
    Io { path: PathBuf, source: std::io::Error },
    #[error(transparent)]
    Open(#[from] OpenError),
    #[error(transparent)]
    Root(#[from] RootError),
    #[error(transparent)]
    Tls(#[from] TlsError),
    #[error(transparent)]
    Usage(#[from] UsageError),
    #[error("the first records could not be written: {0}")]
    Commit(#[from] CommitError),
    #[error(transparent)]
    Fault(#[from] Fault),
    #[error("{0}")]
    App(#[from] AppError),
    #[error(
        "a key in the store does not open: {0}; the root of trust belongs to another store, or the disk was altered"
    )]
    Crypto(#[from] keyark_crypto::CryptoError),
    #[error("cannot listen on {listen}: {source}; stop the program that holds it, or listen on another port")]
    Listen { listen: std::net::SocketAddr, source: std::io::Error },
    #[error("the store lacks {0}: it was not made by a complete first start; recover it from a backup")]
    Incomplete(&'static str),
}

/// A started system.
pub struct Booted {
    pub core: Core,
    /// Set at the first start: the password of `admin`, to be shown once.
    pub first_password: Option<Secret<String>>,
}

/// Opens the data folder, or makes it at the first start.
pub fn boot(settings: &Settings, now: Time) -> Result<Booted, BootError> {
    let folder = Folder::at(&settings.data);
    folder.create().map_err(|source| BootError::Io { path: folder.path().into(), source })?;
    let options = Options { reserve_bytes: settings.disk_reserve, ..Options::default() };
    let passphrase = root_passphrase()?;
    if folder.store().exists() {
        let root = FileRoot::open(&folder.root_key(), passphrase.as_ref())?;
        let store = Store::open(&folder.store(), options)?;
        return Ok(Booted { core: open(store, &root)?, first_password: None });
    }
    let root = match folder.root_key().exists() {
        // A first start that was killed left its root key behind: it is as good as a new one.
        true => FileRoot::open(&folder.root_key(), passphrase.as_ref())?,
        false => FileRoot::create(&folder.root_key(), passphrase.as_ref())?,
    };
    let identity = Identity {
        system: SystemId(random::uuid_v7(now)),
        incarnation: Incarnation::from_bytes(random::bytes()),
        parent: None,
    };
    // Made under another name and renamed when complete, so that a kill leaves no half-made store.
    let making = folder.path().join("store.db.new");
    remove_database(&making);
    let first_password = {
        let store = Store::create(&making, &identity, now, options.clone())?;
        first_records(&store, identity.system, &root, now)?
    };
    publish(&making, &folder).map_err(|source| BootError::Io { path: making, source })?;
    let store = Store::open(&folder.store(), options)?;
    Ok(Booted { core: open(store, &root)?, first_password: Some(first_password) })
}

/// Gives the complete store its name. What stands in a write-ahead log of the old name would be lost by that.
fn publish(made: &Path, folder: &Folder) -> std::io::Result<()> {
    let mut log = made.as_os_str().to_owned();
    log.push("-wal");
    if std::fs::metadata(PathBuf::from(log)).is_ok_and(|m| m.len() > 0) {
        return Err(std::io::Error::other("the new store was not closed cleanly; start again"));
    }
    // Of two first starts at once, the second one must not replace the store of the first: a link does not overwrite.
    std::fs::hard_link(made, folder.store())?;
    std::fs::remove_file(made)?;
    std::fs::File::open(folder.path())?.sync_all()
}

/// Removes a database file that was not finished, with what belongs to it.
pub fn remove_database(path: &Path) {
    for ending in ["", "-wal", "-shm"] {
        let mut name = path.as_os_str().to_owned();
        name.push(ending);
        let _ = std::fs::remove_file(PathBuf::from(name));
    }
}

/// The passphrase of the root of trust, from the file that the environment names.
pub fn root_passphrase() -> Result<Option<SecretBytes>, BootError> {
    let Some(path) = std::env::var_os("KEYARK_ROOT_PASSPHRASE_FILE").map(PathBuf::from) else { return Ok(None) };
    let mut bytes = std::fs::read(&path).map_err(|source| BootError::Io { path, source })?;
    while bytes.last().is_some_and(|b| b.is_ascii_whitespace()) {
        bytes.pop();
    }
    Ok(Some(SecretBytes::new(bytes)))
}

/// The anchor of a system whose every archive was signed by one key.
fn first_anchor(store: &Store, signer: &Signer) -> Anchor {
    let identity = store.identity();
    Anchor::new(vec![AnchorKey::pinned(identity.system, identity.incarnation, &signer.public(), 0)])
}

/// A first password: 128 random bits in lower-case hexadecimal, in groups.
pub fn first_password_new() -> Secret<String> {
    let bytes = random::secret::<16>();
    let groups: Vec<String> =
        bytes.expose().chunks(4).map(|c| c.iter().map(|b| format!("{b:02x}")).collect()).collect();
    Secret::new(groups.join("-"))
}

/// Everything that a system needs before its first request.
fn first_records(
    store: &Store,
    system: SystemId,
    root: &dyn RootOfTrust,
    now: Time,
) -> Result<Secret<String>, BootError> {
    let mkek = Mkek::generate(system);
    let mut changes = vec![Core::kek_write(Core::new_id(now), 1, &mkek.header(root, now)?)?];
    let keyring = Keyring::new(mkek);
    for owner in [KekOwner::Local, KekOwner::Domain(DomainId::ROOT)] {
        let kek = Arc::new(Kek::generate(1));
        let header = keyring.mkek.kek_header(owner, &kek, SEALS_FIRST, true, now);
        changes.push(Core::kek_write(Core::new_id(now), 1, &header)?);
        keyring.add(owner, kek, 0, true);
        keyring.reserved(owner, 1, SEALS_FIRST);
    }
    let authority = tls::authority_new(now, &system.to_string())?;
    let jwt = random::secret::<32>();
    let signer = Signer::generate();
    let password = first_password_new();
    let anchor = first_anchor(store, &signer);
    let jwt_key = Secret::new(*jwt.expose());
    let core =
        Core::new(store.clone(), keyring, jwt_key, Signer::from_seed(Secret::new(*signer.seed().expose()))?, anchor);
    let node = |name: &str, public: String, secret: &[u8]| -> Result<Write, AppError> {
        core.put(DomainId::ROOT, Core::new_id(now), 1, &NodeHeader { name: name.into(), public }, secret)
    };
    changes.push(node("jwt", String::new(), jwt.expose())?);
    changes.push(node("signing", String::new(), signer.seed().expose())?);
    changes.push(node("authority", authority.certificate.clone(), authority.key.expose())?);
    let anchor = serde_json::to_value(&core.anchor).map_err(AppError::internal)?;
    let setting = SettingHeader { name: "anchor".into(), value: anchor };
    changes.push(core.put(DomainId::ROOT, Core::new_id(now), 1, &setting, b"")?);
    changes.push(core.put(DomainId::ROOT, Id(DomainId::ROOT.0), 1, &DomainHeader::new("root", now), b"")?);
    changes.push(default_instance(&core, now)?);
    let admin = Core::new_id(now);
    let mut header = UserHeader::new("admin", now);
    header.password_change_required = true;
    header.first_password_until = Some(now.plus_seconds(FIRST_PASSWORD_HOURS * 3600));
    let verifier = password::hash(&SecretBytes::new(password.expose().clone().into_bytes()));
    changes.push(core.put(DomainId::ROOT, admin, 1, &header, verifier.as_bytes())?);
    changes.extend(groups_built_in(&core, DomainId::ROOT, &[admin], now)?);
    let entry = Draft {
        domain: DomainId::ROOT,
        actor: "system".into(),
        request_id: String::new(),
        action: "system_start".into(),
        target: system.to_string(),
        outcome: Outcome::Success,
        changes,
    };
    store.commit(Batch { must: vec![], entries: vec![entry] }, now)?;
    Ok(password)
}

/// Opens every key that a store holds.
pub fn open(store: Store, root: &dyn RootOfTrust) -> Result<Core, BootError> {
    let system = store.identity().system;
    let mut keks: Vec<(DomainId, KekHeader)> = Vec::new();
    for domain in store.domains()? {
        store.scan(domain, Kind::Kek, |record| {
            // A header that does not parse is found below as a missing KEK.
            keks.extend(serde_json::from_slice(record.header).ok().map(|h| (domain, h)));
            ControlFlow::Continue(())
        })?;
    }
    let (_, mkek) = keks.iter().find(|(_, h)| h.purpose == "mkek").ok_or(BootError::Incomplete("its MKEK"))?;
    let keyring = Keyring::new(Mkek::unwrap(system, root, &decode(&mkek.wrapped)?)?);
    keks.sort_by_key(|(_, h)| h.generation);
    for (domain, header) in &keks {
        let owner = match header.purpose.as_str() {
            "local-kek" => KekOwner::Local,
            "kek" => KekOwner::Domain(*domain),
            _ => continue,
        };
        let kek = keyring.mkek.unwrap_kek(owner, header.generation, &decode(&header.wrapped)?)?;
        keyring.add(owner, Arc::new(kek), header.reserved, header.current);
    }
    // Node secrets are read through a core whose own secrets are not known yet.
    let placeholder = Signer::from_seed(random::secret())?;
    let anchor = first_anchor(&store, &placeholder);
    let mut core = Core::new(store, keyring, random::secret(), placeholder, anchor);
    let secret = |core: &Core, name: &'static str| -> Result<Key256, BootError> {
        let stored = core.load_named::<NodeHeader>(DomainId::ROOT, name).map_err(|_| BootError::Incomplete(name))?;
        Ok(Key256::from_slice(core.open_body(&stored)?.expose()).ok_or(keyark_crypto::CryptoError)?)
    };
    core.jwt_key = secret(&core, "jwt")?;
    core.signer = Signer::from_seed(secret(&core, "signing")?)?;
    let anchor =
        core.load_named::<SettingHeader>(DomainId::ROOT, "anchor").map_err(|_| BootError::Incomplete("anchor"))?;
    core.open_body(&anchor)?;
    core.anchor = serde_json::from_value(anchor.header.value).map_err(AppError::internal)?;
    Ok(core)
}

/// The server certificate of this start, signed by the stored local CA.
pub fn tls_identity(core: &Core, settings: &Settings, now: Time) -> Result<(String, tls::Identity), BootError> {
    let stored = core.load_named::<NodeHeader>(DomainId::ROOT, "authority")?;
    let authority = tls::Identity { certificate: stored.header.public.clone(), key: core.open_body(&stored)? };
    let mut names: Vec<String> = ["localhost", "127.0.0.1", "::1"].map(String::from).to_vec();
    if !settings.listen.ip().is_unspecified() {
        names.push(settings.listen.ip().to_string());
    }
    names.extend(settings.names.iter().cloned());
    names.sort();
    names.dedup();
    let server = tls::server_new(&authority, &core.system.to_string(), now, &names)?;
    Ok((authority.certificate, server))
}
