//! The JSON of headers, footers and anchors: names once, 64-bit integers as strings, bytes as hex or base64.

use std::collections::HashSet;

use serde::de::{Deserialize, DeserializeOwned, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};

/// Parses one value, refusing a name that stands twice in one object at any depth.
pub fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, String> {
    names_once(bytes)?;
    serde_json::from_slice(bytes).map_err(|e| e.to_string())
}

/// Whether it is one JSON value in which no name stands twice in one object. Keeps no copy of any value.
pub fn names_once(bytes: &[u8]) -> Result<(), String> {
    serde_json::from_slice::<NamesOnce>(bytes).map(drop).map_err(|e| e.to_string())
}

/// Any value, walked only to see that names stand once.
struct NamesOnce;

impl<'de> Deserialize<'de> for NamesOnce {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        d.deserialize_any(Walk)
    }
}

struct Walk;

macro_rules! leaf {
    ($($method:ident $type:ty),*) => { $(fn $method<E>(self, _: $type) -> Result<NamesOnce, E> { Ok(NamesOnce) })* };
}

impl<'de> Visitor<'de> for Walk {
    type Value = NamesOnce;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("JSON")
    }

    leaf!(visit_bool bool, visit_i64 i64, visit_u64 u64, visit_f64 f64, visit_str &str);

    fn visit_unit<E>(self) -> Result<NamesOnce, E> {
        Ok(NamesOnce)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<NamesOnce, A::Error> {
        while seq.next_element::<NamesOnce>()?.is_some() {}
        Ok(NamesOnce)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<NamesOnce, A::Error> {
        let mut seen = HashSet::new();
        while let Some(name) = map.next_key::<String>()? {
            if seen.contains(&name) {
                return Err(A::Error::custom(format_args!("the name {name:?} stands twice")));
            }
            seen.insert(name);
            map.next_value::<NamesOnce>()?;
        }
        Ok(NamesOnce)
    }
}

/// A 64-bit integer as a string of decimal digits without sign or leading zeros.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
pub struct Decimal(pub u64);

impl serde::Serialize for Decimal {
    fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for Decimal {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let text = String::deserialize(d)?;
        let number = text.parse::<u64>().ok().filter(|n| n.to_string() == text);
        number.map(Decimal).ok_or_else(|| D::Error::custom("a 64-bit integer is a string of decimal digits"))
    }
}

/// Lower-case hexadecimal.
pub fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    bytes.iter().flat_map(|b| [b >> 4, b & 15]).map(|n| DIGITS[usize::from(n)] as char).collect()
}

/// From lower-case hexadecimal.
pub fn unhex(text: &str) -> Option<Vec<u8>> {
    let digit = |b: u8| match b {
        b'0'..=b'9' => Some(b - b'0'),
        b'a'..=b'f' => Some(b - b'a' + 10),
        _ => None,
    };
    let pairs = text.as_bytes().chunks(2);
    pairs.map(|pair| if let [h, l] = pair { Some(digit(*h)? << 4 | digit(*l)?) } else { None }).collect()
}

/// Bytes of any length in hexadecimal.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Hex(pub Vec<u8>);

impl serde::Serialize for Hex {
    fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.serialize_str(&hex(&self.0))
    }
}

impl<'de> Deserialize<'de> for Hex {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let text = String::deserialize(d)?;
        unhex(&text).map(Hex).ok_or_else(|| D::Error::custom("lower-case hexadecimal is expected"))
    }
}

/// Bytes in standard base64 with padding.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Base64(pub Vec<u8>);

impl serde::Serialize for Base64 {
    fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        use base64::engine::{Engine, general_purpose::STANDARD};
        s.serialize_str(&STANDARD.encode(&self.0))
    }
}

impl<'de> Deserialize<'de> for Base64 {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        use base64::engine::{Engine, general_purpose::STANDARD};
        let text = String::deserialize(d)?;
        STANDARD.decode(text).map(Base64).map_err(|_| D::Error::custom("standard base64 with padding is expected"))
    }
}

#[cfg(test)]
mod tests {
    use super::{Decimal, hex, parse, unhex};

    #[test]
    fn names_stand_once_at_every_depth() {
        assert!(parse::<serde_json::Value>(br#"{"a":1,"b":{"a":1}}"#).is_ok());
        for twice in [r#"{"a":1,"a":2}"#, r#"{"x":[{"b":1,"\u0062":1}]}"#] {
            assert!(parse::<serde_json::Value>(twice.as_bytes()).unwrap_err().contains("stands twice"), "{twice}");
        }
        let deep = "[".repeat(100_000);
        assert!(parse::<serde_json::Value>(deep.as_bytes()).is_err());
    }

    #[test]
    fn numbers_and_hexadecimal_have_one_spelling() {
        assert_eq!(parse::<Decimal>(br#""18446744073709551615""#), Ok(Decimal(u64::MAX)));
        for bad in [r#""01""#, r#""+1""#, r#""""#, "1", r#""18446744073709551616""#] {
            assert!(parse::<Decimal>(bad.as_bytes()).is_err(), "{bad}");
        }
        assert_eq!(unhex(&hex(&[0, 171, 255])), Some(vec![0, 171, 255]));
        assert_eq!((unhex("A0"), unhex("0")), (None, None));
    }
}
