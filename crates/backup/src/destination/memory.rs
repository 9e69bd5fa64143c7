//! A destination in memory: what the others are compared with.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::tree::folder_of;
use super::{Content, Destination, DestinationError, Found, check_folder, check_name};

/// Objects by name.
#[derive(Default)]
pub struct Memory {
    objects: Mutex<BTreeMap<String, Vec<u8>>>,
}

impl Memory {
    fn objects(&self) -> MutexGuard<'_, BTreeMap<String, Vec<u8>>> {
        self.objects.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Destination for Memory {
    fn create(&self, name: &str, content: Content<'_>) -> Result<(), DestinationError> {
        check_name(name)?;
        let bytes = content.read().map_err(|e| DestinationError::Other(e.to_string()))?;
        let mut objects = self.objects();
        if objects.contains_key(name) {
            return Err(DestinationError::Exists(name.into()));
        }
        objects.insert(name.into(), bytes);
        Ok(())
    }

    fn size(&self, name: &str) -> Result<u64, DestinationError> {
        check_name(name)?;
        let objects = self.objects();
        let bytes = objects.get(name).ok_or_else(|| DestinationError::NotFound(name.into()))?;
        Ok(bytes.len() as u64)
    }

    fn read(&self, name: &str, range: Range<u64>) -> Result<Vec<u8>, DestinationError> {
        check_name(name)?;
        let objects = self.objects();
        let bytes = objects.get(name).ok_or_else(|| DestinationError::NotFound(name.into()))?;
        let part = bytes.get(range.start as usize..range.end as usize);
        Ok(part.ok_or_else(|| DestinationError::Other(format!("{name} does not have the bytes {range:?}")))?.to_vec())
    }

    fn list(&self, prefix: &str, after: &str, limit: usize) -> Result<Vec<Found>, DestinationError> {
        folder_of(prefix)?;
        let objects = self.objects();
        let wanted = objects.iter().filter(|(name, _)| name.starts_with(prefix) && name.as_str() > after);
        Ok(wanted.take(limit).map(|(name, bytes)| Found { name: name.clone(), size: bytes.len() as u64 }).collect())
    }

    fn folders(&self, folder: &str) -> Result<Vec<String>, DestinationError> {
        check_folder(folder)?;
        let objects = self.objects();
        let below = objects.keys().filter_map(|name| name.strip_prefix(folder)?.split_once('/'));
        let mut all: Vec<String> = below.map(|(part, _)| part.to_owned()).collect();
        all.sort();
        all.dedup();
        Ok(all)
    }

    fn delete(&self, name: &str) -> Result<(), DestinationError> {
        check_name(name)?;
        self.objects().remove(name).map(|_| ()).ok_or_else(|| DestinationError::NotFound(name.into()))
    }

    fn describe(&self) -> String {
        "memory".into()
    }
}
