//! LtHash: an order-independent digest of a set of records, kept up to date by adding and subtracting.

use keyark_model::{Digest, Id, Kind};

use crate::hash::sha256;

const CONTEXT: &[u8] = b"keyark/lthash/1\0";
const LANES: usize = 1024;

/// The bytes that a sum is stored in: 1024 lanes of 16 bits, little-endian.
pub const LTHASH_BYTES: usize = LANES * 2;

/// The sum over a set of records (LtHash16 of Bellare and Micciancio's construction, with BLAKE3 as the XOF).
#[derive(Clone, PartialEq, Eq)]
pub struct LtHash(Box<[u16; LANES]>);

/// One record as the sum sees it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct LtElement {
    pub kind: Kind,
    pub id: Id,
    pub revision: u64,
    /// SHA-256 of the clear header.
    pub header: Digest,
    /// SHA-256 of the sealed body.
    pub body: Digest,
}

impl LtElement {
    /// From the record's parts.
    pub fn new(kind: Kind, id: Id, revision: u64, header: &[u8], body: &[u8]) -> Self {
        LtElement { kind, id, revision, header: sha256(&[header]), body: sha256(&[body]) }
    }

    fn expand(&self) -> [u8; LTHASH_BYTES] {
        let mut hasher = blake3::Hasher::new();
        let mut input = [0; 16 + 1 + 16 + 8 + 32 + 32];
        let (context, rest) = input.split_at_mut(16);
        context.copy_from_slice(CONTEXT);
        rest[0] = self.kind as u8;
        rest[1..17].copy_from_slice(self.id.as_bytes());
        rest[17..25].copy_from_slice(&self.revision.to_be_bytes());
        rest[25..57].copy_from_slice(&self.header.0);
        rest[57..].copy_from_slice(&self.body.0);
        hasher.update(&input);
        let mut out = [0; LTHASH_BYTES];
        hasher.finalize_xof().fill(&mut out);
        out
    }
}

impl Default for LtHash {
    /// The sum of no records.
    fn default() -> Self {
        LtHash(Box::new([0; LANES]))
    }
}

impl LtHash {
    /// A record came into the set.
    pub fn add(&mut self, element: &LtElement) {
        let bytes = element.expand();
        for (lane, pair) in self.0.iter_mut().zip(bytes.chunks_exact(2)) {
            *lane = lane.wrapping_add(u16::from_le_bytes([pair[0], pair[1]]));
        }
    }

    /// A record left the set. It must have been in it: the sum cannot tell.
    pub fn remove(&mut self, element: &LtElement) {
        let bytes = element.expand();
        for (lane, pair) in self.0.iter_mut().zip(bytes.chunks_exact(2)) {
            *lane = lane.wrapping_sub(u16::from_le_bytes([pair[0], pair[1]]));
        }
    }

    /// The sum of the union of two disjoint sets.
    pub fn combine(&mut self, other: &LtHash) {
        for (lane, more) in self.0.iter_mut().zip(other.0.iter()) {
            *lane = lane.wrapping_add(*more);
        }
    }

    /// The 32 bytes to compare and to sign: SHA-256 of the lanes.
    pub fn digest(&self) -> Digest {
        sha256(&[&self.to_bytes()])
    }

    /// The lanes, to be stored.
    pub fn to_bytes(&self) -> [u8; LTHASH_BYTES] {
        let mut out = [0; LTHASH_BYTES];
        for (pair, lane) in out.chunks_exact_mut(2).zip(self.0.iter()) {
            pair.copy_from_slice(&lane.to_le_bytes());
        }
        out
    }

    /// From stored lanes; `None` unless there are exactly 2048 bytes.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        if bytes.len() != LTHASH_BYTES {
            return None;
        }
        let mut sum = LtHash::default();
        for (lane, pair) in sum.0.iter_mut().zip(bytes.chunks_exact(2)) {
            *lane = u16::from_le_bytes([pair[0], pair[1]]);
        }
        Some(sum)
    }
}

impl std::fmt::Debug for LtHash {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "LtHash({})", self.digest())
    }
}

#[cfg(test)]
mod tests {
    use keyark_model::{Id, Kind};
    use uuid::Uuid;

    use super::{LtElement, LtHash};

    fn element(n: u128) -> LtElement {
        LtElement::new(Kind::Key, Id(Uuid::from_u128(n)), 1, b"{}", &n.to_be_bytes())
    }

    #[test]
    fn the_order_does_not_matter_and_removing_undoes_adding() {
        let (mut a, mut b) = (LtHash::default(), LtHash::default());
        (0..50).for_each(|n| a.add(&element(n)));
        (0..60).rev().for_each(|n| b.add(&element(n)));
        assert_ne!(a.digest(), b.digest());
        (50..60).for_each(|n| b.remove(&element(n)));
        assert_eq!(a, b);
    }

    #[test]
    fn two_halves_combine_to_the_whole_and_lanes_survive_storing() {
        let (mut whole, mut half, mut rest) = (LtHash::default(), LtHash::default(), LtHash::default());
        (0..20).for_each(|n| whole.add(&element(n)));
        (0..9).for_each(|n| half.add(&element(n)));
        (9..20).for_each(|n| rest.add(&element(n)));
        half.combine(&rest);
        assert_eq!(half.digest(), whole.digest());
        assert_eq!(LtHash::from_bytes(&whole.to_bytes()), Some(whole));
        assert_eq!(LtHash::from_bytes(&[0; 2047]), None);
    }

    #[test]
    fn every_part_of_a_record_counts() {
        let base = LtElement::new(Kind::Key, Id(Uuid::from_u128(7)), 1, b"h", b"b");
        let others = [
            LtElement { kind: Kind::Secret, ..base },
            LtElement { id: Id(Uuid::from_u128(8)), ..base },
            LtElement { revision: 2, ..base },
            LtElement { header: base.body, ..base },
            LtElement { body: base.header, ..base },
        ];
        let sum = |e: &LtElement| {
            let mut sum = LtHash::default();
            sum.add(e);
            sum.digest()
        };
        assert!(others.iter().all(|other| sum(other) != sum(&base)));
    }
}
