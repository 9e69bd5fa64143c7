//! How a secret's value is written in requests and answers: text, hexadecimal or base64, by its data type.

use keyark_api::ErrorCode;
use keyark_crypto::SecretBytes;
use serde::{Deserialize, Serialize};

use crate::app::error::{AppError, Result};
use crate::app::keys::hex;

/// Bytes of the largest value.
pub const LARGEST_SECRET: usize = 64 << 10;

/// What a secret is to its users; it decides how the value is written.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DataType {
    /// Any bytes, as base64url.
    Blob,
    /// Text.
    Password,
    /// Bytes to derive from, as hexadecimal.
    Seed,
}

impl DataType {
    pub const ALL: [DataType; 3] = [DataType::Blob, DataType::Password, DataType::Seed];

    pub fn word(self) -> &'static str {
        match self {
            DataType::Blob => "blob",
            DataType::Password => "password",
            DataType::Seed => "seed",
        }
    }

    /// KMIP's word for the kind of object.
    pub fn object_type(self) -> &'static str {
        match self {
            DataType::Blob => "Opaque Object",
            DataType::Password | DataType::Seed => "Secret Data",
        }
    }

    /// From the wire, in any case.
    pub fn from_word(word: &str) -> Result<DataType> {
        let found = DataType::ALL.into_iter().find(|t| t.word().eq_ignore_ascii_case(word));
        found.ok_or_else(|| AppError::invalid("dataType is blob, password or seed"))
    }

    /// How values of this type are written unless the request says otherwise.
    pub fn encoding(self) -> Encoding {
        match self {
            DataType::Blob => Encoding::Base64Url,
            DataType::Password => Encoding::Utf8,
            DataType::Seed => Encoding::Hex,
        }
    }
}

/// How bytes are written.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Encoding {
    Utf8,
    Hex,
    Base64,
    Base64Url,
}

impl Encoding {
    pub fn word(self) -> &'static str {
        match self {
            Encoding::Utf8 => "utf8",
            Encoding::Hex => "hex",
            Encoding::Base64 => "base64",
            Encoding::Base64Url => "base64url",
        }
    }

    /// What the request says, or the data type's own.
    pub fn chosen(word: Option<&str>, data_type: DataType) -> Result<Encoding> {
        match word.map(str::to_ascii_lowercase).as_deref() {
            None => Ok(data_type.encoding()),
            Some("utf8" | "utf-8") => Ok(Encoding::Utf8),
            Some("hex") => Ok(Encoding::Hex),
            Some("base64") => Ok(Encoding::Base64),
            Some("base64url") => Ok(Encoding::Base64Url),
            Some(_) => Err(AppError::invalid("encoding is utf8, hex, base64 or base64url")),
        }
    }
}

/// Reads a value out of a request; the text is wiped.
pub fn value_decode(text: String, encoding: Encoding, data_type: DataType) -> Result<SecretBytes> {
    let text = SecretBytes::new(text.into_bytes());
    let value = match encoding {
        Encoding::Utf8 => Some(text),
        Encoding::Hex => hex_decode(text.expose().trim_ascii()).map(SecretBytes::new),
        Encoding::Base64 | Encoding::Base64Url => base64_decode(text.expose().trim_ascii()).map(SecretBytes::new),
    };
    let value = value.ok_or_else(|| AppError::invalid(format!("the material is not {}", encoding.word())))?;
    match value.expose().len() {
        0 => return Err(AppError::invalid("the material is empty; a secret has 1 byte to 64 KiB")),
        1..=LARGEST_SECRET => {}
        size => {
            return Err(AppError::new(
                ErrorCode::TooLarge,
                format!("the material has {size} bytes; a secret has at most {LARGEST_SECRET}: store a key instead"),
            ));
        }
    }
    if data_type == DataType::Password && std::str::from_utf8(value.expose()).is_err() {
        return Err(AppError::invalid("a password is text in UTF-8; use dataType blob for other bytes"));
    }
    Ok(value)
}

/// Writes a value into an answer.
pub fn value_encode(value: &SecretBytes, encoding: Encoding) -> Result<String> {
    match encoding {
        Encoding::Hex => Ok(hex(value.expose())),
        Encoding::Base64 => Ok(base64_simd::STANDARD.encode_to_string(value.expose())),
        Encoding::Base64Url => Ok(base64_simd::URL_SAFE_NO_PAD.encode_to_string(value.expose())),
        Encoding::Utf8 => std::str::from_utf8(value.expose())
            .map(str::to_owned)
            .map_err(|_| AppError::invalid("the value is not UTF-8; ask for hex, base64 or base64url")),
    }
}

fn hex_decode(text: &[u8]) -> Option<Vec<u8>> {
    let digit = |b: u8| char::from(b).to_digit(16).map(|d| d as u8);
    let (pairs, rest) = text.as_chunks::<2>();
    if !rest.is_empty() {
        return None;
    }
    pairs.iter().map(|[high, low]| Some(digit(*high)? << 4 | digit(*low)?)).collect()
}

/// Both alphabets, with or without padding: clients send whichever their language's library makes.
fn base64_decode(text: &[u8]) -> Option<Vec<u8>> {
    let end = text.iter().rposition(|b| *b != b'=').map_or(0, |last| last + 1);
    if text.len() - end > 2 {
        return None;
    }
    let url_safe = text[..end].iter().map(|b| match b {
        b'+' => b'-',
        b'/' => b'_',
        other => *other,
    });
    let url_safe = SecretBytes::new(url_safe.collect());
    base64_simd::URL_SAFE_NO_PAD.decode_to_vec(url_safe.expose()).ok()
}

#[cfg(test)]
mod tests {
    use keyark_api::ErrorCode;
    use keyark_crypto::SecretBytes;

    use super::{DataType, Encoding, LARGEST_SECRET, value_decode, value_encode};

    fn read(text: &str, data_type: DataType) -> Result<Vec<u8>, ErrorCode> {
        let value = value_decode(text.into(), data_type.encoding(), data_type);
        value.map(|v| v.expose().clone()).map_err(|e| e.code)
    }

    #[test]
    fn values_are_read_as_their_data_type_says() {
        let bad: Result<Vec<u8>, ErrorCode> = Err(ErrorCode::InvalidParam);
        for (data_type, text, expected) in [
            (DataType::Password, "pässword ", Ok("pässword ".as_bytes().to_vec())),
            (DataType::Password, "", bad.clone()),
            (DataType::Seed, "00ffAb", Ok(vec![0, 255, 0xab])),
            (DataType::Seed, "00f", bad.clone()),
            (DataType::Seed, "0g", bad.clone()),
            (DataType::Blob, "-_8", Ok(vec![0xfb, 0xff])),
            (DataType::Blob, "+/8=", Ok(vec![0xfb, 0xff])),
            (DataType::Blob, " AAEC\n", Ok(vec![0, 1, 2])),
            (DataType::Blob, "AAEC====", bad.clone()),
            (DataType::Blob, "AA=C", bad.clone()),
            (DataType::Blob, "====", bad.clone()),
            (DataType::Blob, "A", bad.clone()),
        ] {
            assert_eq!(read(text, data_type), expected, "{data_type:?} {text:?}");
        }
    }

    #[test]
    fn the_largest_value_is_taken_and_one_byte_more_is_not() {
        let most = "x".repeat(LARGEST_SECRET);
        assert_eq!(read(&most, DataType::Password).map(|v| v.len()), Ok(LARGEST_SECRET));
        assert_eq!(read(&(most + "x"), DataType::Password), Err(ErrorCode::TooLarge));
    }

    #[test]
    fn a_password_is_text_whatever_its_encoding() {
        let value = |hex: &str| value_decode(hex.into(), Encoding::Hex, DataType::Password);
        assert_eq!(value("6162").map(|v| v.expose().clone()).map_err(|e| e.code), Ok(b"ab".to_vec()));
        assert_eq!(value("ff").map(|v| v.expose().clone()).map_err(|e| e.code), Err(ErrorCode::InvalidParam));
    }

    #[test]
    fn what_is_written_is_read_back() {
        let bytes: Vec<u8> = (0..=255).collect();
        for encoding in [Encoding::Hex, Encoding::Base64, Encoding::Base64Url] {
            let text = value_encode(&SecretBytes::new(bytes.clone()), encoding).unwrap();
            let back = value_decode(text, encoding, DataType::Blob).unwrap();
            assert_eq!(back.expose(), &bytes, "{encoding:?}");
        }
        let refused = value_encode(&SecretBytes::new(bytes), Encoding::Utf8);
        assert_eq!(refused.map_err(|e| e.code), Err(ErrorCode::InvalidParam));
    }

    #[test]
    fn words_are_read_in_any_case() {
        for data_type in DataType::ALL {
            assert_eq!(DataType::from_word(&data_type.word().to_uppercase()).unwrap(), data_type);
            let chosen = Encoding::chosen(Some(data_type.encoding().word()), DataType::Blob).unwrap();
            assert_eq!(chosen, data_type.encoding());
        }
        assert!(DataType::from_word("text").is_err());
        assert!(Encoding::chosen(Some("ascii85"), DataType::Blob).is_err());
    }
}
