//! HKDF-SHA-256 (RFC 5869).

use aws_lc_rs::hkdf::{HKDF_SHA256, KeyType, Salt};

use crate::Secret;

struct Length(usize);

impl KeyType for Length {
    fn len(&self) -> usize {
        self.0
    }
}

/// `N` bytes (at most 8160) derived from `key` with an empty salt for the purpose `info` (its parts are concatenated).
pub fn hkdf<const N: usize>(key: &[u8], info: &[&[u8]]) -> Secret<[u8; N]>
where
    [u8; N]: zeroize::Zeroize,
{
    hkdf_salted(&[], key, info)
}

/// The same with a salt.
pub fn hkdf_salted<const N: usize>(salt: &[u8], key: &[u8], info: &[&[u8]]) -> Secret<[u8; N]>
where
    [u8; N]: zeroize::Zeroize,
{
    let mut out = Secret::new([0; N]);
    Salt::new(HKDF_SHA256, salt)
        .extract(key)
        .expand(info, Length(N))
        .and_then(|okm| okm.fill(out.expose_mut()))
        .expect("N is at most 255 hash lengths");
    out
}

/// HKDF(key, "keyark/fp"): names a key, and shows nothing else of it (rules C3).
pub fn fingerprint(key: &[u8]) -> keyark_model::Digest {
    keyark_model::Digest(*hkdf::<32>(key, &[b"keyark/fp"]).expose())
}

#[cfg(test)]
mod tests {
    use keyark_model::key::{Algorithm, KeySpec};

    use crate::algorithm::Material;
    use crate::hash::hmac_sha256;

    /// HKDF (RFC 5869) spelled out with HMAC alone: extract with a salt of zeros, expand to one block.
    fn spelled_out(key: &[u8]) -> String {
        let pseudorandom = hmac_sha256(&[0; 32], &[key]);
        hmac_sha256(&pseudorandom.0, &[b"keyark/fp", b"\x01"]).to_string()
    }

    #[test]
    fn fingerprints_are_outputs_of_hkdf() {
        let spec = KeySpec::new(Algorithm::Aes, Some(256), None).unwrap();
        let key = Material::import(spec, crate::algorithm::Format::Raw, &[7; 32]).unwrap();
        assert_eq!(key.fingerprint().to_string(), spelled_out(&[7; 32]));
        assert_eq!(crate::root::fingerprint(&crate::Secret::new([9; 32])), spelled_out(&[9; 32]));
    }
}
