//! What is written is read back: byte for byte, in order, alone or all, with only the reads it needs.

mod samples;

use keyark_archive::{Archive, Counting, FactorKind, OpeningKey, Verdict, Wrap, Writer};
use keyark_archive::{ArchiveError, Closing, Door, EntryRef, Factor, Header, RecordRef};
use keyark_crypto::{random, stream::SEGMENT};
use keyark_model::{Id, Kind};
use samples::{Contents, KEY_ID, Maker, NOW, assert_same, contents, domain, read_all, record, uuid};

#[test]
fn archives_of_every_size_come_back_whole() {
    let maker = Maker::new();
    let mut cases = vec![Contents::default()];
    cases.push(Contents { records: vec![record(domain(1), Kind::Key, 1)], ..Contents::default() });
    cases.extend([contents(1, 1), contents(3, 0), contents(5, 40), contents(2, 9_000)]);
    for case in cases {
        let (bytes, summary) = maker.write(&case);
        assert_eq!(summary.length, bytes.len() as u64);
        assert_eq!(summary.sha256, keyark_crypto::hash::sha256(&[&bytes]));
        assert_eq!(summary.counts.records.values().sum::<u64>(), case.records.len() as u64);
        assert_same(&read_all(&bytes, &maker.opening()).unwrap(), &case);
        let archive = Archive::open(&bytes).unwrap();
        assert!(matches!(archive.verify(&maker.anchor()).unwrap(), Verdict::SignedByPinned { .. }));
        assert!(matches!(archive.verify(&Maker::new().anchor()).unwrap(), Verdict::UnknownSigner { .. }));
    }
}

#[test]
fn one_record_out_of_many_reads_only_what_covers_it() {
    let maker = Maker::new();
    let case = contents(4, 9_000);
    let (bytes, _) = maker.write(&case);
    assert!(bytes.len() > 3 * SEGMENT, "{} bytes are too few for the test", bytes.len());
    let source = Counting::new(&bytes);
    let archive = Archive::open(&source).unwrap();
    let (_, opening) = source.take();
    assert!(opening < 4096, "{opening} bytes for both ends");
    let unlocked = archive.unlock(&maker.opening()).unwrap();
    let index = &archive.footer().index;
    let index_segments = covering(&archive, index.offset.0, index.length.0);
    let (_, for_index) = source.take();
    assert_eq!(for_index, index_segments + 40);
    for wanted in case.records.iter().step_by(1777) {
        let unlocked = archive.unlock(&maker.opening()).unwrap();
        source.take();
        let found = unlocked.record(wanted.domain, wanted.kind, wanted.id).unwrap();
        assert_eq!(found.as_ref(), Some(wanted));
        let place = unlocked.index().blocks.iter().find(|b| {
            let key = keyark_archive::index::record_key(wanted.kind, wanted.id);
            b.kind == keyark_archive::index::BlockType::Records
                && b.domain == wanted.domain
                && b.first[..] <= key[..]
                && key[..] <= b.last[..]
        });
        let place = place.unwrap();
        let (_, read) = source.take();
        assert!(read <= covering(&archive, place.offset, place.length), "{read} bytes for one record");
    }
    let kek = unlocked.kek(domain(3), 2).unwrap().unwrap();
    assert_eq!(kek.expose(), &[103; 32]);
    assert!(unlocked.kek(domain(3), 3).unwrap().is_none());
    assert!(unlocked.record(domain(9), Kind::Key, Id(uuid(1))).unwrap().is_none());
    assert!(unlocked.record(domain(2), Kind::Key, Id(uuid(1))).unwrap().is_none());
    assert!(unlocked.record(domain(2), Kind::Key, Id(uuid(u128::MAX))).unwrap().is_none());
}

/// Stored bytes of the segments that cover a range of the plaintext.
fn covering<S: keyark_archive::ReadAt>(archive: &Archive<S>, offset: u64, length: u64) -> u64 {
    let layout = keyark_crypto::stream::Layout::of_stored(archive.footer().body_length.0).unwrap();
    let numbers = layout.number_of(offset)..=layout.number_of(offset + length - 1);
    numbers.map(|n| layout.segment(n).length as u64).sum()
}

#[test]
fn entries_of_many_domains_come_back_in_log_order() {
    let maker = Maker::new();
    let mut case = Contents::default();
    for seq in 1..=20_000u64 {
        let touched = (Kind::Key, Id(uuid(u128::from(seq % 900))));
        case.entries.push((domain(u128::from(seq * seq % 7) + 1), seq * 3, vec![touched]));
    }
    case.audit = (1..500).map(|seq| (domain(u128::from(seq % 3) + 1), seq)).collect();
    let (bytes, summary) = maker.write(&case);
    assert_eq!((summary.counts.entries, summary.counts.audit), (20_000, 499));
    assert_same(&read_all(&bytes, &maker.opening()).unwrap(), &case);

    let archive = Archive::open(&bytes).unwrap();
    let unlocked = archive.unlock(&maker.opening()).unwrap();
    let (d, _, touched) = &case.entries[0];
    let near: Vec<u64> =
        unlocked.entries_near(*d, [&(Kind::Key, touched[0].1)]).unwrap().map(|e| e.unwrap().seq).collect();
    let wanted = case.entries.iter().filter(|e| e.0 == *d && e.2 == *touched);
    wanted.for_each(|e| assert!(near.contains(&e.1), "entry {} is missing", e.1));
    assert_eq!(unlocked.entries_near(domain(8), [&(Kind::Key, touched[0].1)]).unwrap().count(), 0);
    assert_eq!(unlocked.entries_near(*d, [&(Kind::User, touched[0].1)]).unwrap().count(), 0);
}

#[test]
fn what_comes_out_of_order_or_of_another_domain_is_not_written() {
    let maker = Maker::new();
    let dek = random::secret();
    let mut writer = Writer::new(Vec::new(), maker.header(&dek, |h| h.of_domain(domain(1))), &dek).unwrap();
    let (a, b) = (record(domain(1), Kind::Key, 1), record(domain(1), Kind::Key, 2));
    writer.record(&RecordRef::of(&b)).unwrap();
    for wrong in [&a, &b] {
        assert!(matches!(writer.record(&RecordRef::of(wrong)), Err(ArchiveError::OutOfOrder { .. })));
    }
    assert!(matches!(writer.kek(domain(1), 1, &dek), Err(ArchiveError::OutOfOrder { .. })));
    let other = record(domain(2), Kind::Key, 3);
    assert!(matches!(writer.record(&RecordRef::of(&other)), Err(ArchiveError::OtherDomain { .. })));
    let entry = |seq| EntryRef { seq, domain: domain(1), time: NOW, bytes: b"e" };
    writer.entry(&entry(5), &[]).unwrap();
    assert!(matches!(writer.entry(&entry(5), &[]), Err(ArchiveError::OutOfOrder { .. })));
    assert!(matches!(writer.record(&RecordRef::of(&a)), Err(ArchiveError::OutOfOrder { .. })));
    let huge = vec![0; 17 << 20];
    let huge = EntryRef { bytes: &huge, ..entry(6) };
    assert!(matches!(writer.entry(&huge, &[]), Err(ArchiveError::TooLarge { .. })));
    writer.audit_entry(&entry(1)).unwrap();
    assert!(matches!(writer.entry(&entry(9), &[]), Err(ArchiveError::OutOfOrder { .. })));
    let (bytes, summary) = writer.finish(&Closing::default(), &maker.signer).unwrap();
    assert_eq!((summary.counts.entries, summary.counts.audit), (1, 1));
    assert!(Archive::open(&bytes).unwrap().unlock(&maker.opening()).is_ok());
}

#[test]
fn a_failing_sink_is_reported_not_swallowed() {
    struct Full(usize);
    impl std::io::Write for Full {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0 = self.0.checked_sub(bytes.len()).ok_or(std::io::ErrorKind::StorageFull)?;
            Ok(bytes.len())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    let maker = Maker::new();
    let dek = random::secret();
    let case = contents(1, 40_000);
    let mut writer = Writer::new(Full(2 * SEGMENT), maker.header(&dek, |h| h), &dek).unwrap();
    let failed = case.records.iter().find_map(|r| writer.record(&RecordRef::of(r)).err());
    let error = failed.or_else(|| writer.finish(&Closing::default(), &maker.signer).err()).unwrap();
    assert!(matches!(error, ArchiveError::Io(e) if e.kind() == std::io::ErrorKind::StorageFull));
}

#[test]
fn hidden_descriptions_and_counts_are_inside_only() {
    let maker = Maker::new();
    let case = contents(1, 3);
    let describe = |hidden| move |h: Header| Header { description: Some("for the auditors".into()), hidden, ..h };
    for hidden in [false, true] {
        let (bytes, _) = maker.write_with(&case, describe(hidden));
        let clear = bytes.windows(16).any(|w| w == b"for the auditors");
        assert_eq!(clear, !hidden);
        let archive = Archive::open(&bytes).unwrap();
        let shown = archive.inspect(Some(&maker.anchor()));
        assert_eq!(shown.counts.is_none(), hidden);
        assert_eq!(shown.verdict, "signed");
        let unlocked = archive.unlock(&maker.opening()).unwrap();
        assert_eq!(unlocked.description(), "for the auditors");
        unlocked.verify_full(|_| {}).unwrap();
    }
}

#[test]
fn inspect_gives_the_fields_of_the_reference_without_a_key() {
    let maker = Maker::new();
    let (bytes, summary) = maker.write_with(&contents(1, 3), |h| h.of_domain(domain(1)));
    let shown = serde_json::to_value(Archive::open(&bytes).unwrap().inspect(None)).unwrap();
    for (name, value) in [
        ("version", "1".to_owned()),
        ("scope", "domain".into()),
        ("domainID", domain(1).to_string()),
        ("backupKeyId", KEY_ID.into()),
        ("creatorAccount", "local|tester".into()),
        ("description", String::new()),
        ("checksum", summary.body_sha256.to_string()),
        ("mkekChecksum", String::new()),
        ("createdAt", "2026-02-02T02:40:00.000000000Z".into()),
        ("size", bytes.len().to_string()),
        ("verdict", "claimed".into()),
    ] {
        assert_eq!(shown[name], value, "{name}");
    }
    assert_eq!((&shown["isEncrypted"], &shown["isHSMBacked"]), (&true.into(), &false.into()));
    assert_eq!(shown["counts"]["keys"], "3");
    assert!(shown["productVersion"].is_string() && shown["id"].is_string());
}

#[test]
fn the_key_that_is_missing_is_named() {
    let maker = Maker::new();
    let (bytes, _) = maker.write(&contents(1, 3));
    let archive = Archive::open(&bytes).unwrap();
    let error = |key: &OpeningKey<'_>| archive.unlock(key).err().unwrap();
    let other = random::secret();
    let needs = error(&OpeningKey { id: "another", ..maker.opening() });
    assert!(matches!(&needs, ArchiveError::NeedsKey { needs } if needs.contains(KEY_ID)), "{needs}");
    let wrong = error(&OpeningKey { key: &other, ..maker.opening() });
    assert!(matches!(wrong, ArchiveError::WrongKey { .. }));
    assert!(matches!(archive.unlock_with_dek(&other).err().unwrap(), ArchiveError::CommitmentDiffers));
}

#[test]
fn a_second_factor_that_is_missing_is_named() {
    let maker = Maker::new();
    let dek = random::secret();
    let mut header = maker.header(&dek, |h| h);
    let hsm = Factor { kind: FactorKind::Hsm, id: "root-7".into() };
    header.doors[0].factors.push(hsm.clone());
    header.wraps[0].factors.push(hsm);
    let writer = Writer::new(Vec::new(), header, &dek).unwrap();
    let (bytes, _) = writer.finish(&Closing::default(), &maker.signer).unwrap();
    let archive = Archive::open(&bytes).unwrap();
    let error = archive.unlock(&maker.opening()).err().unwrap();
    assert!(matches!(&error, ArchiveError::MissingFactor { needs } if needs == "HSM root key root-7"), "{error}");
    assert!(archive.inspect(None).is_hsm_backed);
    assert!(archive.unlock_with_dek(&dek).is_ok());
}

#[test]
fn a_stream_archive_opens_with_the_key_of_its_epoch() {
    let maker = Maker::new();
    let (dek, epoch) = (random::secret(), random::secret());
    let key = OpeningKey { kind: FactorKind::EpochKey, id: "12", key: &epoch };
    let mut header = maker.header(&dek, |h| Header { stream: Some(uuid(5)), ..h });
    header.doors = vec![Door::backup_key(KEY_ID)];
    header.wraps = vec![Wrap::new(&key, header.id, header.domain, &dek)];
    assert!(Writer::new(Vec::new(), Header { stream: None, ..header.clone() }, &dek).is_err());
    let writer = Writer::new(Vec::new(), header, &dek).unwrap();
    let (bytes, _) = writer.finish(&Closing::default(), &maker.signer).unwrap();
    let archive = Archive::open(&bytes).unwrap();
    assert!(archive.unlock(&key).is_ok());
    assert!(matches!(archive.unlock(&maker.opening()).err().unwrap(), ArchiveError::NeedsKey { .. }));
}
