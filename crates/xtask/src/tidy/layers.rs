//! Which crate may use which: left never knows right.

use super::Report;
use crate::tree::Source;

const ALL: &[&str] = &["model", "crypto", "store", "archive", "backup", "api", "server"];

/// Each crate with what it may use. Changing a row is changing the design: say why in docs/decisions.
const MAY_USE: &[(&str, &[&str])] = &[
    ("model", &[]),
    ("crypto", &["model"]),
    ("store", &["model", "crypto"]),
    ("archive", &["model", "crypto"]),
    ("backup", &["model", "crypto", "archive", "store"]),
    ("api", &["model"]),
    ("server", &["model", "crypto", "store", "archive", "backup", "api"]),
    ("cli", ALL),
    ("testkit", ALL),
    ("xtask", &[]),
];

/// Tests may use the test kit besides, whatever crate they are in.
const IN_TESTS: &str = "testkit";

pub fn check(files: &[Source], report: &mut Report) {
    for file in files {
        let Some(name) = file.path.strip_prefix("crates/").and_then(|p| p.strip_suffix("/Cargo.toml")) else {
            continue;
        };
        let Some((_, may)) = MAY_USE.iter().find(|(crate_name, _)| *crate_name == name) else {
            report.problem(&file.path, "a crate that the table of layers does not know; more than ten is ceremony");
            continue;
        };
        for (used, for_tests) in ours(file.text.as_deref().unwrap_or_default()) {
            let allowed = may.contains(&&*used) || for_tests && used == IN_TESTS;
            if !allowed {
                report.problem(&file.path, format_args!("{name} must not know {used}"));
            }
        }
    }
}

/// The crates of ours that a manifest names, and whether only its tests use them.
fn ours(manifest: &str) -> Vec<(String, bool)> {
    let Ok(manifest) = manifest.parse::<toml::Table>() else { return vec![("an unreadable manifest".into(), false)] };
    let mut found = Vec::new();
    for (table, for_tests) in [("dependencies", false), ("build-dependencies", false), ("dev-dependencies", true)] {
        let names = manifest.get(table).and_then(|t| t.as_table()).into_iter().flat_map(|t| t.keys());
        found.extend(names.filter_map(|n| n.strip_prefix("keyark-")).map(|n| (n.to_owned(), for_tests)));
    }
    found
}

#[cfg(test)]
mod tests {
    use super::check;
    use crate::tidy::Report;
    use crate::tree::Source;

    #[test]
    fn a_crate_that_looks_right_is_found() {
        let found = |path: &str, text: &str| {
            let mut report = Report::default();
            check(&[Source { path: path.into(), text: Some(text.into()) }], &mut report);
            report.problems().len()
        };
        let store = "crates/store/Cargo.toml";
        assert_eq!(found(store, "[dependencies]\nkeyark-model.workspace = true\nserde = \"1\""), 0);
        assert_eq!(found(store, "[dependencies]\nkeyark-archive.workspace = true"), 1);
        assert_eq!(found(store, "[dev-dependencies]\nkeyark-testkit.workspace = true"), 0);
        assert_eq!(found(store, "[dependencies]\nkeyark-testkit.workspace = true"), 1);
        assert_eq!(found("crates/eleventh/Cargo.toml", ""), 1);
    }
}
