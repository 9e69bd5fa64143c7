//! PEM (RFC 7468): reading private keys, writing private and public ones, without leaving copies behind.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use crate::SecretBytes;

use super::{AlgorithmError, Format};

/// DER as PEM under a label, in lines of 64 characters.
pub fn encode(label: &str, der: &[u8]) -> SecretBytes {
    let mut letters = SecretBytes::new(vec![0; der.len().div_ceil(3) * 4]);
    let length = STANDARD.encode_slice(der, letters.expose_mut()).expect("the buffer has the length of the text");
    let frame = 2 * (label.len() + 20);
    // Exactly large enough: a vector that grows would leave the key in the memory that it gives back.
    let mut out = SecretBytes::new(Vec::with_capacity(frame + length + length.div_ceil(64)));
    let text = out.expose_mut();
    text.extend_from_slice(format!("-----BEGIN {label}-----\n").as_bytes());
    for line in letters.expose()[..length].chunks(64) {
        text.extend_from_slice(line);
        text.push(b'\n');
    }
    text.extend_from_slice(format!("-----END {label}-----\n").as_bytes());
    out
}

/// The first private key in a PEM text, with the format that its label says.
pub fn decode_private(text: &[u8]) -> Result<(Format, SecretBytes), AlgorithmError> {
    const BROKEN: AlgorithmError = AlgorithmError::BadInput("this is no complete PEM text: send it from BEGIN to END");
    for (label, format) in
        [("PRIVATE KEY", Format::Pkcs8), ("RSA PRIVATE KEY", Format::Pkcs1), ("EC PRIVATE KEY", Format::Sec1)]
    {
        let begin = format!("-----BEGIN {label}-----");
        let end = format!("-----END {label}-----");
        let Some(from) = find(text, begin.as_bytes()) else { continue };
        let rest = &text[from + begin.len()..];
        let content = &rest[..find(rest, end.as_bytes()).ok_or(BROKEN)?];
        if content.contains(&b':') {
            return Err(AlgorithmError::BadInput("this PEM text is encrypted: decrypt it first (openssl pkey)"));
        }
        let mut letters = SecretBytes::new(Vec::with_capacity(content.len()));
        letters.expose_mut().extend(content.iter().filter(|byte| !byte.is_ascii_whitespace()));
        let mut der = SecretBytes::new(vec![0; base64::decoded_len_estimate(letters.expose().len())]);
        let length = STANDARD.decode_slice(letters.expose(), der.expose_mut()).map_err(|_| BROKEN)?;
        der.expose_mut().truncate(length);
        return Ok((format, der));
    }
    if find(text, b"-----BEGIN ENCRYPTED PRIVATE KEY-----").is_some() {
        return Err(AlgorithmError::BadInput("this PEM text is encrypted: decrypt it first (openssl pkey)"));
    }
    Err(AlgorithmError::BadInput(
        "there is no private key in this PEM text: send PRIVATE KEY, RSA PRIVATE KEY or EC PRIVATE KEY",
    ))
}

fn find(text: &[u8], what: &[u8]) -> Option<usize> {
    text.windows(what.len()).position(|window| window == what)
}
