//! Object stores, through the library `object_store`: names are created on condition that they are absent.

mod azure;
mod parts;
mod s3;
mod signed;
mod versions;

use std::io::Write;
use std::ops::Range;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use futures_util::TryStreamExt as _;
use keyark_model::Time;
use keyark_model::protection::Lock;
use object_store::path::Path;
use object_store::signer::Signer;
use object_store::{
    ClientOptions, Error, GetOptions, ObjectStore, ObjectStoreExt as _, PutMode, PutOptions, RetryConfig,
};

pub use self::azure::{azure, is_signature, signature_end};
pub use self::s3::s3;
pub use self::versions::versions;
use super::tree::folder_of;
use super::{Content, Destination, DestinationError, Found, check_folder, check_name};
use crate::network::runtime;

/// Objects up to this size are sent from memory; larger ones are streamed from their file.
const IN_MEMORY: u64 = 16 << 20;
/// Requests at once that make good use of a connection over a distance.
const PARALLELISM: usize = 4;
/// How long a request that fails is tried again, with a growing and random wait.
const RETRY_FOR: Duration = Duration::from_secs(20);
/// A connection on which nothing is acknowledged for so long is dead.
const SILENT: Duration = Duration::from_secs(60);
/// The longest that one request may take, besides what it brings.
const LONGEST: Duration = Duration::from_secs(600);

/// A prefix in a bucket or container.
pub struct Objects {
    store: Arc<dyn ObjectStore>,
    client: reqwest::Client,
    dialect: Dialect,
    lock: Option<Lock>,
    /// What is larger goes in parts.
    whole: u64,
    /// When the server's clock was looked at, and what it showed.
    clock: Mutex<Option<(Instant, Time)>>,
    prefix: String,
    shown: String,
}

/// What the library does not even out between servers, and what signs requests that it has no call for.
enum Dialect {
    S3(Arc<dyn Signer>),
    Azure(azure::Account),
}

fn client_options() -> ClientOptions {
    ClientOptions::new().with_timeout(LONGEST).with_connect_timeout(Duration::from_secs(10))
}

fn retry() -> RetryConfig {
    RetryConfig { retry_timeout: RETRY_FOR, ..RetryConfig::default() }
}

fn other(e: impl std::fmt::Display) -> DestinationError {
    DestinationError::Other(e.to_string())
}

fn failed(name: &str) -> impl Fn(Error) -> DestinationError + '_ {
    move |e| match e {
        Error::NotFound { .. } => DestinationError::NotFound(name.into()),
        Error::AlreadyExists { .. } | Error::Precondition { .. } => DestinationError::Exists(name.into()),
        Error::PermissionDenied { .. } | Error::Unauthenticated { .. } => {
            DestinationError::Denied(format!("{name}: {e}"))
        }
        Error::Generic { .. } => generic(&format!("{name}: {e}")),
        _ => DestinationError::Other(format!("{name}: {e}")),
    }
}

/// The library tells a refused list from a dead server in its text alone.
fn generic(text: &str) -> DestinationError {
    let brief: String = text.chars().take(300).collect();
    match ["status code: 401", "status code: 403"].iter().any(|s| text.contains(s)) {
        true => DestinationError::Denied(brief),
        false => DestinationError::Unreachable(brief),
    }
}

impl Objects {
    fn new(
        store: Arc<dyn ObjectStore>,
        dialect: Dialect,
        prefix: &str,
        shown: &str,
    ) -> Result<Objects, DestinationError> {
        if !prefix.is_empty() {
            check_folder(prefix)?;
        }
        let client = reqwest::Client::builder().timeout(LONGEST).tcp_user_timeout(SILENT).build().map_err(other)?;
        Ok(Objects {
            store,
            client,
            dialect,
            lock: None,
            whole: parts::WHOLE,
            clock: Mutex::default(),
            prefix: prefix.into(),
            shown: shown.into(),
        })
    }

    /// The same place, which locks what is created there.
    pub fn locking(self, lock: Option<Lock>) -> Objects {
        Objects { lock, ..self }
    }

    /// The same place, which sends what is larger than this in parts; by default that is what servers ask for.
    pub fn whole_up_to(self, whole: u64) -> Objects {
        Objects { whole, ..self }
    }

    fn path(&self, name: &str) -> Result<Path, DestinationError> {
        check_name(name)?;
        Path::parse(format!("{}{name}", self.prefix)).map_err(|_| DestinationError::BadName(name.into()))
    }

    fn put(&self, name: &str, path: &Path, bytes: Vec<u8>) -> Result<(), DestinationError> {
        let put = self.store.put_opts(path, bytes.into(), PutOptions::from(PutMode::Create));
        runtime()?.block_on(put).map(|_| ()).map_err(failed(name))
    }

    /// What a listed path is called here.
    fn own(&self, path: &Path) -> Option<String> {
        path.as_ref().strip_prefix(&self.prefix).map(str::to_owned)
    }
}

impl Destination for Objects {
    fn create(&self, name: &str, content: Content<'_>) -> Result<(), DestinationError> {
        let path = self.path(name)?;
        let size = content.size().map_err(other)?;
        let created = if size > self.whole {
            runtime()?.block_on(self.send_parts(name, &path, content, size))
        } else if size > IN_MEMORY || self.lock.is_some() {
            std::thread::scope(|scope| {
                let body = signed::body(scope, content, size)?;
                runtime()?.block_on(self.send(name, &path, content, size, body))
            })
        } else {
            self.put(name, &path, content.read().map_err(other)?)
        };
        match created {
            // Servers also refuse so while another request for the name is under way, which may yet fail.
            Err(DestinationError::Exists(_)) if matches!(self.size(name), Err(DestinationError::NotFound(_))) => {
                Err(DestinationError::Unreachable(format!("{name}: another request for it was under way")))
            }
            // Azure denies what is there to whoever may create and not write, and has no parts any more once others were joined.
            Err(DestinationError::Denied(_) | DestinationError::Other(_)) if self.size(name).is_ok() => {
                Err(DestinationError::Exists(name.into()))
            }
            created => created,
        }
    }

    fn size(&self, name: &str) -> Result<u64, DestinationError> {
        let path = self.path(name)?;
        Ok(runtime()?.block_on(self.store.head(&path)).map_err(failed(name))?.size)
    }

    fn read(&self, name: &str, range: Range<u64>) -> Result<Vec<u8>, DestinationError> {
        let mut bytes = Vec::with_capacity(usize::try_from(range.end.saturating_sub(range.start)).unwrap_or_default());
        self.read_into(name, range, &mut bytes)?;
        Ok(bytes)
    }

    fn read_into(&self, name: &str, range: Range<u64>, into: &mut dyn Write) -> Result<(), DestinationError> {
        let path = self.path(name)?;
        let mut missing = range.end.saturating_sub(range.start);
        if missing == 0 {
            return Ok(());
        }
        runtime()?.block_on(async {
            let asked = GetOptions { range: Some(range.into()), ..GetOptions::default() };
            let mut pieces = self.store.get_opts(&path, asked).await.map_err(failed(name))?.into_stream();
            while let Some(piece) = pieces.try_next().await.map_err(failed(name))? {
                missing = missing.saturating_sub(piece.len() as u64);
                into.write_all(&piece).map_err(other)?;
            }
            match missing {
                0 => Ok(()),
                _ => Err(DestinationError::Other(format!("{name} does not have these bytes"))),
            }
        })
    }

    fn list(&self, prefix: &str, after: &str, limit: usize) -> Result<Vec<Found>, DestinationError> {
        let whole = format!("{}{}", self.prefix, folder_of(prefix)?);
        let folder = Path::parse(whole.trim_end_matches('/')).map_err(|_| DestinationError::BadName(prefix.into()))?;
        let found = runtime()?.block_on(async {
            let listed = match after.is_empty() {
                true => self.store.list(Some(&folder)),
                false => {
                    let offset = Path::parse(format!("{}{after}", self.prefix));
                    let offset = offset.map_err(|_| DestinationError::BadName(after.into()))?;
                    self.store.list_with_offset(Some(&folder), &offset)
                }
            };
            let named = |m: object_store::ObjectMeta| self.own(&m.location).map(|name| Found { name, size: m.size });
            let mut found: Vec<Found> =
                listed.map_ok(named).try_filter_map(|f| async { Ok(f) }).try_collect().await.map_err(failed(prefix))?;
            found.retain(|f| f.name.starts_with(prefix) && f.name.as_str() > after);
            // Servers that keep objects as files may list them by folder.
            found.sort_by(|a, b| a.name.cmp(&b.name));
            found.truncate(limit);
            Ok::<_, DestinationError>(found)
        })?;
        Ok(found)
    }

    fn folders(&self, folder: &str) -> Result<Vec<String>, DestinationError> {
        check_folder(folder)?;
        let whole = format!("{}{folder}", self.prefix);
        let path = Path::parse(whole.trim_end_matches('/')).map_err(|_| DestinationError::BadName(folder.into()))?;
        let listed = runtime()?.block_on(self.store.list_with_delimiter(Some(&path))).map_err(failed(folder))?;
        let below = |p: &Path| Some(self.own(p)?.strip_prefix(folder)?.trim_end_matches('/').to_owned());
        let mut names: Vec<String> = listed.common_prefixes.iter().filter_map(below).collect();
        names.sort();
        Ok(names)
    }

    fn delete(&self, name: &str) -> Result<(), DestinationError> {
        let path = self.path(name)?;
        runtime()?.block_on(self.remove(name, &path))
    }

    fn check_free(&self, name: &str) -> Result<(), DestinationError> {
        let path = self.path(name)?;
        runtime()?.block_on(self.head(name, &path, None)).map(|_| ())
    }

    fn parallelism(&self) -> usize {
        PARALLELISM
    }

    fn describe(&self) -> String {
        self.shown.clone()
    }
}
