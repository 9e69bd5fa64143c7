//! SSH to other machines: a connection to a host whose key is pinned, for SFTP and for the older `scp`.

mod scp;
pub mod transfer;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use keyark_crypto::{Secret, SecretBytes, random};
use keyark_model::ssh::{Host, Login};
use russh::client::{self, AuthResult, Handle};
use russh::keys::ssh_key::private::{Ed25519Keypair, KeypairData};
use russh::keys::ssh_key::{HashAlg, LineEnding};
use russh::keys::{PrivateKey, PrivateKeyWithHashAlg, PublicKey, PublicKeyOrCertificate};
use russh_sftp::client::SftpSession;
use tokio::time::timeout;

use crate::destination::DestinationError;

/// Until a connection must stand, with its login.
const CONNECT: Duration = Duration::from_secs(30);
/// Until one request over it must be answered.
const ANSWER: Duration = Duration::from_secs(60);
/// What the other side may send before it must hear from us.
const WINDOW: u32 = 16 << 20;
/// What a server may take in one packet of SFTP; OpenSSH's own limit, and older servers say theirs.
const PACKET: u32 = 261_120;

/// The public keys that pin a host.
pub fn host_keys(text: &str) -> Result<Vec<PublicKey>, String> {
    let lines = text.lines().map(str::trim).filter(|l| !l.is_empty() && !l.starts_with('#'));
    let key = |line: &str| {
        let from = line.split_whitespace().position(|word| word.starts_with("ssh-") || word.starts_with("ecdsa-"));
        let words: Vec<&str> = line.split_whitespace().skip(from.unwrap_or(0)).collect();
        PublicKey::from_openssh(&words.join(" ")).map_err(|_| {
            format!("{line:?} is no public key of a host: write it as ssh-keyscan shows it, like \"ssh-ed25519 AAAA…\"")
        })
    };
    let keys = lines.map(key).collect::<Result<Vec<_>, _>>()?;
    let usable: Vec<PublicKey> = keys.into_iter().filter(|k| !k.algorithm().is_rsa()).collect();
    match usable.is_empty() {
        true => Err("a host is pinned by a public key of the kind ssh-ed25519 or ecdsa-sha2-…".into()),
        false => Ok(usable),
    }
}

/// The keys of a host that this machine's user knows already, one a line.
pub fn known_keys(host: &str, port: u16) -> Option<String> {
    let known = russh::keys::known_hosts::known_host_keys(host, port).ok()?;
    let lines: Vec<String> = known.iter().filter_map(|(_, key)| key.to_openssh().ok()).collect();
    Some(lines.join("\n")).filter(|lines| !lines.is_empty())
}

/// A new key of this system: the private part in OpenSSH's format, and the public line.
pub fn key_new(comment: &str) -> (SecretBytes, String) {
    let pair = Ed25519Keypair::from_seed(random::secret::<32>().expose());
    let key = PrivateKey::new(KeypairData::from(pair), comment).expect("an Ed25519 pair is a key");
    let text = key.to_openssh(LineEnding::LF).expect("it can be written");
    let public = key.public_key().to_openssh().expect("it can be written");
    (SecretBytes::new(text.as_bytes().to_vec()), public)
}

/// The fingerprint of a public line, as `ssh-keygen -l` shows it.
pub fn fingerprint(public: &str) -> String {
    PublicKey::from_openssh(public).map(|k| k.fingerprint(HashAlg::Sha256).to_string()).unwrap_or_default()
}

/// Accepts the pinned keys, and remembers what it was shown otherwise.
struct Pinned {
    keys: Vec<PublicKey>,
    other: Arc<Mutex<Option<String>>>,
}

impl client::Handler for Pinned {
    type Error = russh::Error;

    async fn check_server_key(&mut self, shown: &PublicKeyOrCertificate) -> Result<bool, russh::Error> {
        let PublicKeyOrCertificate::PublicKey { key, .. } = shown else { return Ok(false) };
        let good = self.keys.iter().any(|pinned| pinned.key_data() == key.key_data());
        if !good {
            let line = key.to_openssh().unwrap_or_default();
            *self.other.lock().unwrap_or_else(PoisonError::into_inner) = Some(line);
        }
        Ok(good)
    }
}

/// An open connection, logged in.
pub struct Connection {
    handle: Handle<Pinned>,
}

impl Connection {
    /// Connects and logs in. The host's key is checked before anything of ours goes there.
    pub async fn open(host: &Host, secret: &SecretBytes) -> Result<Connection, DestinationError> {
        match timeout(CONNECT, Connection::begin(host, secret)).await {
            Ok(outcome) => outcome,
            Err(_) => Err(DestinationError::Unreachable(format!("{} did not answer in time", host.shown()))),
        }
    }

    async fn begin(host: &Host, secret: &SecretBytes) -> Result<Connection, DestinationError> {
        let keys = host_keys(&host.key).map_err(DestinationError::Other)?;
        let mut config = client::Config {
            window_size: WINDOW,
            keepalive_interval: Some(Duration::from_secs(20)),
            nodelay: true,
            ..client::Config::default()
        };
        // Only what is pinned can be checked: the host must show a key of that kind.
        let mut kinds: Vec<_> = keys.iter().map(PublicKey::algorithm).collect();
        kinds.dedup();
        config.preferred.key = kinds.into();
        let other = Arc::new(Mutex::new(None));
        let pinned = Pinned { keys, other: other.clone() };
        let connected = client::connect(Arc::new(config), (host.host.as_str(), host.port), pinned).await;
        let mut handle = connected.map_err(|e| {
            let shown = other.lock().unwrap_or_else(PoisonError::into_inner).take();
            refused(host, e, shown)
        })?;
        let lost = |e: russh::Error| DestinationError::Unreachable(format!("{}: {e}", host.shown()));
        let secret = text(secret)?;
        let answer = match host.login {
            Login::Password => handle.authenticate_password(&host.user, secret.expose()).await.map_err(lost)?,
            Login::Key => {
                let key = PrivateKey::from_openssh(secret.expose())
                    .map_err(|_| DestinationError::Denied("the private key cannot be read".into()))?;
                let key = PrivateKeyWithHashAlg::new(Arc::new(key), Some(HashAlg::Sha512));
                handle.authenticate_publickey(&host.user, key).await.map_err(lost)?
            }
        };
        match answer {
            AuthResult::Success => Ok(Connection { handle }),
            AuthResult::Failure { .. } => Err(DestinationError::Denied(format!(
                "{} does not let {} in with this {}",
                host.shown(),
                host.user,
                match host.login {
                    Login::Password => "password",
                    Login::Key => "key; its public part belongs into authorized_keys there",
                }
            ))),
        }
    }

    /// Whether it ended.
    pub fn is_closed(&self) -> bool {
        self.handle.is_closed()
    }

    /// A session of SFTP on it.
    pub async fn sftp(&self) -> Result<SftpSession, DestinationError> {
        let lost = |e: russh::Error| DestinationError::Unreachable(e.to_string());
        let channel = self.handle.channel_open_session().await.map_err(lost)?;
        channel.request_subsystem(true, "sftp").await.map_err(lost)?;
        let config = russh_sftp::client::Config {
            max_write_packet_len: PACKET,
            max_concurrent_reads: 64,
            max_concurrent_writes: 32,
            request_timeout_secs: ANSWER.as_secs(),
            ..russh_sftp::client::Config::default()
        };
        let session = SftpSession::new_with_config(channel.into_stream(), config).await;
        session.map_err(|e| DestinationError::Unreachable(format!("the host gives no SFTP: {e}")))
    }

    /// Runs a command there and speaks with it.
    async fn run(&self, command: &str) -> Result<russh::ChannelStream<client::Msg>, DestinationError> {
        let lost = |e: russh::Error| DestinationError::Unreachable(e.to_string());
        let channel = self.handle.channel_open_session().await.map_err(lost)?;
        channel.exec(true, command).await.map_err(lost)?;
        Ok(channel.into_stream())
    }
}

fn text(secret: &SecretBytes) -> Result<Secret<String>, DestinationError> {
    match std::str::from_utf8(secret.expose()) {
        Ok(text) => Ok(Secret::new(text.to_owned())),
        Err(_) => Err(DestinationError::Denied("the secret is no text".into())),
    }
}

fn refused(host: &Host, e: russh::Error, shown: Option<String>) -> DestinationError {
    let at = host.shown();
    match (e, shown) {
        (_, Some(line)) => DestinationError::Other(format!(
            "{at} is not the host that was pinned: it shows {line} ({}). If that is right, give this key; if not, somebody stands between",
            fingerprint(&line)
        )),
        (russh::Error::NoCommonAlgo { .. }, _) => DestinationError::Other(format!(
            "{at} shows no key of the pinned kind; ssh-keyscan lists the keys that it has"
        )),
        (e, None) => DestinationError::Unreachable(format!("{at}: {e}")),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{fingerprint, host_keys, key_new};

    #[test]
    fn a_new_key_is_one_that_a_host_can_be_told_and_a_host_may_have() {
        let (private, public) = key_new("keyark-test");
        assert!(private.expose().starts_with(b"-----BEGIN OPENSSH PRIVATE KEY-----"));
        assert!(public.starts_with("ssh-ed25519 ") && public.ends_with(" keyark-test"));
        assert_eq!(host_keys(&format!("# x\n\nhost,10.0.0.1 {public}\n")).map(|k| k.len()), Ok(1));
        assert!(fingerprint(&public).starts_with("SHA256:") && fingerprint("nonsense").is_empty());
        assert_ne!(key_new("keyark-test").1, public);
    }

    proptest! {
        #[test]
        fn what_is_no_public_key_pins_nothing(text in "(ssh-ed25519|ecdsa-sha2-nistp256|ssh-rsa|h)?[ -~\n]{0,120}") {
            if let Ok(keys) = host_keys(&text) {
                prop_assert!(!keys.is_empty() && keys.iter().all(|k| k.to_openssh().is_ok_and(|line| line.starts_with("ssh-") || line.starts_with("ecdsa-"))));
            }
        }
    }
}
