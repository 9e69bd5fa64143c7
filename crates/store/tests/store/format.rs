//! The bytes of `docs/log-format.md`: its worked example, what a decoder refuses, and the chain.

use keyark_crypto::chain::{ChangeKey, change_digest, check_changes, hash_entry};
use keyark_crypto::lthash::{LtElement, LtHash};
use keyark_model::{Change, ChangeContent, Digest, DomainId, Entry, EntryScope, Id, Incarnation, Kind, Outcome, Time};
use proptest::prelude::{Strategy, any, prop_assert_eq, proptest};
use uuid::Uuid;

fn uuid(n: u8) -> Uuid {
    Uuid::from_bytes([n; 16])
}

fn put(kind: Kind, salt: u8) -> Change {
    let (id, revision, salt) = (Id(uuid(0x11)), 1, [salt; 16]);
    let (header, body) = (&b"{\"name\":\"k\"}"[..], &b"sealed"[..]);
    let digest =
        change_digest(&salt, &ChangeKey { kind, domain: DomainId(uuid(0xdd)), id, revision }, Some((header, body)));
    Change {
        kind,
        id,
        revision,
        salt,
        digest,
        content: ChangeContent::Put { header: header.into(), body: body.into() },
    }
}

/// The worked example of the document.
fn example() -> Entry {
    Entry {
        incarnation: Incarnation(uuid(0xaa)),
        seq: 7,
        prev: Digest([0x22; 32]),
        time: Time(1_700_000_000_000_000),
        domain: DomainId(uuid(0xdd)),
        domain_seq: 3,
        domain_prev: Digest([0x33; 32]),
        actor: "system".into(),
        request_id: "r".into(),
        action: "key_create".into(),
        target: "k".into(),
        outcome: Outcome::Success,
        changes: vec![put(Kind::Key, 0x55)],
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

#[test]
fn the_worked_example_of_the_document_is_what_the_code_makes() {
    let entry = example();
    let hashes = hash_entry(&entry);
    let mut sum = LtHash::default();
    sum.add(&LtElement::new(Kind::Key, Id(uuid(0x11)), 1, b"{\"name\":\"k\"}", b"sealed"));
    let made = format!(
        "change digest  {}\ndomain hash    {}\nglobal hash    {}\nLtHash digest  {}\nentry          {}\n",
        entry.changes[0].digest,
        hashes.domain,
        hashes.global,
        sum.digest(),
        hex(&entry.encode(EntryScope::System)),
    );
    let document = include_str!("../../../../docs/log-format.md");
    assert!(document.contains(&made), "the document must contain:\n{made}");
}

#[test]
fn an_entry_comes_back_in_both_scopes() {
    let entry = example();
    assert_eq!(Entry::decode(&entry.encode(EntryScope::System)), Ok((entry.clone(), EntryScope::System)));
    let (seen, scope) = Entry::decode(&entry.encode(EntryScope::Domain)).unwrap();
    assert_eq!(scope, EntryScope::Domain);
    assert_eq!((seen.seq, seen.prev), (0, Digest::ZERO));
    assert_eq!(hash_entry(&seen).domain, hash_entry(&entry).domain);
    assert!(!hex(&entry.encode(EntryScope::Domain)).contains(&"22".repeat(32)));
}

#[test]
fn what_is_withheld_leaves_no_trace_but_its_digest_and_the_chain_still_verifies() {
    let mut entry = example();
    entry.changes =
        vec![put(Kind::Key, 0x51), put(Kind::User, 0x52), put(Kind::Setting, 0x53), put(Kind::Session, 0x54)];
    let hashes = hash_entry(&entry);
    let withheld = |scope| {
        let mut entry = entry.clone();
        entry.withhold_unshipped(scope);
        assert_eq!(hash_entry(&entry), hashes);
        let (back, _) = Entry::decode(&entry.encode(scope)).unwrap();
        assert_eq!(check_changes(&back), Ok(()));
        let salts: Vec<bool> = (0x51..=0x54).map(|s: u8| hex(&entry.encode(scope)).contains(&hex(&[s; 16]))).collect();
        let gone: Vec<bool> = back.changes.iter().map(|c| c.content == ChangeContent::Withheld).collect();
        (salts, gone)
    };
    let system = (vec![true, true, true, false], vec![false, false, false, true]);
    // A user's body holds its verifier, which travels in system archives only (rules A3).
    let domain = (vec![true, false, false, false], vec![false, true, true, true]);
    assert_eq!(withheld(EntryScope::System), system);
    assert_eq!(withheld(EntryScope::Domain), domain);
}

#[test]
fn an_altered_change_is_named() {
    let mut entry = example();
    entry.changes.push(put(Kind::Secret, 0x56));
    entry.changes[1].content = ChangeContent::Put { header: (*b"{}").into(), body: (*b"x").into() };
    assert_eq!(check_changes(&entry).unwrap_err().index, 1);
}

#[test]
fn every_field_counts_in_the_hashes() {
    let base = hash_entry(&example());
    let alter: [fn(&mut Entry); 11] = [
        |e| e.incarnation = Incarnation(uuid(1)),
        |e| e.time = Time(1),
        |e| e.domain = DomainId(uuid(1)),
        |e| e.domain_seq = 4,
        |e| e.domain_prev = Digest::ZERO,
        |e| e.actor = "local".into(),
        |e| e.request_id = "s".into(),
        |e| e.action = "key_update".into(),
        |e| e.target = "l".into(),
        |e| e.outcome = Outcome::Failure,
        |e| e.changes.clear(),
    ];
    for (n, alter) in alter.iter().enumerate() {
        let mut entry = example();
        alter(&mut entry);
        assert_ne!(hash_entry(&entry).domain, base.domain, "{n}");
    }
    let place: [fn(&mut Entry); 2] = [|e| e.seq = 8, |e| e.prev = Digest::ZERO];
    for alter in place {
        let mut entry = example();
        alter(&mut entry);
        assert_eq!(hash_entry(&entry).domain, base.domain);
        assert_ne!(hash_entry(&entry).global, base.global);
    }
}

#[test]
fn other_forms_of_the_same_entry_are_refused() {
    let bytes = example().encode(EntryScope::System);
    let mut trailing = bytes.clone();
    trailing.push(0);
    assert!(Entry::decode(&trailing).is_err());
    // The version as a two-byte integer: valid CBOR, not the deterministic form.
    let mut longer = bytes.clone();
    longer.splice(1..2, [0x18, 0x01]);
    assert!(Entry::decode(&longer).is_err());
    // A claim of 2^64-1 changes reserves nothing and fails at the first that is missing.
    let mut empty = example();
    empty.changes.clear();
    let mut many = empty.encode(EntryScope::System);
    many.pop();
    many.extend([0x9b, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]);
    assert!(Entry::decode(&many).is_err());
    for cut in 0..bytes.len() {
        assert!(Entry::decode(&bytes[..cut]).is_err(), "{cut}");
    }
}

fn content() -> impl Strategy<Value = ChangeContent> {
    let bytes = || proptest::collection::vec(any::<u8>(), 0..300);
    proptest::prop_oneof![
        (bytes(), bytes()).prop_map(|(h, b)| ChangeContent::Put { header: h.into(), body: b.into() }),
        proptest::prelude::Just(ChangeContent::Delete),
        proptest::prelude::Just(ChangeContent::Withheld),
    ]
}

proptest! {
    #[test]
    fn any_entry_comes_back(
        seq in any::<u64>(), time in any::<i64>(), text in "\\PC{0,40}", revision in any::<u64>(),
        contents in proptest::collection::vec(content(), 0..4),
    ) {
        let mut entry = Entry { seq, time: Time(time), actor: text.clone(), target: text, ..example() };
        entry.changes = contents.into_iter().map(|content| Change { revision, content, ..put(Kind::Key, 9) }).collect();
        entry.changes.iter_mut().filter(|c| c.content == ChangeContent::Withheld).for_each(Change::withhold);
        prop_assert_eq!(Entry::decode(&entry.encode(EntryScope::System)), Ok((entry, EntryScope::System)));
    }

    #[test]
    fn what_is_decoded_from_altered_bytes_is_what_those_bytes_say(at in any::<proptest::sample::Index>(), byte in any::<u8>()) {
        let mut bytes = example().encode(EntryScope::System);
        let at = at.index(bytes.len());
        bytes[at] = byte;
        if let Ok((entry, scope)) = Entry::decode(&bytes) {
            prop_assert_eq!(entry.encode(scope), bytes);
        }
    }
}
