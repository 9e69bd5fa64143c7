//! Fuzzes the clear parts of an archive: header, footer, signature, anchor, lengths.

#![no_main]

use libfuzzer_sys::fuzz_target;

use keyark_archive::Anchor;
use keyark_archive::footer::Footer;
use keyark_archive::header::Header;
use keyark_archive::layout::Parts;
use keyark_archive::signature::Signature;

fuzz_target!(|bytes: &[u8]| {
    let _ = Header::parse(bytes);
    let _ = Footer::parse(bytes);
    let _ = Anchor::parse(bytes);
    let _ = Signature::parse(bytes);
    if let Some((front, rest)) = bytes.split_first_chunk()
        && let Some((back, _)) = rest.split_first_chunk()
    {
        let _ = Parts::parse(front, back, bytes.len() as u64);
    }
});
