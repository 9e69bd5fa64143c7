//! What a key has besides its versions: who may do what with it, its other names, its relations to other keys.

use crate::Id;

use super::name::KeyName;
use super::usage::Operation;

words! {
    /// What the members of a group may do with one key (`meta.permissions` of CipherTrust Manager).
    "key permission" KeyPermission {
        ReadKey = "ReadKey",
        ExportKey = "ExportKey",
        /// Every operation but export.
        UseKey = "UseKey",
        EncryptWithKey = "EncryptWithKey",
        DecryptWithKey = "DecryptWithKey",
        SignWithKey = "SignWithKey",
        SignVerifyWithKey = "SignVerifyWithKey",
        MacWithKey = "MACWithKey",
        MacVerifyWithKey = "MACVerifyWithKey",
    }
}

words! {
    /// What an alias is.
    "alias type" AliasType {
        String = "string",
        Uri = "uri",
    }
}

words! {
    /// How one key relates to another (KMIP's link types).
    "link type" LinkType {
        PublicKey = "publicKey",
        PrivateKey = "privateKey",
        Certificate = "certificate",
        DerivationBaseObject = "derivationBaseObject",
        DerivedKey = "derivedKey",
        ReplacementObject = "replacementObject",
        ReplacedObject = "replacedObject",
        Parent = "parent",
        Child = "child",
        Previous = "previous",
        Next = "next",
    }
}

impl KeyPermission {
    /// Whether it is enough for an operation on the key.
    pub const fn grants(self, operation: Operation) -> bool {
        use Operation::{
            Agree, DataKey, Decapsulate, Decrypt, Detokenize, Encapsulate, Encrypt, Export, Mac, MacVerify, Sign,
            Tokenize, Unwrap, Verify, Wrap,
        };
        match self {
            KeyPermission::ReadKey => false,
            KeyPermission::ExportKey => matches!(operation, Export),
            KeyPermission::UseKey => !matches!(operation, Export),
            KeyPermission::EncryptWithKey => matches!(operation, Encrypt | Wrap | Encapsulate | DataKey | Tokenize),
            KeyPermission::DecryptWithKey => matches!(operation, Decrypt | Unwrap | Decapsulate | Agree | Detokenize),
            KeyPermission::SignWithKey => matches!(operation, Sign),
            KeyPermission::SignVerifyWithKey => matches!(operation, Verify),
            KeyPermission::MacWithKey => matches!(operation, Mac),
            KeyPermission::MacVerifyWithKey => matches!(operation, MacVerify),
        }
    }
}

/// Another name of a key, as unique as its name.
#[derive(Clone, PartialEq, Eq, Debug, serde::Serialize, serde::Deserialize, schemars::JsonSchema)]
pub struct Alias {
    pub alias: KeyName,
    /// Number of the alias within its key, never used again.
    pub index: u32,
    #[serde(rename = "type")]
    pub kind: AliasType,
}

/// A relation to another key of the same domain.
#[derive(Clone, PartialEq, Eq, Debug, serde::Serialize, serde::Deserialize)]
pub struct Link {
    #[serde(rename = "type")]
    pub kind: LinkType,
    pub target: Id,
}
