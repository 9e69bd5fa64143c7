//! Where a destination is, and who this system is there, out of what a request says.

use std::path::Path;

use keyark_api::destinations::DestinationCreate;
use keyark_backup::destination::objects::is_signature;
use keyark_backup::destination::{self, Credentials};
use keyark_backup::ssh::host_keys;
use keyark_model::protection::Address;
use keyark_model::ssh::{Host, Login};

use crate::app::error::{AppError, Result};

/// The kinds of destination, in the words of the wire.
const KINDS: [&str; 4] = ["local", "s3", "azure", "sftp"];

pub(super) fn not_of(kind: &str, field: &str) -> AppError {
    AppError::invalid(format!("a destination of the kind {kind} has no `{field}`"))
}

/// A field that was given although destinations of this kind have none such.
fn foreign(r: &DestinationCreate, kind: &str) -> Option<&'static str> {
    let fields: [(_, _, &[&str]); 11] = [
        ("path", r.path.is_some(), &["local", "sftp"]),
        ("bucket", r.bucket.is_some(), &["s3"]),
        ("prefix", r.prefix.is_some(), &["s3", "azure"]),
        ("region", r.region.is_some(), &["s3"]),
        ("endpoint", r.endpoint.is_some(), &["s3", "azure"]),
        ("accountName", r.account_name.is_some(), &["azure"]),
        ("container", r.container.is_some(), &["azure"]),
        ("host", r.host.is_some(), &["sftp"]),
        ("port", r.port.is_some(), &["sftp"]),
        ("hostKey", r.host_key.is_some(), &["sftp"]),
        ("username", r.username.is_some(), &["sftp"]),
    ];
    let given = fields.iter().find(|(_, given, kinds)| *given && !kinds.contains(&kind));
    given.map(|(name, ..)| *name)
}

pub(super) fn address_of(r: &DestinationCreate) -> Result<Address> {
    let kind = r.kind.as_deref().unwrap_or("local");
    if let Some(field) = foreign(r, kind).filter(|_| KINDS.contains(&kind)) {
        return Err(not_of(kind, field));
    }
    let prefix = || match r.prefix.clone().unwrap_or_default() {
        prefix if prefix.is_empty() || destination::check_folder(&prefix).is_ok() => Ok(prefix),
        _ => Err(AppError::invalid("prefix is a path of letters, digits, - _ and . with a slash at its end")),
    };
    let missing = |fields: &str| AppError::invalid(format!("a destination of the kind {kind} needs {fields}"));
    match kind {
        "local" => match r.path.clone().filter(|path| Path::new(path).is_absolute()) {
            Some(path) => Ok(Address::Local { path }),
            None => Err(missing("a `path`: a folder, from the root of the file system")),
        },
        "s3" => {
            let bucket = r.bucket.clone().ok_or_else(|| missing("a `bucket`"))?;
            let region = r.region.clone().unwrap_or_else(|| "us-east-1".into());
            Ok(Address::S3 { bucket, prefix: prefix()?, region, endpoint: r.endpoint.clone() })
        }
        "azure" => {
            let names = r.account_name.clone().zip(r.container.clone());
            let (account, container) = names.ok_or_else(|| missing("`accountName` and `container`"))?;
            Ok(Address::Azure { account, container, prefix: prefix()?, endpoint: r.endpoint.clone() })
        }
        "sftp" => {
            let given = r.host.clone().zip(r.username.clone()).zip(r.host_key.clone()).zip(r.path.clone());
            let (((host, user), key), path) = given.ok_or_else(|| {
                missing("`host`, `username`, `path` and `hostKey`, which ssh-keyscan shows: compare it")
            })?;
            host_keys(&key).map_err(|e| AppError::invalid(format!("hostKey: {e}")))?;
            let login = if r.password.is_some() { Login::Password } else { Login::Key };
            let host = Host { host, port: r.port.unwrap_or(22), key, user, login };
            if path.is_empty() || [&host.host, &host.user, &path].iter().any(|t| t.chars().any(char::is_control)) {
                return Err(AppError::invalid("host, username and path are one line each, and not empty"));
            }
            Ok(Address::Sftp { host, path })
        }
        _ => Err(AppError::invalid(format!("kind is one of {}", KINDS.join(", ")))),
    }
}

/// The fields of credentials that a kind has.
fn credential_fields(address: &Address) -> &'static [&'static str] {
    match address {
        Address::Local { .. } => &[],
        Address::S3 { .. } => &["accessKeyId", "secretAccessKey"],
        Address::Azure { .. } => &["accountKey", "sasToken"],
        Address::Sftp { .. } => &["password"],
    }
}

/// What says who this system is at a destination, in words.
pub(super) fn credential_names(address: &Address) -> String {
    let joint = if matches!(address, Address::Azure { .. }) { " or " } else { " and " };
    credential_fields(address).join(joint)
}

/// Credentials as they were pasted, if any were.
pub(super) fn credentials_of(address: &Address, given: [(&str, Option<String>); 5]) -> Result<Option<Credentials>> {
    let fields = credential_fields(address);
    let given: Vec<(&str, String)> = given.into_iter().filter_map(|(name, value)| Some((name, value?))).collect();
    if let Some((name, _)) = given.iter().find(|(name, _)| !fields.contains(name)) {
        return Err(not_of(address.kind(), name));
    }
    let names = credential_names(address);
    let (id, secret) = match (address, &given[..]) {
        (_, []) => return Ok(None),
        (Address::S3 { .. }, [(_, id), (_, secret)]) => (id, secret),
        (Address::Azure { account, .. }, [(name, secret)]) if is_signature(secret) == (*name == "sasToken") => {
            (account, secret)
        }
        (Address::Azure { .. }, [(name, _)]) => {
            return Err(AppError::invalid(format!(
                "{name} does not look like one: a sasToken has sig= in it, an accountKey has not"
            )));
        }
        (Address::Sftp { host, .. }, [_]) if host.login == Login::Key => {
            return Err(AppError::invalid(
                "this destination is reached with the system's key; add another one for a password",
            ));
        }
        (Address::Sftp { host, .. }, [(_, password)]) => (&host.user, password),
        (Address::Azure { .. }, _) => return Err(AppError::invalid(format!("{names}: one of them is enough"))),
        _ => return Err(AppError::invalid(format!("{names} are given together"))),
    };
    let credentials = Credentials::pasted(id, secret);
    Ok(Some(credentials.ok_or_else(|| AppError::invalid(format!("{names}: one line each, and not empty")))?))
}

/// Whether two places are one, or one lies in the other: their objects would be taken for each other's.
pub(super) fn nested(a: &Address, b: &Address) -> bool {
    match (a, b) {
        (Address::Local { path: a }, Address::Local { path: b }) => {
            let real = |p: &str| Path::new(p).canonicalize().unwrap_or_else(|_| p.into());
            let (a, b) = (real(a), real(b));
            a.starts_with(&b) || b.starts_with(&a)
        }
        (Address::S3 { bucket, prefix, endpoint, .. }, Address::S3 { bucket: b, prefix: p, endpoint: e, .. }) => {
            (bucket, endpoint) == (b, e) && (prefix.starts_with(p.as_str()) || p.starts_with(prefix.as_str()))
        }
        (
            Address::Azure { account, container, prefix, endpoint },
            Address::Azure { account: a, container: c, prefix: p, endpoint: e },
        ) => (account, container, endpoint) == (a, c, e) && (prefix.starts_with(p) || p.starts_with(prefix)),
        (Address::Sftp { host, path }, Address::Sftp { host: h, path: p }) => {
            let whole = |path: &str| format!("{}/", path.trim_end_matches('/'));
            (&host.host, host.port) == (&h.host, h.port)
                && (whole(path).starts_with(&whole(p)) || whole(p).starts_with(&whole(path)))
        }
        _ => false,
    }
}
