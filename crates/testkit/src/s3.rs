//! A real S3 server.

use std::path::PathBuf;
use std::process::Command;

use keyark_backup::destination::Credentials;
use keyark_backup::destination::objects::{self, Objects};

use keyark_crypto::hash::sha256;
use object_store::aws::{AwsAuthorizer, AwsCredential};
use object_store::client::HttpRequest;

use crate::client::{agent, base64};
use crate::files::walk;
use crate::tool::{Tool, installed};

/// Who the tests are there.
pub const ACCESS: &str = "KEYARKTESTS";
pub const SECRET: &str = "not-a-secret-of-anybody";
pub const REGION: &str = "us-east-1";
pub const BUCKET: &str = "archives";

/// A bucket with object lock, and so with versions.
pub const LOCKED: &str = "locked";
/// Somebody who may create, read and list in all buckets, and nothing else.
pub const CREATOR: &str = "CREATEONLY";

/// The server, with its buckets.
pub struct S3Server {
    pub endpoint: String,
    tool: Tool,
}

impl S3Server {
    pub fn start() -> S3Server {
        let tool = Tool::start(|port, folder| {
            let parts = ["data", "versions", "users"].map(|part| folder.join(part));
            let [data, versions, users] = &parts;
            parts.iter().for_each(|part| std::fs::create_dir_all(part).expect("a folder"));
            let creator = serde_json::json!({ "access": CREATOR, "secret": SECRET, "role": "user" });
            let known = serde_json::json!({ "accessAccounts": { CREATOR: creator } });
            std::fs::write(users.join("users.json"), known.to_string()).expect("a file");
            let mut command = Command::new(installed("bin/versitygw"));
            command
                .args(["--access", ACCESS, "--secret", SECRET, "--region", REGION, "--quiet", "--iam-dir"])
                .arg(users);
            command.args(["--port", &format!("127.0.0.1:{port}"), "posix", "--versioning-dir"]).arg(versions).arg(data);
            command
        });
        let server = S3Server { endpoint: tool.endpoint.clone(), tool };
        server.make_bucket(BUCKET, &[]);
        server.make_bucket(LOCKED, &[("x-amz-bucket-object-lock-enabled", "true")]);
        server
    }

    fn make_bucket(&self, bucket: &str, headers: &[(&'static str, &str)]) {
        self.ask("PUT", bucket, headers, "");
        let actions = ["s3:PutObject", "s3:PutObjectRetention", "s3:GetObject", "s3:ListBucket"];
        let resources = [format!("arn:aws:s3:::{bucket}"), format!("arn:aws:s3:::{bucket}/*")];
        let allowed = serde_json::json!({
            "Effect": "Allow", "Principal": CREATOR, "Action": actions, "Resource": resources,
        });
        let policy = serde_json::json!({ "Version": "2012-10-17", "Statement": [allowed] });
        self.ask("PUT", &format!("{bucket}?policy="), &[], &policy.to_string());
    }

    /// One request of the owner's, which succeeds.
    pub fn ask(&self, method: &str, path: &str, headers: &[(&'static str, &str)], body: &str) -> String {
        let mut request = HttpRequest::new(body.to_owned().into());
        *request.method_mut() = method.parse().expect("a method");
        *request.uri_mut() = format!("{}/{path}", self.endpoint).parse().expect("an address");
        let sum = base64(sha256(&[body.as_bytes()]).0);
        for (name, value) in headers.iter().chain(&[("x-amz-checksum-sha256", sum.as_str())]) {
            request.headers_mut().insert(*name, value.parse().expect("a header"));
        }
        let owner = AwsCredential { key_id: ACCESS.into(), secret_key: SECRET.into(), token: None };
        AwsAuthorizer::new(&owner, "s3", REGION).try_authorize(&mut request, None).expect("it can be signed");
        let mut answer = agent().run(request.map(|_| body)).unwrap_or_else(|e| panic!("{method} {path}: {e}"));
        let text = answer.body_mut().read_to_string().expect("a text");
        assert!(answer.status().is_success(), "{method} {path}: {} {text}", answer.status());
        text
    }

    /// Files that the server keeps of a bucket, old versions among them.
    pub fn files(&self, bucket: &str) -> Vec<PathBuf> {
        let roots = ["data", "versions"].map(|part| self.tool.folder.path().join(part).join(bucket));
        roots.iter().filter(|root| root.exists()).flat_map(|root| walk(root)).collect()
    }

    /// A prefix in its bucket, for the tests' own access key.
    pub fn destination(&self, prefix: &str) -> Objects {
        self.open(BUCKET, prefix, ACCESS)
    }

    /// A prefix in a bucket, for somebody.
    pub fn open(&self, bucket: &str, prefix: &str, who: &str) -> Objects {
        self.open_at(&self.endpoint, bucket, prefix, who)
    }

    /// The same by another address.
    pub fn open_at(&self, endpoint: &str, bucket: &str, prefix: &str, who: &str) -> Objects {
        let credentials = Credentials::pasted(who, SECRET).expect("good ones");
        let shown = format!("the bucket {bucket}");
        objects::s3(&shown, bucket, prefix, REGION, Some(endpoint), Some(&credentials)).expect("an address")
    }
}
