//! `cargo xtask deny`: licences, banned packages and packages in two versions, by `deny.toml` and cargo's own metadata.
//!
//! `deny.toml` is what cargo-deny reads too; this needs nothing that is not here, and no advisory database.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;
use toml::Table;

use crate::process::{Outcome, cargo, output};
use crate::tree;

/// Fails on a licence that is not allowed, on a banned package, on a second version that is not listed, and on a
/// listed one that is none any more.
pub fn deny() -> Outcome {
    let rules: Table = tree::read("deny.toml")?.parse().map_err(|e| format!("deny.toml: {e}"))?;
    let packages = packages()?;
    let allowed = texts(&rules["licenses"]["allow"]);
    let mut wrong = Vec::new();
    for package in packages.iter().filter(|p| !p.ours) {
        if !allows(&package.licence, &allowed) {
            wrong.push(format!("{} {}: licence {:?}", package.name, package.version, package.licence));
        }
    }
    let banned = names(&rules["bans"]["deny"]);
    wrong.extend(packages.iter().filter(|p| banned.contains(&p.name)).map(|p| format!("{}: banned", p.name)));
    let doubled = doubled(&packages);
    let known = names(&rules["bans"]["skip"]);
    wrong.extend(doubled.difference(&known).map(|name| format!("{name}: in two versions; unite them, or say why")));
    wrong.extend(known.difference(&doubled).map(|name| format!("{name}: skipped in deny.toml, and not doubled")));
    if !wrong.is_empty() {
        return Err(format!("{} findings:\n  {}", wrong.len(), wrong.join("\n  ")));
    }
    println!("deny: {} packages, {} known in two versions", packages.len(), doubled.len());
    Ok(())
}

struct Package {
    name: String,
    version: String,
    licence: String,
    /// Of the workspace.
    ours: bool,
}

/// Every package that may be built into something on this machine.
fn packages() -> Outcome<Vec<Package>> {
    let versions = output(std::process::Command::new("rustc").arg("-vV"))?;
    let host = versions.lines().find_map(|l| l.strip_prefix("host: ")).ok_or("rustc -vV names no host")?;
    let mut command = cargo();
    command.args(["metadata", "--format-version", "1", "--locked", "--filter-platform", host]);
    let metadata: Value =
        serde_json::from_str(&output(command.current_dir(tree::root()))?).map_err(|e| e.to_string())?;
    let text = |p: &Value, name: &str| p[name].as_str().unwrap_or_default().to_owned();
    let used: BTreeSet<&str> = list(&metadata["resolve"]["nodes"]).iter().filter_map(|n| n["id"].as_str()).collect();
    let all = list(&metadata["packages"]).iter().filter(|p| p["id"].as_str().is_some_and(|id| used.contains(id)));
    let read = |p: &Value| Package {
        name: text(p, "name"),
        version: text(p, "version"),
        licence: text(p, "license"),
        ours: p["source"].is_null(),
    };
    Ok(all.map(read).collect())
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

fn doubled(packages: &[Package]) -> BTreeSet<String> {
    let mut versions: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for p in packages {
        versions.entry(&p.name).or_default().insert(&p.version);
    }
    versions.into_iter().filter(|(_, v)| v.len() > 1).map(|(name, _)| name.to_owned()).collect()
}

fn texts(value: &toml::Value) -> Vec<&str> {
    value.as_array().map_or(&[][..], Vec::as_slice).iter().filter_map(toml::Value::as_str).collect()
}

/// `[{ crate = "name", … }]`.
fn names(value: &toml::Value) -> BTreeSet<String> {
    let all = value.as_array().map_or(&[][..], Vec::as_slice);
    all.iter().filter_map(|v| v.get("crate")?.as_str()).map(str::to_owned).collect()
}

/// Whether an SPDX expression can be met with allowed licences alone. `/` is the old spelling of OR.
fn allows(expression: &str, allowed: &[&str]) -> bool {
    let spaced = expression.replace('(', " ( ").replace(')', " ) ").replace('/', " OR ");
    let words: Vec<&str> = spaced.split_whitespace().collect();
    let mut rest = &words[..];
    any(&mut rest, allowed) && rest.is_empty()
}

fn any(rest: &mut &[&str], allowed: &[&str]) -> bool {
    let mut met = all(rest, allowed);
    while take(rest, "OR") {
        met |= all(rest, allowed);
    }
    met
}

fn all(rest: &mut &[&str], allowed: &[&str]) -> bool {
    let mut met = one(rest, allowed);
    while take(rest, "AND") {
        met &= one(rest, allowed);
    }
    met
}

fn one(rest: &mut &[&str], allowed: &[&str]) -> bool {
    if take(rest, "(") {
        let met = any(rest, allowed);
        return take(rest, ")") && met;
    }
    let Some((licence, after)) = rest.split_first() else { return false };
    *rest = after;
    if take(rest, "WITH") {
        // An exception only gives more rights.
        *rest = rest.get(1..).unwrap_or_default();
    }
    allowed.contains(licence)
}

fn take(rest: &mut &[&str], word: &str) -> bool {
    let found = rest.first() == Some(&word);
    if found {
        *rest = &rest[1..];
    }
    found
}

#[cfg(test)]
mod tests {
    use super::allows;

    #[test]
    fn an_expression_is_met_by_allowed_licences_only() {
        let allowed = ["MIT", "Apache-2.0", "ISC"];
        for (expression, met) in [
            ("MIT", true),
            ("GPL-3.0", false),
            ("", false),
            ("GPL-3.0 OR MIT", true),
            ("MIT/Apache-2.0", true),
            ("MIT AND GPL-3.0", false),
            ("ISC AND (GPL-2.0 OR Apache-2.0)", true),
            ("(ISC AND GPL-2.0) OR (MIT AND ISC)", true),
            ("ISC AND (GPL-2.0 OR LGPL-3.0)", false),
            ("Apache-2.0 WITH LLVM-exception", true),
            ("GPL-2.0 WITH Classpath-exception-2.0", false),
            ("MIT Apache-2.0", false),
            ("(MIT", false),
        ] {
            assert_eq!(allows(expression, &allowed), met, "{expression}");
        }
    }
}
