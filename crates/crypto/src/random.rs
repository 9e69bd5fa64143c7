//! Cryptographic randomness: the only source in the product.

use crate::Secret;

/// Fills a buffer from the library's DRBG.
pub fn fill(buffer: &mut [u8]) {
    aws_lc_rs::rand::fill(buffer).expect("the DRBG of aws-lc aborts rather than fail");
}

/// `N` fresh random bytes that need not be kept secret (nonces, salts, ids).
pub fn bytes<const N: usize>() -> [u8; N] {
    let mut out = [0; N];
    fill(&mut out);
    out
}

/// A fresh secret of `N` bytes.
pub fn secret<const N: usize>() -> Secret<[u8; N]>
where
    [u8; N]: zeroize::Zeroize,
{
    let mut out = Secret::new([0; N]);
    fill(out.expose_mut());
    out
}

/// A time-ordered UUID (version 7) for a moment: 48 bits of milliseconds, 74 random bits.
pub fn uuid_v7(at: keyark_model::Time) -> uuid::Uuid {
    let millis = at.0.div_euclid(1000).max(0) as u64;
    uuid::Builder::from_unix_timestamp_millis(millis, &bytes::<10>()).into_uuid()
}

#[cfg(test)]
mod tests {
    use keyark_model::Time;

    use super::uuid_v7;

    #[test]
    fn record_ids_are_of_version_7_and_in_the_order_of_time() {
        let ids: Vec<_> = (0..100).map(|n| uuid_v7(Time(1_700_000_000_000_000 + n * 1000))).collect();
        assert!(ids.iter().all(|id| id.get_version_num() == 7));
        assert!(ids.is_sorted());
        assert_ne!(uuid_v7(Time(5)), uuid_v7(Time(5)));
    }
}
