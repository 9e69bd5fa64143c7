//! Measures the real server as its callers see it: `server_bench [KEYS] [--seconds S] [--server PATH]`.

mod bench;
mod client;
mod echo;
#[path = "../figures/mod.rs"]
mod figures;
mod foreground;
mod keys;
mod limits;
mod load;
mod open_loop;
mod server;
mod stack;

use std::path::Path;
use std::time::Instant;

use bench::Bench;
use echo::Echo;
use figures::{Figure, Order, Outcome, Target, memory};

fn main() -> Outcome {
    let words: Vec<String> = std::env::args().skip(1).collect();
    if words.first().is_some_and(|word| word == echo::ROLE) {
        return echo::serve(&words[1..]);
    }
    let order = Order::read()?;
    figures::start("server_bench", &order)?;
    let mut bench = Bench::start(&order)?;
    let idle = memory(bench.server.pid(), "VmRSS")?;
    let (start, bare) = echo_start()?;
    Figure::new("memory, idle, empty store", idle, "MiB")
        .limit(bare, "an echo process")
        .target(Target::AtMost(40.0))
        .print();
    bench.keys_use()?;
    let floor = stack::http(&bench)?;
    let create = keys::run(&bench, &floor)?;
    let resident = memory(bench.server.pid(), "VmRSS")?;
    let highest = memory(bench.server.pid(), "VmHWM")?;
    Figure::new(format!("memory after serving {} keys", bench.count()), resident, "MiB")
        .note(format!("{} at most", figures::number(highest)))
        .limit(idle, "idle, empty store")
        .target(Target::AtMost(200.0))
        .print();
    foreground::foreground(&bench)?;

    let token = bench.token()?;
    bench.server.stop()?;
    let bytes = size(&bench.folder.path().join("data"))?;
    Figure::new("disk a key, its log included", bytes as f64 / bench.count() as f64, "B")
        .note(format!("{} keys, {bytes} B", bench.count()))
        .target(Target::AtMost(1500.0))
        .print();
    let first = bench.start_again(false, &token)?;
    Figure::new(format!("start to first answer with {} keys", bench.count()), first, "s")
        .limit(start, "start to first answer of an echo process")
        .target(Target::AtMost(0.5))
        .print();
    bench.server.stop()?;
    bench.start_again(true, &token)?;
    stack::https(&bench, &floor, &create)?;
    bench.server.stop()
}

/// Seconds until a process that does nothing answers, and the MiB that it takes.
fn echo_start() -> Outcome<(f64, f64)> {
    let begun = Instant::now();
    let echo = Echo::start(64, 64)?;
    let mut line = open_loop::Line::open(echo.dial.address)?;
    line.send(&[b' '; 64])?;
    Ok((begun.elapsed().as_secs_f64(), memory(echo.pid(), "VmRSS")?))
}

/// Bytes of the files in a folder; archives stand in a folder of their own below it.
fn size(folder: &Path) -> Outcome<u64> {
    let mut total = 0;
    for entry in std::fs::read_dir(folder)? {
        let data = entry?.metadata()?;
        if data.is_file() {
            total += data.len();
        }
    }
    Ok(total)
}
