//! Records on their way to the file: pushed by request threads, written in batches by one thread.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, oneshot};

use super::error::UsageError;
use super::file::{BATCH, Head, UsageFile};
use super::record::UsageRecord;

/// Records that may wait; beyond, callers wait too.
pub const CAPACITY: usize = 16 * BATCH;
/// How long the first record of a batch waits for others.
const WINDOW: Duration = Duration::from_millis(200);
/// Between two attempts to write what could not be written.
const RETRY: Duration = Duration::from_secs(1);

pub type Waiter = oneshot::Sender<Result<(), UsageError>>;

/// What the request threads and the writing thread share.
pub struct Shared {
    queue: Mutex<Queue>,
    wake: Condvar,
    pub room: Notify,
    pub lost: AtomicU64,
    head: Mutex<Head>,
}

#[derive(Default)]
struct Queue {
    records: Vec<UsageRecord>,
    /// To be told when everything that was pushed before them is written.
    waiters: Vec<Waiter>,
    stop: bool,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // What a panic left behind is whole: every change under the lock is one assignment or push.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Shared {
    pub fn new(head: Head) -> Shared {
        Shared {
            queue: Mutex::default(),
            wake: Condvar::new(),
            room: Notify::new(),
            lost: AtomicU64::new(0),
            head: Mutex::new(head),
        }
    }

    /// The end of what is written.
    pub fn head(&self) -> Head {
        *lock(&self.head)
    }

    /// Hands a record in; gives it back when there is no room.
    pub fn push(&self, record: UsageRecord, waiter: Option<Waiter>) -> Option<(UsageRecord, Option<Waiter>)> {
        let mut queue = lock(&self.queue);
        if queue.stop || queue.records.len() >= CAPACITY {
            return Some((record, waiter));
        }
        queue.records.push(record);
        // The thread sleeps until the first record, then until the window ends or a batch is full.
        let wake = waiter.is_some() || queue.records.len() == 1 || queue.records.len() == BATCH;
        queue.waiters.extend(waiter);
        drop(queue);
        if wake {
            self.wake.notify_one();
        }
        None
    }

    /// Asks to be told when everything pushed so far is written.
    pub fn ask(&self, waiter: Waiter) {
        let mut queue = lock(&self.queue);
        if queue.stop {
            drop(queue);
            // Nobody listens any more only when the caller went away.
            let _ = waiter.send(Err(UsageError::Closed));
            return;
        }
        queue.waiters.push(waiter);
        drop(queue);
        self.wake.notify_one();
    }

    /// Lets the thread write what waits, and end.
    pub fn stop(&self) {
        lock(&self.queue).stop = true;
        self.wake.notify_one();
    }

    /// Waits for work; `None` when there is none and none will come.
    fn take(&self) -> Option<(Vec<UsageRecord>, Vec<Waiter>)> {
        let queue = lock(&self.queue);
        let idle = |q: &mut Queue| q.records.is_empty() && q.waiters.is_empty() && !q.stop;
        let queue = self.wake.wait_while(queue, idle).unwrap_or_else(PoisonError::into_inner);
        let filling = |q: &mut Queue| q.records.len() < BATCH && q.waiters.is_empty() && !q.stop;
        let waited = self.wake.wait_timeout_while(queue, WINDOW, filling);
        let (mut queue, _) = waited.unwrap_or_else(PoisonError::into_inner);
        let work = (std::mem::take(&mut queue.records), std::mem::take(&mut queue.waiters));
        let over = queue.stop && work.0.is_empty() && work.1.is_empty();
        drop(queue);
        self.room.notify_waiters();
        (!over).then_some(work)
    }

    /// After a failure: waits a little and takes over what has come since. False when the server is stopping.
    fn pause(&self, records: &mut Vec<UsageRecord>, waiters: &mut Vec<Waiter>) -> bool {
        let waited = self.wake.wait_timeout_while(lock(&self.queue), RETRY, |q| !q.stop);
        let (mut queue, _) = waited.unwrap_or_else(PoisonError::into_inner);
        let going_on = !queue.stop;
        let (more, asking) = (std::mem::take(&mut queue.records), std::mem::take(&mut queue.waiters));
        drop(queue);
        self.room.notify_waiters();
        if records.len() + more.len() <= 2 * CAPACITY {
            records.extend(more);
            waiters.extend(asking);
        } else {
            self.lost.fetch_add(more.len() as u64, Ordering::Relaxed);
            tell(asking, &Err(UsageError::Busy));
        }
        going_on
    }

    /// The writing thread: ends when told to, with everything written that could be.
    pub fn run(&self, mut file: UsageFile) {
        while let Some((mut records, mut waiters)) = self.take() {
            loop {
                let written = file.append(&records);
                if written.is_ok() {
                    *lock(&self.head) = file.head();
                }
                tell(std::mem::take(&mut waiters), &written);
                let Err(e) = written else { break };
                tracing::error!(error = %e, waiting = records.len(), "the usage log cannot be written");
                if !self.pause(&mut records, &mut waiters) {
                    // The last attempt: the server stops with or without it.
                    let written = file.append(&records);
                    if written.is_err() {
                        self.lost.fetch_add(records.len() as u64, Ordering::Relaxed);
                        tracing::error!(lost = records.len(), "records of the usage log are lost");
                    }
                    tell(std::mem::take(&mut waiters), &written);
                    break;
                }
            }
        }
    }
}

fn tell(waiters: Vec<Waiter>, outcome: &Result<(), UsageError>) {
    for waiter in waiters {
        // A caller that went away does not undo the record.
        let _ = waiter.send(outcome.clone());
    }
}
