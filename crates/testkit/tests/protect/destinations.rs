//! Every destination passes one suite.

use keyark_backup::destination::local::Local;
use keyark_backup::destination::memory::Memory;
use keyark_backup::destination::{Content, Destination, DestinationError};
use keyark_testkit::destinations::conformance;

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
