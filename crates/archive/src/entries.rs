//! Log entries on their way into blocks: one domain a block although the log interleaves domains.

use std::collections::BTreeMap;

use keyark_model::{DomainId, Id, Kind};

use crate::block::TARGET;
use crate::index::{BlockType, record_key};
use crate::item::{EntryRef, Items, Key};
use crate::pipe::RawBlock;
use crate::writer::empty_place;

/// Raw bytes after which all open blocks are closed, so that a reader never holds more to merge the domains back by `seq`.
pub const WINDOW: usize = 4 << 20;

/// The open block of each domain.
#[derive(Default)]
pub struct EntryBlocks {
    open: BTreeMap<DomainId, Open>,
    in_window: usize,
}

struct Open {
    block: RawBlock,
    touches: Vec<[u8; 17]>,
}

impl EntryBlocks {
    /// Takes an entry and returns the blocks that it completes.
    pub fn add(&mut self, kind: BlockType, entry: &EntryRef<'_>, touches: &[(Kind, Id)]) -> Vec<RawBlock> {
        let key = Key::of_number(entry.seq);
        // Before it is taken: one very large entry must not stretch a window that already holds others.
        let mut complete = Vec::new();
        if self.in_window > 0 && self.in_window + entry.bytes.len() > WINDOW {
            complete = self.drain();
        }
        let open = self.open.entry(entry.domain).or_insert_with(|| Open {
            block: RawBlock { place: empty_place(kind, entry.domain, key.as_slice()), raw: Vec::new() },
            touches: Vec::new(),
        });
        let before = open.block.raw.len();
        Items(&mut open.block.raw).entry(entry);
        open.block.place.count += 1;
        open.block.place.last = key.as_slice().to_vec();
        open.touches.extend(touches.iter().map(|(kind, id)| record_key(*kind, *id)));
        self.in_window += open.block.raw.len() - before;
        if open.block.raw.len() >= TARGET
            && let Some(full) = self.open.remove(&entry.domain)
        {
            complete.push(full.close());
        }
        complete
    }

    /// Closes every open block and starts a new window.
    pub fn drain(&mut self) -> Vec<RawBlock> {
        self.in_window = 0;
        std::mem::take(&mut self.open).into_values().map(Open::close).collect()
    }
}

impl Open {
    fn close(mut self) -> RawBlock {
        self.touches.sort_unstable();
        self.touches.dedup();
        self.block.place.touches = self.touches.into_flattened();
        self.block
    }
}
