//! Fuzzes the index inside an archive.

#![no_main]

use libfuzzer_sys::fuzz_target;

use keyark_archive::index::{BlockType, Index};
use keyark_model::DomainId;

fuzz_target!(|bytes: &[u8]| {
    for ends in [bytes.len() as u64, 1000, u64::MAX] {
        if let Ok(index) = Index::parse(bytes, ends) {
            assert_eq!(Index::parse(&index.to_bytes(), ends).map(|i| i.to_bytes()).ok(), Some(index.to_bytes()));
            index.find(BlockType::Records, DomainId::ROOT, &[1; 17]);
        }
    }
});
