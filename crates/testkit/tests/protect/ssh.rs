//! Other machines over SSH, against a real OpenSSH server.

use std::os::unix::fs::PermissionsExt as _;
use std::sync::atomic::{AtomicUsize, Ordering};

use keyark_backup::Cancelled;
use keyark_backup::destination::sftp::Sftp;
use keyark_backup::destination::{Content, Destination, DestinationError};
use keyark_backup::ssh::transfer::Target;
use keyark_backup::ssh::{fingerprint, host_keys, key_new};
use keyark_crypto::SecretBytes;
use keyark_model::ssh::{Host, Login, Protocol};
use keyark_testkit::destinations::{abandoned_parts_go, conformance};
use keyark_testkit::ssh::{PASSWORD, SMALL, SshServer};

fn secret(text: &str) -> SecretBytes {
    SecretBytes::new(text.into())
}

/// Nobody stops it.
fn going() -> Result<(), Cancelled> {
    Ok(())
}

#[test]
fn a_transfer_that_is_stopped_leaves_nothing_half_written() {
    let (server, folder) = (SshServer::start(), tempfile::tempdir().unwrap());
    let (room, file) = (server.room("room"), folder.path().join("archive"));
    std::fs::write(&file, vec![7; 9 << 20]).unwrap();
    let left = || std::fs::read_dir(&room).unwrap().count();
    for (protocol, most) in [(Protocol::Sftp, 8), (Protocol::Scp, 1)] {
        let target = Target { place: server.place(Login::Password, protocol, &room), secret: secret(PASSWORD) };
        for after in 0..most {
            let asked = AtomicUsize::new(0);
            let stopped = target.send("a", &file, &|| match asked.fetch_add(1, Ordering::SeqCst) {
                n if n < after => Ok(()),
                _ => Err(Cancelled),
            });
            assert!(stopped.is_err(), "{protocol:?} {after}");
            assert_eq!(left(), 0, "{protocol:?} {after}");
        }
    }
}

#[test]
fn a_folder_of_an_openssh_server_conforms() {
    let server = SshServer::start();
    conformance(&server.destination(&server.room("absolute").display().to_string()));
    server.room("relative");
    conformance(&server.destination("relative"));
}

#[test]
fn what_a_host_keeps_is_for_its_owner_alone_and_nothing_half_written_is_left() {
    let server = SshServer::start();
    let room = server.room("vault");
    let place = server.destination("vault");
    place.create("a/b", Content::Bytes(b"x")).unwrap();
    assert_eq!(std::fs::metadata(room.join("a/b")).unwrap().permissions().mode() & 0o777, 0o600);
    assert!(place.create("a/c", Content::File(&room.join("nothing"))).is_err());
    let left: Vec<_> = std::fs::read_dir(room.join("a")).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert_eq!(left, ["b"], "a failed create leaves no object");
    abandoned_parts_go(&place, &room);
    // A folder that goes is a disk that is not mounted: nothing is written where it should be.
    std::fs::rename(&room, server.home().join("away")).unwrap();
    for outcome in [place.create("a/c", Content::Bytes(b"x")), place.list("", "", 9).map(drop)] {
        assert!(matches!(outcome, Err(DestinationError::Unreachable(_))), "{outcome:?}");
    }
    assert!(!room.exists());
    std::fs::rename(server.home().join("away"), &room).unwrap();
    assert_eq!(place.size("a/b"), Ok(1), "it is used again once it is back");
}

#[test]
fn only_the_pinned_host_gets_the_password() {
    let (server, impostor) = (SshServer::start(), SshServer::start());
    server.room("vault");
    let reach = |host: Host, password: &str| Sftp::new(host, secret(password), "vault").size("a");
    let host = server.host(Login::Password);
    assert_eq!(reach(host.clone(), PASSWORD), Err(DestinationError::NotFound("a".into())));
    assert!(matches!(reach(host.clone(), "wrong"), Err(DestinationError::Denied(_))));
    // Another host at that address: it is told by its key, and how to go on.
    let other = Host { key: impostor.host_key.clone(), ..host.clone() };
    let Err(DestinationError::Other(why)) = reach(other, PASSWORD) else { panic!("it was believed") };
    assert!(why.contains(&fingerprint(&server.host_key)) && why.contains("not the host that was pinned"), "{why}");
    // The one that stood in its place was asked for no password.
    assert!(!impostor.log().contains("keeper"), "{}", impostor.log());
    // As ssh-keyscan writes it, among comments and keys of other kinds.
    let scanned = format!("# {0}:22\n{0} {1}\n", host.host, server.host_key);
    assert_eq!(reach(Host { key: scanned, ..host.clone() }, PASSWORD), Err(DestinationError::NotFound("a".into())));
    for bad in ["", "SHA256:abc", "ssh-ed25519 AAAA"] {
        assert!(host_keys(bad).is_err(), "{bad}");
        assert!(matches!(reach(Host { key: bad.into(), ..host.clone() }, PASSWORD), Err(DestinationError::Other(_))));
    }
    // Nobody there, or somebody who speaks otherwise.
    let port = server.port;
    drop(server);
    assert!(matches!(reach(Host { port, ..host }, PASSWORD), Err(DestinationError::Unreachable(_))));
}

#[test]
fn a_connection_that_breaks_is_made_again() {
    let server = SshServer::start();
    server.room("vault");
    let place = server.destination("vault");
    place.create("a/1", Content::Bytes(b"x")).unwrap();
    server.cut();
    // The first use may find it broken; the next one connects.
    let outcomes: Vec<_> = (0..3).map(|_| place.size("a/1")).collect();
    assert_eq!(outcomes.last(), Some(&Ok(1)), "{outcomes:?}");
}

#[test]
fn a_file_goes_over_either_protocol_by_key_or_password_and_is_read_back() {
    let server = SshServer::start();
    let room = server.room("it's in here");
    let (private, public) = key_new("keyark");
    server.authorize(&public);
    let file = server.home().join("file");
    let bytes: Vec<u8> = (0..3_000_001_u32).map(|n| (n % 251) as u8).collect();
    std::fs::write(&file, &bytes).unwrap();
    for protocol in [Protocol::Sftp, Protocol::Scp] {
        for (login, word) in
            [(Login::Password, secret(PASSWORD)), (Login::Key, SecretBytes::new(private.expose().to_vec()))]
        {
            let target = Target { place: server.place(login, protocol, &room), secret: word };
            target.try_out().unwrap();
            let name = format!("{protocol:?}-{login:?}");
            let path = target.send(&name, &file, &going).unwrap();
            assert!(std::fs::read(&path).unwrap() == bytes, "{name}");
            // Once more: these very bytes are there.
            assert_eq!(target.send(&name, &file, &going).unwrap(), path);
            // Something else under that name stays, and it is said.
            std::fs::write(&path, b"another").unwrap();
            let refused = target.send(&name, &file, &going);
            assert!(matches!(&refused, Err(DestinationError::Other(why)) if why.contains("read back")), "{refused:?}");
            assert_eq!(std::fs::read(&path).unwrap(), b"another");
        }
        let nowhere = server.place(Login::Password, protocol, &room.join("nowhere"));
        let target = Target { place: nowhere, secret: secret(PASSWORD) };
        for outcome in [target.try_out(), target.send("x", &file, &going).map(drop)] {
            assert!(outcome.is_err(), "{protocol:?}: there is no such folder");
        }
    }
    assert_eq!(std::fs::read_dir(&room).unwrap().count(), 4, "tries leave nothing behind");
}

#[test]
fn a_full_disk_is_told_as_such() {
    let server = SshServer::start();
    let place = server.destination(SMALL);
    let large = vec![7; 4 << 20];
    let outcome = place.create("a/large", Content::Bytes(&large));
    assert!(matches!(outcome, Err(DestinationError::Full(_))), "{outcome:?}");
    place.create("a/small", Content::Bytes(b"x")).unwrap();
    assert_eq!(place.list("", "", 9).unwrap().len(), 1);
}
