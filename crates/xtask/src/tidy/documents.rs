//! The documents that must be there, and the list of dependencies against the workspace.

use std::collections::BTreeSet;

use super::{Report, text};
use crate::tree::Source;

const REQUIRED: &[&str] = &[
    "CONTRIBUTING.md",
    "Dockerfile",
    "LICENSE",
    "deny.toml",
    "docs/ARCHITECTURE.md",
    "docs/archive-format.md",
    "docs/dependencies.md",
    "docs/features.md",
    "docs/log-format.md",
    "docs/threat-model.md",
    "packaging/keyark.service",
];

/// A decision fits on a card.
const DECISION_LINES: usize = 14;

pub fn check(files: &[Source], report: &mut Report) {
    for path in REQUIRED.iter().filter(|path| text(files, path).is_none()) {
        report.problem(path, "is missing");
    }
    dependencies(files, report);
    decisions(files, report);
    links(files, report);
    card(files, report);
    contexts(files, report);
    contributing(files, report);
}

/// Every outside package of the workspace has its line in docs/dependencies.md, and every line its package.
fn dependencies(files: &[Source], report: &mut Report) {
    let manifest = text(files, "Cargo.toml").unwrap_or_default().parse::<toml::Table>().unwrap_or_default();
    let used = manifest.get("workspace").and_then(|w| w.get("dependencies")).and_then(|d| d.as_table());
    let used: BTreeSet<&str> =
        used.into_iter().flat_map(|t| t.keys()).map(String::as_str).filter(|n| !n.starts_with("keyark-")).collect();
    let lines = text(files, "docs/dependencies.md").unwrap_or_default().lines();
    let told: BTreeSet<&str> = lines.filter_map(|l| l.strip_prefix("| `")?.split('`').next()).collect();
    for name in used.difference(&told) {
        report.problem("docs/dependencies.md", format_args!("{name} has no line: what for, and why this one"));
    }
    for name in told.difference(&used) {
        report.problem("docs/dependencies.md", format_args!("{name} is no dependency any more"));
    }
}

/// Decisions are numbered from 0001 without gaps and are short.
fn decisions(files: &[Source], report: &mut Report) {
    let all = files.iter().filter(|f| f.path.starts_with("docs/decisions/"));
    for (i, file) in all.enumerate() {
        let wanted = format!("docs/decisions/{:04}-", i + 1);
        if !file.path.starts_with(&wanted) {
            report.problem(&file.path, format_args!("the next decision is {wanted}…"));
        }
        if file.lines().count() > DECISION_LINES {
            report.problem(&file.path, format_args!("more than {DECISION_LINES} lines; what is longer is a document"));
        }
    }
}

/// A link to a file of the tree leads somewhere.
fn links(files: &[Source], report: &mut Report) {
    for file in files.iter().filter(|f| f.path.ends_with(".md")) {
        let folder = file.path.rsplit_once('/').map_or("", |(folder, _)| folder);
        for (number, line) in file.lines() {
            for target in line.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
                let target = target.split('#').next().unwrap_or_default();
                if target.is_empty() || target.contains("://") {
                    continue;
                }
                let path = joined(folder, target);
                let there = files.iter().any(|f| f.path == path || f.path.starts_with(&format!("{path}/")));
                if !there {
                    report.problem(format_args!("{}:{number}", file.path), format_args!("leads nowhere: {target}"));
                }
            }
        }
    }
}

/// Every path on the card "where does X live" is one of the tree; `crates/` may be left off, `{a,b}` stands for several.
fn card(files: &[Source], report: &mut Report) {
    const PAGE: &str = "docs/ARCHITECTURE.md";
    let lines = text(files, PAGE).unwrap_or_default().lines();
    let rows =
        lines.skip_while(|l| !l.starts_with("## Where does X live")).skip(1).take_while(|l| !l.starts_with("## "));
    for token in rows.filter_map(|row| row.split('|').nth(2)).flat_map(|cell| cell.split('`').skip(1).step_by(2)) {
        // A placeholder, a name without its folder, or code.
        if !token.contains('/') || token.contains(['<', ' ']) {
            continue;
        }
        for path in alternatives(token) {
            let there = |start: &str| {
                let path = format!("{start}{path}");
                files.iter().any(|f| f.path == path || (path.ends_with('/') && f.path.starts_with(&path)))
            };
            if !there("") && !there("crates/") {
                report.problem(PAGE, format_args!("the card leads nowhere: {path}"));
            }
        }
    }
}

/// `a/{b,c}.rs` is `a/b.rs` and `a/c.rs`.
fn alternatives(path: &str) -> Vec<String> {
    match path.split_once('{').and_then(|(start, rest)| Some((start, rest.split_once('}')?))) {
        Some((start, (names, end))) => names.split(',').map(|name| format!("{start}{name}{end}")).collect(),
        None => vec![path.to_owned()],
    }
}

/// Every context of a signature, a seal or a digest in the code stands in the threat model, and every promise.
fn contexts(files: &[Source], report: &mut Report) {
    const PAGE: &str = "docs/threat-model.md";
    let page = text(files, PAGE).unwrap_or_default();
    let code = files.iter().filter(|f| f.path.starts_with("crates/") && f.path.contains("/src/"));
    let code = code.filter(|f| !f.path.starts_with("crates/xtask/")).filter_map(|f| f.text.as_deref());
    let found = code.flat_map(|text| text.split("\"keyark/").skip(1));
    let found = found.map(|rest| {
        let end = rest.find(|c: char| !(c.is_ascii_alphanumeric() || "/-.".contains(c)));
        format!("keyark/{}", &rest[..end.unwrap_or(rest.len())])
    });
    for context in found.collect::<BTreeSet<_>>().iter().filter(|context| !page.contains(context.as_str())) {
        report.problem(PAGE, format_args!("the context {context} of the code is not explained"));
    }
    for promise in (1..=9).map(|n| format!("P{n}")).filter(|promise| !page.contains(promise.as_str())) {
        report.problem(PAGE, format_args!("says nothing of promise {promise}"));
    }
}

/// Two pages of about 60 lines are read; more are not.
const CONTRIBUTING_LINES: usize = 120;

fn contributing(files: &[Source], report: &mut Report) {
    let lines = text(files, "CONTRIBUTING.md").unwrap_or_default().lines().count();
    if lines > CONTRIBUTING_LINES {
        report.problem("CONTRIBUTING.md", format_args!("{lines} lines; {CONTRIBUTING_LINES} are two pages"));
    }
}

fn joined(folder: &str, target: &str) -> String {
    let mut parts: Vec<&str> = folder.split('/').filter(|p| !p.is_empty()).collect();
    for part in target.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()),
            name => parts.push(name),
        }
    }
    parts.join("/")
}

#[cfg(test)]
mod tests {
    use super::{card, contexts, contributing, decisions, dependencies, links};
    use crate::tidy::Report;
    use crate::tree::Source;

    fn files(all: &[(&str, &str)]) -> Vec<Source> {
        all.iter().map(|(path, text)| Source { path: (*path).into(), text: Some((*text).into()) }).collect()
    }

    #[test]
    fn the_list_of_dependencies_and_the_workspace_must_agree() {
        let manifest = "[workspace.dependencies]\nserde = \"1\"\ntoml = \"1\"\nkeyark-model = { path = \"x\" }";
        let mut report = Report::default();
        dependencies(&files(&[("Cargo.toml", manifest), ("docs/dependencies.md", "| `serde` | x |")]), &mut report);
        dependencies(&files(&[("Cargo.toml", ""), ("docs/dependencies.md", "| `gone` | x |")]), &mut report);
        assert_eq!(report.problems().len(), 2, "{:?}", report.problems());
    }

    #[test]
    fn gaps_among_decisions_and_dead_links_are_found() {
        let mut report = Report::default();
        decisions(&files(&[("docs/decisions/0001-a.md", ""), ("docs/decisions/0003-b.md", "")]), &mut report);
        assert_eq!(report.problems().len(), 1);
        let tree =
            [("docs/a.md", "[b](b.md) [c](../crates/c.rs#L3) [d](d.md) [w](https://example.org)"), ("docs/b.md", "")];
        let mut report = Report::default();
        links(&files(&[tree[0], tree[1], ("crates/c.rs", "")]), &mut report);
        assert_eq!(report.problems(), ["docs/a.md:1: leads nowhere: d.md"]);
    }
    #[test]
    fn the_card_the_threat_model_and_the_length_are_checked() {
        let page = "## Where does X live: one minute\n| a | `crates/a/src/{x,y}.rs`, `b/src/` |\n| n | `c/<noun>.rs` |\n## Next";
        let mut report = Report::default();
        card(
            &files(&[("docs/ARCHITECTURE.md", page), ("crates/a/src/x.rs", ""), ("crates/b/src/z.rs", "")]),
            &mut report,
        );
        assert_eq!(report.problems(), ["docs/ARCHITECTURE.md: the card leads nowhere: crates/a/src/y.rs"]);
        let code = ("crates/a/src/x.rs", "sign(b\"keyark/told/1\\0\", \"keyark/new/1\")");
        let mut report = Report::default();
        let model = ("docs/threat-model.md", "keyark/told/1 P1 P2 P3 P4 P5 P6 P7 P8");
        contexts(&files(&[code, model]), &mut report);
        assert_eq!(report.problems().len(), 2, "{:?}", report.problems());
        let mut report = Report::default();
        contributing(&files(&[("CONTRIBUTING.md", &"x\n".repeat(121))]), &mut report);
        assert_eq!(report.problems().len(), 1);
    }
}
