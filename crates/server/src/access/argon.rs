//! Argon2 off the request threads, few at once: each run takes 19 MiB and 20 ms of one core.

use prometheus_client::metrics::counter::Counter;
use tokio::sync::Semaphore;

use crate::app::error::{AppError, Result};

/// Runs at once, whoever asks: more would let anybody without a token take the memory and the processors.
const AT_ONCE: usize = 2;

/// The one place where passwords are stretched.
pub struct Argon {
    slots: Semaphore,
    /// Runs since the start; one for each password that is checked or set, whether there is such a user or not.
    pub runs: Counter,
}

impl Default for Argon {
    fn default() -> Argon {
        Argon { slots: Semaphore::new(AT_ONCE), runs: Counter::default() }
    }
}

impl Argon {
    /// Runs work that stretches one password, when its turn has come.
    pub async fn run<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> Result<T> {
        let _permit = self.slots.acquire().await.map_err(AppError::internal)?;
        self.runs.inc();
        tokio::task::spawn_blocking(work).await.map_err(AppError::internal)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::{AT_ONCE, Argon};

    #[test]
    fn few_run_at_once_and_all_come_to_their_turn() {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).build().unwrap();
        let (argon, running, most) = <(Arc<Argon>, Arc<AtomicUsize>, Arc<AtomicUsize>)>::default();
        let tasks: Vec<_> = (0..20)
            .map(|_| {
                let (argon, running, most) = (argon.clone(), running.clone(), most.clone());
                runtime.spawn(async move {
                    let work = move || {
                        most.fetch_max(running.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                        // Others that may run too get the processor.
                        (0..100).for_each(|_| std::thread::yield_now());
                        running.fetch_sub(1, Ordering::SeqCst);
                    };
                    argon.run(work).await.unwrap();
                })
            })
            .collect();
        tasks.into_iter().for_each(|task| runtime.block_on(task).unwrap());
        assert_eq!(argon.runs.get(), 20);
        assert!(most.load(Ordering::SeqCst) <= AT_ONCE, "{most:?}");
    }
}
