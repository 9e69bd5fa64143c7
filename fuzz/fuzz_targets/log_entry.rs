//! Fuzzes an entry of the log: only its one deterministic form is taken.

#![no_main]

use libfuzzer_sys::fuzz_target;

use keyark_model::Entry;

fuzz_target!(|bytes: &[u8]| {
    if let Ok((entry, scope)) = Entry::decode(bytes) {
        assert_eq!(entry.encode(scope), bytes);
    }
});
