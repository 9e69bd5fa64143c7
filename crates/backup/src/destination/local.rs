//! A folder of this machine, or one that is mounted: disks, network shares, removable media.

use std::fs::{self, File};
use std::io::{self, ErrorKind, Write as _};
use std::ops::Range;
use std::os::unix::fs::{DirBuilderExt as _, FileExt as _};
use std::path::{Path, PathBuf};

use super::{Content, Destination, DestinationError, Found, check_folder, check_name};

/// Half-written files have this at the front of their names; no list shows them.
const PART: &str = ".part-";

/// Objects as files below a folder that exists.
pub struct Local {
    root: PathBuf,
}

impl Local {
    /// The folder must be there: an absent one is rather a disk that is not mounted.
    pub fn open(root: &Path) -> Result<Local, DestinationError> {
        let local = Local { root: root.to_owned() };
        local.present()?;
        Ok(local)
    }

    fn present(&self) -> Result<(), DestinationError> {
        match self.root.is_dir() {
            true => Ok(()),
            false => Err(DestinationError::Unreachable(format!("{} is no folder", self.root.display()))),
        }
    }

    fn path(&self, name: &str) -> Result<PathBuf, DestinationError> {
        check_name(name)?;
        Ok(self.root.join(name))
    }

    /// Makes the folders of a name, each durable in the one above.
    fn folders_of(&self, name: &str) -> io::Result<PathBuf> {
        let mut at = self.root.clone();
        let mut parts: Vec<&str> = name.split('/').collect();
        parts.pop();
        for part in parts {
            let above = at.clone();
            at.push(part);
            match fs::DirBuilder::new().mode(0o700).create(&at) {
                Ok(()) => File::open(above)?.sync_all()?,
                Err(e) if e.kind() == ErrorKind::AlreadyExists => {}
                Err(e) => return Err(e),
            }
        }
        Ok(at)
    }

    fn publish(&self, name: &str, content: Content<'_>) -> io::Result<()> {
        let folder = self.folders_of(name)?;
        let mut part = tempfile::Builder::new().prefix(PART).tempfile_in(&folder)?;
        match content {
            Content::Bytes(bytes) => part.write_all(bytes)?,
            Content::File(path) => io::copy(&mut File::open(path)?, part.as_file_mut()).map(|_| ())?,
        }
        part.as_file().sync_all()?;
        part.persist_noclobber(self.root.join(name)).map_err(|e| e.error)?;
        File::open(folder)?.sync_all()
    }

    /// Adds what stands below `folder` to `found`, in the order of whole names.
    fn walk(&self, folder: &str, want: &Want<'_>, found: &mut Vec<Found>) -> io::Result<()> {
        for (name, entry) in sorted(&self.root.join(folder), folder)? {
            if found.len() >= want.limit {
                return Ok(());
            }
            if name.ends_with('/') {
                if want.may_hold(&name) {
                    self.walk(&name, want, found)?;
                }
            } else if name.starts_with(want.prefix) && name.as_str() > want.after {
                match entry.metadata() {
                    Ok(meta) => found.push(Found { name, size: meta.len() }),
                    Err(e) if e.kind() == ErrorKind::NotFound => {}
                    Err(e) => return Err(e),
                }
            }
        }
        Ok(())
    }
}

struct Want<'a> {
    prefix: &'a str,
    after: &'a str,
    limit: usize,
}

impl Want<'_> {
    /// Whether names in a folder can be wanted.
    fn may_hold(&self, folder: &str) -> bool {
        let near = folder.starts_with(self.prefix) || self.prefix.starts_with(folder);
        near && (folder > self.after || self.after.starts_with(folder))
    }
}

/// Entries of a folder by the bytes of their whole names, folders with their slash; an absent folder is an empty one.
fn sorted(path: &Path, folder: &str) -> io::Result<Vec<(String, fs::DirEntry)>> {
    let entries = match fs::read_dir(path) {
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?,
    };
    let mut all = Vec::new();
    for entry in entries {
        let entry = entry?;
        let name = entry.file_name();
        let Some(name) = name.to_str().filter(|n| check_name(n).is_ok()) else { continue };
        let slash = if entry.file_type()?.is_dir() { "/" } else { "" };
        all.push((format!("{folder}{name}{slash}"), entry));
    }
    all.sort_by(|a, b| a.0.cmp(&b.0));
    Ok(all)
}

fn failed(name: &str) -> impl Fn(io::Error) -> DestinationError + '_ {
    move |e| match e.kind() {
        ErrorKind::AlreadyExists => DestinationError::Exists(name.into()),
        ErrorKind::NotFound => DestinationError::NotFound(name.into()),
        ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem => DestinationError::Denied(format!("{name}: {e}")),
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => DestinationError::Full(e.to_string()),
        ErrorKind::TimedOut | ErrorKind::StaleNetworkFileHandle | ErrorKind::HostUnreachable => {
            DestinationError::Unreachable(e.to_string())
        }
        _ => DestinationError::Other(format!("{name}: {e}")),
    }
}

impl Destination for Local {
    fn create(&self, name: &str, content: Content<'_>) -> Result<(), DestinationError> {
        let path = self.path(name)?;
        self.present()?;
        if path.exists() {
            return Err(DestinationError::Exists(name.into()));
        }
        self.publish(name, content).map_err(failed(name))
    }

    fn size(&self, name: &str) -> Result<u64, DestinationError> {
        let path = self.path(name)?;
        self.present()?;
        let meta = fs::symlink_metadata(path).map_err(failed(name))?;
        if meta.is_file() { Ok(meta.len()) } else { Err(DestinationError::NotFound(name.into())) }
    }

    fn read(&self, name: &str, range: Range<u64>) -> Result<Vec<u8>, DestinationError> {
        let path = self.path(name)?;
        self.present()?;
        let file = File::open(path).map_err(failed(name))?;
        let length = range.end.checked_sub(range.start).and_then(|n| usize::try_from(n).ok());
        let mut bytes = vec![0; length.ok_or_else(|| DestinationError::Other(format!("{range:?} is no range")))?];
        file.read_exact_at(&mut bytes, range.start).map_err(failed(name))?;
        Ok(bytes)
    }

    fn list(&self, prefix: &str, after: &str, limit: usize) -> Result<Vec<Found>, DestinationError> {
        self.present()?;
        let mut found = Vec::new();
        // Start in the deepest folder that the prefix names: nothing else is looked at.
        let folder = prefix.rfind('/').map_or("", |slash| &prefix[..=slash]);
        check_folder(folder)?;
        self.walk(folder, &Want { prefix, after, limit }, &mut found).map_err(failed(prefix))?;
        Ok(found)
    }

    fn folders(&self, folder: &str) -> Result<Vec<String>, DestinationError> {
        self.present()?;
        check_folder(folder)?;
        let all = sorted(&self.root.join(folder), folder).map_err(failed(folder))?;
        let below = all.into_iter().filter_map(|(name, _)| Some(name[folder.len()..].strip_suffix('/')?.to_owned()));
        let mut names: Vec<String> = below.collect();
        names.sort();
        Ok(names)
    }

    fn delete(&self, name: &str) -> Result<(), DestinationError> {
        let path = self.path(name)?;
        self.present()?;
        let gone = fs::remove_file(&path).and_then(|()| match path.parent() {
            Some(folder) => File::open(folder)?.sync_all(),
            None => Ok(()),
        });
        gone.map_err(failed(name))
    }

    fn describe(&self) -> String {
        self.root.display().to_string()
    }
}
