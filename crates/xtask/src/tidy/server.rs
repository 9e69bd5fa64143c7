//! Which module of the server may use which; between crates, cargo sees to it.

use super::Report;
use crate::tree::Source;

const HOME: &str = "crates/server/src/";

/// Each module with the modules and paths that it may use besides itself. `boot` puts everything together.
const MAY_USE: &[(&str, &[&str])] = &[
    ("http", &["app", "settings"]),
    ("compat", &["app"]),
    ("app", &["access", "audit", "jobs", "protection", "settings"]),
    // Below the handlers: what one incarnation runs on, and how it reads records and reports errors.
    ("access", &["app::core", "app::ctx", "app::error", "app::records"]),
    ("audit", &["app::core", "app::ctx", "app::error"]),
    ("jobs", &["audit", "app::core", "app::ctx", "app::error", "app::records"]),
    ("protection", &["app::core", "app::error", "app::records"]),
    ("settings", &[]),
    ("housekeeping", &["app", "boot", "protection"]),
    ("host", &["app", "boot", "http", "housekeeping", "settings"]),
    ("recover", &["app", "boot", "http", "settings"]),
    ("boot", &["access", "app", "audit", "http", "jobs", "settings"]),
    (
        "lib",
        &[
            "access",
            "app",
            "audit",
            "boot",
            "compat",
            "host",
            "http",
            "housekeeping",
            "jobs",
            "protection",
            "recover",
            "settings",
        ],
    ),
];

/// Uses that look up, with what would mend them. One that is gone must leave this list.
const UPWARD: &[(&str, &str, &str)] = &[
    ("access", "app::groups", "groups_of belongs beside the records"),
    ("access", "app::users", "UserHeader is keyark_model::people::UserHeader"),
    ("app", "boot", "the data folder and the opening of a store belong below the handlers"),
];

pub fn check(files: &[Source], report: &mut Report) {
    let mut upward = vec![false; UPWARD.len()];
    let mut seen = false;
    for file in files.iter().filter(|f| f.is_rust()) {
        let Some(inside) = file.path.strip_prefix(HOME) else { continue };
        seen = true;
        let module = inside.split(['/', '.']).next().unwrap_or_default();
        let Some((_, may)) = MAY_USE.iter().find(|(name, _)| *name == module) else {
            report
                .problem(&file.path, "a module that the table of layers does not know (crates/xtask, tidy/server.rs)");
            continue;
        };
        for (number, line) in file.lines().filter(|(_, line)| !line.trim_start().starts_with("//")) {
            for path in uses(line) {
                if within(&path, module) || may.iter().any(|m| within(&path, m)) {
                    continue;
                }
                match UPWARD.iter().position(|(m, p, _)| *m == module && within(&path, p)) {
                    Some(known) => upward[known] = true,
                    None => report.problem(
                        format_args!("{}:{number}", file.path),
                        format_args!("{module} must not know crate::{path}"),
                    ),
                }
            }
        }
    }
    for ((module, path, mend), _) in UPWARD.iter().zip(upward).filter(|(_, used)| seen && !used) {
        report
            .problem("crates/xtask/src/tidy/server.rs", format_args!("{module} → {path} ({mend}) is mended: drop it"));
    }
}

/// Whether a path is this one or lies in it.
fn within(path: &str, of: &str) -> bool {
    path.strip_prefix(of).is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
}

/// The paths after `crate::` in a line; a group in braces counts one by one.
fn uses(line: &str) -> Vec<String> {
    let mut found = Vec::new();
    for (at, _) in line.match_indices("crate::") {
        let named = |c: char| c.is_alphanumeric() || c == '_' || c == ':';
        // `keyark_crate::x` or `$crate::x` is another crate's.
        if line[..at].ends_with(|c: char| named(c) || c == '$') {
            continue;
        }
        let rest = &line[at + "crate::".len()..];
        let path: String = rest.chars().take_while(|c| named(*c)).collect();
        match rest[path.len()..].strip_prefix('{') {
            Some(group) if path.is_empty() || path.ends_with("::") => {
                let group = group.split('}').next().unwrap_or_default();
                let inside = |name: &str| match (name.trim(), path.strip_suffix("::")) {
                    ("self", Some(itself)) => itself.to_owned(),
                    (name, _) => format!("{path}{name}"),
                };
                found.extend(group.split(',').map(inside));
            }
            _ => found.push(path),
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::{check, uses};
    use crate::tidy::Report;
    use crate::tree::Source;

    #[test]
    fn paths_are_found_in_lines() {
        assert_eq!(uses("use crate::app::{App, Handle};"), ["app::App", "app::Handle"]);
        assert_eq!(uses("use crate::{http, boot::Folder};"), ["http", "boot::Folder"]);
        assert_eq!(uses("use crate::boot::{self, Folder};"), ["boot", "boot::Folder"]);
        assert_eq!(uses("crate::app::core::encode(crate::x::y)"), ["app::core::encode", "x::y"]);
        assert_eq!(uses("$crate::Endpoint"), Vec::<String>::new());
    }

    #[test]
    fn a_module_that_looks_up_is_found() {
        let found = |path: &str, text: &str| {
            let mut report = Report::default();
            check(&[Source { path: format!("crates/server/src/{path}"), text: Some(text.into()) }], &mut report);
            report.problems().iter().filter(|p| p.contains("must not know") || p.contains("table")).count()
        };
        assert_eq!(found("app/keys/mod.rs", "use crate::app::core::Core;\nuse crate::access::tokens;"), 0);
        assert_eq!(found("app/keys/mod.rs", "use crate::http::read;"), 1);
        assert_eq!(found("access/tokens.rs", "use crate::app::keys::key_find;"), 1);
        assert_eq!(found("access/tokens.rs", "use crate::app::core::Core;"), 0);
        assert_eq!(found("http/mod.rs", "use crate::{app::App, boot};"), 1);
        assert_eq!(found("other/mod.rs", ""), 1);
    }
}
