//! Copies the WAL into the database beside the writer, so that no commit waits for it.

use std::sync::Arc;
use std::time::Duration;

use rusqlite::Connection;

use crate::error::Fault;
use crate::schema::open_reader;
use crate::shared::{Shared, WalSignal, lock};

/// The writer calls for a checkpoint when the WAL is longer; bytes.
pub(crate) const WAL_LONG: u64 = 8 << 20;
/// Past this the rest is copied while the writer waits, so that the WAL starts again at its front; bytes.
const WAL_TOO_LONG: u64 = 48 << 20;
/// After so long without a commit the WAL is emptied.
const IDLE: Duration = Duration::from_secs(1);

/// Runs until the store closes. A checkpoint that fails is tried again: until then the WAL keeps everything.
pub(crate) fn run(shared: &Arc<Shared>, conn: &Connection) {
    let mut emptied_at = 0;
    let mut last_seen = 0;
    loop {
        let signal = wait(shared);
        if signal.stop {
            return;
        }
        let idle = signal.commits == last_seen && signal.commits != emptied_at;
        last_seen = signal.commits;
        let done = if signal.truncate || idle {
            truncate(shared, conn).map(|empty| {
                if empty {
                    emptied_at = signal.commits;
                }
                // Readers of old pages keep the WAL; purged content must go, so try again until it has gone.
                if signal.truncate && !empty {
                    shared.wal().truncate = true;
                }
            })
        } else if signal.long {
            copy(shared, conn)
        } else {
            Ok(())
        };
        if let Err(fault) = done {
            tracing::warn!(%fault, "the checkpoint of the write-ahead log failed and will be repeated");
        }
    }
}

fn wait(shared: &Shared) -> WalSignal {
    let wal = shared.wal();
    let wal = if wal.long || wal.stop {
        wal
    } else {
        match shared.wal_changed.wait_timeout(wal, IDLE) {
            Ok((wal, _)) => wal,
            Err(poisoned) => poisoned.into_inner().0,
        }
    };
    let mut wal = wal;
    let signal = *wal;
    wal.long = false;
    wal.truncate = false;
    signal
}

fn copy(shared: &Shared, conn: &Connection) -> Result<(), Fault> {
    checkpoint(conn, "PASSIVE")?;
    if shared.wal_bytes() > WAL_TOO_LONG {
        // Once more for what came while the bulk was copied; then the writer waits for the few frames since.
        checkpoint(conn, "PASSIVE")?;
        let _gate = lock(&shared.gate);
        checkpoint(conn, "PASSIVE")?;
    }
    Ok(())
}

fn truncate(shared: &Shared, conn: &Connection) -> Result<bool, Fault> {
    checkpoint(conn, "PASSIVE")?;
    let _gate = lock(&shared.gate);
    checkpoint(conn, "TRUNCATE")
}

/// Whether all was copied (and, for TRUNCATE, the file emptied).
fn checkpoint(conn: &Connection, mode: &str) -> Result<bool, Fault> {
    let busy: i64 = conn.query_row(&format!("PRAGMA wal_checkpoint({mode})"), [], |r| r.get(0))?;
    Ok(busy == 0)
}

/// The connection for `run`.
pub(crate) fn open(shared: &Shared) -> Result<Connection, Fault> {
    let conn = open_reader(&shared.path, &shared.options)?;
    conn.pragma_update(None, "query_only", false)?;
    // Readers are not waited for: the next round comes soon.
    conn.busy_timeout(Duration::ZERO)?;
    Ok(conn)
}
