//! `docs/features.md`: each row parses, and a row that is done names a test that exists.

use std::collections::{BTreeMap, BTreeSet};

use super::{Report, text};
use crate::tree::Source;

const DOCUMENT: &str = "docs/features.md";
const STATES: [&str; 4] = ["done", "partial", "open", "later"];

/// Checks the tables and gives the counts per state.
pub fn check(files: &[Source], report: &mut Report) -> String {
    let tests = functions(files);
    let steps = steps(text(files, ".ci/run").unwrap_or_default());
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    let mut ids = BTreeSet::new();
    for (number, line) in text(files, DOCUMENT).unwrap_or_default().lines().enumerate() {
        let place = format!("{DOCUMENT}:{}", number + 1);
        let Some(row) = line.strip_prefix("| F-") else { continue };
        let cells: Vec<&str> = row.trim_end().trim_end_matches('|').split(" | ").map(str::trim).collect();
        let [id, _, _, proof, state] = cells[..] else {
            report.problem(place, format_args!("{} cells, not five", cells.len()));
            continue;
        };
        if !ids.insert(id) {
            report.problem(&place, format_args!("F-{id} stands twice"));
        }
        let Some(word) = STATES.into_iter().find(|word| state.trim_matches('*').starts_with(word)) else {
            report.problem(&place, format_args!("{state:?} is none of {STATES:?}"));
            continue;
        };
        *counts.entry(word).or_default() += 1;
        let names = names(proof);
        if word == "done" && names.is_empty() {
            report.problem(&place, format_args!("F-{id} is done and names no test"));
        }
        for name in names.iter().filter(|name| !exists(name, &tests, &steps)) {
            report.problem(&place, format_args!("F-{id} names {name}, which does not exist"));
        }
    }
    let shown: Vec<String> =
        STATES.iter().map(|word| format!("{word} {}", counts.get(word).copied().unwrap_or(0))).collect();
    format!("features: {}", shown.join(", "))
}

/// The tests in a cell: `path::name`, several with commas between; `–` is none.
fn names(cell: &str) -> Vec<String> {
    let cleaned = cell.replace('`', "");
    let parts = cleaned.split([',', ';']).map(|part| part.trim().to_owned());
    parts.filter(|part| !part.is_empty() && part != "–" && part != "-").collect()
}

/// `gate::step` is a step of .ci/run; of anything else the last part is the name of a function.
fn exists(name: &str, tests: &BTreeSet<&str>, steps: &BTreeSet<&str>) -> bool {
    match name.strip_prefix("gate::") {
        Some(step) => steps.contains(step),
        None => tests.contains(name.rsplit("::").next().unwrap_or_default()),
    }
}

fn functions(files: &[Source]) -> BTreeSet<&str> {
    let lines = files.iter().filter(|f| f.is_rust()).flat_map(Source::lines);
    let after = lines.filter_map(|(_, line)| line.split_once("fn ").map(|(_, rest)| rest));
    after.filter_map(|rest| rest.split(['(', '<']).next()).collect()
}

/// The names of the steps of the gate: lines `step name command…`.
fn steps(gate: &str) -> BTreeSet<&str> {
    gate.lines().filter_map(|line| line.trim().strip_prefix("step ")?.split_whitespace().next()).collect()
}

#[cfg(test)]
mod tests {
    use super::check;
    use crate::tidy::Report;
    use crate::tree::Source;

    #[test]
    fn a_row_that_is_done_must_name_what_exists() {
        let gate = "step fmt cargo fmt --check\n";
        let code = "//! x\n#[test]\nfn a_key_comes_back() {}\n";
        let rows = "| F-A-01 | p | s | `store::a_key_comes_back`, gate::fmt | **done** |\n\
                    | F-A-02 | p | s | – | open |\n\
                    | F-A-03 | p | s | – | done |\n\
                    | F-A-03 | p | s | x::nothing | partial: no list |\n\
                    | F-A-04 | p | s | gate::none | done |\n\
                    | F-A-05 | p | – | soon |\n\
                    | F-A-06 | p | s | – | soon |\n";
        let files: Vec<Source> = [("docs/features.md", rows), ("crates/a/src/lib.rs", code), (".ci/run", gate)]
            .into_iter()
            .map(|(path, text)| Source { path: path.into(), text: Some(text.into()) })
            .collect();
        let mut report = Report::default();
        assert_eq!(check(&files, &mut report), "features: done 3, partial 1, open 1, later 0");
        let found: Vec<&str> = report.problems().iter().map(|p| p.split_once(": ").unwrap().1).collect();
        let twice = "F-A-03 stands twice";
        let names = ["F-A-03 names x::nothing, which does not exist", "F-A-04 names gate::none, which does not exist"];
        assert_eq!(found[..4], ["F-A-03 is done and names no test", twice, names[0], names[1]]);
        assert_eq!(found.len(), 6, "{found:?}");
    }
}
