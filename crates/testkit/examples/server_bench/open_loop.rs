//! The open loop: requests at a steady pace from threads of their own, whether or not the earlier ones were answered.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use crate::client::{head, unexpected};
use crate::figures::Outcome;
use crate::load::{Work, quantile};

/// Connections, each with its thread.
const THREADS: u32 = 16;

/// Requests a second, and the p99 of their latency in ms.
pub struct Paced {
    pub per_second: f64,
    pub p99: f64,
}

/// One connection without async: a thread that sleeps wakes within 0.1 ms, a timer of the runtime within 1 ms.
pub struct Line {
    stream: TcpStream,
    buffer: Vec<u8>,
}

impl Line {
    pub fn open(address: SocketAddr) -> Outcome<Line> {
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        Ok(Line { stream, buffer: Vec::with_capacity(64 << 10) })
    }

    /// Sends a request; gives the status and the body of its answer.
    pub fn send(&mut self, request: &[u8]) -> Outcome<(u16, &[u8])> {
        self.stream.write_all(request)?;
        self.buffer.clear();
        let mut chunk = [0; 16 << 10];
        loop {
            match self.stream.read(&mut chunk)? {
                0 => return Err("the server closed a connection that was in use".into()),
                n => self.buffer.extend_from_slice(&chunk[..n]),
            }
            if let Some(head) = head(&self.buffer)?
                && self.buffer.len() >= head.total
            {
                return Ok((head.status, &self.buffer[head.end..head.total]));
            }
        }
    }
}

/// Sends for so long: at a pace in requests a second over all threads, or as fast as answers come.
pub fn run(address: SocketAddr, pace: Option<f64>, length: Duration, work: &Work) -> Outcome<Paced> {
    let lines = (0..THREADS).map(|_| Line::open(address)).collect::<Outcome<Vec<_>>>()?;
    let begun = Instant::now();
    let threads = |line: Line, n: u32| {
        let gap = pace.map(|pace| Duration::from_secs_f64(f64::from(THREADS) / pace));
        // The threads take turns, so that requests come evenly.
        let first = gap.map_or(Duration::ZERO, |gap| gap * n / THREADS);
        move || client(line, begun + first, gap, begun + length, work)
    };
    let mut waits = Vec::new();
    std::thread::scope(|scope| -> Outcome {
        let running: Vec<_> = lines.into_iter().zip(0..).map(|(line, n)| scope.spawn(threads(line, n))).collect();
        for thread in running {
            waits.append(&mut thread.join().map_err(|_| "a thread of the load generator panicked")??);
        }
        Ok(())
    })?;
    let per_second = waits.len() as f64 / begun.elapsed().as_secs_f64();
    if waits.is_empty() {
        return Err("not one request was due in the time of the run: give it more --seconds".into());
    }
    waits.sort_unstable();
    Ok(Paced { per_second, p99: quantile(&waits, 0.99) })
}

fn client(mut line: Line, first: Instant, gap: Option<Duration>, end: Instant, work: &Work) -> Outcome<Vec<u64>> {
    let mut waits = Vec::new();
    let mut due = first;
    loop {
        let now = Instant::now();
        // At a pace, what was due in time is sent, however late.
        if gap.map_or(now, |_| due) >= end {
            return Ok(waits);
        }
        // Waiting behind a late answer counts as latency; waking late from the pause until the next request does not.
        let from = match gap {
            Some(_) if now < due => {
                std::thread::sleep(due - now);
                Instant::now()
            }
            Some(_) => due,
            None => now,
        };
        let (status, body) = line.send(&work.request())?;
        if status != work.status {
            return Err(unexpected(status, body));
        }
        waits.push(from.elapsed().as_nanos() as u64);
        due = gap.map_or(due, |gap| due + gap);
    }
}
