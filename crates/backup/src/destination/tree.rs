//! Lists of places that keep objects as files in folders: by whole names, without looking where nothing can be wanted.

use keyark_model::Time;

use super::{DestinationError, Found, PART, check_folder, check_name};

/// A folder with files and further folders.
pub(super) trait Tree {
    /// What stands in a folder (`""`, or ending in `/`); an absent folder is an empty one.
    fn entries(&self, folder: &str) -> Result<Vec<Entry>, DestinationError>;

    /// Removes a half-written file.
    fn remove_part(&self, path: &str) -> Result<(), DestinationError>;
}

pub(super) struct Entry {
    /// The last part of its name.
    pub name: String,
    pub folder: bool,
    pub size: u64,
    pub modified: Time,
}

/// The folder that a prefix starts in: nothing outside of it is wanted.
pub(super) fn folder_of(prefix: &str) -> Result<&str, DestinationError> {
    let folder = prefix.rfind('/').map_or("", |slash| &prefix[..=slash]);
    check_folder(folder).map(|()| folder)
}

/// Objects whose names start with `prefix` and come after `after`, by name as bytes, at most `limit`.
pub(super) fn list(tree: &dyn Tree, prefix: &str, after: &str, limit: usize) -> Result<Vec<Found>, DestinationError> {
    let mut found = Vec::new();
    walk(tree, folder_of(prefix)?, &Want { prefix, after, limit }, &mut found)?;
    Ok(found)
}

/// The folders in a folder, sorted.
pub(super) fn folders(tree: &dyn Tree, folder: &str) -> Result<Vec<String>, DestinationError> {
    check_folder(folder)?;
    let below = tree.entries(folder)?.into_iter().filter(|e| e.folder && check_name(&e.name).is_ok());
    let mut names: Vec<String> = below.map(|e| e.name).collect();
    names.sort();
    Ok(names)
}

/// Removes what was half written in a folder and below it before then: whoever wrote it is gone.
pub(super) fn clear(tree: &dyn Tree, folder: &str, before: Time) -> Result<(), DestinationError> {
    check_folder(folder)?;
    for entry in tree.entries(folder)? {
        let path = format!("{folder}{}", entry.name);
        if entry.folder && check_name(&entry.name).is_ok() {
            clear(tree, &format!("{path}/"), before)?;
        } else if entry.name.starts_with(PART) && !entry.folder && entry.modified < before {
            tree.remove_part(&path)?;
        }
    }
    Ok(())
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

fn walk(tree: &dyn Tree, folder: &str, want: &Want<'_>, found: &mut Vec<Found>) -> Result<(), DestinationError> {
    let entries = tree.entries(folder)?.into_iter().filter(|e| check_name(&e.name).is_ok());
    // Folders with their slash: so they sort as the names that stand in them do.
    let whole = |e: Entry| (format!("{folder}{}{}", e.name, if e.folder { "/" } else { "" }), e.size);
    let mut all: Vec<(String, u64)> = entries.map(whole).collect();
    all.sort();
    for (name, size) in all {
        if found.len() >= want.limit {
            return Ok(());
        }
        if name.ends_with('/') {
            if want.may_hold(&name) {
                walk(tree, &name, want, found)?;
            }
        } else if name.starts_with(want.prefix) && name.as_str() > want.after {
            found.push(Found { name, size });
        }
    }
    Ok(())
}
