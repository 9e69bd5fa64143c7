//! Containers of Azure Blob: what shared access signatures may do, and what is locked. The server of the tests checks every signature,
//! and keeps neither versions nor policies: a proxy says for it what Azure documents.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use keyark_backup::destination::{Content, Destination, DestinationError, list_all};
use keyark_model::Time;
use keyark_model::protection::{Lock, LockMode};
use keyark_testkit::azure::AzureServer;
use keyark_testkit::destinations::conformance;
use keyark_testkit::listening::header_of;
use keyark_testkit::proxy::{Fault, Proxy};

const UNTIL: &str = "x-ms-immutability-policy-until-date";
const MODE: &str = "x-ms-immutability-policy-mode";
const IMMUTABLE: &str = "<?xml version=\"1.0\"?><Error><Code>BlobImmutableDueToPolicy</Code>\
    <Message>This operation is not permitted as the blob is immutable due to a policy.</Message></Error>";

/// What the proxy saw: by address the lock of each object, and what was asked to be deleted.
#[derive(Default)]
struct Seen {
    locks: BTreeMap<String, (String, String)>,
    deleted: Vec<String>,
}

/// A container that keeps versions and locks.
fn immutable(endpoint: &str, kept: &Arc<Mutex<Seen>>) -> Proxy {
    let kept = kept.clone();
    Proxy::start(endpoint, move |head| {
        let mut kept = kept.lock().unwrap();
        let mut words = head.split(' ');
        let (method, target) = (words.next()?, words.next()?);
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        match (method, kept.locks.get(path)) {
            ("PUT", _) => {
                let lock = header_of(head, UNTIL).zip(header_of(head, MODE))?;
                kept.locks.insert(path.into(), (lock.0.into(), lock.1.into()));
                None
            }
            ("HEAD", None) => Some(Fault::Headers("x-ms-version-id: 2026-01-02T03:04:05.0000000Z\r\n".into())),
            ("HEAD", Some((until, mode))) => Some(Fault::Headers(format!("{UNTIL}: {until}\r\n{MODE}: {mode}\r\n"))),
            ("DELETE", Some(_)) => Some(Fault::Refused(409, IMMUTABLE)),
            ("DELETE", None) => {
                kept.deleted.push(query.into());
                None
            }
            _ => None,
        }
    })
}

#[test]
fn what_is_locked_is_not_deleted_and_says_until_when() {
    let (server, kept, folder) = (AzureServer::start(), Arc::default(), tempfile::tempdir().unwrap());
    let proxy = immutable(&server.endpoint, &kept);
    let large = folder.path().join("large");
    std::fs::write(&large, vec![7; 17 << 20]).unwrap();
    let written = std::fs::metadata(&large).unwrap().modified().unwrap();
    let now = written.duration_since(std::time::UNIX_EPOCH).unwrap().as_secs() as f64;
    let days = |until: Time| ((until.0 as f64 / 1e6 - now) / 86_400.0).round() as i64;
    let stream = "00000000-0000-0000-0000-000000000001/00000000-0000-0000-0000-000000000002/00000000-0000-0000-0000-000000000003";
    let full = format!("{stream}/full/00000000000000000007-20260131T235959.999999Z.keyark");
    for (mode, word, content, name, held) in [
        (LockMode::Compliance, "locked", Content::File(&large), full.as_str(), 30),
        (LockMode::Governance, "unlocked", Content::Bytes(b"x"), "a/note", 1),
    ] {
        let place = server.open_at(&proxy.endpoint, "").locking(Some(Lock { mode, days: 30 }));
        place.create(name, content).unwrap();
        assert_eq!(place.create(name, content), Err(DestinationError::Exists(name.into())));
        assert_eq!(kept.lock().unwrap().locks.last_key_value().unwrap().1.1, word);
        let refused = place.delete(name).unwrap_err();
        assert_eq!(place.check_free(name), Err(refused.clone()));
        assert!(
            matches!(&refused, DestinationError::Locked { until: Some(at), .. } if days(*at) == held),
            "{refused:?}"
        );
        assert_eq!(place.size(name), Ok(content.size().unwrap()));
        kept.lock().unwrap().locks.clear();
    }
}

#[test]
fn what_is_forbidden_to_delete_without_a_known_end_is_told_with_the_reason() {
    let server = AzureServer::start();
    let proxy =
        Proxy::start(&server.endpoint, |head| head.starts_with("DELETE").then_some(Fault::Refused(409, IMMUTABLE)));
    let place = server.open_at(&proxy.endpoint, "");
    place.create("a/b", Content::Bytes(b"x")).unwrap();
    let refused = place.delete("a/b");
    assert!(
        matches!(&refused, Err(DestinationError::Denied(why)) if why.contains("immutable due to a policy")),
        "{refused:?}"
    );
}

#[test]
fn what_is_deleted_where_versions_are_kept_is_deleted_as_a_version_too() {
    let (server, kept) = (AzureServer::start(), Arc::default());
    let proxy = immutable(&server.endpoint, &kept);
    let place = server.open_at(&proxy.endpoint, "");
    place.create("a/b", Content::Bytes(b"x")).unwrap();
    place.delete("a/b").unwrap();
    assert_eq!(kept.lock().unwrap().deleted, ["", "versionid=2026-01-02T03:04:05.0000000Z"]);
}

#[test]
fn a_shared_access_signature_does_what_its_letters_say() {
    let (server, folder) = (AzureServer::start(), tempfile::tempdir().unwrap());
    let large = folder.path().join("large");
    std::fs::write(&large, vec![7; 17 << 20]).unwrap();
    conformance(&server.open_as(&server.signature("rcwdl", "2099-01-01T00:00:00Z"), ""));
    let place = server.open_as(&server.signature("rcl", "2099-01-01T00:00:00Z"), "");
    for (name, content) in [("a/small", Content::Bytes(b"x")), ("a/large", Content::File(&large))] {
        place.create(name, content).unwrap();
        assert_eq!(place.create(name, content), Err(DestinationError::Exists(name.into())));
        let refused = place.delete(name);
        assert!(matches!(refused, Err(DestinationError::Denied(_))), "{refused:?}");
    }
    assert_eq!(list_all(&place, "a/").unwrap().len(), 2);
    assert_eq!(place.read("a/small", 0..1).unwrap(), b"x");
    let ended = server.open_as(&server.signature("rcl", "2020-01-01T00:00:00Z"), "");
    let refused = ended.create("a/late", Content::Bytes(b"x"));
    assert!(matches!(&refused, Err(DestinationError::Denied(why)) if !why.contains("sig=")), "{refused:?}");
}
