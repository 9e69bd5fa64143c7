//! What callers feel of a backup: latency at half of the peak, with backups running all the time and without.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Sender, channel};
use std::time::Duration;

use serde_json::{Value, json};

use crate::bench::Bench;
use crate::client::{request, unexpected};
use crate::figures::{Figure, Outcome, Target, median, number};
use crate::load::Work;
use crate::open_loop::{Line, Paced, run};

/// Runs of each sort; what is reported is the median.
const RUNS: usize = 5;
/// How often it is asked whether a backup has ended.
const POLL: Duration = Duration::from_millis(5);

/// The figures of encryption and of creation.
pub fn foreground(bench: &Bench) -> Outcome {
    let key = json!({ "scope": "system", "isDefault": true });
    bench.call("POST", "/v1/backupkeys", &bench.token()?, &key)?;
    figure(bench, "encrypt 32 B", Bench::encrypting)?;
    figure(bench, "create keys", Bench::creating)?;
    protected(bench)
}

/// The same with everything sent to a folder every second, and without.
fn protected(bench: &Bench) -> Outcome {
    let (length, address) = (bench.slice / 2, bench.dial.address);
    let works: [(&str, Make); 2] = [("encrypt 32 B", Bench::encrypting), ("create keys", Bench::creating)];
    let mut peaks = Vec::new();
    for (_, work) in works {
        peaks.push(run(address, None, length, &work(bench, &bench.token()?))?.per_second);
    }
    let measured = || -> Outcome<Vec<f64>> {
        let mut all = Vec::new();
        for ((_, work), peak) in works.iter().zip(&peaks) {
            let work = work(bench, &bench.token()?);
            let p99 = |_| Ok(run(address, Some(peak / 2.0), length, &work)?.p99);
            all.push(median((0..RUNS).map(p99).collect::<Outcome<Vec<_>>>()?));
        }
        Ok(all)
    };
    let without = measured()?;
    let there = bench.folder.path().join("there");
    std::fs::create_dir(&there)?;
    let token = bench.token()?;
    let call = |path: &str, body: Value| bench.call("POST", path, &token, &body);
    call("/v1/destinations", json!({ "name": "there", "path": there }))?;
    let made = call("/v1/backup-instances", json!({ "type": "system", "alias": "all" }))?;
    let path = format!("/v1/backup-instances/{}", made["id"].as_str().ok_or("an instance without an id")?);
    call(&format!("{path}/enable"), json!({ "destinations": ["there"], "interval": 1 }))?;
    while bench.call("GET", &path, &token, &Value::Null)?["protectedUntil"].is_null() {
        std::thread::sleep(POLL);
    }
    for (((what, _), with), without) in works.iter().zip(measured()?).zip(without) {
        Figure::new(format!("{what} at half of the peak while everything is protected: p99"), with, "ms")
            .note(format!("{} keys, sent every second", bench.count()))
            .limit(without, "unprotected")
            .target(Target::Ratio(1.5))
            .print();
    }
    Ok(())
}

/// Makes a sort of requests under a token.
type Make = fn(&Bench, &str) -> Work;

fn figure(bench: &Bench, what: &str, work: Make) -> Outcome {
    let length = bench.slice / 2;
    let address = bench.dial.address;
    let peak = run(address, None, length, &work(bench, &bench.token()?))?.per_second;
    let (mut without, mut with, mut backups) = (Vec::new(), Vec::new(), 0);
    for _ in 0..RUNS {
        let token = bench.token()?;
        let work = work(bench, &token);
        without.push(run(address, Some(peak / 2.0), length, &work)?.p99);
        let (paced, taken) = during_backups(address, &token, || run(address, Some(peak / 2.0), length, &work))?;
        with.push(paced.p99);
        backups += taken.len();
        for id in taken {
            bench.call("DELETE", &format!("/v1/backups/{id}"), &token, &Value::Null)?;
        }
    }
    Figure::new(format!("{what} at half of the peak while backups run: p99"), median(with), "ms")
        .note(format!("{}/s, {backups} backups of {} keys", number(peak / 2.0), bench.count()))
        .limit(median(without), "without a backup")
        .target(Target::Ratio(2.0))
        .print();
    Ok(())
}

/// Does `work` while one backup after the other is taken; the last one ends after it. Gives their ids.
fn during_backups(
    address: SocketAddr,
    token: &str,
    work: impl FnOnce() -> Outcome<Paced>,
) -> Outcome<(Paced, Vec<String>)> {
    let stop = AtomicBool::new(false);
    let (tell, told) = channel();
    std::thread::scope(|scope| -> Outcome<(Paced, Vec<String>)> {
        let backups = scope.spawn(|| take_backups(address, token, &stop, tell));
        // An error here means that the thread has ended; why, it says when it is joined.
        let worked = told.recv().ok().map(|()| work());
        stop.store(true, Ordering::Relaxed);
        let taken = backups.join().map_err(|_| "the thread that takes backups panicked")??;
        Ok((worked.ok_or("no backup began")??, taken))
    })
}

fn take_backups(address: SocketAddr, token: &str, stop: &AtomicBool, tell: Sender<()>) -> Outcome<Vec<String>> {
    let mut line = Line::open(address)?;
    let mut taken = Vec::new();
    loop {
        let order = request("POST", "/v1/backups", token, r#"{"scope":"system"}"#);
        let begun: Value = match line.send(&order)? {
            (202, body) => serde_json::from_slice(body)?,
            // Completed is said a moment before the next operation may begin.
            (409, _) => {
                std::thread::sleep(POLL);
                continue;
            }
            (status, body) => return Err(unexpected(status, body)),
        };
        let id = begun["id"].as_str().ok_or("a backup without an id")?.to_owned();
        // Only the first one is waited for.
        let _ = tell.send(());
        let order = request("GET", &format!("/v1/backups/{id}"), token, "");
        loop {
            let (status, body) = line.send(&order)?;
            let shown: Value = serde_json::from_slice(body)?;
            match shown["status"].as_str() {
                Some("Completed") => break,
                Some("In Progress") => std::thread::sleep(POLL),
                _ => return Err(unexpected(status, body)),
            }
        }
        taken.push(id);
        if stop.load(Ordering::Relaxed) {
            return Ok(taken);
        }
    }
}
