//! Algorithms, and the kinds of key that can be made: an algorithm with a size or a curve that fits it.

use std::fmt;

use super::UnknownWord;
use super::usage::{BadUsage, UsageMask};

words! {
    /// What a key computes; the words are those of CipherTrust Manager where it has them.
    "algorithm" Algorithm {
        Aes = "AES",
        ChaCha20Poly1305 = "ChaCha20-Poly1305" | "ChaCha20Poly1305",
        HmacSha256 = "HMAC-SHA256" | "HMAC-SHA-256",
        HmacSha384 = "HMAC-SHA384" | "HMAC-SHA-384",
        HmacSha512 = "HMAC-SHA512" | "HMAC-SHA-512",
        Rsa = "RSA",
        /// ECDSA and ECDH on a NIST curve.
        Ec = "EC" | "ECDSA" | "ECDH",
        Ed25519 = "Ed25519" | "EdDSA",
        X25519 = "X25519",
        MlKem768 = "ML-KEM-768" | "MLKEM768",
        MlKem1024 = "ML-KEM-1024" | "MLKEM1024",
    }
}

words! {
    /// A curve of FIPS 186-5, by its name in SEC 2 (`curveid` on the wire).
    "curve" Curve {
        P256 = "secp256r1" | "prime256v1" | "P-256" | "P256" | "nistp256",
        P384 = "secp384r1" | "P-384" | "P384" | "nistp384",
        P521 = "secp521r1" | "P-521" | "P521" | "nistp521",
    }
}

words! {
    /// What kind of object it is in KMIP's terms (`objectType` on the wire).
    "object type" ObjectType {
        SymmetricKey = "Symmetric Key",
        PublicKey = "Public Key",
        PrivateKey = "Private Key",
        SecretData = "Secret Data",
        OpaqueObject = "Opaque Object",
        Certificate = "Certificate",
    }
}

impl Curve {
    /// Bits of the field.
    pub const fn bits(self) -> u32 {
        match self {
            Curve::P256 => 256,
            Curve::P384 => 384,
            Curve::P521 => 521,
        }
    }
}

/// A kind of key that can be made: valid by construction.
///
/// As text (in headers, too) it is the algorithm with its size or curve, such as `AES-256`, `HMAC-SHA256-256`,
/// `RSA-3072`, `EC-secp256r1`, and the algorithm alone where that says it all: `Ed25519`, `ML-KEM-768`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct KeySpec {
    algorithm: Algorithm,
    size: u32,
    curve: Option<Curve>,
}

/// Algorithm, size and curve do not fit together.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadSpec {
    #[error("{algorithm} keys have no size {size}: use {allowed}")]
    Size { algorithm: Algorithm, size: u32, allowed: &'static str },
    #[error("an EC key needs a curveid: use one of secp256r1, secp384r1, secp521r1")]
    NeedsCurve,
    #[error("{0} keys have no curveid: leave it out")]
    NoCurve(Algorithm),
    #[error("{curve} has {} bits, not {size}: leave the size out", .curve.bits())]
    CurveSize { curve: Curve, size: u32 },
    #[error("the size of a key is a number of bits, and {0:?} is none")]
    NotANumber(String),
    #[error(transparent)]
    Word(#[from] UnknownWord),
}

const fn sized(algorithm: Algorithm, size: u32) -> KeySpec {
    KeySpec { algorithm, size, curve: None }
}

const fn on(curve: Curve) -> KeySpec {
    KeySpec { algorithm: Algorithm::Ec, size: curve.bits(), curve: Some(curve) }
}

impl KeySpec {
    pub const AES_128: KeySpec = sized(Algorithm::Aes, 128);
    pub const AES_192: KeySpec = sized(Algorithm::Aes, 192);
    pub const AES_256: KeySpec = sized(Algorithm::Aes, 256);

    /// Every kind of key, with HMAC keys in the size of their hash (the others are as good).
    pub const ALL: &'static [KeySpec] = &[
        KeySpec::AES_128,
        KeySpec::AES_192,
        KeySpec::AES_256,
        sized(Algorithm::ChaCha20Poly1305, 256),
        sized(Algorithm::HmacSha256, 256),
        sized(Algorithm::HmacSha384, 384),
        sized(Algorithm::HmacSha512, 512),
        sized(Algorithm::Rsa, 2048),
        sized(Algorithm::Rsa, 3072),
        sized(Algorithm::Rsa, 4096),
        on(Curve::P256),
        on(Curve::P384),
        on(Curve::P521),
        sized(Algorithm::Ed25519, 256),
        sized(Algorithm::X25519, 256),
        sized(Algorithm::MlKem768, 768),
        sized(Algorithm::MlKem1024, 1024),
    ];

    /// The kind of key asked for. Without a size: 256 bits for AES, 3072 for RSA, the length of the hash for HMAC.
    /// An EC key may be asked for by its curve or by its bits.
    pub fn new(algorithm: Algorithm, size: Option<u32>, curve: Option<Curve>) -> Result<KeySpec, BadSpec> {
        if algorithm == Algorithm::Ec {
            let by_size = |size| Curve::ALL.iter().copied().find(|c| c.bits() == size);
            let curve = match (curve, size) {
                (Some(curve), None) => curve,
                (Some(curve), Some(size)) if curve.bits() == size => curve,
                (Some(curve), Some(size)) => return Err(BadSpec::CurveSize { curve, size }),
                (None, Some(size)) => by_size(size).ok_or(BadSpec::NeedsCurve)?,
                (None, None) => return Err(BadSpec::NeedsCurve),
            };
            return Ok(on(curve));
        }
        if curve.is_some() {
            return Err(BadSpec::NoCurve(algorithm));
        }
        let default = match algorithm {
            Algorithm::Rsa => 3072,
            Algorithm::HmacSha384 => 384,
            Algorithm::HmacSha512 => 512,
            Algorithm::MlKem768 => 768,
            Algorithm::MlKem1024 => 1024,
            _ => 256,
        };
        let size = size.unwrap_or(default);
        let (fits, allowed) = match algorithm {
            Algorithm::Aes => (matches!(size, 128 | 192 | 256), "128, 192 or 256"),
            Algorithm::Rsa => (matches!(size, 2048 | 3072 | 4096), "2048, 3072 or 4096"),
            // SP 800-107 asks for 112 bits; 128 is the least that is made of whole words.
            Algorithm::HmacSha256 | Algorithm::HmacSha384 | Algorithm::HmacSha512 => {
                ((128..=2048).contains(&size) && size.is_multiple_of(8), "128 to 2048 in steps of 8")
            }
            Algorithm::MlKem768 => (size == default, "768, or leave the size out"),
            Algorithm::MlKem1024 => (size == default, "1024, or leave the size out"),
            Algorithm::ChaCha20Poly1305 | Algorithm::Ed25519 | Algorithm::X25519 | Algorithm::Ec => {
                (size == default, "256, or leave the size out")
            }
        };
        if fits { Ok(sized(algorithm, size)) } else { Err(BadSpec::Size { algorithm, size, allowed }) }
    }

    pub const fn algorithm(self) -> Algorithm {
        self.algorithm
    }

    /// Bits of the key, of the modulus or of the field; for ML-KEM the number of the parameter set.
    pub const fn size(self) -> u32 {
        self.size
    }

    /// The curve of an EC key.
    pub const fn curve(self) -> Option<Curve> {
        self.curve
    }

    /// Whether one secret serves both sides.
    pub const fn is_symmetric(self) -> bool {
        use Algorithm::{Aes, ChaCha20Poly1305, HmacSha256, HmacSha384, HmacSha512};
        matches!(self.algorithm, Aes | ChaCha20Poly1305 | HmacSha256 | HmacSha384 | HmacSha512)
    }

    pub const fn object_type(self) -> ObjectType {
        if self.is_symmetric() { ObjectType::SymmetricKey } else { ObjectType::PrivateKey }
    }

    /// The usages that such a key may have at all.
    pub const fn allowed_usage(self) -> UsageMask {
        let cipher = UsageMask::ENCRYPT.and(UsageMask::DECRYPT).and(UsageMask::WRAP).and(UsageMask::UNWRAP);
        let signer = UsageMask::SIGN.and(UsageMask::VERIFY).and(UsageMask::CONTENT_COMMIT);
        let signer = signer.and(UsageMask::CERT_SIGN).and(UsageMask::CRL_SIGN);
        let bits = match self.algorithm {
            Algorithm::Aes => cipher.and(UsageMask::FPE_ENCRYPT).and(UsageMask::FPE_DECRYPT).and(UsageMask::DERIVE),
            Algorithm::ChaCha20Poly1305 => cipher,
            Algorithm::HmacSha256 | Algorithm::HmacSha384 | Algorithm::HmacSha512 => {
                UsageMask::MAC.and(UsageMask::MAC_VERIFY).and(UsageMask::DERIVE)
            }
            Algorithm::Rsa => cipher.and(signer),
            Algorithm::Ec => signer.and(UsageMask::KEY_AGREE).and(UsageMask::DERIVE),
            Algorithm::Ed25519 => signer,
            Algorithm::X25519 => {
                UsageMask::KEY_AGREE.and(UsageMask::DERIVE).and(UsageMask::WRAP).and(UsageMask::UNWRAP)
            }
            // RFC 9935 lets such a key encipher keys and nothing else.
            Algorithm::MlKem768 | Algorithm::MlKem1024 => UsageMask::WRAP.and(UsageMask::UNWRAP),
        };
        bits.and(UsageMask::EXPORT)
    }

    /// The usages that such a key has when none are asked for: what it is made for, and to be exported.
    pub const fn default_usage(self) -> UsageMask {
        let bits = match self.algorithm {
            Algorithm::Aes | Algorithm::ChaCha20Poly1305 => {
                UsageMask::ENCRYPT.and(UsageMask::DECRYPT).and(UsageMask::WRAP).and(UsageMask::UNWRAP)
            }
            Algorithm::HmacSha256 | Algorithm::HmacSha384 | Algorithm::HmacSha512 => {
                UsageMask::MAC.and(UsageMask::MAC_VERIFY)
            }
            Algorithm::Rsa => {
                let cipher = UsageMask::ENCRYPT.and(UsageMask::DECRYPT).and(UsageMask::WRAP).and(UsageMask::UNWRAP);
                cipher.and(UsageMask::SIGN).and(UsageMask::VERIFY)
            }
            Algorithm::Ec | Algorithm::Ed25519 => UsageMask::SIGN.and(UsageMask::VERIFY),
            Algorithm::X25519 => UsageMask::KEY_AGREE.and(UsageMask::WRAP).and(UsageMask::UNWRAP),
            Algorithm::MlKem768 | Algorithm::MlKem1024 => UsageMask::WRAP.and(UsageMask::UNWRAP),
        };
        bits.and(UsageMask::EXPORT)
    }

    /// The usages for a new key: the default, or what is asked for. All bits together (4194303, which other products'
    /// clients send for "everything") mean everything that is allowed; any other bit that is not is refused by name.
    pub fn usage(self, asked: Option<UsageMask>) -> Result<UsageMask, BadUsage> {
        let allowed = self.allowed_usage();
        match asked {
            None => Ok(self.default_usage()),
            Some(UsageMask::ALL) => Ok(allowed),
            Some(mask) if allowed.contains(mask) => Ok(mask),
            Some(mask) => Err(BadUsage::NotForThisKey { spec: self, refused: mask.without(allowed), allowed }),
        }
    }
}

impl fmt::Display for KeySpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        use Algorithm::{ChaCha20Poly1305, Ed25519, MlKem768, MlKem1024, X25519};
        match (self.algorithm, self.curve) {
            (algorithm, Some(curve)) => write!(f, "{algorithm}-{curve}"),
            (ChaCha20Poly1305 | Ed25519 | X25519 | MlKem768 | MlKem1024, None) => write!(f, "{}", self.algorithm),
            (algorithm, None) => write!(f, "{algorithm}-{}", self.size),
        }
    }
}

impl std::str::FromStr for KeySpec {
    type Err = BadSpec;
    fn from_str(text: &str) -> Result<Self, BadSpec> {
        if let Some((algorithm, curve)) = text.split_once('-')
            && algorithm.eq_ignore_ascii_case(Algorithm::Ec.word())
        {
            return KeySpec::new(Algorithm::Ec, None, Some(curve.parse()?));
        }
        let whole = text.parse::<Algorithm>();
        match (whole, text.rsplit_once('-')) {
            (Ok(algorithm), _) => KeySpec::new(algorithm, None, None),
            (Err(_), Some((algorithm, size))) => {
                let algorithm = algorithm.parse()?;
                KeySpec::new(algorithm, Some(size.parse().map_err(|_| BadSpec::NotANumber(size.into()))?), None)
            }
            (Err(unknown), None) => Err(unknown.into()),
        }
    }
}

impl serde::Serialize for KeySpec {
    fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(self)
    }
}

impl<'de> serde::Deserialize<'de> for KeySpec {
    fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        d.deserialize_str(super::Word("kind of key", std::marker::PhantomData))
    }
}

impl schemars::JsonSchema for KeySpec {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "KeySpec".into()
    }
    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({ "type": "string", "examples": ["AES-256", "RSA-3072", "EC-secp256r1"] })
    }
}

#[cfg(test)]
mod tests {
    use super::{Algorithm, BadSpec, Curve, KeySpec, ObjectType};
    use crate::key::usage::{BadUsage, UsageMask};

    #[test]
    fn every_kind_of_key_is_written_and_read_back() {
        for &spec in KeySpec::ALL {
            assert_eq!(spec.to_string().parse::<KeySpec>(), Ok(spec));
            let json = serde_json::to_string(&spec).unwrap();
            assert_eq!(json, format!("\"{spec}\""));
            assert_eq!(serde_json::from_str::<KeySpec>(&json).unwrap(), spec);
            assert_eq!(KeySpec::new(spec.algorithm(), Some(spec.size()), spec.curve()), Ok(spec));
        }
        let texts: Vec<_> = KeySpec::ALL.iter().map(KeySpec::to_string).collect();
        assert_eq!(
            texts.join(" "),
            "AES-128 AES-192 AES-256 ChaCha20-Poly1305 HMAC-SHA256-256 HMAC-SHA384-384 HMAC-SHA512-512 RSA-2048 \
             RSA-3072 RSA-4096 EC-secp256r1 EC-secp384r1 EC-secp521r1 Ed25519 X25519 ML-KEM-768 ML-KEM-1024"
        );
        assert!(Algorithm::ALL.iter().all(|a| KeySpec::ALL.iter().any(|s| s.algorithm() == *a)));
    }

    #[test]
    fn names_are_read_in_any_case_and_by_alias() {
        for (text, want) in [
            ("aes-256", "AES-256"),
            ("aes", "AES-256"),
            ("rsa", "RSA-3072"),
            ("hmac-sha512", "HMAC-SHA512-512"),
            ("HMAC-SHA256-160", "HMAC-SHA256-160"),
            ("EC-prime256v1", "EC-secp256r1"),
            ("ec-p-384", "EC-secp384r1"),
            ("ed25519", "Ed25519"),
            ("ml-kem-768", "ML-KEM-768"),
        ] {
            assert_eq!(text.parse::<KeySpec>().unwrap().to_string(), want);
        }
        assert_eq!(KeySpec::new(Algorithm::Ec, Some(521), None).unwrap().curve(), Some(Curve::P521));
    }

    #[test]
    fn what_does_not_fit_is_refused_with_what_would() {
        for (algorithm, size, curve, says) in [
            (Algorithm::Aes, Some(512), None, "AES keys have no size 512: use 128, 192 or 256"),
            (Algorithm::Rsa, Some(1024), None, "RSA keys have no size 1024: use 2048, 3072 or 4096"),
            (
                Algorithm::HmacSha256,
                Some(129),
                None,
                "HMAC-SHA256 keys have no size 129: use 128 to 2048 in steps of 8",
            ),
            (Algorithm::HmacSha256, Some(64), None, "HMAC-SHA256 keys have no size 64: use 128 to 2048 in steps of 8"),
            (Algorithm::Ed25519, Some(448), None, "Ed25519 keys have no size 448: use 256, or leave the size out"),
            (Algorithm::MlKem768, Some(512), None, "ML-KEM-768 keys have no size 512: use 768, or leave the size out"),
            (Algorithm::Ec, None, None, "an EC key needs a curveid: use one of secp256r1, secp384r1, secp521r1"),
            (Algorithm::Ec, Some(224), None, "an EC key needs a curveid: use one of secp256r1, secp384r1, secp521r1"),
            (Algorithm::Ec, Some(256), Some(Curve::P384), "secp384r1 has 384 bits, not 256: leave the size out"),
            (Algorithm::Aes, None, Some(Curve::P256), "AES keys have no curveid: leave it out"),
        ] {
            assert_eq!(KeySpec::new(algorithm, size, curve).unwrap_err().to_string(), says);
        }
        assert!(matches!("EC-secp256k1".parse::<KeySpec>(), Err(BadSpec::Word(w)) if w.allowed.contains("secp256r1")));
        assert!(matches!("DES".parse::<KeySpec>(), Err(BadSpec::Word(w)) if w.to_string().contains("AES, ChaCha20")));
        assert!(matches!("AES-big".parse::<KeySpec>(), Err(BadSpec::NotANumber(_))));
    }

    #[test]
    fn usages_fit_the_kind_of_key() {
        for &spec in KeySpec::ALL {
            assert!(spec.allowed_usage().contains(spec.default_usage()), "{spec}");
            assert_eq!(spec.usage(None), Ok(spec.default_usage()));
            assert_eq!(spec.usage(Some(UsageMask::ALL)), Ok(spec.allowed_usage()));
            let refused = UsageMask::ALL.without(spec.allowed_usage());
            assert!(
                matches!(spec.usage(Some(refused)), Err(BadUsage::NotForThisKey { refused: r, .. }) if r == refused)
            );
        }
        assert_eq!(KeySpec::AES_256.default_usage().bits(), 124);
        let said = KeySpec::AES_256.usage(Some(UsageMask::SIGN.and(UsageMask::ENCRYPT))).unwrap_err().to_string();
        assert!(said.starts_with("AES-256 keys cannot be used for Sign (1)"), "{said}");
        assert_eq!(KeySpec::AES_256.object_type(), ObjectType::SymmetricKey);
        assert_eq!(KeySpec::ALL[13].object_type(), ObjectType::PrivateKey);
    }
}
