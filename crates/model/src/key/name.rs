//! The name of a key, and of each of its aliases.

/// 1 to 256 characters without `<`, `>`, `\` and control characters; upper and lower case differ.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, serde::Serialize, serde::Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct KeyName(Box<str>);

/// The text is no name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadName {
    #[error("a name has at least one character")]
    Empty,
    #[error("a name has at most {} characters", KeyName::MAX_CHARACTERS)]
    TooLong,
    #[error("a name must not contain {0:?}: leave out <, >, \\ and control characters")]
    Character(char),
}

impl KeyName {
    /// Characters (not bytes) of the longest name.
    pub const MAX_CHARACTERS: usize = 256;

    /// Whether the text can be a name.
    pub fn check(text: &str) -> Result<(), BadName> {
        if text.is_empty() {
            return Err(BadName::Empty);
        }
        if text.chars().nth(KeyName::MAX_CHARACTERS).is_some() {
            return Err(BadName::TooLong);
        }
        match text.chars().find(|c| matches!(c, '<' | '>' | '\\') || c.is_control()) {
            Some(c) => Err(BadName::Character(c)),
            None => Ok(()),
        }
    }

    pub fn new(text: impl Into<String>) -> Result<KeyName, BadName> {
        let text = text.into();
        KeyName::check(&text).map(|()| KeyName(text.into_boxed_str()))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for KeyName {
    type Error = BadName;
    fn try_from(text: String) -> Result<Self, BadName> {
        KeyName::new(text)
    }
}

impl std::str::FromStr for KeyName {
    type Err = BadName;
    fn from_str(text: &str) -> Result<Self, BadName> {
        KeyName::new(text)
    }
}

impl From<KeyName> for String {
    fn from(name: KeyName) -> String {
        name.0.into_string()
    }
}

impl AsRef<str> for KeyName {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Display for KeyName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl schemars::JsonSchema for KeyName {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "KeyName".into()
    }
    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({ "type": "string", "minLength": 1, "maxLength": 256, "pattern": "^[^<>\\\\]+$" })
    }
}

#[cfg(test)]
mod tests {
    use super::{BadName, KeyName};

    #[test]
    fn names_are_checked() {
        for good in ["a", "Key 1/2 | ä-ß_ü@x.y", "x".repeat(256).as_str(), "ß".repeat(256).as_str(), "日本"] {
            assert_eq!(KeyName::new(good).unwrap().as_str(), good);
        }
        for (bad, why) in [
            ("", BadName::Empty),
            ("x".repeat(257).as_str(), BadName::TooLong),
            ("a<b", BadName::Character('<')),
            ("a>b", BadName::Character('>')),
            ("a\\b", BadName::Character('\\')),
            ("a\nb", BadName::Character('\n')),
        ] {
            assert_eq!(KeyName::new(bad), Err(why));
            assert!(serde_json::from_value::<KeyName>(bad.into()).is_err());
        }
    }
}
