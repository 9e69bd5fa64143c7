//! Files for their owner only, written whole or not at all.

use std::fs::File;
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use crate::failure::Failure;

/// The same path with an ending added: `backup.keyark` and `.part` give `backup.keyark.part`.
pub fn beside(path: &Path, ending: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(ending);
    name.into()
}

/// The folder that a path stands in.
pub fn folder_of(path: &Path) -> &Path {
    path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// Makes the folder that a path stands in, mode 0700, unless it is there.
fn make_folder(path: &Path) -> Result<(), Failure> {
    let folder = folder_of(path);
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(Failure::at(folder))
}

/// Waits for the lock on a file of its own; it is held until the file is dropped.
pub fn lock(path: &Path) -> Result<File, Failure> {
    make_folder(path)?;
    let opened = File::options().write(true).create(true).truncate(false).mode(0o600).open(path);
    let file = opened.map_err(Failure::at(path))?;
    file.lock().map_err(Failure::at(path))?;
    Ok(file)
}

/// Replaces a file, mode 0600, durably; makes its folder.
pub fn write_private(path: &Path, bytes: &[u8]) -> Result<(), Failure> {
    make_folder(path)?;
    let part = beside(path, &format!(".{}.new", std::process::id()));
    let written = File::options().write(true).create(true).truncate(true).mode(0o600).open(&part).and_then(|mut f| {
        f.write_all(bytes)?;
        f.sync_all()
    });
    written.map_err(Failure::at(&part))?;
    publish(&part, path)
}

/// Gives a written file its name, durably.
pub fn publish(part: &Path, path: &Path) -> Result<(), Failure> {
    std::fs::rename(part, path).map_err(Failure::at(path))?;
    let folder = folder_of(path);
    File::open(folder).and_then(|f| f.sync_all()).map_err(Failure::at(folder))
}

/// The whole of a file as text; `-` is standard input.
pub fn text(path: &str) -> Result<String, Failure> {
    if path == "-" {
        return std::io::read_to_string(std::io::stdin()).map_err(Failure::Terminal);
    }
    std::fs::read_to_string(path).map_err(Failure::at(Path::new(path)))
}

/// A file, or nothing if there is none.
pub fn bytes_if_there(path: &Path) -> Result<Option<Vec<u8>>, Failure> {
    match std::fs::read(path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(Failure::at(path)(e)),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::{beside, bytes_if_there, write_private};

    #[test]
    fn a_private_file_is_replaced_whole_and_nobody_else_reads_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("deep/er/file");
        assert_eq!(bytes_if_there(&path).unwrap(), None);
        for content in [b"one".as_slice(), b"two"] {
            write_private(&path, content).unwrap();
            assert_eq!(bytes_if_there(&path).unwrap().as_deref(), Some(content));
        }
        let mode = |p: &std::path::Path| std::fs::metadata(p).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&path), mode(path.parent().unwrap())), (0o600, 0o700));
        assert_eq!(std::fs::read_dir(path.parent().unwrap()).unwrap().count(), 1);
        assert_eq!(beside("a/b".as_ref(), ".part"), std::path::Path::new("a/b.part"));
    }
}
