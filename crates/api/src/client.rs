//! A small blocking client: sends a request struct, or JSON by the endpoint's description.

use std::io::Read;
use std::time::Duration;

use serde::de::DeserializeOwned;
use serde_json::Value;
use ureq::http::request::Builder;
use ureq::http::{HeaderMap, Request, Response, StatusCode};
use ureq::tls::TlsConfig;
use ureq::{Agent, AsSendBody, SendBody};

use crate::address::{address, is_loopback};
use crate::endpoint::{Endpoint, EndpointInfo, Method};
use crate::error::{ErrorBody, ErrorCode, Exit};

/// The largest JSON answer in bytes; a page of 100 000 resources fits.
const LARGEST_ANSWER: u64 = 1 << 30;
/// The largest error answer in bytes that is read.
const LARGEST_ERROR: u64 = 1 << 20;
const CONNECT: Duration = Duration::from_secs(10);
/// How long the server may think about one request; long work answers 202 at once.
const PATIENCE: Duration = Duration::from_secs(600);

/// Talks to one server, as one caller once it has a token.
pub struct Client {
    base: String,
    agent: Agent,
    token: Option<String>,
}

/// Why a request has no good answer.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The server refused or failed, in its own words.
    #[error("{}", .body.message)]
    Refused { status: u16, body: ErrorBody, retry_after: Option<u64> },
    #[error(
        "{url} answered with HTTP status {status} and no reason: check that a Keyark server listens there, not another one"
    )]
    Foreign { url: String, status: u16 },
    #[error("{url}: {what}: {next}")]
    Transport { url: String, what: String, next: &'static str },
    #[error("the request cannot be sent: {0}")]
    Request(String),
    #[error("the answer cannot be read ({0}): use a client of the server's version")]
    Unreadable(#[from] serde_json::Error),
}

impl ClientError {
    /// The code of a refusal, if this version knows it.
    pub fn code(&self) -> Option<ErrorCode> {
        match self {
            ClientError::Refused { body, .. } => ErrorCode::from_number(body.code),
            _ => None,
        }
    }

    /// Exit status of the command line.
    pub fn exit(&self) -> Exit {
        match self {
            ClientError::Refused { .. } => self.code().map_or(Exit::Failure, ErrorCode::exit),
            ClientError::Transport { .. } => Exit::Unavailable,
            ClientError::Request(_) => Exit::Usage,
            ClientError::Foreign { .. } | ClientError::Unreadable(_) => Exit::Failure,
        }
    }
}

/// What the server answered to a request that succeeded. Not printable: it may hold key material.
pub struct Answer {
    pub status: u16,
    /// The JSON as the server wrote it; empty when there is none (204).
    pub bytes: Vec<u8>,
    /// The revision in quotes, for `If-Match`.
    pub etag: Option<String>,
}

impl Answer {
    /// The body as `T`; no body reads as an empty object.
    pub fn read<T: DeserializeOwned>(&self) -> Result<T, ClientError> {
        let bytes: &[u8] = if self.bytes.is_empty() { b"{}" } else { &self.bytes };
        Ok(serde_json::from_slice(bytes)?)
    }
}

/// A file on its way.
pub struct Download {
    /// Where its bytes start: 0, or what was asked for if the server could go on there.
    pub offset: u64,
    /// Bytes of the whole file, if the server says.
    pub length: Option<u64>,
    /// In quotes; names these very bytes.
    pub etag: Option<String>,
    pub reader: ureq::BodyReader<'static>,
}

impl Client {
    /// `base` is `https://host:port`; an ending `/`, `/v1` or `/api/v1` is taken off.
    /// `tls` names whom to trust; no environment and no built-in list does.
    pub fn new(base: &str, tls: TlsConfig) -> Client {
        let base = base.trim_end_matches('/');
        let base = base.strip_suffix("/v1").unwrap_or(base);
        let base = base.strip_suffix("/api").unwrap_or(base);
        // This machine is never reached through a proxy.
        let proxy = if is_loopback(base) { None } else { ureq::Proxy::try_from_env() };
        let config = Agent::config_builder()
            .http_status_as_error(false)
            // A redirect could carry the token elsewhere.
            .max_redirects(0)
            .proxy(proxy)
            .timeout_connect(Some(CONNECT))
            .timeout_recv_response(Some(PATIENCE))
            .user_agent(concat!("keyark/", env!("CARGO_PKG_VERSION")))
            .tls_config(tls)
            .build();
        Client { base: base.to_owned(), agent: Agent::new_with_config(config), token: None }
    }

    /// The server's address.
    pub fn base(&self) -> &str {
        &self.base
    }

    /// Speaks from now on as whoever this JWT was issued to; `None`: as nobody.
    pub fn set_token(&mut self, token: Option<String>) {
        self.token = token;
    }

    /// Sends a request struct and reads its answer.
    pub fn call<E: Endpoint>(&self, request: &E) -> Result<E::Response, ClientError> {
        self.send(&EndpointInfo::of::<E>(), serde_json::to_value(request)?)?.read()
    }

    /// Sends `request`, an object with the endpoint's fields: path parameters, then query or body.
    pub fn send(&self, endpoint: &EndpointInfo, request: Value) -> Result<Answer, ClientError> {
        self.send_with(endpoint, request, &[])
    }

    /// The same with further headers, such as `If-Match` and `Idempotency-Key`.
    pub fn send_with(
        &self,
        endpoint: &EndpointInfo,
        request: Value,
        headers: &[(&str, &str)],
    ) -> Result<Answer, ClientError> {
        self.answer(self.open(endpoint, request, headers)?)
    }

    /// GET of a page outside the list of endpoints.
    pub fn get(&self, path: &str) -> Result<Answer, ClientError> {
        self.answer(self.run(self.builder(Method::GET, path, &[]), ())?)
    }

    /// Sends a file of `length` bytes; the other fields travel in the path and the query.
    pub fn upload(
        &self,
        endpoint: &EndpointInfo,
        request: Value,
        file: &mut dyn Read,
        length: u64,
    ) -> Result<Answer, ClientError> {
        let (target, _) = address(endpoint, request)?;
        let length = length.to_string();
        let headers = [("content-type", "application/octet-stream"), ("content-length", length.as_str())];
        self.answer(self.run(self.builder(endpoint.method, &target, &headers), SendBody::from_reader(file))?)
    }

    /// Fetches a file; `from` = (offset, etag) goes on with one that broke off, unless it changed since.
    pub fn download(
        &self,
        endpoint: &EndpointInfo,
        request: Value,
        from: Option<(u64, &str)>,
    ) -> Result<Download, ClientError> {
        let range = from.map(|(offset, _)| format!("bytes={offset}-"));
        let mut headers = Vec::new();
        if let (Some((_, etag)), Some(range)) = (from, &range) {
            headers.extend([("range", range.as_str()), ("if-range", etag)]);
        }
        let response = self.open(endpoint, request, &headers)?;
        let (offset, length) = match header(response.headers(), "content-range").and_then(content_range) {
            Some((first, whole)) if response.status() == StatusCode::PARTIAL_CONTENT => (first, whole),
            _ => (0, header(response.headers(), "content-length").and_then(|n| n.parse().ok())),
        };
        let etag = header(response.headers(), "etag").map(str::to_owned);
        Ok(Download { offset, length, etag, reader: response.into_body().into_reader() })
    }

    /// Sends, and gives a good answer with its body unread.
    fn open(
        &self,
        endpoint: &EndpointInfo,
        request: Value,
        headers: &[(&str, &str)],
    ) -> Result<Response<ureq::Body>, ClientError> {
        let (target, body) = address(endpoint, request)?;
        let builder = self.builder(endpoint.method, &target, headers);
        match body {
            Some(body) => self.run(builder.header("content-type", "application/json"), serde_json::to_vec(&body)?),
            None if matches!(endpoint.method, Method::GET | Method::DELETE) => self.run(builder, ()),
            None => self.run(builder, Vec::new()),
        }
    }

    fn builder(&self, method: Method, target: &str, headers: &[(&str, &str)]) -> Builder {
        let mut builder = Request::builder()
            .method(method.as_str())
            .uri(format!("{}{target}", self.base))
            .header("accept", "application/json, application/octet-stream");
        if let Some(token) = &self.token {
            builder = builder.header("authorization", format!("Bearer {token}"));
        }
        headers.iter().fold(builder, |builder, (name, value)| builder.header(*name, *value))
    }

    fn run(&self, builder: Builder, body: impl AsSendBody) -> Result<Response<ureq::Body>, ClientError> {
        let request = builder.body(body).map_err(|e| ClientError::Request(e.to_string()))?;
        let response = self.agent.run(request).map_err(|e| self.transport(&e))?;
        if response.status().is_success() {
            return Ok(response);
        }
        let status = response.status().as_u16();
        let retry_after = header(response.headers(), "retry-after").and_then(|v| v.parse().ok());
        let mut bytes = Vec::new();
        // A refusal that breaks off is one without a reason.
        let _ = response.into_body().into_reader().take(LARGEST_ERROR).read_to_end(&mut bytes);
        Err(match serde_json::from_slice(&bytes) {
            Ok(body) => ClientError::Refused { status, body, retry_after },
            Err(_) => ClientError::Foreign { url: self.base.clone(), status },
        })
    }

    fn answer(&self, response: Response<ureq::Body>) -> Result<Answer, ClientError> {
        let status = response.status().as_u16();
        let etag = header(response.headers(), "etag").map(str::to_owned);
        let mut bytes = Vec::new();
        let mut reader = response.into_body().into_reader().take(LARGEST_ANSWER);
        reader.read_to_end(&mut bytes).map_err(|e| self.transport(&e.into()))?;
        Ok(Answer { status, bytes, etag })
    }

    fn transport(&self, e: &ureq::Error) -> ClientError {
        let what = e.to_string();
        let refused = matches!(e, ureq::Error::Io(io) if io.kind() == std::io::ErrorKind::ConnectionRefused);
        let next = match e {
            _ if refused => "nothing listens there: start the server (`keyark serve`), or check the address",
            ureq::Error::ConnectionFailed => "nothing answers there: check the address and the network",
            ureq::Error::HostNotFound => "check the name of the host",
            ureq::Error::Timeout(_) => "the server did not answer in time: look at its log, then try again",
            _ if what.contains("certificate") => {
                "trust the authority that signed the server's certificate: `ca.pem` of the server's data folder"
            }
            _ if what.contains("InvalidContentType") => "the server speaks plain HTTP there: write http://",
            _ => "check the address and the network, then try again",
        };
        ClientError::Transport { url: self.base.clone(), what, next }
    }
}

fn header<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name).and_then(|v| v.to_str().ok())
}

/// `bytes 100-199/200` as (100, 200).
fn content_range(text: &str) -> Option<(u64, Option<u64>)> {
    let (range, whole) = text.strip_prefix("bytes ")?.split_once('/')?;
    let (first, _) = range.split_once('-')?;
    Some((first.parse().ok()?, whole.parse().ok()))
}

#[cfg(test)]
mod tests {
    use super::content_range;

    #[test]
    fn ranges_of_answers() {
        assert_eq!(content_range("bytes 100-199/200"), Some((100, Some(200))));
        assert_eq!(content_range("bytes 5-9/*"), Some((5, None)));
        assert_eq!(content_range("lines 1-2/3"), None);
    }
}
