//! The closed loop: so many clients, each sending its next request when the last one is answered.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tokio::sync::Barrier;
use tokio::task::JoinSet;

use crate::client::{Connection, Dial};
use crate::figures::{self, Outcome, number};

/// Requests that each client sends before the clock starts.
const WARM: u64 = 20;

/// What clients send: the n-th request over all clients, and the status that it must be answered with.
#[derive(Clone)]
pub struct Work {
    make: Arc<dyn Fn(u64) -> Vec<u8> + Send + Sync>,
    next: Arc<AtomicU64>,
    pub status: u16,
}

impl Work {
    /// Requests that differ by their number, which is drawn from `next`.
    pub fn new(status: u16, next: Arc<AtomicU64>, make: impl Fn(u64) -> Vec<u8> + Send + Sync + 'static) -> Work {
        Work { make: Arc::new(make), next, status }
    }

    /// The same requests again and again, each answered 200.
    pub fn cycle(requests: Vec<Vec<u8>>) -> Work {
        Work::new(200, Arc::default(), move |n| requests[n as usize % requests.len()].clone())
    }

    /// The next request.
    pub fn request(&self) -> Vec<u8> {
        (self.make)(self.next.fetch_add(1, Ordering::Relaxed))
    }
}

/// When the clients stop.
#[derive(Clone, Copy)]
pub enum Bound {
    Time(Duration),
    /// Requests of all clients together, besides those that warm up.
    Count(u64),
}

/// What a run gave: requests a second, latencies in ms, server CPU of one request in µs.
#[derive(Clone, Copy)]
pub struct Load {
    pub per_second: f64,
    pub p50: f64,
    pub p99: f64,
    pub cpu: f64,
}

impl Load {
    pub fn note(&self) -> String {
        format!("{}/s, p50 {} ms, p99 {} ms", number(self.per_second), number(self.p50), number(self.p99))
    }
}

/// Runs the load against the server with that process id.
pub async fn closed(dial: &Dial, pid: u32, clients: usize, bound: Bound, work: &Work) -> Outcome<Load> {
    let gate = Arc::new(Barrier::new(clients + 1));
    let taken = Arc::new(AtomicU64::new(0));
    let mut connections = Vec::with_capacity(clients);
    for _ in 0..clients {
        connections.push(dial.connect().await?);
    }
    let mut running = JoinSet::new();
    for connection in connections {
        running.spawn(client(connection, gate.clone(), taken.clone(), bound, work.clone()));
    }
    // Passed twice: when all are warm, and when the clocks were read.
    gate.wait().await;
    let (cpu, begun) = (figures::cpu(pid)?, Instant::now());
    gate.wait().await;
    let mut waits = Vec::new();
    while let Some(ended) = running.join_next().await {
        waits.append(&mut ended??);
    }
    let (cpu, wall) = (figures::cpu(pid)?.saturating_sub(cpu), begun.elapsed());
    if waits.is_empty() {
        return Err("not one request was answered in the time of the run: give it more --seconds".into());
    }
    waits.sort_unstable();
    let count = waits.len() as f64;
    Ok(Load {
        per_second: count / wall.as_secs_f64(),
        p50: quantile(&waits, 0.5),
        p99: quantile(&waits, 0.99),
        cpu: cpu.as_secs_f64() * 1e6 / count,
    })
}

/// Of sorted nanoseconds, in ms; 0 of none.
pub fn quantile(sorted: &[u64], part: f64) -> f64 {
    let at = (sorted.len().saturating_sub(1) as f64 * part) as usize;
    sorted.get(at).map_or(0.0, |ns| *ns as f64 / 1e6)
}

async fn client(
    mut connection: Connection,
    gate: Arc<Barrier>,
    taken: Arc<AtomicU64>,
    bound: Bound,
    work: Work,
) -> Outcome<Vec<u64>> {
    // A failure is told behind the gate, where nobody waits for this client any more.
    let warm = warm_up(&mut connection, &work).await;
    gate.wait().await;
    gate.wait().await;
    warm?;
    let begun = Instant::now();
    let mut waits = Vec::new();
    loop {
        match bound {
            Bound::Time(length) if begun.elapsed() >= length => break,
            Bound::Count(count) if taken.fetch_add(1, Ordering::Relaxed) >= count => break,
            _ => {}
        }
        let request = work.request();
        let at = Instant::now();
        connection.expect(&request, work.status).await?;
        waits.push(at.elapsed().as_nanos() as u64);
    }
    Ok(waits)
}

async fn warm_up(connection: &mut Connection, work: &Work) -> Outcome {
    for _ in 0..WARM {
        connection.expect(&work.request(), work.status).await?;
    }
    Ok(())
}
