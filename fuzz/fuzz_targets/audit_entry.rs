//! Fuzzes an audit entry of an archive: what is read is written again as it was.

#![no_main]

use libfuzzer_sys::fuzz_target;

use keyark_archive::StoredEntry;
use keyark_backup::history::{decode, encode};
use keyark_model::{DomainId, Time};

fuzz_target!(|bytes: &[u8]| {
    let stored = StoredEntry { seq: 1, domain: DomainId::ROOT, time: Time(1), bytes: bytes.into() };
    if let Ok(entry) = decode(&stored) {
        let again = StoredEntry { bytes: encode(&entry).into(), ..stored };
        assert_eq!(decode(&again).ok(), Some(entry));
    }
});
