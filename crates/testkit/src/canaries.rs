//! What no archive may hold: every archive that a test's server made is opened and searched for it.

use std::collections::HashMap;
use std::fs::File;
use std::path::Path;

use keyark_archive::{Archive, RecordRef};
use keyark_backup::Destination as _;
use keyark_backup::destination::list_all;
use keyark_backup::destination::local::Local;
use keyark_backup::source;
use keyark_backup::stream::survey;
use keyark_backup::take::name_of;
use keyark_crypto::keyring::KekOwner;
use keyark_crypto::root::{FileRoot, RootOfTrust as _};
use keyark_crypto::seal::{Kek, generation_of};
use keyark_crypto::wrap::Purpose;
use keyark_model::system::{BackupHeader, BackupKeyHeader, BackupStatus, KekHeader, NodeHeader};
use keyark_model::{ChangeContent, DomainId, Entry, Id, Kind};
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
            let wrapped = base64_simd::STANDARD.decode_to_vec(&kek.header.wrapped).expect("base64");
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
    let key = base64_simd::STANDARD.decode_to_vec(&text).expect("base64");
    vec![
        ("MKEK".into(), mkek.expose().clone()),
        ("root of trust".into(), key),
        ("root of trust as text".into(), text.into_bytes()),
    ]
}

/// Everything of an archive in clear: each header, sealed body and opened body.
fn file_in_clear(path: &Path, id: Id, key: &keyark_crypto::Key256) -> Vec<u8> {
    let archive = Archive::open(File::open(path).expect("an archive")).expect("a whole archive");
    let opened = source::unlock(&archive, id, key).expect("it opens");
    let mut all = std::fs::read(path).expect("readable");
    let read = opened.unlocked.each_record::<source::SourceError>(|r| {
        all.extend_from_slice(r.header);
        all.extend_from_slice(r.body);
        // What a test made unreadable on purpose stays as it stands.
        all.extend_from_slice(opened.body(&r).map(|b| b.expose().clone()).unwrap_or_default().as_slice());
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
    searched(&in_clear(server, backup), &canaries(server), backup);
}

/// Everything of an archive of this server in clear.
///
/// # Panics
/// When there is none or its key is not here.
pub fn in_clear(server: &TestServer, backup: &str) -> Vec<u8> {
    let core = server.app().core().expect("no restore is running");
    let id: Id = backup.parse().expect("an id");
    let stored = core.load::<BackupHeader>(DomainId::ROOT, id).expect("in the catalogue");
    let key = core.load::<BackupKeyHeader>(DomainId::ROOT, stored.header.backup_key).expect("its key");
    let material = core.backup_key_material(&key).expect("it opens");
    let path = server.settings.data.join("backups").join(format!("{backup}.keyark"));
    file_in_clear(&path, key.id(), &material)
}

fn searched(all: &[u8], canaries: &[(String, Vec<u8>)], archive: &str) {
    for needed in ["MKEK", "root of trust", "local KEK", "node secret signing", "node secret jwt", "backup key"] {
        assert!(canaries.iter().any(|(what, _)| what.starts_with(needed)), "no canary of the {needed}");
    }
    for (what, canary) in canaries {
        assert!(!holds(all, canary), "the archive {archive} holds the {what}");
    }
}

/// Searches every whole archive of a server whose key is here; called when its test ends.
pub(crate) fn every_archive(server: &TestServer) {
    let Ok(core) = server.app().core() else { return };
    let Ok(all) = core.load_all::<BackupHeader>(DomainId::ROOT) else { return };
    let known = canaries(server);
    for backup in all.iter().filter(|b| b.header.status == BackupStatus::Completed && !b.header.uploaded) {
        let path = server.settings.data.join("backups").join(format!("{}.keyark", backup.id()));
        let Ok(key) = core.load::<BackupKeyHeader>(DomainId::ROOT, backup.header.backup_key) else { continue };
        let material = core.backup_key_material(&key).expect("it opens");
        // A test that damaged or exchanged it has said what it wanted to say; records made unreadable on purpose, too.
        let whole = File::open(&path).ok().and_then(|f| Archive::open(f).ok());
        if whole.is_some_and(|a| {
            a.header().id.0 == backup.id().0 && a.verify(&core.anchor).is_ok_and(|v| v.require_pinned().is_ok())
        }) {
            searched(&file_in_clear(&path, key.id(), &material), &known, &backup.id().to_string());
        }
    }
}

/// Opens every archive of every stream in a folder and searches it, and every object as it lies there, for what none may hold.
///
/// # Panics
/// When one holds any of that, or does not open.
pub fn no_canary_at(server: &TestServer, folder: &Path) {
    let core = server.app().core().expect("no restore is running");
    let known = canaries(server);
    let place = Local::open(folder).expect("a destination");
    let opener = core.opener(&place).expect("its backup keys open");
    for found in list_all(&place, "").expect("a list") {
        let bytes = place.read(&found.name, 0..found.size).expect("readable");
        searched(&bytes, &known, &found.name);
    }
    for seen in survey(&place).expect("a list") {
        let stream = seen.catalogue.place;
        let segments = seen.catalogue.segments.iter().map(|s| &s.found);
        for found in seen.catalogue.fulls.iter().map(|f| &f.found).chain(segments) {
            let archive = Archive::open(place.read(&found.name, 0..found.size).expect("readable")).expect("an archive");
            let epoch = opener.epoch_of(&stream, archive.header(), found).expect("its epoch");
            let unlocked = archive.unlock(&epoch.opening()).expect("it opens");
            let keks: HashMap<(DomainId, u32), Kek> = unlocked
                .keks()
                .expect("its KEKs")
                .into_iter()
                .map(|k| ((k.domain, k.generation as u32), Kek::new(k.generation as u32, k.key)))
                .collect();
            let mut clear = Vec::new();
            let mut add = |r: &RecordRef<'_>| {
                clear.extend_from_slice(r.header);
                let kek = generation_of(r.body).and_then(|generation| keks.get(&(r.domain, generation)));
                let body = kek.and_then(|kek| kek.open(&name_of(r), r.header, r.body).ok());
                clear.extend_from_slice(body.as_ref().map_or(b"", |b| b.expose()));
            };
            for record in unlocked.records().expect("records") {
                add(&RecordRef::of(&record.expect("a record")));
            }
            let mut raw = Vec::new();
            for stored in unlocked.entries().expect("entries") {
                let stored = stored.expect("an entry");
                raw.extend_from_slice(&stored.bytes);
                let (entry, _) = Entry::decode(&stored.bytes).expect("an entry");
                for c in &entry.changes {
                    if let ChangeContent::Put { header, body } = &c.content {
                        let (kind, domain, id, revision, time) = (c.kind, entry.domain, c.id, c.revision, entry.time);
                        add(&RecordRef { kind, domain, id, revision, time, header, body });
                    }
                }
            }
            searched(&[raw, clear].concat(), &known, &found.name);
        }
    }
}

/// Whether some bytes hold others.
pub fn holds(haystack: &[u8], needle: &[u8]) -> bool {
    memchr::memmem::find(haystack, needle).is_some()
}
