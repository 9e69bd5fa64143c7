//! The one thread that writes: it drains the queue, and all batches that waited share one transaction and one fsync.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::Receiver;

use keyark_crypto::chain::{check_changes, hash_entry};
use keyark_model::{Entry, Id, Kind, Time};
use rusqlite::Connection;

use crate::batch::{Batch, Committed};
use crate::checkpoint::WAL_LONG;
use crate::error::{CommitError, Fault};
use crate::failpoint::failpoint;
use crate::log::{AppendError, Log, LogError, Projection};
use crate::options::Head;
use crate::salts::Salts;
use crate::shared::{Shared, lock};
use crate::stage::{Stage, Touched, purge_history};
use crate::state::State;
use crate::trim;

/// Batches in one transaction at most, and the content after which no more are taken; bytes.
const GROUP: usize = 1024;
const GROUP_BYTES: usize = 8 << 20;
/// How often a group may lose the race for a shared log before its callers are told.
const RACES: usize = 100;

/// How a batch is answered.
pub(crate) type Answer = Box<dyn FnOnce(Result<Committed, CommitError>) + Send>;

/// What the thread is asked to do.
pub(crate) enum Job {
    Commit(Waiting),
    CatchUp(Box<dyn FnOnce(Result<Head, LogError>) + Send>),
    Purge { kind: Kind, id: Id, answer: Box<dyn FnOnce(Result<(), Fault>) + Send> },
    Trim { up_to: u64, answer: Box<dyn FnOnce(Result<trim::Trimmed, Fault>) + Send> },
    Forget { up_to: u64, answer: Box<dyn FnOnce(Result<u64, Fault>) + Send> },
    Stop,
}

/// A batch in the queue.
pub(crate) struct Waiting {
    pub batch: Batch,
    pub now: Time,
    pub answer: Answer,
}

pub(crate) struct Writer {
    pub conn: Connection,
    pub state: State,
    pub log: Box<dyn Log>,
    pub shared: Arc<Shared>,
    pub salts: Salts,
    /// A transaction failed: memory is read again before the next.
    pub stale: bool,
    pub transactions: u64,
}

enum Tried {
    Done(Vec<Result<Committed, CommitError>>),
    /// Another node was first.
    Lost,
    Failed(CommitError),
}

impl Writer {
    /// Serves the queue until `Stop`, or until every handle has gone.
    pub(crate) fn run(mut self, queue: &Receiver<Job>) {
        while let Ok(first) = queue.recv() {
            let mut next = Some(first);
            while let Some(job) = next.take() {
                match job {
                    Job::Commit(waiting) => next = self.commit_waiting(waiting, queue),
                    Job::CatchUp(answer) => answer(self.catch_up().map(|()| self.state.head)),
                    Job::Purge { kind, id, answer } => answer(self.purge(kind, id)),
                    Job::Trim { up_to, answer } => answer(self.reloaded().and_then(|w| trim::trim_some(w, up_to))),
                    Job::Forget { up_to, answer } => answer(self.reloaded().and_then(|w| trim::forget_some(w, up_to))),
                    Job::Stop => return,
                }
            }
        }
    }

    /// Commits a batch with all that wait behind it; gives back the first job of another sort.
    fn commit_waiting(&mut self, first: Waiting, queue: &Receiver<Job>) -> Option<Job> {
        let mut bytes = weight(&first.batch);
        let mut group = vec![first];
        let mut other = None;
        while group.len() < GROUP && bytes < GROUP_BYTES && other.is_none() {
            match queue.try_recv() {
                Ok(Job::Commit(waiting)) => {
                    bytes += weight(&waiting.batch);
                    group.push(waiting);
                }
                Ok(job) => other = Some(job),
                Err(_) => break,
            }
        }
        let results = self.commit_group(&group);
        failpoint("commit-done");
        self.shared.publish(self.state.head);
        self.shared.queued.fetch_sub(group.len(), Ordering::Relaxed);
        for (waiting, result) in group.into_iter().zip(results) {
            (waiting.answer)(result);
        }
        other
    }

    fn commit_group(&mut self, group: &[Waiting]) -> Vec<Result<Committed, CommitError>> {
        let fail = |e: &CommitError| group.iter().map(|_| Err(e.clone())).collect();
        if let Err(e) = self.check_room() {
            return fail(&e);
        }
        for _ in 0..RACES {
            if let Err(fault) = self.reloaded() {
                return fail(&fault.into());
            }
            match self.try_group(group) {
                Tried::Done(results) => return results,
                Tried::Failed(e) => {
                    self.stale = true;
                    return fail(&e);
                }
                Tried::Lost => {
                    if let Err(e) = self.catch_up() {
                        return fail(&CommitError::Log(e));
                    }
                }
            }
        }
        fail(&CommitError::Busy)
    }

    fn try_group(&mut self, group: &[Waiting]) -> Tried {
        let shared = Arc::clone(&self.shared);
        let _gate = lock(&shared.gate);
        let (mut page, mut results, mut purged) = (Vec::new(), Vec::with_capacity(group.len()), false);
        let staged = begin(&self.conn).map_err(CommitError::from).and_then(|()| {
            let mut stage = Stage::new(&self.conn, &self.state);
            for waiting in group {
                let result = match stage.admit(&waiting.batch) {
                    Ok(plans) => {
                        purged |= plans.iter().any(|p| p.purge);
                        Ok(stage.write(&waiting.batch, plans, waiting.now, &mut self.salts, &mut page)?)
                    }
                    Err(e @ (CommitError::Full(_) | CommitError::Fault(_))) => return Err(e),
                    Err(refused) => Err(refused),
                };
                results.push(result);
            }
            Ok(stage.finish()?)
        });
        let touched = match staged {
            Ok(touched) if !page.is_empty() => touched,
            Ok(_) => {
                rollback(&self.conn);
                return Tried::Done(results);
            }
            Err(e) => {
                rollback(&self.conn);
                return Tried::Failed(e);
            }
        };
        let at = self.state.head;
        failpoint("commit-staged");
        match self.log.append(&at, &page, &mut Transaction(&self.conn)) {
            Ok(()) => {
                self.committed(touched, purged);
                Tried::Done(results)
            }
            Err(e) => {
                rollback(&self.conn);
                drop(_gate);
                self.settle(e, &at, touched.head, results)
            }
        }
    }

    /// What becomes of a page that the log did not plainly take.
    fn settle(
        &mut self,
        error: AppendError,
        at: &Head,
        wanted: Head,
        results: Vec<Result<Committed, CommitError>>,
    ) -> Tried {
        let error = match error {
            AppendError::Conflict(_) => return Tried::Lost,
            AppendError::Failed(LogError::Local(fault)) => return Tried::Failed(fault.into()),
            AppendError::Failed(e) => CommitError::Log(e),
            AppendError::NotProjected(fault) => fault.into(),
        };
        // The page may stand in the shared log all the same: then its callers are told so.
        self.stale = true;
        let stands = self.log.read_from(at.seq, (wanted.seq - at.seq) as usize).is_ok_and(|entries| {
            entries.last().is_some_and(|last| last.seq == wanted.seq && hash_entry(last).global == wanted.hash)
        });
        if stands && self.reloaded().is_ok() && self.catch_up().is_ok() {
            return Tried::Done(results);
        }
        Tried::Failed(error)
    }

    fn committed(&mut self, touched: Touched, purged: bool) {
        self.state.merge(touched);
        self.shared.publish(self.state.head);
        self.transactions += 1;
        // Asking for the length of the WAL costs a system call: a look now and then is enough.
        let long = self.transactions.is_multiple_of(32) && self.shared.wal_bytes() > WAL_LONG;
        self.shared.signal(|wal| {
            wal.commits += 1;
            wal.long |= long;
            wal.truncate |= purged;
        });
    }

    /// Projects what others have appended to a shared log.
    pub(crate) fn catch_up(&mut self) -> Result<(), LogError> {
        self.reloaded()?;
        loop {
            let entries = self.log.read_from(self.state.head.seq, 500)?;
            if entries.is_empty() {
                return Ok(());
            }
            let shared = Arc::clone(&self.shared);
            let _gate = lock(&shared.gate);
            let projected = begin(&self.conn).map_err(LogError::from).and_then(|()| {
                let mut stage = Stage::new(&self.conn, &self.state);
                for entry in &entries {
                    follows(&stage, entry)?;
                    let plans = stage.plans_of(entry)?;
                    stage.project(entry, plans)?;
                }
                let touched = stage.finish()?;
                Transaction(&self.conn).commit()?;
                Ok(touched)
            });
            match projected {
                Ok(touched) => self.committed(touched, false),
                Err(e) => {
                    rollback(&self.conn);
                    self.stale = true;
                    return Err(e);
                }
            }
        }
    }

    fn purge(&mut self, kind: Kind, id: Id) -> Result<(), Fault> {
        let slots: Vec<i64> = self.state.owners.iter().filter(|(_, (_, k))| *k == kind).map(|(s, _)| *s).collect();
        self.transaction(|conn, _| slots.iter().try_for_each(|slot| purge_history(conn, *slot, id)))?;
        self.shared.signal(|wal| {
            wal.commits += 1;
            wal.truncate = true;
        });
        Ok(())
    }

    /// Runs housekeeping in a transaction of its own: nothing that the log tells changes by it.
    pub(crate) fn transaction<T>(
        &mut self,
        work: impl FnOnce(&Connection, &State) -> Result<T, Fault>,
    ) -> Result<T, Fault> {
        let shared = Arc::clone(&self.shared);
        let _gate = lock(&shared.gate);
        begin(&self.conn)?;
        let done = work(&self.conn, &self.state).and_then(|value| {
            Transaction(&self.conn).commit()?;
            Ok(value)
        });
        if done.is_err() {
            rollback(&self.conn);
        }
        done
    }

    fn reloaded(&mut self) -> Result<&mut Self, Fault> {
        if self.stale {
            self.state = State::load(&self.conn)?;
            self.stale = false;
        }
        Ok(self)
    }

    fn check_room(&self) -> Result<(), CommitError> {
        let (reserve, path) = (self.shared.options.reserve_bytes, &self.shared.path);
        match (self.shared.options.free_space)(path) {
            Ok(free) if free < reserve => {
                Err(CommitError::Full(format!("{free} bytes are free, {reserve} are kept in reserve")))
            }
            // A file system that does not tell is no reason to stop: SQLite finds out.
            Ok(_) | Err(_) => Ok(()),
        }
    }
}

/// Whether an entry of another node is the next one of the log that this store follows.
fn follows(stage: &Stage<'_>, entry: &Entry) -> Result<(), LogError> {
    let (head, domain) = (stage.new.head, stage.domain_head(entry.domain));
    let fork = |what: &str| Err(LogError::Forked(format!("entry {}: {what}", entry.seq)));
    if entry.incarnation != stage.state.incarnation {
        return fork("of another incarnation");
    }
    if (entry.seq, entry.prev) != (head.seq + 1, head.hash) {
        return fork("does not follow on this node's head");
    }
    if (entry.domain_seq, entry.domain_prev) != (domain.domain_seq + 1, domain.hash) {
        return fork("does not follow on its domain's head");
    }
    if entry.time <= head.time {
        return fork("its time goes back");
    }
    check_changes(entry).or_else(|e| fork(&e.to_string()))
}

fn weight(batch: &Batch) -> usize {
    let change = |w: &crate::batch::Write| match w {
        crate::batch::Write::Put { header, body, .. } => header.len() + body.len(),
        crate::batch::Write::Reseal { body, .. } => body.len(),
        crate::batch::Write::Delete { .. } => 0,
    };
    batch.entries.iter().map(|d| 256 + d.changes.iter().map(change).sum::<usize>()).sum()
}

/// The open transaction of a connection.
pub(crate) struct Transaction<'a>(pub &'a Connection);

impl Projection for Transaction<'_> {
    fn commit(&mut self) -> Result<(), Fault> {
        self.0.prepare_cached("COMMIT")?.execute([])?;
        Ok(())
    }
}

pub(crate) fn begin(conn: &Connection) -> Result<(), Fault> {
    conn.prepare_cached("BEGIN IMMEDIATE")?.execute([])?;
    Ok(())
}

/// Undoes the open transaction. SQLite has undone it already after some errors; a rollback cannot fail otherwise.
fn rollback(conn: &Connection) {
    if !conn.is_autocommit() {
        let _ = conn.execute_batch("ROLLBACK");
    }
}
