//! The two doors of the hourglass and the seams: who may go through, and that each seam has the makers it was cut for.

use super::Report;
use crate::tree::Source;

/// A call that only these files may make; they are named in docs/ARCHITECTURE.md or stand beside its door.
const DOORS: &[(&str, &[&str], &[&str])] = &[
    ("door one, App::call", &["self.handle(&ctx"], &["crates/server/src/app/mod.rs"]),
    (
        "door two, Store::commit",
        &["store.commit(", "store.submit("],
        &[
            "crates/server/src/app/ctx.rs",
            "crates/server/src/app/core.rs",
            "crates/server/src/app/backups/restore.rs",
            "crates/server/src/boot.rs",
        ],
    ),
    ("SQLite", &["rusqlite::"], &["crates/store/src/", "crates/server/src/audit/"]),
    ("the system's randomness", &["aws_lc_rs::rand", "getrandom::"], &["crates/crypto/src/"]),
];

/// A trait that a second maker fills, or will: so many at least.
const SEAMS: &[(&str, usize)] = &[("Log", 2), ("ReadAt", 3), ("RootOfTrust", 1)];

pub fn check(files: &[Source], report: &mut Report) {
    let product = |f: &&Source| {
        let own = ["crates/testkit/", "crates/xtask/"].iter().all(|other| !f.path.starts_with(other));
        f.is_rust() && own && f.path.contains("/src/") && !f.path.ends_with("tests.rs")
    };
    let mut makers = vec![0; SEAMS.len()];
    for file in files.iter().filter(product) {
        for (number, line) in file.lines().filter(|(_, line)| !line.trim_start().starts_with("//")) {
            for (door, calls, by) in DOORS {
                let passes = calls.iter().any(|call| line.contains(call));
                if passes && !by.iter().any(|may| file.path.starts_with(may)) {
                    report.problem(format_args!("{}:{number}", file.path), format_args!("goes around {door}"));
                }
            }
            for ((seam, _), found) in SEAMS.iter().zip(&mut makers) {
                *found += usize::from(line.starts_with("impl") && line.contains(&format!(" {seam} for ")));
            }
        }
    }
    for ((seam, least), found) in SEAMS.iter().zip(makers).filter(|((_, least), found)| found < least) {
        report.problem("crates", format_args!("the seam {seam} has {found} makers of {least}: is it one any more?"));
    }
}

#[cfg(test)]
mod tests {
    use super::check;
    use crate::tidy::Report;
    use crate::tree::Source;

    fn found(path: &str, text: &str, what: &str) -> usize {
        let mut report = Report::default();
        check(&[Source { path: path.into(), text: Some(text.into()) }], &mut report);
        report.problems().iter().filter(|p| p.contains(what)).count()
    }

    #[test]
    fn whoever_goes_around_a_door_is_found() {
        let around = |path: &str, text: &str| found(path, text, "goes around");
        assert_eq!(around("crates/server/src/app/keys/create.rs", "self.core.store.commit(batch, now)"), 1);
        assert_eq!(around("crates/server/src/app/ctx.rs", "self.core.store.submit(batch)"), 0);
        assert_eq!(around("crates/server/src/app/ctx.rs", "// store.commit( is door two"), 0);
        assert_eq!(around("crates/server/src/http/mod.rs", "app.self.handle(&ctx, body)"), 1);
        assert_eq!(around("crates/cli/src/tour.rs", "use rusqlite::Connection;"), 1);
        assert_eq!(around("crates/store/src/read.rs", "use rusqlite::Connection;"), 0);
        assert_eq!(around("crates/backup/src/take.rs", "aws_lc_rs::rand::fill(&mut key)"), 1);
        assert_eq!(around("crates/testkit/tests/it/states.rs", "core.store.commit(batch, now)"), 0);
    }

    #[test]
    fn a_seam_without_its_makers_is_found() {
        let log = "impl Log for SqliteLog {\nimpl Log for MemoryLog {";
        assert_eq!(found("crates/store/src/log.rs", log, "the seam Log "), 0);
        assert_eq!(found("crates/store/src/log.rs", "impl Log for SqliteLog {", "the seam Log has 1 makers of 2"), 1);
    }
}
