//! One zstd frame: compressed and inflated with its raw size known beforehand, so that no frame can be a bomb.

use crate::error::{ArchiveError, Result};

/// Raw bytes at which a block is closed.
pub const TARGET: usize = 256 << 10;
/// The most raw bytes a block may have; one item is never larger.
pub const MAX_RAW: u64 = 16 << 20;
/// The most raw bytes the index may have.
pub const MAX_INDEX: u64 = 256 << 20;
const LEVEL: i32 = 1;

/// Compresses blocks, keeping its working memory.
pub struct Deflater {
    zstd: zstd::bulk::Compressor<'static>,
    out: Vec<u8>,
}

impl Deflater {
    pub fn new() -> Result<Deflater> {
        Ok(Deflater { zstd: zstd::bulk::Compressor::new(LEVEL)?, out: Vec::new() })
    }

    /// The frame of `raw`, valid until the next call.
    pub fn deflate(&mut self, raw: &[u8]) -> Result<&[u8]> {
        let bound = zstd::zstd_safe::compress_bound(raw.len());
        if self.out.len() < bound {
            self.out.resize(bound, 0);
        }
        let length = self.zstd.compress_to_buffer(raw, &mut self.out[..])?;
        Ok(&self.out[..length])
    }
}

/// Inflates blocks, keeping its working memory.
pub struct Inflater(zstd::bulk::Decompressor<'static>);

impl Inflater {
    pub fn new() -> Result<Inflater> {
        Ok(Inflater(zstd::bulk::Decompressor::new()?))
    }

    /// Replaces `out` by the content of `frame`, which must have exactly `raw_length` bytes; `None` when it has not.
    pub fn inflate(&mut self, frame: &[u8], raw_length: u64, out: &mut Vec<u8>) -> Option<()> {
        let raw = usize::try_from(raw_length).ok()?;
        out.resize(raw, 0);
        let length = self.0.decompress_to_buffer(frame, &mut out[..]).ok()?;
        (length == raw).then_some(())
    }
}

/// Refuses a raw size above the limit before anything is reserved for it.
pub fn check_raw(what: &'static str, size: u64, limit: u64) -> Result<()> {
    if size > limit {
        return Err(ArchiveError::TooLarge { what, size, limit });
    }
    Ok(())
}
