//! Measures object stores: a large archive to a real server of this machine and back, beside a plain copy by the same HTTP client.

use std::path::Path as FilePath;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt as _;
use keyark_backup::destination::{Content, Destination, Found, fetch};
use keyark_testkit::azure::{self, AzureServer};
use keyark_testkit::s3::{self, S3Server};
use object_store::aws::AmazonS3Builder;
use object_store::azure::MicrosoftAzureBuilder;
use object_store::path::Path;
use object_store::signer::Signer;
use reqwest::Method;
use tokio::io::AsyncWriteExt as _;
use tokio::runtime::Runtime;

use crate::clock::{Spent, timed};
use crate::figures::{Figure, Outcome, Target, median, number};
use crate::sftp;

/// Each is measured so often, in turn.
const TIMES: usize = 3;
/// Our time is at most so much of the plain copy's: 0.85 of its speed.
const RATIO: f64 = 1.0 / 0.85;

/// With an archive of so many MiB.
pub fn run(folder: &FilePath, size: u64) -> Outcome {
    let file = folder.join("archive-to-send");
    let content: Vec<u8> =
        (0..size << 17).flat_map(|n: u64| n.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_le_bytes()).collect();
    std::fs::write(&file, content)?;
    let server = S3Server::start();
    let signer = AmazonS3Builder::new()
        .with_bucket_name(s3::BUCKET)
        .with_region(s3::REGION)
        .with_endpoint(&server.endpoint)
        .with_allow_http(true)
        .with_access_key_id(s3::ACCESS)
        .with_secret_access_key(s3::SECRET)
        .build()?;
    measure("S3", &server.destination(""), &PlainHttp::new(Arc::new(signer))?, &file, None)?;
    drop(server);
    let server = AzureServer::start();
    let signer = MicrosoftAzureBuilder::new()
        .with_account(azure::ACCOUNT)
        .with_access_key(azure::KEY)
        .with_container_name(azure::CONTAINER)
        .with_endpoint(server.endpoint.clone())
        .with_allow_http(true)
        .build()?;
    measure("Azure Blob", &server.destination(""), &PlainHttp::new(Arc::new(signer))?, &file, None)?;
    drop(server);
    sftp::run(&file)
}

/// The same HTTP client, with nothing around it.
struct PlainHttp {
    signer: Arc<dyn Signer>,
    client: reqwest::Client,
    runtime: Runtime,
}

impl PlainHttp {
    fn new(signer: Arc<dyn Signer>) -> Outcome<PlainHttp> {
        Ok(PlainHttp { signer, client: reqwest::Client::new(), runtime: network()? })
    }

    async fn url(&self, method: Method, name: &str) -> Outcome<reqwest::Url> {
        Ok(self.signer.signed_url(method, &Path::parse(name)?, Duration::from_secs(600)).await?)
    }
}

impl Plain for PlainHttp {
    fn send(&self, name: &str, file: &FilePath) -> Outcome {
        self.runtime.block_on(async {
            let content = tokio::fs::File::open(file).await?;
            let length = content.metadata().await?.len();
            let body = tokio_util::io::ReaderStream::with_capacity(content, 1 << 20);
            let request = self.client.put(self.url(Method::PUT, name).await?).header("content-length", length);
            let request = request.header("x-ms-blob-type", "BlockBlob").body(reqwest::Body::wrap_stream(body));
            request.send().await?.error_for_status()?;
            Ok(())
        })
    }

    fn fetch(&self, name: &str, into: &FilePath) -> Outcome {
        self.runtime.block_on(async {
            let answer = self.client.get(self.url(Method::GET, name).await?).send().await?.error_for_status()?;
            let (mut pieces, mut file) = (answer.bytes_stream(), tokio::fs::File::create(into).await?);
            while let Some(piece) = pieces.next().await {
                file.write_all(&piece?).await?;
            }
            Ok(file.flush().await?)
        })
    }
}

/// A plain copy, by the client that the destination uses too.
pub trait Plain {
    fn send(&self, name: &str, file: &FilePath) -> Outcome;
    fn fetch(&self, name: &str, into: &FilePath) -> Outcome;
}

/// How long a plain copy takes there and back; seconds.
pub fn plainly(plain: &dyn Plain, file: &FilePath) -> Outcome<[f64; 2]> {
    let back = file.with_extension("back");
    let mut walls = [Vec::new(), Vec::new()];
    for _ in 0..TIMES {
        walls[0].push(timed(|| plain.send("plain", file))?.1.wall);
        walls[1].push(timed(|| plain.fetch("plain", &back))?.1.wall);
        std::fs::remove_file(&back)?;
    }
    Ok(walls.map(median))
}

/// Where such a client runs.
pub fn network() -> Outcome<Runtime> {
    Ok(tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?)
}

/// What distance allows at most: seconds for sending and fetching, and how near to that we come at least.
pub struct Far {
    pub sent: f64,
    pub fetched: f64,
    pub share: f64,
}

pub fn measure(kind: &str, place: &dyn Destination, plain: &dyn Plain, file: &FilePath, far: Option<&Far>) -> Outcome {
    let back = file.with_extension("back");
    // The first of each is not measured: connections are made, and it is what is fetched.
    plain.send("first-plain", file)?;
    place.create("ours/first", Content::File(file))?;
    let size = std::fs::metadata(file)?.len();
    let found = Found { name: "ours/first".into(), size };
    let (mut sent, mut fetched) = ([Vec::new(), Vec::new()], [Vec::new(), Vec::new()]);
    for _ in 0..TIMES {
        sent[0].push(timed(|| Ok(place.create("ours/next", Content::File(file))?))?.1);
        place.delete("ours/next")?;
        sent[1].push(timed(|| plain.send("next-plain", file))?.1);
        place.delete("next-plain")?;
        fetched[0].push(timed(|| Ok(fetch(place, &found, &back)?))?.1);
        std::fs::remove_file(&back)?;
        fetched[1].push(timed(|| plain.fetch("first-plain", &back))?.1);
        std::fs::remove_file(&back)?;
    }
    for name in ["ours/first", "first-plain"] {
        place.delete(name)?;
    }
    for (n, (what, [ours, plain])) in [("sent", sent), ("fetched", fetched)].into_iter().enumerate() {
        let cpu = |all: &[Spent]| number(median(all.iter().map(|s| s.cpu).collect()));
        let wall = |all: &[Spent]| median(all.iter().map(|s| s.wall).collect());
        let figure = Figure::new(format!("{kind}: an archive of {} MiB is {what}", size >> 20), wall(&ours), "s");
        match far {
            None => figure
                .note(format!("{} s CPU of this process, {} plain", cpu(&ours), cpu(&plain)))
                .limit(wall(&plain), "a plain copy by the same client")
                .target(Target::Ratio(RATIO)),
            Some(far) => figure
                .note(format!("a plain copy {} s", number(wall(&plain))))
                .limit([far.sent, far.fetched][n], "what machine and distance allow")
                .target(Target::Ratio(1.0 / far.share)),
        }
        .print();
    }
    Ok(())
}
