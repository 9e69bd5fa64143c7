//! Keys kept open for cryptography: a bounded cache of raw material, and the count of encryptions (rules C2).

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use keyark_api::ErrorCode;
use keyark_crypto::SecretBytes;
use keyark_crypto::algorithm::{Hash, KeyBody, Material, WrapMethod, symmetric, wrapping};
use keyark_model::key::{Algorithm, KeyHeader, KeySpec, Operation, VersionHeader};
use keyark_model::system::CounterHeader;
use keyark_model::{DomainId, Id, Time};
use quick_cache::sync::Cache;

use super::key_find;
use crate::app::core::Core;
use crate::app::error::{AppError, Result};
use crate::app::records::Stored;

/// One version of a customer's key encrypts at most this often under random nonces (SP 800-38D).
pub const ENCRYPTIONS_PER_VERSION: u64 = 1 << 31;
/// How many encryptions are reserved durably at once: few for a key that is used rarely, more each time. A restart
/// loses what was reserved and not used.
const RESERVE_FIRST: u64 = 1 << 12;
const RESERVE_MOST: u64 = 1 << 24;

/// Microseconds between two notes of a version's last use.
const NOTE_EVERY: i64 = 86_400_000_000;

/// A key with its material in memory.
pub struct OpenKey {
    pub id: Id,
    pub header: KeyHeader,
    versions: Vec<OpenVersion>,
}

struct OpenVersion {
    number: u32,
    material: Option<Material>,
    used: AtomicU64,
    reserved: AtomicU64,
    last_used: AtomicI64,
    /// The last use that is, or is about to be, on disk.
    noted: AtomicI64,
}

/// The bounded cache of open keys.
pub struct KeyCache {
    open: Cache<(DomainId, Id), Arc<OpenKey>>,
    /// Grows with every change of any key: whoever read a record before must not keep it after.
    changes: AtomicU64,
    /// Versions whose use is to be noted on disk.
    pub(super) to_note: Mutex<Vec<Use>>,
}

/// The last use of one version.
pub(super) struct Use {
    pub domain: DomainId,
    pub id: Id,
    pub version: u32,
    pub at: Time,
}

impl KeyCache {
    pub fn new(capacity: usize) -> KeyCache {
        KeyCache { open: Cache::new(capacity), changes: AtomicU64::new(0), to_note: Mutex::default() }
    }

    /// A key changed: the next use reads it anew.
    pub fn forget(&self, domain: DomainId, id: Id) {
        self.changes.fetch_add(1, Ordering::AcqRel);
        self.open.remove(&(domain, id));
    }

    /// How many keys are open.
    pub fn held(&self) -> u64 {
        self.open.len() as u64
    }

    /// When a version was last used, as far as memory knows.
    pub fn last_used(&self, domain: DomainId, id: Id, version: u32) -> Option<Time> {
        let key = self.open.peek(&(domain, id))?;
        let at = key.versions.iter().find(|v| v.number == version)?.last_used.load(Ordering::Relaxed);
        (at > 0).then_some(Time(at))
    }

    /// Takes note of a use, once a day: it goes to the disk within a minute.
    fn used(&self, domain: DomainId, key: &OpenKey, open: &OpenVersion, at: Time) {
        open.last_used.store(at.0, Ordering::Relaxed);
        if at.0 - open.noted.load(Ordering::Relaxed) > NOTE_EVERY && open.noted.swap(at.0, Ordering::Relaxed) != at.0 {
            let noted = Use { domain, id: key.id, version: open.number, at };
            self.to_note.lock().expect("no panic while held").push(noted);
        }
    }

    /// Takes note of every use that the disk does not know, however recent: the server stops.
    pub(super) fn note_all(&self) {
        let mut to_note = self.to_note.lock().expect("no panic while held");
        for ((domain, id), key) in self.open.iter() {
            for v in &key.versions {
                let at = v.last_used.load(Ordering::Relaxed);
                if at > v.noted.swap(at, Ordering::Relaxed) {
                    to_note.push(Use { domain, id, version: v.number, at: Time(at) });
                }
            }
        }
    }
}

impl OpenKey {
    fn version(&self, wanted: Option<i64>) -> Result<(&VersionHeader, &OpenVersion)> {
        let header = super::version_of(&self.header, wanted)?;
        let open = self.versions.iter().find(|v| v.number == header.version);
        Ok((header, open.ok_or_else(|| AppError::internal("a version without its place in memory"))?))
    }
}

/// What key_encrypt made.
pub struct KeyCiphertext {
    pub key: Id,
    pub version: u64,
    pub nonce: Vec<u8>,
    /// With the tag at its end.
    pub ciphertext: Vec<u8>,
}

impl Core {
    /// A key by id, name or alias with its material, from the cache or opened now.
    pub fn key_open(&self, domain: DomainId, text: &str, kind: Option<&str>) -> Result<Arc<OpenKey>> {
        if matches!(kind, None | Some("id"))
            && let Ok(id) = text.parse::<Id>()
            && let Some(found) = self.keys.open.get(&(domain, id))
        {
            return Ok(found);
        }
        let before = self.keys.changes.load(Ordering::Acquire);
        let stored = key_find(self, domain, text, kind)?;
        if let Some(found) = self.keys.open.get(&(domain, stored.id())) {
            return Ok(found);
        }
        let open = Arc::new(self.key_read(&stored)?);
        self.keys.open.insert((domain, stored.id()), open.clone());
        if self.keys.changes.load(Ordering::Acquire) != before {
            self.keys.open.remove(&(domain, stored.id()));
        }
        Ok(open)
    }

    fn key_read(&self, stored: &Stored<KeyHeader>) -> Result<OpenKey> {
        let body = self.open_body(stored)?;
        let counter =
            self.load::<CounterHeader>(stored.record.domain, stored.id()).map(|c| c.header).unwrap_or_default();
        let versions = stored.header.versions.iter().map(|v| {
            let reserved = counter.reserved.get(&v.version).copied().unwrap_or(0);
            let last_used = counter.last_used.get(&v.version).map_or(0, |at| at.0);
            Ok(OpenVersion {
                number: v.version,
                material: KeyBody::decode_one(stored.header.spec, &body, v.version)?,
                // What was reserved before counts as used: how much of it was, is not known any more.
                used: AtomicU64::new(reserved),
                reserved: AtomicU64::new(reserved),
                last_used: AtomicI64::new(last_used),
                noted: AtomicI64::new(last_used),
            })
        });
        Ok(OpenKey { id: stored.id(), versions: versions.collect::<Result<_>>()?, header: stored.header.clone() })
    }

    /// The material of a version for an operation, after state, dates, usage mask and limits were asked.
    pub fn key_material<'k>(
        &self,
        domain: DomainId,
        key: &'k OpenKey,
        version: Option<i64>,
        operation: Operation,
        now: Time,
    ) -> Result<(u32, &'k Material)> {
        let (header, open) = key.version(version)?;
        if key.header.deletion_date.is_some() {
            return Err(AppError::new(ErrorCode::KeyState, "the key's deletion is scheduled; undelete it first"));
        }
        if !key.header.usage_mask.allows(operation) {
            return Err(AppError::new(
                ErrorCode::KeyState,
                format!("the key's usageMask does not allow {operation}; it allows {}", key.header.usage_mask),
            ));
        }
        header.permit(now, operation).map_err(|e| AppError::new(ErrorCode::KeyState, e.to_string()))?;
        let material = open.material.as_ref().ok_or_else(|| {
            AppError::new(ErrorCode::KeyState, "the material of this version was destroyed; restore it from a backup")
        })?;
        if counted(material, operation) {
            self.key_count(domain, key, open)?;
        }
        self.keys.used(domain, key, open, now);
        Ok((header.version, material))
    }

    /// Counts one encryption; reserves more when the reservation is used up.
    fn key_count(&self, domain: DomainId, key: &OpenKey, open: &OpenVersion) -> Result<()> {
        loop {
            let mine = open.used.fetch_add(1, Ordering::Relaxed);
            if mine < open.reserved.load(Ordering::Acquire) {
                return Ok(());
            }
            open.used.fetch_sub(1, Ordering::Relaxed);
            let _one_at_a_time = self.counting.lock().expect("no panic while held");
            let reserved = open.reserved.load(Ordering::Acquire);
            if open.used.load(Ordering::Relaxed) < reserved {
                continue;
            }
            let step = reserved.clamp(RESERVE_FIRST, RESERVE_MOST);
            if reserved + step > ENCRYPTIONS_PER_VERSION {
                return Err(AppError::new(
                    ErrorCode::UsageLimit,
                    "this key version has made 2^31 encryptions; rotate the key and encrypt with its new version",
                ));
            }
            let (revision, mut header) = self.counter(domain, key.id)?;
            // Another open copy of the key (dropped from the cache since) may have reserved more.
            let from = header.reserved.get(&open.number).copied().unwrap_or(0).max(reserved);
            header.reserved.insert(open.number, from + step);
            let now = self.store.head().time;
            let write = self.put(domain, key.id, revision + 1, &header, b"")?;
            self.commit_as_system(now, domain, "key_reserve", vec![], vec![write])?;
            open.used.fetch_max(from, Ordering::AcqRel);
            open.reserved.store(from + step, Ordering::Release);
        }
    }

    /// Encrypts with a named key, for what is stored under customers' keys (secrets).
    pub fn key_encrypt(
        &self,
        domain: DomainId,
        key: &str,
        aad: &[u8],
        plaintext: &[u8],
        now: Time,
    ) -> Result<KeyCiphertext> {
        let open = self.key_open(domain, key, None)?;
        let (version, material) = self.key_material(domain, &open, None, Operation::Encrypt, now)?;
        let mut nonces = symmetric::NoncePool::new(1);
        let nonce = nonces.take();
        let sealed = symmetric::Cipher::new(material)?.encrypt(nonce, aad, plaintext)?;
        let (nonce, ciphertext) = sealed.split_at(nonce.len());
        Ok(KeyCiphertext {
            key: open.id,
            version: u64::from(version),
            nonce: nonce.to_vec(),
            ciphertext: ciphertext.to_vec(),
        })
    }

    /// Opens what `key_encrypt` made.
    pub fn key_decrypt(&self, domain: DomainId, made: &KeyCiphertext, aad: &[u8], now: Time) -> Result<SecretBytes> {
        let open = self.key_open(domain, &made.key.to_string(), Some("id")).map_err(|e| match e.code {
            ErrorCode::NotFound => AppError::conflict(format!(
                "the key {} that encrypts this secret is not here; restore it first",
                made.key
            )),
            _ => e,
        })?;
        let version = i64::try_from(made.version).map_err(AppError::internal)?;
        let (_, material) = self.key_material(domain, &open, Some(version), Operation::Decrypt, now)?;
        Ok(symmetric::Cipher::new(material)?.decrypt(aad, &[made.nonce.as_slice(), &made.ciphertext].concat())?)
    }

    /// Wraps material with a key: AES-KWP, or RSA-OAEP with SHA-256.
    pub fn key_wrap(
        &self,
        key: &Stored<KeyHeader>,
        version: Option<i64>,
        material: &[u8],
        now: Time,
    ) -> Result<Vec<u8>> {
        let open = self.key_open(key.record.domain, &key.id().to_string(), Some("id"))?;
        let (_, with) = self.key_material(key.record.domain, &open, version, Operation::Wrap, now)?;
        Ok(wrapping::wrap(with, wrap_method(with), material)?)
    }

    /// Opens what `key_wrap` made.
    pub fn key_unwrap(
        &self,
        key: &Stored<KeyHeader>,
        version: Option<i64>,
        wrapped: &[u8],
        now: Time,
    ) -> Result<SecretBytes> {
        let open = self.key_open(key.record.domain, &key.id().to_string(), Some("id"))?;
        let (_, with) = self.key_material(key.record.domain, &open, version, Operation::Unwrap, now)?;
        Ok(wrapping::unwrap(with, wrap_method(with), wrapped)?)
    }
}

/// The one wrapping method on offer for a kind of key.
pub fn wrap_method(key: &Material) -> WrapMethod {
    if key.spec().algorithm() == Algorithm::Rsa { WrapMethod::RsaOaep(Hash::Sha256) } else { WrapMethod::AesKwp }
}

/// Only what draws a random nonce under the key is limited.
fn counted(material: &Material, operation: Operation) -> bool {
    matches!(operation, Operation::Encrypt | Operation::DataKey) && is_counted(material.spec())
}

/// Whether such a key encrypts under random nonces.
pub(super) fn is_counted(spec: KeySpec) -> bool {
    matches!(spec.algorithm(), Algorithm::Aes | Algorithm::ChaCha20Poly1305)
}
