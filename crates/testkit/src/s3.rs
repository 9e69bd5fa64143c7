//! A real S3 server in a folder that is thrown away; it ends with the value, by its own process id.

use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use keyark_backup::destination::Credentials;
use keyark_backup::destination::objects::{self, Objects};

/// Who the tests are there.
pub const ACCESS: &str = "KEYARKTESTS";
pub const SECRET: &str = "not-a-secret-of-anybody";
pub const REGION: &str = "us-east-1";
pub const BUCKET: &str = "archives";

/// The server, with one bucket.
pub struct S3Server {
    child: Child,
    pub endpoint: String,
    _folder: tempfile::TempDir,
}

fn binary() -> PathBuf {
    // Of a test: target/debug/deps/name.
    let own = std::env::current_exe().expect("a path of its own");
    let target = own.ancestors().find(|p| p.join("tools/bin/versitygw").exists());
    let target = target.expect("the S3 server is not here; `cargo xtask test` installs it");
    target.join("tools/bin/versitygw")
}

impl S3Server {
    pub fn start() -> S3Server {
        for _ in 0..5 {
            if let Some(server) = S3Server::try_start() {
                return server;
            }
        }
        panic!("the S3 server does not start");
    }

    /// None: somebody else took the port in between.
    fn try_start() -> Option<S3Server> {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let (data, versions) = (folder.path().join("data"), folder.path().join("versions"));
        std::fs::create_dir_all(data.join(BUCKET)).expect("a bucket");
        std::fs::create_dir_all(&versions).expect("a folder");
        let port = TcpListener::bind(("127.0.0.1", 0)).and_then(|l| l.local_addr()).expect("a free port").port();
        let mut command = Command::new(binary());
        command.args(["--access", ACCESS, "--secret", SECRET, "--region", REGION, "--quiet"]);
        command.args(["--port", &format!("127.0.0.1:{port}"), "posix", "--versioning-dir"]).arg(&versions).arg(&data);
        let child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("it can be run");
        let mut server = S3Server { child, endpoint: format!("http://127.0.0.1:{port}"), _folder: folder };
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
        panic!("the S3 server does not answer");
    }

    /// A prefix in its bucket, for the tests' own access key.
    pub fn destination(&self, prefix: &str) -> Objects {
        let credentials = Credentials::pasted(ACCESS, SECRET).expect("good ones");
        objects::s3("the tests' bucket", BUCKET, prefix, REGION, Some(&self.endpoint), Some(&credentials))
            .expect("an address")
    }
}

impl Drop for S3Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
