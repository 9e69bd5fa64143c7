//! Where the parts of a file lie: magic bytes and lengths at both ends.

use crate::error::{ArchiveError, Result};

/// The first and the last bytes of every archive.
pub const MAGIC: [u8; 12] = *b"\x89KEYARK\r\n\x1a\n\0";
/// The longest header, in bytes.
pub const MAX_HEADER: u64 = 1 << 20;
/// The longest footer, in bytes.
pub const MAX_FOOTER: u64 = 16 << 20;
/// Bytes before the header.
pub const FRONT: u64 = MAGIC.len() as u64 + 4;
/// Bytes after the signature block.
pub const BACK: u64 = 8 + MAGIC.len() as u64;

/// The lengths of the parts, proven to add up to the file's.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Parts {
    pub header: u64,
    pub body: u64,
    pub footer: u64,
    pub signature: u64,
}

impl Parts {
    /// From the first `FRONT` and the last `BACK` bytes of a file of `length` bytes.
    pub fn parse(front: &[u8; FRONT as usize], back: &[u8; BACK as usize], length: u64) -> Result<Parts> {
        if front[..MAGIC.len()] != MAGIC {
            return Err(ArchiveError::NotAnArchive);
        }
        if back[8..] != MAGIC {
            return Err(ArchiveError::Truncated { part: "the mark at its end", length });
        }
        let header = be(&front[MAGIC.len()..]);
        let (footer, signature) = (be(&back[..4]), be(&back[4..8]));
        for (what, size, limit) in [("the header", header, MAX_HEADER), ("the footer", footer, MAX_FOOTER)] {
            if size > limit {
                return Err(ArchiveError::TooLarge { what, size, limit });
            }
        }
        if signature != crate::signature::BLOCK as u64 {
            return Err(ArchiveError::SignatureBad("its block has an unknown length"));
        }
        let body = length
            .checked_sub(FRONT + header + footer + signature + BACK)
            .ok_or(ArchiveError::Truncated { part: "what the lengths announce", length })?;
        Ok(Parts { header, body, footer, signature })
    }

    /// Where the body starts.
    pub fn body_offset(&self) -> u64 {
        FRONT + self.header
    }

    /// Where the footer starts.
    pub fn footer_offset(&self) -> u64 {
        self.body_offset() + self.body
    }
}

fn be(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0, |n, b| n << 8 | u64::from(*b))
}
