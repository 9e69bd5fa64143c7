//! A real OpenSSH server with one user in a folder that is thrown away; it ends with the value, by its own process id.
//!
//! The user exists for this server alone: it runs in a mount namespace with a list of users of its own.

use std::io::Write as _;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::Command;

use keyark_backup::destination::sftp::Sftp;
use keyark_crypto::SecretBytes;
use keyark_model::ssh::{Host, Login, Place, Protocol};

use crate::tool::Tool;

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
    tool: Tool,
    pub port: u16,
    /// Its public key as `ssh-keyscan` would show it, without the host's name.
    pub host_key: String,
}

/// A list of the machine's users with one line more.
fn with_a_user(list: &str, line: &str, into: &Path) {
    let all = std::fs::read_to_string(list).expect("a list of users") + line + "\n";
    std::fs::write(into, all).expect("a file");
}

fn command(port: u16, folder: &Path) -> Command {
    let at = |name: &str| folder.join(name);
    // The user must get to its own folder.
    std::fs::set_permissions(folder, PermissionsExt::from_mode(0o755)).expect("it is ours");
    std::fs::create_dir_all(at("home").join(SMALL)).expect("a folder");
    std::fs::create_dir_all("/run/sshd").expect("root");
    let mut keygen = Command::new("ssh-keygen");
    let made = keygen.args(["-q", "-t", "ed25519", "-N", "", "-C", "", "-f"]).arg(at("host")).status();
    assert!(made.expect("ssh-keygen is there").success());
    let user = format!("{USER}:x:{UID}:{UID}::{}:/bin/sh", at("home").display());
    with_a_user("/etc/passwd", &user, &at("passwd"));
    with_a_user("/etc/shadow", &format!("{USER}:{VERIFIER}:1:0:99999:7:::"), &at("shadow"));
    std::fs::write(at("authorized_keys"), "").expect("a file");
    for own in ["home", "authorized_keys"] {
        chown(at(own), Some(UID), Some(UID)).expect("root");
    }
    let path = folder.display();
    let config = format!(
        "ListenAddress 127.0.0.1:{port}\nHostKey {path}/host\nPidFile none\nUsePAM no\nStrictModes no\nUseDNS no\n\
         AuthorizedKeysFile {path}/authorized_keys\nMaxStartups 100\nMaxSessions 100\nSubsystem sftp internal-sftp\n"
    );
    std::fs::write(at("sshd_config"), config).expect("a file");
    let script = format!(
        "mount --bind {path}/passwd /etc/passwd; mount --bind {path}/shadow /etc/shadow; \
         mount -t tmpfs -o size=1m,uid={UID},mode=700 none {path}/home/{SMALL}; \
         exec /usr/sbin/sshd -D -e -f {path}/sshd_config"
    );
    let mut command = Command::new("unshare");
    command.args(["--mount", "--propagation", "private", "sh", "-ec", &script]);
    command
}

impl SshServer {
    /// It needs root, and what `cargo xtask test` installs.
    pub fn start() -> SshServer {
        let tool = Tool::start(command);
        let host_key = std::fs::read_to_string(tool.folder.path().join("host.pub")).expect("a public key");
        SshServer { port: tool.port, host_key: host_key.trim().to_owned(), tool }
    }

    /// A new folder in the user's own.
    pub fn room(&self, name: &str) -> PathBuf {
        let path = self.home().join(name);
        std::fs::create_dir(&path).expect("a folder");
        chown(&path, Some(UID), Some(UID)).expect("root");
        path
    }

    pub fn home(&self) -> PathBuf {
        self.tool.folder.path().join("home")
    }

    /// What it says.
    pub fn log(&self) -> String {
        self.tool.log()
    }

    /// Breaks every connection that it has.
    pub fn cut(&self) {
        let ended = Command::new("kill").arg("-9").args(below(self.tool.id())).status();
        assert!(ended.expect("kill is there").success(), "there was a connection");
    }

    pub fn authorized_keys(&self) -> PathBuf {
        self.tool.folder.path().join("authorized_keys")
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

/// The processes that a process started, and theirs: a connection of SSH has two.
fn below(id: u32) -> Vec<String> {
    let children = std::fs::read_to_string(format!("/proc/{id}/task/{id}/children")).unwrap_or_default();
    let children = children.split_whitespace().map(str::to_owned);
    children.flat_map(|child| below(child.parse().unwrap_or_default()).into_iter().chain([child.clone()])).collect()
}
