//! Replacing the whole system: built beside the running one, verified, switched to by one rename.

use std::sync::Arc;
use std::time::{Duration, Instant};

use keyark_api::ErrorCode;
use keyark_api::backups::RestorePlan;
use keyark_archive::AnchorKey;
use keyark_backup::Progress;
use keyark_backup::restore_system::{Extra, SystemRestore, SystemRestoreError, build};
use keyark_crypto::hash::sha256;
use keyark_crypto::random;
use keyark_crypto::root::FileRoot;
use keyark_model::system::{BackupHeader, BackupKeyHeader, BackupStatus, JobHeader, NodeHeader, SettingHeader};
use keyark_model::{DomainId, Id, Kind, Time};
use keyark_store::{Options, Store, failpoint};

use super::asked::Asked;
use crate::app::App;
use crate::app::core::Core;
use crate::app::error::{AppError, Result};
use crate::app::records::{Header, Stored};
use crate::app::system::{KEPT, OUTBOUND};
use crate::boot::{self, BootError};

/// How long requests under way may keep the old store open.
const DRAIN: Duration = Duration::from_secs(30);

impl From<SystemRestoreError> for AppError {
    fn from(e: SystemRestoreError) -> Self {
        let code = match e {
            SystemRestoreError::Source(e) => return e.into(),
            SystemRestoreError::WrongScope => ErrorCode::WrongScope,
            SystemRestoreError::Digest(_) | SystemRestoreError::Key(_) => ErrorCode::ArchiveDamaged,
            SystemRestoreError::Cancelled(_) => ErrorCode::Cancelled,
            SystemRestoreError::Load(keyark_store::LoadError::Fault(e)) => return e.into(),
            e => return AppError::internal(e),
        };
        AppError::new(code, e.to_string())
    }
}

impl From<BootError> for AppError {
    fn from(e: BootError) -> Self {
        match e {
            BootError::App(e) => e,
            other => AppError::internal(other),
        }
    }
}

/// What is carried over from a running system because no archive holds it.
pub struct Carried {
    pub extras: Vec<Extra>,
    /// For people: what and how many.
    pub listed: Vec<String>,
}

fn carry<H: Header>(core: &Core, stored: &Stored<H>) -> Result<Extra> {
    Ok(Extra {
        kind: H::KIND,
        id: stored.id(),
        revision: stored.revision(),
        time: stored.record.time,
        header: stored.record.header.to_vec(),
        body: core.open_body(stored)?,
    })
}

/// Backup keys, the catalogue, this server's own secrets. Sessions end, and the JWT key is new.
pub fn carried_over(core: &Core, now: Time) -> Result<Carried> {
    let mut carried = Carried { extras: Vec::new(), listed: Vec::new() };
    let keys = core.load_all::<BackupKeyHeader>(DomainId::ROOT)?;
    carried.listed.push(format!("{} backup keys", keys.len()));
    for key in &keys {
        carried.extras.push(carry(core, key)?);
    }
    let mut backups = core.load_all::<BackupHeader>(DomainId::ROOT)?;
    backups.retain(|b| b.header.status != BackupStatus::InProgress);
    carried.listed.push(format!("the catalogue of {} backups", backups.len()));
    for backup in &backups {
        carried.extras.push(carry(core, backup)?);
    }
    let mut jobs = core.load_all::<JobHeader>(DomainId::ROOT)?;
    jobs.retain(|j| j.header.status != BackupStatus::InProgress);
    carried.listed.push(format!("{} jobs that ended, and the audit log since the point", jobs.len()));
    for job in &jobs {
        carried.extras.push(carry(core, job)?);
    }
    for node in core.load_all::<NodeHeader>(DomainId::ROOT)? {
        let what = match node.header.name.as_str() {
            "authority" => "certificates".into(),
            "signing" => "signing key".into(),
            // So hosts that know it still let this system in.
            name if name.starts_with("ssh") => format!("SSH key ({name})"),
            _ => continue,
        };
        carried.listed.push(format!("this server's {what}"));
        carried.extras.push(carry(core, &node)?);
    }
    carried.extras.extend(made_new(now)?);
    carried.listed.push("made new: MKEK, key-encryption keys, token key; all sessions end".into());
    Ok(carried)
}

/// What every restored system gets fresh: the token key, and the mark that nothing goes out yet.
pub fn made_new(now: Time) -> Result<Vec<Extra>> {
    let node = |name: &str, public: &str, body: &[u8]| -> Result<Extra> {
        let header = NodeHeader { name: name.into(), public: public.into() };
        Ok(Extra {
            kind: Kind::Node,
            id: Core::new_id(now),
            revision: 1,
            time: now,
            header: serde_json::to_vec(&header).map_err(AppError::internal)?,
            body: keyark_crypto::SecretBytes::new(body.to_vec()),
        })
    };
    Ok(vec![node("jwt", "", random::secret::<32>().expose())?, node(OUTBOUND, "suspended", b"")?])
}

/// What a system restore would do.
pub(super) fn system_plan(asked: &Asked) -> Result<RestorePlan> {
    let (facts, not_looked_into) = asked.facts(None)?;
    let carried = carried_over(&asked.core, asked.app.now())?;
    asked.with_links(|links| {
        let archive = links.last().unlocked.archive();
        let (mut kept, mut left, mut found) = (0, 0, Vec::new());
        links.each_record::<AppError>(|r, _| {
            let (ruling, mut facts) = facts.rule(r.kind, r.id, r.header, &asked.options);
            match ruling {
                keyark_backup::facts::Ruling::Leave(_) => left += 1,
                _ => kept += 1,
            }
            found.append(&mut facts);
            Ok(())
        })?;
        let head = asked.core.store.head();
        let negative: Vec<serde_json::Value> =
            found.iter().map(|f| serde_json::to_value(f).unwrap_or_default()).collect();
        let summary = serde_json::json!([
            asked.backup.id(),
            archive.footer().body_sha256,
            asked.options,
            negative,
            not_looked_into
        ]);
        Ok(RestorePlan {
            digest: sha256(&[b"keyark/plan/1", summary.to_string().as_bytes()]).to_string(),
            backup: asked.backup.id().to_string(),
            scope: "system".into(),
            chain: asked.chain(),
            actions: [("create".to_owned(), kept), ("skip".to_owned(), left)].into(),
            total: kept + left,
            resources: vec![serde_json::json!({
                "replaces": { "incarnation": asked.core.incarnation, "position": head.seq.to_string() },
                "with": { "incarnation": archive.header().incarnation, "position": archive.header().positions.last },
            })],
            negative_facts: negative,
            not_looked_into,
            problems: Vec::new(),
            carried_over: carried.listed,
        })
    })
}

/// Replaces the system. The server answers 503 from the first step to the last; a failure brings the old one back.
pub(super) fn system_restore(
    asked: Asked,
    job: Id,
    mut header: JobHeader,
    digest: Option<&str>,
    progress: &Progress,
) -> Result<()> {
    let app = asked.app.clone();
    let checked = match digest {
        Some(wanted) => system_plan(&asked).and_then(|plan| match plan.digest == wanted {
            true => Ok(()),
            false => Err(AppError::new(ErrorCode::PlanChanged, "what the plan names has changed; make a new plan")),
        }),
        None => Ok(()),
    };
    let building = app.folder.path().join("store.db.restoring");
    boot::remove_database(&building);
    let built = checked.and_then(|()| {
        // From here on nothing is written any more that the restored system would not know.
        app.swap_core(None);
        app.running.cancel_beside();
        failpoint("system-closed");
        let (facts, not_looked_into) = asked.facts(None)?;
        let carried = carried_over(&asked.core, app.now())?;
        let root = root_of(&app)?;
        let built = asked.with_links(|links| {
            let restore = SystemRestore {
                links,
                root: &root,
                facts: &facts,
                options: &asked.options,
                extras: carried.extras,
                replaced: Some(&asked.core.store),
                now: app.now(),
            };
            Ok(build(&restore, &building, progress)?)
        })?;
        Ok((built, carried.listed, not_looked_into, root))
    });
    let (built, listed, not_looked_into, root) = match built {
        Ok(built) => built,
        Err(e) => {
            boot::remove_database(&building);
            app.swap_core(Some(asked.core.clone()));
            return asked.core.job_end(job, app.now(), Err(e), Vec::new());
        }
    };
    let anchor = asked.core.anchor.clone();
    let signer = keyark_crypto::sign::Signer::from_seed(keyark_crypto::Secret::new(*asked.core.signer.seed().expose()))
        .map_err(AppError::internal)?;
    let kept = app.folder.path().join(format!("{KEPT}{job}"));
    let chain = asked.chain();
    let Asked { core, .. } = asked;
    if let Err(still) = drain(core) {
        boot::remove_database(&building);
        app.swap_core(Some(still.clone()));
        let e = AppError::conflict("requests under way did not end; the system is as it was, try again");
        return still.job_end(job, app.now(), Err(e), Vec::new());
    }
    let switched = keyark_store::switch(&building, &app.folder.store(), &kept).map_err(AppError::internal);
    if let Err(e) = switched {
        boot::remove_database(&building);
        reopen(&app, &root)?;
        return app.core()?.job_end(job, app.now(), Err(e), Vec::new());
    }
    failpoint("system-switched");
    // Not in service yet: its anchor is not that of the new incarnation.
    let core = open(&app, &root)?;
    // The same key signs for the new incarnation, vouched for by itself: the anchor that people pinned stays good. A
    // system that came from elsewhere has no earlier key here that could vouch for it.
    let mut keys = anchor.keys;
    let next = AnchorKey::pinned(built.identity.system, built.identity.incarnation, &signer.public(), 0);
    let known = keys.iter().any(|k| k.system == built.identity.system);
    keys.push(if known { next.signed_by(&signer) } else { next });
    header.finished = Some(app.now());
    header.status = BackupStatus::Completed;
    header.result = serde_json::json!({
        "chain": chain,
        "records": built.loaded.records,
        "leftOut": built.left_out,
        "negativeFacts": built.negative_facts,
        "notLookedInto": not_looked_into,
        "carriedOver": listed,
        "kept": kept.file_name().map(|n| n.to_string_lossy().into_owned()),
        "outbound": "suspended",
    });
    // The first entry of the incarnation says what it continues and how it came about.
    let mut changes = core.reserve_first()?;
    changes.push(core.put(DomainId::ROOT, job, 1, &header, b"")?);
    changes.push(anchor_write(&core, keyark_archive::Anchor::new(keys))?);
    core.commit_as_system_on(app.now(), DomainId::ROOT, "system_restore", core.continues(), vec![], changes)?;
    drop(core);
    failpoint("system-ended");
    reopen(&app, &root)?;
    Ok(())
}

/// The write that stores an anchor.
pub fn anchor_write(core: &Core, anchor: keyark_archive::Anchor) -> Result<keyark_store::Write> {
    let stored = core.load_named::<SettingHeader>(DomainId::ROOT, "anchor")?;
    let value = serde_json::to_value(&anchor).map_err(AppError::internal)?;
    core.put_header(&stored, &SettingHeader { value, ..stored.header.clone() })
}

fn root_of(app: &App) -> Result<FileRoot> {
    Ok(FileRoot::open(&app.folder.root_key(), boot::root_passphrase()?.as_ref()).map_err(BootError::from)?)
}

/// Waits until nobody holds the old store open any more, then closes it; gives it back when somebody goes on.
fn drain(mut core: Arc<Core>) -> std::result::Result<(), Arc<Core>> {
    let until = Instant::now() + DRAIN;
    loop {
        match Arc::try_unwrap(core) {
            Ok(core) => {
                drop(core);
                return Ok(());
            }
            Err(still) if Instant::now() < until => {
                core = still;
                std::thread::sleep(Duration::from_millis(5));
            }
            Err(still) => return Err(still),
        }
    }
}

fn open(app: &App, root: &FileRoot) -> Result<Core> {
    let options = Options { reserve_bytes: app.settings.disk_reserve, ..Options::default() };
    let store = Store::open(&app.folder.store(), options).map_err(BootError::from)?;
    Ok(boot::open(store, root)?)
}

fn reopen(app: &App, root: &FileRoot) -> Result<()> {
    app.swap_core(Some(Arc::new(open(app, root)?)));
    Ok(())
}
