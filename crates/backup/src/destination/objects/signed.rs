//! Requests that the library has no call for, which it signs.

use std::io::Read as _;
use std::sync::PoisonError;
use std::thread::Scope;
use std::time::{Duration, Instant};

use jiff::fmt::rfc2822::DateTimePrinter;
use keyark_crypto::hash::Sha256;
use keyark_model::protection::LockMode;
use keyark_model::{Digest, Time};
use object_store::path::Path;
use object_store::signer::SignedUrlOptions;
use object_store::{HeaderMap, HeaderValue, ObjectStoreExt as _};
use reqwest::{Body, Method, Response};
use tokio::sync::mpsc;

use super::{Dialect, IN_MEMORY, LONGEST, Objects, failed, other};
use crate::destination::{Content, DestinationError, lock};

/// Bytes of a file that are sent at a time.
const PIECE: usize = 1 << 20;
/// Bytes a second that the slowest upload brings.
const SLOWEST: u64 = 64 << 10;
/// Pieces that are read before they are sent.
const AHEAD: usize = 4;
/// For how long a look at the server's clock counts.
const CLOCK_KEPT: Duration = Duration::from_secs(3600);
/// Of the answer to a refused request so much is looked at.
const REASON: usize = 2_000;

/// What one request says besides its method and path.
#[derive(Default)]
pub(super) struct Ask<'a> {
    pub query: &'a [(&'a str, &'a str)],
    pub headers: HeaderMap,
    /// With its bytes.
    pub body: Option<(Body, u64)>,
}

impl Objects {
    /// The address may have the signature in it: no message shows it.
    pub(super) async fn request(
        &self,
        method: Method,
        path: &Path,
        mut ask: Ask<'_>,
    ) -> Result<Response, DestinationError> {
        if let Some((_, size)) = &ask.body {
            ask.headers.insert("content-length", HeaderValue::from(*size));
        }
        let (url, headers) = match &self.dialect {
            Dialect::S3(signer) => {
                let mut options = SignedUrlOptions::new().with_query(ask.query.iter().copied());
                options.signed_headers = of_amazon(&ask.headers);
                let url = signer.signed_url_opts(method.clone(), path, LONGEST, &options);
                (url.await.map_err(failed(path.as_ref()))?.into(), ask.headers)
            }
            Dialect::Azure(account) => account.authorized(&method, path, ask.query, ask.headers).await?,
        };
        let mut request = self.client.request(method, url).headers(headers);
        if let Some((body, size)) = ask.body {
            // What was ordered to go slowly may take its time.
            request = request.timeout(LONGEST + Duration::from_secs(size / SLOWEST)).body(body);
        }
        request.send().await.map_err(|e| DestinationError::Unreachable(e.without_url().to_string()))
    }

    /// Sends an object as its content is read, on condition that nothing is there, locked if this place locks.
    pub(super) async fn send(
        &self,
        name: &str,
        path: &Path,
        content: Content<'_>,
        size: u64,
        body: Body,
    ) -> Result<(), DestinationError> {
        if size > IN_MEMORY {
            self.absent(name, path).await?;
        }
        let mut headers = self.retention(name, path).await?;
        headers.insert("if-none-match", HeaderValue::from_static("*"));
        match self.dialect {
            Dialect::Azure(_) => drop(headers.insert("x-ms-blob-type", HeaderValue::from_static("BlockBlob"))),
            // It wants a sum of what it locks.
            Dialect::S3(_) if self.lock.is_some() => {
                headers.insert("x-amz-checksum-sha256", value(&sum(hashed(&content).map_err(other)?))?);
            }
            Dialect::S3(_) => {}
        }
        let ask = Ask { headers, body: Some((body, size)), ..Ask::default() };
        self.done(name, Method::PUT, path, ask).await.map(drop)
    }

    /// A request whose answer is good.
    pub(super) async fn done(
        &self,
        name: &str,
        method: Method,
        path: &Path,
        ask: Ask<'_>,
    ) -> Result<Response, DestinationError> {
        let answer = self.request(method, path, ask).await?;
        match answer.status().is_success() {
            true => Ok(answer),
            false => Err(refused(name, answer).await),
        }
    }

    /// A server that refuses at once closes the connection while a large file is still on its way: ask first. The condition
    /// decides all the same.
    pub(super) async fn absent(&self, name: &str, path: &Path) -> Result<(), DestinationError> {
        match self.store.head(path).await.map_err(failed(name)) {
            Err(DestinationError::NotFound(_)) => Ok(()),
            Ok(_) => Err(DestinationError::Exists(name.into())),
            Err(e) => Err(e),
        }
    }

    /// The headers that lock an object, if this place locks.
    pub(super) async fn retention(&self, name: &str, path: &Path) -> Result<HeaderMap, DestinationError> {
        let mut headers = HeaderMap::new();
        let Some(lock) = self.lock else { return Ok(headers) };
        let days = i64::from(lock::days(name, lock.days));
        let until = self.now(path).await?.plus_seconds(86_400 * days);
        let until = jiff::Timestamp::from_second(until.unix_seconds()).map_err(other)?;
        let governed = lock.mode == LockMode::Governance;
        match &self.dialect {
            Dialect::S3(_) => {
                let mode = HeaderValue::from_static(if governed { "GOVERNANCE" } else { "COMPLIANCE" });
                headers.insert("x-amz-object-lock-mode", mode);
                headers.insert("x-amz-object-lock-retain-until-date", value(&until.to_string())?);
            }
            Dialect::Azure(_) => {
                let until = DateTimePrinter::new().timestamp_to_rfc9110_string(&until).map_err(other)?;
                let mode = HeaderValue::from_static(if governed { "unlocked" } else { "locked" });
                headers.insert("x-ms-immutability-policy-mode", mode);
                headers.insert("x-ms-immutability-policy-until-date", value(&until)?);
            }
        }
        Ok(headers)
    }

    /// The server's own time, asked for now and then: how long something stays locked is for its clock to say.
    async fn now(&self, path: &Path) -> Result<Time, DestinationError> {
        let kept = *self.clock.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((asked, then)) = kept.filter(|(asked, _)| asked.elapsed() < CLOCK_KEPT) {
            return Ok(then.plus_seconds(asked.elapsed().as_secs() as i64));
        }
        let now = server_time(self.request(Method::HEAD, path, Ask::default()).await?.headers())?;
        *self.clock.lock().unwrap_or_else(PoisonError::into_inner) = Some((Instant::now(), now));
        Ok(now)
    }
}

/// A body that a thread of its own reads: contents may make their readers wait.
pub(super) fn body<'scope>(
    scope: &'scope Scope<'scope, '_>,
    content: Content<'scope>,
    size: u64,
) -> Result<Body, DestinationError> {
    if size <= IN_MEMORY {
        return Ok(content.read().map_err(other)?.into());
    }
    let (mut reader, (sender, receiver)) = (content.open().map_err(other)?, mpsc::channel(AHEAD));
    scope.spawn(move || {
        loop {
            let mut piece = Vec::with_capacity(PIECE);
            let read = (&mut reader).take(PIECE as u64).read_to_end(&mut piece);
            let ended = !matches!(read, Ok(1..));
            // Nobody listens any more when the request has ended.
            if sender.blocking_send(read.map(|_| piece)).is_err() || ended {
                return;
            }
        }
    });
    let pieces = futures_util::stream::unfold(receiver, |mut pieces| async { Some((pieces.recv().await?, pieces)) });
    Ok(Body::wrap_stream(pieces))
}

/// The headers of S3's own, which it wants to be signed.
fn of_amazon(headers: &HeaderMap) -> HeaderMap {
    let own = headers.iter().filter(|(name, _)| name.as_str().starts_with("x-amz-"));
    own.map(|(name, value)| (name.clone(), value.clone())).collect()
}

pub(super) fn value(text: &str) -> Result<HeaderValue, DestinationError> {
    HeaderValue::from_str(text).map_err(other)
}

/// A hash as S3 writes it.
pub(super) fn sum(hash: Digest) -> String {
    base64_simd::STANDARD.encode_to_string(hash.0)
}

fn hashed(content: &Content<'_>) -> std::io::Result<Digest> {
    let (mut content, mut hash, mut piece) = (content.unpaced().open()?, Sha256::default(), vec![0; PIECE]);
    loop {
        match content.read(&mut piece)? {
            0 => return Ok(hash.finish()),
            n => hash.update(&piece[..n]),
        }
    }
}

/// When a server answered, by its own clock.
pub(super) fn server_time(headers: &HeaderMap) -> Result<Time, DestinationError> {
    let date = headers.get("date").and_then(|date| date.to_str().ok());
    date.and_then(date_of).ok_or_else(|| other("the server does not say what time it is there"))
}

/// A date as HTTP writes it.
pub(super) fn date_of(text: &str) -> Option<Time> {
    Some(Time(jiff::fmt::rfc2822::parse(text).ok()?.timestamp().as_microsecond()))
}

/// Why a server did not do it, with the reason that it gives.
pub(super) async fn refused(name: &str, answer: Response) -> DestinationError {
    let (status, told) = reason(name, answer).await;
    match status {
        404 => DestinationError::NotFound(name.into()),
        409 | 412 => DestinationError::Exists(name.into()),
        401 | 403 => DestinationError::Denied(told),
        507 => DestinationError::Full(told),
        408 | 429 | 500 | 502..=599 => DestinationError::Unreachable(told),
        _ => DestinationError::Other(told),
    }
}

/// The status of an answer, and what it says.
pub(super) async fn reason(name: &str, answer: Response) -> (u16, String) {
    let status = answer.status();
    let text = answer.text().await.unwrap_or_default();
    let text: String = text.chars().take(REASON).map(|c| if c.is_control() { ' ' } else { c }).collect();
    let reason: Vec<&str> = ["Code", "Message"].iter().filter_map(|tag| element(&text, tag)).collect();
    (status.as_u16(), format!("{name}: HTTP status {status} {}", reason.join(": ")))
}

/// The text of the first element of this name.
pub(super) fn element<'x>(xml: &'x str, tag: &str) -> Option<&'x str> {
    let inside = xml.split_once(&format!("<{tag}>"))?.1;
    Some(inside.split_once(&format!("</{tag}>"))?.0)
}
