//! Random and mutated input for every parser: an answer or an error, never a panic.

mod samples;

use keyark_archive::footer::Footer;
use keyark_archive::header::Header;
use keyark_archive::index::{BlockPlace, BlockType, Index, record_key};
use keyark_archive::items::count_items;
use keyark_archive::keyfile::{keyfile_export, keyfile_inspect};
use keyark_archive::layout::Parts;
use keyark_archive::signature::Signature;
use keyark_archive::{Anchor, Archive, Counts, Scope, block::Inflater, keyfile::KeyFileInfo};
use keyark_crypto::jwe;
use keyark_model::{Digest, Id, Kind};
use proptest::prelude::{Strategy, any, proptest};
use proptest::{collection::vec, sample::Index as At};
use samples::{KEY_ID, Maker, NOW, contents, domain, uuid};

/// Gives one input to every parser.
fn parse_all(bytes: &[u8]) {
    let _ = Header::parse(bytes);
    let _ = Footer::parse(bytes);
    let _ = Anchor::parse(bytes);
    let _ = Signature::parse(bytes);
    let _ = Archive::open(&bytes.to_vec()).map(|a| a.inspect(None));
    if let Ok(index) = Index::parse(bytes, 1000) {
        index.find(BlockType::Records, keyark_model::DomainId::ROOT, &[1; 17]);
    }
    use BlockType::{Audit, Entries, Keks, Records, Tombstones};
    for (kind, key) in [(Keks, 8), (Records, 17), (Tombstones, 17), (Entries, 8), (Audit, 8)] {
        for count in 1..4 {
            let place = place(kind, key, count);
            let _ = count_items(bytes, 0, &place, &mut Counts::default(), |_| {});
        }
    }
    if let Some((front, rest)) = bytes.split_first_chunk()
        && let Some((back, _)) = rest.split_first_chunk()
    {
        let _ = Parts::parse(front, back, bytes.len() as u64);
    }
    let _ = Inflater::new().unwrap().inflate(bytes, 4096, &mut Vec::new());
    if let Ok(text) = std::str::from_utf8(bytes) {
        let _ = jwe::protected_header(text);
        let _ = keyfile_inspect(text);
        keyark_archive::passphrase::read(text);
    }
}

/// A place whose first key is that of the first item of the seeds.
fn place(kind: BlockType, key: usize, count: u64) -> BlockPlace {
    BlockPlace {
        kind,
        domain: domain(1),
        offset: 0,
        length: 0,
        raw_length: 0,
        sha256: Digest::ZERO,
        count,
        first: record_key(Kind::Key, Id(uuid(1000)))[..key].to_vec(),
        last: vec![255; key],
        touches: vec![],
    }
}

/// The raw bytes of a block of records.
fn raw_block() -> Vec<u8> {
    let mut e = minicbor::Encoder::new(Vec::new());
    for r in &contents(1, 3).records {
        e.array(7).unwrap().u8(r.kind as u8).unwrap().bytes(r.domain.as_bytes()).unwrap();
        e.bytes(r.id.as_bytes()).unwrap().u64(r.revision).unwrap().i64(r.time.0).unwrap();
        e.bytes(&r.header).unwrap().bytes(&r.body).unwrap();
    }
    e.into_writer()
}

/// Valid inputs of each parser, to be mutated.
fn seeds() -> Vec<Vec<u8>> {
    let maker = Maker::new();
    let (bytes, _) = maker.write(&contents(2, 3));
    let archive = Archive::open(&bytes).unwrap();
    let unlocked = archive.unlock(&maker.opening()).unwrap();
    let info = KeyFileInfo {
        version: 2,
        keyid: KEY_ID.parse().unwrap(),
        created_at: NOW,
        scope: Scope::System,
        domain_id: None,
        hint: None,
    };
    vec![
        serde_json::to_vec(archive.header()).unwrap(),
        serde_json::to_vec(archive.footer()).unwrap(),
        unlocked.index().to_bytes(),
        maker.anchor().to_json(),
        keyfile_export(&info, &maker.key, &maker.anchor(), "p").into_bytes(),
        archive.signature().to_bytes().to_vec(),
        bytes,
        raw_block(),
    ]
}

/// What to do to an input: overwrite, insert, remove at a place.
fn edits() -> impl Strategy<Value = Vec<(At, u8, u8)>> {
    vec((any::<At>(), 0..4u8, any::<u8>()), 1..6)
}

fn edit(bytes: &mut Vec<u8>, edits: &[(At, u8, u8)]) {
    for (at, what, byte) in edits {
        let at = at.index(bytes.len().max(1));
        match what {
            0 if at < bytes.len() => bytes[at] = *byte,
            1 => bytes.insert(at.min(bytes.len()), *byte),
            2 if at < bytes.len() => drop(bytes.remove(at)),
            _ => bytes.truncate(at.max(1)),
        }
    }
}

#[test]
fn random_bytes_never_panic() {
    proptest!(|(bytes in vec(any::<u8>(), 0..600))| parse_all(&bytes));
}

#[test]
fn mutated_inputs_never_panic() {
    let seeds = seeds();
    proptest!(|(which in any::<At>(), edits in edits())| {
        let mut bytes = seeds[which.index(seeds.len())].clone();
        edit(&mut bytes, &edits);
        parse_all(&bytes);
    });
}

#[test]
fn valid_inputs_come_back() {
    let seeds = seeds();
    assert_eq!(serde_json::to_vec(&Header::parse(&seeds[0]).unwrap()).unwrap(), seeds[0]);
    assert_eq!(serde_json::to_vec(&Footer::parse(&seeds[1]).unwrap()).unwrap(), seeds[1]);
    assert_eq!(Anchor::parse(&seeds[3]).unwrap().to_json(), seeds[3]);
    let place = BlockPlace { last: record_key(Kind::Secret, Id(uuid(1))).to_vec(), ..place(BlockType::Records, 17, 4) };
    let mut counts = Counts::default();
    count_items(&seeds[7], 0, &place, &mut counts, |_| {}).unwrap();
    assert_eq!(counts.records.values().sum::<u64>(), 4);
    assert_eq!(Signature::parse(&seeds[5]).unwrap().to_bytes()[..], seeds[5]);
}
