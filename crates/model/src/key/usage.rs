//! What a key may be used for: KMIP's cryptographic usage mask, and the operations that need a bit of it.

use super::KeySpec;

/// The bits of `usageMask` on the wire, as in KMIP and CipherTrust Manager; an integer in JSON.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default, serde::Serialize, serde::Deserialize)]
#[serde(try_from = "u32", into = "u32")]
pub struct UsageMask(u32);

/// Every bit with its name, from the lowest.
const NAMES: [&str; 22] = [
    "Sign",
    "Verify",
    "Encrypt",
    "Decrypt",
    "Wrap Key",
    "Unwrap Key",
    "Export",
    "MAC Generate",
    "MAC Verify",
    "Derive Key",
    "Content Commitment",
    "Key Agreement",
    "Certificate Sign",
    "CRL Sign",
    "Generate Cryptogram",
    "Validate Cryptogram",
    "Translate Encrypt",
    "Translate Decrypt",
    "Translate Wrap",
    "Translate Unwrap",
    "FPE Encrypt",
    "FPE Decrypt",
];

impl UsageMask {
    pub const NONE: UsageMask = UsageMask(0);
    pub const SIGN: UsageMask = UsageMask(1);
    pub const VERIFY: UsageMask = UsageMask(1 << 1);
    pub const ENCRYPT: UsageMask = UsageMask(1 << 2);
    pub const DECRYPT: UsageMask = UsageMask(1 << 3);
    pub const WRAP: UsageMask = UsageMask(1 << 4);
    pub const UNWRAP: UsageMask = UsageMask(1 << 5);
    pub const EXPORT: UsageMask = UsageMask(1 << 6);
    pub const MAC: UsageMask = UsageMask(1 << 7);
    pub const MAC_VERIFY: UsageMask = UsageMask(1 << 8);
    pub const DERIVE: UsageMask = UsageMask(1 << 9);
    pub const CONTENT_COMMIT: UsageMask = UsageMask(1 << 10);
    pub const KEY_AGREE: UsageMask = UsageMask(1 << 11);
    pub const CERT_SIGN: UsageMask = UsageMask(1 << 12);
    pub const CRL_SIGN: UsageMask = UsageMask(1 << 13);
    pub const FPE_ENCRYPT: UsageMask = UsageMask(1 << 20);
    pub const FPE_DECRYPT: UsageMask = UsageMask(1 << 21);
    /// Every bit there is: 4194303.
    pub const ALL: UsageMask = UsageMask((1_u32 << NAMES.len()) - 1);

    /// From the integer on the wire.
    pub fn new(bits: u32) -> Result<UsageMask, BadUsage> {
        if bits & !UsageMask::ALL.0 == 0 { Ok(UsageMask(bits)) } else { Err(BadUsage::UnknownBits(bits)) }
    }

    pub const fn bits(self) -> u32 {
        self.0
    }

    /// Both together.
    pub const fn and(self, other: UsageMask) -> UsageMask {
        UsageMask(self.0 | other.0)
    }

    /// The bits of this one that the other has not.
    pub const fn without(self, other: UsageMask) -> UsageMask {
        UsageMask(self.0 & !other.0)
    }

    /// Whether every bit of `other` is here.
    pub const fn contains(self, other: UsageMask) -> bool {
        self.0 & other.0 == other.0
    }

    /// Whether a key with this mask may do it.
    pub const fn allows(self, operation: Operation) -> bool {
        self.contains(operation.bit())
    }

    /// The names of the bits, from the lowest.
    pub fn names(self) -> impl Iterator<Item = &'static str> {
        NAMES.into_iter().enumerate().filter(move |(i, _)| self.0 & (1_u32 << *i) != 0).map(|(_, name)| name)
    }
}

impl std::fmt::Display for UsageMask {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.0 == 0 {
            return f.write_str("nothing (0)");
        }
        for (i, name) in self.names().enumerate() {
            write!(f, "{}{name}", if i == 0 { "" } else { ", " })?;
        }
        write!(f, " ({})", self.0)
    }
}

impl TryFrom<u32> for UsageMask {
    type Error = BadUsage;
    fn try_from(bits: u32) -> Result<Self, BadUsage> {
        UsageMask::new(bits)
    }
}

impl From<UsageMask> for u32 {
    fn from(mask: UsageMask) -> u32 {
        mask.0
    }
}

impl schemars::JsonSchema for UsageMask {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "UsageMask".into()
    }
    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({ "type": "integer", "minimum": 0, "maximum": 4_194_303 })
    }
}

/// A usage mask that no key, or not this kind of key, can have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadUsage {
    #[error("usageMask {0} has bits that mean nothing: the highest mask is 4194303")]
    UnknownBits(u32),
    #[error("{spec} keys cannot be used for {refused}: leave usageMask out, or choose from {allowed}")]
    NotForThisKey { spec: KeySpec, refused: UsageMask, allowed: UsageMask },
}

words! {
    /// What is done with a key. Showing its attributes or its public half is none of these.
    "operation" Operation {
        Encrypt = "encrypt",
        Decrypt = "decrypt",
        Sign = "sign",
        Verify = "verify",
        Mac = "mac",
        MacVerify = "macverify",
        Wrap = "wrap",
        Unwrap = "unwrap",
        Encapsulate = "encapsulate",
        Decapsulate = "decapsulate",
        /// Makes a fresh key and gives it in clear and encrypted under this one.
        DataKey = "datakey",
        Agree = "agree",
        Tokenize = "tokenize",
        Detokenize = "detokenize",
        Export = "export",
    }
}

words! {
    /// The three ways in which an operation uses a key (SP 800-57 part 1, 5.3.4 and 7).
    "class of operations" Class {
        /// Applies protection to new data.
        Protect = "protect",
        /// Works on data that was protected before.
        Process = "process",
        /// Gives the material out.
        Export = "export",
    }
}

impl Operation {
    pub const fn class(self) -> Class {
        use Operation::{
            Agree, DataKey, Decapsulate, Decrypt, Detokenize, Encapsulate, Encrypt, Export, Mac, MacVerify, Sign,
            Tokenize, Unwrap, Verify, Wrap,
        };
        match self {
            Encrypt | Sign | Mac | Wrap | Encapsulate | DataKey | Agree | Tokenize => Class::Protect,
            Decrypt | Verify | MacVerify | Unwrap | Decapsulate | Detokenize => Class::Process,
            Export => Class::Export,
        }
    }

    /// The bit that it needs. A data key is opened by `decrypt`, so making one is `Encrypt`; KMIP has no bits for
    /// encapsulation, which is a way of wrapping (RFC 9935 calls it key encipherment).
    pub const fn bit(self) -> UsageMask {
        match self {
            Operation::Encrypt | Operation::DataKey => UsageMask::ENCRYPT,
            Operation::Decrypt => UsageMask::DECRYPT,
            Operation::Sign => UsageMask::SIGN,
            Operation::Verify => UsageMask::VERIFY,
            Operation::Mac => UsageMask::MAC,
            Operation::MacVerify => UsageMask::MAC_VERIFY,
            Operation::Wrap | Operation::Encapsulate => UsageMask::WRAP,
            Operation::Unwrap | Operation::Decapsulate => UsageMask::UNWRAP,
            Operation::Agree => UsageMask::KEY_AGREE,
            Operation::Tokenize => UsageMask::FPE_ENCRYPT,
            Operation::Detokenize => UsageMask::FPE_DECRYPT,
            Operation::Export => UsageMask::EXPORT,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Operation, UsageMask};

    #[test]
    fn the_bits_are_those_on_the_wire() {
        for (mask, bits) in [
            (UsageMask::SIGN, 1),
            (UsageMask::VERIFY, 2),
            (UsageMask::ENCRYPT, 4),
            (UsageMask::DECRYPT, 8),
            (UsageMask::WRAP, 16),
            (UsageMask::UNWRAP, 32),
            (UsageMask::EXPORT, 64),
            (UsageMask::MAC, 128),
            (UsageMask::MAC_VERIFY, 256),
            (UsageMask::DERIVE, 512),
            (UsageMask::CONTENT_COMMIT, 1024),
            (UsageMask::KEY_AGREE, 2048),
            (UsageMask::CERT_SIGN, 4096),
            (UsageMask::CRL_SIGN, 8192),
            (UsageMask::FPE_ENCRYPT, 1_048_576),
            (UsageMask::FPE_DECRYPT, 2_097_152),
            (UsageMask::ALL, 4_194_303),
        ] {
            assert_eq!(mask.bits(), bits);
            assert_eq!(serde_json::to_string(&mask).unwrap(), bits.to_string());
            assert_eq!(serde_json::from_str::<UsageMask>(&bits.to_string()).unwrap(), mask);
        }
        assert!(serde_json::from_str::<UsageMask>("4194304").is_err());
        assert_eq!(UsageMask::new(76).unwrap().to_string(), "Encrypt, Decrypt, Export (76)");
        assert_eq!(UsageMask::NONE.to_string(), "nothing (0)");
    }

    #[test]
    fn an_operation_needs_its_bit_and_no_other() {
        for &operation in Operation::ALL {
            assert!(operation.bit().allows(operation));
            assert!(!UsageMask::ALL.without(operation.bit()).allows(operation), "{operation}");
            assert!(!UsageMask::NONE.allows(operation));
            assert_eq!(operation.bit().bits().count_ones(), 1);
        }
    }
}
