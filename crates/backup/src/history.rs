//! Audit fields in an archive (`docs/archive-format.md`, section 4): what people read of the log, never replayed.

use keyark_archive::{ArchiveError, StoredEntry};
use keyark_model::{Digest, Id, Kind, Outcome};
use keyark_store::AuditEntry;
use minicbor::{Decoder, Encoder};

/// The version at the front of each entry.
const VERSION: u8 = 1;

/// The bytes of an entry's audit fields.
pub fn encode(entry: &AuditEntry) -> Vec<u8> {
    let mut out = Vec::with_capacity(200);
    write(&mut Encoder::new(&mut out), entry).expect("writing to a vector cannot fail");
    out
}

fn write(
    e: &mut Encoder<&mut Vec<u8>>,
    entry: &AuditEntry,
) -> Result<(), minicbor::encode::Error<std::convert::Infallible>> {
    e.array(9)?.u8(VERSION)?.u64(entry.domain_seq)?;
    e.str(&entry.actor)?.str(&entry.request_id)?.str(&entry.action)?.str(&entry.target)?;
    e.encode(entry.outcome)?.encode(entry.hash)?.array(entry.changes.len() as u64)?;
    for (kind, id, revision, deleted) in &entry.changes {
        e.array(4)?.encode(kind)?.encode(id)?.u64(*revision)?.bool(*deleted)?;
    }
    Ok(())
}

/// Reads them back. Nothing is reserved for lengths that are claimed.
pub fn decode(stored: &StoredEntry) -> Result<AuditEntry, ArchiveError> {
    let damaged = |_| ArchiveError::BlockDamaged { block: 0, what: "an audit entry is not the CBOR it should be" };
    let mut d = Decoder::new(&stored.bytes);
    let entry = read(&mut d, stored).map_err(damaged)?;
    match d.position() == stored.bytes.len() {
        true => Ok(entry),
        false => Err(damaged(minicbor::decode::Error::message("bytes follow"))),
    }
}

fn read(d: &mut Decoder<'_>, stored: &StoredEntry) -> Result<AuditEntry, minicbor::decode::Error> {
    let bad = minicbor::decode::Error::message;
    if d.array()? != Some(9) || d.u8()? != VERSION {
        return Err(bad("an audit entry is an array of 9, of version 1"));
    }
    let domain_seq = d.u64()?;
    let mut text = || d.str().map(str::to_owned);
    let (actor, request_id, action, target) = (text()?, text()?, text()?, text()?);
    let (outcome, hash): (Outcome, Digest) = (d.decode()?, d.decode()?);
    let count = d.array()?.ok_or_else(|| bad("changes have a stated number"))?;
    let mut changes: Vec<(Kind, Id, u64, bool)> = Vec::new();
    for _ in 0..count {
        if d.array()? != Some(4) {
            return Err(bad("a change is an array of 4"));
        }
        changes.push((d.decode()?, d.decode()?, d.u64()?, d.bool()?));
    }
    let StoredEntry { seq, domain, time, .. } = *stored;
    Ok(AuditEntry { seq, time, domain, domain_seq, actor, request_id, action, target, outcome, changes, hash })
}

#[cfg(test)]
mod tests {
    use keyark_archive::StoredEntry;
    use keyark_model::{Digest, DomainId, Id, Kind, Outcome, Time};
    use keyark_store::AuditEntry;

    #[test]
    fn audit_fields_come_back_and_nothing_else_is_taken_for_them() {
        let entry = AuditEntry {
            seq: 7,
            time: Time(9),
            domain: DomainId::from_bytes([1; 16]),
            domain_seq: 3,
            actor: "local|a".into(),
            request_id: "r".into(),
            action: "key_delete".into(),
            target: "k".into(),
            outcome: Outcome::Failure,
            changes: vec![
                (Kind::Key, Id::from_bytes([2; 16]), 5, true),
                (Kind::Node, Id::from_bytes([3; 16]), 1, false),
            ],
            hash: Digest([4; 32]),
        };
        let bytes = super::encode(&entry);
        let stored = |bytes: &[u8]| StoredEntry { seq: 7, domain: entry.domain, time: Time(9), bytes: bytes.into() };
        assert_eq!(super::decode(&stored(&bytes)).unwrap(), entry);
        for cut in 0..bytes.len() {
            assert!(super::decode(&stored(&bytes[..cut])).is_err(), "cut at {cut}");
        }
        assert!(super::decode(&stored(&[&bytes[..], &[0]].concat())).is_err());
        for at in 0..bytes.len() {
            for bit in 0..8 {
                let mut flipped = bytes.clone();
                flipped[at] ^= 1 << bit;
                assert!(
                    super::decode(&stored(&flipped)).is_ok_and(|e| e != entry)
                        || super::decode(&stored(&flipped)).is_err()
                );
            }
        }
    }
}
