//! Servers of others that tests talk to: started on a free port of this machine, in a folder that is thrown away, ended by
//! their own process id.

use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Something that `cargo xtask test` installed below `target/tools`.
pub fn installed(name: &str) -> PathBuf {
    // Of a test: target/debug/deps/name.
    let own = std::env::current_exe().expect("a path of its own");
    let target = own.ancestors().find(|p| p.join("tools").join(name).exists());
    let target = target.unwrap_or_else(|| panic!("{name} is not here; `cargo xtask test` installs it"));
    target.join("tools").join(name)
}

const LOG: &str = "tool.log";

/// A server that answers; it ends with the value.
pub struct Tool {
    child: Child,
    pub port: u16,
    pub endpoint: String,
    /// What it keeps.
    pub folder: tempfile::TempDir,
}

impl Tool {
    /// `command` makes the command line from a port and an empty folder.
    pub fn start(command: impl Fn(u16, &Path) -> Command) -> Tool {
        (0..5).find_map(|_| Tool::try_start(&command)).expect("the server starts")
    }

    /// None: somebody else took the port in between.
    fn try_start(command: &impl Fn(u16, &Path) -> Command) -> Option<Tool> {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let port = TcpListener::bind(("127.0.0.1", 0)).and_then(|l| l.local_addr()).expect("a free port").port();
        let mut command = command(port, folder.path());
        let log = std::fs::File::create(folder.path().join(LOG)).expect("a file");
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).spawn();
        let child = child.expect("it can be run");
        let mut tool = Tool { child, port, endpoint: format!("http://127.0.0.1:{port}"), folder };
        let until = Instant::now() + Duration::from_secs(30);
        while Instant::now() < until {
            if tool.child.try_wait().expect("it can be asked").is_some() {
                return None;
            }
            if TcpStream::connect(("127.0.0.1", port)).is_ok() {
                return Some(tool);
            }
            std::thread::yield_now();
        }
        panic!("the server does not answer: {command:?}\n{}", tool.log());
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// What it said on its standard error.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join(LOG)).unwrap_or_default()
    }
}

impl Drop for Tool {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
