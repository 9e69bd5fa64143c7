//! HTTP: the routes of the list of endpoints, reading requests, writing answers.

pub mod answer;
pub mod docs;
pub mod local;
pub mod metrics;
pub mod read;
pub mod serve;
pub mod tls;

use std::collections::BTreeSet;
use std::sync::Arc;

use axum::Router;
use axum::extract::rejection::RawPathParamsRejection;
use axum::extract::{ConnectInfo, RawPathParams, Request as HttpRequest, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use axum::routing::{MethodFilter, MethodRouter, on};
use keyark_api::{EndpointInfo, ErrorCode, Method};
use keyark_crypto::random;

use crate::app::handler::{Call, Handler};
use crate::app::idempotency::{self, Once, Ticket};
use crate::app::{App, AppError, Request};
use answer::{answer, answer_error, answer_kept};
use read::{Fields, read};

/// Where a connection comes from.
#[derive(Clone, Copy, Debug)]
pub struct Peer {
    pub address: Option<std::net::IpAddr>,
    /// The local administration socket.
    pub local: bool,
}

fn filter(method: Method) -> MethodFilter {
    match method {
        Method::GET => MethodFilter::GET,
        Method::POST => MethodFilter::POST,
        Method::PUT => MethodFilter::PUT,
        Method::PATCH => MethodFilter::PATCH,
        Method::DELETE => MethodFilter::DELETE,
    }
}

fn route(mut router: Router<Arc<App>>, handler: Handler) -> Router<Arc<App>> {
    let info = handler.info;
    let fields = Arc::new(Fields::of(&info));
    let service = move |State(app): State<Arc<App>>,
                        ConnectInfo(peer): ConnectInfo<Peer>,
                        path: Result<RawPathParams, RawPathParamsRejection>,
                        http: HttpRequest| {
        let fields = fields.clone();
        async move {
            match path {
                Ok(path) => dispatch(app, peer, path, http, handler, &fields).await,
                Err(_) => answer_error(&request_id_of(http.headers()), &not_utf8()),
            }
        }
    };
    // A slash at the end is welcome on every path, whether the list of endpoints names it or not.
    let paths: BTreeSet<&str> = std::iter::once(&info.path).chain(info.also).map(|p| p.trim_end_matches('/')).collect();
    for path in paths {
        for at in [path.to_owned(), format!("{path}/"), format!("/api{path}"), format!("/api{path}/")] {
            let method: MethodRouter<Arc<App>> = on(filter(info.method), service.clone());
            router = router.route(&at, method);
        }
    }
    router
}

macro_rules! routes {
    ($($noun:ident: $($request:ident)*;)*) => {
        /// Every endpoint under `/v1` and `/api/v1`, and the pages without authentication.
        pub fn router(app: Arc<App>) -> Router {
            let router = Router::new();
            $($(let router = route(router, Handler::of::<keyark_api::$noun::$request>());)*)*
            let router = crate::http::serve::pages(router);
            router.method_not_allowed_fallback(wrong_method).fallback(no_such_path).with_state(app)
        }
    };
}

keyark_api::for_each_endpoint!(routes);

fn not_utf8() -> AppError {
    AppError::new(ErrorCode::BadRequest, "the path is not percent-encoded UTF-8")
}

async fn wrong_method(headers: HeaderMap) -> Response {
    let e = AppError::new(ErrorCode::MethodNotAllowed, "this path does not know this method; see the header Allow");
    answer_error(&request_id_of(&headers), &e)
}

async fn no_such_path(headers: HeaderMap) -> Response {
    let e = AppError::new(ErrorCode::NotFound, "there is no such path; the list is at /v1/openapi.json and /docs");
    answer_error(&request_id_of(&headers), &e)
}

fn new_request_id() -> String {
    uuid::Uuid::from_bytes(random::bytes()).simple().to_string()
}

/// The id that a request brings, or a new one.
fn request_id_of(headers: &HeaderMap) -> String {
    let given = headers.get("x-request-id").and_then(|v| v.to_str().ok());
    given
        .filter(|id| {
            (1..=64).contains(&id.len()) && id.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b))
        })
        .map_or_else(new_request_id, str::to_owned)
}

/// Reads what every request may carry in its headers.
fn request_of(headers: &HeaderMap, peer: Peer) -> Result<Request, AppError> {
    let text = |name: &str| headers.get(name).and_then(|v| v.to_str().ok());
    let id = request_id_of(headers);
    let token = text("authorization")
        .and_then(|v| v.split_once(' '))
        .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"))
        .map(|(_, token)| token.trim().to_owned());
    let if_match = match text("if-match") {
        None | Some("*") => None,
        Some(tag) => Some(tag.trim_matches('"').parse().map_err(|_| {
            AppError::new(
                ErrorCode::PreconditionFailed,
                "If-Match holds the ETag of an earlier answer, a number in quotes",
            )
        })?),
    };
    let idempotency_key = text("idempotency-key").map(str::to_owned);
    let (source, local) = (peer.address, peer.local);
    Ok(Request { id, token, if_match, idempotency_key, source, local, ..Request::default() })
}

async fn dispatch(
    app: Arc<App>,
    peer: Peer,
    path: RawPathParams,
    http: HttpRequest,
    handler: Handler,
    fields: &Fields,
) -> Response {
    let (parts, body) = http.into_parts();
    let mut request = match request_of(&parts.headers, peer) {
        Ok(request) => request,
        Err(e) => return answer_error(&request_id_of(&parts.headers), &e),
    };
    if let Some((_, value)) = path.iter().next() {
        request.target = value.to_owned();
    }
    let id = request.id.clone();
    let call = match read(&app, &handler, &mut request, &path, &parts, body, fields).await {
        Ok(call) => call,
        Err(e) => {
            app.refused(&handler.info, &request, &e).await;
            return answer_error(&id, &e);
        }
    };
    match idempotency::begin(&app, &handler.info, &request, parts.uri.path()) {
        Err(e) => answer_error(&id, &e),
        Ok(Once::Again(kept)) => answer_kept(&id, &kept),
        Ok(Once::Untracked) => respond(app, handler.info, request, call, &parts.headers, None).await,
        Ok(Once::First(ticket)) => {
            // Goes on when the client goes away: its next attempt finds the outcome.
            let task = async move { respond(app, handler.info, request, call, &parts.headers, Some(ticket)).await };
            tokio::spawn(task).await.unwrap_or_else(|e| answer_error(&id, &AppError::internal(e)))
        }
    }
}

/// Calls and answers.
async fn respond(
    app: Arc<App>,
    endpoint: EndpointInfo,
    request: Request,
    call: Call,
    headers: &HeaderMap,
    ticket: Option<Ticket>,
) -> Response {
    let file = request.file.clone();
    let (id, result) = app.call(&endpoint, request, call).await;
    if let Some(spooled) = file {
        // The handler moved it away if it kept it.
        let _ = std::fs::remove_file(spooled);
    }
    if let Some(ticket) = ticket {
        ticket.finish(&result, endpoint.status);
    }
    match result {
        Ok(reply) => answer(&id, endpoint.status, reply, headers).await,
        Err(e) => answer_error(&id, &e),
    }
}

/// A status of ours as the HTTP library's.
pub(crate) fn status(code: u16) -> StatusCode {
    StatusCode::from_u16(code).expect("the table of codes holds valid statuses")
}
