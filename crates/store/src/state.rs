//! What the writer keeps in memory of the log and its projection: heads, digests and counts of each domain.

use std::collections::HashMap;

use keyark_crypto::lthash::LtHash;
use keyark_model::{Digest, DomainId, Incarnation, Kind, Time};
use rusqlite::{Connection, OptionalExtension, params};

use crate::error::Fault;
use crate::options::{DomainHead, Head};

/// Everything that the next commit starts from. It changes only when a transaction has been committed.
pub(crate) struct State {
    pub incarnation: Incarnation,
    pub base: Head,
    pub head: Head,
    pub domains: HashMap<DomainId, DomainState>,
    pub owners: HashMap<i64, (DomainId, Kind)>,
    pub next_domain: i64,
    pub next_slot: i64,
}

/// One domain as the log stands.
#[derive(Clone, Debug)]
pub(crate) struct DomainState {
    pub no: i64,
    pub head: DomainHead,
    pub lanes: LtHash,
    pub slots: Vec<SlotState>,
}

/// The records of one kind in one domain.
#[derive(Clone, Copy, Debug, PartialEq, Eq, minicbor::Encode, minicbor::Decode)]
#[cbor(array)]
pub(crate) struct SlotState {
    #[n(0)]
    pub slot: i64,
    #[n(1)]
    pub kind: Kind,
    #[n(2)]
    pub records: u64,
    #[n(3)]
    pub weight: u64,
    /// The `n` of the next row id; never given twice.
    #[n(4)]
    pub next: u64,
}

impl DomainState {
    pub(crate) fn new(no: i64) -> Self {
        DomainState { no, head: DomainHead::default(), lanes: LtHash::default(), slots: Vec::new() }
    }

    pub(crate) fn slot(&self, kind: Kind) -> Option<&SlotState> {
        self.slots.iter().find(|s| s.kind == kind)
    }
}

impl State {
    /// Reads it from the database.
    pub(crate) fn load(conn: &Connection) -> Result<State, Fault> {
        let incarnation = conn.query_row("SELECT incarnation FROM identity", [], |r| r.get(0))?;
        let (base, head) = (load_base(conn)?, load_head(conn)?);
        let mut state = State {
            incarnation: Incarnation::from_bytes(incarnation),
            base,
            head,
            domains: HashMap::new(),
            owners: HashMap::new(),
            next_domain: 1,
            next_slot: 1,
        };
        for (id, domain) in load_domains(conn)? {
            state.next_domain = state.next_domain.max(domain.no + 1);
            for slot in &domain.slots {
                state.next_slot = state.next_slot.max(slot.slot + 1);
                state.owners.insert(slot.slot, (id, slot.kind));
            }
            state.domains.insert(id, domain);
        }
        Ok(state)
    }
}

/// Where the log starts.
pub(crate) fn load_base(conn: &Connection) -> Result<Head, Fault> {
    Ok(conn.prepare_cached("SELECT seq, hash, time FROM base")?.query_row([], head_of_row)?)
}

/// Where the log ends. What stands before the base is history.
pub(crate) fn load_head(conn: &Connection) -> Result<Head, Fault> {
    let last = conn
        .prepare_cached(
            "SELECT seq, hash, time FROM entry WHERE seq > (SELECT seq FROM base) ORDER BY seq DESC LIMIT 1",
        )?
        .query_row([], head_of_row)
        .optional()?;
    match last {
        Some(head) => Ok(head),
        None => load_base(conn),
    }
}

fn head_of_row(row: &rusqlite::Row<'_>) -> rusqlite::Result<Head> {
    Ok(Head { seq: row.get(0)?, hash: Digest(row.get(1)?), time: Time(row.get(2)?) })
}

/// All domains, in the order of their ids.
pub(crate) fn load_domains(conn: &Connection) -> Result<Vec<(DomainId, DomainState)>, Fault> {
    let mut statement = conn.prepare_cached(&format!("{SELECT_DOMAIN} ORDER BY id"))?;
    let mut rows = statement.query([])?;
    let mut out = Vec::new();
    while let Some(row) = rows.next()? {
        out.push(domain_of_row(row)?);
    }
    Ok(out)
}

/// One domain, if it ever had an entry or a record.
pub(crate) fn load_domain(conn: &Connection, id: DomainId) -> Result<Option<DomainState>, Fault> {
    let mut statement = conn.prepare_cached(&format!("{SELECT_DOMAIN} WHERE id = ?1"))?;
    let mut rows = statement.query([id.as_bytes()])?;
    match rows.next()? {
        Some(row) => Ok(Some(domain_of_row(row)?.1)),
        None => Ok(None),
    }
}

const SELECT_DOMAIN: &str = "SELECT id, no, domain_seq, hash, seq, counts, lanes FROM domain";

fn domain_of_row(row: &rusqlite::Row<'_>) -> Result<(DomainId, DomainState), Fault> {
    let counts = row.get_ref(5)?.as_blob().map_err(rusqlite::Error::from)?;
    let lanes = row.get_ref(6)?.as_blob().map_err(rusqlite::Error::from)?;
    let state = DomainState {
        no: row.get(1)?,
        head: DomainHead { domain_seq: row.get(2)?, hash: Digest(row.get(3)?), seq: row.get(4)? },
        slots: minicbor::decode(counts).map_err(|e| Fault::Damaged(format!("counts of a domain: {e}")))?,
        lanes: LtHash::from_bytes(lanes).ok_or_else(|| Fault::Damaged("digest lanes of a domain".into()))?,
    };
    Ok((DomainId::from_bytes(row.get(0)?), state))
}

/// Writes a domain's row, new or not.
pub(crate) fn store_domain(conn: &Connection, id: DomainId, domain: &DomainState) -> Result<(), Fault> {
    let counts = minicbor::to_vec(&domain.slots).expect("writing to a vector cannot fail");
    conn.prepare_cached(
        "INSERT INTO domain (no, id, domain_seq, hash, seq, counts, lanes) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)
         ON CONFLICT (no) DO UPDATE SET domain_seq = ?3, hash = ?4, seq = ?5, counts = ?6, lanes = ?7",
    )?
    .execute(params![
        domain.no,
        id.as_bytes(),
        domain.head.domain_seq,
        domain.head.hash.0,
        domain.head.seq,
        counts,
        &domain.lanes.to_bytes()[..],
    ])?;
    Ok(())
}
