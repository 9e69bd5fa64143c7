//! Tink's streaming AEAD AES256-GCM-HKDF with 1 MiB segments, one segment at a time, so that any of them can be opened alone.
//!
//! Published at <https://developers.google.com/tink/streaming-aead/aes_gcm_hkdf_streaming>. Header: its own length (1 byte, 40), salt (32), nonce
//! prefix (7). Segment key = HKDF-SHA-256(key, salt, info = associated data). Nonce of a segment: prefix ‖ number (u32, big-endian) ‖ 1 for the last, else 0.

use crate::{CryptoError, Key256, aead::Gcm, kdf, random};

/// Stored bytes of every segment but the last; the header counts in the first.
pub const SEGMENT: usize = 1 << 20;
/// Bytes of the header.
pub const HEADER: usize = 1 + SALT + PREFIX;
/// Bytes of a segment's tag.
pub const TAG: usize = crate::aead::TAG;
const SALT: usize = 32;
const PREFIX: usize = 7;

/// Seals and opens the segments of one stream.
pub struct SegmentCipher {
    gcm: Gcm,
    prefix: [u8; PREFIX],
}

impl SegmentCipher {
    /// A new stream under a random salt and nonce prefix; the header goes before its first segment.
    pub fn seal_new(key: &Key256, associated: &[u8]) -> (SegmentCipher, [u8; HEADER]) {
        let mut header = random::bytes::<HEADER>();
        header[0] = HEADER as u8;
        let cipher = SegmentCipher::of_header(key, associated, &header).expect("the length byte was just written");
        (cipher, header)
    }

    /// The stream that starts with `header`; fails when its first byte is not 40.
    pub fn of_header(key: &Key256, associated: &[u8], header: &[u8; HEADER]) -> Result<SegmentCipher, CryptoError> {
        if header[0] != HEADER as u8 {
            return Err(CryptoError);
        }
        let segment_key = kdf::hkdf_salted::<32>(&header[1..=SALT], key.expose(), &[associated]);
        let prefix = header[1 + SALT..].try_into().expect("the header ends with the prefix");
        Ok(SegmentCipher { gcm: Gcm::new(&segment_key), prefix })
    }

    /// Encrypts a segment in place and appends its tag. Each number is sealed once; every segment but the last is full.
    pub fn seal(&self, number: u32, last: bool, in_out: &mut Vec<u8>) {
        self.gcm.seal(self.nonce(number, last), &[], in_out);
    }

    /// Checks and decrypts a segment in place; its plaintext is the returned front part.
    pub fn open<'a>(&self, number: u32, last: bool, in_out: &'a mut [u8]) -> Result<&'a mut [u8], CryptoError> {
        self.gcm.open(self.nonce(number, last), &[], in_out)
    }

    fn nonce(&self, number: u32, last: bool) -> [u8; crate::aead::NONCE] {
        let mut nonce = [0; crate::aead::NONCE];
        nonce[..PREFIX].copy_from_slice(&self.prefix);
        nonce[PREFIX..PREFIX + 4].copy_from_slice(&number.to_be_bytes());
        nonce[PREFIX + 4] = u8::from(last);
        nonce
    }
}

/// Plaintext bytes that segment `number` holds when full.
pub fn capacity(number: u32) -> usize {
    SEGMENT - TAG - if number == 0 { HEADER } else { 0 }
}

/// Where the segments of a stored stream (header included) lie.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Layout {
    stored: u64,
    segments: u32,
}

/// One segment of a layout: `offset` and `length` of its stored bytes (the header excluded), and where its plaintext starts.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Segment {
    pub number: u32,
    pub last: bool,
    pub offset: u64,
    pub length: usize,
    pub plain_offset: u64,
    pub plain_length: usize,
}

impl Layout {
    /// Of a stream of `stored` bytes; `None` when no stream has that length.
    pub fn of_stored(stored: u64) -> Option<Layout> {
        let segments = u32::try_from(stored.div_ceil(SEGMENT as u64)).ok()?;
        let tail = stored.checked_sub(u64::from(segments.checked_sub(1)?) * SEGMENT as u64)?;
        let least = if segments == 1 { HEADER + TAG } else { TAG + 1 };
        (tail >= least as u64).then_some(Layout { stored, segments })
    }

    /// Number of segments, at least 1.
    pub fn segments(&self) -> u32 {
        self.segments
    }

    /// Bytes of the whole plaintext.
    pub fn plain_length(&self) -> u64 {
        self.stored - HEADER as u64 - u64::from(self.segments) * TAG as u64
    }

    /// The segment of that number, which is less than `segments()`.
    pub fn segment(&self, number: u32) -> Segment {
        let start = u64::from(number) * SEGMENT as u64;
        let offset = if number == 0 { HEADER as u64 } else { start };
        let end = (start + SEGMENT as u64).min(self.stored);
        let length = (end - offset) as usize;
        Segment {
            number,
            last: number + 1 == self.segments,
            offset,
            length,
            plain_offset: plain_start(number),
            plain_length: length - TAG,
        }
    }

    /// The number of the segment that holds the plaintext byte at `offset`, which is inside the plaintext.
    pub fn number_of(&self, offset: u64) -> u32 {
        match offset.checked_sub(capacity(0) as u64) {
            None => 0,
            Some(rest) => (rest / capacity(1) as u64) as u32 + 1,
        }
    }
}

fn plain_start(number: u32) -> u64 {
    match number.checked_sub(1) {
        None => 0,
        Some(before) => capacity(0) as u64 + u64::from(before) * capacity(1) as u64,
    }
}

#[cfg(test)]
mod tests {
    use super::{HEADER, Layout, SEGMENT, SegmentCipher, TAG, capacity};
    use crate::{Key256, hash::sha256, random};

    fn key() -> Key256 {
        Key256::new(std::array::from_fn(|i| i as u8))
    }

    fn hex(text: &str) -> Vec<u8> {
        (0..text.len() / 2).map(|i| u8::from_str_radix(&text[2 * i..2 * i + 2], 16).unwrap()).collect()
    }

    fn plain(n: usize) -> Vec<u8> {
        (0..n).map(|i| (i * 7 + i / 251) as u8).collect()
    }

    fn seal_all(header: &[u8], plaintext: &[u8]) -> Vec<u8> {
        let cipher = SegmentCipher::of_header(&key(), b"keyark aad", header.try_into().unwrap()).unwrap();
        let mut out = header.to_vec();
        let (mut rest, mut number) = (plaintext, 0);
        loop {
            let (now, later) = rest.split_at(rest.len().min(capacity(number)));
            let mut segment = now.to_vec();
            cipher.seal(number, later.is_empty(), &mut segment);
            out.append(&mut segment);
            if later.is_empty() {
                return out;
            }
            (rest, number) = (later, number + 1);
        }
    }

    /// Ciphertexts made by the Tink library (Python 1.16.1) with key 00…1f and associated data "keyark aad": plaintext length,
    /// header, SHA-256 of the whole ciphertext.
    const TINK: &[(usize, &str, &str)] = &[
        (
            0,
            "28f3375455d4e4e2457652df2c551557e9c14bcb4afa390029bcc155c8230e7d55edf67da1b41f70",
            "3dc57a3711decc7cfa939e155778b563860c259e3d08eff051dd003a94b348e4",
        ),
        (
            20,
            "28af96366059659459a24b91c22d21dfd56b6d0131bb73e9c7df9b3200d47ad16068cca02f20ff59",
            "afa2e87165c8e02edd8444f90f71ff7ce8b570a53626981f268bfccb8bd6a53e",
        ),
        (
            1_048_520,
            "285dd3a07034aec7f5ded4195c4c61678be5a5a695ddb0ae1553b2178e6d17a327ecc05524153bca",
            "f2f83ae6576bc7aea18dfc42de7fdc9883e970fe6c69527075935d415be9131e",
        ),
        (
            1_048_521,
            "283bb9d6e62e889a687cf2d7fc83a6b9a5198862ef95b04090900f3ffc2be2f9745c0ceab6157507",
            "6206507a48a75f9d0ec1b50343999c7b9e1e170eaf16b23cc26da4eb3580bbb7",
        ),
        (
            2_097_085,
            "2833eb1c5a4b4629ee0b5a15c8b0de324d06e1061907dff46aa1b1c8a5f53083069c25522317e3ac",
            "420c71436f0a2a9c836149b9e8275e951eb5d37e196d026da3945b79f1073a08",
        ),
    ];

    #[test]
    fn the_bytes_are_those_of_tink() {
        for (length, header, digest) in TINK {
            let stored = seal_all(&hex(header), &plain(*length));
            assert_eq!(sha256(&[&stored]).to_string(), *digest, "{length} bytes");
            let layout = Layout::of_stored(stored.len() as u64).unwrap();
            assert_eq!(layout.plain_length(), *length as u64);
        }
    }

    #[test]
    fn every_segment_opens_alone_and_only_in_its_place() {
        let text = plain(2 * SEGMENT + 99);
        let (cipher, header) = SegmentCipher::seal_new(&key(), b"keyark aad");
        let stored = seal_all(&header, &text);
        let layout = Layout::of_stored(stored.len() as u64).unwrap();
        assert_eq!(layout.segments(), 3);
        for number in 0..layout.segments() {
            let s = layout.segment(number);
            let bytes = &stored[s.offset as usize..][..s.length];
            let mut copy = bytes.to_vec();
            let opened = cipher.open(number, s.last, &mut copy).unwrap();
            assert_eq!(opened, &text[s.plain_offset as usize..][..s.plain_length]);
            assert_eq!(layout.number_of(s.plain_offset), number);
            assert_eq!(layout.number_of(s.plain_offset + s.plain_length as u64 - 1), number);
            assert!(cipher.open(number, !s.last, &mut bytes.to_vec()).is_err());
            assert!(cipher.open(number + 1, s.last, &mut bytes.to_vec()).is_err());
        }
        let other = SegmentCipher::of_header(&key(), b"other aad", &header).unwrap();
        assert!(other.open(0, false, &mut stored[HEADER..SEGMENT].to_vec()).is_err());
    }

    #[test]
    fn lengths_that_no_stream_has_are_refused() {
        for bad in [0, HEADER + TAG - 1, SEGMENT + 1, SEGMENT + TAG] {
            assert_eq!(Layout::of_stored(bad as u64), None, "{bad}");
        }
        for good in [HEADER + TAG, SEGMENT, SEGMENT + TAG + 1, 2 * SEGMENT] {
            assert!(Layout::of_stored(good as u64).is_some(), "{good}");
        }
        assert_eq!(Layout::of_stored(u64::MAX), None);
        assert!(SegmentCipher::of_header(&key(), b"", &random::bytes::<HEADER>().map(|_| 41)).is_err());
    }
}
