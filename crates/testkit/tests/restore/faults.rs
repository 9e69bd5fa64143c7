//! Bad luck: full disks, damaged and foreign archives, each with its own answer, and nothing lost.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Command;

use keyark_api::ErrorCode;
use keyark_testkit::client::{base64, text};
use keyark_testkit::{Answer, TestServer};
use serde_json::{Value, json};

use crate::support::{
    archive_path, backup_key, download, exported, key_delete, key_names, plan, recovery, restore, restore_any,
    send_file, take_any, take_domain, take_system, upload,
};

/// A real file system of a few MiB, gone when dropped.
struct SmallDisk {
    folder: tempfile::TempDir,
}

impl SmallDisk {
    /// None, loudly, when this process may not mount.
    fn mount(mib: u32) -> Option<SmallDisk> {
        let folder = tempfile::tempdir().unwrap();
        let size = format!("size={mib}m");
        let done = Command::new("mount").args(["-t", "tmpfs", "-o", &size, "tmpfs"]).arg(folder.path()).status();
        if done.is_ok_and(|s| s.success()) {
            return Some(SmallDisk { folder });
        }
        eprintln!("NOT TESTED: a full disk needs the right to mount a tmpfs; run the tests as root");
        None
    }

    fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Leaves about this many bytes free.
    fn fill(&self, leave: u64) -> PathBuf {
        let stat = rustix::fs::statvfs(self.path()).unwrap();
        let free = stat.f_bavail * stat.f_frsize;
        let path = self.path().join("ballast");
        let mut file = File::create(&path).unwrap();
        let zeros = vec![0; 1 << 16];
        for _ in 0..free.saturating_sub(leave) / (1 << 16) {
            std::io::Write::write_all(&mut file, &zeros).unwrap();
        }
        path
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(self.folder.path()).status();
    }
}

#[test]
fn a_full_disk_refuses_writes_goes_on_reading_and_recovers_without_a_restart() {
    let Some(disk) = SmallDisk::mount(48) else { return };
    let server = TestServer::start_in(&disk.path().join("data"));
    server.admin.key(json!({ "name": "k" }));
    let old = server.admin.encrypt("k", "x");
    backup_key(&server.admin, "system");
    let d = server.domain("d");
    backup_key(&d.admin, "domain");
    // Data that does not compress: the archive needs its room.
    d.admin.key(json!({ "name": "sk" }));
    let noise: Vec<u8> = (0..40_000_u32).flat_map(|n| keyark_crypto::hash::sha256(&[&n.to_be_bytes()]).0).collect();
    for (n, part) in noise.chunks(60_000).take(20).enumerate() {
        let fields = json!({ "name": format!("s{n}"), "material": base64(part), "encoding": "base64", "key": "sk" });
        d.admin.post("/v1/vault/secrets", fields).ok(201);
    }
    let good = take_system(&server);
    let of_domain = take_domain(&server, &d.admin);
    let uploaded = download(&server.admin, &good);

    // Room for records, none for an archive.
    let ballast = disk.fill(700 << 10);
    let failed = take_any(&server.admin, json!({}));
    assert!(text(&failed, "status").starts_with("Failed: the disk"), "{failed}");
    let names: Vec<_> =
        std::fs::read_dir(disk.path().join("data/backups")).unwrap().map(|f| f.unwrap().file_name()).collect();
    assert_eq!(names.len(), 2, "nothing is left of the failed one: {names:?}");
    upload(&server.admin, &uploaded).fails(ErrorCode::StorageFull, "");
    assert_eq!(std::fs::read_dir(disk.path().join("data/uploads")).unwrap().count(), 0);
    let job = restore_any(&server.admin, &good, json!({ "confirm": "system" }));
    assert_eq!(job["status"], "failed", "{job}");
    assert!(text(&job, "error").contains("disk"), "{job}");
    assert_eq!(server.admin.decrypt(&old), "x");
    std::fs::remove_file(ballast).unwrap();
    // A restore into the domain needs more than there is: nothing of it is written.
    for n in 0..20 {
        d.admin.delete(&format!("/v1/vault/secrets/s{n}?confirm=s{n}")).ok(204);
    }
    let ballast = disk.fill(700 << 10);
    let job = restore_any(&d.admin, &of_domain, json!({ "includeDeleted": true }));
    assert_eq!(job["status"], "failed", "{job}");
    assert_eq!(d.admin.get("/v1/vault/secrets").ok(200)["total"], 0);

    std::fs::remove_file(ballast).unwrap();
    restore(&d.admin, &of_domain, json!({ "includeDeleted": true }));
    assert_eq!(d.admin.get("/v1/vault/secrets").ok(200)["total"], 20);
    take_system(&server);
    restore(&server.admin, &good, json!({ "confirm": "system" }));
    assert_eq!(server.admin.decrypt(&old), "x");
}

#[test]
fn below_the_reserve_writes_answer_507_and_reads_go_on() {
    let Some(disk) = SmallDisk::mount(32) else { return };
    let server = TestServer::start_with(|s| {
        s.data = disk.path().join("data");
        s.disk_reserve = 4 << 20;
    });
    server.admin.key(json!({ "name": "k" }));
    let old = server.admin.encrypt("k", "x");
    let ballast = disk.fill(2 << 20);
    let refused: Answer = server.admin.post("/v1/vault/keys2", json!({ "name": "no-room" }));
    refused.fails(ErrorCode::StorageFull, "");
    assert_eq!(server.admin.decrypt(&old), "x");
    server.admin.get("/v1/vault/keys2/k").ok(200);
    server.admin.encrypt("k", "reads and cryptography go on");
    std::fs::remove_file(ballast).unwrap();
    // Free space is looked at again after a moment.
    let until = std::time::Instant::now() + std::time::Duration::from_secs(20);
    while server.admin.post("/v1/vault/keys2", json!({ "name": "room" })).status != 201 {
        assert!(std::time::Instant::now() < until, "it does not recover");
    }
    assert_eq!(key_names(&server.admin), ["k", "room"]);
}

#[test]
fn a_recovery_on_a_full_disk_leaves_a_folder_that_the_next_one_uses() {
    let Some(disk) = SmallDisk::mount(24) else { return };
    let server = TestServer::start();
    server.admin.key(json!({ "name": "k" }));
    let old = server.admin.encrypt("k", "x");
    let file = exported(&server.admin, &backup_key(&server.admin, "system"));
    let backup = take_system(&server);
    let ballast = disk.fill(100 << 10);
    let data = disk.path().join("data");
    let e = recovery(&data, &archive_path(&server, &backup), &file).unwrap_err();
    assert!(!data.join("store.db").exists(), "{e}");
    std::fs::remove_file(ballast).unwrap();
    recovery(&data, &archive_path(&server, &backup), &file).unwrap();
    let new = TestServer::start_again(&data);
    assert_eq!(new.admin.decrypt(&old), "x");
}

/// The archive with another header: what was signed is no longer what is there.
fn reheaded(bytes: &[u8], change: impl FnOnce(&mut Value)) -> Vec<u8> {
    let length = u32::from_be_bytes(bytes[12..16].try_into().unwrap()) as usize;
    let mut header: Value = serde_json::from_slice(&bytes[16..16 + length]).unwrap();
    change(&mut header);
    let header = header.to_string();
    let length_now = u32::try_from(header.len()).unwrap().to_be_bytes();
    [&bytes[..12], &length_now, header.as_bytes(), &bytes[16 + length..]].concat()
}

#[test]
fn every_kind_of_bad_archive_has_its_answer() {
    let server = TestServer::start();
    let d = server.domain("d");
    backup_key(&d.admin, "domain");
    d.admin.key(json!({ "name": "k" }));
    let id = take_domain(&server, &d.admin);
    let good = download(&d.admin, &id);
    d.admin.delete(&format!("/v1/backups/{id}")).ok(204);
    let both = |bytes: &[u8], code: ErrorCode, text: &str| {
        upload(&d.admin, bytes).fails(code, text);
        assert_eq!(d.admin.get("/v1/backups").ok(200)["total"], 0);
    };
    let inspected = |bytes: &[u8]| send_file(&d.admin, "/v1/backups/inspect", bytes);
    for nothing in [&[0; 5000][..], &b"%PDF-1.7".repeat(100)] {
        both(nothing, ErrorCode::NotAnArchive, "");
        inspected(nothing).fails(ErrorCode::NotAnArchive, "");
    }
    for cut in [good.len() - 1, good.len() / 2, 40, 5, 0] {
        both(&good[..cut], ErrorCode::ArchiveDamaged, "");
        inspected(&good[..cut]).fails(ErrorCode::ArchiveDamaged, "");
    }
    for at in [20, 200, good.len() / 2, good.len() - 60, good.len() - 14] {
        let mut bad = good.clone();
        bad[at] ^= 1;
        let answer = upload(&d.admin, &bad);
        assert!(
            [ErrorCode::ArchiveDamaged, ErrorCode::NotAnArchive]
                .map(|c| u64::from(c.number()))
                .contains(&answer.json["code"].as_u64().unwrap()),
            "a bit flipped at {at}: {answer}"
        );
    }
    let newer = reheaded(&good, |h| h["format"] = json!(2));
    both(&newer, ErrorCode::NewerFormat, "");
    inspected(&newer).fails(ErrorCode::NewerFormat, "");
    both(&reheaded(&good, |h| h["description"] = json!("forged")), ErrorCode::ArchiveDamaged, "");
    // A wrap with fewer factors than a door asks for.
    let more = json!([{ "factors": [{ "kind": "backup-key", "id": id }, { "kind": "hsm", "id": "root" }] }]);
    both(&reheaded(&good, |h| h["doors"] = more), ErrorCode::ArchiveDamaged, "");
    // Nothing is left of any of them.
    assert_eq!(std::fs::read_dir(server.settings.data.join("uploads")).unwrap().count(), 0);
    assert_eq!(std::fs::read_dir(server.settings.data.join("backups")).unwrap().count(), 0);

    // The scopes: a domain's restorers upload no system archive, and a system's no domain archive of another.
    backup_key(&server.admin, "system");
    let system = download(&server.admin, &take_system(&server));
    assert!([403, 404].contains(&upload(&d.admin, &system).status));
    upload(&d.admin, &good).ok(201);
    // Altered where it lies: found at the plan, at the restore and never taken for good.
    let path = archive_path(&server, &id);
    let mut bad = good.clone();
    let middle = bad.len() / 2;
    bad[middle] ^= 1;
    std::fs::write(&path, bad).unwrap();
    plan(&d.admin, &id, json!({})).fails(ErrorCode::ArchiveDamaged, "");
    key_delete(&d.admin, "k");
    let job = restore_any(&d.admin, &id, json!({ "includeDeleted": true }));
    assert_eq!(job["status"], "failed");
    assert_eq!(key_names(&d.admin), Vec::<String>::new());
    std::fs::write(&path, good).unwrap();
    restore(&d.admin, &id, json!({ "includeDeleted": true }));
    assert_eq!(key_names(&d.admin), ["k"]);
}

#[test]
fn an_archive_in_the_place_of_another_is_found_out() {
    let server = TestServer::start();
    let d = server.domain("d");
    crate::support::backup_key(&d.admin, "domain");
    d.admin.key(json!({ "name": "early" }));
    let early = crate::support::take_domain(&server, &d.admin);
    d.admin.key(json!({ "name": "late" }));
    let late = crate::support::take_domain(&server, &d.admin);
    std::fs::copy(crate::support::archive_path(&server, &early), crate::support::archive_path(&server, &late)).unwrap();
    // It is whole and signed, and not what its name says.
    crate::support::plan(&d.admin, &late, json!({})).fails(ErrorCode::ArchiveDamaged, "exchanged");
    d.admin.get(&format!("/v1/backups/{late}/contents")).fails(ErrorCode::ArchiveDamaged, &early);
    let job = crate::support::restore_any(&d.admin, &late, json!({}));
    assert_eq!(job["status"], "failed", "{job}");
    crate::support::plan(&d.admin, &early, json!({})).ok(200);
}
