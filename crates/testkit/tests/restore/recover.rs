//! An empty machine, an archive, the backup key's file: a running system, or a clear refusal and nothing left behind.

use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use keyark_server::recover::RecoverError;
use keyark_testkit::TestServer;
use keyark_testkit::client::text;
use serde_json::{Value, json};

use crate::support::{archive_path, backup_key, download, exported, recovery, take, take_domain, take_system};

/// A system with one key, its archive, the file of its backup key, and a ciphertext.
struct Burnt {
    folder: tempfile::TempDir,
    file: (String, String),
    ciphertext: Value,
    server: TestServer,
}

impl Burnt {
    fn new() -> Burnt {
        let server = TestServer::start();
        server.admin.key(json!({ "name": "k" }));
        let ciphertext = server.admin.encrypt("k", "old data");
        let file = exported(&server.admin, &backup_key(&server.admin, "system"));
        let backup = take_system(&server);
        let folder = tempfile::tempdir().unwrap();
        std::fs::copy(archive_path(&server, &backup), folder.path().join("a.keyark")).unwrap();
        Burnt { folder, file, ciphertext, server }
    }

    fn archive(&self) -> std::path::PathBuf {
        self.folder.path().join("a.keyark")
    }

    fn altered(&self, change: impl FnOnce(&mut Vec<u8>)) -> std::path::PathBuf {
        let mut bytes = std::fs::read(self.archive()).unwrap();
        change(&mut bytes);
        let path = self.folder.path().join("altered.keyark");
        std::fs::write(&path, bytes).unwrap();
        path
    }
}

fn runs(data: &Path, ciphertext: &Value) {
    let server = TestServer::start_again(data);
    assert_eq!(server.admin.decrypt(ciphertext), "old data");
    server.admin.key(json!({ "name": "new" }));
    take_system(&server);
}

#[test]
fn every_refusal_says_why_and_the_next_try_succeeds() {
    let burnt = Burnt::new();
    let data = burnt.folder.path().join("data");
    let slip = |text: &str| {
        let mut letters: Vec<char> = text.chars().collect();
        letters[2] = if letters[2] == 'A' { 'B' } else { 'A' };
        letters.into_iter().collect::<String>()
    };
    let wrong = |archive: &Path, key: &(String, String), expected: &str| {
        let e = recovery(&data, archive, key).expect_err(expected).to_string();
        assert!(e.to_lowercase().contains(expected), "{expected:?} is not in {e:?}");
        assert!(!data.join("store.db").exists());
    };
    let good = (burnt.archive(), burnt.file.clone());
    wrong(&good.0, &(good.1.0.clone(), slip(&good.1.1)), "typ");
    wrong(&good.0, &(good.1.0.clone(), "another password".into()), "passw");
    wrong(&good.0, &("no key file".into(), good.1.1.clone()), "jwe");
    wrong(&burnt.altered(|b| b.truncate(b.len() / 2)), &good.1, "cut");
    wrong(&burnt.altered(|b| b.truncate(9)), &good.1, "archive");
    wrong(&burnt.altered(|b| b.clear()), &good.1, "archive");
    for at in [5, 100, 2000] {
        let path = burnt.altered(|b| b[at] ^= 0x40);
        let e = recovery(&data, &path, &good.1);
        assert!(e.is_err(), "a flipped bit at {at} was not noticed");
        assert!(!data.join("store.db").exists());
    }
    // Another system's key, and a key of scope domain.
    let d = burnt.server.domain("d");
    let domain_key = backup_key(&d.admin, "domain");
    let file = exported(&d.admin, &domain_key);
    assert!(matches!(recovery(&data, &good.0, &file), Err(RecoverError::Scope)));
    let second = text(&burnt.server.admin.post("/v1/backupkeys", json!({ "scope": "system" })).ok(201), "id");
    wrong(&good.0, &exported(&burnt.server.admin, &second), "key");
    // An archive of one domain, under the right kind of key or not, is no system.
    let of_domain = take_domain(&burnt.server, &d.admin);
    assert!(recovery(&data, &archive_path(&burnt.server, &of_domain), &good.1).is_err());
    assert!(!data.join("store.db").exists());
    // Only what changed after another backup is no system either.
    let first = take_system(&burnt.server);
    let since = take(&burnt.server, &burnt.server.admin, json!({ "scope": "system", "since": first }));
    wrong(&archive_path(&burnt.server, &text(&since, "id")), &good.1, "restore that one first");

    let recovered = recovery(&data, &good.0, &good.1).unwrap();
    assert!(recovered.missing.iter().any(|m| m.contains("fingerprint")));
    assert_ne!(recovered.fingerprint, burnt.server.app().core().unwrap().signer_fingerprint());
    assert!(matches!(recovery(&data, &good.0, &good.1), Err(RecoverError::NotEmpty(_))));
    runs(&data, &burnt.ciphertext);
}

#[test]
fn a_recovered_system_says_what_it_lacks() {
    let burnt = Burnt::new();
    let check = json!({ "file": burnt.file.0, "password": burnt.file.1 });
    burnt.server.admin.post("/v1/backupkeys/check", check.clone()).ok(200);
    let data = burnt.folder.path().join("data");
    recovery(&data, &burnt.archive(), &burnt.file).unwrap();
    let server = TestServer::start_again(&data);
    // Its signing key is new: the proof is void, and the old file does not make a new one.
    let warnings = server.admin.get("/v1/system/info").ok(200)["warnings"].to_string();
    assert!(warnings.contains("backup_key_not_escrowed") && warnings.contains("suspended"), "{warnings}");
    let checked = server.admin.post("/v1/backupkeys/check", check).ok(200);
    assert_eq!((&checked["known"], &checked["escrowed"]), (&json!(true), &json!(false)));
    let key = text(&server.admin.get("/v1/backupkeys").ok(200)["resources"][0], "id");
    let again = exported(&server.admin, &key);
    let check = json!({ "file": again.0, "password": again.1 });
    assert_eq!(server.admin.post("/v1/backupkeys/check", check).ok(200)["escrowed"], true);
    // The archive that it came from is in its catalogue and opens.
    let page = server.admin.get("/v1/backups").ok(200);
    let backup = text(&page["resources"][0], "id");
    let contents = server.admin.get(&format!("/v1/backups/{backup}/contents?kind=keys")).ok(200);
    assert_eq!(contents["resources"][0]["name"], "k");
    assert_eq!(download(&server.admin, &backup), std::fs::read(burnt.archive()).unwrap());
}

/// In a child process of `killed_in_the_middle…` this recovers; otherwise it says where it would.
const CHILD: &str = "KEYARK_TEST_RECOVER_INTO";

#[test]
fn killed_in_the_middle_it_leaves_nothing_or_everything() {
    if let Some(data) = std::env::var_os(CHILD) {
        let data = Path::new(&data);
        let folder = data.parent().unwrap();
        let read = |name: &str| std::fs::read_to_string(folder.join(name)).unwrap();
        recovery(data, &folder.join("a.keyark"), &(read("key.jwe"), read("passphrase"))).unwrap();
        return;
    }
    let burnt = Burnt::new();
    std::fs::write(burnt.folder.path().join("key.jwe"), &burnt.file.0).unwrap();
    std::fs::write(burnt.folder.path().join("passphrase"), &burnt.file.1).unwrap();
    let mut unfinished = 0;
    for (n, seen) in
        ["root.key", "backups", "store.db.restoring", "store.db.restoring-wal", "store.db"].iter().enumerate()
    {
        let data = burnt.folder.path().join(format!("data{n}"));
        let mut child = Command::new(std::env::current_exe().unwrap());
        let name = "recover::killed_in_the_middle_it_leaves_nothing_or_everything";
        child.args([name, "--exact"]).env(CHILD, &data).stdout(Stdio::null()).stderr(Stdio::null()).process_group(0);
        let mut child = child.spawn().unwrap();
        let until = Instant::now() + Duration::from_secs(30);
        while !data.join(seen).exists() && child.try_wait().unwrap().is_none() {
            assert!(Instant::now() < until, "{seen} never appears");
        }
        child.kill().unwrap();
        child.wait().unwrap();
        if !data.join("store.db").exists() {
            unfinished += 1;
            recovery(&data, &burnt.archive(), &burnt.file).unwrap();
        }
        let server = TestServer::start_again(&data);
        assert_eq!(server.admin.decrypt(&burnt.ciphertext), "old data", "killed when {seen} appeared");
    }
    assert!(unfinished >= 3, "only {unfinished} of the kills came in the middle");
}
