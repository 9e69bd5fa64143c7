//! What proving a stream costs: every byte verified, and a drill, in a process that holds nothing else.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use keyark_archive::Anchor;
use keyark_backup::Progress;
use keyark_backup::destination::local::Local;
use keyark_backup::drill::{Drill, drill};
use keyark_backup::stream::verify::{Depth, verify};
use keyark_backup::stream::{Opener, StreamPlace, Until, point};
use keyark_crypto::Key256;
use keyark_model::{Id, Incarnation, SystemId};
use uuid::Uuid;

use crate::base::Base;
use crate::clock::timed;
use crate::figures::{Figure, Outcome, Target, memory, number};
use crate::peak_reset;

/// What is proven, for the process that does it.
#[derive(serde::Serialize, serde::Deserialize)]
struct Task {
    keys: u64,
    /// Of these, after all of them had changed.
    deleted: u64,
    there: PathBuf,
    spool: PathBuf,
    system: SystemId,
    incarnation: Incarnation,
    stream: Uuid,
    anchor: Anchor,
    backup_key: Id,
    material: [u8; 32],
}

/// Has a process of its own prove the newest point of a stream in a folder; it prints its figures among ours.
pub fn apart(base: &Base, deleted: u64, there: &Path, at: &StreamPlace, spool: &Path) -> Outcome {
    let task = Task {
        keys: base.keys,
        deleted,
        there: there.into(),
        spool: spool.into(),
        system: at.system,
        incarnation: at.incarnation,
        stream: at.stream,
        anchor: base.anchor.clone(),
        backup_key: base.backup_key,
        material: *base.backup_key_material.expose(),
    };
    let file = spool.join("task.json");
    std::fs::write(&file, serde_json::to_vec(&task)?)?;
    std::io::stdout().flush()?;
    let status = Command::new(std::env::current_exe()?).arg("--prove").arg(&file).status()?;
    std::fs::remove_file(&file)?;
    if status.success() { Ok(()) } else { Err("the proofs failed".into()) }
}

/// The process's own work.
pub fn run(task: &str) -> Outcome {
    let task: Task = serde_json::from_slice(&std::fs::read(task)?)?;
    let (keys, deleted, place) = (task.keys, task.deleted, Local::open(&task.there)?);
    let stream = StreamPlace { system: task.system, incarnation: task.incarnation, stream: task.stream };
    let opener = Opener::with_key(&place, &task.anchor, (task.backup_key, &Key256::new(task.material)));
    let resident = peak_reset()?;
    let (told, spent) = timed(|| Ok(verify(&opener, &stream, Depth::Full, None, &Progress::default())?))?;
    if let Some(found) = told.findings.first() {
        return Err(format!("{}: {}", found.object, found.what).into());
    }
    let rate = told.read_bytes as f64 / 1e6 / spent.wall;
    Figure::new(format!("verify a stream of {keys} keys: every byte of {} objects", told.read_objects), rate, "MB/s")
        .note(format!("{} s CPU", number(spent.cpu)))
        .print();
    peak(&format!("verify a stream of {keys} keys"), resident)?;
    let (resident, mut opened) = (peak_reset()?, 0.0);
    let (report, spent) = timed(|| {
        let begun = Instant::now();
        let point = point::open(&opener, &stream, Until::Newest, &task.spool)?;
        opened = memory(std::process::id(), "VmHWM")?;
        let elapsed = || begun.elapsed().as_millis() as u64;
        let order = Drill {
            point: &point,
            destination: String::new(),
            asked: None,
            protected_until: point.time,
            started_at: point.time,
            elapsed: &elapsed,
        };
        Ok(drill(&order, &Progress::default())?)
    })?;
    if !report.store_built || report.keys_proven == 0 {
        return Err("the drill proved nothing".into());
    }
    Figure::new(
        format!("drill of the newest point of {keys} keys, {deleted} deleted since: keys a second"),
        keys as f64 / spent.wall,
        "/s",
    )
    .note(format!(
        "{} s, {} s CPU; {} MiB at most until the point was there",
        number(spent.wall),
        number(spent.cpu),
        number(opened)
    ))
    .print();
    peak(&format!("drill of {keys} keys"), resident)
}

fn peak(what: &str, resident: f64) -> Outcome {
    Figure::new(format!("{what}: memory at most"), memory(std::process::id(), "VmHWM")?, "MiB")
        .limit(resident, "before it began")
        .target(Target::AtMost(256.0))
        .print();
    Ok(())
}
