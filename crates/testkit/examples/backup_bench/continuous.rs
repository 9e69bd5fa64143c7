//! Protection under load: how old the newest protected change is, what a day of shipping leaves behind, what proving it costs.

use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use keyark_backup::destination::local::Local;
use keyark_backup::destination::memory::Memory;
use keyark_backup::destination::{Destination, list_all};
use keyark_backup::stream::Shipper;
use keyark_model::{Id, Time};
use keyark_testkit::distance::distance;
use keyark_testkit::s3::{self, S3Server};
use uuid::Uuid;

use crate::base::{Base, NOW};
use crate::figures::{Figure, Outcome, Target, number};

/// Changes a second, and how they come: so many at a time.
const PACE: u64 = 2_000;
const AT_ONCE: u64 = 20;
/// Between two looks for what is new; a second is the shortest that can be set.
const INTERVAL: Duration = Duration::from_secs(1);
const RUN: Duration = Duration::from_secs(4);
/// How often the age is looked at.
const SAMPLE: Duration = Duration::from_millis(5);
/// The round trip to a server that is far away.
const FAR: Duration = Duration::from_millis(20);

/// When which entry was committed.
type Commits = Mutex<Vec<(u64, Instant)>>;

/// The age of the newest protected change, at a folder here and at a bucket far away.
pub fn age(base: &Base, folder: &Path, spool: &Path) -> Outcome {
    let there = folder.join("age");
    std::fs::create_dir(&there)?;
    age_at(base, "a local folder", &Local::open(&there)?, spool, 100)?;
    std::fs::remove_dir_all(&there)?;
    let server = S3Server::start();
    let port = server.endpoint.rsplit(':').next().and_then(|port| port.parse().ok()).ok_or("no port")?;
    let far = format!("http://127.0.0.1:{}", distance(port, FAR));
    let bucket = server.open_at(&far, s3::BUCKET, "", s3::ACCESS);
    age_at(base, "an S3 server 20 ms away", &bucket, spool, 101)
}

fn age_at(base: &Base, what: &str, place: &dyn Destination, spool: &Path, stream: u128) -> Outcome {
    let mut ages = under_load(base, place, spool, Uuid::from_u128(stream))?;
    ages.sort_by(f64::total_cmp);
    let p99 = ages.get(ages.len() * 99 / 100).copied().ok_or("no age was looked at")?;
    Figure::new(format!("age of the newest protected change at {PACE} changes/s, {what}: p99"), p99, "s")
        .note(format!("{} at most", number(ages.last().copied().unwrap_or_default())))
        .limit(INTERVAL.as_secs_f64(), "the interval")
        .target(Target::Ratio(2.0))
        .print();
    Ok(())
}

fn under_load(base: &Base, place: &dyn Destination, spool: &Path, stream: Uuid) -> Outcome<Vec<f64>> {
    let mut shipper = Shipper::default();
    base.ship(&mut shipper, stream, place, spool, NOW)?;
    let (commits, ended): (Commits, _) = (Mutex::default(), AtomicBool::new(false));
    let protected = AtomicU64::new(base.store.head().seq);
    let begun = Instant::now();
    let now = || Time(NOW.0 + begun.elapsed().as_micros() as i64);
    std::thread::scope(|scope| -> Outcome<Vec<f64>> {
        let writer = scope.spawn(|| -> Outcome {
            let mut after: Option<Id> = None;
            for n in 0_u64.. {
                let due = begun + Duration::from_micros(n * AT_ONCE * 1_000_000 / PACE);
                std::thread::sleep(due.saturating_duration_since(Instant::now()));
                if due >= begun + RUN {
                    break;
                }
                after = base.change(after, AT_ONCE, now())?.0;
                commits.lock().expect("no panic while held").push((base.store.head().seq, Instant::now()));
            }
            Ok(())
        });
        let ships = scope.spawn(|| -> Outcome {
            while !ended.load(Ordering::Acquire) {
                let look = Instant::now();
                let head = base.store.head().seq;
                base.ship(&mut shipper, stream, place, spool, now())?;
                protected.store(head, Ordering::Release);
                std::thread::sleep((look + INTERVAL).saturating_duration_since(Instant::now()));
            }
            Ok(())
        });
        let mut ages = Vec::new();
        while !writer.is_finished() {
            std::thread::sleep(SAMPLE);
            let held = commits.lock().expect("no panic while held");
            let upto = protected.load(Ordering::Acquire);
            let newest = held.partition_point(|(seq, _)| *seq <= upto).checked_sub(1).map(|at| held[at].1);
            ages.extend(newest.map(|at| at.elapsed().as_secs_f64()));
        }
        ended.store(true, Ordering::Release);
        writer.join().map_err(|_| "the thread that writes panicked")??;
        ships.join().map_err(|_| "the thread that ships panicked")??;
        Ok(ages)
    })
}

/// What a day leaves behind at one change a second, and at many; the clock is a parameter.
pub fn day(base: &Base, spool: &Path) -> Outcome {
    for (n, (pace, steps)) in [(1_u64, 720_u64), (PACE, 6)].into_iter().enumerate() {
        let (place, mut shipper) = (Memory::default(), Shipper::default());
        let stream = Uuid::from_u128(200 + n as u128);
        base.ship(&mut shipper, stream, &place, spool, NOW)?;
        let (mut after, mut entries, mut objects) = (None, 0, 0);
        for step in 1..=steps {
            let now = NOW.plus_seconds(5 * step as i64);
            let mut left = 5 * pace;
            while left > 0 {
                let (next, changed) = base.change(after, left.min(200), now)?;
                (after, left) = (next, left - changed.min(left));
            }
            let told = base.ship(&mut shipper, stream, &place, spool, now)?;
            (entries, objects) = (entries + told.entries, objects + told.objects);
        }
        let logs: Vec<_> = list_all(&place, "")?.into_iter().filter(|f| f.name.contains("/log/")).collect();
        let all: u64 = logs.iter().map(|f| f.size).sum();
        let first: u64 = logs.iter().filter(|f| f.name.contains("/log/00/")).map(|f| f.size).sum();
        Figure::new(
            format!("shipping at {pace} changes/s every 5 s: objects a day"),
            (objects * 17_280 / steps) as f64,
            "",
        )
        .print();
        Figure::new(
            format!("shipping at {pace} changes/s every 5 s: bytes a change"),
            all as f64 / entries as f64,
            "B",
        )
        .limit(first as f64 / entries as f64, "before merging")
        .print();
    }
    Ok(())
}
