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

type Written = Result<(), minicbor::encode::Error<std::convert::Infallible>>;

impl Items<'_> {
    fn write(&mut self, f: impl FnOnce(&mut Encoder<&mut Vec<u8>>) -> Written) {
        f(&mut Encoder::new(self.0)).expect("writing into a vector does not fail");
    }

    pub fn record(&mut self, r: &RecordRef<'_>) {
        self.write(|e| {
            e.array(7)?.u8(r.kind as u8)?.bytes(r.domain.as_bytes())?.bytes(r.id.as_bytes())?;
            e.u64(r.revision)?.i64(r.time.0)?.bytes(r.header)?.bytes(r.body)?.ok()
        });
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
