//! `keyark serve`: the server in this process, and what a person needs to know when it starts.

use std::io::IsTerminal;
use std::sync::Arc;

use clap::parser::ArgMatches;
use keyark_server::boot::Folder;
use keyark_server::{Host, Settings};
use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::EnvFilter;

use crate::failure::Failure;
use crate::options::Given;
use crate::profile::{DEFAULT_DATA, DEFAULT_URL};
use crate::{clock, files, output, settings};

/// Serves until it is told to stop.
pub fn run(given: &Given<'_>, matches: &ArgMatches) -> Result<(), Failure> {
    let settings = settings::read(given, matches)?;
    if !settings.tls && !settings.listen.ip().is_loopback() {
        return Err(Failure::Refused(format!(
            "without TLS the server listens on this machine only, not on {}: leave TLS on, or listen on 127.0.0.1",
            settings.listen
        )));
    }
    log();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().map_err(failed)?;
    runtime.block_on(serve(settings))
}

async fn serve(settings: Settings) -> Result<(), Failure> {
    let (mut terminate, mut interrupt) = (
        signal(SignalKind::terminate()).map_err(Failure::Terminal)?,
        signal(SignalKind::interrupt()).map_err(Failure::Terminal)?,
    );
    let mut host = Host::start(settings.clone(), Arc::new(clock::now)).await.map_err(failed)?;
    let first_password = host.first_password.take();
    announce(&Started {
        settings: &settings,
        folder: &host.app.folder,
        fingerprint: &host.fingerprint,
        address: host.server.address.to_string(),
        first: first_password.is_some(),
        waits: host.password_waits,
    })?;
    if let Some(password) = &first_password {
        hand_over(password.expose(), &host.app.folder)?;
    }
    drop(first_password);
    host.run(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        tracing::info!("stopping: open requests may end");
    })
    .await;
    tracing::info!("stopped");
    Ok(())
}

/// What a start has to tell.
struct Started<'a> {
    settings: &'a Settings,
    folder: &'a Folder,
    fingerprint: &'a str,
    address: String,
    first: bool,
    waits: bool,
}

fn announce(started: &Started<'_>) -> Result<(), Failure> {
    let scheme = if started.settings.tls { "https" } else { "http" };
    let url = format!("{scheme}://{}", started.address);
    let ca = started.folder.authority().display().to_string();
    let mut text = format!("Keyark serves at {url}\n  data         {}\n", started.folder.path().display());
    if started.settings.tls {
        text += &format!("  authority    {ca}\n");
    }
    text += &format!("  anchor       {}\n", started.fingerprint);
    if started.first {
        let usual = url == DEFAULT_URL && started.folder.path() == std::path::Path::new(DEFAULT_DATA);
        let place = match (usual, started.settings.tls) {
            (true, _) => String::new(),
            (false, true) => format!(" {url} --ca {ca}"),
            (false, false) => format!(" {url}"),
        };
        text += &format!(
            "\nNext:\n  keyark login{place} --user admin\n  keyark backupkeys create --scope system --default\n  \
             keyark keys create --name first-key --algorithm AES --size 256\n"
        );
    } else if started.waits {
        text += &format!(
            "\nThe first password of admin was not changed yet. If it is lost, this makes another:\n  keyark users reset-admin --data {}\n",
            started.folder.path().display()
        );
    }
    output::print(&text)
}

/// The first password: on a terminal, else in a file of its own (rules E3).
fn hand_over(password: &str, folder: &Folder) -> Result<(), Failure> {
    let text = format!("\nFirst password of admin, shown this once, good for 24 hours:\n\n    {password}\n\n");
    if std::io::stdout().is_terminal() {
        return output::print(&text);
    }
    if std::io::stderr().is_terminal() {
        eprint!("{text}");
        return Ok(());
    }
    let path = folder.first_password();
    files::write_private(&path, format!("{password}\n").as_bytes())?;
    output::print(&format!("First password of admin, good for 24 hours, in {}\n", path.display()))
}

/// Messages of the server on standard error; `KEYARK_LOG` chooses which.
fn log() {
    let filter = EnvFilter::try_from_env("KEYARK_LOG").unwrap_or_else(|_| EnvFilter::new("info"));
    let colour = std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|v| v.is_empty());
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_ansi(colour).init();
}

fn failed(e: impl std::fmt::Display) -> Failure {
    Failure::Server(e.to_string())
}
