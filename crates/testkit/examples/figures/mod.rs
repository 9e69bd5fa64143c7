//! What every benchmark prints: the machine, and a table with one row a figure beside its limit of the same run.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use tempfile::TempDir;

/// A measurement that fails ends the benchmark with what went wrong.
pub type Outcome<T = ()> = Result<T, Box<dyn std::error::Error + Send + Sync>>;

/// What was asked for: `[KEYS] [--NAME VALUE]…`.
pub struct Order {
    pub keys: u64,
    pub options: BTreeMap<String, String>,
}

impl Order {
    /// From the command line; 10 000 keys by default.
    pub fn read() -> Outcome<Order> {
        let mut order = Order { keys: 10_000, options: BTreeMap::new() };
        let mut words = std::env::args().skip(1);
        while let Some(word) = words.next() {
            match word.strip_prefix("--") {
                Some(name) => {
                    let value = words.next().ok_or_else(|| format!("--{name} needs a value"))?;
                    order.options.insert(name.to_owned(), value);
                }
                None => order.keys = word.parse().map_err(|_| format!("{word:?} is no number of keys"))?,
            }
        }
        Ok(order)
    }

    /// What the measured runs may take together: `--seconds`.
    pub fn seconds(&self, default: f64) -> Outcome<Duration> {
        let seconds = match self.options.get("seconds") {
            Some(text) => text.parse().map_err(|_| format!("--seconds takes a number, not {text:?}"))?,
            None => default,
        };
        Ok(Duration::try_from_secs_f64(seconds)?)
    }
}

/// What a figure must reach, in its unit; a ratio is measured over limit.
#[derive(Clone, Copy)]
pub enum Target {
    AtMost(f64),
    AtLeast(f64),
    Ratio(f64),
}

/// One row.
pub struct Figure {
    name: String,
    measured: f64,
    unit: &'static str,
    note: String,
    limit: Option<(f64, &'static str)>,
    target: Option<Target>,
}

impl Figure {
    pub fn new(name: impl Into<String>, measured: f64, unit: &'static str) -> Figure {
        Figure { name: name.into(), measured, unit, note: String::new(), limit: None, target: None }
    }

    /// What stands in brackets behind the figure.
    pub fn note(mut self, note: impl Into<String>) -> Figure {
        self.note = note.into();
        self
    }

    /// What the machine does in this very run, in the figure's unit, and what that is.
    pub fn limit(mut self, limit: f64, what: &'static str) -> Figure {
        self.limit = Some((limit, what));
        self
    }

    pub fn target(mut self, target: Target) -> Figure {
        self.target = Some(target);
        self
    }

    /// Prints the row.
    pub fn print(self) {
        let unit = self.unit;
        let ratio = self.limit.map(|(limit, _)| self.measured / limit);
        let note = if self.note.is_empty() { String::new() } else { format!(" ({})", self.note) };
        let limit = self.limit.map_or("–".into(), |(limit, what)| format!("{} {unit}, {what}", number(limit)));
        let (target, met) = match self.target {
            None => ("–".into(), "–"),
            Some(Target::AtMost(most)) => (format!("≤ {} {unit}", number(most)), met(self.measured <= most)),
            Some(Target::AtLeast(least)) => (format!("≥ {} {unit}", number(least)), met(self.measured >= least)),
            Some(Target::Ratio(most)) => {
                (format!("ratio ≤ {}", number(most)), met(ratio.is_some_and(|ratio| ratio <= most)))
            }
        };
        let ratio = ratio.map_or("–".into(), |ratio| format!("{ratio:.2}"));
        println!("| {} | {} {unit}{note} | {limit} | {ratio} | {target} | {met} |", self.name, number(self.measured));
    }
}

fn met(met: bool) -> &'static str {
    if met { "yes" } else { "no" }
}

/// Three digits, and all of what stands before the point.
pub fn number(n: f64) -> String {
    match n.abs() {
        size if size >= 100.0 => format!("{n:.0}"),
        size if size >= 10.0 => format!("{n:.1}"),
        _ => format!("{n:.2}"),
    }
}

/// Prints the line about machine and run, and the head of the table.
pub fn start(name: &str, order: &Order) -> Outcome {
    let cores = std::thread::available_parallelism()?;
    let kernel = std::fs::read_to_string("/proc/sys/kernel/osrelease")?;
    let kernel = kernel.trim();
    println!("{name}: {} keys, {cores} cores, Linux {kernel}, {}", order.keys, std::env::consts::ARCH);
    println!();
    println!("| figure | measured | limit in the same run | ratio | target | met? |");
    println!("|---|---|---|---|---|---|");
    Ok(())
}

/// An empty folder on the disk that the build is on: a temporary folder may be in memory, where an fsync costs nothing.
pub fn folder() -> Outcome<TempDir> {
    let program = std::env::current_exe()?;
    let built = program.parent().and_then(Path::parent).ok_or("an example stands two folders below the build's")?;
    Ok(tempfile::Builder::new().prefix("bench-").tempdir_in(built)?)
}

/// Processor time of a process with all its threads (`utime` + `stime`, in ticks of 10 ms).
pub fn cpu(pid: u32) -> Outcome<Duration> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
    // The name in brackets may hold anything, so fields are counted from behind it.
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    let ticks = |at: usize| -> Outcome<u64> { Ok(fields.get(at).ok_or("a short line in /proc")?.parse()?) };
    Ok(Duration::from_millis((ticks(11)? + ticks(12)?) * 10))
}

/// A line of a process's `/proc/<pid>/status`, such as `VmRSS` or `VmHWM`, in MiB.
pub fn memory(pid: u32, line: &str) -> Outcome<f64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let found = status.lines().find_map(|l| l.strip_prefix(line)?.strip_prefix(':'));
    let kib = found.and_then(|l| l.split_whitespace().next()).ok_or_else(|| format!("no {line} in /proc"))?;
    Ok(kib.parse::<f64>()? / 1024.0)
}

/// The value in the middle; 0 of none.
pub fn median(mut all: Vec<f64>) -> f64 {
    all.sort_by(f64::total_cmp);
    all.get(all.len() / 2).copied().unwrap_or_default()
}
