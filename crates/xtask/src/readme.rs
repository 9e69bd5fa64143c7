//! `cargo xtask readme`: runs the marked commands of README.md verbatim, in an empty folder.
//!
//! A block of commands that follows a line `<!-- run -->` is run; `# => text` in it demands that the output contains
//! the text, after what was demanded before.

use std::path::Path;
use std::process::Command;

use crate::process::{Outcome, run};
use crate::tree;

const MARK: &str = "<!-- run -->";
const DEMAND: &str = "# => ";

/// Seconds after which the walk is given up.
const PATIENCE: &str = "600";

/// Stops what the walk left running, such as a server.
const STOP: &str = "trap 'jobs -p | xargs --no-run-if-empty kill 2>/dev/null || true; wait' EXIT\n";

/// One script of all marked blocks; fails when a command fails or an output is not there.
pub fn readme() -> Outcome {
    let blocks = marked(&tree::read("README.md")?)?;
    if blocks.is_empty() {
        return Err(format!("README.md has no block of commands after a line {MARK}"));
    }
    let binary = tree::target().join("release");
    if !binary.join("keyark").is_file() {
        return Err("there is no release binary: cargo build --release".into());
    }
    let folder = tree::target().join("readme");
    let io = |e: std::io::Error| format!("{}: {e}", folder.display());
    if folder.exists() {
        std::fs::remove_dir_all(&folder).map_err(io)?;
    }
    std::fs::create_dir_all(folder.join("home")).map_err(io)?;
    let script = folder.join("walk.sh");
    let log = folder.join("walk.log");
    std::fs::write(&script, format!("{STOP}{}", blocks.concat())).map_err(io)?;
    let path = std::env::var_os("PATH").unwrap_or_default();
    let path = std::env::join_paths(std::iter::once(binary).chain(std::env::split_paths(&path)));
    let mut bash = Command::new("timeout");
    bash.args([PATIENCE, "bash", "-e", "-o", "pipefail"]).arg(&script).current_dir(&folder);
    bash.env("PATH", path.map_err(|e| format!("PATH: {e}"))?).env("HOME", folder.join("home"));
    // To a file: a server that outlives the script must not keep us waiting for the end of a pipe.
    let file = std::fs::File::create(&log).map_err(io)?;
    bash.stderr(file.try_clone().map_err(io)?).stdout(file);
    let outcome = run(&mut bash);
    let printed = std::fs::read_to_string(&log).map_err(io)?;
    println!("{printed}");
    outcome?;
    let demands: Vec<&str> = blocks.iter().flat_map(|b| b.lines()).filter_map(|l| l.strip_prefix(DEMAND)).collect();
    check(&printed, &demands, &log)?;
    println!("readme: {} blocks ran, {} outputs were found", blocks.len(), demands.len());
    Ok(())
}

/// The blocks to run.
fn marked(readme: &str) -> Outcome<Vec<String>> {
    let mut blocks = Vec::new();
    let mut lines = readme.lines();
    while let Some(line) = lines.next() {
        if line.trim() != MARK {
            continue;
        }
        if lines.next() != Some("```sh") {
            return Err(format!("{MARK} stands right before a line ```sh"));
        }
        let mut block = String::new();
        for line in lines.by_ref().take_while(|line| *line != "```") {
            block.push_str(line);
            block.push('\n');
        }
        blocks.push(block);
    }
    Ok(blocks)
}

/// Whether the demanded texts stand in the output, one after the other.
fn check(printed: &str, demands: &[&str], log: &Path) -> Outcome {
    let mut rest = printed;
    for demand in demands {
        let at = rest.find(demand).ok_or_else(|| {
            format!("the output has no {demand:?} where README.md promises it; it is in {}", log.display())
        })?;
        rest = &rest[at + demand.len()..];
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::{check, marked};

    #[test]
    fn only_marked_blocks_run_and_a_mark_without_a_block_is_an_error() {
        let text = "```sh\nno\n```\n<!-- run -->\n```sh\necho a\n# => a\n```\ntext\n<!-- run -->\n```sh\nb\n```\n";
        assert_eq!(marked(text).unwrap(), ["echo a\n# => a\n", "b\n"]);
        assert!(marked("<!-- run -->\n\n```sh\n```\n").is_err());
    }

    #[test]
    fn outputs_are_demanded_in_order() {
        let log = std::path::Path::new("log");
        assert!(check("one two three", &["one", "three"], log).is_ok());
        assert!(check("one two three", &["three", "one"], log).is_err());
        assert!(check("one", &["one", "one"], log).is_err());
    }
}
