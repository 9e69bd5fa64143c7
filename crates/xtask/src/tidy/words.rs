//! Words that must not stand in any file: paths of one machine, unknown hosts.

use super::Report;
use crate::tree::Source;

/// Folders of one machine; put together here, so that this file passes its own check.
const MACHINE: &[&str] = &[concat!("/ro", "ot/"), concat!("/ho", "me/"), concat!("/wo", "rk/")];

/// Hosts that may be linked to. Registries and their mirrors are nobody's business here: cargo and pip know theirs.
const HOSTS: &[&str] = &[
    "csrc.nist.gov",
    "developers.google.com",
    "docs.rs",
    "github.com",
    "json-schema.org",
    "spec.openapis.org",
    "www.apache.org",
    "www.rfc-editor.org",
];

pub fn check(files: &[Source], report: &mut Report) {
    for file in files {
        for (number, line) in file.lines() {
            for folder in MACHINE.iter().filter(|folder| starts_a_path(line, folder)) {
                report.problem(format_args!("{}:{number}", file.path), format_args!("{folder:?} has no place here"));
            }
            for host in hosts(line).filter(|host| !may_link(host)) {
                let what = format_args!("{host:?} is not among the hosts that may be linked to (tidy/words.rs)");
                report.problem(format_args!("{}:{number}", file.path), what);
            }
        }
    }
}

/// Whether a path of this machine begins in a line; in the middle of another path (`domains/root/…`) it is none.
fn starts_a_path(line: &str, folder: &str) -> bool {
    line.match_indices(folder).any(|(at, _)| !line[..at].ends_with(|c: char| c.is_alphanumeric() || "_-.}".contains(c)))
}

/// The hosts of the web addresses in a line, without user and port.
fn hosts(line: &str) -> impl Iterator<Item = &str> {
    line.split("://").skip(1).zip(line.split("://")).filter_map(|(after, before)| {
        let web = before.ends_with("http") || before.ends_with("https");
        let authority = after.split(|c: char| "/ ?#\"'`<>()|,;\\".contains(c)).next().unwrap_or_default();
        let host = authority.rsplit('@').next().unwrap_or_default();
        let host = if host.starts_with('[') { host } else { host.split(':').next().unwrap_or_default() };
        // A place to be filled in, such as `{address}` or `…`.
        (web && !host.is_empty() && !host.contains(['{', '$', '…', '%', '*'])).then_some(host)
    })
}

fn may_link(host: &str) -> bool {
    let host = host.trim_end_matches('.');
    let example = ["example", "example.com", "example.org", "example.net", "test", "invalid", "localhost"];
    let plain = !host.contains('.') && !host.starts_with('[');
    let number = host.starts_with('[') || host.bytes().all(|b| b.is_ascii_digit() || b == b'.');
    let made_up = example.iter().any(|e| host == *e || host.ends_with(&format!(".{e}")));
    HOSTS.contains(&host) || made_up || plain || number
}

#[cfg(test)]
mod tests {
    use super::{check, hosts};
    use crate::tidy::Report;
    use crate::tree::Source;

    #[test]
    fn machine_paths_and_unknown_hosts_are_found() {
        let found = |text: &str| {
            let mut report = Report::default();
            check(&[Source { path: "a.md".into(), text: Some(text.into()) }], &mut report);
            report.problems().len()
        };
        assert_eq!(found("see https://www.rfc-editor.org/rfc/rfc5869 and http://127.0.0.1:9443/v1"), 0);
        assert_eq!(found("https://keys.example.org:9443, https://host:port, https://{address}/v1"), 0);
        assert_eq!(found(concat!("https://packages.", "acme-mirror.io/simple")), 1);
        assert_eq!(found(concat!("cd /wo", "rk/main")), 1);
    }

    #[test]
    fn hosts_are_taken_out_of_addresses() {
        let line = "https://127.0.0.1@evil.example/x (http://[::1]:80) ftp://a.b";
        assert_eq!(hosts(line).collect::<Vec<_>>(), ["evil.example", "[::1]:80"]);
    }
}
