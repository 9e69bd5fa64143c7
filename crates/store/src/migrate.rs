//! Brings a database of an earlier version up to the schema of this one, after copying it.

use std::path::Path;

use rusqlite::Connection;

use crate::error::{Fault, OpenError};
use crate::failpoint::failpoint;
use crate::lock::beside;
use crate::schema::{APPLICATION, PRODUCT, SCHEMA};

/// Step `n` brings schema `n + 1` to `n + 2`. Released steps never change.
pub(crate) const STEPS: &[&str] = &["
CREATE TABLE tombstones (
    kind INTEGER NOT NULL, id BLOB NOT NULL, slot INTEGER NOT NULL,
    revision INTEGER NOT NULL, seq INTEGER NOT NULL, idx INTEGER NOT NULL, time INTEGER NOT NULL, name TEXT,
    PRIMARY KEY (kind, id, slot)
) WITHOUT ROWID;
INSERT INTO tombstones SELECT kind, id, slot, revision, seq, idx, time, name FROM tombstone;
DROP TABLE tombstone;
ALTER TABLE tombstones RENAME TO tombstone;
CREATE INDEX tombstone_seq ON tombstone (seq);
"];

/// Refuses what is no store or newer, migrates what is older. The copy stays as `<path>-schema<n>`.
pub(crate) fn migrate(conn: &Connection, path: &Path, steps: &[&str], target: i64) -> Result<(), OpenError> {
    let application: i64 = conn.pragma_query_value(None, "application_id", |r| r.get(0)).map_err(|_| foreign(path))?;
    if application != APPLICATION {
        return Err(foreign(path));
    }
    let found: i64 = conn.pragma_query_value(None, "user_version", |r| r.get(0))?;
    if found > target {
        let written_by = conn.query_row("SELECT written_by FROM identity", [], |r| r.get(0));
        return Err(OpenError::Newer {
            path: path.to_owned(),
            found,
            supported: target,
            written_by: written_by.unwrap_or_else(|_| "of a later version".into()),
        });
    }
    if found == target {
        return Ok(());
    }
    copy(conn, path, found)?;
    failpoint("migrate-copied");
    conn.execute_batch("BEGIN IMMEDIATE")?;
    let migrated = steps
        .iter()
        .skip(found as usize - 1)
        .try_for_each(|step| conn.execute_batch(step))
        .and_then(|()| conn.execute("UPDATE identity SET written_by = ?1", [PRODUCT]).map(|_| ()))
        .and_then(|()| conn.pragma_update(None, "user_version", target))
        .map(|()| failpoint("migrate-done"))
        .and_then(|()| conn.execute_batch("COMMIT"));
    if migrated.is_err() && !conn.is_autocommit() {
        conn.execute_batch("ROLLBACK")?;
    }
    Ok(migrated?)
}

/// A whole copy, made by SQLite itself so that the WAL is in it.
fn copy(conn: &Connection, path: &Path, found: i64) -> Result<(), OpenError> {
    let (copy, part) = (beside(path, &format!("-schema{found}")), beside(path, "-copying"));
    let io = |source| OpenError::Io { path: copy.clone(), source };
    if copy.exists() {
        return Ok(());
    }
    if part.exists() {
        std::fs::remove_file(&part).map_err(io)?;
    }
    let name = part.to_str().ok_or_else(|| Fault::Database("the path of the database is not UTF-8".into()))?;
    conn.execute("VACUUM INTO ?1", [name])?;
    failpoint("migrate-copying");
    std::fs::File::open(&part).and_then(|f| f.sync_all()).map_err(io)?;
    std::fs::rename(&part, &copy).map_err(io)
}

fn foreign(path: &Path) -> OpenError {
    OpenError::Foreign { path: path.to_owned() }
}

/// Marks a new database as ours, of this schema.
pub(crate) fn stamp(conn: &Connection) -> rusqlite::Result<()> {
    conn.pragma_update(None, "application_id", APPLICATION)?;
    conn.pragma_update(None, "user_version", SCHEMA)
}

#[cfg(test)]
mod tests {
    use rusqlite::Connection;

    use super::{STEPS, migrate, stamp};
    use crate::error::OpenError;
    use crate::schema::{SCHEMA, TABLES};

    fn database(path: &std::path::Path) -> Connection {
        let conn = Connection::open(path).unwrap();
        stamp(&conn).unwrap();
        conn.pragma_update(None, "user_version", 1).unwrap();
        conn.execute_batch(TABLES).unwrap();
        conn.execute("INSERT INTO identity VALUES (1, x'00', x'00', NULL, NULL, NULL, 0, '0.0.9')", []).unwrap();
        conn
    }

    #[test]
    fn an_older_database_is_copied_and_then_migrated() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("db");
        let conn = database(&path);
        migrate(&conn, &path, &["CREATE TABLE extra (x)"], 2).unwrap();
        conn.execute("INSERT INTO extra VALUES (1)", []).unwrap();
        assert_eq!(conn.pragma_query_value(None, "user_version", |r| r.get::<_, i64>(0)).unwrap(), 2);
        let old = Connection::open(folder.path().join("db-schema1")).unwrap();
        assert!(old.execute("INSERT INTO extra VALUES (1)", []).is_err());
        assert_eq!(old.query_row("SELECT written_by FROM identity", [], |r| r.get::<_, String>(0)).unwrap(), "0.0.9");
    }

    #[test]
    fn a_database_of_the_first_schema_becomes_one_of_this() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("db");
        let conn = database(&path);
        let first = "DROP TABLE tombstone; CREATE TABLE tombstone (
            kind INTEGER NOT NULL, id BLOB NOT NULL, slot INTEGER NOT NULL,
            revision INTEGER NOT NULL, seq INTEGER NOT NULL, idx INTEGER NOT NULL, time INTEGER NOT NULL, name TEXT,
            PRIMARY KEY (kind, id)
        ) WITHOUT ROWID;
        CREATE INDEX tombstone_seq ON tombstone (seq);
        INSERT INTO tombstone VALUES (1, x'01', 7, 2, 5, 0, 9, 'gone')";
        conn.execute_batch(first).unwrap();
        migrate(&conn, &path, STEPS, SCHEMA).unwrap();
        let new = Connection::open_in_memory().unwrap();
        new.execute_batch(TABLES).unwrap();
        let columns = |conn: &Connection| {
            let sql = "SELECT m.name, x.name, x.type, x.pk FROM sqlite_master m, pragma_table_info(m.name) x
                 WHERE m.type = 'table' UNION ALL
                 SELECT m.name, x.name, '', x.seqno FROM sqlite_master m, pragma_index_xinfo(m.name) x
                 WHERE m.type = 'index' ORDER BY 1, 4, 2";
            let mut statement = conn.prepare(sql).unwrap();
            let row = |r: &rusqlite::Row<'_>| {
                Ok((
                    r.get::<_, String>(0)?,
                    r.get::<_, Option<String>>(1)?,
                    r.get::<_, String>(2)?,
                    r.get::<_, i64>(3)?,
                ))
            };
            statement.query_map([], row).unwrap().collect::<Result<Vec<_>, _>>().unwrap()
        };
        assert_eq!(columns(&conn), columns(&new));
        let kept = conn.query_row("SELECT name FROM tombstone WHERE seq = 5", [], |r| r.get::<_, String>(0));
        assert_eq!(kept.unwrap(), "gone");
        conn.execute("INSERT INTO tombstone VALUES (1, x'01', 8, 4, 6, 0, 9, NULL)", []).unwrap();
    }

    #[test]
    fn a_migration_that_fails_leaves_the_old_schema() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("db");
        let conn = database(&path);
        assert!(migrate(&conn, &path, &["CREATE TABLE extra (x)", "no sql"], 3).is_err());
        assert_eq!(conn.pragma_query_value(None, "user_version", |r| r.get::<_, i64>(0)).unwrap(), 1);
        assert!(conn.execute("INSERT INTO extra VALUES (1)", []).is_err());
    }

    /// What the killed process does.
    #[test]
    #[ignore = "dies; the test below runs it in a process of its own"]
    fn killed_while_migrating() {
        let path = std::path::PathBuf::from(std::env::var_os("KEYARK_TEST_MIGRATE").expect("set by the test below"));
        crate::failpoint::arm(&std::env::var("KEYARK_TEST_KILL").unwrap());
        let conn = Connection::open(&path).unwrap();
        migrate(&conn, &path, &STEP, 2).unwrap();
        panic!("it should have been killed");
    }

    const STEP: [&str; 1] = ["CREATE TABLE extra (x); UPDATE identity SET written_by = 'half'"];

    #[test]
    fn an_upgrade_that_is_killed_is_done_by_the_next_start_and_can_be_taken_back() {
        for place in ["migrate-copying", "migrate-copied", "migrate-done"] {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("db");
            let conn = database(&path);
            conn.pragma_update(None, "journal_mode", "WAL").unwrap();
            drop(conn);
            let mut this = std::process::Command::new(std::env::current_exe().unwrap());
            this.args(["--ignored", "--exact", "migrate::tests::killed_while_migrating"]);
            let killed = this.env("KEYARK_TEST_MIGRATE", &path).env("KEYARK_TEST_KILL", place).output().unwrap();
            assert_eq!(std::os::unix::process::ExitStatusExt::signal(&killed.status), Some(9), "{place}: {killed:?}");
            let conn = Connection::open(&path).unwrap();
            let version = |c: &Connection| c.pragma_query_value(None, "user_version", |r| r.get::<_, i64>(0)).unwrap();
            assert_eq!(version(&conn), 1, "{place}: nothing of it is done");
            // The next start.
            migrate(&conn, &path, &STEP, 2).unwrap();
            assert_eq!(version(&conn), 2, "{place}");
            conn.execute("INSERT INTO extra VALUES (1)", []).unwrap();
            drop(conn);
            // Back: the copy is the database as it was, and the older product opens it.
            let copy = folder.path().join("db-schema1");
            for left in ["db-wal", "db-shm"] {
                let _ = std::fs::remove_file(folder.path().join(left));
            }
            std::fs::rename(&copy, &path).unwrap();
            let conn = Connection::open(&path).unwrap();
            migrate(&conn, &path, &[], 1).unwrap();
            let by: String = conn.query_row("SELECT written_by FROM identity", [], |r| r.get(0)).unwrap();
            assert_eq!(by, "0.0.9", "{place}");
            assert!(conn.execute("INSERT INTO extra VALUES (1)", []).is_err());
        }
    }

    #[test]
    fn a_newer_database_names_the_version_that_wrote_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("db");
        let conn = database(&path);
        let error = migrate(&conn, &path, &[], 0).unwrap_err();
        assert!(matches!(&error, OpenError::Newer { found: 1, supported: 0, written_by, .. } if written_by == "0.0.9"));
    }
}
