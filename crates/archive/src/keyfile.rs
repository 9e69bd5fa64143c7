//! The exported backup key: a JWE that any JOSE library opens, with the anchor inside (rules D7).

use base64::engine::{Engine, general_purpose::STANDARD};
use keyark_crypto::jwe::{self, JweError};
use keyark_crypto::{Key256, Secret, SecretBytes};
use keyark_model::{DomainId, Id, Time};
use serde_json::{Map, Value};

use crate::anchor::{Anchor, AnchorError};
use crate::header::Scope;
use crate::json;
use crate::passphrase::{self, Typed};

/// The version that is written and read.
pub const VERSION: u64 = 2;
const TYPE: &str = "keyark-backup-key";

/// What the clear header says: claimed until the file is opened.
#[derive(Clone, PartialEq, Eq, Debug, serde::Serialize, serde::Deserialize)]
pub struct KeyFileInfo {
    pub version: u64,
    pub keyid: Id,
    #[serde(rename = "createdAt")]
    pub created_at: Time,
    pub scope: Scope,
    #[serde(rename = "domainID", default, skip_serializing_if = "Option::is_none")]
    pub domain_id: Option<DomainId>,
    /// Of the passphrase, for its owner.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
}

/// An opened key file.
pub struct BackupKeyFile {
    pub info: KeyFileInfo,
    pub key: Key256,
    pub anchor: Anchor,
}

/// Why a key file was not opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum KeyFileError {
    #[error("this is no exported backup key: {0}")]
    NotAKeyFile(&'static str),
    #[error("the backup key file has version {0}; open it with a later version of Keyark")]
    NewerVersion(u64),
    #[error("the passphrase has a typing slip{}; look at it again", .group.map_or_else(String::new, |g| format!(" in group {g}")))]
    TypingSlip { group: Option<usize> },
    #[error("the key file's content contradicts its clear header; do not trust it, export the key again")]
    Contradicts,
    #[error(transparent)]
    Jwe(#[from] JweError),
    #[error(transparent)]
    Anchor(#[from] AnchorError),
}

#[derive(serde::Serialize)]
struct PayloadOut<'a> {
    version: u64,
    id: Id,
    scope: Scope,
    #[serde(rename = "domainID", skip_serializing_if = "Option::is_none")]
    domain_id: Option<DomainId>,
    #[serde(rename = "createdAt")]
    created_at: Time,
    key: &'a str,
    anchor: &'a Anchor,
}

#[derive(serde::Deserialize)]
struct PayloadIn<'a> {
    version: u64,
    id: Id,
    scope: Scope,
    #[serde(rename = "domainID")]
    domain_id: Option<DomainId>,
    #[serde(rename = "createdAt")]
    created_at: Time,
    #[serde(borrow)]
    key: &'a str,
    anchor: Anchor,
}

/// The text of the file: the key and the anchor under the passphrase; takes about a second. `info.version` is set here.
pub fn keyfile_export(info: &KeyFileInfo, key: &Key256, anchor: &Anchor, passphrase: &str) -> String {
    let info = KeyFileInfo { version: VERSION, ..info.clone() };
    let clear = Secret::new(STANDARD.encode(key.expose()));
    let payload = PayloadOut {
        version: VERSION,
        id: info.keyid,
        scope: info.scope,
        domain_id: info.domain_id,
        created_at: info.created_at,
        key: clear.expose(),
        anchor,
    };
    // Room beforehand: a vector that grows leaves copies of the key behind.
    let mut out = SecretBytes::new(Vec::with_capacity(4096 + 1024 * anchor.keys.len()));
    serde_json::to_writer(out.expose_mut(), &payload).expect("the payload has no value that JSON lacks");
    let mut header = match serde_json::to_value(&info) {
        Ok(Value::Object(map)) => map,
        _ => Map::new(),
    };
    header.insert("typ".into(), TYPE.into());
    jwe::encrypt(passphrase.as_bytes(), &header, out.expose())
}

/// What the file says of itself, without the passphrase.
pub fn keyfile_inspect(text: &str) -> Result<KeyFileInfo, KeyFileError> {
    info_of(jwe::protected_header(text)?)
}

/// Opens the file. A generated passphrase may be typed in any case and with or without its hyphens.
pub fn keyfile_open(text: &str, passphrase: &str) -> Result<BackupKeyFile, KeyFileError> {
    keyfile_inspect(text)?;
    let typed = passphrase::read(passphrase);
    let exact = match &typed {
        Typed::Generated(exact) => Some(exact.expose().as_str()),
        Typed::Slip { .. } | Typed::Own => None,
    };
    // As typed second: somebody's own passphrase may happen to have the shape of a generated one.
    let candidates = exact.into_iter().chain((exact != Some(passphrase)).then_some(passphrase));
    let mut outcome = Err(JweError::WrongPassword);
    for password in candidates {
        outcome = jwe::decrypt(text, password.as_bytes());
        if !matches!(outcome, Err(JweError::WrongPassword)) {
            break;
        }
    }
    let (header, payload) = outcome.map_err(|error| match (error, &typed) {
        (JweError::WrongPassword, Typed::Slip { group }) => KeyFileError::TypingSlip { group: *group },
        (error, _) => error.into(),
    })?;
    let info = info_of(header)?;
    parse_payload(info, &payload)
}

/// The content of an opened file, held against its clear header.
pub fn parse_payload(info: KeyFileInfo, payload: &SecretBytes) -> Result<BackupKeyFile, KeyFileError> {
    let not_one = KeyFileError::NotAKeyFile("its content is not one");
    if json::names_once(payload.expose()).is_err() {
        return Err(not_one);
    }
    let inside: PayloadIn<'_> = serde_json::from_slice(payload.expose()).map_err(|_| not_one)?;
    let same = inside.version == info.version
        && inside.id == info.keyid
        && inside.scope == info.scope
        && inside.domain_id == info.domain_id
        && inside.created_at == info.created_at;
    if !same {
        return Err(KeyFileError::Contradicts);
    }
    let mut key = Secret::new([0; 32]);
    match STANDARD.decode_slice(inside.key, key.expose_mut()) {
        Ok(32) => {}
        _ => return Err(KeyFileError::NotAKeyFile("its key has not 32 bytes")),
    }
    inside.anchor.verify()?;
    Ok(BackupKeyFile { info, key, anchor: inside.anchor })
}

fn info_of(header: Map<String, Value>) -> Result<KeyFileInfo, KeyFileError> {
    if header.get("typ").and_then(Value::as_str) != Some(TYPE) {
        return Err(KeyFileError::NotAKeyFile("it is a JWE of something else"));
    }
    match header.get("version").and_then(Value::as_u64) {
        Some(VERSION) => {}
        Some(newer) if newer > VERSION => return Err(KeyFileError::NewerVersion(newer)),
        _ => return Err(KeyFileError::NotAKeyFile("it has no known version")),
    }
    let info: KeyFileInfo = serde_json::from_value(Value::Object(header))
        .map_err(|_| KeyFileError::NotAKeyFile("its clear header lacks keyid, createdAt or scope"))?;
    if (info.scope == Scope::Domain) != info.domain_id.is_some() {
        return Err(KeyFileError::NotAKeyFile("it names a domain exactly when its scope is a domain"));
    }
    Ok(info)
}
