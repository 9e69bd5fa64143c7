//! Writes the golden archives of format 1 once, into an empty folder; refuses to overwrite, because released formats never change.

use std::fs::OpenOptions;
use std::io::Write;
use std::path::{Path, PathBuf};

use keyark_archive::keyfile::{KeyFileInfo, keyfile_export};
use keyark_archive::{
    Anchor, AnchorKey, Base, Chain, Closing, Decimal, Door, EntryRef, FactorKind, Header, OpeningKey, Positions,
    RecordRef, Scope, Times, Tombstone, Wrap, Writer, passphrase,
};
use keyark_crypto::hash::sha256;
use keyark_crypto::sign::Signer;
use keyark_crypto::{Key256, aead::Gcm, random};
use keyark_model::{ArchiveId, DomainId, Id, Incarnation, Kind, Record, SystemId, Time};
use uuid::Uuid;

const NOW: Time = Time(1_777_608_000_000_000);

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let folder = PathBuf::from(std::env::args().nth(1).ok_or("usage: golden_write EMPTY_FOLDER")?);
    let (system, incarnation) = (SystemId(fresh()), Incarnation(fresh()));
    let signer = Signer::generate();
    let anchor = Anchor::new(vec![AnchorKey::pinned(system, incarnation, &signer.public(), 0)]);
    create(&folder, "anchor.json", &anchor.to_json())?;

    let tenant = DomainId(fresh());
    let keks = [(DomainId::ROOT, 1), (tenant, 1), (tenant, 2)].map(|(d, n)| (d, n, random::secret::<32>()));
    let mut records = Vec::new();
    let mut expected = Vec::new();
    for (domain, generation, kek) in &keks {
        for n in 0..40u64 {
            let (record, clear) = golden_record(*domain, u32::try_from(*generation)?, kek, n);
            expected.push(serde_json::json!({
                "domain": record.domain, "kind": record.kind.word(), "id": record.id, "revision": record.revision,
                "time": record.time, "header": String::from_utf8(record.header.to_vec())?, "clear": clear,
            }));
            records.push(record);
        }
    }
    records.sort_by_key(|r| (r.domain, r.kind, r.id));
    create(&folder, "expected.json", &serde_json::to_vec_pretty(&expected)?)?;

    let mut readme = String::from(README);
    for (scope, domain) in [(Scope::System, None), (Scope::Domain, Some(tenant))] {
        let name = if domain.is_some() { "domain" } else { "system" };
        let (key, id, phrase) = (random::secret::<32>(), Id(fresh()), passphrase::generate());
        let info = KeyFileInfo {
            version: 2,
            keyid: id,
            created_at: NOW,
            scope,
            domain_id: domain,
            hint: Some("it stands in README.md".into()),
        };
        let file = keyfile_export(&info, &key, &anchor, phrase.expose());
        create(&folder, &format!("{name}-backup-key.jwe"), file.as_bytes())?;
        readme += &format!("| {name} | `{}` |\n", phrase.expose());

        let id = id.to_string();
        let opening = OpeningKey { kind: FactorKind::BackupKey, id: &id, key: &key };
        let header = |kind: &str| {
            let mut h = Header::new(ArchiveId(fresh()), system, incarnation, NOW);
            if let Some(domain) = domain {
                h = h.of_domain(domain);
            }
            h.creator = "local|golden".into();
            h.description = Some(format!("golden {kind} of the {name}"));
            h.positions = Positions { first: Decimal(200), last: Decimal(200) };
            h.doors = vec![Door::backup_key(&id)];
            h
        };
        let of_scope = |d: &DomainId| domain.is_none_or(|only| only == *d);
        let dek = random::secret();
        let mut h = header("full backup");
        h.wraps = vec![Wrap::new(&opening, h.id, domain, &dek)];
        let mut writer = Writer::new(Vec::new(), h, &dek)?;
        for (d, generation, kek) in keks.iter().filter(|k| of_scope(&k.0)) {
            writer.kek(*d, *generation, kek)?;
        }
        for record in records.iter().filter(|r| of_scope(&r.domain)) {
            writer.record(&RecordRef::of(record))?;
        }
        writer.tombstone(&Tombstone {
            kind: Kind::Key,
            domain: tenant,
            id: Id(Uuid::from_u128(7)),
            revision: 3,
            time: NOW,
            name: Some("destroyed".into()),
        })?;
        create(&folder, &format!("{name}.keyark"), &writer.finish(&Closing::default(), &signer)?.0)?;

        let dek = random::secret();
        let mut h = header("segment");
        h.kind = keyark_archive::ArchiveKind::Segment;
        h.positions = Positions { first: Decimal(201), last: Decimal(210) };
        h.times = Some(Times { first: NOW, last: NOW.plus_seconds(10) });
        h.base = Some(Base { id: h.id, position: Decimal(200) });
        (h.hidden, h.level) = (true, Some(0));
        h.wraps = vec![Wrap::new(&opening, h.id, domain, &dek)];
        let mut writer = Writer::new(Vec::new(), h, &dek)?;
        for seq in 201..=210u64 {
            let d = if seq % 2 == 0 { tenant } else { domain.unwrap_or(DomainId::ROOT) };
            let bytes = format!("opaque entry {seq}");
            let time = NOW.plus_seconds(seq as i64 - 200);
            let entry = EntryRef { seq, domain: d, time, bytes: bytes.as_bytes() };
            writer.entry(&entry, &[(Kind::Key, Id(Uuid::from_u128(u128::from(seq))))])?;
        }
        let chain = Chain { before: sha256(&[b"before"]), after: sha256(&[b"after"]) };
        let closing = Closing { chain, record_digests: [(tenant, vec![7; 32])].into() };
        create(&folder, &format!("{name}-segment.keyark"), &writer.finish(&closing, &signer)?.0)?;
    }
    create(&folder, "README.md", readme.as_bytes())
}

const README: &str = "# Golden archives, format 1\n\n\
    Written once by `cargo run -p keyark-archive --example golden_write`, opened by every later version, never written again: a change that \
    cannot open them is the wrong change. `expected.json` says what is in the records; the entries of the segments are opaque texts. The keys are \
    of nobody.\n\n| backup key file | passphrase |\n|---|---|\n";

fn golden_record(domain: DomainId, generation: u32, kek: &Key256, n: u64) -> (Record, String) {
    let kind = if n % 4 == 3 { Kind::Secret } else { Kind::Key };
    let version = (n % 3) as i64 - 1;
    let versions =
        (0..=version).map(|v| format!(r#"{{"version":{v},"state":"Active"}}"#)).collect::<Vec<_>>().join(",");
    let versions = if version < 0 { String::new() } else { format!(r#","versions":[{versions}]"#) };
    let header = format!(r#"{{"name":"golden-{generation}-{n}","algorithm":"aes","size":256{versions}}}"#).into_bytes();
    let clear = if n % 5 == 4 { String::new() } else { format!("the material of golden-{generation}-{n}") };
    let id = Id(random::uuid_v7(NOW.plus_seconds(n as i64)));
    let version = u64::try_from(version).unwrap_or(0);
    let place = Place { domain, kind, id, version, revision: n + 1, generation };
    let body = seal(kek, &place, &header, clear.as_bytes());
    let record =
        Record { kind, id, domain, revision: n + 1, seq: 0, time: NOW, header: header.into(), body: body.into() };
    (record, clear)
}

struct Place {
    domain: DomainId,
    kind: Kind,
    id: Id,
    version: u64,
    revision: u64,
    generation: u32,
}

/// Rules C1; the script in `docs/break-glass` opens it.
fn seal(kek: &Key256, p: &Place, header: &[u8], clear: &[u8]) -> Vec<u8> {
    let mut e = minicbor::Encoder::new(Vec::new());
    e.array(8)
        .and_then(|e| e.str("keyark/record/1")?.bytes(p.domain.as_bytes())?.u8(p.kind as u8)?.bytes(p.id.as_bytes()))
        .and_then(|e| e.u64(p.version)?.u64(p.revision)?.u32(p.generation)?.bytes(&sha256(&[header]).0))
        .expect("writing into a vector does not fail");
    let nonce = random::bytes::<12>();
    let mut sealed = clear.to_vec();
    Gcm::new(kek).seal(nonce, &e.into_writer(), &mut sealed);
    [&p.generation.to_be_bytes()[..], &nonce, &sealed].concat()
}

fn fresh() -> Uuid {
    random::uuid_v7(NOW)
}

fn create(folder: &Path, name: &str, bytes: &[u8]) -> Result<(), Box<dyn std::error::Error>> {
    let mut file = OpenOptions::new().write(true).create_new(true).open(folder.join(name))?;
    Ok(file.write_all(bytes)?)
}
