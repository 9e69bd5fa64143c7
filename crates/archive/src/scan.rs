//! Iterators over an unlocked archive: sorted items block by block, entries merged back by `seq`.

use std::collections::BTreeMap;
use std::ops::Range;

use crate::block::MAX_RAW;
use crate::body::BodyReader;
use crate::entries::WINDOW;
use crate::error::{ArchiveError, Result};
use crate::index::BlockType;
use crate::item::StoredEntry;
use crate::items::Own;
use crate::source::ReadAt;
use crate::unlocked::Unlocked;

/// The items of all blocks of one type, checked block by block. Ends after its first error.
pub struct Owned<'u, 'a, S, T> {
    unlocked: &'u Unlocked<'a, S>,
    reader: BodyReader,
    blocks: Range<usize>,
    raw: Vec<u8>,
    items: std::vec::IntoIter<T>,
}

impl<'u, 'a, S: ReadAt, T: Own> Owned<'u, 'a, S, T> {
    pub(crate) fn new(unlocked: &'u Unlocked<'a, S>, kind: BlockType) -> Result<Self> {
        let blocks = unlocked.index().blocks_of(kind);
        Ok(Owned { unlocked, reader: BodyReader::new()?, blocks, raw: Vec::new(), items: Vec::new().into_iter() })
    }

    fn load(&mut self, number: usize) -> Result<()> {
        let place = &self.unlocked.index().blocks[number];
        self.reader.block(&self.unlocked.body, number, place, &mut self.raw)?;
        self.items = T::of_block(&self.raw, number, place)?.into_iter();
        Ok(())
    }
}

impl<S: ReadAt, T: Own> Iterator for Owned<'_, '_, S, T> {
    type Item = Result<T>;

    fn next(&mut self) -> Option<Result<T>> {
        loop {
            if let Some(item) = self.items.next() {
                return Some(Ok(item));
            }
            let number = self.blocks.next()?;
            if let Err(error) = self.load(number) {
                self.blocks = 0..0;
                return Some(Err(error));
            }
        }
    }
}

/// Entries of all domains by `seq`. Holds the blocks of one window of the writer. Ends after its first error.
pub struct Entries<'u, 'a, S> {
    unlocked: &'u Unlocked<'a, S>,
    reader: BodyReader,
    /// Numbers of blocks to come, by descending first `seq`.
    waiting: Vec<usize>,
    /// Open blocks by the `seq` of their next entry.
    open: BTreeMap<u64, Open>,
    held: u64,
}

struct Open {
    next: StoredEntry,
    rest: std::vec::IntoIter<StoredEntry>,
    raw_length: u64,
}

impl<'u, 'a, S: ReadAt> Entries<'u, 'a, S> {
    pub(crate) fn new(unlocked: &'u Unlocked<'a, S>, mut waiting: Vec<usize>) -> Result<Self> {
        let blocks = &unlocked.index().blocks;
        waiting.sort_by(|a, b| blocks[*b].first.cmp(&blocks[*a].first));
        Ok(Entries { unlocked, reader: BodyReader::new()?, waiting, open: BTreeMap::new(), held: 0 })
    }

    /// Opens every block that starts before the next entry.
    fn open_due(&mut self) -> Result<()> {
        while let Some(number) = self.waiting.last().copied() {
            let place = &self.unlocked.index().blocks[number];
            if self.open.first_key_value().is_some_and(|(seq, _)| seq.to_be_bytes()[..] < place.first[..]) {
                break;
            }
            self.waiting.pop();
            self.held += place.raw_length;
            crate::block::check_raw("what entries need to be merged", self.held, 2 * WINDOW as u64 + MAX_RAW)?;
            let mut raw = Vec::new();
            self.reader.block(&self.unlocked.body, number, place, &mut raw)?;
            let mut rest = StoredEntry::of_block(&raw, number, place)?.into_iter();
            if let Some(next) = rest.next() {
                self.insert(Open { next, rest, raw_length: place.raw_length })?;
            }
        }
        Ok(())
    }

    fn insert(&mut self, open: Open) -> Result<()> {
        match self.open.insert(open.next.seq, open) {
            None => Ok(()),
            Some(_) => Err(ArchiveError::OutOfOrder { what: "an entry with the number of another" }),
        }
    }

    fn step(&mut self) -> Result<Option<StoredEntry>> {
        self.open_due()?;
        let Some((_, mut open)) = self.open.pop_first() else { return Ok(None) };
        match open.rest.next() {
            None => {
                self.held -= open.raw_length;
                Ok(Some(open.next))
            }
            Some(next) => {
                let entry = std::mem::replace(&mut open.next, next);
                self.insert(open)?;
                Ok(Some(entry))
            }
        }
    }
}

impl<S: ReadAt> Iterator for Entries<'_, '_, S> {
    type Item = Result<StoredEntry>;

    fn next(&mut self) -> Option<Result<StoredEntry>> {
        let step = self.step();
        if step.is_err() {
            self.waiting.clear();
            self.open.clear();
        }
        step.transpose()
    }
}
