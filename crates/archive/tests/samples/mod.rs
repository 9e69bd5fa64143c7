//! Small archives for the tests, and the keys that go with them.
#![allow(dead_code)]

pub mod forge;

use keyark_archive::{
    Anchor, AnchorKey, Archive, Closing, Decimal, Door, EntryRef, FactorKind, Header, OpeningKey, Positions, RecordRef,
    Summary, Tombstone, Wrap, Writer,
};
use keyark_crypto::{Key256, random, sign::Signer};
use keyark_model::{ArchiveId, DomainId, Id, Incarnation, Kind, Record, SystemId, Time};
use uuid::Uuid;

pub const KEY_ID: &str = "c05b638d-2eea-4651-9937-7bee49a95f6b";
pub const NOW: Time = Time(1_770_000_000_000_000);

/// A system with its signing key and one backup key.
pub struct Maker {
    pub system: SystemId,
    pub incarnation: Incarnation,
    pub signer: Signer,
    pub key: Key256,
}

pub fn uuid(n: u128) -> Uuid {
    Uuid::from_u128(n)
}

pub fn domain(n: u128) -> DomainId {
    DomainId(uuid(n))
}

impl Maker {
    pub fn new() -> Maker {
        Maker {
            system: SystemId(Uuid::from_bytes(random::bytes())),
            incarnation: Incarnation(Uuid::from_bytes(random::bytes())),
            signer: Signer::generate(),
            key: random::secret(),
        }
    }

    pub fn anchor(&self) -> Anchor {
        Anchor::new(vec![AnchorKey::pinned(self.system, self.incarnation, &self.signer.public(), 0)])
    }

    pub fn opening(&self) -> OpeningKey<'_> {
        OpeningKey { kind: FactorKind::BackupKey, id: KEY_ID, key: &self.key }
    }

    /// A header with one door and the wrap of `dek`; `change` comes before the wrap is made.
    pub fn header(&self, dek: &Key256, change: impl FnOnce(Header) -> Header) -> Header {
        let id = ArchiveId(Uuid::from_bytes(random::bytes()));
        let mut header = Header::new(id, self.system, self.incarnation, NOW);
        header.positions = Positions { first: Decimal(9), last: Decimal(9) };
        header.creator = "local|tester".into();
        header.doors = vec![Door::backup_key(KEY_ID)];
        let mut header = change(header);
        header.wraps.push(Wrap::new(&self.opening(), header.id, header.domain, dek));
        header
    }

    pub fn write(&self, contents: &Contents) -> (Vec<u8>, Summary) {
        self.write_with(contents, |h| h)
    }

    pub fn write_with(&self, contents: &Contents, change: impl FnOnce(Header) -> Header) -> (Vec<u8>, Summary) {
        let dek = random::secret();
        let mut writer = Writer::new(Vec::new(), self.header(&dek, change), &dek).unwrap();
        for (domain, generation, kek) in &contents.keks {
            writer.kek(*domain, *generation, &Key256::new(*kek)).unwrap();
        }
        for record in &contents.records {
            writer.record(&RecordRef::of(record)).unwrap();
        }
        for tombstone in &contents.tombstones {
            writer.tombstone(tombstone).unwrap();
        }
        for (domain, seq, touches) in &contents.entries {
            let bytes = entry_bytes(*seq);
            writer.entry(&EntryRef { seq: *seq, domain: *domain, time: NOW, bytes: &bytes }, touches).unwrap();
        }
        for (domain, seq) in &contents.audit {
            let bytes = entry_bytes(*seq);
            writer.audit_entry(&EntryRef { seq: *seq, domain: *domain, time: NOW, bytes: &bytes }).unwrap();
        }
        writer.finish(&Closing::default(), &self.signer).unwrap()
    }
}

pub fn entry_bytes(seq: u64) -> Vec<u8> {
    format!("entry {seq} ").into_bytes().repeat(1 + (seq % 7) as usize * 40)
}

/// The records that an entry changes.
pub type Touched = Vec<(Kind, Id)>;

/// What to put into an archive.
#[derive(Default, Clone)]
pub struct Contents {
    pub keks: Vec<(DomainId, u64, [u8; 32])>,
    pub records: Vec<Record>,
    pub tombstones: Vec<Tombstone>,
    pub entries: Vec<(DomainId, u64, Touched)>,
    pub audit: Vec<(DomainId, u64)>,
}

/// `per_domain` records in each of the domains 1…`domains`, sorted.
pub fn contents(domains: u128, per_domain: u128) -> Contents {
    let mut out = Contents::default();
    for d in 1..=domains {
        out.keks.push((domain(d), 1, [d as u8; 32]));
        out.keks.push((domain(d), 2, [d as u8 + 100; 32]));
        out.records.extend((0..per_domain).map(|n| record(domain(d), Kind::Key, 1000 * d + n)));
        out.records.push(record(domain(d), Kind::Secret, d));
        out.tombstones.push(Tombstone {
            kind: Kind::Key,
            domain: domain(d),
            id: Id(uuid(77)),
            revision: 4,
            time: NOW,
            name: (d % 2 == 0).then(|| "gone".into()),
        });
    }
    out
}

pub fn record(domain: DomainId, kind: Kind, n: u128) -> Record {
    let header = format!(r#"{{"name":"record {n}","labels":{{"team":"payments"}},"versions":[{{"version":0}}]}}"#);
    Record {
        kind,
        id: Id(uuid(n)),
        domain,
        revision: 1 + n as u64 % 5,
        seq: 0,
        time: NOW,
        header: header.into_bytes().into(),
        body: random::bytes::<90>().into(),
    }
}

/// Every item of an archive, read with its key and fully verified.
pub fn read_all(bytes: &Vec<u8>, key: &OpeningKey<'_>) -> keyark_archive::Result<Contents> {
    let archive = Archive::open(bytes)?;
    let unlocked = archive.unlock(key)?;
    let mut out = Contents::default();
    for kek in unlocked.keks()? {
        out.keks.push((kek.domain, kek.generation, *kek.key.expose()));
    }
    out.records = unlocked.records()?.collect::<Result<_, _>>()?;
    out.tombstones = unlocked.tombstones()?.collect::<Result<_, _>>()?;
    for entry in unlocked.entries()? {
        let entry = entry?;
        assert_eq!(entry.bytes[..], entry_bytes(entry.seq)[..], "wrong data");
        out.entries.push((entry.domain, entry.seq, vec![]));
    }
    for entry in unlocked.audit_entries()? {
        let entry = entry?;
        assert_eq!(entry.bytes[..], entry_bytes(entry.seq)[..], "wrong data");
        out.audit.push((entry.domain, entry.seq));
    }
    unlocked.verify_full(|_| {})?;
    Ok(out)
}

/// Whether both hold the same (what entries touch is not read back here).
pub fn assert_same(a: &Contents, b: &Contents) {
    assert_eq!(a.keks, b.keks);
    assert_eq!(a.records, b.records);
    assert_eq!(a.tombstones, b.tombstones);
    let places = |c: &Contents| c.entries.iter().map(|(d, s, _)| (*d, *s)).collect::<Vec<_>>();
    assert_eq!(places(a), places(b));
    assert_eq!(a.audit, b.audit);
}
