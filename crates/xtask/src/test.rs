//! `cargo xtask test`: what the tests need, then all of them, then one line that sums them up.

use std::time::Instant;

use crate::process::{Outcome, cargo, watch};
use crate::{tools, tree};

/// Runs `cargo test --workspace` with further arguments; fails when a test fails, and when none ran.
pub fn test(arguments: &[String]) -> Outcome {
    tools::ensure()?;
    let started = Instant::now();
    let sum = run_tests(&["--workspace", "--no-fail-fast"], arguments, &[])?;
    println!("test result: {sum}; {} s", started.elapsed().as_secs());
    sum.check()
}

/// Runs `cargo test` with these arguments and variables, and adds up what the suites say.
pub fn run_tests(fixed: &[&str], further: &[String], variables: &[(&str, &str)]) -> Outcome<Sum> {
    let python = tools::python()?;
    let folder = python.parent().expect("an interpreter stands in a folder");
    // Tests that run the break-glass script find its libraries with plain `python3`.
    let path = std::env::var_os("PATH").unwrap_or_default();
    let path = std::env::join_paths(std::iter::once(folder.to_owned()).chain(std::env::split_paths(&path)));
    let path = path.map_err(|e| format!("PATH: {e}"))?;
    let mut sum = Sum::default();
    let mut command = cargo();
    command.arg("test").args(fixed).args(further).current_dir(tree::root()).env("PATH", path);
    sum.good = watch(command.envs(variables.iter().copied()), |line| sum.add(line))?;
    Ok(sum)
}

/// What all suites of a run say together.
#[derive(Default, Debug, PartialEq)]
pub struct Sum {
    good: bool,
    suites: u32,
    pub passed: u32,
    failed: u32,
    ignored: u32,
}

impl Sum {
    /// Adds a line such as `test result: ok. 12 passed; 0 failed; 0 ignored; …`; passes over any other.
    fn add(&mut self, line: &str) {
        let Some(rest) = line.strip_prefix("test result: ") else { return };
        let Some((_, numbers)) = rest.split_once(". ") else { return };
        self.suites += 1;
        for part in numbers.split("; ") {
            let Some((number, what)) = part.split_once(' ') else { continue };
            let Ok(number) = number.parse::<u32>() else { continue };
            match what {
                "passed" => self.passed += number,
                "failed" => self.failed += number,
                "ignored" => self.ignored += number,
                _ => {}
            }
        }
    }

    /// Fails when a test failed, and when none ran.
    pub fn check(&self) -> Outcome {
        match (self.good && self.failed == 0, self.passed) {
            (false, _) => Err("tests failed: they are named above".into()),
            (true, 0) => Err("no test ran: look at the filter".into()),
            (true, _) => Ok(()),
        }
    }
}

impl std::fmt::Display for Sum {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let word = if self.check().is_ok() { "ok" } else { "FAILED" };
        let Sum { suites, passed, failed, ignored, .. } = self;
        write!(f, "{word}. {passed} passed; {failed} failed; {ignored} ignored; {suites} suites")
    }
}

#[cfg(test)]
mod tests {
    use super::Sum;

    #[test]
    fn suites_add_up_and_a_failure_or_an_empty_run_is_no_success() {
        let mut sum = Sum { good: true, ..Sum::default() };
        assert!(sum.check().is_err(), "nothing ran");
        sum.add("running 3 tests");
        sum.add("test result: ok. 3 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.01s");
        sum.add("test result: ok. 4 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.01s");
        assert_eq!(sum.to_string(), "ok. 7 passed; 0 failed; 1 ignored; 2 suites");
        sum.add("test result: FAILED. 1 passed; 2 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.01s");
        assert_eq!(sum.to_string(), "FAILED. 8 passed; 2 failed; 1 ignored; 3 suites");
        assert!(sum.check().is_err());
    }
}
