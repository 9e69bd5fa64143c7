//! What was destroyed is told with what still holds it, until nothing does.

use std::path::PathBuf;

use keyark_testkit::TestServer;
use serde_json::{Value, json};

use crate::support::{backup_key, take_system};

use super::{destination, walk};

#[test]
fn what_was_destroyed_is_told_with_its_holders_until_none_has_it() {
    let folder = tempfile::tempdir().unwrap();
    let server = TestServer::start();
    let admin = &server.admin;
    backup_key(admin, "system");
    let there = folder.path().join("there");
    destination(&server, "nas", &there);
    admin.post("/v1/backup-instances", json!({ "type": "system", "alias": "all", "rangeDays": 7 })).ok(201);
    admin.post("/v1/backup-instances/all/enable", json!({ "destinations": ["nas"] })).ok(200);
    for name in ["k", "gone", "stays"] {
        admin.key(json!({ "name": name }));
    }
    admin.post("/v1/vault/secrets", json!({ "name": "s", "key": "stays", "material": "AAAA" })).ok(201);
    server.protect();
    server.advance(1);
    let backup = take_system(&server);
    server.advance(60);
    let told = admin.post("/v1/vault/keys2/k/destroy", json!({ "confirm": "k" })).ok(200);
    let what = |list: &Value| -> Vec<String> {
        list.as_array().unwrap().iter().map(|h| h["what"].as_str().unwrap().to_owned()).collect()
    };
    // At once: the backup, the instance, and the log until that instance has it.
    assert_eq!(what(&told["heldBy"]), ["instance", "log", "backup"], "{told}");
    let secret = admin.post("/v1/vault/secrets/s/destroy", json!({ "confirm": "s" })).ok(200);
    assert_eq!(what(&secret["heldBy"]), ["instance", "log", "backup"], "{secret}");
    admin.delete("/v1/vault/keys2/gone?confirm=gone").ok(204);
    let archives = || -> Vec<PathBuf> {
        let of = |p: &PathBuf| ["/full/", "/log/"].iter().any(|part| p.to_string_lossy().contains(part));
        walk(&there).into_iter().filter(of).collect()
    };
    let held = archives();
    server.advance(60);
    server.protect();
    let list = || server.admin.get("/v1/protection/destroyed?limit=-1").ok(200);
    let all = list();
    let line = |all: &Value, name: &str| {
        all["resources"].as_array().unwrap().iter().find(|e| e["name"] == name).unwrap().clone()
    };
    assert_eq!(all["total"], 3, "{all}");
    for name in ["k", "gone", "s"] {
        let ended = line(&all, name);
        assert_eq!(what(&ended["heldBy"]), ["instance", "backup"], "every stream has it: {ended}");
        let instance = &ended["heldBy"][0];
        assert_eq!((&instance["instance"], &instance["destination"]), (&json!("all"), &json!("nas")));
        assert_eq!(ended["heldBy"][1]["backup"], json!(backup));
        assert!(ended.get("until").is_none(), "nobody knows when the backup goes");
    }
    server.admin.delete(&format!("/v1/backups/{backup}?confirm={backup}")).ok(204);
    let until = line(&list(), "k")["until"].as_str().unwrap().parse::<keyark_model::Time>().unwrap();
    // Day by day until then: a little before that something is there, at that moment nothing.
    let left = || held.iter().filter(|p| p.exists()).count();
    let mut last = 0;
    while server.now() < until {
        if server.now() < until.plus_seconds(-86_400 * 4) {
            last = left();
        }
        server.advance_days(1);
        server.admin.key(json!({}));
        server.protect();
    }
    assert!(last > 0 && left() == 0, "{last} {}", left());
    let ended = line(&list(), "k");
    assert_eq!((&ended["heldBy"], ended.get("until")), (&json!([]), None));
    assert_eq!(server.admin.get("/v1/protection/destroyed?days=1").ok(200)["total"], 0);
}
