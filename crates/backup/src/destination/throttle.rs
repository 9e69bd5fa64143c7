//! A destination that is used no faster, and by no more at once, than was ordered.

use std::io::{self, Write};
use std::num::NonZeroU32;
use std::ops::Range;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

use governor::clock::{Clock, DefaultClock};
use governor::middleware::NoOpMiddleware;
use governor::state::{InMemoryState, NotKeyed};
use governor::{Quota, RateLimiter};
use keyark_model::Time;
use keyark_model::protection::Pace;

use super::{Content, Destination, DestinationError, Found};

/// Bytes are counted by so many: a nanosecond for each would be too coarse.
const CELL: u64 = 1024;

/// So much a second; whoever takes more waits.
struct Rate<C: Clock> {
    limiter: RateLimiter<NotKeyed, InMemoryState, C, NoOpMiddleware<C::Instant>>,
    clock: C,
    /// What may be taken at a time: a tenth of a second's worth.
    burst: NonZeroU32,
}

impl<C: Clock + Clone> Rate<C> {
    fn of(per_second: Option<u32>, clock: &C) -> Option<Rate<C>> {
        let per_second = NonZeroU32::new(per_second?)?;
        let burst = NonZeroU32::new(per_second.get() / 10).unwrap_or(NonZeroU32::MIN);
        let quota = Quota::per_second(per_second).allow_burst(burst);
        Some(Rate { limiter: RateLimiter::direct_with_clock(quota, clock.clone()), clock: clock.clone(), burst })
    }
}

impl<C: Clock> Rate<C> {
    fn take(&self, mut count: u64, wait: &(dyn Fn(Duration) + Sync)) {
        while let Some(part) = NonZeroU32::new(count.min(self.burst.get().into()) as u32) {
            match self.limiter.check_n(part) {
                Ok(Err(early)) => wait(early.wait_time_from(self.clock.now())),
                // More than the burst is never asked for.
                Ok(Ok(())) | Err(_) => count -= u64::from(part.get()),
            }
        }
    }
}

/// What one destination may be used for, by everybody in this process together.
pub struct Pacer<C: Clock = DefaultClock> {
    sent: Option<Rate<C>>,
    fetched: Option<Rate<C>>,
    requests: Option<Rate<C>>,
    /// How many may be under way at once, and how many are.
    parallelism: Option<u32>,
    busy: Mutex<u32>,
    freed: Condvar,
    wait: Box<dyn Fn(Duration) + Send + Sync>,
}

impl Pacer {
    pub fn new(pace: Pace) -> Pacer {
        Pacer::with(pace, DefaultClock::default(), std::thread::sleep)
    }
}

impl<C: Clock + Clone> Pacer<C> {
    /// By another clock, and another way to wait.
    pub fn with(pace: Pace, clock: C, wait: impl Fn(Duration) + Send + Sync + 'static) -> Pacer<C> {
        let bytes = |rate: Option<u32>| Rate::of(rate.map(|rate| (rate / CELL as u32).max(1)), &clock);
        Pacer {
            sent: bytes(pace.bytes_per_second_out),
            fetched: bytes(pace.bytes_per_second_in),
            requests: Rate::of(pace.requests_per_second, &clock),
            parallelism: pace.parallelism,
            busy: Mutex::default(),
            freed: Condvar::new(),
            wait: Box::new(wait),
        }
    }
}

impl<C: Clock> Pacer<C> {
    fn bytes(&self, rate: Option<&Rate<C>>, count: u64) {
        if let Some(rate) = rate {
            rate.take(count.div_ceil(CELL), &self.wait);
        }
    }

    /// Lets one request through, when its time has come and as long as the answer is held.
    fn begin(&self) -> Turn<'_, C> {
        let most = self.parallelism.unwrap_or(u32::MAX);
        let busy = self.busy.lock().unwrap_or_else(PoisonError::into_inner);
        let full = self.freed.wait_while(busy, |busy| *busy >= most);
        *full.unwrap_or_else(PoisonError::into_inner) += 1;
        let turn = Turn(self);
        if let Some(rate) = &self.requests {
            rate.take(1, &self.wait);
        }
        turn
    }
}

struct Turn<'a, C: Clock>(&'a Pacer<C>);

impl<C: Clock> Drop for Turn<'_, C> {
    fn drop(&mut self) {
        *self.0.busy.lock().unwrap_or_else(PoisonError::into_inner) -= 1;
        self.0.freed.notify_one();
    }
}

/// A destination under a pace.
pub struct Throttled<C: Clock = DefaultClock> {
    inner: Box<dyn Destination>,
    pacer: Arc<Pacer<C>>,
}

impl<C: Clock> Throttled<C> {
    pub fn new(inner: Box<dyn Destination>, pacer: Arc<Pacer<C>>) -> Throttled<C> {
        Throttled { inner, pacer }
    }
}

struct PacedWrite<'a, C: Clock> {
    inner: &'a mut dyn Write,
    pacer: &'a Pacer<C>,
}

impl<C: Clock> Write for PacedWrite<'_, C> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.pacer.bytes(self.pacer.fetched.as_ref(), bytes.len() as u64);
        self.inner.write_all(bytes).map(|()| bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

impl<C> Destination for Throttled<C>
where
    C: Clock + Send + Sync,
    C::Instant: Send + Sync,
{
    fn create(&self, name: &str, content: Content<'_>) -> Result<(), DestinationError> {
        let _turn = self.pacer.begin();
        let pace = |count| {
            self.pacer.bytes(self.pacer.sent.as_ref(), count);
            Ok(())
        };
        self.inner.create(name, Content::Paced(&content, &pace))
    }

    fn size(&self, name: &str) -> Result<u64, DestinationError> {
        let _turn = self.pacer.begin();
        self.inner.size(name)
    }

    fn read(&self, name: &str, range: Range<u64>) -> Result<Vec<u8>, DestinationError> {
        let _turn = self.pacer.begin();
        self.pacer.bytes(self.pacer.fetched.as_ref(), range.end.saturating_sub(range.start));
        self.inner.read(name, range)
    }

    fn read_into(&self, name: &str, range: Range<u64>, into: &mut dyn Write) -> Result<(), DestinationError> {
        let _turn = self.pacer.begin();
        self.inner.read_into(name, range, &mut PacedWrite { inner: into, pacer: &self.pacer })
    }

    fn list(&self, prefix: &str, after: &str, limit: usize) -> Result<Vec<Found>, DestinationError> {
        let _turn = self.pacer.begin();
        self.inner.list(prefix, after, limit)
    }

    fn folders(&self, folder: &str) -> Result<Vec<String>, DestinationError> {
        let _turn = self.pacer.begin();
        self.inner.folders(folder)
    }

    fn delete(&self, name: &str) -> Result<(), DestinationError> {
        let _turn = self.pacer.begin();
        self.inner.delete(name)
    }

    fn check_free(&self, name: &str) -> Result<(), DestinationError> {
        let _turn = self.pacer.begin();
        self.inner.check_free(name)
    }

    fn clear(&self, folder: &str, before: Time) -> Result<(), DestinationError> {
        let _turn = self.pacer.begin();
        self.inner.clear(folder, before)
    }

    fn parallelism(&self) -> usize {
        self.pacer.parallelism.map_or(self.inner.parallelism(), |n| n as usize)
    }

    fn stretch(&self) -> u64 {
        self.inner.stretch()
    }

    fn describe(&self) -> String {
        self.inner.describe()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU32, Ordering};
    use std::time::{Duration, Instant};

    use governor::clock::FakeRelativeClock;
    use keyark_model::protection::Pace;

    use super::{Pacer, Throttled};
    use crate::destination::memory::Memory;
    use crate::destination::{Content, Destination, fetch, list_all};

    /// A place under this pace, whose time goes on only while it waits, and how to ask for that time.
    fn paced(pace: Pace) -> (impl Destination, impl Fn() -> f64) {
        let clock = FakeRelativeClock::default();
        let waited = Arc::new(AtomicU32::new(0));
        let (time, passed) = (clock.clone(), waited.clone());
        let pacer = Pacer::with(pace, clock, move |wait| {
            // A microsecond more than was asked for, in whole ones.
            let wait = Duration::from_micros(wait.as_micros() as u64 + 1);
            time.advance(wait);
            passed.fetch_add(wait.as_micros() as u32, Ordering::Relaxed);
        });
        let place = Throttled::new(Box::new(Memory::default()), Arc::new(pacer));
        (place, move || f64::from(waited.load(Ordering::Relaxed)) / 1e6)
    }

    fn about(seconds: f64, expected: f64) {
        assert!((expected * 0.97..expected * 1.03).contains(&seconds), "{seconds} s, not {expected}");
    }

    #[test]
    fn what_is_sent_and_what_is_fetched_keep_to_their_rates() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("file");
        std::fs::write(&file, vec![1; 10 << 20]).unwrap();
        let out = Some(1 << 20);
        let (place, passed) =
            paced(Pace { bytes_per_second_out: out, bytes_per_second_in: Some(4 << 20), ..Pace::default() });
        place.create("a/file", Content::File(&file)).unwrap();
        place.create("a/bytes", Content::Bytes(&vec![2; 5 << 20])).unwrap();
        about(passed(), 15.0);
        assert!(place.read("a/file", 0..10 << 20).unwrap().iter().all(|b| *b == 1));
        about(passed(), 17.5);
    }

    #[test]
    fn requests_keep_to_their_rate_and_without_one_nothing_waits() {
        let (place, passed) = paced(Pace { requests_per_second: Some(5), ..Pace::default() });
        place.create("a/b", Content::Bytes(b"x")).unwrap();
        (0..49).for_each(|_| assert_eq!(place.size("a/b"), Ok(1)));
        assert_eq!(list_all(&place, "").unwrap().len(), 1);
        about(passed(), 10.0);
        let (place, passed) = paced(Pace::default());
        place.create("a/b", Content::Bytes(&vec![0; 1 << 20])).unwrap();
        assert_eq!(passed(), 0.0);
    }

    #[test]
    fn as_many_are_under_way_at_once_as_was_ordered() {
        const AT_ONCE: u32 = 3;
        let clock = FakeRelativeClock::default();
        let (time, counts) = (clock.clone(), Arc::new([const { AtomicU32::new(0) }; 3]));
        let counted = counts.clone();
        let until = Instant::now() + Duration::from_secs(60);
        // Whoever reads waits for its bytes, the first of them until so many do.
        let pacer = Pacer::with(
            Pace { bytes_per_second_in: Some(1 << 20), parallelism: Some(AT_ONCE), ..Pace::default() },
            clock,
            move |wait| {
                let [came, now, most] = &*counted;
                came.fetch_add(1, Ordering::SeqCst);
                most.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                while came.load(Ordering::SeqCst) < AT_ONCE && Instant::now() < until {
                    std::thread::yield_now();
                }
                time.advance(wait + Duration::from_micros(1));
                now.fetch_sub(1, Ordering::SeqCst);
            },
        );
        let (place, folder) =
            (Throttled::new(Box::new(Memory::default()), Arc::new(pacer)), tempfile::tempdir().unwrap());
        let content: Vec<u8> = (0..(70 << 20) + 7_u32).map(|n| (n % 251) as u8).collect();
        place.create("a/b", Content::Bytes(&content)).unwrap();
        let found = list_all(&place, "").unwrap().remove(0);
        fetch(&place, &found, &folder.path().join("back")).unwrap();
        assert!(std::fs::read(folder.path().join("back")).unwrap() == content);
        assert_eq!(counts[2].load(Ordering::SeqCst), AT_ONCE, "a fetch makes use of it");
        std::thread::scope(|scope| {
            (0..8)
                .for_each(|_| drop(scope.spawn(|| assert_eq!(place.read("a/b", 0..1 << 20).unwrap().len(), 1 << 20))));
        });
        assert_eq!(counts[2].load(Ordering::SeqCst), AT_ONCE, "many do not exceed it");
    }
}
