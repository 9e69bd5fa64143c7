//! Paths of the local administration socket: whoever can open it is the server's own user.

use std::sync::Arc;

use axum::extract::{ConnectInfo, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;

use super::answer::{answer_error, answer_json};
use super::{Peer, no_such_path, request_id_of, request_of};
use crate::app::{App, AppError};

/// `POST /v1/local/reset-admin`; from anywhere else there is no such path.
pub async fn reset_admin(
    State(app): State<Arc<App>>,
    ConnectInfo(peer): ConnectInfo<Peer>,
    headers: HeaderMap,
) -> Response {
    if !peer.local {
        return no_such_path(headers).await;
    }
    let request = match request_of(&headers, peer) {
        Ok(request) => request,
        Err(e) => return answer_error(&request_id_of(&headers), &e),
    };
    let id = request.id.clone();
    match app.reset_admin(request).await {
        Ok(reset) => match serde_json::to_vec(&reset) {
            Ok(bytes) => answer_json(&id, StatusCode::OK, bytes),
            Err(e) => answer_error(&id, &AppError::internal(e)),
        },
        Err(e) => {
            tracing::error!(request = %id, error = %e, "the password of admin was not reset");
            answer_error(&id, &e)
        }
    }
}
