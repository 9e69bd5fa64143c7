//! The store as a whole: made, opened, committed to and closed.

use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use keyark_model::{Digest, Id, Incarnation, Kind, Position, SystemId, Time};
use rusqlite::{Connection, params};

use crate::batch::{Batch, Committed};
use crate::checkpoint;
use crate::error::{CommitError, Fault, OpenError};
use crate::lock::LockFile;
use crate::log::{Log, LogError};
use crate::log_sqlite::SqliteLog;
use crate::migrate::{STEPS, migrate, stamp};
use crate::options::{Head, Identity, Options, Parent};
use crate::pool::{Pool, Reader};
use crate::salts::Salts;
use crate::schema::{PRODUCT, RECORD_INDEXES, SCHEMA, TABLES, open_writer};
use crate::shared::{Shared, lock};
use crate::state::State;
use crate::trim::Trimmed;
use crate::writer::{Job, Waiting, Writer};

/// An open store. Clones are handles on the same one; it closes with the last.
#[derive(Clone)]
pub struct Store {
    inner: Arc<Inner>,
}

struct Inner {
    queue: Sender<Job>,
    shared: Arc<Shared>,
    pool: Arc<Pool>,
    identity: Identity,
    threads: Mutex<Vec<JoinHandle<()>>>,
    /// Let go of last, when every connection is closed.
    _lock: LockFile,
}

impl Store {
    /// Makes a store with an empty base at `path` and opens it. The folder must exist and the file must not.
    pub fn create(path: &Path, identity: &Identity, now: Time, options: Options) -> Result<Store, OpenError> {
        create_file(path, identity, now)?;
        Store::open(path, options)
    }

    /// Opens the store of a single node.
    pub fn open(path: &Path, options: Options) -> Result<Store, OpenError> {
        Store::open_inner(path, options, None)
    }

    /// Opens a node's projection of a shared log, and catches up with it.
    pub fn open_shared(path: &Path, options: Options, log: Box<dyn Log>) -> Result<Store, OpenError> {
        Store::open_inner(path, options, Some(log))
    }

    fn open_inner(path: &Path, options: Options, log: Option<Box<dyn Log>>) -> Result<Store, OpenError> {
        if !path.exists() {
            return Err(OpenError::Missing { path: path.to_owned() });
        }
        let lock_file = LockFile::take(path)?;
        let conn = open_writer(path, &options).map_err(|e| not_ours(e, path))?;
        migrate(&conn, path, STEPS, SCHEMA)?;
        let state = State::load(&conn)?;
        let identity = load_identity(&conn)?;
        let shared = Arc::new(Shared::new(path.to_owned(), options, state.head));
        let log = log.unwrap_or_else(|| Box::new(SqliteLog::new(state.head)));
        let mut writer = Writer {
            conn,
            state,
            log,
            shared: Arc::clone(&shared),
            salts: Salts::default(),
            stale: false,
            transactions: 0,
        };
        writer.catch_up()?;
        shared.publish(writer.state.head);
        let checkpointer = checkpoint::open(&shared)?;
        let (queue, jobs) = channel();
        let threads = vec![
            spawn("store-writer", move || writer.run(&jobs)),
            spawn("store-checkpoint", {
                let shared = Arc::clone(&shared);
                move || checkpoint::run(&shared, &checkpointer)
            }),
        ];
        let threads = threads.into_iter().collect::<Result<Vec<_>, _>>();
        let threads = threads.map_err(|source| OpenError::Io { path: path.to_owned(), source })?;
        let pool = Arc::new(Pool::new(Arc::clone(&shared)));
        let inner = Inner { queue, shared, pool, identity, threads: Mutex::new(threads), _lock: lock_file };
        Ok(Store { inner: Arc::new(inner) })
    }

    /// Which system and incarnation this is.
    pub fn identity(&self) -> Identity {
        self.inner.identity
    }

    /// The database file.
    pub fn path(&self) -> &Path {
        &self.inner.shared.path
    }

    /// Commits a batch and waits until it is on disk.
    pub fn commit(&self, batch: Batch, now: Time) -> Result<Committed, CommitError> {
        self.ask(|answer| Job::Commit(Waiting { batch, now, answer: Box::new(answer) })).unwrap_or_else(Err)
    }

    /// Hands a batch in; `callback` is called once, on the writer's thread, when it is on disk or has failed. It must
    /// not block. Callers may have many batches in flight; those that wait together share one fsync.
    pub fn submit(&self, batch: Batch, now: Time, callback: Box<dyn FnOnce(Result<Committed, CommitError>) + Send>) {
        if let Err(job) = self.send(Job::Commit(Waiting { batch, now, answer: callback })) {
            let (Job::Commit(waiting), error) = *job else { return };
            (waiting.answer)(Err(error));
        }
    }

    /// Reads what other nodes have appended to a shared log; gives the head then.
    pub fn catch_up(&self) -> Result<Head, LogError> {
        self.ask(|answer| Job::CatchUp(Box::new(answer))).unwrap_or_else(|_| Err(closed().into()))
    }

    /// Forgets every superseded content of a record in the local log. The digests stay, so the chain still verifies.
    pub fn purge(&self, kind: Kind, id: Id) -> Result<(), Fault> {
        self.ask(|answer| Job::Purge { kind, id, answer: Box::new(answer) }).unwrap_or_else(|_| Err(closed()))
    }

    /// Moves the base forward to `up_to` (or the head, or the oldest running snapshot, whichever is first) and
    /// deletes the content that only entries up to there need. Their audit fields stay until `forget`.
    pub fn trim(&self, up_to: u64) -> Result<Trimmed, Fault> {
        loop {
            let trimmed = self.ask(|answer| Job::Trim { up_to, answer: Box::new(answer) });
            let trimmed = trimmed.unwrap_or_else(|_| Err(closed()))?;
            if trimmed.done {
                return Ok(trimmed);
            }
        }
    }

    /// Deletes the audit fields of trimmed entries up to `up_to`.
    pub fn forget(&self, up_to: u64) -> Result<(), Fault> {
        while self.ask(|answer| Job::Forget { up_to, answer: Box::new(answer) }).unwrap_or_else(|_| Err(closed()))? > 0
        {
        }
        Ok(())
    }

    pub(crate) fn reader(&self) -> Result<Reader, Fault> {
        self.inner.pool.take()
    }

    pub(crate) fn shared(&self) -> &Arc<Shared> {
        &self.inner.shared
    }

    /// Sends a job and waits for its answer.
    fn ask<T: Send + 'static>(&self, job: impl FnOnce(Box<dyn FnOnce(T) + Send>) -> Job) -> Result<T, CommitError> {
        let (tell, told) = channel();
        // Nobody listens any more only when this very call has been abandoned.
        let answer = Box::new(move |value| drop(tell.send(value)));
        self.send(job(answer)).map_err(|refused| refused.1)?;
        told.recv().map_err(|_| CommitError::Closed)
    }

    fn send(&self, job: Job) -> Result<(), Box<(Job, CommitError)>> {
        let shared = &self.inner.shared;
        if matches!(job, Job::Commit(_)) && shared.queued.fetch_add(1, Ordering::Relaxed) >= shared.options.queue_limit
        {
            shared.queued.fetch_sub(1, Ordering::Relaxed);
            return Err(Box::new((job, CommitError::Busy)));
        }
        self.inner.queue.send(job).map_err(|e| Box::new((e.0, CommitError::Closed)))
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        // What was handed in before is still committed: `Stop` stands behind it in the queue.
        let _ = self.queue.send(Job::Stop);
        self.pool.close();
        // One after the other: SQLite copies the WAL into the database when a connection closes alone. Two that close
        // at the same moment each take the other one for alive, and the WAL stays.
        for thread in lock(&self.threads).drain(..) {
            // The last handle may go in a callback, on the writer's own thread.
            if thread.thread().id() != std::thread::current().id() {
                let _ = thread.join();
            }
            self.shared.signal(|wal| wal.stop = true);
        }
    }
}

fn closed() -> Fault {
    Fault::Database("the store is closing".into())
}

fn spawn(name: &str, work: impl FnOnce() + Send + 'static) -> std::io::Result<JoinHandle<()>> {
    std::thread::Builder::new().name(name.into()).spawn(work)
}

fn not_ours(e: rusqlite::Error, path: &Path) -> OpenError {
    match e.sqlite_error_code() {
        Some(rusqlite::ErrorCode::NotADatabase) => OpenError::Foreign { path: path.to_owned() },
        _ => e.into(),
    }
}

/// Writes a new database under another name and moves it into place: there is a whole store, or none.
fn create_file(path: &Path, identity: &Identity, now: Time) -> Result<(), OpenError> {
    if path.exists() {
        return Err(OpenError::Exists { path: path.to_owned() });
    }
    let part = crate::lock::beside(path, "-new");
    let io = |source| OpenError::Io { path: path.to_owned(), source };
    if part.exists() {
        std::fs::remove_file(&part).map_err(io)?;
    }
    let conn = new_database(&part)?;
    conn.execute_batch(RECORD_INDEXES)?;
    store_identity(&conn, identity, now)?;
    let base = Head { seq: 0, hash: Digest::ZERO, time: now };
    store_base(&conn, &base)?;
    conn.close().map_err(|(_, e)| e)?;
    publish_file(&part, path).map_err(io)
}

/// Tables without the record indexes, in a file of mode 0600 without a journal.
pub(crate) fn new_database(path: &Path) -> Result<Connection, OpenError> {
    use std::os::unix::fs::OpenOptionsExt;
    std::fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
        .map_err(|source| OpenError::Io { path: path.to_owned(), source })?;
    let conn = Connection::open(path)?;
    conn.pragma_update(None, "page_size", 4096)?;
    conn.pragma_update(None, "journal_mode", "OFF")?;
    conn.pragma_update(None, "synchronous", "OFF")?;
    conn.pragma_update(None, "locking_mode", "EXCLUSIVE")?;
    stamp(&conn)?;
    conn.execute_batch(TABLES)?;
    Ok(conn)
}

/// Brings a whole new file to disk and gives it its name.
pub(crate) fn publish_file(part: &Path, path: &Path) -> std::io::Result<()> {
    std::fs::File::open(part)?.sync_all()?;
    std::fs::rename(part, path)?;
    let folder = path.parent().filter(|p| !p.as_os_str().is_empty()).map_or(PathBuf::from("."), Path::to_path_buf);
    std::fs::File::open(folder)?.sync_all()
}

pub(crate) fn store_identity(conn: &Connection, identity: &Identity, now: Time) -> rusqlite::Result<()> {
    let parent = identity.parent;
    conn.execute(
        "INSERT INTO identity VALUES (1, ?1, ?2, ?3, ?4, ?5, ?6, ?7)",
        params![
            identity.system.as_bytes(),
            identity.incarnation.as_bytes(),
            parent.map(|p| *p.position.incarnation.as_bytes()),
            parent.map(|p| p.position.seq),
            parent.map(|p| p.hash.0),
            now.0,
            PRODUCT,
        ],
    )?;
    Ok(())
}

pub(crate) fn store_base(conn: &Connection, base: &Head) -> rusqlite::Result<()> {
    conn.execute("INSERT INTO base VALUES (1, ?1, ?2, ?3)", params![base.seq, base.hash.0, base.time.0])?;
    Ok(())
}

fn load_identity(conn: &Connection) -> Result<Identity, Fault> {
    let sql = "SELECT system, incarnation, parent_incarnation, parent_seq, parent_hash FROM identity";
    Ok(conn.query_row(sql, [], |r| {
        let parent = match (r.get::<_, Option<[u8; 16]>>(2)?, r.get(3)?, r.get(4)?) {
            (Some(incarnation), Some(seq), Some(hash)) => {
                let incarnation = Incarnation::from_bytes(incarnation);
                Some(Parent { position: Position { incarnation, seq }, hash: Digest(hash) })
            }
            _ => None,
        };
        Ok(Identity {
            system: SystemId::from_bytes(r.get(0)?),
            incarnation: Incarnation::from_bytes(r.get(1)?),
            parent,
        })
    })?)
}
