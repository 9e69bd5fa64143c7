//! Wrapping keys with keys: AES-KWP (RFC 5649) under a key derived for the purpose (rules C3).

use aws_lc_rs::key_wrap::{AES_256, AesKek, KeyWrapPadded};

use crate::{CryptoError, Key256, Secret, SecretBytes, kdf};

/// What a wrapping key is for; every field goes into its derivation.
#[derive(Clone, Copy, Debug)]
pub struct Purpose<'a> {
    /// Such as "kek" or "archive-dek".
    pub name: &'a str,
    /// The 16 bytes of the system's or archive's id.
    pub context: &'a [u8; 16],
    /// The 16 bytes of the domain's id, zeros for the system.
    pub domain: &'a [u8; 16],
    /// The generation of the wrapped key.
    pub generation: u64,
}

impl Purpose<'_> {
    fn derive(&self, parent: &Key256) -> Secret<[u8; 32]> {
        let length = (self.name.len() as u8).to_be_bytes();
        let generation = self.generation.to_be_bytes();
        kdf::hkdf(
            parent.expose(),
            &[b"keyark/wrap/1", &length, self.name.as_bytes(), self.context, self.domain, &generation],
        )
    }
}

/// Wraps `material` under a key derived from `parent` for `purpose`.
pub fn wrap(parent: &Key256, purpose: &Purpose<'_>, material: &[u8]) -> Vec<u8> {
    let kek = purpose.derive(parent);
    kwp_wrap(kek.expose(), material).expect("a derived key has 32 bytes and material is never empty")
}

/// Opens what `wrap` made; fails for another parent, another purpose or altered bytes.
pub fn unwrap(parent: &Key256, purpose: &Purpose<'_>, wrapped: &[u8]) -> Result<SecretBytes, CryptoError> {
    let kek = purpose.derive(parent);
    kwp_unwrap(kek.expose(), wrapped)
}

/// AES-256-KWP as such (RFC 5649).
pub fn kwp_wrap(kek: &[u8; 32], material: &[u8]) -> Result<Vec<u8>, CryptoError> {
    let mut out = vec![0; material.len().next_multiple_of(8) + 8];
    let length = AesKek::new(&AES_256, kek)
        .and_then(|k| k.wrap_with_padding(material, &mut out).map(|o| o.len()))
        .map_err(|_| CryptoError)?;
    out.truncate(length);
    Ok(out)
}

/// Opens AES-256-KWP.
pub fn kwp_unwrap(kek: &[u8; 32], wrapped: &[u8]) -> Result<SecretBytes, CryptoError> {
    if wrapped.len() < 16 {
        return Err(CryptoError);
    }
    let mut out = SecretBytes::new(vec![0; wrapped.len()]);
    let length = AesKek::new(&AES_256, kek)
        .and_then(|k| k.unwrap_with_padding(wrapped, out.expose_mut()).map(|o| o.len()))
        .map_err(|_| CryptoError)?;
    out.expose_mut().truncate(length);
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::{Purpose, kwp_unwrap, kwp_wrap, unwrap, wrap};
    use crate::random;

    #[test]
    fn a_wrap_opens_only_for_its_purpose() {
        let parent = random::secret::<32>();
        let p = Purpose { name: "kek", context: &[1; 16], domain: &[2; 16], generation: 7 };
        let wrapped = wrap(&parent, &p, b"twenty bytes of keys");
        assert_eq!(unwrap(&parent, &p, &wrapped).unwrap().expose(), b"twenty bytes of keys");
        for other in [
            Purpose { name: "dek", ..p },
            Purpose { context: &[3; 16], ..p },
            Purpose { domain: &[3; 16], ..p },
            Purpose { generation: 8, ..p },
        ] {
            assert!(unwrap(&parent, &other, &wrapped).is_err());
        }
        assert!(unwrap(&random::secret::<32>(), &p, &wrapped).is_err());
    }

    #[test]
    fn every_length_and_every_flipped_bit() {
        for n in 1..40 {
            let wrapped = kwp_wrap(&[9; 32], &vec![5; n]).unwrap();
            assert_eq!(kwp_unwrap(&[9; 32], &wrapped).unwrap().expose(), &vec![5; n]);
            for bit in 0..wrapped.len() * 8 {
                let mut bad = wrapped.clone();
                bad[bit / 8] ^= 1 << (bit % 8);
                assert!(kwp_unwrap(&[9; 32], &bad).is_err());
            }
        }
    }
}
