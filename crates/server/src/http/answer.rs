//! Writing an answer: JSON, nothing, or a file with ranges; errors in their one shape.

use axum::body::Body;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::Response;
use keyark_api::ErrorCode;

use super::status;
use crate::app::handler::Written;
use crate::app::idempotency::Kept;
use crate::app::{AppError, Content};

/// A handler's reply as HTTP.
pub async fn answer(id: &str, usual: u16, reply: Written, headers: &HeaderMap) -> Response {
    let mut response = match reply.content {
        Content::Json(text) => json(status(reply.status.unwrap_or(usual)), text),
        Content::None => empty(status(reply.status.unwrap_or(usual))),
        Content::File { path, name, etag } => match file(&path, &name, &etag, headers).await {
            Ok(response) => response,
            Err(e) => return answer_error(id, &e),
        },
    };
    set_etag(&mut response, reply.revision);
    if let Some(token) = reply.position.and_then(|token| HeaderValue::from_str(&token).ok()) {
        response.headers_mut().insert("keyark-position", token);
    }
    with_id(response, id)
}

/// JSON of a page outside the list of endpoints.
pub fn answer_json(id: &str, status: StatusCode, bytes: Vec<u8>) -> Response {
    with_id(json(status, bytes), id)
}

/// The first reply to an idempotency key once more.
pub fn answer_kept(id: &str, kept: &Kept) -> Response {
    let mut response = match &kept.json {
        Some(bytes) => json(status(kept.status), bytes.expose().clone()),
        None => empty(status(kept.status)),
    };
    set_etag(&mut response, kept.revision);
    response.headers_mut().insert("idempotency-replayed", HeaderValue::from_static("true"));
    with_id(response, id)
}

fn set_etag(response: &mut Response, revision: Option<u64>) {
    if let Some(revision) = revision {
        let tag = HeaderValue::from_str(&format!("\"{revision}\"")).expect("a number in quotes is a header value");
        response.headers_mut().insert(header::ETAG, tag);
    }
}

fn empty(status: StatusCode) -> Response {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = status;
    response
}

/// An error in its one shape.
pub fn answer_error(id: &str, e: &AppError) -> Response {
    let bytes = serde_json::to_vec(&e.body(id)).expect("strings serialise");
    let mut response = json(status(e.code.status()), bytes);
    if let Some(seconds) = e.retry_after {
        response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
    }
    if e.code == ErrorCode::Unauthorized {
        response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    }
    with_id(response, id)
}

fn json(status: StatusCode, bytes: Vec<u8>) -> Response {
    let mut response = Response::new(Body::from(bytes));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

fn with_id(mut response: Response, id: &str) -> Response {
    if let Ok(value) = HeaderValue::from_str(id) {
        response.headers_mut().insert("x-request-id", value);
    }
    response
}

/// A file, or the one range of it that was asked for.
async fn file(path: &std::path::Path, name: &str, etag: &str, headers: &HeaderMap) -> Result<Response, AppError> {
    use tokio::io::{AsyncReadExt as _, AsyncSeekExt as _};
    let mut file = tokio::fs::File::open(path).await.map_err(AppError::internal)?;
    let size = file.metadata().await.map_err(AppError::internal)?.len();
    let tag = format!("\"{etag}\"");
    let range = headers.get(header::RANGE).and_then(|v| v.to_str().ok());
    // A range of another file than the one named in If-Range is answered whole.
    let same = headers.get(header::IF_RANGE).is_none_or(|v| v.as_bytes() == tag.as_bytes());
    let (first, last, code) = match range.filter(|_| same).map(|r| parse_range(r, size)) {
        None => (0, size, StatusCode::OK),
        Some(Some((first, last))) => (first, last, StatusCode::PARTIAL_CONTENT),
        Some(None) => {
            return Err(AppError::new(ErrorCode::RangeNotSatisfiable, format!("the file has {size} bytes")));
        }
    };
    file.seek(std::io::SeekFrom::Start(first)).await.map_err(AppError::internal)?;
    let body = Body::from_stream(tokio_util::io::ReaderStream::with_capacity(file.take(last - first), 256 << 10));
    let mut response = Response::new(body);
    *response.status_mut() = code;
    let h = response.headers_mut();
    h.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
    h.insert(header::ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    h.insert(header::CONTENT_LENGTH, HeaderValue::from(last - first));
    let text = |s: String| HeaderValue::from_str(&s).map_err(AppError::internal);
    h.insert(header::ETAG, text(tag)?);
    h.insert(header::CONTENT_DISPOSITION, text(format!("attachment; filename=\"{name}\""))?);
    if code == StatusCode::PARTIAL_CONTENT {
        h.insert(header::CONTENT_RANGE, text(format!("bytes {first}-{}/{size}", last - 1))?);
    }
    Ok(response)
}

/// One range as (first, end); `None` when it lies outside. Several ranges are answered by the first one.
fn parse_range(text: &str, size: u64) -> Option<(u64, u64)> {
    let one = text.strip_prefix("bytes=")?.split(',').next()?.trim();
    let (first, last) = one.split_once('-')?;
    let (first, end) = match (first.is_empty(), last.is_empty()) {
        (true, true) => return None,
        (true, false) => (size.saturating_sub(last.parse().ok()?), size),
        (false, true) => (first.parse().ok()?, size),
        (false, false) => (first.parse().ok()?, last.parse::<u64>().ok()?.saturating_add(1).min(size)),
    };
    (first < end).then_some((first, end))
}

#[cfg(test)]
mod tests {
    use super::parse_range;

    #[test]
    fn ranges() {
        for (text, expected) in [
            ("bytes=0-9", Some((0, 10))),
            ("bytes=90-", Some((90, 100))),
            ("bytes=-10", Some((90, 100))),
            ("bytes=95-200", Some((95, 100))),
            ("bytes=100-", None),
            ("bytes=5-4", None),
            ("bytes=-", None),
            ("lines=1-2", None),
        ] {
            assert_eq!(parse_range(text, 100), expected, "{text}");
        }
    }
}
