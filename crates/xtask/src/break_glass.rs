//! `cargo xtask break-glass`: opens the golden archives with Python and public libraries only.

use std::process::Command;

use serde_json::Value;

use crate::process::{Outcome, output};
use crate::{tools, tree};

const FOLDER: &str = "fixtures/archive-v1";

/// Runs the script on each golden archive and compares every record with `expected.json`.
pub fn break_glass() -> Outcome {
    let python = tools::python()?;
    let root = tree::root();
    let readme = tree::read(&format!("{FOLDER}/README.md"))?;
    let expected: Vec<Value> =
        serde_json::from_str(&tree::read(&format!("{FOLDER}/expected.json"))?).map_err(|e| e.to_string())?;
    let (mut archives, mut records) = (0, 0);
    for (scope, passphrase) in passphrases(&readme) {
        let file = |ending: &str| root.join(FOLDER).join(format!("{scope}{ending}"));
        let mut script = Command::new(&python);
        script.arg(root.join("docs/break-glass/open_archive.py"));
        let printed = output(script.arg(file(".keyark")).arg(file("-backup-key.jwe")).arg(passphrase))?;
        records += compare(scope, &printed, &expected)?;
        archives += 1;
    }
    if archives < 2 {
        return Err(format!("{FOLDER}/README.md names {archives} passphrases, not one for system and one for domain"));
    }
    println!("break-glass: {archives} archives, {records} records opened and compared");
    Ok(())
}

/// The rows `| scope | `passphrase` |`.
fn passphrases(readme: &str) -> impl Iterator<Item = (&str, &str)> {
    readme.lines().filter_map(|line| {
        let mut cells = line.strip_prefix("| ")?.split(" | ");
        Some((cells.next()?, cells.next()?.strip_prefix('`')?.split('`').next()?))
    })
}

/// Every line but the first is a record `kind id header body: b'…'` that is expected, and as many as are expected.
fn compare(scope: &str, printed: &str, expected: &[Value]) -> Outcome<usize> {
    let mut lines = printed.lines();
    let first = lines.next().unwrap_or_default();
    if first != "signature: by the system of the key file" {
        return Err(format!("{scope}: the signature is not by the system of the key file: {first}"));
    }
    let text = |e: &Value, name: &str| e[name].as_str().unwrap_or_default().to_owned();
    let mut count = 0;
    for line in lines {
        let known = expected.iter().any(|e| {
            let (id, header, clear) = (text(e, "id"), text(e, "header"), text(e, "clear"));
            !id.is_empty() && line.ends_with(&format!(" {id} {header} body: b'{clear}'"))
        });
        if !known {
            return Err(format!("{scope}: a record that is not in expected.json: {line}"));
        }
        count += 1;
    }
    let root = "00000000-0000-0000-0000-000000000000";
    // The golden domain archive is of the one domain besides root; the system's holds all.
    let wanted = expected.iter().filter(|e| scope == "system" || e["domain"] != root).count();
    if count == wanted {
        Ok(count)
    } else {
        Err(format!("{scope}: {count} records were opened, {wanted} are expected"))
    }
}
