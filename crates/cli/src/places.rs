//! Destinations as a command line names them: folders, buckets, containers, other machines.

use std::collections::HashMap;
use std::path::Path;

use keyark_backup::Destination;
use keyark_backup::destination::{self, Credentials};
use keyark_backup::ssh::known_keys;
use keyark_crypto::SecretBytes;
use keyark_model::protection::Address;
use keyark_model::ssh::{Host, Login};

use crate::failure::Failure;

pub const HELP: &str = "The destination: a folder, s3://bucket/prefix/, azure://account/container/prefix/ or \
                        sftp://user@host/folder/";

/// Opens what a command line names: a folder, a bucket as `s3://bucket/prefix/?region=R&endpoint=URL`, or a container as
/// `azure://account/container/prefix/?endpoint=URL`, or a folder of another machine as `sftp://user@host:port/folder/`. Credentials
/// come from the environment, under the names that other programs use too, where there are such.
pub fn destination(text: &str) -> Result<Box<dyn Destination>, Failure> {
    let address = match text.split_once("://") {
        Some(("s3", _)) => of_s3(text)?,
        Some(("azure", _)) => of_azure(text)?,
        Some(("sftp", _)) => return sftp(text),
        _ => Address::Local { path: text.into() },
    };
    destination::open(&address, None, None).map_err(|e| Failure::NotFound(format!("{text}: {e}")))
}

/// Whether a command line names a destination and not an archive's file.
pub fn is_destination(text: &str) -> bool {
    ["s3://", "azure://", "sftp://"].iter().any(|scheme| text.starts_with(scheme))
        || std::path::Path::new(text).is_dir()
}

fn of_s3(text: &str) -> Result<Address, Failure> {
    let Remote { names: [bucket], prefix, mut settings } = remote(text, "s3://bucket/", &["region", "endpoint"])?;
    let mut setting = |name, variable| settings.remove(name).or_else(|| std::env::var(variable).ok());
    let (region, endpoint) = (setting("region", "AWS_REGION"), setting("endpoint", "AWS_ENDPOINT_URL"));
    Ok(Address::S3 { bucket, prefix, region: region.unwrap_or_else(|| "us-east-1".into()), endpoint })
}

fn of_azure(text: &str) -> Result<Address, Failure> {
    let Remote { names: [account, container], prefix, mut settings } =
        remote(text, "azure://account/container/", &["endpoint"])?;
    Ok(Address::Azure { account, container, prefix, endpoint: settings.remove("endpoint") })
}

/// The machine's key stands in the address or in the user's own known_hosts.
fn sftp(text: &str) -> Result<Box<dyn Destination>, Failure> {
    let Remote { names: [place], prefix, mut settings } = remote(text, "sftp://user@host/", &["hostKey"])?;
    let variable = |name| std::env::var(name).ok().filter(|v| !v.is_empty());
    let (login, secret) = match (variable("KEYARK_SSH_IDENTITY"), variable("KEYARK_SSH_PASSWORD")) {
        (Some(file), _) => (Login::Key, std::fs::read(&file).map_err(Failure::at(Path::new(&file)))?),
        (None, Some(password)) => (Login::Password, password.into_bytes()),
        (None, None) => {
            let what = "set KEYARK_SSH_IDENTITY to the file of a private key, or KEYARK_SSH_PASSWORD";
            return Err(Failure::Usage(format!("{text}: {what}")));
        }
    };
    let (user, place) =
        place.split_once('@').ok_or_else(|| Failure::Usage(format!("{text}: write sftp://user@host/path")))?;
    let (host, port) = place.rsplit_once(':').unwrap_or((place, "22"));
    let port = port.parse().map_err(|_| Failure::Usage(format!("{text}: {port:?} is no port")))?;
    let key = settings.remove("hostKey").or_else(|| known_keys(host, port)).ok_or_else(|| {
        Failure::Usage(format!("{text}: its key is not in known_hosts; connect once with ssh, or add ?hostKey=…"))
    })?;
    let host = Host { host: host.into(), port, key, user: user.into(), login };
    // `/~/` leads to the user's own folder.
    let path = prefix.strip_prefix("~/").map_or_else(|| format!("/{prefix}"), str::to_owned);
    let credentials = Credentials { id: host.user.clone(), secret: SecretBytes::new(secret) };
    let address = Address::Sftp { host, path };
    destination::open(&address, Some(&credentials), None).map_err(|e| Failure::NotFound(format!("{text}: {e}")))
}

/// What stands in an address behind `scheme://`.
struct Remote<const N: usize> {
    names: [String; N],
    prefix: String,
    settings: HashMap<String, String>,
}

/// Reads `scheme://name/…/prefix/?setting=value`; `form` shows the names that there must be, `known` are the settings.
fn remote<const N: usize>(text: &str, form: &str, known: &[&str]) -> Result<Remote<N>, Failure> {
    let wrong = || Failure::Usage(format!("{text}: write {form} or {form}prefix/"));
    let rest = text.split_once("://").ok_or_else(wrong)?.1;
    let (place, query) = rest.split_once('?').unwrap_or((rest, ""));
    let mut parts = place.splitn(N + 1, '/');
    let mut names = [const { String::new() }; N];
    for name in &mut names {
        *name = parts.next().filter(|part| !part.is_empty()).ok_or_else(wrong)?.into();
    }
    let prefix = parts.next().unwrap_or_default();
    if !(prefix.is_empty() || prefix.ends_with('/')) {
        return Err(wrong());
    }
    let settings: HashMap<String, String> = form_urlencoded::parse(query.as_bytes()).into_owned().collect();
    if let Some(other) = settings.keys().find(|name| !known.contains(&name.as_str())) {
        return Err(Failure::Usage(format!("{text}: {other:?} is not {}", known.join(" or "))));
    }
    Ok(Remote { names, prefix: prefix.into(), settings })
}

#[cfg(test)]
mod tests {
    use keyark_model::protection::Address;

    use super::{of_azure, of_s3};

    #[test]
    fn a_bucket_is_named_with_its_prefix_region_and_server() {
        let address =
            of_s3("s3://archives/keyark/?region=eu-central-1&endpoint=http%3A%2F%2F127.0.0.1%3A9000").unwrap();
        let expected = Address::S3 {
            bucket: "archives".into(),
            prefix: "keyark/".into(),
            region: "eu-central-1".into(),
            endpoint: Some("http://127.0.0.1:9000".into()),
        };
        assert_eq!(address, expected);
        for bad in ["s3://", "s3:///prefix/", "s3://bucket/no-slash", "s3://bucket/?password=x"] {
            assert!(of_s3(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_container_is_named_with_its_account_and_prefix() {
        let at = "http://127.0.0.1:9/devstoreaccount1";
        let address = of_azure(&format!("azure://devstoreaccount1/archives/a/b/?endpoint={at}")).unwrap();
        let expected = Address::Azure {
            account: "devstoreaccount1".into(),
            container: "archives".into(),
            prefix: "a/b/".into(),
            endpoint: Some(at.into()),
        };
        assert_eq!(address, expected);
        for bad in ["azure://account", "azure://account//", "azure://a/c/half", "azure://a/c/?region=r"] {
            assert!(of_azure(bad).is_err(), "{bad}");
        }
    }
}
