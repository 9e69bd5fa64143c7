//! Measures the store against what SQLite itself does on this machine: `store_bench [records] [header bytes] [bulk]`.

use std::collections::VecDeque;
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::mpsc::channel;
use std::time::Instant;

use keyark_model::{Digest, DomainId, Id, Incarnation, Kind, Outcome, SystemId, Time};
use keyark_store::{Batch, BulkLoader, Draft, Head, Identity, Must, Options, Page, RecordView, Store, Write};
use uuid::Uuid;

const START: Time = Time(1_780_000_000_000_000);

fn id(n: u64) -> Id {
    // Time-ordered, as the server makes them, with random-looking low bits.
    Id(Uuid::from_u128((u128::from(n) << 64) | u128::from(n.wrapping_mul(0x9e37_79b9_7f4a_7c15))))
}

fn name(n: u64) -> String {
    format!("key-{:016x}", n.wrapping_mul(0x9e37_79b9_7f4a_7c15))
}

fn header(n: u64, size: usize) -> Vec<u8> {
    let mut text = format!(
        r#"{{"name":"{}","algorithm":"AES","size":256,"state":"Active","createdAt":"2026-05-01T03:00:00Z","note":""#,
        name(n)
    );
    let pad = size.saturating_sub(text.len() + 2);
    text.extend((0..pad).map(|i| char::from(b'a' + ((n as usize + i * 7) % 26) as u8)));
    text.push_str("\"}");
    text.into_bytes()
}

fn body(n: u64) -> Vec<u8> {
    let mut state = n.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    (0..90)
        .map(|_| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state as u8
        })
        .collect()
}

fn domain() -> DomainId {
    DomainId(Uuid::from_u128(0xd))
}

fn create(n: u64, size: usize) -> Batch {
    let change = Write::Put {
        kind: Kind::Key,
        id: id(n),
        revision: 1,
        header: header(n, size).into(),
        body: body(n).into(),
        purge: false,
    };
    let draft = Draft {
        domain: domain(),
        actor: "local|0190f3a4-0000-7000-8000-000000000001".into(),
        request_id: Uuid::from_u128(u128::from(n) | 1 << 100).to_string(),
        action: "key_create".into(),
        target: name(n),
        outcome: Outcome::Success,
        changes: vec![change],
    };
    Batch {
        must: vec![Must::WeightAtMost { domain: domain(), kind: Kind::Key, limit: u64::MAX }],
        entries: vec![draft],
    }
}

fn identity() -> Identity {
    Identity { system: SystemId(Uuid::from_u128(1)), incarnation: Incarnation(Uuid::from_u128(2)), parent: None }
}

/// Commits with a fixed number in flight; latency is from handing in to the answer.
fn commits(store: &Store, from: u64, count: u64, flight: usize, size: usize) {
    let (tell, told) = channel();
    let mut started: VecDeque<(u64, Instant)> = VecDeque::new();
    let mut waits = Vec::with_capacity(count as usize);
    let begin = Instant::now();
    let cpu = cpu_seconds();
    let (mut next, mut done) = (from, 0);
    while done < count {
        while next < from + count && started.len() < flight {
            let tell = tell.clone();
            started.push_back((next, Instant::now()));
            store.submit(
                create(next, size),
                START,
                Box::new(move |r| tell.send(r.expect("commit")).expect("listening")),
            );
            next += 1;
        }
        told.recv().expect("an answer");
        // Answers come in the order of the queue.
        let (_, at) = started.pop_front().expect("in flight");
        waits.push(at.elapsed().as_micros());
        done += 1;
    }
    let (wall, cpu) = (begin.elapsed().as_secs_f64(), cpu_seconds() - cpu);
    waits.sort_unstable();
    let at = |p: f64| waits[((waits.len() - 1) as f64 * p) as usize];
    println!(
        "commits, {flight:3} in flight: {:8.0}/s, p50 {} us, p99 {} us, max {} us, {:.1} us CPU each",
        count as f64 / wall,
        at(0.5),
        at(0.99),
        at(1.0),
        cpu * 1e6 / count as f64
    );
}

fn cpu_seconds() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or("").split_whitespace().collect();
    let ticks = |i: usize| fields.get(i).and_then(|f| f.parse::<f64>().ok()).unwrap_or(0.0);
    (ticks(11) + ticks(12)) / 100.0
}

fn resident_mb() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|l| l.strip_prefix("VmHWM:")).unwrap_or("0");
    line.split_whitespace().next().and_then(|n| n.parse::<u64>().ok()).unwrap_or(0) / 1024
}

/// What SQLite takes for the bare rows; with `all`, for the same tables and indexes that the store has.
fn raw_load(path: &Path, records: u64, size: usize, all: bool) -> f64 {
    let conn = rusqlite::Connection::open(path).expect("open");
    conn.execute_batch(
        "PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF; PRAGMA locking_mode = EXCLUSIVE; PRAGMA cache_size = -16384;
         CREATE TABLE record (rid INTEGER PRIMARY KEY, domain INTEGER, kind INTEGER, id BLOB, revision INTEGER,
         header BLOB, body BLOB); BEGIN",
    )
    .expect("table");
    let rows: Vec<_> = (0..1000).map(|n| (header(n, size), body(n))).collect();
    let begin = Instant::now();
    let mut insert = conn.prepare("INSERT INTO record VALUES (?1, 1, 4, ?2, 1, ?3, ?4)").expect("statement");
    for n in 0..records {
        let (header, body) = &rows[n as usize % rows.len()];
        insert.execute(rusqlite::params![n, id(n).as_bytes(), header, body]).expect("insert");
    }
    drop(insert);
    if all {
        let mut names: Vec<_> = (0..records).map(|n| (name(n), n)).collect();
        names.sort_unstable();
        conn.execute_batch(
            "CREATE TABLE name (slot INTEGER, name TEXT, rid INTEGER, PRIMARY KEY (slot, name)) WITHOUT ROWID;
             CREATE UNIQUE INDEX record_id ON record (kind, id)",
        )
        .expect("tables");
        let mut insert = conn.prepare("INSERT INTO name VALUES (1, ?1, ?2)").expect("statement");
        for (name, n) in &names {
            insert.execute(rusqlite::params![name, n]).expect("insert");
        }
    }
    conn.execute_batch("COMMIT; CREATE UNIQUE INDEX record_key ON record (domain, kind, id)").expect("index");
    conn.close().expect("close");
    std::fs::File::open(path).and_then(|f| f.sync_all()).expect("sync");
    begin.elapsed().as_secs_f64()
}

fn bulk(path: &Path, records: u64, size: usize) -> f64 {
    // Records differ in their names only, so that making them costs little beside loading them.
    let rows: Vec<_> = (0..1000).map(|n| (header(n, size), body(n))).collect();
    let mut head = Vec::new();
    let begin = Instant::now();
    let base = Head { seq: 0, hash: Digest::ZERO, time: START };
    let mut loader = BulkLoader::create(path, &identity(), base, Vec::new(), START).expect("create");
    for n in 0..records {
        let (header, body) = &rows[n as usize % rows.len()];
        head.clear();
        head.extend_from_slice(header);
        head[9..29].copy_from_slice(name(n).as_bytes());
        let (id, domain) = (id(n), domain());
        let view = RecordView { kind: Kind::Key, id, domain, revision: 1, seq: 0, time: START, header: &head, body };
        loader.add(&view).expect("add");
    }
    assert_eq!(loader.finish().expect("finish").records, records);
    begin.elapsed().as_secs_f64()
}

fn main() {
    let records: u64 = std::env::args().nth(1).and_then(|n| n.parse().ok()).unwrap_or(200_000);
    let folder = tempfile::tempdir_in(std::env::current_dir().expect("a folder")).expect("a folder");
    let size: usize = std::env::args().nth(2).and_then(|n| n.parse().ok()).unwrap_or(210);
    println!("{records} records with a header of {size} B and a body of 90 B");

    let raw = raw_load(&folder.path().join("raw"), records, size, false);
    let raw_all = raw_load(&folder.path().join("raw-all"), records, size, true);
    let loaded = bulk(&folder.path().join("bulk"), records, size);
    println!("raw load of the rows {raw:.2} s, of the same tables {raw_all:.2} s, bulk load {loaded:.2} s");
    println!("ratios {:.2} and {:.2}, {} MB resident", loaded / raw, loaded / raw_all, resident_mb());

    if std::env::args().nth(3).as_deref() == Some("bulk") {
        return;
    }
    let path = folder.path().join("db");
    let store = Store::create(&path, &identity(), START, Options::default()).expect("create");
    commits(&store, 0, 3_000, 1, size);
    commits(&store, 3_000, 30_000, 16, size);
    commits(&store, 33_000, records, 64, size);
    let total = records + 33_000;
    drop(store);
    let bytes = std::fs::metadata(&path).expect("the database").len();
    println!("{} bytes on disk for each record with its log entry", bytes / total);

    let store = Store::open(&path, Options::default()).expect("open");
    read(&store, total);
    let begin = Instant::now();
    let report = store.check().expect("check");
    assert_eq!(report.findings, []);
    println!("check of {} entries: {:.2} s", report.entries, begin.elapsed().as_secs_f64());
    println!("{} MB resident at most", resident_mb());
}

fn read(store: &Store, total: u64) {
    let rate = |what: &str, count: u64, work: &mut dyn FnMut()| {
        let begin = Instant::now();
        work();
        println!("{what}: {:.0}/s", count as f64 / begin.elapsed().as_secs_f64());
    };
    for round in ["cold", "warm"] {
        rate(&format!("point reads, {round}"), 200_000, &mut || {
            for n in 0..200_000 {
                let at = n * 7919 % total;
                assert!(store.get(domain(), Kind::Key, id(at)).expect("get").is_some());
            }
        });
    }
    rate("finds by name", 100_000, &mut || {
        (0..100_000)
            .for_each(|n| assert!(store.find(domain(), Kind::Key, &name(n * 7919 % total)).expect("find").is_some()));
    });
    rate("point reads on two threads", 400_000, &mut || {
        std::thread::scope(|s| {
            for t in 0..2 {
                s.spawn(move || {
                    (0..200_000).for_each(|n| {
                        assert!(store.get(domain(), Kind::Key, id((n * 7919 + t) % total)).expect("get").is_some());
                    });
                });
            }
        });
    });
    let mut bytes = 0;
    rate("scan", total, &mut || {
        store
            .scan(domain(), Kind::Key, |r| {
                bytes += r.header.len();
                ControlFlow::Continue(())
            })
            .expect("scan");
    });
    rate("snapshot records", total, &mut || {
        assert_eq!(store.snapshot().expect("snapshot").records(None).count() as u64, total);
    });
    rate("pages of 10", 20_000, &mut || {
        for n in 0..20_000 {
            let page = Page { after: Some(id(n * 7919 % total)), skip: 0, limit: 10, newest_first: false };
            store.page(domain(), Kind::Key, &page).expect("page");
        }
    });
    rate("entries", total, &mut || {
        let mut after = 0;
        loop {
            let entries = store.entries(after, 1000, None).expect("entries");
            let Some(last) = entries.last() else { break };
            after = last.seq;
        }
        assert_eq!(after, total);
    });
}
