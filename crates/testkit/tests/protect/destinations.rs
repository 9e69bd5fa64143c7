//! Every destination passes one suite.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use keyark_backup::destination::local::Local;
use keyark_backup::destination::lock::check_free;
use keyark_backup::destination::memory::Memory;
use keyark_backup::destination::{
    Content, Credentials, Destination, DestinationError, create_or_same, list_all, objects,
};
use keyark_model::Time;
use keyark_model::protection::{Lock, LockMode};
use keyark_testkit::azure::{self, AzureServer};
use keyark_testkit::destinations::{abandoned_parts_go, conformance};
use keyark_testkit::proxy::{Fault, Proxy};
use keyark_testkit::s3::{self, S3Server};

#[test]
fn memory_conforms() {
    conformance(&Memory::default());
}

#[test]
fn a_local_folder_conforms() {
    let folder = tempfile::tempdir().unwrap();
    conformance(&Local::open(folder.path()).unwrap());
}

#[test]
fn a_bucket_of_an_s3_server_conforms() {
    let server = S3Server::start();
    conformance(&server.destination(""));
    conformance(&server.destination("deep/inside/"));
}

#[test]
fn a_container_of_azure_blob_conforms() {
    let server = AzureServer::start();
    conformance(&server.destination(""));
    conformance(&server.destination("deep/inside/"));
}

/// The least that S3 takes as a part.
const PART: u64 = 5 << 20;

#[test]
fn of_two_large_objects_of_one_name_one_is_kept() {
    let (bucket, container) = (S3Server::start(), AzureServer::start());
    for whole in [u64::MAX, PART] {
        one_of_several_is_kept(&bucket.destination(&format!("{whole}/")).whole_up_to(whole));
        one_of_several_is_kept(&container.destination(&format!("{whole}/")).whole_up_to(whole));
    }
}

#[test]
fn what_is_too_large_for_a_request_goes_in_parts_and_is_there_when_they_are_joined() {
    let (bucket, container, folder) = (S3Server::start(), AzureServer::start(), tempfile::tempdir().unwrap());
    let (large, bytes) = (folder.path().join("large"), (0..17 << 20).map(|n| (n % 251) as u8).collect::<Vec<u8>>());
    std::fs::write(&large, &bytes).unwrap();
    for (endpoint, open) in [
        (&bucket.endpoint, &(|at: &str| bucket.open_at(at, s3::BUCKET, "", s3::CREATOR)) as &dyn Fn(&str) -> _),
        (&container.endpoint, &|at: &str| container.open_at(at, "")),
    ] {
        let requests = Arc::new(AtomicUsize::new(0));
        let counted = requests.clone();
        // The third part is refused the first time, and the third request that joins something is heard of by nobody.
        let proxy = Proxy::start(endpoint, move |head| {
            let part = head.contains("partNumber=3&") || head.contains("MDAwMDAy ");
            let joins =
                !part && (head.starts_with("POST") && head.contains("uploadId=") || head.contains("comp=blocklist"));
            match counted.fetch_add(usize::from(part || joins), Ordering::SeqCst) {
                0 if part => Some(Fault::Status(503)),
                2 if joins => Some(Fault::Lost),
                _ => None,
            }
        });
        let place = open(&proxy.endpoint).whole_up_to(PART);
        let content = Content::File(&large);
        let first = place.create("a/full/large", content);
        assert!(first.as_ref().is_err_and(DestinationError::is_transient), "{first:?}");
        assert_eq!(list_all(&place, "").unwrap(), [], "parts are no object");
        let second = place.create("a/full/large", content);
        assert!(second.as_ref().is_err_and(DestinationError::is_transient), "{second:?}");
        create_or_same(&place, "a/full/large", content).unwrap();
        assert_eq!(requests.load(Ordering::SeqCst), 3, "what was joined is not sent again");
        assert_eq!(place.read("a/full/large", 0..17 << 20).unwrap(), bytes);
        assert_eq!(place.create("a/full/large", content), Err(DestinationError::Exists("a/full/large".into())));
    }
}

fn one_of_several_is_kept(place: &dyn Destination) {
    let folder = tempfile::tempdir().unwrap();
    let outcomes: Vec<Result<(), DestinationError>> = std::thread::scope(|scope| {
        let send = |n: u8| {
            let path = folder.path().join(n.to_string());
            std::fs::write(&path, vec![n; 20 << 20]).unwrap();
            scope.spawn(move || place.create("a/full/large", Content::File(&path)))
        };
        let threads = [send(1), send(2), send(3)];
        threads.into_iter().map(|t| t.join().unwrap()).collect()
    });
    assert_eq!(outcomes.iter().filter(|o| o.is_ok()).count(), 1, "{outcomes:?}");
    assert!(
        outcomes
            .iter()
            .flat_map(|o| o.as_ref().err())
            .all(|e| matches!(e, DestinationError::Exists(_)) || e.is_transient()),
        "{outcomes:?}"
    );
    let kept = place.read("a/full/large", 0..20 << 20).unwrap();
    let winner = outcomes.iter().position(|o| o.is_ok()).unwrap() as u8 + 1;
    assert!(kept.iter().all(|b| *b == winner));
}

#[test]
fn what_is_deleted_where_versions_are_kept_is_gone_in_every_version() {
    let server = S3Server::start();
    let place = server.open(s3::LOCKED, "", s3::ACCESS);
    conformance(&place);
    place.create("a/b", Content::Bytes(b"old")).unwrap();
    // Somebody writes over it, and then hides it.
    server.ask("PUT", "locked/a/b", &[], "new");
    assert_eq!(place.read("a/b", 0..3).unwrap(), b"new");
    server.ask("DELETE", "locked/a/b", &[], "");
    assert_eq!(place.size("a/b"), Err(DestinationError::NotFound("a/b".into())));
    assert!(server.files(s3::LOCKED).len() >= 2);
    place.delete("a/b").unwrap();
    assert_eq!(server.files(s3::LOCKED), Vec::<std::path::PathBuf>::new());
}

#[test]
fn what_is_locked_is_not_deleted_and_says_until_when() {
    let (server, folder) = (S3Server::start(), tempfile::tempdir().unwrap());
    let large = folder.path().join("large");
    std::fs::write(&large, vec![7; 17 << 20]).unwrap();
    let default = "<ObjectLockConfiguration><ObjectLockEnabled>Enabled</ObjectLockEnabled><Rule><DefaultRetention>\
        <Mode>GOVERNANCE</Mode><Days>10</Days></DefaultRetention></Rule></ObjectLockConfiguration>";
    server.ask("PUT", "locked?object-lock=", &[], default);
    let written = std::fs::metadata(&large).unwrap().modified().unwrap();
    let now = written.duration_since(std::time::UNIX_EPOCH).unwrap().as_secs() as f64;
    let locking = || {
        let place = server.open(s3::LOCKED, "", s3::ACCESS);
        place.locking(Some(Lock { mode: LockMode::Compliance, days: 30 }))
    };
    let (place, in_parts) = (locking(), locking().whole_up_to(PART));
    let stream = "00000000-0000-0000-0000-000000000001/00000000-0000-0000-0000-000000000002/00000000-0000-0000-0000-000000000003";
    let days = |until: Time| ((until.0 as f64 / 1e6 - now) / 86_400.0).round() as i64;
    let locked_for = |place: &dyn Destination, name: &str, content: Content<'_>| {
        let name = format!("{stream}/{name}");
        place.create(&name, content).unwrap();
        assert_eq!(place.create(&name, content), Err(DestinationError::Exists(name.clone())));
        let refused = place.delete(&name).unwrap_err();
        assert_eq!(place.check_free(&name), Err(refused.clone()));
        assert!(place.size(&name).is_ok(), "it is there and not hidden");
        let DestinationError::Locked { until: Some(until), .. } = refused else { panic!("{refused:?}") };
        days(until)
    };
    let full = "full/00000000000000000007-20260131T235959.999999Z.keyark";
    let epoch = "epoch/00000000-0000-0000-0000-000000000004-00000000-0000-0000-0000-000000000005.json";
    assert_eq!(locked_for(&place, full, Content::File(&large)), 30);
    let joined = full.replace("07-", "08-");
    assert_eq!(locked_for(&in_parts, &joined, Content::File(&large)), 30, "sent in parts");
    assert_eq!(locked_for(&place, epoch, Content::Bytes(b"x")), 1, "the bucket's own ten days are overridden");
    let read = place.read(&format!("{stream}/{full}"), 0..17 << 20).unwrap();
    assert!(read.iter().all(|b| *b == 7));
    let longest = check_free(&place, &format!("{stream}/"));
    assert!(matches!(longest, Err(DestinationError::Locked { until: Some(at), .. }) if days(at) == 30), "{longest:?}");
}

#[test]
fn with_credentials_that_can_only_create_nothing_is_overwritten_or_deleted() {
    let server = S3Server::start();
    for bucket in [s3::BUCKET, s3::LOCKED] {
        let place = server.open(bucket, "", s3::CREATOR);
        place.create("a/b", Content::Bytes(b"x")).unwrap();
        assert_eq!(place.create("a/b", Content::Bytes(b"y")), Err(DestinationError::Exists("a/b".into())));
        assert_eq!(list_all(&place, "").unwrap().len(), 1);
        let refused = place.delete("a/b");
        assert!(matches!(refused, Err(DestinationError::Denied(_))), "{bucket}: {refused:?}");
        assert_eq!(place.read("a/b", 0..1).unwrap(), b"x");
        server.open(bucket, "", s3::ACCESS).delete("a/b").unwrap();
    }
}

fn denied(place: &dyn Destination) {
    let folder = tempfile::tempdir().unwrap();
    let large = folder.path().join("large");
    std::fs::write(&large, vec![1; 17 << 20]).unwrap();
    for outcome in [
        place.create("a/b", Content::Bytes(b"x")),
        place.create("a/c", Content::File(&large)),
        place.list("", "", 9).map(|_| ()),
        place.read("a/b", 0..1).map(|_| ()),
    ] {
        assert!(matches!(outcome, Err(DestinationError::Denied(_))), "{outcome:?}");
    }
}

#[test]
fn wrong_credentials_and_a_dead_server_are_told_apart() {
    let server = S3Server::start();
    let wrong = Credentials::pasted(s3::ACCESS, "another").unwrap();
    let place = objects::s3("a bucket", s3::BUCKET, "", s3::REGION, Some(&server.endpoint), Some(&wrong)).unwrap();
    denied(&place);
    let (server, wrong) = (AzureServer::start(), Credentials::pasted(azure::ACCOUNT, "d3Jvbmc=").unwrap());
    let at = Some(server.endpoint.as_str());
    denied(&objects::azure("a container", azure::ACCOUNT, azure::CONTAINER, "", at, Some(&wrong)).unwrap());
    assert!(
        Credentials::pasted("\u{feff} key \r\n", " secret\n")
            .is_some_and(|c| c.id == "key" && c.secret.expose() == b"secret")
    );
    assert!(Credentials::pasted("key", "se\ncret").is_none() && Credentials::pasted("", "secret").is_none());
}

#[test]
fn a_folder_that_is_not_there_is_a_disk_that_is_not_mounted() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("mnt");
    assert!(matches!(Local::open(&root), Err(DestinationError::Unreachable(_))));
    std::fs::create_dir(&root).unwrap();
    let local = Local::open(&root).unwrap();
    local.create("a/b", Content::Bytes(b"x")).unwrap();
    std::fs::rename(&root, folder.path().join("away")).unwrap();
    // Nothing is written where the disk should be, and nothing is said to be missing.
    for outcome in [local.create("a/c", Content::Bytes(b"x")), local.read("a/b", 0..1).map(|_| ()), local.delete("a/b")]
    {
        assert!(matches!(outcome, Err(DestinationError::Unreachable(_))), "{outcome:?}");
    }
    assert!(!root.exists());
}

#[test]
fn what_was_half_written_is_never_listed() {
    let folder = tempfile::tempdir().unwrap();
    let local = Local::open(folder.path()).unwrap();
    local.create("a/b", Content::Bytes(b"x")).unwrap();
    abandoned_parts_go(&local, folder.path());
    let gone = local.create("a/c", Content::File(&folder.path().join("nothing")));
    assert!(gone.is_err());
    assert_eq!(local.list("", "", 9).unwrap().len(), 1, "a failed create leaves no object");
}

#[test]
fn what_is_there_is_for_the_owner_alone() {
    use std::os::unix::fs::PermissionsExt as _;
    let folder = tempfile::tempdir().unwrap();
    let local = Local::open(folder.path()).unwrap();
    local.create("a/b", Content::Bytes(b"x")).unwrap();
    let mode = |path: &str| std::fs::metadata(folder.path().join(path)).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode("a"), mode("a/b")), (0o700, 0o600));
}
