//! What a system sent elsewhere, as a person finds it there: listed, recovered, and cleared away by whoever may delete.

mod serving;

use keyark_backup::ssh::key_new;
use keyark_testkit::TestServer;
use keyark_testkit::s3::{self, S3Server};
use keyark_testkit::ssh::{self, SshServer};
use serde_json::json;

use serving::{Serving, keyark, out};

#[test]
fn what_a_running_server_sent_is_listed_and_recovered() {
    let home = tempfile::tempdir().unwrap();
    let no_tls = ["--no-tls", "--listen", "127.0.0.1:0"];
    let run = |line: &str| keyark(home.path()).args(line.split(' ')).output().unwrap();
    let server = Serving::start(keyark(home.path()).arg("serve").args(no_tls), "First password");
    let url = server.said("Keyark serves at");
    let first = server.said("First password of admin, good for 24 hours, in");
    std::fs::write(home.path().join("password"), "correct horse battery staple").unwrap();
    let change = "--username admin --new-password-file password";
    out(&run(&format!("self changepw --url {url} --password-file {first} {change}")));
    out(&run(&format!("login {url} --user admin --password-file password --yes")));
    let made: serde_json::Value = serde_json::from_str(&out(&run("backupkeys create --scope system"))).unwrap();
    let key = made["id"].as_str().unwrap();
    out(&run(&format!("backupkeys download --id {key} --file key.jwe --password-file password")));
    let nas = home.path().join("nas");
    std::fs::create_dir(&nas).unwrap();
    out(&run(&format!("destination create --name nas --path {}", nas.display())));
    out(&run("backup-instance create --type system --alias all"));
    out(&run("backup-instance enable --id all --destinations nas --interval 1"));
    out(&run("keys create --name k1"));
    // The server ships by itself; what it says is what is there.
    let listed = || -> Option<serde_json::Value> {
        let shown = run("points --from nas");
        shown.status.success().then(|| serde_json::from_slice(&shown.stdout).unwrap())
    };
    let holds_after = |position: u64| {
        let until = std::time::Instant::now() + std::time::Duration::from_secs(60);
        loop {
            let all = listed();
            let last = all.as_ref().map_or(0, |all| all["resources"][0]["lastPosition"].as_u64().unwrap());
            if last > position {
                return all.unwrap()["resources"][0].clone();
            }
            assert!(std::time::Instant::now() < until, "nothing was sent after {position}: {all:?}");
        }
    };
    let before = holds_after(0);
    out(&run("keys create --name k2"));
    let after = holds_after(before["lastPosition"].as_u64().unwrap());
    assert_eq!((&after["scope"], &after["backupKeys"][0]), (&"system".into(), &key.into()));
    server.end();
    std::fs::remove_dir_all(home.path().join("keyark-data")).unwrap();

    let recover = "recover --from nas --backup-key key.jwe --password-file password --data";
    let position = before["lastPosition"].as_u64().unwrap();
    let told = out(&run(&format!("{recover} old --position {position}")));
    assert!(told.contains("Nothing goes out until you have looked at it"), "{told}");
    let newest = out(&run(&format!("{recover} new")));
    let count = |told: &str| -> u64 { told.split(' ').nth(1).unwrap().parse().unwrap() };
    assert!(count(&newest) > count(&told), "one key more: {told} {newest}");
    // Nothing is ripe yet, and a statement that this system did not sign is none.
    let anchor = home.path().join("old/anchor.json");
    let serve = Serving::start(keyark(home.path()).args(["serve", "--data", "old"]).args(no_tls), "anchor");
    serve.end();
    let retained = out(&run(&format!("retain --from nas --anchor {} --wait 0 --dry-run", anchor.display())));
    assert_eq!(retained.trim(), "[]");
    // Wrong times, places and options are told apart, by words and by exit status.
    for (line, code, words) in [
        (format!("{recover} no --at 2001-01-01T00:00:00Z"), 3, "the first point is"),
        (format!("{recover} no --at 2101-01-01T00:00:00Z"), 3, "the last point is"),
        (format!("{recover} no --at yesterday"), 2, "--at"),
        (format!("{recover} no --position 1"), 3, "the first point is"),
        ("points --from nowhere".to_owned(), 3, "cannot be reached"),
        ("retain --from nas --anchor nowhere.json".to_owned(), 3, "nowhere.json"),
        ("retain --from nas --anchor key.jwe".to_owned(), 7, ""),
        ("points --from old".to_owned(), 3, "there is nothing that a stream left there"),
    ] {
        let refused = run(&line);
        let said = String::from_utf8_lossy(&refused.stderr).into_owned();
        assert_eq!(refused.status.code(), Some(code), "{line}: {said}");
        assert!(said.contains(words), "{line}: {said}");
        assert!(!home.path().join("no/store.db").exists());
    }
}

#[test]
fn retention_runs_elsewhere_with_credentials_that_the_server_does_not_have() {
    let (home, server, bucket) = (tempfile::tempdir().unwrap(), TestServer::start(), S3Server::start());
    server.admin.post("/v1/backupkeys", json!({ "scope": "system" })).ok(201);
    let fields = json!({ "name": "s3", "kind": "s3", "bucket": s3::BUCKET, "endpoint": bucket.endpoint,
        "accessKeyId": s3::CREATOR, "secretAccessKey": s3::SECRET });
    server.admin.post("/v1/destinations", fields).ok(201);
    let told = server.admin.post("/v1/destinations/s3/check", json!({})).ok(200);
    assert_eq!((&told["usable"], &told["deletes"]), (&json!(true), &json!(false)), "{told}");
    server.admin.post("/v1/backup-instances", json!({ "type": "system", "alias": "all" })).ok(201);
    server.admin.post("/v1/backup-instances/all/enable", json!({ "destinations": ["s3"], "interval": 1 })).ok(200);
    // Enough small segments that one takes their place; a day later they are superfluous.
    for n in 0..34 {
        server.admin.key(json!({ "name": format!("k{n}") }));
        server.protect();
        server.advance(1);
    }
    for _ in 0..3 {
        server.advance_days(1);
        server.protect();
    }
    server.admin.renew();
    let shown = server.admin.get("/v1/backup-instances/all").ok(200);
    assert_eq!(shown["destinations"][0]["error"], json!(null), "what it may not delete stops nothing: {shown}");
    let segments = || bucket.files(s3::BUCKET).iter().filter(|p| p.to_string_lossy().contains("/log/00/")).count();
    assert!(segments() >= 34, "the server deletes nothing");

    let anchor = server.admin.get("/v1/system/anchor").ok(200)["anchor"].to_string();
    std::fs::write(home.path().join("anchor.json"), anchor).unwrap();
    let retain = |who: &str, more: &[&str]| {
        let from = format!("s3://{}/?endpoint={}", s3::BUCKET, bucket.endpoint);
        let mut command = keyark(home.path());
        command.args(["retain", "--from", &from, "--anchor", "anchor.json"]).args(more);
        command.env("AWS_ACCESS_KEY_ID", who).env("AWS_SECRET_ACCESS_KEY", s3::SECRET).output().unwrap()
    };
    let before = segments();
    let planned: serde_json::Value = serde_json::from_str(&out(&retain(s3::ACCESS, &["--dry-run"]))).unwrap();
    assert!(planned[0]["objects"].as_u64().unwrap() >= 32, "{planned}");
    let refused = retain(s3::CREATOR, &[]);
    assert!(String::from_utf8_lossy(&refused.stderr).contains("give it credentials that may"), "{refused:?}");
    assert_eq!(segments(), before);
    let done: serde_json::Value = serde_json::from_str(&out(&retain(s3::ACCESS, &[]))).unwrap();
    assert_eq!((&done[0]["names"], &done[0]["kept"]), (&planned[0]["names"], &json!([])));
    assert!(segments() <= before - 32, "{before} {}", segments());
    assert_eq!(out(&retain(s3::ACCESS, &[])).trim(), "[]", "what was done is done");
}

#[test]
fn a_folder_of_another_machine_is_named_by_its_address() {
    let (home, far) = (tempfile::tempdir().unwrap(), SshServer::start());
    far.room("vault");
    let key = far.host_key.replace('+', "%2B").replace(' ', "%20");
    let address = |query: &str| format!("sftp://{}@127.0.0.1:{}/~/vault/{query}", ssh::USER, far.port);
    let points = |from: &str, password: &str| {
        let mut command = keyark(home.path());
        command.args(["points", "--from", from]).env("KEYARK_SSH_PASSWORD", password).output().unwrap()
    };
    let pinned = address(&format!("?hostKey={key}"));
    for (from, password, code, words) in [
        (pinned.as_str(), ssh::PASSWORD, 3, "there is nothing that a stream left there"),
        (pinned.as_str(), "wrong", 7, "does not let"),
        (pinned.as_str(), "", 2, "KEYARK_SSH_IDENTITY"),
        (address("").as_str(), ssh::PASSWORD, 2, "known_hosts"),
        ("sftp://127.0.0.1/vault/", ssh::PASSWORD, 2, "sftp://user@host"),
    ] {
        let refused = points(from, password);
        let said = String::from_utf8_lossy(&refused.stderr).into_owned();
        assert_eq!(refused.status.code(), Some(code), "{from}: {said}");
        assert!(said.contains(words), "{from}: {said}");
    }
}

#[test]
fn a_system_is_recovered_from_another_machine_with_a_private_key() {
    let (home, far, server) = (tempfile::tempdir().unwrap(), SshServer::start(), TestServer::start());
    far.room("vault");
    let text = |value: &serde_json::Value, field: &str| value[field].as_str().unwrap().to_owned();
    let backup_key = text(&server.admin.post("/v1/backupkeys", json!({ "scope": "system" })).ok(201), "id");
    let file = server.admin.post(&format!("/v1/backupkeys/{backup_key}/download"), json!({})).ok(200);
    for (name, content) in [("key.jwe", text(&file, "file")), ("passphrase", text(&file, "passphrase"))] {
        std::fs::write(home.path().join(name), content).unwrap();
    }
    let fields = json!({ "name": "vault", "kind": "sftp", "host": "127.0.0.1", "port": far.port, "username": ssh::USER,
        "hostKey": far.host_key, "path": "vault", "password": ssh::PASSWORD });
    server.admin.post("/v1/destinations", fields).ok(201);
    server.admin.post("/v1/backup-instances", json!({ "type": "system", "alias": "all" })).ok(201);
    server.admin.post("/v1/backup-instances/all/enable", json!({ "destinations": ["vault"] })).ok(200);
    server.admin.key(json!({ "name": "k" }));
    assert_eq!(server.protect(), 1);
    drop(server);
    // Somebody else's private key, then one that the host knows.
    for name in ["theirs", "mine"] {
        let (private, public) = key_new("somebody");
        std::fs::write(home.path().join(name), private.expose()).unwrap();
        if name == "mine" {
            far.authorize(&public);
        }
    }
    let shown = |key: &str| key.replace('+', "%2B").replace(' ', "%20");
    let recover = |identity: &str, host_key: &str, data: &str| {
        let from = format!("sftp://{}@127.0.0.1:{}/~/vault/?hostKey={}", ssh::USER, far.port, shown(host_key));
        let mut command = keyark(home.path());
        command.args([
            "recover",
            "--from",
            &from,
            "--backup-key",
            "key.jwe",
            "--password-file",
            "passphrase",
            "--data",
            data,
        ]);
        command.env("KEYARK_SSH_IDENTITY", identity).output().unwrap()
    };
    for (identity, host_key, code, words) in [
        ("theirs", far.host_key.clone(), 7, "belongs into authorized_keys there"),
        ("nowhere", far.host_key.clone(), 3, "nowhere"),
        ("passphrase", far.host_key.clone(), 7, "the private key cannot be read"),
        ("mine", key_new("another host").1, 7, "is not the host that was pinned"),
        ("mine", "no key".into(), 7, "is no public key of a host"),
    ] {
        let refused = recover(identity, &host_key, "no");
        let said = String::from_utf8_lossy(&refused.stderr).into_owned();
        assert_eq!(refused.status.code(), Some(code), "{identity}: {said}");
        assert!(said.contains(words) && !said.contains("PRIVATE KEY"), "{identity}: {said}");
        assert!(!home.path().join("no/store.db").exists());
    }
    let told = out(&recover("mine", &far.host_key, "new"));
    assert!(told.contains("Recovered"), "{told}");
    let checked = keyark(home.path()).args(["store", "check", "--data", "new"]).output().unwrap();
    assert!(out(&checked).contains("\"findings\": []"));
}
