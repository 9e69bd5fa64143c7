//! Plaintext in, sealed segments out: cuts, seals, hashes and writes the body.

use std::io::Write;

use keyark_crypto::Key256;
use keyark_crypto::hash::Sha256;
use keyark_crypto::stream::{SEGMENT, SegmentCipher, capacity};
use keyark_model::Digest;

use crate::error::{ArchiveError, Result};

/// The body of an archive being written. Holds one segment.
pub struct SegmentSink<W> {
    sink: W,
    cipher: SegmentCipher,
    number: u32,
    buffer: Vec<u8>,
    plain: u64,
    stored: u64,
    body: Sha256,
    file: Sha256,
}

/// What a finished body was.
pub struct Body<W> {
    pub sink: W,
    pub length: u64,
    pub sha256: Digest,
    /// The hash of the file up to here, to be continued.
    pub file: Sha256,
}

impl<W: Write> SegmentSink<W> {
    /// Starts the body behind `front`, the bytes up to the header's end, which are written first.
    pub fn start(mut sink: W, front: &[u8], key: &Key256, associated: &Digest) -> Result<SegmentSink<W>> {
        let (cipher, header) = SegmentCipher::seal_new(key, &associated.0);
        sink.write_all(front)?;
        let mut file = Sha256::default();
        file.update(front);
        let buffer = Vec::with_capacity(SEGMENT);
        let mut out =
            SegmentSink { sink, cipher, number: 0, buffer, plain: 0, stored: 0, body: Sha256::default(), file };
        out.write(&header)?;
        Ok(out)
    }

    /// Plaintext bytes taken so far.
    pub fn position(&self) -> u64 {
        self.plain
    }

    /// Appends plaintext. A full segment is sealed only when more follows, because the last one is sealed as such.
    pub fn push(&mut self, mut plain: &[u8]) -> Result<()> {
        self.plain += plain.len() as u64;
        while !plain.is_empty() {
            let room = capacity(self.number) - self.buffer.len();
            if room == 0 {
                self.seal(false)?;
                continue;
            }
            let (now, later) = plain.split_at(room.min(plain.len()));
            self.buffer.extend_from_slice(now);
            plain = later;
        }
        Ok(())
    }

    /// Seals the last segment.
    pub fn finish(mut self) -> Result<Body<W>> {
        self.seal(true)?;
        Ok(Body { sink: self.sink, length: self.stored, sha256: self.body.finish(), file: self.file })
    }

    fn seal(&mut self, last: bool) -> Result<()> {
        self.cipher.seal(self.number, last, &mut self.buffer);
        let mut segment = std::mem::take(&mut self.buffer);
        self.write(&segment)?;
        segment.clear();
        self.buffer = segment;
        self.number = self.number.checked_add(1).ok_or(ArchiveError::TooLarge {
            what: "the body",
            size: self.plain,
            limit: u64::from(u32::MAX) * SEGMENT as u64,
        })?;
        Ok(())
    }

    fn write(&mut self, bytes: &[u8]) -> Result<()> {
        self.body.update(bytes);
        self.file.update(bytes);
        self.stored += bytes.len() as u64;
        Ok(self.sink.write_all(bytes)?)
    }
}
