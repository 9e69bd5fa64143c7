//! Fuzzes the items of an inflated block, of every type, and the inflating.

#![no_main]

use libfuzzer_sys::fuzz_target;

use keyark_archive::Counts;
use keyark_archive::block::Inflater;
use keyark_archive::index::{BlockPlace, BlockType};
use keyark_archive::items::count_items;
use keyark_model::{Digest, DomainId};

fuzz_target!(|bytes: &[u8]| {
    let Some((&[kind, count], raw)) = bytes.split_first_chunk() else { return };
    let types = [BlockType::Keks, BlockType::Records, BlockType::Tombstones, BlockType::Entries, BlockType::Audit];
    let kind = types[usize::from(kind) % types.len()];
    let key = if matches!(kind, BlockType::Records | BlockType::Tombstones) { 17 } else { 8 };
    let place = BlockPlace {
        kind,
        domain: DomainId::ROOT,
        offset: 0,
        length: 0,
        raw_length: 0,
        sha256: Digest::ZERO,
        count: u64::from(count),
        first: vec![0; key],
        last: vec![255; key],
        touches: vec![],
    };
    let _ = count_items(raw, 0, &place, &mut Counts::default(), |_| {});
    if let Ok(mut inflater) = Inflater::new() {
        let _ = inflater.inflate(raw, 4096, &mut Vec::new());
    }
});
