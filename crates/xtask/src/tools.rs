//! What the tests need besides Rust: Debian packages, servers of object stores and a Python environment, installed once.

use std::path::PathBuf;
use std::process::Command;

use crate::process::{Outcome, output, run, succeeds};
use crate::tree;

/// A package, a command that succeeds once it is there, and what needs it.
const PACKAGES: &[(&str, &[&str], &str)] = &[
    ("curl", &["curl", "--version"], "transcripts of the REST interface"),
    ("python3-venv", &["python3", "-c", "import ensurepip, venv"], "the break-glass script"),
    ("e2fsprogs", &["mkfs.ext4", "-V"], "file systems that run full and disks that lose power"),
    ("mount", &["mount", "--version"], "the same"),
    ("openssh-server", &["test", "-x", "/usr/sbin/sshd"], "destinations and transfers over SSH"),
    ("openssh-client", &["test", "-x", "/usr/bin/scp"], "the same"),
    ("systemd", &["systemd-analyze", "--version"], "the check of packaging/keyark.service"),
];

/// Installs what is missing and says so: what that was. The second time nothing is.
pub fn ensure() -> Outcome<Vec<String>> {
    let mut installed = packages()?;
    installed.extend(libraries()?.1);
    installed.extend(s3_server()?);
    installed.extend(azure_server()?);
    Ok(installed)
}

fn packages() -> Outcome<Vec<String>> {
    let missing = |probe: &[&str]| !succeeds(Command::new(probe[0]).args(&probe[1..]));
    let missing: Vec<_> = PACKAGES.iter().filter(|(_, probe, _)| missing(probe)).collect();
    if missing.is_empty() {
        return Ok(Vec::new());
    }
    let names: Vec<&str> = missing.iter().map(|(name, ..)| *name).collect();
    let root = output(Command::new("id").arg("-u")).is_ok_and(|id| id.trim() == "0");
    if !root || !succeeds(Command::new("apt-get").arg("--version")) {
        return Err(format!("the tests need packages that are not here; as root: apt-get install {}", names.join(" ")));
    }
    let apt = || {
        let mut apt = Command::new("apt-get");
        apt.env("DEBIAN_FRONTEND", "noninteractive").args(["-q", "-y"]);
        apt
    };
    run(apt().arg("update"))?;
    run(apt().args(["install", "--no-install-recommends"]).args(&names))?;
    for (name, _, why) in &missing {
        println!("installed {name}: for {why}");
    }
    Ok(names.into_iter().map(str::to_owned).collect())
}

/// The S3 server of the tests, and where its source is: it keeps what S3 promises of conditions, versions and retention.
const S3_SERVER: (&str, &str) = ("versitygw", "github.com/versity/versitygw/cmd/versitygw@v1.8.0");

/// Builds the S3 server once. Its folder's name has the version, so that another version is another build.
fn s3_server() -> Outcome<Option<String>> {
    let (name, source) = S3_SERVER;
    let folder = tree::target().join("tools/bin");
    let stamp = folder.join(format!("{name}.source"));
    if folder.join(name).exists() && std::fs::read_to_string(&stamp).is_ok_and(|have| have == source) {
        return Ok(None);
    }
    // Where Go installs itself, for shells that were not told.
    let go = ["go", "/usr/local/go/bin/go"].into_iter().find(|go| succeeds(Command::new(go).arg("version")));
    let go = go.ok_or_else(|| format!("the tests need the S3 server {name}: install Go, which builds it"))?;
    run(Command::new(go).args(["install", source]).env("GOBIN", &folder).env("CGO_ENABLED", "0"))?;
    std::fs::write(&stamp, source).map_err(|e| format!("{}: {e}", stamp.display()))?;
    println!("installed {name}: destinations of S3");
    Ok(Some(name.into()))
}

/// The Azure Blob server of the tests: Microsoft's own emulator.
const AZURE_SERVER: &str = "azurite@3.37.0";

/// Installs the Azure Blob server once for each version.
fn azure_server() -> Outcome<Option<String>> {
    let folder = tree::target().join("tools/azurite");
    // Written last: an installation that broke off is made again.
    let stamp = folder.join("installed");
    if std::fs::read_to_string(&stamp).is_ok_and(|have| have == AZURE_SERVER) {
        return Ok(None);
    }
    if !succeeds(Command::new("npm").arg("--version")) {
        return Err(format!("the tests need the Azure Blob server {AZURE_SERVER}: install Node.js with npm"));
    }
    let mut npm = Command::new("npm");
    npm.args(["install", "--no-audit", "--no-fund", "--ignore-scripts", "--omit=dev", "--loglevel=error", "--prefix"]);
    run(npm.arg(&folder).arg(AZURE_SERVER))?;
    std::fs::write(&stamp, AZURE_SERVER).map_err(|e| format!("{}: {e}", stamp.display()))?;
    println!("installed {AZURE_SERVER}: destinations of Azure Blob");
    Ok(Some(AZURE_SERVER.into()))
}

/// What the Python environment holds: for the break-glass script, and for tests that read with a library of others.
const LIBRARIES: [&str; 2] = ["docs/break-glass/requirements.txt", "crates/testkit/requirements.txt"];

/// The interpreter of the environment with these libraries.
pub fn python() -> Outcome<PathBuf> {
    libraries().map(|(python, _)| python)
}

fn libraries() -> Outcome<(PathBuf, Vec<String>)> {
    let lists = LIBRARIES.iter().map(|list| tree::read(list)).collect::<Outcome<Vec<_>>>()?;
    let wanted = lists.concat();
    let folder = tree::target().join("tools/python");
    let python = folder.join("bin/python");
    // Written last: an installation that broke off is made again.
    let stamp = folder.join("requirements.txt");
    if std::fs::read_to_string(&stamp).is_ok_and(|have| have == wanted) {
        return Ok((python, Vec::new()));
    }
    run(Command::new("python3").args(["-m", "venv", "--clear"]).arg(&folder))?;
    let mut pip = Command::new(&python);
    pip.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-input"]);
    for list in LIBRARIES {
        pip.arg("-r").arg(tree::root().join(list));
    }
    run(&mut pip)?;
    std::fs::write(&stamp, &wanted).map_err(|e| format!("{}: {e}", stamp.display()))?;
    let installed: Vec<String> = wanted.split_whitespace().map(str::to_owned).collect();
    println!("installed Python libraries: {}", installed.join(" "));
    Ok((python, installed))
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_second_time_nothing_is_installed() {
        super::ensure().unwrap();
        assert_eq!(super::ensure().unwrap(), Vec::<String>::new());
    }
}
