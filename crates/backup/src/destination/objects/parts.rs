//! Objects that are too large for one request: sent in parts, and there once the parts are joined.

use std::io::Read as _;

use keyark_crypto::hash::sha256;
use keyark_crypto::random;
use object_store::path::Path;
use object_store::{HeaderMap, HeaderValue};
use reqwest::Method;

use super::signed::{Ask, element, sum, value};
use super::{Dialect, Objects, other};
use crate::destination::{Content, DestinationError};

/// More than that servers take in no request: 5 GiB of S3, 5000 MiB of Azure.
pub(super) const WHOLE: u64 = 4 << 30;
/// Bytes of a part, which is held in memory.
const PART: u64 = 64 << 20;
/// An object of S3 has no more.
const PARTS: u64 = 10_000;

/// A part that was taken: what joining names it by.
struct Part {
    /// Of S3 its tag and sum, of Azure its block.
    id: String,
    sum: String,
}

impl Objects {
    /// Sends an object on condition that nothing is there, locked if this place locks. Parts that nobody joined are no object;
    /// Azure drops them after a week, S3 when it is told to.
    pub(super) async fn send_parts(
        &self,
        name: &str,
        path: &Path,
        content: Content<'_>,
        size: u64,
    ) -> Result<(), DestinationError> {
        self.absent(name, path).await?;
        let lock = self.retention(name, path).await?;
        match &self.dialect {
            Dialect::Azure(_) => {
                let parts = self.parts(name, path, content, size, None).await?;
                self.join_blocks(name, path, &parts, lock).await
            }
            Dialect::S3(_) => {
                let upload = self.begin(name, path, &lock).await?;
                let joined = match self.parts(name, path, content, size, Some(&upload)).await {
                    Ok(parts) => self.join_upload(name, path, &parts, &upload).await,
                    Err(e) => Err(e),
                };
                if joined.is_err() {
                    let query = [("uploadId", upload.as_str())];
                    let dropped = self.request(Method::DELETE, path, Ask { query: &query, ..Ask::default() }).await;
                    if !dropped.is_ok_and(|answer| answer.status().is_success() || answer.status() == 404) {
                        tracing::warn!(%name, "parts of an upload that failed may have stayed: let the bucket abort incomplete uploads");
                    }
                }
                joined
            }
        }
    }

    async fn parts(
        &self,
        name: &str,
        path: &Path,
        content: Content<'_>,
        size: u64,
        upload: Option<&str>,
    ) -> Result<Vec<Part>, DestinationError> {
        let length = PART.min(self.whole).max(size.div_ceil(PARTS));
        let (mut reader, mut sent) = (content.open().map_err(other)?, Vec::new());
        let (own, mut read) = (u32::from_be_bytes(random::bytes()), 0);
        loop {
            let mut bytes = Vec::with_capacity(usize::try_from(length).map_err(other)?);
            (&mut reader).take(length).read_to_end(&mut bytes).map_err(other)?;
            if bytes.is_empty() {
                return match read == size {
                    true => Ok(sent),
                    false => Err(other(format!("{name}: {read} bytes were read where there were {size}"))),
                };
            }
            read += bytes.len() as u64;
            let (number, block) = ((sent.len() + 1).to_string(), block(own, sent.len()));
            let (sum, length) = (sum(sha256(&[&bytes])), bytes.len() as u64);
            let mut ask = Ask { body: Some((bytes.into(), length)), ..Ask::default() };
            let of_s3 = upload.map(|upload| [("partNumber", number.as_str()), ("uploadId", upload)]);
            let of_azure = [("comp", "block"), ("blockid", block.as_str())];
            ask.query = of_s3.as_ref().unwrap_or(&of_azure);
            if upload.is_some() {
                ask.headers.insert("x-amz-checksum-sha256", value(&sum)?);
            }
            let taken = self.done(name, Method::PUT, path, ask).await?;
            let tag = taken.headers().get("etag").and_then(|tag| tag.to_str().ok());
            let id = if upload.is_some() { tag.unwrap_or_default().to_owned() } else { block };
            sent.push(Part { id, sum });
        }
    }

    /// Where S3 keeps the parts until they are joined.
    async fn begin(&self, name: &str, path: &Path, lock: &HeaderMap) -> Result<String, DestinationError> {
        let mut headers = lock.clone();
        headers.insert("x-amz-checksum-algorithm", HeaderValue::from_static("SHA256"));
        let ask = Ask { query: &[("uploads", "")], headers, ..Ask::default() };
        let answer = self.done(name, Method::POST, path, ask).await?.text().await.map_err(other)?;
        let upload = element(&answer, "UploadId").filter(|id| !id.is_empty());
        Ok(upload.ok_or_else(|| other("the server begins no upload in parts"))?.to_owned())
    }

    async fn join_upload(&self, name: &str, path: &Path, parts: &[Part], upload: &str) -> Result<(), DestinationError> {
        let line = |(n, part): (usize, &Part)| {
            let (number, tag, sum) = (n + 1, &part.id, &part.sum);
            format!(
                "<Part><PartNumber>{number}</PartNumber><ETag>{tag}</ETag><ChecksumSHA256>{sum}</ChecksumSHA256></Part>"
            )
        };
        let lines: String = parts.iter().enumerate().map(line).collect();
        let text = format!("<CompleteMultipartUpload>{lines}</CompleteMultipartUpload>");
        let ask = Ask { query: &[("uploadId", upload)], ..absent_only(HeaderMap::new(), text) };
        let answer = self.done(name, Method::POST, path, ask).await?.text().await.map_err(other)?;
        // It begins its answer before it knows.
        match element(&answer, "Code") {
            None => Ok(()),
            Some(code) => Err(DestinationError::Unreachable(format!("{name}: its parts were not joined: {code}"))),
        }
    }

    async fn join_blocks(
        &self,
        name: &str,
        path: &Path,
        parts: &[Part],
        lock: HeaderMap,
    ) -> Result<(), DestinationError> {
        let lines: String = parts.iter().map(|part| format!("<Latest>{}</Latest>", part.id)).collect();
        let text = format!("<?xml version=\"1.0\" encoding=\"utf-8\"?><BlockList>{lines}</BlockList>");
        let ask = Ask { query: &[("comp", "blocklist")], ..absent_only(lock, text) };
        self.done(name, Method::PUT, path, ask).await.map(drop)
    }
}

/// A request that joins parts on condition that nothing is there.
fn absent_only(mut headers: HeaderMap, text: String) -> Ask<'static> {
    headers.insert("if-none-match", HeaderValue::from_static("*"));
    let length = text.len() as u64;
    Ask { headers, body: Some((text.into(), length)), ..Ask::default() }
}

/// The id of Azure's n-th block, which no other upload of the name has; all are as long, and stand in an address as they are.
fn block(own: u32, n: usize) -> String {
    base64_simd::STANDARD.encode_to_string(format!("{own:08x}{n:07}"))
}
