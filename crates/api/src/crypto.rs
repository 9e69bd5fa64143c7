//! Cryptography with keys: one item, or a batch of up to 5 000 with a result per item. Binary values are standard base64.

use std::borrow::Cow;

use arrayvec::ArrayString;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::{ErrorBody, endpoint};

/// The largest batch.
pub const LARGEST_BATCH: usize = 5000;

/// 12 bytes in base64.
pub type Nonce = ArrayString<16>;
/// 16 bytes in base64.
pub type Tag = ArrayString<24>;

/// An answer for one item, or one per item of a batch.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum OneOrMany<T> {
    Many { items: Vec<ItemResult<T>> },
    One(T),
}

/// A result, or why this item failed; the others of the batch are not touched by it.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum ItemResult<T> {
    Failed { error: ErrorBody },
    Done(T),
}

macro_rules! crypto {
    ($($(#[$doc:meta])* $request:ident / $item:ident => $result:ident {
        $($(#[$field_doc:meta])* $field:ident: $ty:ty,)*
    } -> { $($(#[$out_doc:meta])* $out:ident: $out_ty:ty,)* })*) => {
        $($(#[$doc])*
        #[derive(Debug, Default, Serialize, Deserialize, JsonSchema)]
        #[serde(rename_all = "camelCase", deny_unknown_fields)]
        pub struct $request {
            /// Id, name or alias of the key.
            #[serde(alias = "keyName")]
            pub id: String,
            /// How to read `id`: id, name or alias.
            #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
            pub kind: Option<String>,
            /// From 0; -1 or absent: the newest.
            #[serde(skip_serializing_if = "Option::is_none")]
            pub version: Option<i64>,
            $($(#[$field_doc])* #[serde(default, skip_serializing_if = "Option::is_none")] pub $field: Option<$ty>,)*
            /// Up to 5 000 items instead of the fields above; what an item lacks is taken from them.
            #[serde(default, skip_serializing_if = "Option::is_none")]
            pub items: Option<Vec<$item>>,
        }

        /// One item of a batch.
        #[derive(Debug, Default, Clone, Serialize, Deserialize, JsonSchema)]
        #[serde(rename_all = "camelCase", deny_unknown_fields)]
        pub struct $item {
            #[serde(default, skip_serializing_if = "Option::is_none")]
            pub version: Option<i64>,
            $($(#[$field_doc])* #[serde(default, skip_serializing_if = "Option::is_none")] pub $field: Option<$ty>,)*
        }

        impl $request {
            /// The items, each completed from the request; whether it was a batch.
            pub fn take_items(&mut self) -> (Vec<$item>, bool) {
                match self.items.take() {
                    None => (vec![$item { version: self.version, $($field: self.$field.take(),)* }], false),
                    Some(mut items) => {
                        for item in &mut items {
                            item.version = item.version.or(self.version);
                            $(if item.$field.is_none() { item.$field = self.$field.clone(); })*
                        }
                        (items, true)
                    }
                }
            }
        }

        /// What came of one item.
        #[derive(Debug, Default, Serialize, Deserialize, JsonSchema)]
        #[serde(rename_all = "camelCase")]
        pub struct $result {
            /// The key's id.
            pub id: Uuid,
            pub version: u32,
            $($(#[$out_doc])* #[serde(default, skip_serializing_if = "Option::is_none")] pub $out: Option<$out_ty>,)*
        })*
    };
}

crypto! {
    /// AES-GCM, ChaCha20-Poly1305 or RSA-OAEP.
    Encrypt / EncryptItem => Encrypted {
        plaintext: String,
        /// Associated data: authenticated, not encrypted.
        aad: String,
        /// gcm (default).
        mode: String,
        /// oaep256 (default), oaep384 or oaep512, for RSA.
        pad: String,
    } -> { mode: Cow<'static, str>, iv: Nonce, tag: Tag, ciphertext: String, }

    /// The answer of encrypt, posted back.
    Decrypt / DecryptItem => Decrypted {
        ciphertext: String,
        iv: String,
        tag: String,
        aad: String,
        mode: String,
        pad: String,
    } -> { plaintext: String, }

    /// Decrypts and encrypts with the newest version, without showing the plaintext.
    Reencrypt / ReencryptItem => Reencrypted {
        ciphertext: String,
        iv: String,
        tag: String,
        aad: String,
        mode: String,
        pad: String,
    } -> { mode: Cow<'static, str>, iv: Nonce, tag: Tag, ciphertext: String, }

    /// A fresh data key, in clear and encrypted under the key.
    DataKey / DataKeyItem => DataKeyMade {
        /// Bits: 128, 192 or 256 (default).
        size: u32,
        aad: String,
        /// False: only the encrypted form is answered.
        include_plaintext: bool,
    } -> { plaintext: String, mode: Cow<'static, str>, iv: Nonce, tag: Tag, ciphertext: String, }

    /// RSA (PSS by default), ECDSA or Ed25519.
    Sign / SignItem => Signed {
        data: String,
        /// SHA-256, SHA-384 or SHA-512; default by key.
        hash_algo: String,
        /// PSS (default) or PKCS1, for RSA.
        pad: String,
        /// der (default) or p1363, for EC.
        format: String,
    } -> { signature: String, /** The signature in hexadecimal. */ data: String, }

    Verify / VerifyItem => Verified {
        data: String,
        signature: String,
        hash_algo: String,
        pad: String,
        format: String,
    } -> { verified: bool, }

    /// HMAC.
    Mac / MacItem => MacMade {
        data: String,
    } -> { mac: String, /** The MAC in hexadecimal. */ data: String, }

    MacVerify / MacVerifyItem => MacVerified {
        data: String,
        mac: String,
    } -> { verified: bool, }

    /// AES-KWP (RFC 5649), or RSA-OAEP with SHA-256.
    Wrap / WrapItem => Wrapped {
        material: String,
    } -> { wrapped: String, }

    Unwrap / UnwrapItem => Unwrapped {
        wrapped: String,
    } -> { material: String, }

    /// ML-KEM: a shared secret and its ciphertext.
    Encapsulate / EncapsulateItem => Encapsulated {
    } -> { ciphertext: String, shared_secret: String, }

    Decapsulate / DecapsulateItem => Decapsulated {
        ciphertext: String,
    } -> { shared_secret: String, }
}

/// Random bytes from the server's DRBG.
#[derive(Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Random {
    /// 1 to 65 536, default 32.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes: Option<u32>,
    /// base64 (default) or hex.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub encoding: Option<String>,
}

#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct RandomBytes {
    pub data: String,
}

endpoint! {
    encrypt: Encrypt => OneOrMany<Encrypted>, POST "/v1/crypto/encrypt", Json 200, KeyUse, "crypto encrypt", "Encrypts.";
    decrypt: Decrypt => OneOrMany<Decrypted>, POST "/v1/crypto/decrypt", Json 200, KeyUse, "crypto decrypt", "Decrypts.";
    reencrypt: Reencrypt => OneOrMany<Reencrypted>, POST "/v1/crypto/reencrypt", Json 200, KeyUse, "crypto reencrypt", "Encrypts anew with the newest version.";
    data_key: DataKey => OneOrMany<DataKeyMade>, POST "/v1/crypto/datakey", Json 200, KeyUse, "crypto datakey", "Makes a data key.";
    sign: Sign => OneOrMany<Signed>, POST "/v1/crypto/sign", Json 200, KeyUse, "crypto sign", "Signs.";
    verify: Verify => OneOrMany<Verified>, POST "/v1/crypto/verify" | "/v1/crypto/signv", Json 200, KeyUse, "crypto verify", "Verifies a signature.";
    mac: Mac => OneOrMany<MacMade>, POST "/v1/crypto/mac", Json 200, KeyUse, "crypto mac", "Makes a MAC.";
    mac_verify: MacVerify => OneOrMany<MacVerified>, POST "/v1/crypto/macv" | "/v1/crypto/mac-verify", Json 200, KeyUse, "crypto macverify", "Verifies a MAC.";
    wrap: Wrap => OneOrMany<Wrapped>, POST "/v1/crypto/wrap", Json 200, KeyUse, "crypto wrap", "Wraps key material.";
    unwrap: Unwrap => OneOrMany<Unwrapped>, POST "/v1/crypto/unwrap", Json 200, KeyUse, "crypto unwrap", "Unwraps key material.";
    random: Random => RandomBytes, POST "/v1/crypto/random", Json 200, Authenticated, "crypto random", "Answers random bytes.";
    encapsulate: Encapsulate => OneOrMany<Encapsulated>, POST "/v1/crypto/encapsulate", Json 200, KeyUse, "crypto encapsulate", "Encapsulates a shared secret.";
    decapsulate: Decapsulate => OneOrMany<Decapsulated>, POST "/v1/crypto/decapsulate", Json 200, KeyUse, "crypto decapsulate", "Decapsulates a shared secret.";
}
