//! Reading records, from any thread: one, by name, in pages, all of a kind.

use std::ops::ControlFlow;

use keyark_model::{Digest, DomainId, Id, Kind, Record, Time};
use rusqlite::{Row, ToSql, params};

use crate::error::Fault;
use crate::options::{DomainHead, Head};
use crate::pool::Reader;
use crate::state::{load_base, load_domain, load_domains};
use crate::store::Store;

pub(crate) const RECORD: &str = "SELECT id, revision, seq, time, header, body FROM record";

/// A record that is still in the database's page: copy only what you keep.
#[derive(Clone, Copy, Debug)]
pub struct RecordView<'a> {
    pub kind: Kind,
    pub id: Id,
    pub domain: DomainId,
    pub revision: u64,
    pub seq: u64,
    pub time: Time,
    pub header: &'a [u8],
    pub body: &'a [u8],
}

impl<'a> RecordView<'a> {
    pub fn of(r: &'a Record) -> RecordView<'a> {
        let (kind, id, domain, revision, seq, time) = (r.kind, r.id, r.domain, r.revision, r.seq, r.time);
        RecordView { kind, id, domain, revision, seq, time, header: &r.header, body: &r.body }
    }

    /// A copy that may be kept.
    pub fn to_record(&self) -> Record {
        Record {
            kind: self.kind,
            id: self.id,
            domain: self.domain,
            revision: self.revision,
            seq: self.seq,
            time: self.time,
            header: self.header.into(),
            body: self.body.into(),
        }
    }
}

/// From a row that starts with the columns of `RECORD`.
pub(crate) fn view_of<'a>(row: &'a Row<'_>, domain: DomainId, kind: Kind) -> Result<RecordView<'a>, Fault> {
    Ok(RecordView {
        kind,
        domain,
        id: Id::from_bytes(row.get(0)?),
        revision: row.get(1)?,
        seq: row.get(2)?,
        time: Time(row.get(3)?),
        header: row.get_ref(4)?.as_blob().map_err(rusqlite::Error::from)?,
        body: row.get_ref(5)?.as_blob().map_err(rusqlite::Error::from)?,
    })
}

/// Which part of a listing. Ids made by Keyark are time-ordered, so id order is the order of creation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Page {
    /// Start behind this id (in the chosen order).
    pub after: Option<Id>,
    /// Then leave out so many.
    pub skip: u64,
    /// At most so many.
    pub limit: u64,
    /// Largest id first.
    pub newest_first: bool,
}

/// How many records, and the sum of their weights (`RecordFacts::weight`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Count {
    pub records: u64,
    pub weight: u64,
}

/// What is left of a deleted record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tombstone {
    pub kind: Kind,
    pub id: Id,
    pub domain: DomainId,
    /// The next put of this id has one more.
    pub revision: u64,
    /// The entry that deleted it, and when.
    pub seq: u64,
    pub time: Time,
    /// The name it had.
    pub name: Option<String>,
}

impl Store {
    /// One record.
    pub fn get(&self, domain: DomainId, kind: Kind, id: Id) -> Result<Option<Record>, Fault> {
        let conn = self.reader()?;
        let Some(slot) = conn.pool().slot(&conn, domain, kind)? else { return Ok(None) };
        let mut statement = conn.prepare_cached(&format!("{RECORD} WHERE slot = ?1 AND id = ?2"))?;
        let mut rows = statement.query(params![slot, id.as_bytes()])?;
        rows.next()?.map(|row| Ok(view_of(row, domain, kind)?.to_record())).transpose()
    }

    /// One record, in whatever domain.
    pub fn get_any(&self, kind: Kind, id: Id) -> Result<Option<Record>, Fault> {
        let conn = self.reader()?;
        let mut statement = conn.prepare_cached(
            "SELECT id, revision, seq, time, header, body, slot FROM record WHERE kind = ?1 AND id = ?2",
        )?;
        let mut rows = statement.query(params![kind as u8, id.as_bytes()])?;
        let Some(row) = rows.next()? else { return Ok(None) };
        let (domain, _) = conn.pool().owner(&conn, row.get(6)?)?;
        Ok(Some(view_of(row, domain, kind)?.to_record()))
    }

    /// The record that has a name or alias.
    pub fn find(&self, domain: DomainId, kind: Kind, name: &str) -> Result<Option<Record>, Fault> {
        let conn = self.reader()?;
        let Some(slot) = conn.pool().slot(&conn, domain, kind)? else { return Ok(None) };
        let mut statement =
            conn.prepare_cached(&format!("{RECORD} WHERE rid = (SELECT rid FROM name WHERE slot = ?1 AND name = ?2)"))?;
        let mut rows = statement.query(params![slot, name])?;
        rows.next()?.map(|row| Ok(view_of(row, domain, kind)?.to_record())).transpose()
    }

    /// A page of the records of one kind, in id order.
    pub fn page(&self, domain: DomainId, kind: Kind, page: &Page) -> Result<Vec<Record>, Fault> {
        let conn = self.reader()?;
        let Some(slot) = conn.pool().slot(&conn, domain, kind)? else { return Ok(Vec::new()) };
        let (beyond, order) = if page.newest_first { ("<", "DESC") } else { (">", "ASC") };
        let condition = page.after.map_or(String::new(), |_| format!("AND id {beyond} ?4"));
        let sql = format!("{RECORD} WHERE slot = ?1 {condition} ORDER BY id {order} LIMIT ?2 OFFSET ?3");
        let mut statement = conn.prepare_cached(&sql)?;
        let (limit, skip) = (page.limit.min(i64::MAX as u64), page.skip.min(i64::MAX as u64));
        let mut rows = match &page.after {
            Some(after) => statement.query(params![slot, limit, skip, after.as_bytes()])?,
            None => statement.query(params![slot, limit, skip])?,
        };
        let mut out = Vec::new();
        while let Some(row) = rows.next()? {
            out.push(view_of(row, domain, kind)?.to_record());
        }
        Ok(out)
    }

    /// Shows every record of one kind to `see`, in id order, until it breaks. One read transaction: `see` must not wait
    /// for anything slow.
    pub fn scan(
        &self,
        domain: DomainId,
        kind: Kind,
        mut see: impl FnMut(&RecordView<'_>) -> ControlFlow<()>,
    ) -> Result<(), Fault> {
        let conn = self.reader()?;
        let Some(slot) = conn.pool().slot(&conn, domain, kind)? else { return Ok(()) };
        let mut statement = conn.prepare_cached(&format!("{RECORD} WHERE slot = ?1 ORDER BY id"))?;
        let mut rows = statement.query([slot])?;
        while let Some(row) = rows.next()? {
            if see(&view_of(row, domain, kind)?).is_break() {
                break;
            }
        }
        Ok(())
    }

    /// How many records of a kind a domain has; does not count them.
    pub fn count(&self, domain: DomainId, kind: Kind) -> Result<Count, Fault> {
        let state = load_domain(&*self.reader()?, domain)?;
        let slot = state.and_then(|d| d.slot(kind).copied());
        Ok(slot.map_or(Count::default(), |s| Count { records: s.records, weight: s.weight }))
    }

    /// The end of the log: everything up to it is on disk.
    pub fn head(&self) -> Head {
        self.shared().head()
    }

    /// Where the log that this store still has starts.
    pub fn base(&self) -> Result<Head, Fault> {
        load_base(&*self.reader()?)
    }

    /// The end of a domain's own log.
    pub fn domain_head(&self, domain: DomainId) -> Result<DomainHead, Fault> {
        Ok(load_domain(&*self.reader()?, domain)?.map_or(DomainHead::default(), |d| d.head))
    }

    /// The record digest of a domain: LtHash of its records of shipped kinds.
    pub fn digest(&self, domain: DomainId) -> Result<Digest, Fault> {
        Ok(load_domain(&*self.reader()?, domain)?.map(|d| d.lanes).unwrap_or_default().digest())
    }

    /// Every domain that ever had an entry or a record, by id.
    pub fn domains(&self) -> Result<Vec<DomainId>, Fault> {
        Ok(load_domains(&*self.reader()?)?.into_iter().map(|(id, _)| id).collect())
    }

    /// What stands of a deleted record, if it is deleted.
    pub fn tombstone(&self, kind: Kind, id: Id) -> Result<Option<Tombstone>, Fault> {
        let last = "kind = ?1 AND id = ?2 AND NOT EXISTS (SELECT 1 FROM record WHERE kind = ?1 AND id = ?2)
             ORDER BY revision DESC LIMIT 1";
        Ok(tombstones_where(&self.reader()?, last, params![kind as u8, id.as_bytes()])?.pop())
    }

    /// Records deleted after entry `after_seq` and not made again in their domain, in the order of their deletion.
    pub fn tombstones(&self, domain: Option<DomainId>, after_seq: u64, limit: u64) -> Result<Vec<Tombstone>, Fault> {
        let limit = limit.min(i64::MAX as u64);
        let condition = format!("seq > ?1 AND {OF_DOMAIN} ORDER BY seq, idx LIMIT ?2");
        tombstones_where(&self.reader()?, &condition, params![after_seq, limit, domain.map(|d| *d.as_bytes())])
    }
}

/// Of tombstones: those of the domain that is the third parameter; null: all.
const OF_DOMAIN: &str = "(?3 IS NULL OR slot IN
     (SELECT slot.no FROM slot JOIN domain ON domain.no = slot.domain WHERE domain.id = ?3))";

/// What a connection sees of them, of the entries after one and up to another, in the order of (domain, kind, id).
pub(crate) fn each_tombstone<E: From<Fault>>(
    conn: &Reader,
    domain: Option<DomainId>,
    (after, upto): (u64, u64),
    f: impl FnMut(Tombstone) -> Result<(), E>,
) -> Result<(), E> {
    let condition = format!(
        "seq > ?1 AND seq <= ?2 AND {OF_DOMAIN} ORDER BY
         (SELECT domain.id FROM slot JOIN domain ON domain.no = slot.domain WHERE slot.no = tombstone.slot), kind, id"
    );
    each_tombstone_where(conn, &condition, params![after, upto, domain.map(|d| *d.as_bytes())], f)
}

fn tombstones_where(conn: &Reader, condition: &str, values: &[&dyn ToSql]) -> Result<Vec<Tombstone>, Fault> {
    let mut all = Vec::new();
    each_tombstone_where::<Fault>(conn, condition, values, |gone| {
        all.push(gone);
        Ok(())
    })?;
    Ok(all)
}

fn each_tombstone_where<E: From<Fault>>(
    conn: &Reader,
    condition: &str,
    values: &[&dyn ToSql],
    mut f: impl FnMut(Tombstone) -> Result<(), E>,
) -> Result<(), E> {
    let sql = format!("SELECT id, slot, revision, seq, time, name FROM tombstone WHERE {condition}");
    let mut statement = conn.prepare_cached(&sql).map_err(Fault::from)?;
    let mut rows = statement.query(values).map_err(Fault::from)?;
    let read = |row: &Row<'_>| {
        let (domain, kind) = conn.pool().owner(conn, row.get(1)?)?;
        let (id, revision, seq) = (Id::from_bytes(row.get(0)?), row.get(2)?, row.get(3)?);
        Ok::<_, Fault>(Tombstone { kind, domain, id, revision, seq, time: Time(row.get(4)?), name: row.get(5)? })
    };
    while let Some(row) = rows.next().map_err(Fault::from)? {
        f(read(row)?)?;
    }
    Ok(())
}
