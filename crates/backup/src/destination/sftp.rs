//! A folder of another machine, over SFTP: one connection, requests one behind the other without waiting for answers.

use std::future::Future;
use std::io::{ErrorKind, SeekFrom, Write};
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};

use keyark_crypto::{SecretBytes, random};
use keyark_model::Time;
use keyark_model::protection::Address;
use keyark_model::ssh::Host;
use russh_sftp::client::SftpSession;
use russh_sftp::client::error::Error;
use russh_sftp::client::fs::Metadata;
use russh_sftp::protocol::{OpenFlags, StatusCode};
use tokio::io::{AsyncReadExt as _, AsyncSeekExt as _, AsyncWriteExt as _};

use super::tree::{self, Entry, Tree};
use super::{Content, Destination, DestinationError, Found, PART, check_name};
use crate::network::runtime;
use crate::ssh::Connection;

/// Files that are read at once: each is opened and asked once before its bytes come one behind the other.
const AT_ONCE: usize = 4;

/// Objects as files below a folder that exists there.
pub struct Sftp {
    host: Host,
    secret: SecretBytes,
    /// Without a slash at its end.
    root: String,
    link: Mutex<Option<Arc<Link>>>,
}

struct Link {
    connection: Connection,
    session: SftpSession,
}

impl Sftp {
    /// Nothing is looked at yet: the first use connects.
    pub fn new(host: Host, secret: SecretBytes, root: &str) -> Sftp {
        Sftp { host, secret, root: root.trim_end_matches('/').to_owned(), link: Mutex::new(None) }
    }

    fn kept(&self) -> std::sync::MutexGuard<'_, Option<Arc<Link>>> {
        self.link.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn link(&self) -> Result<Arc<Link>, DestinationError> {
        if let Some(link) = self.kept().as_ref().filter(|l| !l.connection.is_closed()) {
            return Ok(link.clone());
        }
        let connection = Connection::open(&self.host, &self.secret).await?;
        let link = Arc::new(Link { session: connection.sftp().await?, connection });
        self.present(&link.session).await?;
        *self.kept() = Some(link.clone());
        Ok(link)
    }

    /// The folder must be there: an absent one is rather a disk that is not mounted.
    async fn present(&self, session: &SftpSession) -> Result<(), DestinationError> {
        match session.metadata(self.root.as_str()).await {
            Ok(meta) if meta.file_type().is_dir() => Ok(()),
            Ok(_) => Err(DestinationError::Unreachable(format!("{} is no folder there", self.root))),
            Err(Error::Status(s)) if s.status_code == StatusCode::NoSuchFile => {
                Err(DestinationError::Unreachable(format!("{} is not there", self.root)))
            }
            Err(e) => Err(failed(&self.root)(e)),
        }
    }

    /// Does something over the connection; one that failed is not used again.
    fn with<T, F>(&self, work: impl FnOnce(Arc<Link>) -> F) -> Result<T, DestinationError>
    where
        F: Future<Output = Result<T, DestinationError>>,
    {
        let outcome = runtime()?.block_on(async { work(self.link().await?).await });
        if matches!(&outcome, Err(DestinationError::Unreachable(_))) {
            *self.kept() = None;
        }
        outcome
    }

    fn path(&self, name: &str) -> String {
        format!("{}/{name}", self.root)
    }

    /// A new file beside the one that it becomes; its folders are made on the way.
    async fn part(&self, link: &Link, name: &str) -> Result<(String, russh_sftp::client::fs::File), DestinationError> {
        let folder = name.rsplit_once('/').map_or("", |(folder, _)| folder);
        let own = format!("{PART}{:016x}", u64::from_be_bytes(random::bytes()));
        let part = self.path(&if folder.is_empty() { own.clone() } else { format!("{folder}/{own}") });
        let private = Metadata { permissions: Some(0o600), ..Metadata::empty() };
        let flags = OpenFlags::CREATE | OpenFlags::EXCLUDE | OpenFlags::WRITE;
        let open = || link.session.open_with_flags_and_attributes(part.as_str(), flags, private.clone());
        let file = match open().await {
            Err(Error::Status(s)) if s.status_code == StatusCode::NoSuchFile => {
                self.present(&link.session).await?;
                let ends = folder.match_indices('/').map(|(at, _)| at).chain([folder.len()]);
                for end in ends {
                    // One that is there already fails like any other: the next open tells.
                    let _ = link.session.create_dir(self.path(&folder[..end])).await;
                }
                open().await.map_err(failed(name))?
            }
            other => other.map_err(failed(name))?,
        };
        Ok((part, file))
    }

    async fn publish(&self, link: &Link, name: &str, content: Content<'_>) -> Result<(), DestinationError> {
        let path = self.path(name);
        if link.session.try_exists(path.as_str()).await.map_err(failed(name))? {
            return Err(DestinationError::Exists(name.into()));
        }
        let (part, file) = self.part(link, name).await?;
        let written = fill(file, content).await;
        // Renaming never overwrites in this version of the protocol: of two that publish one name, one wins.
        let published = match written {
            Ok(()) => link.session.rename(part.as_str(), path.as_str()).await.map_err(failed(name)),
            Err(e) => Err(DestinationError::Other(format!("{name}: {e}"))),
        };
        let Err(error) = published else { return Ok(()) };
        // Asked before the part goes: the host itself tells a full disk from nothing.
        let room = link.session.fs_info(part.as_str()).await.map_err(failed(name))?;
        // A connection that is lost leaves the part to the sweep.
        let _ = link.session.remove_file(part.as_str()).await;
        if link.session.try_exists(path.as_str()).await.map_err(failed(name))? {
            return Err(DestinationError::Exists(name.into()));
        }
        match room.is_some_and(|room| room.blocks_avail == 0) {
            true => Err(DestinationError::Full(self.describe())),
            false => Err(error),
        }
    }

    /// Reads a range and hands it on as it comes.
    async fn stream(
        &self,
        link: &Link,
        name: &str,
        range: Range<u64>,
        into: &mut dyn Write,
    ) -> Result<(), DestinationError> {
        let broken = |e: std::io::Error| match e.kind() {
            ErrorKind::UnexpectedEof => DestinationError::Other(format!("{name} does not have the bytes {range:?}")),
            _ => lost(name, &e),
        };
        let length = range.end.checked_sub(range.start);
        let mut left = length.ok_or_else(|| DestinationError::Other(format!("{range:?} is no range")))?;
        let mut file = link.session.open(self.path(name)).await.map_err(failed(name))?;
        file.seek(SeekFrom::Start(range.start)).await.map_err(broken)?;
        let mut piece = vec![0; 1 << 20];
        while left > 0 {
            let part = &mut piece[..left.min(1 << 20) as usize];
            file.read_exact(part).await.map_err(broken)?;
            into.write_all(part).map_err(|e| DestinationError::Other(e.to_string()))?;
            left -= part.len() as u64;
        }
        // Dropped, it is closed without waiting for the answer.
        Ok(())
    }
}

async fn fill(mut file: russh_sftp::client::fs::File, content: Content<'_>) -> std::io::Result<()> {
    // Reading waits on this thread, which is the caller's: the connection goes on beside it.
    let (mut from, mut piece) = (content.open()?, vec![0; 1 << 20]);
    loop {
        match from.read(&mut piece)? {
            0 => break,
            count => file.write_all(&piece[..count]).await?,
        }
    }
    file.flush().await?;
    // A server that cannot is not asked; the archive is read back in any case.
    file.sync_all().await.map_err(std::io::Error::other)?;
    file.close().await
}

fn lost(name: &str, e: &dyn std::fmt::Display) -> DestinationError {
    DestinationError::Unreachable(format!("{name}: {e}"))
}

fn failed(name: &str) -> impl Fn(Error) -> DestinationError + '_ {
    move |e| match &e {
        Error::Status(s) => match s.status_code {
            StatusCode::NoSuchFile => DestinationError::NotFound(name.into()),
            StatusCode::PermissionDenied => DestinationError::Denied(format!("{name}: {}", s.error_message)),
            StatusCode::NoConnection | StatusCode::ConnectionLost => lost(name, &e),
            _ => DestinationError::Other(format!("{name}: the host says {}", s.error_message)),
        },
        Error::Limited(_) => DestinationError::Other(format!("{name}: {e}")),
        Error::IO(_) | Error::Timeout | Error::UnexpectedPacket | Error::UnexpectedBehavior(_) => lost(name, &e),
    }
}

impl Tree for Sftp {
    fn entries(&self, folder: &str) -> Result<Vec<Entry>, DestinationError> {
        let path = self.path(folder.trim_end_matches('/'));
        self.with(|link| async move {
            match link.session.read_dir(path.trim_end_matches('/')).await {
                Ok(entries) => Ok(entries
                    .map(|e| {
                        let (name, meta) = (e.file_name(), e.metadata());
                        // Servers that do not say when are never cleared.
                        let modified = Time(meta.mtime.map_or(i64::MAX, |s| i64::from(s) * 1_000_000));
                        Entry { name, folder: meta.file_type().is_dir(), size: meta.len(), modified }
                    })
                    .collect()),
                Err(Error::Status(s)) if s.status_code == StatusCode::NoSuchFile => {
                    self.present(&link.session).await.map(|()| Vec::new())
                }
                Err(e) => Err(failed(folder)(e)),
            }
        })
    }

    fn remove_part(&self, path: &str) -> Result<(), DestinationError> {
        self.with(|link| async move { link.session.remove_file(self.path(path)).await.map_err(failed(path)) })
    }
}

impl Destination for Sftp {
    fn create(&self, name: &str, content: Content<'_>) -> Result<(), DestinationError> {
        check_name(name)?;
        self.with(|link| async move { self.publish(&link, name, content).await })
    }

    fn size(&self, name: &str) -> Result<u64, DestinationError> {
        check_name(name)?;
        self.with(|link| async move {
            let meta = link.session.metadata(self.path(name)).await.map_err(failed(name))?;
            match meta.file_type().is_file() {
                true => Ok(meta.len()),
                false => Err(DestinationError::NotFound(name.into())),
            }
        })
    }

    fn read(&self, name: &str, range: Range<u64>) -> Result<Vec<u8>, DestinationError> {
        let mut bytes = Vec::new();
        self.read_into(name, range, &mut bytes)?;
        Ok(bytes)
    }

    fn read_into(&self, name: &str, range: Range<u64>, into: &mut dyn Write) -> Result<(), DestinationError> {
        check_name(name)?;
        self.with(|link| async move { self.stream(&link, name, range, into).await })
    }

    fn list(&self, prefix: &str, after: &str, limit: usize) -> Result<Vec<Found>, DestinationError> {
        tree::list(self, prefix, after, limit)
    }

    fn folders(&self, folder: &str) -> Result<Vec<String>, DestinationError> {
        tree::folders(self, folder)
    }

    fn delete(&self, name: &str) -> Result<(), DestinationError> {
        check_name(name)?;
        self.with(|link| async move { link.session.remove_file(self.path(name)).await.map_err(failed(name)) })
    }

    fn clear(&self, folder: &str, before: Time) -> Result<(), DestinationError> {
        tree::clear(self, folder, before)
    }

    fn parallelism(&self) -> usize {
        AT_ONCE
    }

    fn stretch(&self) -> u64 {
        // One reader fills the connection: the requests of several get into each other's way.
        u64::MAX
    }

    fn describe(&self) -> String {
        Address::Sftp { host: self.host.clone(), path: self.root.clone() }.shown()
    }
}
