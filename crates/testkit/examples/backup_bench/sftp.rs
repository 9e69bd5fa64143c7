//! Measures another machine over SFTP, near and 20 ms away, beside a plain copy by the same client.

use std::path::Path;
use std::time::Duration;

use keyark_backup::destination::sftp::Sftp;
use keyark_backup::ssh::Connection;
use keyark_crypto::SecretBytes;
use keyark_model::ssh::{Host, Login};
use keyark_testkit::distance::distance;
use keyark_testkit::ssh::{PASSWORD, SshServer};
use russh_sftp::client::SftpSession;
use tokio::io::AsyncWriteExt as _;
use tokio::runtime::Runtime;

use crate::figures::Outcome;
use crate::objects::{Far, Plain, measure, network, plainly};

/// The round trip to the machine that is far away.
const ROUND_TRIP: Duration = Duration::from_millis(20);
/// What OpenSSH takes before it must be asked again: more than that is never under way to it.
const WINDOW: f64 = (2 << 20) as f64;

/// The same client, with nothing around it.
struct PlainSftp {
    runtime: Runtime,
    _connection: Connection,
    session: SftpSession,
    folder: String,
}

impl PlainSftp {
    fn new(host: &Host, secret: &SecretBytes, folder: &str) -> Outcome<PlainSftp> {
        let runtime = network()?;
        let connection = runtime.block_on(Connection::open(host, secret))?;
        let session = runtime.block_on(connection.sftp())?;
        Ok(PlainSftp { runtime, _connection: connection, session, folder: folder.into() })
    }

    fn path(&self, name: &str) -> String {
        format!("{}/{name}", self.folder)
    }
}

impl Plain for PlainSftp {
    fn send(&self, name: &str, file: &Path) -> Outcome {
        self.runtime.block_on(async {
            let mut from = tokio::io::BufReader::with_capacity(1 << 20, tokio::fs::File::open(file).await?);
            let mut to = self.session.create(self.path(name)).await?;
            tokio::io::copy_buf(&mut from, &mut to).await?;
            to.flush().await?;
            Ok(to.close().await?)
        })
    }

    fn fetch(&self, name: &str, into: &Path) -> Outcome {
        self.runtime.block_on(async {
            let from = self.session.open(self.path(name)).await?;
            let mut from = tokio::io::BufReader::with_capacity(1 << 20, from);
            let mut to = tokio::fs::File::create(into).await?;
            tokio::io::copy_buf(&mut from, &mut to).await?;
            Ok(to.flush().await?)
        })
    }
}

pub fn run(file: &Path) -> Outcome {
    let server = SshServer::start();
    server.room("vault");
    let secret = || SecretBytes::new(PASSWORD.into());
    let host = |port| Host { port, ..server.host(Login::Password) };
    let at = |port| -> Outcome<(Sftp, PlainSftp)> {
        let plain = PlainSftp::new(&host(port), &secret(), "vault")?;
        Ok((Sftp::new(host(port), secret(), "vault"), plain))
    };
    let (near, plain) = at(server.port)?;
    measure("SFTP", &near, &plain, file, None)?;
    // What carries the bytes over the distance costs as much where there is none.
    let (_, carried) = at(distance(server.port, Duration::ZERO))?;
    let [sent, fetched] = plainly(&carried, file)?;
    let window = std::fs::metadata(file)?.len() as f64 * ROUND_TRIP.as_secs_f64() / WINDOW;
    let far = Far { sent: sent.max(window), fetched, share: 0.7 };
    let (place, plain) = at(distance(server.port, ROUND_TRIP))?;
    measure("SFTP 20 ms away", &place, &plain, file, Some(&far))
}
