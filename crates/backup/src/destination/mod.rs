//! The seam between protection and the places that keep archives: local folders, object stores, other machines.
//!
//! An object is created whole, once, and never overwritten. What exists is what a list says.

pub mod local;
pub mod lock;
pub mod memory;
pub mod objects;
pub mod sftp;
pub mod throttle;
mod tree;

use std::fs::File;
use std::io::{self, Read, Write};
use std::ops::Range;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use keyark_archive::ReadAt;
use keyark_crypto::{Secret, SecretBytes};
use keyark_model::Time;
use keyark_model::protection::{Address, Lock};

/// Bytes that are read or sent at a time.
const PIECE: u64 = 8 << 20;
/// Bytes that one reader copies at a time.
const STRETCH: u64 = 32 << 20;
/// Half-written files have this at the front of their names; no list shows them.
const PART: &str = ".part-";
/// Names that one list answers with.
const PAGE: usize = 50_000;

/// Opens what an address names. A local folder needs no credentials; object stores may lock what is created.
pub fn open(
    address: &Address,
    credentials: Option<&Credentials>,
    lock: Option<Lock>,
) -> Result<Box<dyn Destination>, DestinationError> {
    Ok(match address {
        Address::Local { path } => Box::new(local::Local::open(Path::new(path))?),
        Address::Sftp { host, path, .. } => {
            let missing = || DestinationError::Denied("nobody says who this system is there".into());
            let secret = SecretBytes::new(credentials.ok_or_else(missing)?.secret.expose().to_vec());
            Box::new(sftp::Sftp::new(host.clone(), secret, path))
        }
        Address::S3 { bucket, prefix, region, endpoint } => {
            let shown = address.shown();
            let bucket = objects::s3(&shown, bucket, prefix, region, endpoint.as_deref(), credentials)?;
            Box::new(bucket.locking(lock))
        }
        Address::Azure { account, container, prefix, endpoint } => {
            let shown = address.shown();
            Box::new(objects::azure(&shown, account, container, prefix, endpoint.as_deref(), credentials)?)
        }
    })
}

/// Who this system is at a destination: an access key's id and its secret. As text: one line each.
pub struct Credentials {
    pub id: String,
    pub secret: SecretBytes,
}

impl Credentials {
    /// Whatever came along when they were copied is stripped: a byte order mark, blanks, line ends.
    pub fn pasted(id: &str, secret: &str) -> Option<Credentials> {
        let clean = |text: &str| text.trim_matches(|c: char| c.is_whitespace() || c == '\u{feff}').to_owned();
        let (id, secret) = (clean(id), Secret::new(clean(secret)));
        let one_line = |text: &str| !text.is_empty() && !text.chars().any(char::is_control);
        let good = one_line(&id) && one_line(secret.expose());
        good.then(|| Credentials { id, secret: SecretBytes::new(secret.expose().clone().into_bytes()) })
    }

    /// The secret for libraries that want text.
    fn text(&self) -> &str {
        std::str::from_utf8(self.secret.expose()).unwrap_or_default()
    }

    /// When they end, where they say so themselves.
    pub fn ends(&self) -> Option<Time> {
        objects::signature_end(self.text())
    }

    /// The body of a record.
    pub fn to_bytes(&self) -> SecretBytes {
        SecretBytes::new([self.id.as_bytes(), b"\n", self.secret.expose()].concat())
    }

    pub fn from_bytes(bytes: &SecretBytes) -> Option<Credentials> {
        let at = bytes.expose().iter().position(|b| *b == b'\n')?;
        let (id, secret) = bytes.expose().split_at(at);
        Some(Credentials { id: String::from_utf8(id.to_vec()).ok()?, secret: SecretBytes::new(secret[1..].to_vec()) })
    }
}

/// A place that keeps objects. Every implementation passes `keyark_testkit::destinations::conformance`.
pub trait Destination: Send + Sync {
    /// Creates an object that is durable and readable once this returns. Never overwrites: `Exists`.
    fn create(&self, name: &str, content: Content<'_>) -> Result<(), DestinationError>;

    /// How many bytes an object has.
    fn size(&self, name: &str) -> Result<u64, DestinationError>;

    /// Exactly these bytes of an object.
    fn read(&self, name: &str, range: Range<u64>) -> Result<Vec<u8>, DestinationError>;

    /// The same, as they come.
    fn read_into(&self, name: &str, range: Range<u64>, into: &mut dyn Write) -> Result<(), DestinationError> {
        for start in range.clone().step_by(PIECE as usize) {
            let bytes = self.read(name, start..range.end.min(start + PIECE))?;
            into.write_all(&bytes).map_err(|e| DestinationError::Other(e.to_string()))?;
        }
        Ok(())
    }

    /// Objects whose names start with `prefix` and come after `after`, by name as bytes; fewer than `limit`: these were the last.
    fn list(&self, prefix: &str, after: &str, limit: usize) -> Result<Vec<Found>, DestinationError>;

    /// The next parts of names below a folder (`""`, or ending in `/`) that have a further `/`, sorted.
    fn folders(&self, folder: &str) -> Result<Vec<String>, DestinationError>;

    /// Removes an object; one that is not there is `NotFound`.
    fn delete(&self, name: &str) -> Result<(), DestinationError>;

    /// Whether no lock forbids deleting an object: else `Locked`.
    fn check_free(&self, _name: &str) -> Result<(), DestinationError> {
        Ok(())
    }

    /// Removes what was half written in a folder and below it before then. Object stores have no such thing.
    fn clear(&self, _folder: &str, _before: Time) -> Result<(), DestinationError> {
        Ok(())
    }

    /// How many reads at once are worth it.
    fn parallelism(&self) -> usize {
        1
    }

    /// Bytes of one object that each of them takes at a time.
    fn stretch(&self) -> u64 {
        STRETCH
    }

    /// Where it is, for people; no credentials.
    fn describe(&self) -> String;
}

/// What an object is made of.
#[derive(Clone, Copy)]
pub enum Content<'a> {
    Bytes(&'a [u8]),
    File(&'a Path),
    /// Another content, no faster than this lets as many bytes pass, and no further than it does.
    Paced(&'a Content<'a>, &'a (dyn Fn(u64) -> io::Result<()> + Sync)),
}

impl<'a> Content<'a> {
    pub fn size(&self) -> io::Result<u64> {
        match self {
            Content::Bytes(bytes) => Ok(bytes.len() as u64),
            Content::File(path) => Ok(std::fs::metadata(path)?.len()),
            Content::Paced(content, _) => content.size(),
        }
    }

    /// Reads it from its begin.
    pub fn open(&self) -> io::Result<Box<dyn Read + Send + 'a>> {
        Ok(match *self {
            Content::Bytes(bytes) => Box::new(bytes),
            Content::File(path) => Box::new(File::open(path)?),
            Content::Paced(content, pace) => Box::new(PacedRead { inner: content.open()?, pace }),
        })
    }

    /// All of it, for what is small.
    fn read(&self) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::with_capacity(usize::try_from(self.size()?).unwrap_or_default());
        self.open()?.read_to_end(&mut bytes)?;
        Ok(bytes)
    }

    /// The same without a pace, for whoever only looks at it.
    fn unpaced(&self) -> Content<'a> {
        match *self {
            Content::Paced(content, _) => content.unpaced(),
            content => content,
        }
    }
}

struct PacedRead<'a> {
    inner: Box<dyn Read + Send + 'a>,
    pace: &'a (dyn Fn(u64) -> io::Result<()> + Sync),
}

impl Read for PacedRead<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        (self.pace)(count as u64)?;
        Ok(count)
    }
}

/// An object that a list names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    pub name: String,
    pub size: u64,
}

/// Why a destination did not do it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DestinationError {
    #[error("{0} exists there already; nothing is ever overwritten")]
    Exists(String),
    #[error("{0} is not there")]
    NotFound(String),
    #[error("access was refused ({0}); check the credentials and what they may do")]
    Denied(String),
    #[error("it is full ({0}); make room there")]
    Full(String),
    /// It may be a matter of time.
    #[error("it cannot be reached ({0})")]
    Unreachable(String),
    /// Without a time: by a legal hold.
    #[error("{name} is locked there {}", until.map_or("by a legal hold".into(), |at| format!("until {at}")))]
    Locked { name: String, until: Option<Time> },
    #[error("{0:?} is no name of an object")]
    BadName(String),
    #[error("{0}")]
    Other(String),
}

impl DestinationError {
    /// Whether trying again may help.
    pub fn is_transient(&self) -> bool {
        matches!(self, DestinationError::Unreachable(_))
    }
}

/// A name is a relative path of lower-case letters, digits, `-`, `_` and `.`; no part starts with a dot.
pub fn check_name(name: &str) -> Result<(), DestinationError> {
    let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_uppercase() || b.is_ascii_digit() || b"-_.".contains(&b);
    let part = |p: &str| !p.is_empty() && !p.starts_with('.') && p.bytes().all(plain);
    match name.len() <= 512 && name.split('/').all(part) {
        true => Ok(()),
        false => Err(DestinationError::BadName(name.into())),
    }
}

/// A folder is nothing, or a name with a slash behind it.
pub fn check_folder(folder: &str) -> Result<(), DestinationError> {
    match folder.strip_suffix('/') {
        None if folder.is_empty() => Ok(()),
        Some(name) => check_name(name),
        None => Err(DestinationError::BadName(folder.into())),
    }
}

/// Every object below a prefix, by name.
pub fn list_all(place: &dyn Destination, prefix: &str) -> Result<Vec<Found>, DestinationError> {
    let mut all: Vec<Found> = Vec::new();
    loop {
        let after = all.last().map_or("", |f| &f.name).to_owned();
        let page = place.list(prefix, &after, PAGE)?;
        let ended = page.len() < PAGE;
        all.extend(page);
        if ended {
            return Ok(all);
        }
    }
}

/// A small object, whole.
pub fn read_small(place: &dyn Destination, name: &str, limit: u64) -> Result<Vec<u8>, DestinationError> {
    let size = place.size(name)?;
    if size > limit {
        return Err(DestinationError::Other(format!("{name} has {size} bytes where at most {limit} make sense")));
    }
    place.read(name, 0..size)
}

/// Creates an object, or finds that these very bytes are there: an answer that got lost is no failure.
pub fn create_or_same(place: &dyn Destination, name: &str, content: Content<'_>) -> Result<(), DestinationError> {
    match place.create(name, content) {
        Err(DestinationError::Exists(_)) if same(place, name, content)? => Ok(()),
        other => other,
    }
}

/// Whether these very bytes are there: reads them back.
pub fn same(place: &dyn Destination, name: &str, content: Content<'_>) -> Result<bool, DestinationError> {
    let io = |e: io::Error| DestinationError::Other(e.to_string());
    let length = content.size().map_err(io)?;
    if place.size(name)? != length {
        return Ok(false);
    }
    let (mut ours, mut piece) = (content.open().map_err(io)?, Vec::new());
    for start in (0..length).step_by(PIECE as usize) {
        let end = length.min(start + PIECE);
        piece.resize((end - start) as usize, 0);
        ours.read_exact(&mut piece).map_err(io)?;
        if place.read(name, start..end)? != piece {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Writes a file from an offset on.
struct FileFrom<'f> {
    file: &'f File,
    at: u64,
}

impl Write for FileFrom<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = self.file.write_at(bytes, self.at)?;
        self.at += count as u64;
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Copies an object into a new local file, several pieces at once where that is worth it.
pub fn fetch(place: &dyn Destination, found: &Found, into: &Path) -> Result<(), DestinationError> {
    let io = |e: io::Error| DestinationError::Other(format!("{}: {e}", into.display()));
    let file = File::create_new(into).map_err(io)?;
    let (next, stretch) = (AtomicU64::new(0), place.stretch());
    let work = || loop {
        let start = next.fetch_add(stretch.min(found.size), Ordering::Relaxed);
        if start >= found.size {
            return Ok(());
        }
        let range = start..found.size.min(start.saturating_add(stretch));
        let kept = place.read_into(&found.name, range, &mut FileFrom { file: &file, at: start });
        if kept.is_err() {
            // The others need not go on.
            next.store(found.size, Ordering::Relaxed);
            return kept;
        }
    };
    let workers = place.parallelism().clamp(1, found.size.div_ceil(stretch).max(1) as usize);
    std::thread::scope(|scope| {
        let others: Vec<_> = (1..workers).map(|_| scope.spawn(work)).collect();
        let mut outcome = work();
        for other in others {
            let ended = other.join().unwrap_or_else(|_| Err(DestinationError::Other("a reader panicked".into())));
            outcome = outcome.and(ended);
        }
        outcome
    })
}

/// An object at a destination, read in ranges like a file.
pub struct Remote<'d> {
    pub place: &'d dyn Destination,
    pub found: Found,
}

impl ReadAt for Remote<'_> {
    fn length(&self) -> std::io::Result<u64> {
        Ok(self.found.size)
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> std::io::Result<()> {
        let end = offset.checked_add(buffer.len() as u64).filter(|end| *end <= self.found.size);
        let end = end.ok_or(std::io::ErrorKind::UnexpectedEof)?;
        let bytes = self.place.read(&self.found.name, offset..end).map_err(std::io::Error::other)?;
        match bytes.len() == buffer.len() {
            true => buffer.copy_from_slice(&bytes),
            false => return Err(std::io::ErrorKind::UnexpectedEof.into()),
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::check_name;

    #[test]
    fn a_name_leads_nowhere_else() {
        for good in ["a", "a/b.json", "0-1/20260131T235959.999999Z.keyark"] {
            assert!(check_name(good).is_ok(), "{good}");
        }
        for bad in ["", "/a", "a/", "a//b", "..", "a/../b", ".part", "a/.b", "a b", "ä", "a\\b", "a\0"] {
            assert!(check_name(bad).is_err(), "{bad}");
        }
        assert!(check_name(&"a".repeat(513)).is_err());
    }
}
