//! A store full of real keys: headers as the server writes them, bodies sealed under the domain's KEK.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use keyark_archive::{Anchor, AnchorKey};
use keyark_crypto::algorithm::symmetric::{self, NoncePool};
use keyark_crypto::algorithm::{KeyBody, Material};
use keyark_crypto::keyring::{KekOwner, Keyring, Mkek};
use keyark_crypto::root::FileRoot;
use keyark_crypto::seal::{Kek, RecordName};
use keyark_crypto::sign::Signer;
use keyark_crypto::{Key256, random};
use keyark_model::key::{Dates, KeyHeader, KeyName, KeySpec, State, VersionHeader};
use keyark_model::system::SettingHeader;
use keyark_model::{Digest, DomainId, Id, Incarnation, Kind, SystemId, Time};
use keyark_store::{BulkLoader, Head, Identity, Options, RecordView, Store};

use crate::figures::Outcome;

pub const NOW: Time = Time(1_780_000_000_000_000);
/// What was encrypted before everything was lost.
pub const MESSAGE: &[u8] = b"thirty-two bytes that must return";

/// The domain that the keys are in.
pub fn domain() -> DomainId {
    DomainId::from_bytes([0xd0; 16])
}

/// A system with its keys, and everything that a backup of it needs.
pub struct Base {
    pub keys: u64,
    pub store: Store,
    pub keyring: Keyring,
    pub signer: Signer,
    pub anchor: Anchor,
    pub root: FileRoot,
    pub backup_key: Id,
    pub backup_key_material: Key256,
    /// The key that `ciphertext` was made with.
    pub wanted: Id,
    pub ciphertext: Vec<u8>,
}

/// The n-th key's name: all differ, and they come in no order.
pub fn name(n: u64) -> String {
    format!("key-{:016x}", n.wrapping_mul(0x9e37_79b9_7f4a_7c15))
}

/// Ids in ascending order, a millisecond apart.
fn time_of(n: u64) -> Time {
    Time(NOW.0 + n as i64 * 1000)
}

impl Base {
    pub fn make(folder: &Path, keys: u64) -> Outcome<Base> {
        let system = SystemId(random::uuid_v7(NOW));
        let identity = Identity { system, incarnation: Incarnation::from_bytes(random::bytes()), parent: None };
        let keyring = Keyring::new(Mkek::generate(system));
        for domain in [DomainId::ROOT, domain()] {
            let owner = KekOwner::Domain(domain);
            keyring.add(owner, Arc::new(Kek::generate(1)), 0, true);
            keyring.reserved(owner, 1, keys + 1);
        }
        let signer = Signer::generate();
        let anchor = Anchor::new(vec![AnchorKey::pinned(system, identity.incarnation, &signer.public(), 0)]);
        let path = folder.join("base.db");
        let start = Head { seq: 0, hash: Digest::ZERO, time: NOW };
        let mut loader = BulkLoader::create(&path, &identity, start, Vec::new(), NOW)?;
        let mut load = |domain, kind, id, time, header: Vec<u8>, body: &[u8]| -> Outcome {
            let named = RecordName { domain, kind, id, version: 0, revision: 1 };
            let body = keyring.seal(&named, &header, body)?;
            let view = RecordView { kind, id, domain, revision: 1, seq: 0, time, header: &header, body: &body };
            Ok(loader.add(&view)?)
        };
        // A restored system does not start without its anchor.
        let setting = SettingHeader { name: "anchor".into(), value: serde_json::to_value(&anchor)? };
        let id = Id(random::uuid_v7(NOW));
        load(DomainId::ROOT, Kind::Setting, id, NOW, serde_json::to_vec(&setting)?, b"")?;
        let mut wanted = None;
        for n in 0..keys {
            let time = time_of(n);
            let id = Id(random::uuid_v7(time));
            let material = Material::generate(KeySpec::AES_256);
            if n == keys / 2 {
                wanted = Some((id, symmetric::encrypt(&material, &mut NoncePool::new(1), b"", MESSAGE)?));
            }
            let header = serde_json::to_vec(&header_of(n, id, time, &material)?)?;
            load(domain(), Kind::Key, id, time, header, KeyBody::new(0, material)?.encode().expose())?;
        }
        loader.finish()?;
        let (wanted, ciphertext) = wanted.ok_or("a backup of no keys shows nothing: ask for more")?;
        Ok(Base {
            keys,
            store: Store::open(&path, Options::default())?,
            keyring,
            signer,
            anchor,
            root: FileRoot::create(&folder.join("root.key"), None)?,
            backup_key: Id(random::uuid_v7(NOW)),
            backup_key_material: random::secret(),
            wanted,
            ciphertext,
        })
    }
}

/// A key as the server makes it when only a name is given.
fn header_of(n: u64, id: Id, now: Time, material: &Material) -> Outcome<KeyHeader> {
    let spec = material.spec();
    Ok(KeyHeader {
        name: KeyName::new(name(n))?,
        spec,
        usage_mask: spec.default_usage(),
        owner_id: String::new(),
        permissions: BTreeMap::new(),
        labels: BTreeMap::new(),
        aliases: Vec::new(),
        description: String::new(),
        unexportable: false,
        undeletable: false,
        meta: serde_json::Map::new(),
        links: Vec::new(),
        created_at: now,
        updated_at: now,
        deletion_date: None,
        versions: vec![VersionHeader {
            version: 0,
            id,
            state: State::Active,
            dates: Dates { activation: Some(now), ..Dates::default() },
            revocation: None,
            created_at: now,
            fingerprint: Some(material.fingerprint()),
            imported: false,
            muid: None,
            key_id: None,
            state_message: String::new(),
        }],
    })
}
