//! The hash chain of the change log: digests of changes, a domain's chain, the system's chain (rules A1).

use keyark_model::{Change, ChangeContent, Digest, DomainId, Entry, Id, Kind};
use minicbor::Encoder;

use crate::hash::{Sha256, sha256};

const DOMAIN_CONTEXT: &[u8] = b"keyark/entry/1\0";
const GLOBAL_CONTEXT: &[u8] = b"keyark/log/1\0";

/// The two hashes of an entry.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct EntryHashes {
    /// Over all fields but `seq` and `prev`; the next entry of the domain names it as `domain_prev`.
    pub domain: Digest,
    /// Over `seq`, `prev` and the domain hash; the next entry of the system names it as `prev`.
    pub global: Digest,
}

/// What a change is about: the first fields of its digest.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ChangeKey {
    pub kind: Kind,
    pub domain: DomainId,
    pub id: Id,
    pub revision: u64,
}

/// SHA-256(salt ‖ CBOR `[kind, domain, id, revision, header or null, body or null]`); `put` is (header, body).
pub fn change_digest(salt: &[u8; 16], key: &ChangeKey, put: Option<(&[u8], &[u8])>) -> Digest {
    // The byte strings are hashed where they stand; only their heads are encoded.
    let mut head = Vec::with_capacity(64);
    let mut e = Encoder::new(&mut head);
    (|| {
        e.array(6)?.encode(key.kind)?.encode(key.domain)?.encode(key.id)?.u64(key.revision)?;
        match put {
            Some((header, _)) => e.bytes_len(header.len() as u64)?,
            None => e.null()?.null()?,
        };
        Ok::<_, minicbor::encode::Error<std::convert::Infallible>>(())
    })()
    .expect("writing to a vector cannot fail");
    let mut hasher = Sha256::default();
    hasher.update(salt);
    hasher.update(&head);
    if let Some((header, body)) = put {
        hasher.update(header);
        head.clear();
        Encoder::new(&mut head).bytes_len(body.len() as u64).expect("writing to a vector cannot fail");
        hasher.update(&head);
        hasher.update(body);
    }
    hasher.finish()
}

/// Both hashes of an entry, from the digests that it states for its changes.
pub fn hash_entry(entry: &Entry) -> EntryHashes {
    let domain = domain_hash(entry);
    EntryHashes { domain, global: global_hash(entry.seq, &entry.prev, &domain) }
}

/// The hash in the system's chain.
pub fn global_hash(seq: u64, prev: &Digest, domain_hash: &Digest) -> Digest {
    let mut out = Vec::with_capacity(96);
    let mut e = Encoder::new(&mut out);
    e.array(3)
        .and_then(|e| e.u64(seq))
        .and_then(|e| e.encode(prev))
        .and_then(|e| e.encode(domain_hash))
        .expect("writing to a vector cannot fail");
    sha256(&[GLOBAL_CONTEXT, &out])
}

fn domain_hash(entry: &Entry) -> Digest {
    let mut out = Vec::with_capacity(256 + entry.changes.len() * 64);
    let mut e = Encoder::new(&mut out);
    (|| {
        e.array(11)?.encode(entry.incarnation)?.encode(entry.time)?.encode(entry.domain)?;
        e.u64(entry.domain_seq)?.encode(entry.domain_prev)?;
        e.str(&entry.actor)?.str(&entry.request_id)?.str(&entry.action)?.str(&entry.target)?;
        e.encode(entry.outcome)?.array(entry.changes.len() as u64)?;
        for change in &entry.changes {
            e.array(4)?.encode(change.kind)?.encode(change.id)?.u64(change.revision)?.encode(change.digest)?;
        }
        Ok::<_, minicbor::encode::Error<std::convert::Infallible>>(())
    })()
    .expect("writing to a vector cannot fail");
    sha256(&[DOMAIN_CONTEXT, &out])
}

/// Whether every change that is present has the digest that it states; names the first that has not.
pub fn check_changes(entry: &Entry) -> Result<(), BadChange> {
    match entry.changes.iter().position(|change| !change_is_true(entry.domain, change)) {
        Some(index) => Err(BadChange { seq: entry.domain_seq, index }),
        None => Ok(()),
    }
}

fn change_is_true(domain: DomainId, change: &Change) -> bool {
    let put = match &change.content {
        ChangeContent::Put { header, body } => Some((&**header, &**body)),
        ChangeContent::Delete => None,
        ChangeContent::Withheld => return true,
    };
    let key = ChangeKey { kind: change.kind, domain, id: change.id, revision: change.revision };
    change_digest(&change.salt, &key, put) == change.digest
}

/// The content of a change is not what its digest says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("change {index} of the domain's entry {seq} was altered: its content does not have the digest in the chain")]
pub struct BadChange {
    /// The domain's own sequence number.
    pub seq: u64,
    pub index: usize,
}
