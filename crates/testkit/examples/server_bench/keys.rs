//! Keys over HTTP: durable creation into an empty store and on many, reading, listing, importing.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use crate::bench::{Bench, name};
use crate::client::request;
use crate::figures::{Figure, Outcome, Target};
use crate::limits::fsync;
use crate::load::{Bound, Load, Work};
use crate::stack::Floor;

const CLIENTS: usize = 16;
/// Keys made under one token while the store is filled: a slow disk still ends within its 300 s.
const FILL: u64 = 100_000;

/// The figures; gives the creation on many keys.
pub fn run(bench: &Bench, floor: &Floor) -> Outcome<Load> {
    let synced = fsync(bench.folder.path())?;
    let empty = bench.run(CLIENTS, &bench.creating(&bench.token()?))?;
    created("into an empty store", &empty, floor, synced, 12_000.0);
    while bench.count() < bench.keys {
        let bound = Bound::Count((bench.keys - bench.count()).min(FILL));
        let work = bench.creating(&bench.token()?);
        bench.run_against(&bench.dial, bench.server.pid(), 64, bound, &work)?;
    }
    let there = bench.count();
    let full = bench.run(CLIENTS, &bench.creating(&bench.token()?))?;
    created(&format!("on {there} keys"), &full, floor, synced, 9_000.0);
    Figure::new(format!("create on {there} keys: server CPU against an empty store"), full.cpu, "µs")
        .limit(empty.cpu, "into an empty store")
        .target(Target::Ratio(2.0))
        .print();

    let token = bench.token()?;
    let made = bench.made.load(Ordering::Relaxed);
    let reading = {
        let token = token.clone();
        Work::new(200, Arc::default(), move |n| {
            let path = format!("/v1/vault/keys2/{}", name(n.wrapping_mul(7919) % made));
            request("GET", &path, &token, "")
        })
    };
    let listing = Work::cycle(vec![request("GET", "/v1/vault/keys2?limit=10", &token, "")]);
    for (what, work) in [
        ("read a key by name", reading),
        ("list a page of 10 keys", listing),
        ("import a key, durable", bench.importing(&token)),
    ] {
        let load = bench.run(CLIENTS, &work)?;
        Figure::new(format!("{what}, {CLIENTS} clients: server CPU"), load.cpu, "µs")
            .note(load.note())
            .limit(floor.empty, "an empty request")
            .print();
    }
    Ok(full)
}

fn created(what: &str, load: &Load, floor: &Floor, synced: f64, least: f64) {
    let figure =
        |of: &str, value, unit| Figure::new(format!("create keys {what}, {CLIENTS} clients: {of}"), value, unit);
    figure("server CPU", load.cpu, "µs")
        .note(load.note())
        .limit(floor.empty, "an empty request")
        .target(Target::AtMost(75.0))
        .print();
    figure("rate", load.per_second, "/s")
        .limit(CLIENTS as f64 * 1e3 / synced, "one key of each client for each fsync")
        .target(Target::AtLeast(least))
        .print();
    figure("p50", load.p50, "ms").limit(synced, "one fsync of 4 KiB").target(Target::AtMost(1.0)).print();
    figure("p99", load.p99, "ms").limit(synced, "one fsync of 4 KiB").target(Target::AtMost(8.0)).print();
}
