//! `cargo xtask bench [KEYS] [--limit SECONDS] [--write]`: every benchmark of the tree, in release, one after the other.
//! `--build`: builds them and the program, and runs none.

use std::process::Command;
use std::time::{Duration, Instant};

use crate::process::{Outcome, cargo, output, watch};
use crate::tree::{self, Source};

const DOCUMENT: &str = "docs/benchmarks.md";

/// From this heading on, the document is written by people: why a target is missed. It outlives a new run.
const REASONS: &str = "## Reasons";

/// What was asked for.
#[derive(Debug, PartialEq)]
struct Order {
    keys: u64,
    limit: Option<Duration>,
    write: bool,
    build: bool,
}

/// Builds all, then runs each alone; fails when one fails or takes longer than the limit.
pub fn bench(arguments: &[String]) -> Outcome {
    let order = read(arguments)?;
    let benches: Vec<String> = tree::sources()?.iter().filter_map(bench_of).collect();
    // All in one go, with the program that the benchmark of the server starts: one set of features, built once.
    let mut build = cargo();
    build.args(["build", "--locked", "--release", "--workspace", "--bin", "keyark"]);
    crate::process::run(build.args(benches.iter().flat_map(|bench| ["--example", bench])))?;
    if order.build {
        return Ok(());
    }
    let mut report = head(&order)?;
    for example in &benches {
        println!("== {example} {}", order.keys);
        let started = Instant::now();
        let mut printed = String::new();
        let mut command = Command::new(tree::target().join("release/examples").join(example));
        let good = watch(command.arg(order.keys.to_string()), |line| {
            printed.push_str(line);
            printed.push('\n');
        })?;
        let took = started.elapsed();
        if !good {
            return Err(format!("{example} failed"));
        }
        println!("== {example}: {:.1} s", took.as_secs_f64());
        if let Some(limit) = order.limit.filter(|limit| took > *limit) {
            return Err(format!("{example} took {:.1} s, more than {} s", took.as_secs_f64(), limit.as_secs()));
        }
        report.push_str(&section(example, &printed));
    }
    if order.write {
        report.push_str(&reasons(&tree::read(DOCUMENT).unwrap_or_default()));
        std::fs::write(tree::root().join(DOCUMENT), report).map_err(|e| format!("{DOCUMENT}: {e}"))?;
        println!("{DOCUMENT} is written");
    }
    Ok(())
}

fn read(arguments: &[String]) -> Outcome<Order> {
    let mut order = Order { keys: 10_000, limit: None, write: false, build: false };
    let mut rest = arguments.iter();
    while let Some(word) = rest.next() {
        let number = |text: &str| text.parse::<u64>().map_err(|_| format!("{text:?} is no number"));
        match word.as_str() {
            "--write" => order.write = true,
            "--build" => order.build = true,
            "--limit" => {
                let seconds = rest.next().ok_or("--limit needs a number of seconds")?;
                order.limit = Some(Duration::from_secs(number(seconds)?));
            }
            keys => order.keys = number(keys)?,
        }
    }
    Ok(order)
}

/// `crates/store/examples/store_bench.rs` is the benchmark `store_bench`; one of several files is a folder with a
/// `main.rs`.
fn bench_of(source: &Source) -> Option<String> {
    let (_, file) = source.path.strip_prefix("crates/")?.split_once("/examples/")?;
    let example = file.strip_suffix("/main.rs").or(file.strip_suffix(".rs"))?;
    (example.ends_with("_bench") && !example.contains('/')).then(|| example.to_owned())
}

/// What one benchmark printed: its tables as such, everything else verbatim.
fn section(example: &str, printed: &str) -> String {
    let mut text = format!("\n## {example}\n");
    let mut before = None;
    for line in printed.lines().filter(|line| !line.trim().is_empty()) {
        let row = line.starts_with('|');
        if before != Some(row) {
            text.push_str(match (before, row) {
                (None, true) => "\n",
                (Some(_), true) => "```\n\n",
                (_, false) => "\n```\n",
            });
        }
        before = Some(row);
        text.push_str(line);
        text.push('\n');
    }
    if before == Some(false) {
        text.push_str("```\n");
    }
    text
}

/// The part of the document that a new run leaves alone.
fn reasons(document: &str) -> String {
    document.find(&format!("\n{REASONS}")).map_or(String::new(), |at| document[at..].to_owned())
}

fn head(order: &Order) -> Outcome<String> {
    let line = |program: &str, arguments: &[&str]| output(Command::new(program).args(arguments));
    Ok(format!(
        "# Benchmarks\n\n`cargo xtask bench {} --write`, {} cores, {}, {}.\n",
        order.keys,
        line("nproc", &[])?.trim(),
        line("rustc", &["--version"])?.trim(),
        line("uname", &["-sm"])?.trim(),
    ))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{Order, bench_of, read, reasons, section};
    use crate::tree::Source;

    #[test]
    fn arguments_are_read_in_any_order() {
        let words = |text: &str| text.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
        let order = Order { keys: 500, limit: Some(Duration::from_secs(15)), write: true, build: false };
        assert_eq!(read(&words("--limit 15 500 --write")).unwrap(), order);
        assert_eq!(read(&[]).unwrap(), Order { keys: 10_000, limit: None, write: false, build: false });
        assert!(read(&words("--limit")).is_err() && read(&words("many")).is_err());
    }

    #[test]
    fn benchmarks_are_found_by_their_name() {
        let of = |path: &str| bench_of(&Source { path: path.into(), text: None });
        let found = Some("store_bench".to_owned());
        assert_eq!(of("crates/store/examples/store_bench.rs"), found);
        assert_eq!(of("crates/archive/examples/golden_write.rs"), None);
        let found = Some("server_bench".to_owned());
        assert_eq!(of("crates/testkit/examples/server_bench/main.rs"), found);
        assert_eq!(of("crates/testkit/examples/server_bench/load.rs"), None);
        assert_eq!(of("crates/testkit/examples/figures/mod.rs"), None);
    }

    #[test]
    fn tables_are_tables_and_the_rest_is_verbatim() {
        assert_eq!(section("a", "2 cores\n\n| f |\n|---|\n"), "\n## a\n\n```\n2 cores\n```\n\n| f |\n|---|\n");
        assert_eq!(section("b", "| f |\nend\n"), "\n## b\n\n| f |\n\n```\nend\n```\n");
    }

    #[test]
    fn reasons_outlive_a_new_run() {
        assert_eq!(reasons("# Benchmarks\n\n## Reasons\nslow disk\n"), "\n## Reasons\nslow disk\n");
        assert_eq!(reasons("# Benchmarks\n"), "");
    }
}
