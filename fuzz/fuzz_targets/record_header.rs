//! Fuzzes clear headers of records, as archives bring them.

#![no_main]

use libfuzzer_sys::fuzz_target;

use keyark_model::RecordFacts;
use keyark_model::key::KeyHeader;
use keyark_model::people::{GroupHeader, UserHeader};

fuzz_target!(|bytes: &[u8]| {
    let _ = RecordFacts::of_header(bytes);
    let _ = serde_json::from_slice::<KeyHeader>(bytes);
    let _ = serde_json::from_slice::<UserHeader>(bytes);
    let _ = serde_json::from_slice::<GroupHeader>(bytes);
    let _ = keyark_backup::people::user_arrives(bytes);
    let _ = keyark_backup::people::group_arrives(bytes, |_| true);
});
