//! Reads plaintext out of the body, decrypting only the segments that cover it.

use keyark_crypto::hash::{Sha256, sha256};
use keyark_crypto::stream::{HEADER, Layout, SegmentCipher};
use keyark_model::Digest;

use crate::block::Inflater;
use crate::error::{ArchiveError, Result};
use crate::index::BlockPlace;
use crate::source::ReadAt;

/// What does not change while a body is read.
pub struct Body<'a, S> {
    pub source: &'a S,
    /// Where the body starts in the file.
    pub offset: u64,
    pub layout: Layout,
    pub cipher: SegmentCipher,
}

/// A reader of one body: keeps the last segment, so that reading forward decrypts each once.
pub struct BodyReader {
    number: Option<u32>,
    segment: Vec<u8>,
    plain: usize,
    frame: Vec<u8>,
    inflater: Inflater,
    /// The hash of the stored segments below `hashed`, when it is asked for.
    hash: Option<Sha256>,
    hashed: u32,
}

impl BodyReader {
    pub fn new() -> Result<BodyReader> {
        Ok(BodyReader {
            number: None,
            segment: Vec::new(),
            plain: 0,
            frame: Vec::new(),
            inflater: Inflater::new()?,
            hash: None,
            hashed: 0,
        })
    }

    /// One that hashes the stored body as it goes; it must read forward from the start.
    pub fn hashing(stream_header: &[u8; HEADER]) -> Result<BodyReader> {
        let mut hash = Sha256::default();
        hash.update(stream_header);
        Ok(BodyReader { hash: Some(hash), ..BodyReader::new()? })
    }

    /// Reads what is left and gives the hash of the stored body; `None` when this reader does not hash.
    pub fn finish_hash<S: ReadAt>(mut self, body: &Body<'_, S>) -> Result<Option<Digest>> {
        for number in self.hashed..body.layout.segments() {
            self.load(body, number)?;
        }
        Ok(self.hash.map(Sha256::finish))
    }

    /// The inflated content of one block, checked against the index.
    pub fn block<S: ReadAt>(
        &mut self,
        body: &Body<'_, S>,
        number: usize,
        place: &BlockPlace,
        raw: &mut Vec<u8>,
    ) -> Result<()> {
        let mut frame = std::mem::take(&mut self.frame);
        self.plain(body, place.offset, place.length, &mut frame)?;
        let damaged = |what| ArchiveError::BlockDamaged { block: number, what };
        if sha256(&[&frame]) != place.sha256 {
            return Err(damaged("its hash is not the one in the index"));
        }
        self.inflater
            .inflate(&frame, place.raw_length, raw)
            .ok_or(damaged("it does not inflate to its stated size"))?;
        self.frame = frame;
        Ok(())
    }

    /// The inflated index.
    pub fn inflate(&mut self, frame: &[u8], raw_length: u64) -> Option<Vec<u8>> {
        let mut raw = Vec::new();
        self.inflater.inflate(frame, raw_length, &mut raw).map(|()| raw)
    }

    /// Replaces `out` by a range of the plaintext that lies inside it.
    pub fn plain<S: ReadAt>(&mut self, body: &Body<'_, S>, offset: u64, length: u64, out: &mut Vec<u8>) -> Result<()> {
        out.clear();
        let mut at = offset;
        while at < offset + length {
            let place = body.layout.segment(body.layout.number_of(at));
            self.load(body, place.number)?;
            let from = (at - place.plain_offset) as usize;
            let to = ((offset + length - place.plain_offset) as usize).min(self.plain);
            out.extend_from_slice(&self.segment[from..to]);
            at += (to - from) as u64;
        }
        Ok(())
    }

    fn load<S: ReadAt>(&mut self, body: &Body<'_, S>, number: u32) -> Result<()> {
        if self.number == Some(number) {
            return Ok(());
        }
        self.number = None;
        let place = body.layout.segment(number);
        self.segment.resize(place.length, 0);
        body.source.read_at(body.offset + place.offset, &mut self.segment)?;
        if let Some(hash) = &mut self.hash
            && number == self.hashed
        {
            hash.update(&self.segment);
            self.hashed += 1;
        }
        let opened = body.cipher.open(number, place.last, &mut self.segment);
        self.plain = opened.map_err(|_| ArchiveError::BodyDamaged { segment: number })?.len();
        self.number = Some(number);
        Ok(())
    }
}
