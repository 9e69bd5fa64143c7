//! `cargo xtask nightly [SECONDS]`: what is too slow for the gate: many random cases, every fuzz target, benchmarks at 100 000 keys.

use std::path::PathBuf;
use std::process::Command;

use crate::process::{Outcome, cargo, run, succeeds};
use crate::{bench, test, tree};

/// Seconds for each fuzz target unless told otherwise.
const SECONDS: u32 = 60;
/// Random cases of each property test, against the 256 of the gate.
const CASES: &str = "4096";
const KEYS: &str = "100000";

/// Runs all of it, one after the other; the first failure ends it.
pub fn nightly(arguments: &[String]) -> Outcome {
    let seconds = match arguments {
        [] => SECONDS,
        [one] => one.parse().map_err(|_| format!("{one:?} is no number of seconds"))?,
        _ => return Err("nightly takes the seconds for each fuzz target and nothing else".into()),
    };
    let properties = ["--package", "keyark-archive", "--package", "keyark-store", "--package", "keyark-testkit"];
    test::run_tests(&properties, &[], &[("PROPTEST_CASES", CASES)])?.check()?;
    fuzz(seconds)?;
    bench::bench(&[KEYS.to_owned()])
}

/// Runs every target for so long, from the golden archives on. What it finds stays in `fuzz/artifacts`.
fn fuzz(seconds: u32) -> Outcome {
    let fuzzer = fuzzer()?;
    let targets = targets()?;
    for target in &targets {
        println!("== fuzz {target}: {seconds} s");
        let corpus = tree::root().join("fuzz/corpus").join(target);
        std::fs::create_dir_all(&corpus).map_err(|e| format!("{}: {e}", corpus.display()))?;
        let mut command = Command::new("cargo");
        // The toolchain that runs this task would be taken otherwise, and only the nightly one has what a fuzzer needs.
        command.args(["+nightly", "fuzz", "run", target]).arg(&corpus).arg(tree::root().join("fixtures/archive-v1"));
        command.arg("--").arg(format!("-max_total_time={seconds}")).arg("-rss_limit_mb=2048");
        for variable in ["CARGO", "RUSTUP_TOOLCHAIN", "RUSTFLAGS", "CARGO_MANIFEST_DIR"] {
            command.env_remove(variable);
        }
        let path = std::env::var_os("PATH").unwrap_or_default();
        let path = std::env::join_paths(std::iter::once(fuzzer.clone()).chain(std::env::split_paths(&path)));
        command.env("PATH", path.map_err(|e| format!("PATH: {e}"))?).current_dir(tree::root());
        run(&mut command)?;
    }
    println!("fuzz: {} targets found nothing", targets.len());
    Ok(())
}

/// The folder of `cargo-fuzz`, which is installed here when it is not there yet.
fn fuzzer() -> Outcome<PathBuf> {
    let home = tree::target().join("tools/cargo");
    let folder = home.join("bin");
    if !succeeds(Command::new(folder.join("cargo-fuzz")).arg("--version")) {
        run(cargo().args(["install", "cargo-fuzz", "--locked", "--root"]).arg(&home))?;
    }
    Ok(folder)
}

/// The names of the targets: one file each.
fn targets() -> Outcome<Vec<String>> {
    let files = tree::sources()?;
    let name = |path: &str| Some(path.strip_prefix("fuzz/fuzz_targets/")?.strip_suffix(".rs")?.to_owned());
    Ok(files.iter().filter_map(|f| name(&f.path)).collect())
}

#[cfg(test)]
mod tests {
    use super::targets;
    use crate::tree;

    #[test]
    fn the_gate_builds_no_slow_tool() {
        let gate = tree::read(".ci/run").unwrap();
        let tasks = ["test", "deny", "break_glass", "readme", "bench", "tools", "openapi"];
        let tasks = tasks.map(|task| tree::read(&format!("crates/xtask/src/{task}.rs")).unwrap_or_default());
        for text in std::iter::once(&gate).chain(&tasks) {
            for slow in ["cargo install", "\"install\", \"cargo", "nextest", "cargo-fuzz", "xtask nightly", "+nightly"]
            {
                assert!(!text.contains(slow), "{slow:?} in the gate");
            }
        }
        let workspace = tree::read("Cargo.toml").unwrap();
        assert!(workspace.contains("exclude = [\"fuzz\"]"), "the fuzz targets are not part of what the gate builds");
    }

    #[test]
    fn every_fuzz_target_is_built_and_every_parser_has_one() {
        let manifest = tree::read("fuzz/Cargo.toml").unwrap();
        let all = targets().unwrap();
        for target in &all {
            assert!(
                manifest.contains(&format!("path = \"fuzz_targets/{target}.rs\"")),
                "{target} is not in fuzz/Cargo.toml"
            );
        }
        let texts: String = all.iter().map(|t| tree::read(&format!("fuzz/fuzz_targets/{t}.rs")).unwrap()).collect();
        // What reads bytes that somebody else may have made.
        for parser in [
            "Header::parse",
            "Footer::parse",
            "Anchor::parse",
            "Signature::parse",
            "Parts::parse",
            "Archive::open",
            "Index::parse",
            "count_items",
            ".inflate(",
            "jwe::decrypt",
            "jwe::protected_header",
            "keyfile_inspect",
            "passphrase::read",
            "Entry::decode",
            "history::{decode",
            "KeyBody::decode",
            "Material::import(",
            "Material::import_pem",
            "RecordFacts::of_header",
            "Note::parse",
            "StreamObject::parse",
            "SignedReport",
        ] {
            assert!(texts.contains(parser), "no target gives input to {parser}");
        }
    }
}
