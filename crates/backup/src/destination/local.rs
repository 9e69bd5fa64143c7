//! A folder of this machine, or one that is mounted: disks, network shares, removable media.

use std::fs::{self, File};
use std::io::{self, ErrorKind};
use std::ops::Range;
use std::os::unix::fs::{DirBuilderExt as _, FileExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};

use keyark_model::Time;

use super::tree::{self, Entry, Tree};
use super::{Content, Destination, DestinationError, Found, PART, check_name};

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
            // The kernel copies by itself.
            Content::File(path) => io::copy(&mut File::open(path)?, part.as_file_mut())?,
            content => io::copy(&mut content.open()?, part.as_file_mut())?,
        };
        part.as_file().sync_all()?;
        part.persist_noclobber(self.root.join(name)).map_err(|e| e.error)?;
        File::open(folder)?.sync_all()
    }
}

impl Tree for Local {
    fn entries(&self, folder: &str) -> Result<Vec<Entry>, DestinationError> {
        let read = || -> io::Result<Vec<Entry>> {
            let mut all = Vec::new();
            for entry in fs::read_dir(self.root.join(folder))? {
                let entry = entry?;
                let Ok(name) = entry.file_name().into_string() else { continue };
                match entry.metadata() {
                    Ok(meta) => {
                        let modified = Time(meta.mtime() * 1_000_000);
                        all.push(Entry { name, folder: meta.is_dir(), size: meta.len(), modified });
                    }
                    // It went while the folder was read.
                    Err(e) if e.kind() == ErrorKind::NotFound => {}
                    Err(e) => return Err(e),
                }
            }
            Ok(all)
        };
        match read() {
            Err(e) if e.kind() == ErrorKind::NotFound => Ok(Vec::new()),
            entries => entries.map_err(failed(folder)),
        }
    }

    fn remove_part(&self, path: &str) -> Result<(), DestinationError> {
        fs::remove_file(self.root.join(path)).map_err(failed(path))
    }
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
        tree::list(self, prefix, after, limit)
    }

    fn folders(&self, folder: &str) -> Result<Vec<String>, DestinationError> {
        self.present()?;
        tree::folders(self, folder)
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

    fn clear(&self, folder: &str, before: Time) -> Result<(), DestinationError> {
        self.present()?;
        tree::clear(self, folder, before)
    }

    fn describe(&self) -> String {
        self.root.display().to_string()
    }
}
