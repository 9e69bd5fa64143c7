//! Archives with valid tags and a valid signature by somebody who holds every key and means harm.

mod samples;

use keyark_archive::block::{Deflater, MAX_RAW};
use keyark_archive::index::{BlockPlace, BlockType, Index, record_key};
use keyark_archive::json::Decimal;
use keyark_archive::{Anchor, AnchorKey, Archive, ArchiveError, Door, RecordRef, Unlocked, Verdict};
use keyark_crypto::{Key256, random};
use keyark_model::{Digest, Id, Kind};
use samples::forge::{Frame, forge, frame, header_json};
use samples::{Maker, domain, record, uuid};

struct Plan {
    maker: Maker,
    dek: Key256,
}

impl Plan {
    fn new() -> Plan {
        Plan { maker: Maker::new(), dek: random::secret() }
    }

    fn forge(
        &self,
        frames: Vec<Frame>,
        change: impl FnOnce(&mut Index, &mut keyark_archive::footer::Footer),
    ) -> Vec<u8> {
        let header = self.maker.header(&self.dek, |h| h);
        forge(&header_json(header, &self.dek), &self.dek, frames, &self.maker.signer, change)
    }

    fn error(&self, bytes: &Vec<u8>) -> ArchiveError {
        let archive = Archive::open(bytes).unwrap();
        assert!(matches!(archive.verify(&self.maker.anchor()).unwrap(), Verdict::SignedByPinned { .. }));
        match archive.unlock(&self.maker.opening()) {
            Err(error) => error,
            Ok(unlocked) => read(&unlocked).expect_err("a hostile archive was read"),
        }
    }
}

fn read(unlocked: &Unlocked<'_, &Vec<u8>>) -> Result<(), ArchiveError> {
    let all = unlocked.records().unwrap().try_for_each(|r| r.map(drop));
    assert_eq!(all.is_err(), unlocked.verify_full(|_| {}).is_err());
    all
}

fn raw_record(kind: Kind, d: u128, n: u128) -> Vec<u8> {
    // The public writer gives the bytes: an archive of this record alone, unlocked again.
    let maker = Maker::new();
    let case = samples::Contents { records: vec![record(domain(d), kind, n)], ..Default::default() };
    let (bytes, _) = maker.write(&case);
    let archive = Archive::open(&bytes).unwrap();
    let found = archive.unlock(&maker.opening()).unwrap().record(domain(d), kind, Id(uuid(n))).unwrap().unwrap();
    let r = RecordRef::of(&found);
    let mut e = minicbor::Encoder::new(Vec::new());
    e.array(7).unwrap().u8(r.kind as u8).unwrap().bytes(r.domain.as_bytes()).unwrap().bytes(r.id.as_bytes()).unwrap();
    e.u64(r.revision).unwrap().i64(r.time.0).unwrap().bytes(r.header).unwrap().bytes(r.body).unwrap();
    e.into_writer()
}

fn place(d: u128, first: u128, last: u128, count: u64) -> BlockPlace {
    BlockPlace {
        kind: BlockType::Records,
        domain: domain(d),
        offset: 0,
        length: 0,
        raw_length: 0,
        sha256: Digest::ZERO,
        count,
        first: record_key(Kind::Key, Id(uuid(first))).to_vec(),
        last: record_key(Kind::Key, Id(uuid(last))).to_vec(),
        touches: vec![],
    }
}

fn one(d: u128, n: u128) -> Frame {
    frame(place(d, n, n, 1), &raw_record(Kind::Key, d, n))
}

fn count(n: u64) -> impl FnOnce(&mut Index, &mut keyark_archive::footer::Footer) {
    move |index, _| {
        index.counts.records.insert(Kind::Key, n);
    }
}

#[test]
fn an_honest_forgery_opens_so_the_others_fail_for_their_reason() {
    let plan = Plan::new();
    let bytes = plan.forge(vec![one(1, 5), one(1, 6), one(2, 5)], count(3));
    let archive = Archive::open(&bytes).unwrap();
    assert!(read(&archive.unlock(&plan.maker.opening()).unwrap()).is_ok());
}

#[test]
fn blocks_in_another_order_are_refused() {
    let plan = Plan::new();
    for frames in [vec![one(1, 6), one(1, 5)], vec![one(2, 5), one(1, 5)], vec![one(1, 5), one(1, 5)]] {
        assert!(matches!(plan.error(&plan.forge(frames, count(2))), ArchiveError::OutOfOrder { .. }));
    }
    // The index exchanges two frames of equal length: the hash of each block tells.
    let bytes = plan.forge(vec![one(1, 5), one(1, 6)], |index, _| {
        let (a, b) = (index.blocks[0].clone(), index.blocks[1].clone());
        index.blocks[0].sha256 = b.sha256;
        index.blocks[1].sha256 = a.sha256;
        index.counts.records.insert(Kind::Key, 2);
    });
    assert!(matches!(plan.error(&bytes), ArchiveError::BlockDamaged { block: 0, .. }));
}

#[test]
fn items_that_contradict_the_index_are_refused() {
    let plan = Plan::new();
    let two = || [raw_record(Kind::Key, 1, 5), raw_record(Kind::Key, 1, 6)].concat();
    let backwards = || [raw_record(Kind::Key, 1, 6), raw_record(Kind::Key, 1, 5)].concat();
    let cases = [
        (frame(place(2, 5, 5, 1), &raw_record(Kind::Key, 1, 5)), 1, "an item is of another domain"),
        (frame(place(1, 5, 6, 2), &backwards()), 2, "out of order"),
        (frame(place(1, 5, 5, 1), &two()), 1, "its last item is not the one in the index"),
        (frame(place(1, 5, 7, 2), &two()), 2, "its last item is not the one in the index"),
        (frame(place(1, 4, 6, 2), &two()), 2, "out of order"),
        (frame(place(1, 5, 6, 3), &two()), 3, "not the CBOR"),
        (frame(place(1, 5, 5, 1), b"\xff"), 1, "not the CBOR"),
    ];
    for (frame, n, why) in cases {
        let error = plan.error(&plan.forge(vec![frame], count(n))).to_string();
        assert!(error.contains(why), "{error} instead of {why}");
    }
}

#[test]
fn bombs_are_refused_before_they_inflate() {
    let plan = Plan::new();
    let zeros = Deflater::new().unwrap().deflate(&vec![0; 64 << 20]).unwrap().to_vec();
    assert!(zeros.len() < 8192);
    // A block that owns up to its size, one that lies about it, an index that does the former.
    let honest = Frame { place: BlockPlace { raw_length: 64 << 20, ..place(1, 5, 5, 1) }, frame: zeros.clone() };
    let error = plan.error(&plan.forge(vec![honest], count(1)));
    assert!(matches!(error, ArchiveError::TooLarge { size, limit: MAX_RAW, .. } if size == 64 << 20));
    let lying = Frame { place: BlockPlace { raw_length: 4096, ..place(1, 5, 5, 1) }, frame: zeros };
    assert!(matches!(plan.error(&plan.forge(vec![lying], count(1))), ArchiveError::BlockDamaged { .. }));
    let bytes = plan.forge(vec![one(1, 5)], |index, footer| {
        index.counts.records.insert(Kind::Key, 1);
        footer.index.raw_length = Decimal(1 << 40);
    });
    assert!(matches!(plan.error(&bytes), ArchiveError::TooLarge { what: "the index", .. }));
}

#[test]
fn an_index_that_lies_is_refused() {
    let plan = Plan::new();
    type Change = fn(&mut Index);
    let changes: [Change; 8] = [
        |i| i.blocks[1].offset += 1,
        |i| i.blocks[1].length = u64::MAX,
        |i| drop(i.blocks.remove(0)),
        |i| i.blocks[0].first = vec![1],
        |i| i.blocks[0].count = 0,
        |i| i.blocks[0].touches = vec![1],
        |i| i.counts.records.extend([(Kind::User, 4)]),
        |i| i.counts.entries = 1,
    ];
    for (n, change) in changes.iter().enumerate() {
        let bytes = plan.forge(vec![one(1, 5), one(1, 6)], |index, _| {
            index.counts.records.insert(Kind::Key, 2);
            change(index);
        });
        let error = plan.error(&bytes);
        assert!(matches!(error, ArchiveError::IndexDamaged(_)), "change {n}: {error}");
    }
    let bytes = plan.forge(vec![one(1, 5)], |index, footer| {
        index.counts.records.insert(Kind::Key, 1);
        footer.counts = Some([("keys".to_owned(), Decimal(7))].into());
    });
    assert!(matches!(plan.error(&bytes), ArchiveError::IndexDamaged(_)));
}

#[test]
fn a_domain_archive_holds_its_domain_only() {
    let plan = Plan::new();
    let header = plan.maker.header(&plan.dek, |h| h.of_domain(domain(1)));
    let json = header_json(header, &plan.dek);
    let bytes = forge(&json, &plan.dek, vec![one(1, 5), one(2, 5)], &plan.maker.signer, count(2));
    assert!(matches!(plan.error(&bytes), ArchiveError::OtherDomain { .. }));
}

#[test]
fn a_wrap_with_fewer_factors_than_the_header_declares_is_refused() {
    let plan = Plan::new();
    let mut header = plan.maker.header(&plan.dek, |h| h);
    let hsm = keyark_archive::Factor { kind: keyark_archive::FactorKind::Hsm, id: "root".into() };
    header.doors = vec![Door { factors: vec![header.doors[0].factors[0].clone(), hsm] }];
    let bytes = forge(&header_json(header, &plan.dek), &plan.dek, vec![], &plan.maker.signer, |_, _| {});
    assert!(matches!(plan.error(&bytes), ArchiveError::FewerFactors { .. }));
}

#[test]
fn a_wrap_of_another_dek_misses_the_commitment() {
    let plan = Plan::new();
    let header = plan.maker.header(&random::secret(), |h| h);
    let bytes = forge(&header_json(header, &plan.dek), &plan.dek, vec![], &plan.maker.signer, |_, _| {});
    assert!(matches!(plan.error(&bytes), ArchiveError::CommitmentDiffers));
}

#[test]
fn a_newer_format_is_refused_by_the_name_of_its_product() {
    let plan = Plan::new();
    let text = r#"{"format":2,"productVersion":"9.4.0","somethingNew":[]}"#;
    let bytes = forge(text.as_bytes(), &plan.dek, vec![], &plan.maker.signer, |_, _| {});
    let error = Archive::open(&bytes).err().unwrap();
    assert!(matches!(&error, ArchiveError::NewerFormat { format: 2, product } if product == "9.4.0"));
    assert!(error.to_string().contains("made by Keyark 9.4.0"), "{error}");
}

#[test]
fn header_json_is_read_strictly_but_unknown_names_are_kept() {
    let plan = Plan::new();
    let json = String::from_utf8(header_json(plan.maker.header(&plan.dek, |h| h), &plan.dek)).unwrap();
    let open = |text: &str| {
        let bytes = forge(text.as_bytes(), &plan.dek, vec![], &plan.maker.signer, |_, _| {});
        let archive = Archive::open(&bytes)?;
        archive.unlock(&plan.maker.opening()).map(drop)
    };
    assert!(open(&json).is_ok());
    assert!(open(&json.replacen('{', r#"{"ofTheFuture":{"x":[1]},"#, 1)).is_ok());
    for bad in [
        json.replacen('{', r#"{"format":1,"#, 1),
        json.replacen('{', r#"{"ofTheFuture":{"x":1,"x":2},"#, 1),
        json.replace(r#""first":"9""#, r#""first":9"#),
        json.replace(r#""first":"9""#, r#""first":"09""#),
        json.replace(r#""first":"9""#, r#""first":"10""#),
        json.replace(r#""kind":"full""#, r#""kind":"fuller""#),
        json.replace(r#""kind":"full""#, r#""kind":"domain""#),
        json.replace(r#""format":1"#, r#""format":0"#),
        format!("{json}x"),
        json[..json.len() - 1].to_owned(),
    ] {
        assert!(matches!(open(&bad), Err(ArchiveError::HeaderDamaged(_))), "{bad}");
    }
    let long = json.replacen('{', &format!(r#"{{"pad":"{}","#, "x".repeat(1 << 20)), 1);
    assert!(matches!(open(&long), Err(ArchiveError::TooLarge { what: "the header", .. })));
}

#[test]
fn the_anchor_decides_who_may_have_signed() {
    let maker = Maker::new();
    let (bytes, _) = maker.write(&samples::contents(1, 1));
    let archive = Archive::open(&bytes).unwrap();
    let key = || AnchorKey::pinned(maker.system, maker.incarnation, &maker.signer.public(), 0);
    let verdict = |key: AnchorKey| archive.verify(&Anchor::new(vec![key])).unwrap();
    let other = Maker::new();
    assert!(matches!(verdict(key()), Verdict::SignedByPinned { .. }));
    assert!(matches!(verdict(AnchorKey { system: other.system, ..key() }), Verdict::UnknownSigner { .. }));
    // The key signs on after a restore in place; of a key that was revoked in one incarnation nobody knows in another.
    let elsewhere = || AnchorKey { incarnation: other.incarnation, ..key() };
    assert!(matches!(verdict(elsewhere()), Verdict::SignedByPinned { .. }));
    let revoked = AnchorKey { revoked_from: Some(Decimal(9)), ..elsewhere() };
    assert!(matches!(verdict(revoked), Verdict::UnknownSigner { .. }));
    assert!(matches!(verdict(AnchorKey { valid_from: Decimal(10), ..key() }), Verdict::Bad { .. }));
    assert!(matches!(verdict(AnchorKey { revoked_from: Some(Decimal(9)), ..key() }), Verdict::Bad { .. }));
    assert!(matches!(verdict(AnchorKey { revoked_from: Some(Decimal(10)), ..key() }), Verdict::SignedByPinned { .. }));
    assert!(matches!(
        verdict(AnchorKey { revoked_from: Some(Decimal(9)), ..key() }).require_pinned(),
        Err(ArchiveError::SignatureBad(_))
    ));
}

#[test]
fn a_domains_numbers_are_not_compared_with_the_anchors() {
    let maker = Maker::new();
    let (bytes, _) = maker.write_with(&samples::contents(1, 1), |h| h.of_domain(domain(1)));
    let archive = Archive::open(&bytes).unwrap();
    let key = || AnchorKey::pinned(maker.system, maker.incarnation, &maker.signer.public(), 1_000_000);
    let verdict = |key: AnchorKey| archive.verify(&Anchor::new(vec![key])).unwrap();
    assert!(matches!(verdict(key()), Verdict::SignedByPinned { .. }));
    // Whether it was made before the revocation cannot be known: somebody has to name the key.
    assert!(matches!(
        verdict(AnchorKey { revoked_from: Some(Decimal(2_000_000)), ..key() }),
        Verdict::UnknownSigner { .. }
    ));
}

#[test]
fn an_anchor_proves_its_successions() {
    let (maker, next) = (Maker::new(), Maker::new());
    let first = AnchorKey::pinned(maker.system, maker.incarnation, &maker.signer.public(), 0);
    let second = AnchorKey::pinned(maker.system, next.incarnation, &next.signer.public(), 70);
    let anchor = Anchor::new(vec![first.clone(), second.clone().signed_by(&maker.signer)]);
    let read = Anchor::parse(&anchor.to_json()).unwrap();
    assert_eq!((&read, read.fingerprint()), (&anchor, anchor.fingerprint()));
    assert_eq!(anchor.fingerprint().len(), 95);
    let by_stranger = Anchor::new(vec![first.clone(), second.clone().signed_by(&Maker::new().signer)]);
    assert!(Anchor::parse(&by_stranger.to_json()).is_err());
    let later = AnchorKey { valid_from: Decimal(1), ..anchor.keys[1].clone() };
    assert!(Anchor::parse(&Anchor::new(vec![first.clone(), later]).to_json()).is_err());
    let damaged = AnchorKey { public_key: second.public_key, ..first.clone() };
    assert!(Anchor::parse(&Anchor::new(vec![damaged]).to_json()).is_err());
    let revoked = AnchorKey { revoked_from: Some(Decimal(5)), ..first.clone() };
    assert_ne!(Anchor::new(vec![revoked]).fingerprint(), Anchor::new(vec![first.clone()]).fingerprint());
    // The same key for a further incarnation changes nothing that people compare.
    let mut again = first.clone();
    again.incarnation = next.incarnation;
    assert_eq!(Anchor::new(vec![first.clone(), again]).fingerprint(), Anchor::new(vec![first]).fingerprint());
}
