//! Wall and processor time of a piece of work, and its repetition while there is time.

use std::time::{Duration, Instant};

use crate::figures::{self, Outcome, median};

/// Seconds.
#[derive(Clone, Copy)]
pub struct Spent {
    pub wall: f64,
    pub cpu: f64,
}

/// Does the work and takes its time.
pub fn timed<T>(work: impl FnOnce() -> Outcome<T>) -> Outcome<(T, Spent)> {
    let pid = std::process::id();
    let (cpu, begun) = (figures::cpu(pid)?, Instant::now());
    let done = work()?;
    let wall = begun.elapsed().as_secs_f64();
    Ok((done, Spent { wall, cpu: figures::cpu(pid)?.saturating_sub(cpu).as_secs_f64() }))
}

/// Up to five times while the time lasts, at least once, each with its number: the medians, and what the last one gave.
pub fn repeated<T>(budget: Duration, mut once: impl FnMut(usize) -> Outcome<(T, Spent)>) -> Outcome<(T, Spent)> {
    let begun = Instant::now();
    let (mut last, spent) = once(0)?;
    let (mut walls, mut cpus) = (vec![spent.wall], vec![spent.cpu]);
    while walls.len() < 5 && begun.elapsed() < budget {
        let (next, spent) = once(walls.len())?;
        last = next;
        walls.push(spent.wall);
        cpus.push(spent.cpu);
    }
    Ok((last, Spent { wall: median(walls), cpu: median(cpus) }))
}
