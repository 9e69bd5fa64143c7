//! An archive opened for reading: header, footer and signature, without any key.

use keyark_crypto::hash::{Sha256, sha256};
use keyark_crypto::stream::Layout;
use keyark_model::Digest;

use crate::anchor::{Anchor, Verdict};
use crate::error::{ArchiveError, Result};
use crate::footer::Footer;
use crate::header::{Header, Scope};
use crate::layout::{BACK, FRONT, Parts};
use crate::signature::{BLOCK, Signature};
use crate::source::ReadAt;

/// Bytes read at once when the body is hashed.
const CHUNK: usize = 1 << 20;

/// Header, footer and signature as stored, and the source of the body.
pub struct Archive<S> {
    pub(crate) source: S,
    pub(crate) parts: Parts,
    pub(crate) layout: Layout,
    header: Header,
    footer: Footer,
    signature: Signature,
    header_hash: Digest,
    footer_hash: Digest,
    length: u64,
}

impl<S: ReadAt> Archive<S> {
    /// Reads both ends of the file, nothing of the body. What is shown is claimed until `verify`.
    pub fn open(source: S) -> Result<Archive<S>> {
        let length = source.length()?;
        let mut front = [0; FRONT as usize];
        if length < FRONT + BACK {
            source.read_at(0, &mut front[..length.min(FRONT) as usize])?;
            return Err(match front[..length.min(12) as usize] == crate::layout::MAGIC[..length.min(12) as usize] {
                true => ArchiveError::Truncated { part: "the frame of an archive", length },
                false => ArchiveError::NotAnArchive,
            });
        }
        let mut back = [0; BACK as usize];
        source.read_at(0, &mut front)?;
        source.read_at(length - BACK, &mut back)?;
        let parts = Parts::parse(&front, &back, length)?;
        let header_bytes = read(&source, FRONT, parts.header)?;
        let header = Header::parse(&header_bytes)?;
        let end = read(&source, parts.footer_offset(), parts.footer + BLOCK as u64)?;
        let (footer_bytes, block) = end.split_at(end.len() - BLOCK);
        let footer = Footer::parse(footer_bytes)?;
        if footer.body_length.0 != parts.body {
            return Err(ArchiveError::FooterDamaged("the body has not the length that it states".into()));
        }
        let layout = Layout::of_stored(parts.body)
            .ok_or(ArchiveError::FooterDamaged("no body has the length that it states".into()))?;
        Ok(Archive {
            parts,
            layout,
            header,
            signature: Signature::parse(block)?,
            header_hash: sha256(&[&front, &header_bytes]),
            footer_hash: sha256(&[footer_bytes]),
            footer,
            length,
            source,
        })
    }

    pub fn header(&self) -> &Header {
        &self.header
    }

    pub fn footer(&self) -> &Footer {
        &self.footer
    }

    /// The signature block; its key is claimed until a verdict says it is pinned.
    pub fn signature(&self) -> &Signature {
        &self.signature
    }

    /// The hash of the bytes up to the header's end: the body's associated data.
    pub fn header_hash(&self) -> Digest {
        self.header_hash
    }

    /// Bytes of the file.
    pub fn length(&self) -> u64 {
        self.length
    }

    /// The source, such as to ask a `Counting` one.
    pub fn source(&self) -> &S {
        &self.source
    }

    /// Who signed, judged without reading the body: its hash is taken from the footer. Enough before reading single records,
    /// because each is checked against the signed index.
    pub fn verdict(&self, anchor: &Anchor) -> Verdict {
        if !self.signature.holds(self.header_hash, self.footer.body_sha256, self.footer_hash) {
            return Verdict::Bad { why: "it does not cover this header, body and footer" };
        }
        let h = &self.header;
        let last = (h.scope == Scope::System).then_some(h.positions.last.0);
        anchor.judge(&self.signature.public, h.system, h.incarnation, last)
    }

    /// Reads and hashes the whole body, then judges the signer. An altered body is an error, whoever signed.
    pub fn verify(&self, anchor: &Anchor) -> Result<Verdict> {
        if self.body_hash()? != self.footer.body_sha256 {
            return Err(ArchiveError::BodyReplaced);
        }
        Ok(self.verdict(anchor))
    }

    fn body_hash(&self) -> Result<Digest> {
        let mut hash = Sha256::default();
        let mut chunk = vec![0; CHUNK.min(self.parts.body as usize)];
        let (mut at, end) = (self.parts.body_offset(), self.parts.footer_offset());
        while at < end {
            let now = &mut chunk[..(end - at).min(CHUNK as u64) as usize];
            self.source.read_at(at, now)?;
            hash.update(now);
            at += now.len() as u64;
        }
        Ok(hash.finish())
    }
}

/// A range whose length was checked against its limit.
fn read<S: ReadAt>(source: &S, offset: u64, length: u64) -> Result<Vec<u8>> {
    let mut out = vec![0; length as usize];
    source.read_at(offset, &mut out)?;
    Ok(out)
}
