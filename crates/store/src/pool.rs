//! Read connections, kept open between reads, and what they remember of domains.

use std::collections::HashMap;
use std::ops::Deref;
use std::sync::{Arc, Mutex, RwLock};

use keyark_model::{DomainId, Kind};
use rusqlite::{Connection, OptionalExtension, params};

use crate::error::Fault;
use crate::schema::open_reader;
use crate::shared::{Shared, lock};

/// Hands out connections; makes a new one when all are out.
pub(crate) struct Pool {
    shared: Arc<Shared>,
    idle: Mutex<Vec<Connection>>,
    slots: RwLock<HashMap<(DomainId, Kind), i64>>,
    owners: RwLock<HashMap<i64, (DomainId, Kind)>>,
    domains: RwLock<HashMap<DomainId, i64>>,
}

/// A connection on loan.
pub(crate) struct Reader {
    conn: Option<Connection>,
    pool: Arc<Pool>,
}

impl Pool {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        Pool {
            shared,
            idle: Mutex::default(),
            slots: RwLock::default(),
            owners: RwLock::default(),
            domains: RwLock::default(),
        }
    }

    pub(crate) fn take(self: &Arc<Self>) -> Result<Reader, Fault> {
        let idle = lock(&self.idle).pop();
        let conn = match idle {
            Some(conn) => conn,
            None => open_reader(&self.shared.path, &self.shared.options)?,
        };
        Ok(Reader { conn: Some(conn), pool: Arc::clone(self) })
    }

    /// Closes what is idle: the last connection of a store copies the WAL into the database.
    pub(crate) fn close(&self) {
        lock(&self.idle).clear();
    }

    /// Where the records of (domain, kind) are. Numbers are given once and never change, so they are remembered.
    pub(crate) fn slot(&self, conn: &Connection, domain: DomainId, kind: Kind) -> Result<Option<i64>, Fault> {
        remembered(&self.slots, &(domain, kind), || {
            conn.prepare_cached(
                "SELECT slot.no FROM slot JOIN domain ON domain.no = slot.domain WHERE domain.id = ?1 AND kind = ?2",
            )?
            .query_row(params![domain.as_bytes(), kind as u8], |r| r.get(0))
            .optional()
        })
    }

    /// Whose records a slot holds.
    pub(crate) fn owner(&self, conn: &Connection, slot: i64) -> Result<(DomainId, Kind), Fault> {
        let found = remembered(&self.owners, &slot, || {
            conn.prepare_cached(
                "SELECT domain.id, kind FROM slot JOIN domain ON domain.no = slot.domain WHERE slot.no = ?1",
            )?
            .query_row([slot], |r| Ok((DomainId::from_bytes(r.get(0)?), r.get::<_, u8>(1)?)))
            .optional()
            .map(|found| found.and_then(|(domain, code)| Some((domain, Kind::from_code(code)?))))
        })?;
        found.ok_or_else(|| Fault::Damaged(format!("slot {slot} has no owner")))
    }

    /// The number that entries have for a domain.
    pub(crate) fn domain(&self, conn: &Connection, domain: DomainId) -> Result<Option<i64>, Fault> {
        remembered(&self.domains, &domain, || {
            conn.prepare_cached("SELECT no FROM domain WHERE id = ?1")?
                .query_row([domain.as_bytes()], |r| r.get(0))
                .optional()
        })
    }
}

fn remembered<K: std::hash::Hash + Eq + Copy, V: Copy>(
    memory: &RwLock<HashMap<K, V>>,
    key: &K,
    ask: impl FnOnce() -> rusqlite::Result<Option<V>>,
) -> Result<Option<V>, Fault> {
    if let Some(value) = memory.read().unwrap_or_else(std::sync::PoisonError::into_inner).get(key) {
        return Ok(Some(*value));
    }
    let found = ask()?;
    if let Some(value) = found {
        memory.write().unwrap_or_else(std::sync::PoisonError::into_inner).insert(*key, value);
    }
    Ok(found)
}

impl Reader {
    pub(crate) fn pool(&self) -> &Pool {
        &self.pool
    }

    /// Runs several reads on one state of the database.
    pub(crate) fn consistent<T>(&self, read: impl FnOnce() -> Result<T, Fault>) -> Result<T, Fault> {
        self.prepare_cached("BEGIN")?.execute([])?;
        let result = read();
        self.prepare_cached("COMMIT")?.execute([])?;
        result
    }
}

impl Deref for Reader {
    type Target = Connection;
    fn deref(&self) -> &Connection {
        self.conn.as_ref().expect("it is taken only on drop")
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        if let Some(conn) = self.conn.take() {
            let mut idle = lock(&self.pool.idle);
            // One whose transaction a panic left open must not go to the next reader.
            if conn.is_autocommit() && idle.len() < self.pool.shared.options.readers {
                idle.push(conn);
            }
        }
    }
}
