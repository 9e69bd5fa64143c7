//! Every cut, every flipped bit and every exchange of parts is an error or a bad verdict, never a panic and never wrong data.

mod samples;

use keyark_archive::layout::{BACK, FRONT, MAGIC};
use keyark_archive::{Archive, ArchiveError, Verdict};
use samples::{Contents, Maker, assert_same, contents, domain, read_all};

fn small() -> Contents {
    let mut small = contents(1, 1);
    small.entries.push((domain(1), 8, vec![]));
    small.audit.push((domain(1), 3));
    small
}

#[test]
fn a_file_cut_anywhere_is_refused() {
    let maker = Maker::new();
    let (bytes, _) = maker.write(&small());
    for length in 0..bytes.len() {
        match Archive::open(&bytes[..length].to_vec()) {
            Err(ArchiveError::Truncated { .. } | ArchiveError::NotAnArchive) => {}
            Err(other) => panic!("cut at {length}: {other}"),
            Ok(_) => panic!("cut at {length}: opened"),
        }
    }
}

#[test]
fn every_flipped_bit_is_found() {
    let maker = Maker::new();
    let anchor = maker.anchor();
    let case = small();
    let (mut bytes, _) = maker.write(&case);
    for bit in 0..bytes.len() * 8 {
        bytes[bit / 8] ^= 1 << (bit % 8);
        if let Ok(archive) = Archive::open(&bytes) {
            let believed = matches!(archive.verify(&anchor), Ok(Verdict::SignedByPinned { .. }));
            assert!(!believed, "bit {} of byte {}", bit % 8, bit / 8);
            if let Ok(read) = read_all(&bytes, &maker.opening()) {
                assert_same(&read, &case);
            }
        }
        bytes[bit / 8] ^= 1 << (bit % 8);
    }
    assert_same(&read_all(&bytes, &maker.opening()).unwrap(), &case);
}

#[test]
fn bytes_before_or_after_are_refused() {
    let maker = Maker::new();
    let (bytes, _) = maker.write(&small());
    for extra in [&b"x"[..], b"\n", &MAGIC, &[0; 40]] {
        assert!(Archive::open(&[extra, &bytes].concat()).is_err());
        assert!(Archive::open(&[&bytes, extra].concat()).is_err());
    }
    assert!(Archive::open(&[&bytes[..], &bytes].concat()).is_err());
    assert!(matches!(
        Archive::open(&b"PK\x03\x04 something else, long enough to be a file".to_vec()),
        Err(ArchiveError::NotAnArchive)
    ));
}

/// Header, body, footer with its signature, of a file.
fn parts(bytes: &[u8]) -> [&[u8]; 3] {
    let number = |at: usize| u32::from_be_bytes(bytes[at..at + 4].try_into().unwrap()) as usize;
    let header_end = FRONT as usize + number(MAGIC.len());
    let back = bytes.len() - BACK as usize;
    let footer = back - number(back) - number(back + 4);
    [&bytes[..header_end], &bytes[header_end..footer], &bytes[footer..]]
}

#[test]
fn parts_exchanged_between_two_archives_of_one_system_are_found() {
    let maker = Maker::new();
    let anchor = maker.anchor();
    let case = small();
    // Two archives whose parts have equal lengths, by the same signer and backup key.
    let (a, _) = maker.write(&case);
    let mut b = maker.write(&case).0;
    while b.len() != a.len() || parts(&b).map(<[u8]>::len) != parts(&a).map(<[u8]>::len) {
        b = maker.write(&case).0;
    }
    let (pa, pb) = (parts(&a), parts(&b));
    for choice in 1..7u8 {
        let file: Vec<u8> = (0..3).flat_map(|i| if choice >> i & 1 == 0 { pa[i] } else { pb[i] }).copied().collect();
        let archive = Archive::open(&file).unwrap();
        let believed = matches!(archive.verify(&anchor), Ok(Verdict::SignedByPinned { .. }));
        assert!(!believed, "parts {choice:03b}");
        if let Ok(read) = read_all(&file, &maker.opening()) {
            assert_same(&read, &case);
        }
    }
}

#[test]
fn a_wrap_from_another_archive_does_not_open() {
    let maker = Maker::new();
    let case = small();
    let (a, b) = (maker.write(&case).0, maker.write(&case).0);
    let wrapped = |bytes: &Vec<u8>| {
        let text = serde_json::to_string(&Archive::open(bytes).unwrap().header().wraps[0].wrapped).unwrap();
        text.trim_matches('"').to_owned()
    };
    let (of_a, of_b) = (wrapped(&a), wrapped(&b));
    let at = a.windows(of_a.len()).position(|w| w == of_a.as_bytes()).unwrap();
    let mut swapped = a.clone();
    swapped[at..at + of_b.len()].copy_from_slice(of_b.as_bytes());
    let archive = Archive::open(&swapped).unwrap();
    assert!(matches!(archive.unlock(&maker.opening()).err().unwrap(), ArchiveError::WrongKey { .. }));
    assert!(matches!(archive.verify(&maker.anchor()).unwrap(), Verdict::Bad { .. }));
}

#[test]
fn a_damaged_segment_is_named_and_the_others_still_read() {
    let maker = Maker::new();
    let case = contents(1, 24_000);
    let (mut bytes, _) = maker.write(&case);
    let body = parts(&bytes)[0].len();
    bytes[body + (1 << 20) + 5] ^= 1;
    let archive = Archive::open(&bytes).unwrap();
    assert!(matches!(archive.verify(&maker.anchor()), Err(ArchiveError::BodyReplaced)));
    let unlocked = archive.unlock(&maker.opening()).unwrap();
    let error = unlocked.verify_full(|_| {}).unwrap_err();
    assert!(matches!(error, ArchiveError::BodyDamaged { segment: 1 }), "{error}");
    let mut records = unlocked.records().unwrap();
    let before = records.by_ref().take_while(Result::is_ok).count();
    assert!(before > 1000 && records.next().is_none(), "an iterator ends after its error");
    let first = &case.records[0];
    assert_eq!(unlocked.record(first.domain, first.kind, first.id).unwrap().as_ref(), Some(first));
}
