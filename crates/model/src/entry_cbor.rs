//! The bytes of an entry: deterministic CBOR, for log segments and for other nodes (`docs/log-format.md`, section 3).

use minicbor::{Decoder, Encoder};

use crate::{Carrier, Change, ChangeContent, Digest, DomainId, Entry, Incarnation, Time};

/// The version number at the front of an encoded entry.
const VERSION: u8 = 1;

/// Whose numbers an encoded entry shows (rules A6).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum EntryScope {
    /// With the system's sequence number and previous hash.
    System,
    /// Without them: a domain's stream shows nothing of other tenants.
    Domain,
}

impl Entry {
    /// Withholds the content, and the salt with it, of every change that must not travel in this scope (rules A2).
    pub fn withhold_unshipped(&mut self, scope: EntryScope) {
        let carrier = match scope {
            EntryScope::System => Carrier::System,
            EntryScope::Domain => Carrier::DomainStream,
        };
        for change in self.changes.iter_mut().filter(|c| !c.kind.travels(carrier)) {
            change.withhold();
        }
    }

    /// The entry in CBOR. A change that is `Withheld` is written without its salt, which would help to guess it.
    pub fn encode(&self, scope: EntryScope) -> Vec<u8> {
        let mut out = Vec::with_capacity(256 + self.changes.iter().map(Change::content_len).sum::<usize>());
        write_entry(&mut Encoder::new(&mut out), self, scope).expect("writing to a vector cannot fail");
        out
    }

    /// Reads one entry and the scope that it was written in. Hostile input is refused, never trusted: lengths are
    /// those of the input, and bytes that are not the one deterministic form of what they say are an error.
    ///
    /// An entry of `EntryScope::Domain` has `seq` 0 and `prev` zero; a withheld change has a salt of zeros. The digests
    /// of the changes are as claimed: check them with `keyark_crypto::chain`.
    pub fn decode(bytes: &[u8]) -> Result<(Entry, EntryScope), BadEntry> {
        let mut decoder = Decoder::new(bytes);
        let (entry, scope) = read_entry(&mut decoder).map_err(|e| BadEntry(e.to_string()))?;
        if decoder.position() != bytes.len() {
            return Err(BadEntry("bytes follow the entry".into()));
        }
        if entry.encode(scope) != bytes {
            return Err(BadEntry("it is not in the deterministic form".into()));
        }
        Ok((entry, scope))
    }
}

impl Change {
    /// Forgets the content and its salt; the digest stays.
    pub fn withhold(&mut self) {
        self.content = ChangeContent::Withheld;
        self.salt = [0; 16];
    }

    fn content_len(&self) -> usize {
        match &self.content {
            ChangeContent::Put { header, body } => 96 + header.len() + body.len(),
            ChangeContent::Delete | ChangeContent::Withheld => 80,
        }
    }
}

type EncodeResult = Result<(), minicbor::encode::Error<std::convert::Infallible>>;

fn write_entry(e: &mut Encoder<&mut Vec<u8>>, entry: &Entry, scope: EntryScope) -> EncodeResult {
    e.array(14)?.u8(VERSION)?.encode(entry.incarnation)?;
    match scope {
        EntryScope::System => e.u64(entry.seq)?.encode(entry.prev)?,
        EntryScope::Domain => e.null()?.null()?,
    };
    e.encode(entry.time)?.encode(entry.domain)?.u64(entry.domain_seq)?.encode(entry.domain_prev)?;
    e.str(&entry.actor)?.str(&entry.request_id)?.str(&entry.action)?.str(&entry.target)?;
    e.encode(entry.outcome)?.array(entry.changes.len() as u64)?;
    for change in &entry.changes {
        let fields = match change.content {
            ChangeContent::Withheld => 4,
            ChangeContent::Delete => 5,
            ChangeContent::Put { .. } => 7,
        };
        e.array(fields)?.encode(change.kind)?.encode(change.id)?.u64(change.revision)?.encode(change.digest)?;
        if fields > 4 {
            e.bytes(&change.salt)?;
        }
        if let ChangeContent::Put { header, body } = &change.content {
            e.bytes(header)?.bytes(body)?;
        }
    }
    Ok(())
}

fn read_entry(d: &mut Decoder<'_>) -> Result<(Entry, EntryScope), minicbor::decode::Error> {
    let bad = minicbor::decode::Error::message;
    if d.array()? != Some(14) {
        return Err(bad("an entry is an array of 14"));
    }
    if d.u8()? != VERSION {
        return Err(bad("an entry of a later version: read it with the product version that wrote it"));
    }
    let incarnation: Incarnation = d.decode()?;
    let seq: Option<u64> = d.decode()?;
    let prev: Option<Digest> = d.decode()?;
    let (seq, prev, scope) = match (seq, prev) {
        (Some(seq), Some(prev)) => (seq, prev, EntryScope::System),
        (None, None) => (0, Digest::ZERO, EntryScope::Domain),
        _ => return Err(bad("seq and prev stand or fall together")),
    };
    let time: Time = d.decode()?;
    let domain: DomainId = d.decode()?;
    let domain_seq = d.u64()?;
    let domain_prev = d.decode()?;
    let (actor, request_id) = (d.str()?.to_owned(), d.str()?.to_owned());
    let (action, target) = (d.str()?.to_owned(), d.str()?.to_owned());
    let outcome = d.decode()?;
    let count = d.array()?.ok_or_else(|| bad("changes have a stated number"))?;
    // No room is reserved for a claimed number: each change must be there.
    let mut changes = Vec::new();
    for _ in 0..count {
        changes.push(read_change(d)?);
    }
    let entry = Entry {
        incarnation,
        seq,
        prev,
        time,
        domain,
        domain_seq,
        domain_prev,
        actor,
        request_id,
        action,
        target,
        outcome,
        changes,
    };
    Ok((entry, scope))
}

fn read_change(d: &mut Decoder<'_>) -> Result<Change, minicbor::decode::Error> {
    let fields = d.array()?;
    let (kind, id, revision, digest) = (d.decode()?, d.decode()?, d.u64()?, d.decode()?);
    let mut salt = [0; 16];
    if matches!(fields, Some(5 | 7)) {
        salt = d.bytes()?.try_into().map_err(|_| minicbor::decode::Error::message("a salt is 16 bytes"))?;
    }
    let content = match fields {
        Some(4) => ChangeContent::Withheld,
        Some(5) => ChangeContent::Delete,
        Some(7) => ChangeContent::Put { header: d.bytes()?.into(), body: d.bytes()?.into() },
        _ => return Err(minicbor::decode::Error::message("a change is an array of 4, 5 or 7")),
    };
    Ok(Change { kind, id, revision, salt, digest, content })
}

/// The bytes are not an entry.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not an entry of the change log: {0}; take the segment from another destination")]
pub struct BadEntry(pub String);
