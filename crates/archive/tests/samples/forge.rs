//! Builds archives by hand, with every key in reach: what a hostile writer could make, valid tags and signature included.

use keyark_archive::block::Deflater;
use keyark_archive::footer::{Footer, IndexPlace};
use keyark_archive::index::{BlockPlace, Index};
use keyark_archive::json::Decimal;
use keyark_archive::layout::MAGIC;
use keyark_archive::signature::Signature;
use keyark_archive::{Chain, Header, keys};
use keyark_crypto::Key256;
use keyark_crypto::hash::sha256;
use keyark_crypto::sign::Signer;
use keyark_crypto::stream::{SegmentCipher, capacity};
use keyark_model::Digest;

/// A frame and what its place in the index says beyond offset, length and hash.
pub struct Frame {
    pub place: BlockPlace,
    pub frame: Vec<u8>,
}

/// An honest frame of raw items.
pub fn frame(mut place: BlockPlace, raw: &[u8]) -> Frame {
    place.raw_length = raw.len() as u64;
    Frame { place, frame: Deflater::new().unwrap().deflate(raw).unwrap().to_vec() }
}

/// Lays the frames out in order and closes the archive; `change` may alter the index and the footer before they are written.
pub fn forge(
    header_json: &[u8],
    dek: &Key256,
    frames: Vec<Frame>,
    signer: &Signer,
    change: impl FnOnce(&mut Index, &mut Footer),
) -> Vec<u8> {
    let mut plain = Vec::new();
    let mut index = Index::default();
    for Frame { mut place, frame } in frames {
        place.offset = plain.len() as u64;
        place.length = frame.len() as u64;
        place.sha256 = sha256(&[&frame]);
        plain.extend(frame);
        index.blocks.push(place);
    }
    let mut footer = Footer {
        body_length: Decimal(0),
        body_sha256: Digest::ZERO,
        index: IndexPlace { offset: Decimal(0), length: Decimal(0), raw_length: Decimal(0), sha256: Digest::ZERO },
        largest_block: Decimal(index.blocks.iter().map(|b| b.raw_length).max().unwrap_or(0)),
        counts: None,
        tombstones: None,
        entries: None,
        audit: None,
        record_digests: Default::default(),
        chain: Chain { before: Digest::ZERO, after: Digest::ZERO },
    };
    change(&mut index, &mut footer);
    let raw = index.to_bytes();
    let frame = Deflater::new().unwrap().deflate(&raw).unwrap().to_vec();
    let claimed = footer.index.raw_length.0.max(raw.len() as u64);
    footer.index = IndexPlace {
        offset: Decimal(plain.len() as u64),
        length: Decimal(frame.len() as u64),
        raw_length: Decimal(claimed),
        sha256: sha256(&[&frame]),
    };
    plain.extend(frame);
    seal(header_json, dek, &plain, footer, signer)
}

/// Everything around a plaintext.
pub fn seal(header_json: &[u8], dek: &Key256, plain: &[u8], mut footer: Footer, signer: &Signer) -> Vec<u8> {
    let front = [&MAGIC[..], &(header_json.len() as u32).to_be_bytes(), header_json].concat();
    let (cipher, stream_header) = SegmentCipher::seal_new(&keys::body_key(dek), &sha256(&[&front]).0);
    let mut body = stream_header.to_vec();
    let (mut rest, mut number) = (plain, 0);
    loop {
        let (now, later) = rest.split_at(rest.len().min(capacity(number)));
        let mut segment = now.to_vec();
        cipher.seal(number, later.is_empty(), &mut segment);
        body.extend(segment);
        if later.is_empty() {
            break;
        }
        (rest, number) = (later, number + 1);
    }
    footer.body_length = Decimal(body.len() as u64);
    footer.body_sha256 = sha256(&[&body]);
    close(front, &body, &serde_json::to_vec(&footer).unwrap(), signer)
}

/// Footer bytes, signature and the end.
pub fn close(mut file: Vec<u8>, body: &[u8], footer: &[u8], signer: &Signer) -> Vec<u8> {
    let block = Signature::make(signer, sha256(&[&file]), sha256(&[body]), sha256(&[footer])).to_bytes();
    file.extend(body);
    file.extend(footer);
    file.extend(block);
    file.extend((footer.len() as u32).to_be_bytes());
    file.extend((block.len() as u32).to_be_bytes());
    file.extend(MAGIC);
    file
}

/// The header's JSON with the commitment to `dek`.
pub fn header_json(mut header: Header, dek: &Key256) -> Vec<u8> {
    header.key_commitment = keys::commitment(dek);
    serde_json::to_vec(&header).unwrap()
}
