//! Fuzzes a whole file taken for an archive, as an upload is, and its body under the key of the golden ones.

#![no_main]

use libfuzzer_sys::fuzz_target;

use keyark_archive::{Anchor, Archive};
use keyark_crypto::Key256;

fuzz_target!(|bytes: &[u8]| {
    let Ok(archive) = Archive::open(&bytes) else { return };
    let _ = archive.inspect(None);
    let _ = archive.verify(&Anchor::new(vec![]));
    let _ = archive.unlock_with_dek(&Key256::new([0; 32])).map(|opened| opened.verify_full(|_| {}));
});
