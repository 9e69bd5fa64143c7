//! The root of trust: what wraps the MKEK. Here as a sealed file on the server's own disk.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use crate::{CryptoError, Key256, Secret, SecretBytes, kdf, password, random, wrap};

/// What a root of trust does. Made by the sealed file, later by a PKCS#11 module.
pub trait RootOfTrust: Send + Sync {
    /// Wraps key material for a purpose.
    fn wrap(&self, purpose: &wrap::Purpose<'_>, material: &[u8]) -> Result<Vec<u8>, RootError>;
    /// Opens what `wrap` made.
    fn unwrap(&self, purpose: &wrap::Purpose<'_>, wrapped: &[u8]) -> Result<SecretBytes, RootError>;
    /// The kind of root and the fingerprint of its key.
    fn describe(&self) -> RootDescription;
}

/// What a root of trust is, for status pages and inspection.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct RootDescription {
    /// "file", "file+passphrase" or "pkcs11".
    pub kind: &'static str,
    /// 64 hexadecimal digits: HKDF(root key, "keyark/fp").
    pub fingerprint: String,
}

/// Why a root of trust could not be used.
#[derive(Debug, thiserror::Error)]
pub enum RootError {
    #[error("the root of trust {path} cannot be read or written: {source}; check its owner and mode (0600)")]
    Io { path: PathBuf, source: std::io::Error },
    #[error("{path} is no root-of-trust file of this product; restore the right file, or recover on an empty machine")]
    Damaged { path: PathBuf },
    #[error("{path} is sealed with a passphrase; set it with KEYARK_ROOT_PASSPHRASE_FILE")]
    PassphraseNeeded { path: PathBuf },
    #[error("the passphrase does not open {path}")]
    PassphraseWrong { path: PathBuf },
    #[error("the root of trust does not open this store: it belongs to another one")]
    Foreign(#[from] CryptoError),
}

/// A root key in a file of mode 0600, optionally sealed with a passphrase (Argon2id, AES-KWP).
pub struct FileRoot {
    key: Key256,
    sealed: bool,
}

#[derive(serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct RootFile {
    keyark_root: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    salt: Option<String>,
    key: String,
}

impl FileRoot {
    /// Makes a new root key and writes its file; refuses to overwrite one.
    pub fn create(path: &Path, passphrase: Option<&SecretBytes>) -> Result<FileRoot, RootError> {
        use base64::Engine as _;
        let b64 = base64::engine::general_purpose::STANDARD;
        let io = |source| RootError::Io { path: path.into(), source };
        let key = random::secret::<32>();
        let (salt, stored) = match passphrase {
            None => (None, Secret::new(b64.encode(key.expose()))),
            Some(p) => {
                let salt = random::bytes::<16>();
                let kek = password::stretch(p, &salt);
                let wrapped = wrap::kwp_wrap(kek.expose(), key.expose())?;
                (Some(b64.encode(salt)), Secret::new(b64.encode(wrapped)))
            }
        };
        let file = RootFile { keyark_root: 1, salt, key: stored.expose().clone() };
        let text = Secret::new(serde_json::to_vec(&file).expect("strings serialise"));
        drop(Secret::new(file.key));
        // Written under another name and linked when whole: a kill leaves no half of a root key, and an existing one is
        // never overwritten.
        let making = path.with_extension(format!("{:016x}", u64::from_be_bytes(random::bytes())));
        let mut options = fs::OpenOptions::new();
        options.write(true).create_new(true);
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let written = options
            .open(&making)
            .and_then(|mut out| out.write_all(text.expose()).and_then(|()| out.sync_all()))
            .and_then(|()| fs::hard_link(&making, path));
        let _ = fs::remove_file(&making);
        written.map_err(io)?;
        let folder = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
        fs::File::open(folder).and_then(|f| f.sync_all()).map_err(io)?;
        Ok(FileRoot { key, sealed: passphrase.is_some() })
    }

    /// Reads the root key.
    pub fn open(path: &Path, passphrase: Option<&SecretBytes>) -> Result<FileRoot, RootError> {
        use base64::Engine as _;
        let b64 = base64::engine::general_purpose::STANDARD;
        let damaged = || RootError::Damaged { path: path.into() };
        let text = SecretBytes::new(fs::read(path).map_err(|source| RootError::Io { path: path.into(), source })?);
        let file: RootFile = serde_json::from_slice(text.expose()).map_err(|_| damaged())?;
        let stored = Secret::new(file.key);
        let bytes = SecretBytes::new(b64.decode(stored.expose()).map_err(|_| damaged())?);
        if file.keyark_root != 1 {
            return Err(damaged());
        }
        let Some(salt) = file.salt else {
            let key = Key256::from_slice(bytes.expose()).ok_or_else(damaged)?;
            return Ok(FileRoot { key, sealed: false });
        };
        let salt = b64.decode(salt).map_err(|_| damaged())?;
        let passphrase = passphrase.ok_or_else(|| RootError::PassphraseNeeded { path: path.into() })?;
        let kek = password::stretch(passphrase, &salt);
        let key = wrap::kwp_unwrap(kek.expose(), bytes.expose())
            .map_err(|_| RootError::PassphraseWrong { path: path.into() })?;
        let key = Key256::from_slice(key.expose()).ok_or_else(damaged)?;
        Ok(FileRoot { key, sealed: true })
    }
}

impl RootOfTrust for FileRoot {
    fn wrap(&self, purpose: &wrap::Purpose<'_>, material: &[u8]) -> Result<Vec<u8>, RootError> {
        Ok(wrap::wrap(&self.key, purpose, material))
    }

    fn unwrap(&self, purpose: &wrap::Purpose<'_>, wrapped: &[u8]) -> Result<SecretBytes, RootError> {
        Ok(wrap::unwrap(&self.key, purpose, wrapped)?)
    }

    fn describe(&self) -> RootDescription {
        RootDescription {
            kind: if self.sealed { "file+passphrase" } else { "file" },
            fingerprint: fingerprint(&self.key),
        }
    }
}

/// HKDF(key, "keyark/fp") as 64 hexadecimal digits: names a key without showing anything of it (rules C3).
pub fn fingerprint(key: &Key256) -> String {
    kdf::fingerprint(key.expose()).to_string()
}

#[cfg(test)]
mod tests {
    use super::{FileRoot, RootError, RootOfTrust};
    use crate::{SecretBytes, wrap::Purpose};

    #[test]
    fn a_root_file_is_private_opens_again_and_needs_its_passphrase() {
        let dir = std::env::temp_dir().join(format!("keyark-root-{:x?}", crate::random::bytes::<8>()));
        std::fs::create_dir(&dir).unwrap();
        let purpose = Purpose { name: "mkek", context: &[0; 16], domain: &[0; 16], generation: 1 };
        let pass = SecretBytes::new(b"correct horse".to_vec());
        for passphrase in [None, Some(&pass)] {
            let path = dir.join(if passphrase.is_some() { "sealed" } else { "plain" });
            let made = FileRoot::create(&path, passphrase).unwrap();
            let wrapped = made.wrap(&purpose, b"x").unwrap();
            assert!(FileRoot::create(&path, passphrase).is_err(), "an existing root is never overwritten");
            let opened = FileRoot::open(&path, passphrase).unwrap();
            assert_eq!(opened.unwrap(&purpose, &wrapped).unwrap().expose(), b"x");
            assert_eq!(opened.describe(), made.describe());
            let mode = std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(&path).unwrap().permissions());
            assert_eq!(mode & 0o777, 0o600);
        }
        assert!(matches!(FileRoot::open(&dir.join("sealed"), None), Err(RootError::PassphraseNeeded { .. })));
        let wrong = SecretBytes::new(b"wrong".to_vec());
        assert!(matches!(FileRoot::open(&dir.join("sealed"), Some(&wrong)), Err(RootError::PassphraseWrong { .. })));
        std::fs::remove_dir_all(dir).unwrap();
    }
}
