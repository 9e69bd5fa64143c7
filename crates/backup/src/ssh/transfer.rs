//! A file goes to another machine, and is read back there before it counts as sent.

use std::io;
use std::path::Path;

use keyark_archive::ReadAt as _;
use keyark_crypto::{SecretBytes, random};
use keyark_model::ssh::{Place, Protocol};

use super::{Connection, scp};
use crate::destination::sftp::Sftp;
use crate::destination::{Content, Destination as _, DestinationError, same};
use crate::network::runtime;
use crate::progress::Cancelled;

/// Where files go, and what lets this system in.
pub struct Target {
    pub place: Place,
    pub secret: SecretBytes,
}

impl Target {
    fn path(&self, name: &str) -> String {
        format!("{}/{name}", self.place.path.trim_end_matches('/'))
    }

    fn open(&self) -> Result<Connection, DestinationError> {
        runtime()?.block_on(Connection::open(&self.place.host, &self.secret))
    }

    fn sftp(&self) -> Sftp {
        Sftp::new(self.place.host.clone(), SecretBytes::new(self.secret.expose().to_vec()), &self.place.path)
    }

    /// Whether files can be sent: logs in, writes a small one, reads it back and takes it away. `scp` cannot take away: there the
    /// folder is asked for.
    pub fn try_out(&self) -> Result<(), DestinationError> {
        if self.place.protocol == Protocol::Scp {
            let connection = self.open()?;
            return runtime()?.block_on(scp::folder_takes(&connection, &self.place.path));
        }
        let place = self.sftp();
        let name = format!("keyark-connection-test-{:016x}", u64::from_be_bytes(random::bytes()));
        place.create(&name, Content::Bytes(name.as_bytes()))?;
        let read = same(&place, &name, Content::Bytes(name.as_bytes()));
        place.delete(&name)?;
        match read? {
            true => Ok(()),
            false => Err(DestinationError::Other("what was written is not what is read there".into())),
        }
    }

    /// Sends a file under a name. One that is there with these very bytes is as good; another one is never overwritten. It goes on
    /// as long as `going` says so; what is half written then goes, but what `scp` has begun comes to its end.
    pub fn send(
        &self,
        name: &str,
        file: &Path,
        going: &(dyn Fn() -> Result<(), Cancelled> + Sync),
    ) -> Result<String, DestinationError> {
        let path = self.path(name);
        let pace = |_| going().map_err(io::Error::other);
        let (whole, stop) = (Content::File(file), |e: Cancelled| DestinationError::Other(e.to_string()));
        let content = Content::Paced(&whole, &pace);
        going().map_err(stop)?;
        let read_back = match self.place.protocol {
            Protocol::Sftp => {
                let place = self.sftp();
                match place.create(name, content) {
                    Ok(()) | Err(DestinationError::Exists(_)) => same(&place, name, content)?,
                    Err(e) => return Err(e),
                }
            }
            Protocol::Scp => {
                let connection = self.open()?;
                match same_over_scp(&connection, &path, file) {
                    Err(DestinationError::NotFound(_)) => {
                        runtime()?.block_on(scp::send(&connection, &path, file))?;
                        going().map_err(stop)?;
                        same_over_scp(&connection, &path, file)?
                    }
                    other => other?,
                }
            }
        };
        match read_back {
            true => Ok(path),
            false => Err(DestinationError::Other(format!(
                "what is read back from {path} is not what was sent: another file stands there, or it was damaged on the way"
            ))),
        }
    }
}

fn same_over_scp(connection: &Connection, path: &str, file: &Path) -> Result<bool, DestinationError> {
    let local = |e: std::io::Error| DestinationError::Other(format!("{}: {e}", file.display()));
    let ours = std::fs::File::open(file).map_err(local)?;
    let length = ours.length().map_err(local)?;
    let (mut at, mut equal, mut own) = (0, true, Vec::new());
    let there = runtime()?.block_on(scp::fetch(connection, path, |piece| {
        if equal && at + piece.len() as u64 <= length {
            own.resize(piece.len(), 0);
            ours.read_at(at, &mut own).map_err(local)?;
            equal = own == piece;
        }
        at += piece.len() as u64;
        Ok(())
    }))?;
    Ok(equal && there == length)
}
