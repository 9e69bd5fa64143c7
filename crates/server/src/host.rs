//! A whole server in one value: the folder opened, what a stop left tidied, sockets bound, housekeeping running.

use std::sync::Arc;

use keyark_crypto::Secret;
use tokio::net::TcpListener;

use crate::app::watch::timer;
use crate::app::{App, Clock};
use crate::boot::{self, BootError, Folder};
use crate::housekeeping;
use crate::http::serve::Server;
use crate::http::tls;
use crate::settings::Settings;

/// A server that is ready to run.
pub struct Host {
    pub app: Arc<App>,
    pub server: Server,
    /// Set at the first start: to be shown once.
    pub first_password: Option<Secret<String>>,
    /// The first password, or one given by a reset, was not changed yet.
    pub password_waits: bool,
    pub fingerprint: String,
}

impl Host {
    /// Binds, then opens or makes the data folder: where the port is taken nothing is made.
    pub async fn start(settings: Settings, clock: Clock) -> Result<Host, BootError> {
        let listen = settings.listen;
        let listener = TcpListener::bind(listen).await.map_err(|source| BootError::Listen { listen, source })?;
        let folder = Folder::at(&settings.data);
        let now = clock();
        let boot::Booted { core, first_password } = boot::boot(&settings, now)?;
        let write = |path: std::path::PathBuf, bytes: &[u8]| {
            std::fs::write(&path, bytes).map_err(|source| BootError::Io { path, source })
        };
        write(folder.anchor(), &core.anchor.to_json())?;
        let acceptor = match settings.tls {
            false => None,
            true => {
                let (authority, own) = boot::tls_identity(&core, &settings, now)?;
                write(folder.authority(), authority.as_bytes())?;
                Some(tls::acceptor(&own)?)
            }
        };
        let fingerprint = core.anchor.fingerprint();
        let password_waits = core.admin_waits()?;
        let app = Arc::new(App::new(core, folder, settings, clock, timer())?);
        housekeeping::tidy(&app)?;
        let server = Server::over(listener, app.clone(), acceptor)
            .map_err(|source| BootError::Io { path: app.folder.admin_socket(), source })?;
        housekeeping::look(&app)?;
        Ok(Host { app, server, first_password, password_waits, fingerprint })
    }

    /// Serves until `stop` resolves; then every request that was taken is answered and the store is closed.
    pub async fn run(self, stop: impl Future<Output = ()>) {
        let chores = tokio::spawn(housekeeping::run(self.app.clone()));
        let protection = tokio::spawn(housekeeping::run_protection(self.app.clone()));
        let webhooks = tokio::spawn(housekeeping::run_webhooks(self.app.clone()));
        self.server.run(stop).await;
        chores.abort();
        protection.abort();
        webhooks.abort();
        housekeeping::stop(&self.app);
        // The last handle closes the store: what was acknowledged is on disk already, the rest is tidiness.
        drop(self.app.swap_core(None));
    }
}
