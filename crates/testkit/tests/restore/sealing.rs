//! Which keys seal what, before and after a restore: a new MKEK, new generations, and archives sealed anew.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use keyark_archive::Archive;
use keyark_backup::source;
use keyark_crypto::keyring::{KekOwner, Mkek, SEALS_PER_GENERATION};
use keyark_crypto::root::FileRoot;
use keyark_crypto::seal::generation_of;
use keyark_model::key::KeyHeader;
use keyark_model::system::{BackupHeader, BackupKeyHeader, KekHeader};
use keyark_model::{DomainId, Id, Kind};
use keyark_server::app::Core;
use keyark_store::Write;
use keyark_testkit::TestServer;
use keyark_testkit::client::text;
use serde_json::{Value, json};

use crate::support::{archive_path, backup_key, exported, recovery, restore, take_any, take_domain, take_system};

fn domain_id(text: &str) -> DomainId {
    DomainId(text.parse::<Id>().unwrap().0)
}

/// The generation under which each key of a domain is sealed, by name.
fn generations(server: &TestServer, domain: DomainId) -> BTreeMap<String, u32> {
    let core = server.app().core().unwrap();
    let all = core.load_all::<KeyHeader>(domain).unwrap();
    all.iter().map(|k| (k.header.name.to_string(), generation_of(&k.record.body).unwrap())).collect()
}

/// What an archive holds: KEKs in clear by generation, and records by (kind, id) with their bodies as they stand.
type Inside = (BTreeMap<(DomainId, u32), Vec<u8>>, BTreeMap<(Kind, Id), Vec<u8>>);

fn inside(server: &TestServer, backup: &str) -> Inside {
    let core = server.app().core().unwrap();
    let stored = core.load::<BackupHeader>(DomainId::ROOT, backup.parse().unwrap()).unwrap();
    let key = core.load::<BackupKeyHeader>(DomainId::ROOT, stored.header.backup_key).unwrap();
    let archive = Archive::open(File::open(archive_path(server, backup)).unwrap()).unwrap();
    let opened = source::unlock(&archive, key.id(), &core.backup_key_material(&key).unwrap()).unwrap();
    let keks = opened.keks.iter().map(|(at, kek)| (*at, kek.key().expose().to_vec())).collect();
    let mut records = BTreeMap::new();
    let read = opened.unlocked.each_record::<source::SourceError>(|r| {
        records.insert((r.kind, r.id), r.body.to_vec());
        Ok(())
    });
    read.unwrap();
    (keks, records)
}

fn kek_headers(server: &TestServer) -> Vec<(DomainId, KekHeader)> {
    let core = server.app().core().unwrap();
    let mut all = Vec::new();
    for domain in core.store.domains().unwrap() {
        all.extend(core.load_all::<KekHeader>(domain).unwrap().into_iter().map(|k| (domain, k.header.clone())));
    }
    all
}

/// The MKEK that a store's record holds, opened by the root of trust of this server.
fn mkek_of(server: &TestServer, keks: &[(DomainId, KekHeader)]) -> Mkek {
    let root = FileRoot::open(&server.settings.data.join("root.key"), None).unwrap();
    let (_, header) = keks.iter().find(|(_, k)| k.purpose == "mkek").unwrap();
    let system = server.app().core().unwrap().system;
    Mkek::unwrap(system, &root, &STANDARD.decode(&header.wrapped).unwrap()).unwrap()
}

#[test]
fn a_system_restore_makes_a_new_mkek_and_wraps_every_kek_again() {
    let mut server = TestServer::start();
    let d = server.domain("d");
    let domain = domain_id(&d.id);
    d.admin.key(json!({ "name": "before" }));
    d.admin.post(&format!("/v1/domains/{}/rotate-kek", d.id), json!({})).ok(200);
    while generations(&server, domain)["before"] != 2 {
        std::thread::yield_now();
    }
    backup_key(&server.admin, "system");
    let keks = kek_headers(&server);
    let old = mkek_of(&server, &keks);
    let old_keys: BTreeMap<_, Vec<u8>> = {
        let core = server.app().core().unwrap();
        [DomainId::ROOT, domain]
            .into_iter()
            .flat_map(|o| core.keyring.generations(KekOwner::Domain(o)).into_iter().map(move |k| (o, k)))
            .map(|(o, k)| ((o, k.generation), k.key().expose().to_vec()))
            .collect()
    };
    let sealed_before = generations(&server, domain);
    let backup = take_system(&server);
    restore(&server.admin, &backup, json!({ "confirm": "system" }));

    let after = kek_headers(&server);
    let new = mkek_of(&server, &after);
    assert_ne!(new.fingerprint(), old.fingerprint(), "a new MKEK");
    let mut seen = BTreeSet::new();
    for (owner, header) in after.iter().filter(|(_, k)| k.purpose != "mkek") {
        let of = if header.purpose == "kek" { KekOwner::Domain(*owner) } else { KekOwner::Local };
        let wrapped = STANDARD.decode(&header.wrapped).unwrap();
        let kek = new.unwrap_kek(of, header.generation, &wrapped).expect("it is wrapped by the new MKEK");
        assert!(old.unwrap_kek(of, header.generation, &wrapped).is_err(), "and not by the old one");
        if of == KekOwner::Local {
            continue;
        }
        match old_keys.get(&(*owner, header.generation)) {
            // A restored generation is the same key and only opens.
            Some(key) => {
                assert_eq!(kek.key().expose().as_slice(), key, "generation {}", header.generation);
                assert!(!header.current && header.reserved == 0, "{header:?}");
                seen.insert((*owner, header.generation));
            }
            None => assert!(header.current && old_keys.keys().all(|(o, g)| o != owner || *g < header.generation)),
        }
    }
    assert_eq!(seen, old_keys.keys().copied().collect(), "every carried generation is here");

    // What was sealed stays as it is; what is sealed from now on is under the new generation, after a restart too.
    assert_eq!(generations(&server, domain), sealed_before);
    let newest = old_keys.keys().filter(|(o, _)| *o == domain).map(|(_, g)| *g).max().unwrap() + 1;
    d.admin.renew();
    d.admin.key(json!({ "name": "after" }));
    assert_eq!(generations(&server, domain)["after"], newest);
    server.restart();
    let admin = server.admin.log_in(json!({
        "username": "d-admin", "password": keyark_testkit::server::PASSWORD, "auth_domain": "d",
    }));
    admin.key(json!({ "name": "later" }));
    assert_eq!(generations(&server, domain)["later"], newest);
}

#[test]
fn keks_that_are_restored_elsewhere_only_open_and_every_domain_seals_under_a_new_generation() {
    let server = TestServer::start();
    let d = server.domain("d");
    let domain = domain_id(&d.id);
    d.admin.key(json!({ "name": "before" }));
    let old = d.admin.encrypt("before", "old data");
    let file = exported(&server.admin, &backup_key(&server.admin, "system"));
    let backup = take_system(&server);
    let here = server.app().core().unwrap().keyring.current(KekOwner::Domain(domain)).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    recovery(&data, &archive_path(&server, &backup), &file).unwrap();
    let elsewhere = TestServer::start_again(&data);
    let login = json!({ "username": "d-admin", "password": keyark_testkit::server::PASSWORD, "auth_domain": "d" });
    let admin = elsewhere.admin.log_in(login);
    assert_eq!(admin.decrypt(&old), "old data");
    admin.key(json!({ "name": "after" }));
    assert_eq!(generations(&elsewhere, domain)["after"], here + 1);
    let core = elsewhere.app().core().unwrap();
    let opened_only = core.load_all::<KekHeader>(domain).unwrap();
    assert!(opened_only.iter().any(|k| k.header.generation == here && !k.header.current && k.header.reserved == 0));
    // Both go on, and never under one key.
    d.admin.key(json!({ "name": "after" }));
    assert_eq!(generations(&server, domain)["after"], here);
}

#[test]
fn a_domains_backup_is_sealed_anew_under_a_kek_of_its_own() {
    let server = TestServer::start();
    let d = server.domain("d");
    let domain = domain_id(&d.id);
    backup_key(&d.admin, "domain");
    d.admin.key(json!({ "name": "k" }));
    let mut seen: BTreeSet<Vec<u8>> = BTreeSet::new();
    let own: Vec<Vec<u8>> = {
        let core = server.app().core().unwrap();
        core.keyring.generations(KekOwner::Domain(domain)).iter().map(|k| k.key().expose().to_vec()).collect()
    };
    seen.extend(own);
    let filters = json!([{ "resourceType": "Keys", "resourceQuery": { "name": "k" } }]);
    let filtered = crate::support::take(&server, &d.admin, json!({ "scope": "domain", "filters": filters }));
    for backup in [take_domain(&server, &d.admin), take_domain(&server, &d.admin), text(&filtered, "id")] {
        let (keks, records) = inside(&server, &backup);
        assert_eq!(keks.len(), 1, "one KEK for the archive");
        for kek in keks.into_values() {
            assert!(seen.insert(kek), "no two archives and no domain share a KEK");
        }
        let core = server.app().core().unwrap();
        for ((kind, id), body) in records {
            let here = core.store.get(domain, kind, id).unwrap().unwrap();
            assert_ne!(*here.body, *body, "{kind} {id} travels as it is sealed here");
        }
    }
}

#[test]
fn a_system_backup_opens_and_seals_no_record() {
    let server = TestServer::start();
    let d = server.domain("d");
    let domain = domain_id(&d.id);
    backup_key(&server.admin, "system");
    backup_key(&d.admin, "domain");
    let made: Id = text(&d.admin.key(json!({ "name": "good" })), "id").parse().unwrap();
    let core = server.app().core().unwrap();
    let template = core.load::<KeyHeader>(domain, made).unwrap();
    // A thousand bodies that no key opens: whoever opened or sealed one of them would fail or change it.
    let mut bodies = BTreeMap::new();
    let writes = (0..1000_u32).map(|n| {
        let mut header = template.header.clone();
        header.name = format!("opaque-{n}").as_str().parse().unwrap();
        let id = Core::new_id(server.now());
        let mut body = template.record.body.to_vec();
        *body.last_mut().unwrap() ^= 1;
        body.splice(4..8, n.to_be_bytes());
        bodies.insert((Kind::Key, id), body.clone());
        let header = serde_json::to_vec(&header).unwrap().into();
        Write::Put { kind: Kind::Key, id, revision: 1, header, body: body.into(), purge: false }
    });
    core.commit_as_system(server.now(), domain, "test", vec![], writes.collect()).unwrap();
    drop(core);
    let taken = take_any(&server.admin, json!({ "scope": "system" }));
    assert_eq!(taken["status"], "Completed", "{taken}");
    let (_, records) = inside(&server, &text(&taken, "id"));
    let untouched = bodies.iter().filter(|(at, body)| records.get(at) == Some(body)).count();
    assert_eq!(untouched, 1000, "every body travels as it stands");
    // The control: a domain's backup, which seals anew, must open them and cannot.
    let refused = take_any(&d.admin, json!({ "scope": "domain" }));
    assert!(text(&refused, "status").starts_with("Failed"), "{refused}");
}

#[test]
fn a_generation_that_reaches_its_limit_is_rotated() {
    let mut server = TestServer::start();
    server.admin.key(json!({ "name": "first" }));
    let old = server.admin.encrypt("first", "old data");
    let step = 1 << 24;
    let set_reserved = |server: &TestServer, reserved: u64| {
        let core = server.app().core().unwrap();
        for stored in core.load_all::<KekHeader>(DomainId::ROOT).unwrap() {
            if stored.header.purpose != "mkek" {
                let header = KekHeader { reserved, ..stored.header.clone() };
                let write = Core::kek_write(stored.id(), stored.revision() + 1, &header).unwrap();
                core.commit_as_system(server.now(), DomainId::ROOT, "test", vec![], vec![write]).unwrap();
            }
        }
    };
    let reserved = |server: &TestServer| -> BTreeMap<(String, u32), u64> {
        let all = kek_headers(server);
        all.into_iter().map(|(_, k)| ((k.purpose.clone(), k.generation), k.reserved)).collect()
    };
    let kek = |generation| ("kek".to_owned(), generation);
    // There is room for one more reservation, exactly.
    set_reserved(&server, SEALS_PER_GENERATION - step);
    server.restart();
    server.admin.key(json!({ "name": "second" }));
    assert_eq!(reserved(&server)[&kek(1)], SEALS_PER_GENERATION);
    assert_eq!(generations(&server, DomainId::ROOT)["second"], 1);
    // What was reserved counts as used: now it is full, for the local KEK as well.
    server.restart();
    server.admin.key(json!({ "name": "third" }));
    backup_key(&server.admin, "system");
    assert_eq!(generations(&server, DomainId::ROOT)["third"], 2);
    let all = reserved(&server);
    assert_eq!(all[&kek(1)], SEALS_PER_GENERATION, "never past the limit");
    assert!(all[&kek(2)] < step && all.contains_key(&("local-kek".to_owned(), 2)), "{all:?}");
    // Everything still opens, now and after another start.
    for _ in 0..2 {
        assert_eq!(server.admin.decrypt(&old), "old data");
        let keys = server.admin.get("/v1/backupkeys").ok(200);
        exported(&server.admin, &text(&keys["resources"][0], "id"));
        server.restart();
    }
    let names: Vec<Value> =
        server.admin.get("/v1/vault/keys2?limit=-1").ok(200)["resources"].as_array().unwrap().clone();
    assert_eq!(names.len(), 3);
}
