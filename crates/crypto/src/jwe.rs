//! JWE in compact form with a password: `PBES2-HS512+A256KW` and `A256GCM` (RFC 7516, RFC 7518 section 4.8).

use std::num::NonZeroU32;

use aws_lc_rs::key_wrap::{AES_256, AesKek, KeyWrap};
use aws_lc_rs::pbkdf2::{self, PBKDF2_HMAC_SHA512};
use base64::engine::{Engine, general_purpose::URL_SAFE_NO_PAD};
use serde_json::{Map, Value};
use zeroize::Zeroize;

use crate::aead::{Gcm, NONCE, TAG};
use crate::{CryptoError, Key256, Secret, SecretBytes, random};

/// Iterations of PBKDF2 in what is made here.
pub const ITERATIONS: u32 = 600_000;
/// More than this is refused before anything is derived: it would only keep the machine busy.
pub const MAX_ITERATIONS: u64 = 10_000_000;
/// The longest text that is looked at, in bytes.
pub const MAX_LENGTH: usize = 4 << 20;

const ALG: &str = "PBES2-HS512+A256KW";
const ENC: &str = "A256GCM";
const SALT: usize = 16;
const MIN_SALT: usize = 8;

/// Why a JWE was not opened.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum JweError {
    #[error("this is no JWE in compact form (five base64url parts with dots between): {0}")]
    Malformed(&'static str),
    #[error("the JWE uses {name} {value:?}; only {ALG} with {ENC} is opened")]
    Algorithm { name: &'static str, value: String },
    #[error("the JWE demands an extension (`crit`), and none is known here")]
    Critical,
    #[error("the JWE asks for {0} iterations; more than {MAX_ITERATIONS} are refused: make the file again with fewer")]
    TooManyIterations(u64),
    #[error("the JWE has no iteration count of at least 1000 (`p2c`)")]
    TooFewIterations,
    #[error("the JWE has no salt of at least {MIN_SALT} bytes (`p2s`)")]
    Salt,
    #[error("the password is not the one the file was made with, or the file was altered")]
    WrongPassword,
}

/// Encrypts `payload` under `password`. `extra` joins the protected header, clear and authenticated; its names must not be those set here.
pub fn encrypt(password: &[u8], extra: &Map<String, Value>, payload: &[u8]) -> String {
    let salt = random::bytes::<SALT>();
    let mut header = Map::new();
    header.insert("alg".into(), ALG.into());
    header.insert("enc".into(), ENC.into());
    header.insert("p2s".into(), URL_SAFE_NO_PAD.encode(salt).into());
    header.insert("p2c".into(), ITERATIONS.into());
    for (name, value) in extra {
        header.entry(name.clone()).or_insert_with(|| value.clone());
    }
    let protected = URL_SAFE_NO_PAD.encode(Value::Object(header).to_string());
    let kek = derive_kek(password, &salt, NonZeroU32::new(ITERATIONS).expect("a constant above zero"));
    let cek = random::secret::<32>();
    let wrapped = kw_wrap(&kek, &cek);
    let nonce = random::bytes::<NONCE>();
    let mut sealed = Vec::with_capacity(payload.len() + TAG);
    sealed.extend_from_slice(payload);
    Gcm::new(&cek).seal(nonce, protected.as_bytes(), &mut sealed);
    let (ciphertext, tag) = sealed.split_at(sealed.len() - TAG);
    let [w, n, c, t] = [&wrapped[..], &nonce, ciphertext, tag].map(|part| URL_SAFE_NO_PAD.encode(part));
    format!("{protected}.{w}.{n}.{c}.{t}")
}

/// The protected header, which needs no password and proves nothing until the JWE is opened.
pub fn protected_header(compact: &str) -> Result<Map<String, Value>, JweError> {
    Parts::parse(compact).map(|p| p.header)
}

/// Opens a JWE; the algorithms, the salt and the iteration count are judged before anything is derived.
pub fn decrypt(compact: &str, password: &[u8]) -> Result<(Map<String, Value>, SecretBytes), JweError> {
    let parts = Parts::parse(compact)?;
    let (salt, iterations) = parts.parameters()?;
    let kek = derive_kek(password, &salt, iterations);
    let cek = kw_unwrap(&kek, &parts.wrapped).map_err(|_| JweError::WrongPassword)?;
    let payload = open_content(&cek, &parts).map_err(|_| JweError::WrongPassword)?;
    Ok((parts.header, payload))
}

struct Parts<'a> {
    protected: &'a str,
    header: Map<String, Value>,
    wrapped: Vec<u8>,
    nonce: [u8; NONCE],
    sealed: Vec<u8>,
}

impl<'a> Parts<'a> {
    fn parse(compact: &'a str) -> Result<Parts<'a>, JweError> {
        if compact.len() > MAX_LENGTH {
            return Err(JweError::Malformed("it is too long"));
        }
        let texts: Vec<&str> = compact.trim_end_matches(['\n', '\r']).split('.').collect();
        let [protected, wrapped, nonce, ciphertext, tag] = texts[..] else {
            return Err(JweError::Malformed("it has not five parts"));
        };
        let decode = |text: &str| URL_SAFE_NO_PAD.decode(text).map_err(|_| JweError::Malformed("not base64url"));
        let Object(header) = serde_json::from_slice(&decode(protected)?)
            .map_err(|_| JweError::Malformed("its header is no JSON object with each name once"))?;
        let mut sealed = decode(ciphertext)?;
        let tag = decode(tag)?;
        if tag.len() != TAG {
            return Err(JweError::Malformed("its tag has not 16 bytes"));
        }
        sealed.extend_from_slice(&tag);
        let nonce = decode(nonce)?.try_into().map_err(|_| JweError::Malformed("its nonce has not 12 bytes"))?;
        Ok(Parts { protected, header, wrapped: decode(wrapped)?, nonce, sealed })
    }

    fn parameters(&self) -> Result<(Vec<u8>, NonZeroU32), JweError> {
        for (name, known) in [("alg", ALG), ("enc", ENC)] {
            let value = self.header.get(name).and_then(Value::as_str).unwrap_or_default();
            if value != known {
                return Err(JweError::Algorithm { name, value: value.into() });
            }
        }
        if let Some(zip) = self.header.get("zip") {
            return Err(JweError::Algorithm { name: "zip", value: zip.to_string() });
        }
        if self.header.contains_key("crit") {
            return Err(JweError::Critical);
        }
        let salt = self.header.get("p2s").and_then(Value::as_str).and_then(|t| URL_SAFE_NO_PAD.decode(t).ok());
        let salt = salt.filter(|s| s.len() >= MIN_SALT).ok_or(JweError::Salt)?;
        match self.header.get("p2c").and_then(Value::as_u64) {
            Some(count) if count > MAX_ITERATIONS => Err(JweError::TooManyIterations(count)),
            Some(count) if count >= 1000 => {
                Ok((salt, NonZeroU32::new(count as u32).expect("between a thousand and ten million")))
            }
            _ => Err(JweError::TooFewIterations),
        }
    }
}

fn open_content(cek: &Key256, parts: &Parts<'_>) -> Result<SecretBytes, CryptoError> {
    let mut buffer = SecretBytes::new(parts.sealed.clone());
    let length = Gcm::new(cek).open(parts.nonce, parts.protected.as_bytes(), buffer.expose_mut())?.len();
    buffer.expose_mut().truncate(length);
    Ok(buffer)
}

fn derive_kek(password: &[u8], salt: &[u8], iterations: NonZeroU32) -> Key256 {
    pbes2::<32>(PBKDF2_HMAC_SHA512, ALG, password, salt, iterations)
}

/// RFC 7518 section 4.8.1.1: the salt of PBKDF2 is the algorithm's name, a zero byte, and `p2s`.
fn pbes2<const N: usize>(
    prf: pbkdf2::Algorithm,
    alg: &str,
    password: &[u8],
    salt: &[u8],
    iterations: NonZeroU32,
) -> Secret<[u8; N]>
where
    [u8; N]: Zeroize,
{
    let salt = [alg.as_bytes(), &[0], salt].concat();
    let mut out = Secret::new([0; N]);
    pbkdf2::derive(prf, iterations, &salt, password, out.expose_mut());
    out
}

fn kw_wrap(kek: &Key256, cek: &Key256) -> [u8; 40] {
    let mut out = [0; 40];
    AesKek::new(&AES_256, kek.expose())
        .and_then(|k| k.wrap(cek.expose(), &mut out).map(|_| ()))
        .expect("32 bytes wrap into 40");
    out
}

fn kw_unwrap(kek: &Key256, wrapped: &[u8]) -> Result<Key256, CryptoError> {
    let mut out = Secret::new([0; 32]);
    if wrapped.len() != 40 {
        return Err(CryptoError);
    }
    AesKek::new(&AES_256, kek.expose())
        .and_then(|k| k.unwrap(wrapped, out.expose_mut()).map(|_| ()))
        .map_err(|_| CryptoError)?;
    Ok(out)
}

/// A JSON object in which no name stands twice (RFC 7516 section 4).
struct Object(Map<String, Value>);

impl<'de> serde::Deserialize<'de> for Object {
    fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        struct Names;
        impl<'de> serde::de::Visitor<'de> for Names {
            type Value = Object;
            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("an object")
            }
            fn visit_map<A: serde::de::MapAccess<'de>>(self, mut map: A) -> Result<Object, A::Error> {
                let mut out = Map::new();
                while let Some((name, value)) = map.next_entry::<String, Value>()? {
                    if out.insert(name, value).is_some() {
                        return Err(serde::de::Error::custom("a name stands twice"));
                    }
                }
                Ok(Object(out))
            }
        }
        d.deserialize_map(Names)
    }
}

#[cfg(test)]
mod tests;
