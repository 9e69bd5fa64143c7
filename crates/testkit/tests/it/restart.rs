//! What a stop leaves: everything that was acknowledged, whatever the stop was like.

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use keyark_model::access::Role;
use keyark_testkit::client::{agent, text};
use keyark_testkit::server::PASSWORD;
use keyark_testkit::{Client, TestServer};
use serde_json::{Value, json};

/// Everything that a caller can read about keys, users, groups and domains.
fn portrait(client: &Client) -> Vec<Value> {
    let pages = ["/v1/vault/keys2?fields=meta,links&", "/v1/usermgmt/users?", "/v1/usermgmt/groups?", "/v1/domains?"];
    let read = |page: &&str| client.get(&format!("{page}limit=-1")).json["resources"].clone();
    let mut all: Vec<Value> = pages.iter().map(read).collect();
    for key in all[0].as_array_mut().unwrap() {
        // Last use is kept in memory only.
        key.as_object_mut().unwrap().remove("lastUsedAt");
    }
    for user in all[1].as_array_mut().unwrap() {
        // Logins, too, are counted since the start.
        user.as_object_mut().unwrap().retain(|field, _| field != "logins_count" && field != "last_login");
    }
    all
}

#[test]
fn everything_survives_a_restart() {
    let mut server = TestServer::start();
    let tenant = server.domain("tenant");
    let user = server.as_user(&[Role::KeyUsers]);
    let mut made = Vec::new();
    for (name, fields) in [("a", json!({ "labels": { "x": "y" } })), ("b", json!({ "unexportable": true }))] {
        server.admin.key(crate::keys::with(json!({ "name": name }), fields));
        made.push(server.admin.encrypt(name, "kept"));
        server.admin.post(&format!("/v1/vault/keys2/{name}/versions"), json!({})).ok(201);
        made.push(server.admin.encrypt(name, "kept"));
    }
    server.admin.key(json!({ "name": "going" }));
    server.admin.delete("/v1/vault/keys2/going").ok(204);
    server.admin.key(json!({ "name": "gone" }));
    server.admin.delete("/v1/vault/keys2/gone?confirm=gone").ok(204);
    server.admin.post("/v1/vault/keys2/b/suspend", json!({ "version": 0 })).ok(200);
    server.admin.post("/v1/vault/keys2/b/resume", json!({ "version": 0 })).ok(200);
    tenant.admin.key(json!({ "name": "t" }));
    server.admin.post("/v1/domains/root/rotate-kek", json!({})).ok(200);
    server.admin.key(json!({ "name": "under the second KEK" }));
    let (before, tokens) = (portrait(&server.admin), (user.token(), tenant.admin.token()));
    let info = server.admin.get("/v1/system/info").ok(200);
    let anchor = server.nobody().get("/v1/system/anchor").ok(200);
    for _ in 0..2 {
        server.restart();
        assert_eq!(portrait(&server.admin), before);
        for made in &made {
            assert_eq!(server.admin.decrypt(made), "kept");
        }
        server.admin.encrypt("under the second KEK", "x");
        // A restart is no new incarnation: tokens go on, the anchor stays.
        server.nobody().with_token(&tokens.0).get("/v1/vault/keys2/a").ok(200);
        server.nobody().with_token(&tokens.1).get("/v1/vault/keys2/t").ok(200);
        let now = server.admin.get("/v1/system/info").ok(200);
        assert_eq!((&now["system"], &now["incarnation"]), (&info["system"], &info["incarnation"]));
        assert_eq!(server.nobody().get("/v1/system/anchor").ok(200), anchor);
    }
}

#[test]
fn a_folder_in_use_is_refused() {
    let server = TestServer::start();
    let second = keyark_server::boot::boot(&server.settings, server.now());
    let why = second.err().expect("two servers on one folder").to_string();
    assert!(why.contains("in use") || why.contains("already"), "{why}");
    server.admin.key(json!({}));
}

#[test]
fn the_folder_is_for_its_owner_alone() {
    use std::os::unix::fs::PermissionsExt as _;
    let mut server = TestServer::start();
    server.admin.key(json!({}));
    let mut looked = 0;
    let mut folders = vec![server.settings.data.clone()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).unwrap() {
            let entry = entry.unwrap();
            let meta = entry.metadata().unwrap();
            assert_eq!(meta.permissions().mode() & 0o077, 0, "{} is open to others", entry.path().display());
            looked += 1;
            if meta.is_dir() {
                folders.push(entry.path());
            }
        }
    }
    assert!(looked >= 4, "{looked}");
    server.stop();
}

#[test]
fn a_copy_taken_while_it_runs_opens() {
    let server = TestServer::start();
    for n in 0..20 {
        server.admin.key(json!({ "name": format!("k{n}") }));
    }
    let made = server.admin.encrypt("k7", "kept");
    // Nothing is under way now, so this is what a killed process leaves behind.
    let copy = tempfile::tempdir().unwrap();
    copy_files(&server.settings.data, copy.path());
    let again = TestServer::start_again(copy.path());
    assert_eq!(again.admin.get("/v1/vault/keys2").ok(200)["total"], 20);
    assert_eq!(again.admin.decrypt(&made), "kept");
}

fn copy_files(from: &Path, to: &Path) {
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let kind = entry.file_type().unwrap();
        if kind.is_file() {
            std::fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
        }
    }
}

/// Names the folder that the child of the next test serves.
const CHILD: &str = "KEYARK_TESTKIT_SERVE";

#[test]
fn a_killed_server_has_lost_nothing_that_it_acknowledged() {
    if let Some(data) = std::env::var_os(CHILD) {
        serve_until_killed(&PathBuf::from(data));
    }
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "restart::a_killed_server_has_lost_nothing_that_it_acknowledged", "--nocapture"])
        .env(CHILD, &data)
        .stdout(Stdio::piped())
        .stderr(Stdio::inherit())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let base = lines.find_map(|l| l.unwrap().split_once("serving at ").map(|(_, base)| base.to_owned())).unwrap();
    let admin = Client::nobody(agent(), &base).log_in(json!({ "username": "admin", "password": PASSWORD }));
    let token = admin.token();
    // Writers go on until the server is gone; each remembers what it was told.
    let acknowledged: Vec<Value> = std::thread::scope(|s| {
        let writers: Vec<_> = (0..4)
            .map(|writer| {
                let (base, token) = (&base, &token);
                s.spawn(move || {
                    let (agent, mut told) = (agent(), Vec::new());
                    for n in 0.. {
                        let name = format!("w{writer}-{n}");
                        let request = agent
                            .post(format!("{base}/v1/vault/keys2"))
                            .header("authorization", format!("Bearer {token}"))
                            .send_json(json!({ "name": name, "labels": { "n": n.to_string() } }));
                        match request.map(|mut r| (r.status().as_u16(), r.body_mut().read_json::<Value>())) {
                            Ok((201, Ok(key))) => told.push(key),
                            _ => return told,
                        }
                    }
                    told
                })
            })
            .collect();
        // Enough has been written when the third writer's tenth key is there.
        for _ in 0..100_000 {
            if admin.get("/v1/vault/keys2/w2-9").status == 200 {
                break;
            }
        }
        child.kill().unwrap();
        child.wait().unwrap();
        writers.into_iter().flat_map(|w| w.join().unwrap()).collect()
    });
    assert!(acknowledged.len() >= 10, "{}", acknowledged.len());
    let again = TestServer::start_again(&data);
    for key in &acknowledged {
        let found = again.admin.get(&format!("/v1/vault/keys2/{}", text(key, "name"))).ok(200);
        for field in ["id", "labels", "sha256Fingerprint", "createdAt"] {
            assert_eq!(found[field], key[field], "{field} of {key}");
        }
        again.admin.post(&format!("/v1/vault/keys2/{}/export", text(key, "id")), json!({})).ok(200);
    }
    // At most the one request of each writer that was under way comes on top.
    let total = again.admin.get("/v1/vault/keys2").ok(200)["total"].as_u64().unwrap() as usize;
    assert!((acknowledged.len()..=acknowledged.len() + 4).contains(&total), "{total} of {}", acknowledged.len());
}

fn serve_until_killed(data: &Path) -> ! {
    let server = TestServer::start_in(data);
    println!("\nserving at http://{}", server.address());
    std::io::stdout().flush().unwrap();
    loop {
        std::thread::park();
    }
}
