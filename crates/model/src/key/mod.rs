//! The nouns of keys: algorithms, states, usages, and the clear header of a key record.

/// Declares an enum of words that stand on the wire: read without regard to case (and by alias), written exactly.
macro_rules! words {
    ($(#[$doc:meta])* $what:literal $name:ident {
        $($(#[$variant_doc:meta])* $variant:ident = $word:literal $(| $alias:literal)*,)*
    }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
        pub enum $name { $($(#[$variant_doc])* $variant,)* }

        impl $name {
            /// Every value, in the order in which they are documented.
            pub const ALL: &'static [$name] = &[$($name::$variant,)*];

            /// The word on the wire.
            pub const fn word(self) -> &'static str {
                match self { $($name::$variant => $word,)* }
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.pad(self.word())
            }
        }

        impl std::str::FromStr for $name {
            type Err = crate::key::UnknownWord;
            fn from_str(text: &str) -> Result<Self, crate::key::UnknownWord> {
                $(if [$word $(, $alias)*].iter().any(|w| w.eq_ignore_ascii_case(text)) {
                    return Ok($name::$variant);
                })*
                Err(crate::key::UnknownWord::new($what, text, &[$($word,)*]))
            }
        }

        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
                s.serialize_str(self.word())
            }
        }

        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
                d.deserialize_str(crate::key::Word($what, std::marker::PhantomData))
            }
        }

        impl schemars::JsonSchema for $name {
            fn schema_name() -> std::borrow::Cow<'static, str> {
                stringify!($name).into()
            }
            fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
                schemars::json_schema!({ "type": "string", "enum": [$($word),*] })
            }
        }
    };
}

pub mod algorithm;
pub mod attributes;
pub mod header;
pub mod lifetime;
pub mod name;
pub mod state;
pub mod usage;

pub use algorithm::{Algorithm, BadSpec, Curve, KeySpec, ObjectType};
pub use attributes::{Alias, AliasType, KeyPermission, Link, LinkType};
pub use header::{KeyHeader, Revocation, VersionHeader, mentions_an_end};
pub use lifetime::{BadDates, Dates, NotPermitted, effective_state, permit};
pub use name::{BadName, KeyName};
pub use state::{Refused, RevocationReason, State, Transition, key_states_markdown, transition};
pub use usage::{BadUsage, Class, Operation, UsageMask};

/// A word that is none of those allowed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{word:?} is no {what}: use one of {allowed}")]
pub struct UnknownWord {
    pub what: &'static str,
    /// What was given, cut to 64 characters.
    pub word: String,
    /// What may be given, separated by commas.
    pub allowed: String,
}

impl UnknownWord {
    fn new(what: &'static str, word: &str, allowed: &[&str]) -> UnknownWord {
        UnknownWord { what, word: word.chars().take(64).collect(), allowed: allowed.join(", ") }
    }
}

/// Reads a word in place, without copying it: a million headers are read when a domain is listed.
struct Word<T>(&'static str, std::marker::PhantomData<T>);

impl<T: std::str::FromStr<Err: std::fmt::Display>> serde::de::Visitor<'_> for Word<T> {
    type Value = T;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "the name of a {}", self.0)
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<T, E> {
        text.parse().map_err(E::custom)
    }
}
