//! A process that is killed while it commits loses no acknowledged batch.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};

use keyark_model::Kind;
use keyark_store::Store;

use crate::fixture::{A, T0, batch, id, identity, options, put};

pub const FOLDER: &str = "KEYARK_TEST_CRASH_FOLDER";
const NAME: &str = "crash::a_killed_process_loses_no_acknowledged_batch";

/// The child: commits for ever, 16 in flight, and tells each acknowledged number.
pub fn commit_until_killed(path: &Path) {
    let store = Store::open(path, options()).unwrap();
    let from = u128::from(store.count(A, Kind::Key).unwrap().records);
    let (tell, told) = std::sync::mpsc::channel();
    let hand_in = |n: u128| {
        let tell = tell.clone();
        let changes = vec![put(2 * n, 1, &format!("a{n}")), put(2 * n + 1, 1, &format!("b{n}"))];
        store.submit(batch(A, changes), T0, Box::new(move |r| tell.send((n, r.is_ok())).unwrap()));
    };
    let mut next = from / 2;
    (0..16).for_each(|_| {
        hand_in(next);
        next += 1;
    });
    for (n, ok) in told.iter() {
        assert!(ok);
        println!("acknowledged {n}");
        hand_in(next);
        next += 1;
    }
}

#[test]
fn a_killed_process_loses_no_acknowledged_batch() {
    if let Ok(folder) = std::env::var(FOLDER) {
        return commit_until_killed(&Path::new(&folder).join("db"));
    }
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("db");
    drop(Store::create(&path, &identity(), T0, options()).unwrap());
    for round in 1..=5_usize {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", NAME, "--nocapture"])
            .env(FOLDER, folder.path())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
        let number = |line: String| line.rsplit_once("acknowledged ").and_then(|(_, n)| n.parse::<u128>().ok());
        let mut acknowledged: Vec<u128> = lines.by_ref().filter_map(number).take(150 * round).collect();
        child.kill().unwrap();
        child.wait().unwrap();
        // What it said before it died counts too.
        acknowledged.extend(lines.filter_map(number));
        assert!(acknowledged.len() >= 150 * round);
        let store = Store::open(&path, options()).unwrap();
        for n in acknowledged {
            for key in [2 * n, 2 * n + 1] {
                assert!(store.get(A, Kind::Key, id(key)).unwrap().is_some(), "batch {n} of round {round} was lost");
            }
        }
        let records = store.count(A, Kind::Key).unwrap().records;
        assert_eq!(records, store.head().seq * 2, "every batch is whole");
        assert_eq!(store.check().unwrap().findings, []);
    }
}
