//! A real server of Azure Blob: Azurite, which has the storage account in the path of its addresses.

use std::process::Command;

use keyark_backup::destination::Credentials;
use keyark_backup::destination::objects::{self, Objects};
use keyark_crypto::hash::hmac_sha256;
use object_store::azure::{AzureAccessKey, AzureAuthorizer, AzureCredential};
use object_store::client::{HttpRequest, HttpRequestBody};

use crate::tool::{Tool, installed};

/// The account that the server knows: everybody's.
pub const ACCOUNT: &str = "devstoreaccount1";
pub const KEY: &str = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw==";
pub const CONTAINER: &str = "archives";

/// The server, with one container.
pub struct AzureServer {
    /// With the account in its path.
    pub endpoint: String,
    _tool: Tool,
}

impl AzureServer {
    pub fn start() -> AzureServer {
        let tool = Tool::start(|port, folder| {
            let mut command = Command::new("node");
            command.arg(installed("azurite/node_modules/azurite/dist/src/blob/main.js"));
            command.args(["--blobPort", &port.to_string(), "--location"]).arg(folder);
            command.args(["--silent", "--disableTelemetry", "--skipApiVersionCheck", "--disableProductStyleUrl"]);
            command
        });
        let server = AzureServer { endpoint: format!("{}/{ACCOUNT}", tool.endpoint), _tool: tool };
        server.make_container();
        server
    }

    fn make_container(&self) {
        let mut request = HttpRequest::new(HttpRequestBody::empty());
        *request.method_mut() = ureq::http::Method::PUT;
        *request.uri_mut() = format!("{}/{CONTAINER}?restype=container", self.endpoint).parse().expect("an address");
        let key = AzureCredential::AccessKey(AzureAccessKey::try_new(KEY).expect("a key"));
        AzureAuthorizer::new(&key, ACCOUNT).try_authorize(&mut request).expect("it can be signed");
        ureq::run(request.map(|_| ())).expect("the container is made");
    }

    /// A prefix in its container, for everybody's account.
    pub fn destination(&self, prefix: &str) -> Objects {
        self.open_at(&self.endpoint, prefix)
    }

    /// The same by another address.
    pub fn open_at(&self, endpoint: &str, prefix: &str) -> Objects {
        open(endpoint, prefix, KEY)
    }

    /// The same for whoever holds a shared access signature.
    pub fn open_as(&self, signature: &str, prefix: &str) -> Objects {
        open(&self.endpoint, prefix, signature)
    }

    /// A shared access signature for the container: what it may do, in Azure's letters, and until when.
    pub fn signature(&self, permissions: &str, until: &str) -> String {
        // The fields between stay empty: begin, policy, addresses, protocol; behind them snapshot, scope, five headers of answers.
        let text = format!("{permissions}\n\n{until}\n/blob/{ACCOUNT}/{CONTAINER}\n\n\n\n2020-12-06\nc\n\n\n\n\n\n\n");
        let key = base64_simd::STANDARD.decode_to_vec(KEY).expect("a key");
        let signature = base64_simd::STANDARD.encode_to_string(hmac_sha256(&key, &[text.as_bytes()]).0);
        let coded = |text: &str| text.replace('+', "%2B").replace('/', "%2F").replace('=', "%3D").replace(':', "%3A");
        let (until, signature) = (coded(until), coded(&signature));
        format!("?sv=2020-12-06&se={until}&sr=c&sp={permissions}&sig={signature}")
    }
}

fn open(endpoint: &str, prefix: &str, secret: &str) -> Objects {
    let credentials = Credentials::pasted(ACCOUNT, secret).expect("good ones");
    objects::azure("the tests' container", ACCOUNT, CONTAINER, prefix, Some(endpoint), Some(&credentials))
        .expect("an address")
}
