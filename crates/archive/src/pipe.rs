//! The second thread of the writer: compresses, hashes, seals and writes blocks while the caller encodes the next.

use std::io::Write;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;

use keyark_crypto::hash::sha256;

use crate::block::{Deflater, TARGET};
use crate::error::{ArchiveError, Result};
use crate::index::BlockPlace;
use crate::segments::SegmentSink;

/// Blocks that may wait; each holds about `TARGET` bytes.
const WAITING: usize = 4;

/// A closed block: `place` says everything but where its frame lies.
pub struct RawBlock {
    pub place: BlockPlace,
    pub raw: Vec<u8>,
}

/// The way to the thread.
pub struct Pipe<W> {
    /// `None` once the thread's end was seen.
    running: Option<Running<W>>,
    spare: Receiver<Vec<u8>>,
}

type Running<W> = (SyncSender<RawBlock>, JoinHandle<Result<Written<W>>>);

/// What the thread gives back: the body so far, the places of all blocks, and the compressor for the index.
pub struct Written<W> {
    pub segments: SegmentSink<W>,
    pub places: Vec<BlockPlace>,
    pub deflater: Deflater,
}

impl<W: Write + Send + 'static> Pipe<W> {
    pub fn start(segments: SegmentSink<W>) -> Result<Pipe<W>> {
        let (blocks, incoming) = sync_channel(WAITING);
        let (give_back, spare) = sync_channel(WAITING);
        let thread = std::thread::Builder::new()
            .name("archive-writer".into())
            .spawn(move || run(segments, &incoming, &give_back))?;
        Ok(Pipe { running: Some((blocks, thread)), spare })
    }

    /// An empty buffer, a used one when there is one.
    pub fn buffer(&self) -> Vec<u8> {
        self.spare.try_recv().unwrap_or_else(|_| Vec::with_capacity(TARGET + TARGET / 4))
    }

    /// Hands a block over, or says why the thread has ended.
    pub fn send(&mut self, block: RawBlock) -> Result<()> {
        match &self.running {
            Some((blocks, _)) if blocks.send(block).is_ok() => Ok(()),
            _ => Err(self.join().err().unwrap_or_else(ended_early)),
        }
    }

    /// Waits for the blocks handed over.
    pub fn finish(mut self) -> Result<Written<W>> {
        self.join()
    }

    fn join(&mut self) -> Result<Written<W>> {
        let (blocks, thread) = self.running.take().ok_or_else(ended_early)?;
        drop(blocks);
        thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    }
}

fn run<W: Write>(
    mut segments: SegmentSink<W>,
    incoming: &Receiver<RawBlock>,
    give_back: &SyncSender<Vec<u8>>,
) -> Result<Written<W>> {
    let mut deflater = Deflater::new()?;
    let mut places = Vec::new();
    for RawBlock { mut place, mut raw } in incoming {
        let frame = deflater.deflate(&raw)?;
        place.offset = segments.position();
        place.length = frame.len() as u64;
        place.raw_length = raw.len() as u64;
        place.sha256 = sha256(&[frame]);
        segments.push(frame)?;
        places.push(place);
        // A block takes longer than a request: those who wait for a processor go first.
        std::thread::yield_now();
        raw.clear();
        // Nobody takes it back when the caller has ended; a very large buffer is not worth keeping.
        if raw.capacity() <= 2 * TARGET {
            let _ = give_back.try_send(raw);
        }
    }
    Ok(Written { segments, places, deflater })
}

/// The error to show when a writer is used again after it failed.
fn ended_early() -> ArchiveError {
    ArchiveError::Io(std::io::Error::other("the writing thread ended early"))
}
