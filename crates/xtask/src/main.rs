//! Project tasks: `cargo xtask <task>`, one file per task.

mod bench;
mod break_glass;
mod deny;
mod nightly;
mod openapi;
mod process;
mod readme;
mod test;
mod tidy;
mod tools;
mod tree;

use std::process::ExitCode;

const USAGE: &str = "cargo xtask <task>

  test [ARGUMENTS OF cargo test]  install what the tests need, then run all of them
  tidy                            house style, layers, words, documents, docs/features.md
  deny                            licences, banned and doubled packages (deny.toml)
  break-glass                     open the golden archives with the script in docs/break-glass
  readme                          run the marked commands of README.md with the release binary
  bench [KEYS] [--limit SECONDS] [--write]
                                  every benchmark; --write makes docs/benchmarks.md
  nightly [SECONDS]               many random cases, every fuzz target, benchmarks at 100 000 keys: hours, not for the gate
  openapi [--bless]               compare docs/openapi.json with the code, or write it anew
";

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    let task = arguments.next().unwrap_or_default();
    let rest: Vec<String> = arguments.collect();
    let outcome = match task.as_str() {
        "test" => test::test(&rest),
        "tidy" => tidy::tidy(),
        "deny" => deny::deny(),
        "break-glass" => break_glass::break_glass(),
        "readme" => readme::readme(),
        "bench" => bench::bench(&rest),
        "nightly" => nightly::nightly(&rest),
        "openapi" => openapi::openapi(&rest),
        _ => Err(format!("{task:?} is no task.\n\n{USAGE}")),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("xtask {task}: {message}");
            ExitCode::FAILURE
        }
    }
}
