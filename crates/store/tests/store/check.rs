//! Whatever is altered behind the store's back is found by its check.

use keyark_store::Store;
use rusqlite::Connection;

use crate::fixture::{A, B, Fixture, commit, delete, fixture, options, put};

fn lived() -> Fixture {
    let f = fixture();
    for n in 1..=6 {
        commit(&f.store, if n % 3 == 0 { B } else { A }, vec![put(n, 1, &n.to_string())]).unwrap();
    }
    f.store.trim(3).unwrap();
    commit(&f.store, A, vec![put(1, 2, "uno"), put(4, 2, "4")]).unwrap();
    commit(&f.store, A, vec![delete(2, 2)]).unwrap();
    commit(&f.store, B, vec![put(7, 1, "7")]).unwrap();
    assert_eq!(f.store.check().unwrap().findings, []);
    f
}

/// The findings after SQL was run on the closed store.
fn after(sql: &str) -> Vec<String> {
    let f = lived();
    let path = f.folder.path().join("db");
    drop(f.store);
    let changed = Connection::open(&path).unwrap().execute(sql, []).unwrap();
    assert!(changed > 0, "{sql} changes nothing");
    let store = Store::open(&path, options()).unwrap();
    store.check().unwrap().findings.iter().map(ToString::to_string).collect()
}

#[test]
fn every_stored_field_is_covered() {
    for sql in [
        // Entries, in the chain.
        "UPDATE entry SET time = time - 1 WHERE seq = 5",
        "UPDATE entry SET domain = 2 WHERE seq = 5",
        "UPDATE entry SET domain_seq = 9 WHERE seq = 5",
        "UPDATE entry SET actor = 'somebody' WHERE seq = 5",
        "UPDATE entry SET request_id = 'r-2' WHERE seq = 5",
        "UPDATE entry SET action = 'key_export' WHERE seq = 5",
        "UPDATE entry SET target = 'another' WHERE seq = 5",
        "UPDATE entry SET outcome = 1 WHERE seq = 5",
        "UPDATE entry SET domain_hash = zeroblob(32) WHERE seq = 5",
        "UPDATE entry SET hash = zeroblob(32) WHERE seq = 9",
        "UPDATE entry SET changes = x'80' WHERE seq = 5",
        "DELETE FROM entry WHERE seq = 5",
        "DELETE FROM entry WHERE seq = 9",
        // Records, after the base and before it.
        "UPDATE record SET header = CAST('{\"name\":\"5\",\"x\":1}' AS BLOB) WHERE seq = 5",
        "UPDATE record SET body = x'00' WHERE seq = 5",
        "UPDATE record SET revision = 2 WHERE seq = 5",
        "UPDATE record SET time = 1 WHERE seq = 5",
        "UPDATE record SET body = x'00' WHERE seq = 3",
        "UPDATE record SET header = CAST('{\"name\":\"3\",\"x\":1}' AS BLOB) WHERE seq = 3",
        "UPDATE record SET header = 'text' WHERE seq = 5",
        "DELETE FROM record WHERE seq = 5",
        "DELETE FROM record WHERE seq = 3",
        "UPDATE record SET seq = 2 WHERE seq = 5",
        // What was superseded.
        "UPDATE history SET body = x'00' WHERE revision = 1 AND seq = 4",
        "UPDATE history SET header = x'00' WHERE seq = 1",
        "DELETE FROM history WHERE seq = 1",
        // What is derived.
        "UPDATE domain SET lanes = zeroblob(2048) WHERE no = 1",
        "UPDATE domain SET domain_seq = domain_seq + 1 WHERE no = 1",
        "UPDATE domain SET hash = zeroblob(32) WHERE no = 1",
        "UPDATE base_domain SET lanes = zeroblob(2048) WHERE domain = 1",
        "UPDATE base_domain SET hash = zeroblob(32) WHERE domain = 1",
        "UPDATE base SET hash = zeroblob(32)",
        "DELETE FROM name WHERE name = '5'",
        "UPDATE name SET name = 'x' WHERE name = '5'",
        "INSERT INTO name VALUES (1, 'ghost', 1)",
        "UPDATE tombstone SET revision = 7",
        "DELETE FROM tombstone",
        "UPDATE tombstone SET seq = 3",
    ] {
        assert_ne!(after(sql), Vec::<String>::new(), "{sql} was not found");
    }
}

#[test]
fn a_finding_names_the_place() {
    let altered = after("UPDATE entry SET actor = 'somebody' WHERE seq = 5");
    assert_eq!(altered, ["entry 5: was altered, or an entry before it: its hash is not the one in the chain"]);
    let record = after("UPDATE record SET body = x'00' WHERE seq = 5");
    assert!(
        record[0].contains("keys 00000000-0000-0000-0000-000000000005: what entry 5 wrote was altered"),
        "{record:?}"
    );
}
