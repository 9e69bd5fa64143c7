//! A real S3 server.

use std::process::Command;

use keyark_backup::destination::Credentials;
use keyark_backup::destination::objects::{self, Objects};

use crate::tool::{Tool, installed};

/// Who the tests are there.
pub const ACCESS: &str = "KEYARKTESTS";
pub const SECRET: &str = "not-a-secret-of-anybody";
pub const REGION: &str = "us-east-1";
pub const BUCKET: &str = "archives";

/// The server, with one bucket.
pub struct S3Server {
    pub endpoint: String,
    _tool: Tool,
}

impl S3Server {
    pub fn start() -> S3Server {
        let tool = Tool::start(|port, folder| {
            let (data, versions) = (folder.join("data"), folder.join("versions"));
            std::fs::create_dir_all(data.join(BUCKET)).expect("a bucket");
            std::fs::create_dir_all(&versions).expect("a folder");
            let mut command = Command::new(installed("bin/versitygw"));
            command.args(["--access", ACCESS, "--secret", SECRET, "--region", REGION, "--quiet"]);
            command.args(["--port", &format!("127.0.0.1:{port}"), "posix", "--versioning-dir"]).arg(versions).arg(data);
            command
        });
        S3Server { endpoint: tool.endpoint.clone(), _tool: tool }
    }

    /// A prefix in its bucket, for the tests' own access key.
    pub fn destination(&self, prefix: &str) -> Objects {
        let credentials = Credentials::pasted(ACCESS, SECRET).expect("good ones");
        objects::s3("the tests' bucket", BUCKET, prefix, REGION, Some(&self.endpoint), Some(&credentials))
            .expect("an address")
    }
}
