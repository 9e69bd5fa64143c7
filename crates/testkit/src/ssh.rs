//! A real OpenSSH server with one user in a folder that is thrown away; it ends with the value, by its own process id.
//!
//! The user exists for this server alone: it runs in a mount namespace with a list of users of its own.

use std::io::Write as _;
use std::net::TcpListener;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use keyark_backup::destination::sftp::Sftp;
use keyark_crypto::SecretBytes;
use keyark_model::ssh::{Host, Login, Place, Protocol};

pub const USER: &str = "keeper";
pub const PASSWORD: &str = "correct horse";
/// Of that password, by `openssl passwd -6`.
const VERIFIER: &str =
    "$6$keyark$fTEaPvXeYjl4yMOHL5.S7lrXrI4o8B4saNOSwMNXmwBjyeY1Erx.gSXlnY4ohoFS8QhP3X5KAkEMmJbGfE1yz/";
/// A folder of the user, on a disk of 1 MiB.
pub const SMALL: &str = "small";
const UID: u32 = 54_321;

/// The server, and the user's folder.
pub struct SshServer {
    child: Child,
    pub port: u16,
    /// Its public key as `ssh-keyscan` would show it, without the host's name.
    pub host_key: String,
    folder: tempfile::TempDir,
}

fn private_mounts(script: &str) -> Command {
    let mut command = Command::new("unshare");
    command.args(["--mount", "--propagation", "private", "sh", "-ec", script]);
    command
}

fn with_a_user(list: &str, line: &str) -> String {
    std::fs::read_to_string(list).expect("a list of users") + line + "\n"
}

impl SshServer {
    pub fn start() -> SshServer {
        SshServer::start_with("")
    }

    /// With further lines of `sshd_config`.
    pub fn start_with(further: &str) -> SshServer {
        for _ in 0..5 {
            if let Some(server) = SshServer::try_start(further) {
                return server;
            }
        }
        panic!("the SSH server does not start: it needs root and Debian's openssh-server, see `cargo xtask test`");
    }

    /// None: somebody else took the port in between.
    fn try_start(further: &str) -> Option<SshServer> {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let at = |name: &str| folder.path().join(name);
        // The user must get to its own folder.
        std::fs::set_permissions(folder.path(), PermissionsExt::from_mode(0o755)).expect("it is ours");
        std::fs::create_dir_all(at("home").join(SMALL)).expect("a folder");
        std::fs::create_dir_all("/run/sshd").expect("root");
        let keygen =
            Command::new("ssh-keygen").args(["-q", "-t", "ed25519", "-N", "", "-C", "", "-f"]).arg(at("host")).status();
        assert!(keygen.expect("ssh-keygen is there").success());
        let home = at("home");
        std::fs::write(
            at("passwd"),
            with_a_user("/etc/passwd", &format!("{USER}:x:{UID}:{UID}::{}:/bin/sh", home.display())),
        )
        .expect("written");
        std::fs::write(at("shadow"), with_a_user("/etc/shadow", &format!("{USER}:{VERIFIER}:1:0:99999:7:::")))
            .expect("written");
        std::fs::write(at("authorized_keys"), "").expect("written");
        for own in ["home", "authorized_keys"] {
            chown(at(own), Some(UID), Some(UID)).expect("root");
        }
        let port = TcpListener::bind(("127.0.0.1", 0)).and_then(|l| l.local_addr()).expect("a free port").port();
        let config = format!(
            "{further}\nListenAddress 127.0.0.1:{port}\nHostKey {host}\nPidFile none\nUsePAM no\nStrictModes no\nUseDNS no\n\
             AuthorizedKeysFile {keys}\nMaxStartups 100\nMaxSessions 100\nSubsystem sftp internal-sftp\n",
            host = at("host").display(),
            keys = at("authorized_keys").display(),
        );
        std::fs::write(at("sshd_config"), config).expect("written");
        let path = folder.path().display();
        let script = format!(
            "mount --bind {path}/passwd /etc/passwd; mount --bind {path}/shadow /etc/shadow; \
             mount -t tmpfs -o size=1m,uid={UID},mode=700 none {path}/home/{SMALL}; \
             exec /usr/sbin/sshd -D -e -f {path}/sshd_config"
        );
        let log = std::fs::File::create(at("log")).expect("written");
        let child = private_mounts(&script).stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).spawn();
        let host_key = std::fs::read_to_string(at("host.pub")).expect("a public key").trim().to_owned();
        let mut server = SshServer { child: child.expect("unshare is there"), port, host_key, folder };
        let until = Instant::now() + Duration::from_secs(20);
        while Instant::now() < until {
            if server.child.try_wait().expect("it can be asked").is_some() {
                return None;
            }
            if std::net::TcpStream::connect(("127.0.0.1", port)).is_ok() {
                return Some(server);
            }
            std::thread::yield_now();
        }
        panic!("the SSH server does not answer");
    }

    /// A new folder in the user's own.
    pub fn room(&self, name: &str) -> PathBuf {
        let path = self.home().join(name);
        std::fs::create_dir(&path).expect("a folder");
        chown(&path, Some(UID), Some(UID)).expect("root");
        path
    }

    pub fn home(&self) -> PathBuf {
        self.folder.path().join("home")
    }

    /// What it says, for a test that fails.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }

    /// Breaks every connection that it has.
    pub fn cut(&self) {
        let own = self.child.id();
        let children = std::fs::read_to_string(format!("/proc/{own}/task/{own}/children")).expect("Linux tells");
        let ended = Command::new("kill").arg("-9").args(children.split_whitespace()).status();
        assert!(ended.expect("kill is there").success(), "there was a connection");
    }

    pub fn authorized_keys(&self) -> PathBuf {
        self.folder.path().join("authorized_keys")
    }

    /// Lets whoever has the private part in.
    pub fn authorize(&self, public: &str) {
        let keys = std::fs::OpenOptions::new().append(true).open(self.authorized_keys());
        writeln!(keys.expect("it is there"), "{public}").expect("written");
    }

    /// As a client knows it.
    pub fn host(&self, login: Login) -> Host {
        Host { host: "127.0.0.1".into(), port: self.port, key: self.host_key.clone(), user: USER.into(), login }
    }

    pub fn place(&self, login: Login, protocol: Protocol, path: &Path) -> Place {
        Place { host: self.host(login), protocol, path: path.display().to_string() }
    }

    /// A folder of the user as a destination, by password.
    pub fn destination(&self, folder: &str) -> Sftp {
        Sftp::new(self.host(Login::Password), SecretBytes::new(PASSWORD.into()), folder)
    }
}

impl Drop for SshServer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
