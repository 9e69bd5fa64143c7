//! Sockets: TLS or loopback HTTP, the local administration socket, clean stop; and pages outside the list of endpoints.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use keyark_api::ErrorCode;
use tokio::net::{TcpListener, UnixListener};
use tokio_rustls::TlsAcceptor;
use tower_layer::Layer as _;

use super::Peer;
use super::read::drain;
use crate::app::{App, AppError};

/// How long open requests may take to end after a stop was asked for.
const STOP_GRACE: Duration = Duration::from_secs(20);
/// How long a client may take over a TLS handshake or its headers.
const PATIENCE: Duration = Duration::from_secs(20);

/// The pages that need no token.
pub fn pages(router: Router<Arc<App>>) -> Router<Arc<App>> {
    router
        .route("/healthz", get(async || "ok\n"))
        .route("/readyz", get(ready))
        .route("/v1/openapi.json", get(openapi))
        .route("/api/v1/openapi.json", get(openapi))
        .route("/docs", get(super::docs::docs))
        .route("/metrics", get(super::metrics::metrics))
        .route("/v1/local/reset-admin", post(super::local::reset_admin))
}

async fn ready(State(app): State<Arc<App>>) -> Response {
    match app.core() {
        Ok(_) => "ready\n".into_response(),
        Err(e) => super::answer::answer_error(&super::new_request_id(), &e),
    }
}

async fn openapi() -> Response {
    static DOCUMENT: std::sync::OnceLock<Vec<u8>> = std::sync::OnceLock::new();
    let bytes = DOCUMENT.get_or_init(|| {
        serde_json::to_vec(&keyark_api::openapi::document(env!("CARGO_PKG_VERSION"))).expect("JSON serialises")
    });
    ([(header::CONTENT_TYPE, HeaderValue::from_static("application/json"))], bytes.as_slice()).into_response()
}

/// Writes an uploaded body to a file of its own; refuses past the limit or when the disk is nearly full.
pub async fn spool(app: &App, body: Body) -> Result<PathBuf, AppError> {
    use tokio::io::AsyncWriteExt as _;
    let path = app.folder.upload_path();
    let mut file = tokio::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path).await?;
    let mut written: u64 = 0;
    let mut stream = body.into_data_stream();
    let outcome: Result<(), AppError> = async {
        use futures_util::StreamExt as _;
        let broken = || AppError::new(ErrorCode::BadRequest, "the upload broke off or came too slowly; send it again");
        while let Some(data) = tokio::time::timeout(PATIENCE, stream.next()).await.map_err(|_| broken())? {
            let data = data.map_err(|_| broken())?;
            written += data.len() as u64;
            if written > app.settings.largest_upload {
                return Err(AppError::new(ErrorCode::TooLarge, "the file is larger than this server takes"));
            }
            file.write_all(&data).await?;
        }
        file.sync_all().await?;
        Ok(())
    }
    .await;
    match outcome {
        Ok(()) => Ok(path),
        Err(e) => {
            let _ = tokio::fs::remove_file(&path).await;
            if e.code != ErrorCode::BadRequest {
                // Whoever still sends hears why, before it is cut off; not for ever.
                let _ = tokio::time::timeout(PATIENCE, drain(&mut stream)).await;
            }
            Err(e)
        }
    }
}

impl From<io::Error> for AppError {
    fn from(e: io::Error) -> Self {
        match e.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => AppError::new(
                ErrorCode::StorageFull,
                "the disk is full: free space and send it again; nothing was kept of this one",
            ),
            _ => AppError::internal(e),
        }
    }
}

/// A listening server.
pub struct Server {
    pub address: SocketAddr,
    listener: TcpListener,
    admin: UnixListener,
    tls: Option<TlsAcceptor>,
    app: Arc<App>,
}

impl Server {
    /// Over a socket that listens already.
    pub fn over(listener: TcpListener, app: Arc<App>, tls: Option<TlsAcceptor>) -> io::Result<Server> {
        let path = app.folder.admin_socket();
        // A socket file left by a killed server; the folder's lock says that nobody serves it now.
        let _ = std::fs::remove_file(&path);
        let admin = UnixListener::bind(&path)?;
        std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o600))?;
        Ok(Server { address: listener.local_addr()?, listener, admin, tls, app })
    }

    /// Serves until `stop` resolves, then lets open requests end.
    pub async fn run(self, stop: impl Future<Output = ()>) {
        let router = super::router(self.app.clone());
        let graceful = GracefulShutdown::new();
        let mut builder = auto::Builder::new(TokioExecutor::new());
        builder.http1().timer(TokioTimer::new()).header_read_timeout(PATIENCE).keep_alive(true);
        let builder = Arc::new(builder);
        tokio::pin!(stop);
        loop {
            tokio::select! {
                accepted = self.listener.accept() => {
                    let Ok((stream, from)) = accepted else { continue };
                    let _ = stream.set_nodelay(true);
                    let service = service(&router, Peer { address: Some(from.ip()), local: false });
                    let (builder, tls, watcher) = (builder.clone(), self.tls.clone(), graceful.watcher());
                    tokio::spawn(async move {
                        match tls {
                            None => drop(watcher.watch(builder.serve_connection(TokioIo::new(stream), service)).await),
                            Some(tls) => {
                                let Ok(Ok(stream)) = tokio::time::timeout(PATIENCE, tls.accept(stream)).await else { return };
                                drop(watcher.watch(builder.serve_connection(TokioIo::new(stream), service)).await);
                            }
                        }
                    });
                }
                accepted = self.admin.accept() => {
                    let Ok((stream, _)) = accepted else { continue };
                    let service = service(&router, Peer { address: None, local: true });
                    let (builder, watcher) = (builder.clone(), graceful.watcher());
                    tokio::spawn(async move {
                        drop(watcher.watch(builder.serve_connection(TokioIo::new(stream), service)).await);
                    });
                }
                () = &mut stop => break,
            }
        }
        let _ = tokio::time::timeout(STOP_GRACE, graceful.shutdown()).await;
        let _ = std::fs::remove_file(self.app.folder.admin_socket());
        if let Err(e) = self.app.usage.flush().await {
            tracing::error!(error = %e, "the last usage records are not on disk");
        }
    }
}

fn service(
    router: &Router,
    peer: Peer,
) -> TowerToHyperService<axum::middleware::AddExtension<Router, axum::extract::ConnectInfo<Peer>>> {
    TowerToHyperService::new(axum::Extension(axum::extract::ConnectInfo(peer)).layer(router.clone()))
}
