//! Fuzzes what lies at a destination besides archives: names of objects, signed notes, reports of drills.

#![no_main]

use libfuzzer_sys::fuzz_target;

use keyark_archive::Anchor;
use keyark_backup::drill::SignedReport;
use keyark_backup::stream::{Note, StreamObject};

fuzz_target!(|bytes: &[u8]| {
    let _ = Note::parse(bytes);
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let _ = StreamObject::parse(text);
    if let Ok(report) = serde_json::from_str::<SignedReport>(text) {
        assert!(report.open(&Anchor::new(Vec::new())).is_none(), "nobody signed it");
    }
});
