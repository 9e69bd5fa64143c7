//! A raw HTTP/1.1 client that keeps its connection: little work, for the server's own cores do it.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::figures::Outcome;

trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}

impl<T: AsyncRead + AsyncWrite + Unpin + Send> Stream for T {}

/// The bytes of a request.
pub fn request(method: &str, path: &str, token: &str, body: &str) -> Vec<u8> {
    let length = body.len();
    format!(
        "{method} {path} HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {token}\r\n\
         content-type: application/json\r\ncontent-length: {length}\r\n\r\n{body}"
    )
    .into_bytes()
}

/// What the head of an answer says.
pub struct Head {
    pub status: u16,
    /// Bytes of the head with its empty line, and of head and body together.
    pub end: usize,
    pub total: usize,
}

/// Reads the head of an answer; `None` while it is not complete.
pub fn head(bytes: &[u8]) -> Outcome<Option<Head>> {
    let Some(end) = bytes.windows(4).position(|w| w == b"\r\n\r\n") else { return Ok(None) };
    let text = std::str::from_utf8(&bytes[..end])?;
    let status = text.get(9..12).ok_or("an answer without a status")?.parse::<u16>()?;
    let mut fields = text.split("\r\n").filter_map(|line| line.split_once(':'));
    let length = match fields.find(|(name, _)| name.eq_ignore_ascii_case("content-length")) {
        Some((_, length)) => length.trim().parse::<usize>()?,
        None if status == 204 => 0,
        None => return Err("an answer without Content-Length".into()),
    };
    let end = end + 4;
    Ok(Some(Head { status, end, total: end + length }))
}

/// The error for an answer that should not have come.
pub fn unexpected(status: u16, body: &[u8]) -> Box<dyn std::error::Error + Send + Sync> {
    format!("the server answered {status}: {}", String::from_utf8_lossy(body)).into()
}

/// Where a server is, and whom to trust there.
#[derive(Clone)]
pub struct Dial {
    pub address: SocketAddr,
    tls: Option<TlsConnector>,
}

impl Dial {
    pub fn plain(address: SocketAddr) -> Dial {
        Dial { address, tls: None }
    }

    /// TLS, trusting the authority of that file alone.
    pub fn trusting(address: SocketAddr, authority: &Path) -> Outcome<Dial> {
        let pem = std::fs::read(authority)?;
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(&pem)?)?;
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots)
            .with_no_client_auth();
        Ok(Dial { address, tls: Some(TlsConnector::from(Arc::new(config))) })
    }

    pub async fn connect(&self) -> Outcome<Connection> {
        let stream = TcpStream::connect(self.address).await?;
        stream.set_nodelay(true)?;
        let stream: Box<dyn Stream> = match &self.tls {
            None => Box::new(stream),
            Some(tls) => Box::new(tls.connect(ServerName::from(self.address.ip()), stream).await?),
        };
        Ok(Connection { stream, buffer: Vec::with_capacity(64 << 10) })
    }

    /// One request on a connection of its own; anything but success is an error.
    pub async fn call(&self, method: &str, path: &str, token: &str, body: &str) -> Outcome<Value> {
        let mut connection = self.connect().await?;
        let head = connection.send(&request(method, path, token, body)).await?;
        let body = &connection.buffer[head.end..head.total];
        match head.status {
            204 => Ok(Value::Null),
            200..=299 => Ok(serde_json::from_slice(body)?),
            status => Err(unexpected(status, body)),
        }
    }
}

/// One connection; requests go one after the other.
pub struct Connection {
    stream: Box<dyn Stream>,
    buffer: Vec<u8>,
}

impl Connection {
    async fn send(&mut self, request: &[u8]) -> Outcome<Head> {
        self.buffer.clear();
        self.stream.write_all(request).await?;
        self.stream.flush().await?;
        let head = loop {
            self.fill().await?;
            if let Some(head) = head(&self.buffer)? {
                break head;
            }
        };
        self.buffer.reserve(head.total.saturating_sub(self.buffer.len()));
        while self.buffer.len() < head.total {
            self.fill().await?;
        }
        Ok(head)
    }

    async fn fill(&mut self) -> Outcome {
        match self.stream.read_buf(&mut self.buffer).await? {
            0 => Err("the server closed a connection that was in use".into()),
            _ => Ok(()),
        }
    }

    /// Sends a request that must be answered so; gives the bytes of the answer.
    pub async fn expect(&mut self, request: &[u8], status: u16) -> Outcome<usize> {
        let head = self.send(request).await?;
        if head.status != status {
            return Err(unexpected(head.status, &self.buffer[head.end..head.total]));
        }
        Ok(head.total)
    }
}
