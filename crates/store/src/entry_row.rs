//! One entry as a row of the database, and back with its chain and content.

use keyark_crypto::chain::EntryHashes;
use keyark_model::{Change, ChangeContent, Digest, DomainId, Entry, Id, Incarnation, Kind, Outcome, Time};
use minicbor::{Decoder, Encoder};
use rusqlite::types::{ToSqlOutput, ValueRef};
use rusqlite::{CachedStatement, Connection, Row, params};
use uuid::Uuid;

use crate::entries::AuditEntry;
use crate::error::Fault;

/// A change without its content, as the entry's row keeps it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct ChangeRow {
    pub kind: Kind,
    pub id: Id,
    pub revision: u64,
    pub delete: bool,
    pub salt: [u8; 16],
    pub digest: Digest,
}

/// An entry's row: `prev` and `domain_prev` stand in the rows of the entries before.
#[derive(Clone, Debug)]
pub(crate) struct EntryRow {
    pub seq: u64,
    pub time: Time,
    pub domain: i64,
    pub domain_seq: u64,
    /// The `seq` of the domain's entry before; 0 when there is none in this incarnation.
    pub domain_prev: u64,
    pub actor: String,
    pub request_id: String,
    pub action: String,
    pub target: String,
    pub outcome: Outcome,
    pub hashes: EntryHashes,
    pub changes: Vec<ChangeRow>,
}

pub(crate) const SELECT_ENTRY: &str = "SELECT seq, time, domain, domain_seq, domain_prev, actor, request_id, action, \
     target, outcome, domain_hash, hash, changes FROM entry";

const INSERT_ENTRY: &str = "INSERT INTO entry (seq, time, domain, domain_seq, domain_prev, actor, request_id, action, \
     target, outcome, domain_hash, hash, changes) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13)";

/// Writes an entry's row.
pub(crate) fn insert_entry(
    conn: &Connection,
    entry: &Entry,
    hashes: &EntryHashes,
    domain: i64,
    domain_prev: u64,
) -> Result<(), Fault> {
    let mut changes = Vec::with_capacity(entry.changes.len() * 80 + 4);
    encode_changes(&mut Encoder::new(&mut changes), &entry.changes).expect("writing to a vector cannot fail");
    conn.prepare_cached(INSERT_ENTRY)?.execute(params![
        entry.seq,
        entry.time.0,
        domain,
        entry.domain_seq,
        domain_prev,
        short(&entry.actor),
        short(&entry.request_id),
        entry.action,
        short(&entry.target),
        matches!(entry.outcome, Outcome::Failure),
        hashes.domain.0,
        hashes.global.0,
        changes,
    ])?;
    Ok(())
}

/// Writes the audit fields of an entry of an earlier incarnation. It stands before the base, so nothing replays it.
pub(crate) fn insert_history(conn: &Connection, entry: &AuditEntry, domain: i64) -> Result<(), Fault> {
    let mut changes = Vec::with_capacity(entry.changes.len() * 80 + 4);
    let nothing = |(kind, id, revision, delete): &(Kind, Id, u64, bool)| Change {
        kind: *kind,
        id: *id,
        revision: *revision,
        salt: [0; 16],
        digest: Digest::ZERO,
        content: if *delete { ChangeContent::Delete } else { ChangeContent::Withheld },
    };
    let all: Vec<Change> = entry.changes.iter().map(nothing).collect();
    encode_changes(&mut Encoder::new(&mut changes), &all).expect("writing to a vector cannot fail");
    conn.prepare_cached(INSERT_ENTRY)?.execute(params![
        entry.seq,
        entry.time.0,
        domain,
        entry.domain_seq,
        0,
        short(&entry.actor),
        short(&entry.request_id),
        entry.action,
        short(&entry.target),
        matches!(entry.outcome, Outcome::Failure),
        Digest::ZERO.0,
        entry.hash.0,
        changes,
    ])?;
    Ok(())
}

fn encode_changes(
    e: &mut Encoder<&mut Vec<u8>>,
    changes: &[Change],
) -> Result<(), minicbor::encode::Error<std::convert::Infallible>> {
    e.array(changes.len() as u64)?;
    for change in changes {
        let delete = matches!(change.content, ChangeContent::Delete);
        e.array(6)?.encode(change.kind)?.encode(change.id)?.u64(change.revision)?.bool(delete)?;
        e.bytes(&change.salt)?.encode(change.digest)?;
    }
    Ok(())
}

fn decode_changes(bytes: &[u8]) -> Result<Vec<ChangeRow>, minicbor::decode::Error> {
    let mut d = Decoder::new(bytes);
    let count = d.array()?.unwrap_or(0);
    let mut changes = Vec::new();
    for _ in 0..count {
        d.array()?;
        changes.push(ChangeRow {
            kind: d.decode()?,
            id: d.decode()?,
            revision: d.u64()?,
            delete: d.bool()?,
            salt: d.bytes()?.try_into().map_err(|_| minicbor::decode::Error::message("a salt is 16 bytes"))?,
            digest: d.decode()?,
        });
    }
    Ok(changes)
}

/// Texts that are a UUID, or a UUID behind `local|`, are kept as 16 or 17 bytes: they are most of an entry.
fn short(text: &str) -> ToSqlOutput<'_> {
    let (rest, local) = text.strip_prefix("local|").map_or((text, false), |rest| (rest, true));
    match Uuid::try_parse(rest) {
        Ok(uuid) if uuid.hyphenated().encode_lower(&mut Uuid::encode_buffer()) == rest => {
            let mut bytes = Vec::with_capacity(17);
            if local {
                bytes.push(1);
            }
            bytes.extend_from_slice(uuid.as_bytes());
            ToSqlOutput::Owned(bytes.into())
        }
        _ => ToSqlOutput::Borrowed(ValueRef::Text(text.as_bytes())),
    }
}

fn long(value: ValueRef<'_>) -> Result<String, Fault> {
    let bad = || Fault::Damaged("a text of an entry".into());
    match value {
        ValueRef::Text(text) => std::str::from_utf8(text).map(str::to_owned).map_err(|_| bad()),
        ValueRef::Blob([1, uuid @ ..]) if uuid.len() == 16 => {
            Ok(format!("local|{}", Uuid::from_slice(uuid).map_err(|_| bad())?))
        }
        ValueRef::Blob(uuid) => Ok(Uuid::from_slice(uuid).map_err(|_| bad())?.to_string()),
        _ => Err(bad()),
    }
}

/// Reads a row of `SELECT_ENTRY`.
pub(crate) fn entry_of_row(row: &Row<'_>) -> Result<EntryRow, Fault> {
    let changes = row.get_ref(12)?.as_blob().map_err(rusqlite::Error::from)?;
    Ok(EntryRow {
        seq: row.get(0)?,
        time: Time(row.get(1)?),
        domain: row.get(2)?,
        domain_seq: row.get(3)?,
        domain_prev: row.get(4)?,
        actor: long(row.get_ref(5)?)?,
        request_id: long(row.get_ref(6)?)?,
        action: row.get(7)?,
        target: long(row.get_ref(8)?)?,
        outcome: if row.get(9)? { Outcome::Failure } else { Outcome::Success },
        hashes: EntryHashes { domain: Digest(row.get(10)?), global: Digest(row.get(11)?) },
        changes: decode_changes(changes).map_err(|e| Fault::Damaged(format!("changes of an entry: {e}")))?,
    })
}

/// What of an entry is not in its row.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Around {
    pub incarnation: Incarnation,
    pub domain: DomainId,
    pub prev: Digest,
    pub domain_prev: Digest,
}

impl EntryRow {
    /// The entry, each change with the content that `content` gives for its place.
    pub(crate) fn into_entry(
        self,
        around: Around,
        mut content: impl FnMut(usize, &ChangeRow) -> Result<ChangeContent, Fault>,
    ) -> Result<Entry, Fault> {
        let mut changes = Vec::with_capacity(self.changes.len());
        for (idx, row) in self.changes.into_iter().enumerate() {
            let content = content(idx, &row)?;
            let ChangeRow { kind, id, revision, salt, digest, .. } = row;
            let mut change = Change { kind, id, revision, salt, digest, content };
            if change.content == ChangeContent::Withheld {
                change.withhold();
            }
            changes.push(change);
        }
        Ok(Entry {
            incarnation: around.incarnation,
            seq: self.seq,
            prev: around.prev,
            time: self.time,
            domain: around.domain,
            domain_seq: self.domain_seq,
            domain_prev: around.domain_prev,
            actor: self.actor,
            request_id: self.request_id,
            action: self.action,
            target: self.target,
            outcome: self.outcome,
            changes,
        })
    }
}

/// The content of a change that wrote (kind, id) as change `idx` of entry `seq`, where it stands now.
pub(crate) fn read_content(
    conn: &Connection,
    slot: Option<i64>,
    seq: u64,
    idx: usize,
    change: &ChangeRow,
) -> Result<ChangeContent, Fault> {
    if change.delete {
        return Ok(ChangeContent::Delete);
    }
    let mut current =
        conn.prepare_cached("SELECT header, body FROM record WHERE kind = ?1 AND id = ?2 AND seq = ?3 AND idx = ?4")?;
    if let Some(content) = content_of(&mut current, params![change.kind as u8, change.id.as_bytes(), seq, idx])? {
        return Ok(content);
    }
    let mut past = conn.prepare_cached(
        "SELECT header, body FROM history WHERE slot = ?1 AND id = ?2 AND seq = ?3 AND idx = ?4 AND header NOT NULL",
    )?;
    let past = content_of(&mut past, params![slot, change.id.as_bytes(), seq, idx])?;
    Ok(past.unwrap_or(ChangeContent::Withheld))
}

fn content_of(
    statement: &mut CachedStatement<'_>,
    key: &[&dyn rusqlite::ToSql],
) -> Result<Option<ChangeContent>, Fault> {
    let mut rows = statement.query(key)?;
    let Some(row) = rows.next()? else { return Ok(None) };
    Ok(Some(ChangeContent::Put { header: row.get::<_, Vec<u8>>(0)?.into(), body: row.get::<_, Vec<u8>>(1)?.into() }))
}

#[cfg(test)]
mod tests {
    use rusqlite::types::ToSqlOutput;

    use super::{long, short};

    #[test]
    fn texts_come_back_as_they_were() {
        for text in [
            "",
            "system",
            "local|",
            "local|0190f3a4-0000-7000-8000-000000000001",
            "0190f3a4-0000-7000-8000-000000000001",
            "0190F3A4-0000-7000-8000-000000000001",
            "0190f3a4000070008000000000000001",
            "local|x",
        ] {
            let back = match short(text) {
                ToSqlOutput::Owned(ref value) => long(value.into()).unwrap(),
                ToSqlOutput::Borrowed(value) => long(value).unwrap(),
                other => panic!("{other:?}"),
            };
            assert_eq!(back, text);
        }
    }
}
