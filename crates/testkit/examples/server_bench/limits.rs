//! What this machine can do at most, measured beside the server: one fsync, one seal.

use std::fs::File;
use std::io::Write as _;
use std::path::Path;
use std::time::Instant;

use keyark_crypto::aead::Gcm;
use keyark_crypto::random;

use crate::figures::{Outcome, median};

/// Appending 4 KiB and bringing them to disk, in ms; the median of a hundred.
pub fn fsync(folder: &Path) -> Outcome<f64> {
    let mut file = File::create(folder.join("fsync"))?;
    let page = random::bytes::<4096>();
    let mut waits = Vec::new();
    for _ in 0..100 {
        let at = Instant::now();
        file.write_all(&page)?;
        file.sync_data()?;
        waits.push(at.elapsed().as_secs_f64() * 1e3);
    }
    Ok(median(waits))
}

/// Sealing 32 bytes by AES-256-GCM under a scheduled key, in µs.
pub fn seal() -> f64 {
    const SEALS: u64 = 200_000;
    let gcm = Gcm::new(&random::secret());
    let mut buffer = Vec::with_capacity(64);
    let at = Instant::now();
    for n in 0..SEALS {
        let mut nonce = [0; 12];
        nonce[..8].copy_from_slice(&n.to_be_bytes());
        buffer.clear();
        buffer.extend_from_slice(&[7; 32]);
        gcm.seal(nonce, &[], &mut buffer);
        std::hint::black_box(&buffer);
    }
    at.elapsed().as_secs_f64() * 1e6 / SEALS as f64
}
