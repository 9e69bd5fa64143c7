//! The keys that seal: MKEK → KEK generations per domain, and the local KEK for what is never shipped.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, RwLock};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use keyark_model::system::KekHeader;
use keyark_model::{DomainId, Kind, Shipping, SystemId, Time};

use crate::seal::{Kek, RecordName, generation_of};
use crate::{CryptoError, Key256, SecretBytes, random, root, wrap};

/// A KEK generation seals at most this many bodies (rules C2), then it must have been rotated.
pub const SEALS_PER_GENERATION: u64 = 1 << 31;

/// Seals reserved for a generation when it is made.
pub const SEALS_FIRST: u64 = 1 << 16;

/// Whose KEK it is: the local one is carried by no archive.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, PartialOrd, Ord)]
pub enum KekOwner {
    Local,
    Domain(DomainId),
}

impl KekOwner {
    /// Under whose KEK a kind of record is sealed.
    pub fn of(kind: Kind, domain: DomainId) -> KekOwner {
        match kind.shipping() {
            Shipping::Never => KekOwner::Local,
            Shipping::System | Shipping::SystemAndDomain => KekOwner::Domain(domain),
        }
    }

    /// What the record of one of its generations is for.
    pub fn word(self) -> &'static str {
        match self {
            KekOwner::Local => "local-kek",
            KekOwner::Domain(_) => "kek",
        }
    }

    fn purpose<'a>(&'a self, system: &'a SystemId, generation: u32) -> wrap::Purpose<'a> {
        let domain = match self {
            KekOwner::Local => &[0; 16],
            KekOwner::Domain(d) => d.as_bytes(),
        };
        let name = self.word();
        wrap::Purpose { name, context: system.as_bytes(), domain, generation: u64::from(generation) }
    }
}

/// The master key-encryption key of one system.
pub struct Mkek {
    system: SystemId,
    key: Key256,
}

impl Mkek {
    pub fn generate(system: SystemId) -> Mkek {
        Mkek { system, key: random::secret() }
    }

    fn purpose(system: &SystemId) -> wrap::Purpose<'_> {
        wrap::Purpose { name: "mkek", context: system.as_bytes(), domain: &[0; 16], generation: 1 }
    }

    /// Wrapped by the root of trust, for the store.
    pub fn wrapped(&self, root: &dyn root::RootOfTrust) -> Result<Vec<u8>, root::RootError> {
        root.wrap(&Mkek::purpose(&self.system), self.key.expose())
    }

    pub fn unwrap(system: SystemId, root: &dyn root::RootOfTrust, wrapped: &[u8]) -> Result<Mkek, root::RootError> {
        let bytes = root.unwrap(&Mkek::purpose(&system), wrapped)?;
        let key = Key256::from_slice(bytes.expose()).ok_or(CryptoError)?;
        Ok(Mkek { system, key })
    }

    /// The fingerprint shown as `mkekChecksum`.
    pub fn fingerprint(&self) -> String {
        root::fingerprint(&self.key)
    }

    /// The record of this key, wrapped by the root of trust.
    pub fn header(&self, root: &dyn root::RootOfTrust, now: Time) -> Result<KekHeader, root::RootError> {
        let wrapped = STANDARD.encode(self.wrapped(root)?);
        Ok(KekHeader { purpose: "mkek".into(), generation: 1, wrapped, reserved: 0, current: true, created_at: now })
    }

    /// The record of a KEK generation, wrapped by this key. `reserved`: seals accounted for durably.
    pub fn kek_header(&self, owner: KekOwner, kek: &Kek, reserved: u64, current: bool, now: Time) -> KekHeader {
        let wrapped = STANDARD.encode(self.wrap_kek(owner, kek));
        let (purpose, generation) = (owner.word().into(), kek.generation);
        KekHeader { purpose, generation, wrapped, reserved, current, created_at: now }
    }

    /// A KEK wrapped for the store.
    pub fn wrap_kek(&self, owner: KekOwner, kek: &Kek) -> Vec<u8> {
        wrap::wrap(&self.key, &owner.purpose(&self.system, kek.generation), kek.key().expose())
    }

    pub fn unwrap_kek(&self, owner: KekOwner, generation: u32, wrapped: &[u8]) -> Result<Kek, CryptoError> {
        let bytes = wrap::unwrap(&self.key, &owner.purpose(&self.system, generation), wrapped)?;
        Ok(Kek::new(generation, Key256::from_slice(bytes.expose()).ok_or(CryptoError)?))
    }
}

struct Generation {
    kek: Arc<Kek>,
    /// Bodies sealed under it, as far as reserved durably; sealing past `reserved` needs a new reservation.
    sealed: AtomicU64,
    reserved: AtomicU64,
}

#[derive(Default)]
struct Owned {
    generations: HashMap<u32, Arc<Generation>>,
    current: Option<u32>,
}

/// Every KEK in use, opened. Shared by all threads.
pub struct Keyring {
    pub mkek: Mkek,
    owners: RwLock<HashMap<KekOwner, Owned>>,
}

/// Why a body could not be sealed or opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum KeyringError {
    #[error("there is no current key-encryption key for {0:?}")]
    NoKek(KekOwner),
    #[error("generation {generation} of the key-encryption key of {owner:?} is not here")]
    NoGeneration { owner: KekOwner, generation: u32 },
    #[error("the seals reserved for the key-encryption key of {owner:?} are used up: reserve more")]
    NeedsReservation { owner: KekOwner, generation: u32 },
    #[error(transparent)]
    Crypto(#[from] CryptoError),
}

impl Keyring {
    pub fn new(mkek: Mkek) -> Keyring {
        Keyring { mkek, owners: RwLock::default() }
    }

    /// Adds a generation with the seals reserved for it so far; `current` makes it the one that seals.
    /// What was reserved before counts as used: a crash may have lost the exact number.
    pub fn add(&self, owner: KekOwner, kek: Arc<Kek>, reserved: u64, current: bool) {
        let mut owners = self.owners.write().expect("no panic while held");
        let owned = owners.entry(owner).or_default();
        let generation = kek.generation;
        let entry = Generation { kek, sealed: AtomicU64::new(reserved), reserved: AtomicU64::new(reserved) };
        owned.generations.insert(generation, Arc::new(entry));
        if current {
            owned.current = Some(generation);
        }
    }

    /// Tells that seals up to `reserved` are now durably accounted for.
    pub fn reserved(&self, owner: KekOwner, generation: u32, reserved: u64) {
        if let Ok(entry) = self.entry(owner, Some(generation)) {
            entry.reserved.fetch_max(reserved, Ordering::Relaxed);
        }
    }

    /// The generation that seals for an owner now.
    pub fn current(&self, owner: KekOwner) -> Option<u32> {
        self.owners.read().expect("no panic while held").get(&owner)?.current
    }

    /// All generations of an owner, oldest first.
    pub fn generations(&self, owner: KekOwner) -> Vec<Arc<Kek>> {
        let owners = self.owners.read().expect("no panic while held");
        let mut all: Vec<_> =
            owners.get(&owner).map(|o| o.generations.values().map(|g| g.kek.clone()).collect()).unwrap_or_default();
        all.sort_by_key(|k: &Arc<Kek>| k.generation);
        all
    }

    /// Forgets a domain's KEKs: the domain was deleted.
    pub fn forget(&self, owner: KekOwner) {
        self.owners.write().expect("no panic while held").remove(&owner);
    }

    fn entry(&self, owner: KekOwner, generation: Option<u32>) -> Result<Arc<Generation>, KeyringError> {
        let owners = self.owners.read().expect("no panic while held");
        let owned = owners.get(&owner).ok_or(KeyringError::NoKek(owner))?;
        let generation = generation.or(owned.current).ok_or(KeyringError::NoKek(owner))?;
        owned.generations.get(&generation).cloned().ok_or(KeyringError::NoGeneration { owner, generation })
    }

    /// Seals under the owner's current generation.
    pub fn seal(&self, name: &RecordName, header: &[u8], plaintext: &[u8]) -> Result<Box<[u8]>, KeyringError> {
        let owner = KekOwner::of(name.kind, name.domain);
        let entry = self.entry(owner, None)?;
        if entry.sealed.fetch_add(1, Ordering::Relaxed) >= entry.reserved.load(Ordering::Relaxed) {
            entry.sealed.fetch_sub(1, Ordering::Relaxed);
            return Err(KeyringError::NeedsReservation { owner, generation: entry.kek.generation });
        }
        Ok(entry.kek.seal(name, header, plaintext))
    }

    /// Opens a body of any generation that is here.
    pub fn open(&self, name: &RecordName, header: &[u8], body: &[u8]) -> Result<SecretBytes, KeyringError> {
        let generation = generation_of(body).ok_or(CryptoError)?;
        let entry = self.entry(KekOwner::of(name.kind, name.domain), Some(generation))?;
        Ok(entry.kek.open(name, header, body)?)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use keyark_model::{DomainId, Id, Kind, SystemId};

    use super::{KekOwner, Keyring, KeyringError, Mkek};
    use crate::seal::{Kek, RecordName};

    #[test]
    fn sealing_stops_at_the_reservation_and_goes_on_after_a_new_one() {
        let ring = Keyring::new(Mkek::generate(SystemId::from_bytes([1; 16])));
        let domain = DomainId::from_bytes([2; 16]);
        let owner = KekOwner::Domain(domain);
        let name = RecordName { domain, kind: Kind::Key, id: Id::from_bytes([3; 16]), version: 0, revision: 1 };
        assert_eq!(ring.seal(&name, b"{}", b"x"), Err(KeyringError::NoKek(owner)));
        ring.add(owner, Arc::new(Kek::generate(1)), 0, true);
        assert_eq!(ring.seal(&name, b"{}", b"x"), Err(KeyringError::NeedsReservation { owner, generation: 1 }));
        ring.reserved(owner, 1, 2);
        let first = ring.seal(&name, b"{}", b"x").unwrap();
        ring.seal(&name, b"{}", b"x").unwrap();
        assert!(matches!(ring.seal(&name, b"{}", b"x"), Err(KeyringError::NeedsReservation { .. })));
        ring.add(owner, Arc::new(Kek::generate(2)), 0, true);
        ring.reserved(owner, 2, 10);
        assert_eq!(ring.open(&name, b"{}", &first).unwrap().expose(), b"x", "old generations still open");
        assert_eq!(crate::seal::generation_of(&ring.seal(&name, b"{}", b"x").unwrap()), Some(2));
    }

    #[test]
    fn a_kek_unwraps_only_for_its_owner_and_generation() {
        let mkek = Mkek::generate(SystemId::from_bytes([1; 16]));
        let root = KekOwner::Domain(DomainId::ROOT);
        let wrapped = mkek.wrap_kek(root, &Kek::generate(4));
        assert!(mkek.unwrap_kek(root, 4, &wrapped).is_ok());
        assert!(mkek.unwrap_kek(root, 5, &wrapped).is_err());
        assert!(mkek.unwrap_kek(KekOwner::Local, 4, &wrapped).is_err());
    }
}
