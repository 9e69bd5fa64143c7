//! Measures object stores, backup, restore and archives: `backup_bench [KEYS] [--seconds S]`; past 10 000 keys, growth too.

mod base;
mod clock;
mod continuous;
#[path = "../figures/mod.rs"]
mod figures;
mod least;
mod objects;
mod proofs;
mod raw;
mod sftp;
mod streams;
mod verbs;

use std::path::{Path, PathBuf};
use std::time::Duration;

use base::Base;
use clock::{Spent, repeated};
use figures::{Figure, Order, Outcome, Target, memory, number};

/// What a larger run is compared with.
const SMALL: u64 = 10_000;

/// Seconds for one key.
struct PerKey {
    keys: u64,
    backup: f64,
    restore: f64,
    verify: f64,
}

fn main() -> Outcome {
    let order = Order::read()?;
    if let Some(task) = order.options.get("prove") {
        return proofs::run(task);
    }
    figures::start("backup_bench", &order)?;
    let seconds = order.seconds(8.0)?;
    let folder = figures::folder()?;
    objects::run(folder.path(), if order.keys <= SMALL { 64 } else { 256 })?;
    if order.keys <= SMALL {
        run(order.keys, seconds / 5)?;
        return Ok(());
    }
    let small = run(SMALL, seconds / 10)?;
    let large = run(order.keys, seconds / 10)?;
    for (verb, now, before) in [
        ("backup", large.backup, small.backup),
        ("restore", large.restore, small.restore),
        ("verify", large.verify, small.verify),
    ] {
        Figure::new(format!("{verb}: time a key at {} keys", large.keys), now * 1e6, "µs")
            .limit(before * 1e6, "at 10 000 keys")
            .target(Target::Ratio(1.3))
            .print();
    }
    Ok(())
}

/// All figures at one size; each verb is repeated while its budget lasts.
fn run(keys: u64, budget: Duration) -> Outcome<PerKey> {
    let folder = figures::folder()?;
    let folder = folder.path();
    let base = Base::make(folder, keys)?;
    let (archive, backup) = backup(&base, folder, budget)?;
    let verify = verify(&base, &archive, budget)?;
    one_key(&base, &archive, budget)?;
    let restore = restore(&base, &archive, folder, budget)?;
    streams::run(&base, folder, restore)?;
    let per = |spent: Spent| spent.wall / keys as f64;
    Ok(PerKey { keys, backup: per(backup), restore: per(restore), verify: per(verify) })
}

fn note(spent: Spent) -> String {
    format!("{} s CPU", number(spent.cpu))
}

fn backup(base: &Base, folder: &Path, budget: Duration) -> Outcome<(PathBuf, Spent)> {
    let keys = base.keys;
    let resident = peak_reset()?;
    let (path, taken) = repeated(budget, |n| {
        let path = Base::archive(folder, n);
        // The one before has made room: only the last is read afterwards.
        if n > 0 {
            std::fs::remove_file(Base::archive(folder, n - 1))?;
        }
        let spent = base.take(&path)?;
        Ok((path, spent))
    })?;
    let highest = memory(std::process::id(), "VmHWM")?;
    let (raw, both) = repeated(budget, |_| {
        let raw = raw::backup(&base.store, &folder.join("raw"))?;
        let both = Spent { wall: raw.write.wall + raw.read.wall, cpu: raw.write.cpu + raw.read.cpu };
        Ok((raw, both))
    })?;
    Figure::new(format!("full backup of {keys} keys, read back"), taken.wall, "s")
        .note(note(taken))
        .limit(both.wall, "the raw steps on one thread")
        .target(Target::Ratio(1.3))
        .print();
    Figure::new(format!("full backup of {keys} keys: processor time"), taken.cpu, "s")
        .limit(both.cpu, "the raw steps on one thread")
        .print();
    Figure::new(format!("backup of {keys} keys: memory at most"), highest, "MiB")
        .limit(resident, "before it began")
        .target(Target::AtMost(256.0))
        .print();
    let bytes = std::fs::metadata(&path)?.len();
    Figure::new(format!("archive of {keys} keys: bytes a key"), bytes as f64 / keys as f64, "B")
        .limit(raw.stored as f64 / keys as f64, "the raw steps")
        .target(Target::AtMost(300.0))
        .print();
    let rate = |seconds: f64| bytes as f64 / 1e9 / seconds;
    let (_, full) = repeated(budget, |_| Ok(((), base.verify_full(&path)?)))?;
    Figure::new(
        format!("verify all of an archive of {keys} keys, with decompression and counts"),
        rate(full.wall),
        "GB/s",
    )
    .note(note(full))
    .limit(raw.stored as f64 / 1e9 / raw.read.wall, "raw read, hash, open, inflate")
    .target(Target::AtLeast(0.4))
    .print();
    Ok((path, taken))
}

fn verify(base: &Base, archive: &Path, budget: Duration) -> Outcome<Spent> {
    let bytes = std::fs::metadata(archive)?.len();
    let (_, verified) = repeated(budget, |_| Ok(((), base.verify(archive)?)))?;
    let rate = |seconds: f64| bytes as f64 / 1e9 / seconds;
    Figure::new(format!("verify signature and hash of an archive of {} keys", base.keys), rate(verified.wall), "GB/s")
        .limit(rate(verbs::read_and_hash(archive, bytes)?), "read and SHA-256")
        .target(Target::AtLeast(1.0))
        .print();
    Ok(verified)
}

fn one_key(base: &Base, archive: &Path, budget: Duration) -> Outcome {
    let ((read, least), found) = repeated(budget, |_| base.one_key(archive))?;
    Figure::new(format!("one key by id out of {} keys, archive closed before", base.keys), found.wall * 1e3, "ms")
        .limit(verbs::read_and_hash(archive, least)? * 1e3, "reading and hashing as many bytes")
        .target(Target::AtMost(20.0))
        .print();
    Figure::new(format!("one key by id out of {} keys: bytes read", base.keys), read as f64 / 1e3, "kB")
        .limit(least as f64 / 1e3, "both ends, and the segments over index, KEK and key")
        .target(Target::Ratio(1.01))
        .print();
    Ok(())
}

fn restore(base: &Base, archive: &Path, folder: &Path, budget: Duration) -> Outcome<Spent> {
    let keys = base.keys;
    let resident = peak_reset()?;
    let (_, restored) = repeated(budget, |n| Ok(((), base.restore(archive, &folder.join(format!("{n}.db")))?)))?;
    let highest = memory(std::process::id(), "VmHWM")?;
    let (_, raw) = repeated(budget, |_| {
        let wall = raw::load(&base.store, &folder.join("raw.db"))?;
        Ok(((), Spent { wall, cpu: 0.0 }))
    })?;
    Figure::new(format!("full restore of {keys} keys to the first decryption"), restored.wall, "s")
        .note(note(restored))
        .limit(raw.wall, "raw SQLite load of the same tables")
        .target(Target::Ratio(1.8))
        .print();
    Figure::new(format!("restore of {keys} keys: memory at most"), highest, "MiB")
        .limit(resident, "before it began")
        .target(Target::AtMost(256.0))
        .print();
    Ok(restored)
}

/// Starts the count of the highest memory anew where the kernel allows it; gives what is resident now, in MiB.
pub fn peak_reset() -> Outcome<f64> {
    // Refused: the peak is that of everything before, so the figure is only too large.
    let _ = std::fs::write("/proc/self/clear_refs", "5");
    memory(std::process::id(), "VmRSS")
}
