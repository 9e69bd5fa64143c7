//! The golden archives of format 1 open: whatever this version is, it reads what the first one wrote.

use std::collections::BTreeMap;
use std::path::PathBuf;

use keyark_archive::keyfile::{BackupKeyFile, keyfile_open};
use keyark_archive::{Archive, Decimal, FactorKind, OpeningKey, Scope, Verdict};
use serde_json::Value;

fn fixture(name: &str) -> Vec<u8> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/archive-v1");
    std::fs::read(folder.join(name)).unwrap()
}

fn key_file(name: &str) -> BackupKeyFile {
    let readme = String::from_utf8(fixture("README.md")).unwrap();
    let row = readme.lines().find(|l| l.starts_with(&format!("| {name} |"))).unwrap();
    let passphrase = row.split('`').nth(1).unwrap();
    let text = String::from_utf8(fixture(&format!("{name}-backup-key.jwe"))).unwrap();
    keyfile_open(&text, passphrase).unwrap()
}

#[test]
fn every_golden_archive_is_verified_and_read() {
    let expected: Vec<Value> = serde_json::from_slice(&fixture("expected.json")).unwrap();
    for (name, scope) in [("system", Scope::System), ("domain", Scope::Domain)] {
        let file = key_file(name);
        let id = file.info.keyid.to_string();
        let opening = OpeningKey { kind: FactorKind::BackupKey, id: &id, key: &file.key };

        let bytes = fixture(&format!("{name}.keyark"));
        let archive = Archive::open(&bytes).unwrap();
        assert!(matches!(archive.verify(&file.anchor).unwrap(), Verdict::SignedByPinned { .. }));
        let header = archive.header();
        assert_eq!((header.scope, header.format), (scope, 1));
        assert_eq!(header.description.clone().unwrap(), format!("golden full backup of the {name}"));
        assert_eq!(archive.inspect(Some(&file.anchor)).backup_key_id, id);
        let unlocked = archive.unlock(&opening).unwrap();
        let of_scope = |e: &&Value| header.domain.is_none_or(|d| e["domain"] == d.to_string());
        let wanted: BTreeMap<&str, &Value> =
            expected.iter().filter(of_scope).map(|e| (e["id"].as_str().unwrap(), e)).collect();
        assert_eq!(wanted.len(), if scope == Scope::System { 120 } else { 80 });
        let counts = unlocked.verify_full(|r| {
            let e = wanted[r.id.to_string().as_str()];
            assert_eq!(e["header"].as_str().unwrap().as_bytes(), r.header);
            assert_eq!((&e["kind"], &e["revision"]), (&r.kind.word().into(), &r.revision.into()));
            assert_eq!(
                (e["domain"].as_str().unwrap(), e["time"].as_str().unwrap()),
                (&*r.domain.to_string(), &*r.time.to_string())
            );
            // generation, nonce, tag around as many bytes as the clear text has.
            assert_eq!(r.body.len(), 32 + e["clear"].as_str().unwrap().len());
        });
        assert_eq!(counts.unwrap().records.values().sum::<u64>(), wanted.len() as u64);
        assert_eq!(unlocked.keks().unwrap().len(), if scope == Scope::System { 3 } else { 2 });
        assert_eq!(unlocked.tombstones().unwrap().next().unwrap().unwrap().name.unwrap(), "destroyed");

        let bytes = fixture(&format!("{name}-segment.keyark"));
        let archive = Archive::open(&bytes).unwrap();
        assert!(matches!(archive.verify(&file.anchor).unwrap(), Verdict::SignedByPinned { .. }));
        assert_eq!(archive.footer().entries, None::<Decimal>);
        let unlocked = archive.unlock(&opening).unwrap();
        assert_eq!(unlocked.description(), format!("golden segment of the {name}"));
        let entries: Vec<_> = unlocked.entries().unwrap().map(Result::unwrap).collect();
        assert_eq!(entries.iter().map(|e| e.seq).collect::<Vec<_>>(), (201..=210).collect::<Vec<_>>());
        assert!(entries.iter().all(|e| e.bytes[..] == *format!("opaque entry {}", e.seq).as_bytes()));
    }
}
