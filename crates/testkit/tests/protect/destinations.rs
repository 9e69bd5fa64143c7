//! Every destination passes one suite.

use keyark_backup::destination::local::Local;
use keyark_backup::destination::memory::Memory;
use keyark_backup::destination::{Content, Credentials, Destination, DestinationError, objects};
use keyark_testkit::azure::{self, AzureServer};
use keyark_testkit::destinations::conformance;
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

#[test]
fn of_two_large_objects_of_one_name_one_is_kept() {
    one_of_several_is_kept(&S3Server::start().destination(""));
    one_of_several_is_kept(&AzureServer::start().destination(""));
}

fn one_of_several_is_kept(place: &dyn Destination) {
    let folder = tempfile::tempdir().unwrap();
    let outcomes: Vec<bool> = std::thread::scope(|scope| {
        let send = |n: u8| {
            let path = folder.path().join(n.to_string());
            std::fs::write(&path, vec![n; 20 << 20]).unwrap();
            scope.spawn(move || place.create("a/full/large", Content::File(&path)).is_ok())
        };
        let threads = [send(1), send(2), send(3)];
        threads.into_iter().map(|t| t.join().unwrap()).collect()
    });
    assert_eq!(outcomes.iter().filter(|ok| **ok).count(), 1, "{outcomes:?}");
    let kept = place.read("a/full/large", 0..20 << 20).unwrap();
    let winner = outcomes.iter().position(|ok| *ok).unwrap() as u8 + 1;
    assert!(kept.iter().all(|b| *b == winner));
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
    std::fs::write(folder.path().join("a/.part-Qx7"), b"half").unwrap();
    let names: Vec<String> = local.list("", "", 9).unwrap().into_iter().map(|f| f.name).collect();
    assert_eq!(names, ["a/b"]);
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
