//! `cargo xtask openapi [--bless]`: compares `docs/openapi.json` with the code, or writes it anew.

use crate::process::Outcome;
use crate::test::run_tests;

/// The test that compares the document with what the code prints; with `KEYARK_BLESS=1` it writes it.
const TEST: &str = "pages::openapi";

/// Runs the comparing test, which lives beside the code that makes the document.
pub fn openapi(arguments: &[String]) -> Outcome {
    let bless = match arguments {
        [] => false,
        [one] if one == "--bless" => true,
        _ => return Err("the only argument is --bless".into()),
    };
    let variables: &[(&str, &str)] = if bless { &[("KEYARK_BLESS", "1")] } else { &[] };
    let sum = run_tests(&["--package", "keyark-testkit", "--test", "it", TEST], &[], variables)?;
    println!("test result: {sum}");
    match (sum.check(), sum.passed) {
        (Err(_), 0) => Err(format!("no test passed that has {TEST} in its name")),
        (outcome, _) => outcome.map_err(|e| format!("{e}; if the change is wanted: cargo xtask openapi --bless")),
    }
}
