//! What no archive may hold: every archive that a test's server made is opened and searched for it.

use std::fs::File;
use std::path::Path;

use base64::Engine as _;
use keyark_archive::Archive;
use keyark_backup::source;
use keyark_crypto::keyring::KekOwner;
use keyark_crypto::root::{FileRoot, RootOfTrust as _};
use keyark_crypto::wrap::Purpose;
use keyark_model::system::{BackupHeader, BackupKeyHeader, KekHeader, NodeHeader};
use keyark_model::{DomainId, Id, Kind};
use keyark_server::app::Core;

use crate::TestServer;

/// Secrets of the kinds that are never shipped, and the keys above them, with a name for the message.
///
/// # Panics
/// When the store cannot be read.
pub fn canaries(server: &TestServer) -> Vec<(String, Vec<u8>)> {
    let core = server.app().core().expect("no restore is running");
    let mut found = Vec::new();
    for key in core.load_all::<BackupKeyHeader>(DomainId::ROOT).expect("readable") {
        let bytes = core.backup_key_material(&key).expect("it opens");
        found.push((format!("backup key {}", key.id()), bytes.expose().to_vec()));
    }
    for node in core.load_all::<NodeHeader>(DomainId::ROOT).expect("readable") {
        let bytes = core.open_body(&node).expect("it opens");
        if !bytes.expose().is_empty() {
            found.push((format!("node secret {}", node.header.name), bytes.expose().to_vec()));
        }
    }
    for domain in core.store.domains().expect("readable") {
        for kek in core.load_all::<KekHeader>(domain).expect("readable") {
            let wrapped = base64::engine::general_purpose::STANDARD.decode(&kek.header.wrapped).expect("base64");
            if kek.header.purpose == "mkek" {
                found.extend(masters(server, &core, &wrapped));
            }
            found.push((format!("wrapped {}", kek.header.purpose), wrapped));
            found.push((format!("wrapped {} as text", kek.header.purpose), kek.header.wrapped.clone().into_bytes()));
        }
        for kind in [Kind::Session, Kind::Job] {
            let scanned = core.store.scan(domain, kind, |r| {
                found.push((format!("header of {kind}"), r.header.to_vec()));
                std::ops::ControlFlow::Continue(())
            });
            scanned.expect("readable");
        }
    }
    for kek in core.keyring.generations(KekOwner::Local) {
        found.push(("local KEK".into(), kek.key().expose().to_vec()));
    }
    found.push(("token of the administrator".into(), server.admin.token().into_bytes()));
    found.retain(|(_, bytes)| bytes.len() >= 16);
    found
}

/// The MKEK and the root of trust, in clear.
fn masters(server: &TestServer, core: &Core, wrapped: &[u8]) -> Vec<(String, Vec<u8>)> {
    let path = server.settings.data.join("root.key");
    let Ok(root) = FileRoot::open(&path, None) else { return Vec::new() };
    let purpose = Purpose { name: "mkek", context: core.system.as_bytes(), domain: &[0; 16], generation: 1 };
    let mkek = root.unwrap(&purpose, wrapped).expect("the root of this server");
    let file: serde_json::Value = serde_json::from_slice(&std::fs::read(path).expect("readable")).expect("JSON");
    let text = file["key"].as_str().expect("a root file holds its key").to_owned();
    let key = base64::engine::general_purpose::STANDARD.decode(&text).expect("base64");
    vec![
        ("MKEK".into(), mkek.expose().clone()),
        ("root of trust".into(), key),
        ("root of trust as text".into(), text.into_bytes()),
    ]
}

/// Everything of an archive in clear: each header, sealed body and opened body.
fn in_clear(path: &Path, id: Id, key: &keyark_crypto::Key256) -> Vec<u8> {
    let archive = Archive::open(File::open(path).expect("an archive")).expect("a whole archive");
    let opened = source::unlock(&archive, id, key).expect("it opens");
    let mut all = std::fs::read(path).expect("readable");
    let read = opened.unlocked.each_record::<source::SourceError>(|r| {
        all.extend_from_slice(r.header);
        all.extend_from_slice(r.body);
        // What a test made unreadable on purpose stays as it stands.
        all.extend_from_slice(&opened.body(&r).map(|b| b.expose().clone()).unwrap_or_default());
        Ok(())
    });
    read.expect("every block opens");
    for gone in opened.unlocked.tombstones().expect("tombstones") {
        all.extend_from_slice(gone.expect("a tombstone").name.unwrap_or_default().as_bytes());
    }
    all
}

/// Opens every block of an archive and searches it for what no archive may hold.
///
/// # Panics
/// When it holds any of that, or does not open.
#[track_caller]
pub fn no_canary(server: &TestServer, backup: &str) {
    let core = server.app().core().expect("no restore is running");
    let id: Id = backup.parse().expect("an id");
    let stored = core.load::<BackupHeader>(DomainId::ROOT, id).expect("in the catalogue");
    let key = core.load::<BackupKeyHeader>(DomainId::ROOT, stored.header.backup_key).expect("its key");
    let material = core.backup_key_material(&key).expect("it opens");
    let path = server.settings.data.join("backups").join(format!("{backup}.keyark"));
    searched(&in_clear(&path, key.id(), &material), &canaries(server), backup);
}

fn searched(all: &[u8], canaries: &[(String, Vec<u8>)], archive: &str) {
    for needed in ["MKEK", "root of trust", "local KEK", "node secret signing", "node secret jwt", "backup key"] {
        assert!(canaries.iter().any(|(what, _)| what.starts_with(needed)), "no canary of the {needed}");
    }
    for (what, canary) in canaries {
        assert!(!holds(all, canary), "the archive {archive} holds the {what}");
    }
}

/// Whether some bytes hold others.
pub fn holds(haystack: &[u8], needle: &[u8]) -> bool {
    let Some(first) = needle.first() else { return true };
    let candidates = haystack.iter().enumerate().filter(|(_, b)| *b == first);
    candidates.map(|(at, _)| &haystack[at..]).any(|rest| rest.starts_with(needle))
}
