//! Masks of transcripts: which parts of an answer vary, and whether a line is the one that was recorded.

use std::collections::BTreeMap;

/// Named values.
pub type Values = BTreeMap<String, String>;

/// Variable parts with a shape: `0` is a digit, `x` one of lower-case hexadecimal, `X` a digit or capital.
const SHAPES: [(&str, &str); 6] = [
    ("time", "0000-00-00T00:00:00.000000000Z"),
    ("fingerprint", "XX:XX:XX:XX:XX:XX:XX:XX:XX:XX:XX:XX:XX:XX:XX:XX:XX:XX:XX:XX:XX:XX:XX:XX:XX:XX:XX:XX:XX:XX:XX:XX"),
    ("passphrase", "XXXX-XXXX-XXXX-XXXX-XXXX-XXXX-XXXX"),
    ("uuid", "xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx"),
    ("hex64", "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"),
    ("hex32", "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"),
];
/// The id of the root domain: never variable.
const ROOT: &str = "00000000-0000-0000-0000-000000000000";

/// Bytes at the start of `text` that have the shape and end there; 0 if none do.
fn shaped(text: &str, shape: &str) -> usize {
    let fits = |(s, c): (char, char)| match s {
        '0' => c.is_ascii_digit(),
        'x' => c.is_ascii_digit() || ('a'..='f').contains(&c),
        'X' => c.is_ascii_digit() || c.is_ascii_uppercase(),
        _ => s == c,
    };
    let whole = text.len() >= shape.len() && shape.chars().zip(text.chars()).all(fits);
    if whole && !text[shape.len()..].starts_with(char::is_alphanumeric) { shape.len() } else { 0 }
}

/// Bytes at the start of `text` that a mask of this kind covers; `None` if there is no such kind.
fn covered(kind: &str, text: &str) -> Option<usize> {
    if let Some((_, shape)) = SHAPES.iter().find(|(k, _)| *k == kind) {
        return Some(shaped(text, shape));
    }
    let ends = |c: char| match kind {
        "n" => !c.is_ascii_digit(),
        "token" => !(c.is_ascii_alphanumeric() || "._-".contains(c)),
        _ => c.is_whitespace() || "\"'`,;".contains(c),
    };
    matches!(kind, "n" | "token" | "path").then(|| text.find(ends).unwrap_or(text.len()))
}

/// The mask that `expected` starts with: name (or nothing), kind, and what follows.
fn mask_at(expected: &str) -> Option<(&str, &str, &str)> {
    let (inside, rest) = expected.strip_prefix('<')?.split_once('>')?;
    let (name, kind) = inside.rsplit_once(':').unwrap_or(("", inside));
    covered(kind, "").map(|_| (name, kind, rest))
}

/// Whether a line is what was expected, and the values that it names.
pub fn fits(expected: &str, actual: &str, values: &Values) -> Option<Values> {
    let put_in = |line: String, (name, value): (&String, &String)| line.replace(&format!("${{{name}}}"), value);
    let expected = values.iter().fold(expected.to_owned(), put_in);
    let (mut expected, mut actual) = (expected.as_str(), actual);
    let mut found = Values::new();
    while let Some(c) = expected.chars().next() {
        let Some((name, kind, rest)) = mask_at(expected) else {
            (expected, actual) = (&expected[c.len_utf8()..], actual.strip_prefix(c)?);
            continue;
        };
        let (value, after) = actual.split_at(covered(kind, actual).filter(|n| *n > 0)?);
        if found.get(name).or(values.get(name)).is_some_and(|known| known != value) {
            return None;
        }
        if !name.is_empty() {
            found.insert(name.to_owned(), value.to_owned());
        }
        (expected, actual) = (rest, after);
    }
    actual.is_empty().then_some(found)
}

/// A line as it is recorded: named values by their names, other variable parts masked unless the command says them.
pub fn masked(line: &str, values: &Values, command: &str) -> String {
    let long = values.iter().filter(|(_, value)| value.len() >= 16);
    let line = long.fold(line.to_owned(), |line, (name, value)| line.replace(value, &format!("${{{name}}}")));
    let (mut out, mut rest) = (String::new(), line.as_str());
    while let Some(c) = rest.chars().next() {
        let inside = out.ends_with(char::is_alphanumeric);
        let found = SHAPES.iter().map(|(kind, shape)| (kind, shaped(rest, shape))).find(|(_, n)| *n > 0);
        match found.filter(|(_, n)| !inside && rest[..*n] != *ROOT && !command.contains(&rest[..*n])) {
            Some((kind, n)) => {
                out += &format!("<{kind}>");
                rest = &rest[n..];
            }
            None => {
                out.push(c);
                rest = &rest[c.len_utf8()..];
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::{ROOT, Values, fits, masked};

    #[test]
    fn masks_cover_what_varies_and_nothing_else() {
        let (id, other) = ("01a1fd26-0f77-7da4-9765-165120a13260", "01a1fd26-0fc7-7577-8312-30c931d13c60");
        let found = fits(
            r#"{"id":"<key:uuid>","same":"<key:uuid>","n":<n>}"#,
            &format!(r#"{{"id":"{id}","same":"{id}","n":12}}"#),
            &Values::new(),
        );
        let values = found.unwrap();
        assert_eq!(values, Values::from([("key".to_owned(), id.to_owned())]));
        assert!(fits("id ${key}", &format!("id {id}"), &values).is_some());
        for (expected, actual) in
            [("id ${key}", other), ("<key:uuid>", other), ("<n>", "12a"), ("<uuid>", "x"), ("a", "ab")]
        {
            assert!(fits(expected, actual, &values).is_none(), "{expected} {actual}");
        }
        let line = format!("{id} {other} {ROOT} 2026-11-21T08:08:12.407164000Z");
        assert_eq!(masked(&line, &values, ""), format!("${{key}} <uuid> {ROOT} <time>"));
        assert_eq!(masked(other, &values, other), other);
    }
}
