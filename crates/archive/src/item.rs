//! The items of blocks, one CBOR array each, as borrowed views.

use keyark_model::{DomainId, Id, Kind, Record, Time};
use minicbor::decode::{Decoder, Error};
use minicbor::encode::Encoder;

use crate::index::{BlockType, array, record_key};

/// A record as it stands in an archive: the header clear, the body sealed under the KEK generation it names.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RecordRef<'a> {
    pub kind: Kind,
    pub domain: DomainId,
    pub id: Id,
    pub revision: u64,
    pub time: Time,
    pub header: &'a [u8],
    pub body: &'a [u8],
}

impl<'a> RecordRef<'a> {
    /// The view of a record.
    pub fn of(r: &'a Record) -> RecordRef<'a> {
        RecordRef {
            kind: r.kind,
            domain: r.domain,
            id: r.id,
            revision: r.revision,
            time: r.time,
            header: &r.header,
            body: &r.body,
        }
    }

    /// A record of its own, with `seq` 0.
    pub fn to_record(&self) -> Record {
        Record {
            kind: self.kind,
            id: self.id,
            domain: self.domain,
            revision: self.revision,
            seq: 0,
            time: self.time,
            header: self.header.into(),
            body: self.body.into(),
        }
    }
}

/// What is left of a deleted record.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Tombstone {
    pub kind: Kind,
    pub domain: DomainId,
    pub id: Id,
    pub revision: u64,
    pub time: Time,
    pub name: Option<String>,
}

/// A log or audit entry: opaque bytes with their place.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct EntryRef<'a> {
    pub seq: u64,
    pub domain: DomainId,
    pub time: Time,
    pub bytes: &'a [u8],
}

/// An entry with bytes of its own.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct StoredEntry {
    pub seq: u64,
    pub domain: DomainId,
    pub time: Time,
    pub bytes: Box<[u8]>,
}

impl<'a> EntryRef<'a> {
    pub fn of(e: &'a StoredEntry) -> EntryRef<'a> {
        EntryRef { seq: e.seq, domain: e.domain, time: e.time, bytes: &e.bytes }
    }
}

/// A KEK generation, wrapped for the archive.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct WrappedKek<'a> {
    pub domain: DomainId,
    pub generation: u64,
    pub wrapped: &'a [u8],
}

/// What every item can say about its place.
pub(crate) trait Item<'a>: Sized {
    const TYPES: &'static [BlockType];
    fn decode(d: &mut Decoder<'a>) -> Result<Self, Error>;
    fn domain(&self) -> DomainId;
    /// The bytes that order it within its domain.
    fn key(&self) -> Key;
}

/// The bytes that order an item: the first `length` of them.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Key {
    bytes: [u8; 17],
    length: usize,
}

impl Key {
    pub fn of_number(n: u64) -> Key {
        let mut bytes = [0; 17];
        bytes[..8].copy_from_slice(&n.to_be_bytes());
        Key { bytes, length: 8 }
    }

    pub fn of_record(kind: Kind, id: Id) -> Key {
        Key { bytes: record_key(kind, id), length: 17 }
    }

    pub fn as_slice(&self) -> &[u8] {
        &self.bytes[..self.length]
    }
}

macro_rules! item {
    ($type:ident<'a>, $length:literal, $types:expr, $d:ident => $decode:expr, $this:ident => $key:expr) => {
        impl<'a> Item<'a> for $type<'a> {
            item!(@body $length, $types, $d => $decode, $this => $key);
        }
    };
    ($type:ident, $length:literal, $types:expr, $d:ident => $decode:expr, $this:ident => $key:expr) => {
        impl<'a> Item<'a> for $type {
            item!(@body $length, $types, $d => $decode, $this => $key);
        }
    };
    (@body $length:literal, $types:expr, $d:ident => $decode:expr, $this:ident => $key:expr) => {
        const TYPES: &'static [BlockType] = $types;
        fn decode($d: &mut Decoder<'a>) -> Result<Self, Error> {
            array($d, $length)?;
            Ok($decode)
        }
        fn domain(&self) -> DomainId {
            self.domain
        }
        fn key(&self) -> Key {
            let $this = self;
            $key
        }
    };
}

item!(RecordRef<'a>, 7, &[BlockType::Records], d => RecordRef {
    kind: d.decode()?, domain: d.decode()?, id: d.decode()?, revision: d.u64()?, time: Time(d.i64()?),
    header: d.bytes()?, body: d.bytes()?,
}, this => Key::of_record(this.kind, this.id));

item!(Tombstone, 6, &[BlockType::Tombstones], d => Tombstone {
    kind: d.decode()?, domain: d.decode()?, id: d.decode()?, revision: d.u64()?, time: Time(d.i64()?),
    name: d.decode::<Option<&str>>()?.map(str::to_owned),
}, this => Key::of_record(this.kind, this.id));

item!(EntryRef<'a>, 4, &[BlockType::Entries, BlockType::Audit], d => EntryRef {
    seq: d.u64()?, domain: d.decode()?, time: Time(d.i64()?), bytes: d.bytes()?,
}, this => Key::of_number(this.seq));

item!(WrappedKek<'a>, 3, &[BlockType::Keks], d => WrappedKek {
    domain: d.decode()?, generation: d.u64()?, wrapped: d.bytes()?,
}, this => Key::of_number(this.generation));

/// Appends items to the raw bytes of a block.
pub(crate) struct Items<'b>(pub &'b mut Vec<u8>);

const UNSIGNED: u8 = 0;
const NEGATIVE: u8 = 0x20;
const BYTES: u8 = 0x40;
/// The most bytes of a record's item besides its header and body.
const RECORD_OVERHEAD: usize = 80;

/// The shortest head of a CBOR item (RFC 8949 section 3).
fn head(out: &mut Vec<u8>, major: u8, n: u64) {
    let bytes = n.to_be_bytes();
    match n {
        0..=23 => out.push(major | n as u8),
        24..=0xff => out.extend_from_slice(&[major | 24, n as u8]),
        0x100..=0xffff => out.extend_from_slice(&[major | 25, bytes[6], bytes[7]]),
        0x1_0000..=0xffff_ffff => {
            out.push(major | 26);
            out.extend_from_slice(&bytes[4..]);
        }
        _ => {
            out.push(major | 27);
            out.extend_from_slice(&bytes);
        }
    }
}

type Written = Result<(), minicbor::encode::Error<std::convert::Infallible>>;

impl Items<'_> {
    fn write(&mut self, f: impl FnOnce(&mut Encoder<&mut Vec<u8>>) -> Written) {
        f(&mut Encoder::new(self.0)).expect("writing into a vector does not fail");
    }

    /// By hand: this runs a million times in a backup, and the encoder's many small writes would cost as much as the hashes.
    pub fn record(&mut self, r: &RecordRef<'_>) {
        let out = &mut *self.0;
        out.reserve(r.header.len() + r.body.len() + RECORD_OVERHEAD);
        out.push(0x87);
        head(out, UNSIGNED, u64::from(r.kind as u8));
        out.push(BYTES | 16);
        out.extend_from_slice(r.domain.as_bytes());
        out.push(BYTES | 16);
        out.extend_from_slice(r.id.as_bytes());
        head(out, UNSIGNED, r.revision);
        match u64::try_from(r.time.0) {
            Ok(positive) => head(out, UNSIGNED, positive),
            // CBOR writes -1 - n as n, which is the complement.
            Err(_) => head(out, NEGATIVE, !r.time.0 as u64),
        }
        for bytes in [r.header, r.body] {
            head(out, BYTES, bytes.len() as u64);
            out.extend_from_slice(bytes);
        }
    }

    pub fn tombstone(&mut self, t: &Tombstone) {
        self.write(|e| {
            e.array(6)?.u8(t.kind as u8)?.bytes(t.domain.as_bytes())?.bytes(t.id.as_bytes())?;
            e.u64(t.revision)?.i64(t.time.0)?.encode(t.name.as_deref())?.ok()
        });
    }

    pub fn entry(&mut self, n: &EntryRef<'_>) {
        self.write(|e| e.array(4)?.u64(n.seq)?.bytes(n.domain.as_bytes())?.i64(n.time.0)?.bytes(n.bytes)?.ok());
    }

    pub fn kek(&mut self, k: &WrappedKek<'_>) {
        self.write(|e| e.array(3)?.bytes(k.domain.as_bytes())?.u64(k.generation)?.bytes(k.wrapped)?.ok());
    }
}

#[cfg(test)]
mod tests {
    use keyark_model::{DomainId, Id, Kind, Time};
    use minicbor::{decode::Decoder, encode::Encoder};

    use super::{Item, Items, RecordRef};

    #[test]
    fn the_bytes_of_a_record_are_those_of_the_library() {
        let numbers = [0, 23, 24, 255, 256, 65_535, 65_536, u64::from(u32::MAX), u64::from(u32::MAX) + 1, u64::MAX];
        for (n, revision) in numbers.into_iter().enumerate() {
            for time in [0, 23, 24, 1_770_000_000_000_000, i64::MAX, -1, -24, -25, -257, i64::MIN] {
                let header = vec![b'h'; [0, 23, 24, 300, 70_000][n % 5]];
                let (domain, id) = (DomainId::ROOT, Id::from_bytes([n as u8; 16]));
                let r = RecordRef {
                    kind: Kind::Setting,
                    domain,
                    id,
                    revision,
                    time: Time(time),
                    header: &header,
                    body: b"b",
                };
                let mut bytes = Vec::new();
                Items(&mut bytes).record(&r);
                let mut e = Encoder::new(Vec::new());
                e.array(7).unwrap().u8(14).unwrap().bytes(domain.as_bytes()).unwrap().bytes(id.as_bytes()).unwrap();
                e.u64(revision).unwrap().i64(time).unwrap().bytes(&header).unwrap().bytes(b"b").unwrap();
                assert_eq!(bytes, e.into_writer());
                assert_eq!(RecordRef::decode(&mut Decoder::new(&bytes)).unwrap(), r);
            }
        }
    }
}
