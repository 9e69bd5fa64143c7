//! The keys that are derived from an archive's DEK, one per purpose.

use keyark_crypto::{Key256, SecretBytes, kdf, wrap};
use keyark_model::{ArchiveId, Digest, DomainId};

/// What the body's streaming AEAD is keyed with.
pub fn body_key(dek: &Key256) -> Key256 {
    kdf::hkdf(dek.expose(), &[b"keyark/archive/1/body"])
}

/// What the KEKs inside the body are wrapped with.
pub fn kek_key(dek: &Key256) -> Key256 {
    kdf::hkdf(dek.expose(), &[b"keyark/archive/1/kek"])
}

/// What commits the header to the DEK, because GCM commits to no key by itself; public.
pub fn commitment(dek: &Key256) -> Digest {
    Digest(*kdf::hkdf::<32>(dek.expose(), &[b"keyark/archive/1/commit"]).expose())
}

/// Whether `dek` is the one that the header is committed to; in constant time.
pub fn commits(dek: &Key256, declared: Digest) -> bool {
    kdf::hkdf::<32>(dek.expose(), &[b"keyark/archive/1/commit"]).eq_ct(&declared.0)
}

/// Wraps one KEK generation of `domain` for the archive.
pub fn kek_wrap(parent: &Key256, archive: ArchiveId, domain: DomainId, generation: u64, kek: &Key256) -> Vec<u8> {
    wrap::wrap(parent, &purpose(&archive, &domain, generation), kek.expose())
}

/// Opens what `kek_wrap` made.
pub fn kek_unwrap(
    parent: &Key256,
    archive: ArchiveId,
    domain: DomainId,
    generation: u64,
    wrapped: &[u8],
) -> Option<Key256> {
    let kek: SecretBytes = wrap::unwrap(parent, &purpose(&archive, &domain, generation), wrapped).ok()?;
    Key256::from_slice(kek.expose())
}

fn purpose<'a>(archive: &'a ArchiveId, domain: &'a DomainId, generation: u64) -> wrap::Purpose<'a> {
    wrap::Purpose { name: "kek", context: archive.as_bytes(), domain: domain.as_bytes(), generation }
}
