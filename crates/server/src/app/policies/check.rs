//! What the rules of a policy may say, and what they name.

use keyark_api::policies::PolicyRules;
use serde_json::Value;

use crate::app::error::{AppError, Result};
use crate::app::policies::types::{PolicyType, RuleType};
use crate::app::policy_sets::SetType;

/// Rules of one policy, of all kinds together.
pub const MOST_RULES: usize = 1000;
/// Characters of any text inside a rule or a set.
pub const LONGEST_TEXT: usize = 255;
/// Stands where a key would, for data that is not encrypted.
const CLEAR_KEY: &str = "clear_key";

/// Checks all that can be checked without looking at the domain.
pub fn rules_check(policy_type: PolicyType, rules: &PolicyRules) -> Result<()> {
    for list in RuleType::ALL {
        if list.count(rules) > 0 && !policy_type.has(list) {
            return Err(AppError::invalid(format!(
                "a policy of type {} has no {}; choose another type or leave them out",
                policy_type.word(),
                list.field()
            )));
        }
    }
    if RuleType::ALL.iter().map(|list| list.count(rules)).sum::<usize>() > MOST_RULES {
        return Err(AppError::invalid(format!("a policy has at most {MOST_RULES} rules; split it")));
    }
    texts_check(&serde_json::to_value(rules).map_err(AppError::internal)?, "rules")?;
    for rule in &rules.security_rules {
        effect_check(&rule.effect)?;
        action_check(&rule.action)?;
    }
    for rule in &rules.ldt_key_rules {
        if rule.current_key.is_none() {
            return Err(AppError::invalid("an LDT rule names its current_key, or clear_key"));
        }
        if rule.transformation_key.is_none() && !rule.is_exclusion_rule {
            return Err(AppError::invalid("an LDT rule names its transformation_key unless it is an exclusion rule"));
        }
    }
    for (key, key_type) in named_keys(rules) {
        if key.is_empty() {
            return Err(AppError::invalid("a key in a rule is named by its id or name, or is clear_key"));
        }
        lookup_of(key, key_type)?;
    }
    match rules.signature_rules.iter().any(|r| r.signature_set_id.is_empty()) {
        true => Err(AppError::invalid("a signature rule names a signature set")),
        false => Ok(()),
    }
}

/// Every text in a value is short and printable.
pub fn texts_check(value: &Value, place: &str) -> Result<()> {
    match value {
        Value::String(text) if text.chars().count() > LONGEST_TEXT || text.chars().any(char::is_control) => Err(
            AppError::invalid(format!("{place} is longer than {LONGEST_TEXT} characters or holds control characters")),
        ),
        Value::Array(all) => all.iter().try_for_each(|v| texts_check(v, place)),
        Value::Object(all) => all.iter().try_for_each(|(name, v)| texts_check(v, name)),
        _ => Ok(()),
    }
}

fn effect_check(effect: &str) -> Result<()> {
    let words: Vec<String> = effect.split(',').map(|w| w.trim().to_ascii_lowercase()).collect();
    let known = |w: &String| matches!(w.as_str(), "permit" | "deny" | "audit" | "applykey");
    let has = |word: &str| words.iter().any(|w| w == word);
    let twice = words.iter().enumerate().any(|(n, w)| words[..n].contains(w));
    if !words.iter().all(known) || twice {
        return Err(AppError::invalid("effect is permit, deny, audit and applykey, each once, separated by commas"));
    }
    if has("permit") && has("deny") {
        return Err(AppError::invalid("effect is either permit or deny"));
    }
    Ok(())
}

fn action_check(action: &str) -> Result<()> {
    let word = |w: &str| !w.is_empty() && w.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
    match action.is_empty() || action.split(',').all(|w| word(w.trim())) {
        true => Ok(()),
        false => Err(AppError::invalid("action is words separated by commas, like read,write or all_ops")),
    }
}

/// The sets that rules name, by id or name.
pub fn named_sets(rules: &PolicyRules) -> Vec<(SetType, &str)> {
    let mut named: Vec<(SetType, Option<&str>)> = Vec::new();
    for rule in &rules.security_rules {
        named.push((SetType::Users, rule.user_set_id.as_deref()));
        named.push((SetType::Processes, rule.process_set_id.as_deref()));
        named.push((SetType::Resources, rule.resource_set_id.as_deref()));
    }
    named.extend(rules.key_rules.iter().map(|r| (SetType::Resources, r.resource_set_id.as_deref())));
    named.extend(rules.ldt_key_rules.iter().map(|r| (SetType::Resources, r.resource_set_id.as_deref())));
    named.extend(rules.idt_key_rules.iter().map(|r| (SetType::Resources, r.resource_set_id.as_deref())));
    named.extend(rules.data_transform_rules.iter().map(|r| (SetType::Resources, r.resource_set_id.as_deref())));
    named.extend(rules.signature_rules.iter().map(|r| (SetType::Signatures, Some(r.signature_set_id.as_str()))));
    named.into_iter().filter_map(|(set, name)| Some((set, name.filter(|n| !n.is_empty())?))).collect()
}

/// The keys that rules name, with how the name is to be read; `clear_key` is none.
pub fn named_keys(rules: &PolicyRules) -> Vec<(&str, Option<&str>)> {
    let mut named: Vec<(&str, Option<&str>)> = Vec::new();
    named.extend(rules.key_rules.iter().map(|r| (r.key_id.as_str(), r.key_type.as_deref())));
    named.extend(rules.data_transform_rules.iter().map(|r| (r.key_id.as_str(), r.key_type.as_deref())));
    for rule in &rules.ldt_key_rules {
        let keys = rule.current_key.iter().chain(&rule.transformation_key);
        named.extend(keys.map(|k| (k.key_id.as_str(), k.key_type.as_deref())));
    }
    for rule in &rules.idt_key_rules {
        named.push((rule.current_key.as_str(), rule.current_key_type.as_deref()));
        named.push((rule.transformation_key.as_str(), rule.transformation_key_type.as_deref()));
    }
    named.retain(|(key, _)| *key != CLEAR_KEY);
    named
}

/// How a key in a rule is looked up: its id or name, and how `key_find` reads that.
pub fn lookup_of<'a>(key: &'a str, key_type: Option<&str>) -> Result<(&'a str, Option<&'static str>)> {
    match key_type.map(str::to_ascii_lowercase).as_deref() {
        None | Some("" | "name" | "alias" | "slug") => Ok((key, None)),
        Some("id" | "uuid") => Ok((key, Some("id"))),
        Some("uri") => Ok((uri_name(key), None)),
        Some(_) => Err(AppError::invalid("key_type is id, uuid, name, alias, slug or uri")),
    }
}

/// The name in a key's uri, `kylo:…:vault:keys:<name>-v<version>`; other text is a name itself.
fn uri_name(uri: &str) -> &str {
    let name = uri.split_once(":vault:keys:").map_or(uri, |(_, name)| name);
    match name.rsplit_once("-v") {
        Some((bare, version)) if !version.is_empty() && version.bytes().all(|b| b.is_ascii_digit()) => bare,
        _ => name,
    }
}

#[cfg(test)]
mod tests {
    use keyark_api::policies::PolicyRules;
    use serde_json::{Value, json};

    use super::{
        MOST_RULES, PolicyType, RuleType, action_check, effect_check, lookup_of, named_keys, named_sets, rules_check,
    };
    use crate::app::policy_sets::SetType;

    fn rules(value: Value) -> PolicyRules {
        serde_json::from_value(value).unwrap()
    }

    fn one_of_each(list: RuleType) -> PolicyRules {
        let rule = match list {
            RuleType::Security => json!({ "effect": "permit" }),
            RuleType::Key | RuleType::DataTransform => json!({ "key_id": "k" }),
            RuleType::Ldt => {
                json!({ "current_key": { "key_id": "clear_key" }, "transformation_key": { "key_id": "k" } })
            }
            RuleType::Idt => json!({ "current_key": "clear_key", "transformation_key": "k" }),
            RuleType::Signature => json!({ "signature_set_id": "s" }),
        };
        rules(json!({ list.field(): [rule] }))
    }

    #[test]
    fn each_type_has_its_own_lists_of_rules() {
        let allowed: Vec<(PolicyType, Vec<&str>)> = PolicyType::ALL
            .into_iter()
            .map(|t| {
                let lists = RuleType::ALL.into_iter().filter(|l| rules_check(t, &one_of_each(*l)).is_ok());
                (t, lists.map(RuleType::word).collect())
            })
            .collect();
        assert_eq!(
            allowed,
            [
                (PolicyType::Standard, vec!["securityrules", "keyrules", "datatxrules", "signaturerules"]),
                (PolicyType::Ldt, vec!["securityrules", "ldtkeyrules", "signaturerules"]),
                (PolicyType::Idt, vec!["securityrules", "idtkeyrules"]),
                (PolicyType::CloudObjectStorage, vec!["securityrules", "keyrules"]),
                (PolicyType::Csi, vec!["securityrules", "keyrules", "signaturerules"]),
            ]
        );
    }

    #[test]
    fn effects_and_actions_are_words_separated_by_commas() {
        for (effect, good) in [
            ("permit", true),
            ("Permit, ApplyKey", true),
            ("deny,audit", true),
            ("audit", true),
            ("permit,deny", false),
            ("permit,permit", false),
            ("permit,", false),
            ("", false),
            ("allow", false),
        ] {
            assert_eq!(effect_check(effect).is_ok(), good, "{effect:?}");
        }
        for (action, good) in [
            ("", true),
            ("read", true),
            ("read, write,all_ops", true),
            ("read,", false),
            ("a b", false),
            ("a;b", false),
        ] {
            assert_eq!(action_check(action).is_ok(), good, "{action:?}");
        }
    }

    #[test]
    fn rules_that_lack_what_they_need_are_refused() {
        for (policy_type, given, good) in [
            (PolicyType::Ldt, json!({ "ldt_key_rules": [{}] }), false),
            (PolicyType::Ldt, json!({ "ldt_key_rules": [{ "current_key": { "key_id": "k" } }] }), false),
            (
                PolicyType::Ldt,
                json!({ "ldt_key_rules": [{ "current_key": { "key_id": "k" }, "is_exclusion_rule": true }] }),
                true,
            ),
            (PolicyType::Standard, json!({ "key_rules": [{ "key_id": "" }] }), false),
            (PolicyType::Standard, json!({ "key_rules": [{ "key_id": "k", "key_type": "muid" }] }), false),
            (PolicyType::Standard, json!({ "key_rules": [{ "key_id": "clear_key" }] }), true),
            (PolicyType::Csi, json!({ "signature_rules": [{ "signature_set_id": "" }] }), false),
            (PolicyType::Standard, json!({ "key_rules": [{ "key_id": "x".repeat(256) }] }), false),
            (PolicyType::Standard, json!({ "key_rules": [{ "key_id": "ß".repeat(255) }] }), true),
            (PolicyType::Standard, json!({ "key_rules": [{ "key_id": "a\nb" }] }), false),
        ] {
            assert_eq!(rules_check(policy_type, &rules(given.clone())).is_ok(), good, "{given}");
        }
        assert!(
            serde_json::from_value::<PolicyRules>(json!({ "key_rules": [{ "key_id": "k", "effect": "x" }] })).is_err()
        );
    }

    #[test]
    fn the_number_of_rules_is_bounded() {
        let many = |n: usize| rules(json!({ "security_rules": vec![json!({ "effect": "permit" }); n] }));
        assert!(rules_check(PolicyType::Idt, &many(MOST_RULES)).is_ok());
        assert!(rules_check(PolicyType::Idt, &many(MOST_RULES + 1)).is_err());
    }

    #[test]
    fn what_rules_name_is_found() {
        let given = rules(json!({
            "security_rules": [{ "effect": "permit", "user_set_id": "u", "process_set_id": "p", "resource_set_id": "" }],
            "key_rules": [{ "key_id": "a", "key_type": "name", "resource_set_id": "r" }, { "key_id": "clear_key" }],
            "ldt_key_rules": [{ "current_key": { "key_id": "b" }, "transformation_key": { "key_id": "c" } }],
            "idt_key_rules": [{ "current_key": "clear_key", "transformation_key": "d", "transformation_key_type": "id" }],
            "data_transform_rules": [{ "key_id": "e" }],
            "signature_rules": [{ "signature_set_id": "s" }]
        }));
        assert_eq!(
            named_sets(&given),
            [(SetType::Users, "u"), (SetType::Processes, "p"), (SetType::Resources, "r"), (SetType::Signatures, "s")]
        );
        assert_eq!(named_keys(&given), [("a", Some("name")), ("e", None), ("b", None), ("c", None), ("d", Some("id"))]);
    }

    #[test]
    fn keys_are_looked_up_as_their_type_says() {
        for (key, key_type, expected) in [
            ("k", None, Some(("k", None))),
            ("k", Some("NAME"), Some(("k", None))),
            ("k", Some("slug"), Some(("k", None))),
            ("k", Some("uuid"), Some(("k", Some("id")))),
            ("kylo:kylo:vault:keys:my-v2-key-v0", Some("uri"), Some(("my-v2-key", None))),
            ("my-vault", Some("uri"), Some(("my-vault", None))),
            ("k", Some("key_id"), None),
        ] {
            assert_eq!(lookup_of(key, key_type).ok(), expected, "{key} {key_type:?}");
        }
    }
}
