//! The real server as a process of its own, so that its processor time and memory are its own.

use std::fs::File;
use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};

use crate::figures::{Order, Outcome};

/// A running `keyark serve`.
pub struct Server {
    pub address: SocketAddr,
    child: Child,
    stdout: BufReader<ChildStdout>,
    log: PathBuf,
}

/// The release binary: `--server PATH`, or the one beside this example.
pub fn binary(order: &Order) -> Outcome<PathBuf> {
    let program = std::env::current_exe()?;
    let beside = program.ancestors().nth(2).map(|built| built.join("keyark"));
    let path = order.options.get("server").map(PathBuf::from).or(beside).unwrap_or_default();
    match path.is_file() {
        true => Ok(path),
        false => {
            let path = path.display();
            Err(format!("{path} is not there: cargo build --release -p keyark-cli, or name it by --server").into())
        }
    }
}

impl Server {
    /// Starts it with its data in `folder`/data, and waits until it listens.
    pub fn start(binary: &Path, folder: &Path, tls: bool) -> Outcome<Server> {
        let log = folder.join("server.log");
        let errors = File::options().create(true).append(true).open(&log)?;
        let mut command = Command::new(binary);
        command.args(["serve", "--listen", "127.0.0.1:0", "--data"]).arg(folder.join("data"));
        command.args((!tls).then_some("--no-tls")).env_remove("KEYARK_ROOT_PASSPHRASE_FILE");
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(errors).spawn()?;
        let stdout = BufReader::new(child.stdout.take().expect("it was piped"));
        let mut server = Server { address: SocketAddr::from(([127, 0, 0, 1], 0)), child, stdout, log };
        let url = server.line("Keyark serves at ")?;
        server.address = url.rsplit('/').next().unwrap_or_default().parse()?;
        Ok(server)
    }

    /// Waits for a line of its output that starts so, and gives the rest of the line.
    pub fn line(&mut self, start: &str) -> Outcome<String> {
        let mut line = String::new();
        while self.stdout.read_line(&mut line)? > 0 {
            if let Some(rest) = line.strip_prefix(start) {
                return Ok(rest.trim().to_owned());
            }
            line.clear();
        }
        let log = std::fs::read_to_string(&self.log).unwrap_or_default();
        Err(format!("the server ended before it said {start:?}:\n{log}").into())
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Asks it to stop, and waits until it has.
    pub fn stop(&mut self) -> Outcome {
        let pid = self.child.id().to_string();
        let asked = Command::new("kill").args(["-TERM", &pid]).status()?;
        let ended = self.child.wait()?;
        match asked.success() && ended.success() {
            true => Ok(()),
            false => Err(format!("the server did not stop well: {ended}").into()),
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // After a failed measurement; one that was stopped is not met by this.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
