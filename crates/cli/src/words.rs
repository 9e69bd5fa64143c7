//! The words of the command line: flags out of wire names, ksctl's words beside ours, what destroys, what is secret.

use keyark_api::{EndpointInfo, Method};

/// Other words for a noun.
const NOUNS: &[(&str, &str)] = &[
    ("backup", "backups"),
    ("backupkeys", "backupkey"),
    ("domains", "domain"),
    ("groups", "group"),
    ("keys", "key"),
    ("secrets", "secret"),
    ("tokens", "token"),
    ("users", "user"),
];

/// Other words for a verb.
const VERBS: &[(&str, &str)] = &[("modify", "update")];

/// Other words for a flag: noun (`*`: any), wire name, word. Most are ksctl's.
const FLAGS: &[(&str, &str, &str)] = &[
    ("backup", "backupKey", "keyid"),
    ("backup", "backupKeyId", "keyid"),
    ("backup", "connection", "conn"),
    ("backupkeys", "isDefault", "default"),
    ("backupkeys", "password", "bkpassword"),
    ("scheduler", "connection", "conn"),
    ("tokens", "issue_refresh_token", "issue-rt"),
    ("tokens", "refresh_token_lifetime", "rt-life"),
    ("tokens", "refresh_token_revoke_unused_in", "rt-unused-life"),
];

/// Verbs that take something away for good, besides every HTTP DELETE.
const DESTRUCTIVE: &[&str] = &["delete", "destroy", "purge", "reset", "revoke", "shred"];

/// `tiedToHSM` as `tied-to-hsm`: a hyphen before each word that starts with a capital, and for each underscore.
pub fn kebab(wire: &str) -> String {
    let letters: Vec<char> = wire.chars().collect();
    let mut out = String::with_capacity(wire.len() + 4);
    for (i, c) in letters.iter().enumerate() {
        let before = i.checked_sub(1).and_then(|j| letters.get(j));
        let starts = c.is_uppercase()
            && before.is_some_and(|b| {
                let next_is_small = letters.get(i + 1).is_some_and(|n| n.is_lowercase());
                b.is_lowercase() || b.is_ascii_digit() || (b.is_uppercase() && next_is_small)
            });
        if starts {
            out.push('-');
        }
        match c {
            '_' | ' ' | '.' => out.push('-'),
            c => out.extend(c.to_lowercase()),
        }
    }
    out
}

/// Other words for a noun that exists.
pub fn noun_aliases(noun: &str) -> Vec<&'static str> {
    NOUNS.iter().filter(|(n, _)| *n == noun).map(|(_, word)| *word).collect()
}

/// Other words for a verb that exists.
pub fn verb_aliases(verb: &str) -> Vec<&'static str> {
    VERBS.iter().filter(|(v, _)| *v == verb).map(|(_, word)| *word).collect()
}

/// Other words for a field's flag.
pub fn flag_aliases(noun: &str, wire: &str) -> Vec<&'static str> {
    let fits = |(n, w, _): &&(&str, &str, &str)| (*n == noun || *n == "*") && *w == wire;
    FLAGS.iter().filter(fits).map(|(_, _, word)| *word).collect()
}

/// Whether to ask before sending.
pub fn is_destructive(endpoint: &EndpointInfo) -> bool {
    let verb = endpoint.cli.rsplit(' ').next().unwrap_or_default();
    endpoint.method == Method::DELETE || DESTRUCTIVE.contains(&verb)
}

/// A password that a person types: prompted for, or read from a file.
pub fn is_password(wire: &str) -> bool {
    let name = kebab(wire);
    matches!(name.rsplit('-').next(), Some("password" | "bkpassword" | "passphrase"))
}

/// Secret too, but made by programs: read from a file, never prompted for.
pub fn is_material(wire: &str) -> bool {
    const NAMES: [&str; 6] =
        ["material", "refresh-token", "secret-access-key", "account-key", "sas-token", "encryption-key"];
    NAMES.contains(&kebab(wire).as_str())
}

#[cfg(test)]
mod tests {
    use super::{is_material, is_password, kebab};

    #[test]
    fn wire_names_become_flags() {
        for (wire, flag) in [
            ("tiedToHSM", "tied-to-hsm"),
            ("backupKey", "backup-key"),
            ("isDefault", "is-default"),
            ("isHSMBacked", "is-hsm-backed"),
            ("domainID", "domain-id"),
            ("auth_domain", "auth-domain"),
            ("resource_set_id", "resource-set-id"),
            ("sha256Sum", "sha256-sum"),
            ("name", "name"),
            ("URL", "url"),
        ] {
            assert_eq!(kebab(wire), flag);
        }
    }

    #[test]
    fn passwords_are_known_by_their_last_word() {
        for name in ["password", "new_password", "newPassword", "bkpassword", "wrapPassphrase"] {
            assert!(is_password(name), "{name}");
        }
        for name in ["password_change_required", "passwords", "material", "hint"] {
            assert!(!is_password(name), "{name}");
        }
        for name in ["material", "secretAccessKey", "accountKey", "sasToken"] {
            assert!(is_material(name), "{name}");
        }
        assert!(!is_material("name") && !is_material("accessKeyId"));
    }
}
