//! Whom to trust: the authority that signed the server's certificate, never a built-in list, never anybody.

use std::path::Path;
use std::sync::Arc;

use keyark_api::address::is_loopback;
use keyark_api::client::Client;
use ureq::tls::{Certificate, PemItem, RootCerts, TlsConfig, parse_pem};

use crate::failure::Failure;
use crate::profile::{Connection, DEFAULT_DATA};

/// A client that nobody has logged in with.
pub fn client(connection: &Connection) -> Result<Client, Failure> {
    let url = connection.url.as_str();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = TlsConfig::builder().unversioned_rustls_crypto_provider(provider);
    let tls = match url.split_once("://") {
        // The list of authorities stays empty: nothing is encrypted, so nobody is to be believed.
        Some(("http", _)) if is_loopback(url) => builder.root_certs(RootCerts::new_with_certs(&[])).build(),
        Some(("http", _)) => {
            return Err(Failure::Refused(format!(
                "{url}: plain HTTP shows passwords and keys to the network, so it is for this machine only: use https://"
            )));
        }
        Some(("https", _)) if connection.insecure => {
            if !is_loopback(url) {
                return Err(Failure::Refused(format!(
                    "--insecure is for this machine only: for {url} give the authority's certificate with --ca"
                )));
            }
            eprintln!("Warning: the certificate of {url} is not checked.");
            builder.root_certs(RootCerts::new_with_certs(&[])).disable_verification(true).build()
        }
        Some(("https", _)) => builder.root_certs(RootCerts::from(authorities(connection)?)).build(),
        _ => return Err(Failure::Usage(format!("{url:?} is no address: it is like https://host:9443"))),
    };
    Ok(Client::new(url, tls))
}

fn authorities(connection: &Connection) -> Result<Vec<Certificate<'static>>, Failure> {
    let beside = Path::new(DEFAULT_DATA).join("ca.pem");
    let path: &Path = match &connection.ca {
        Some(path) => path.as_path(),
        None if beside.exists() => &beside,
        None => {
            return Err(Failure::Usage(format!(
                "nobody is trusted for {} yet: copy ca.pem from the server's data folder, and name it once with \
                 `keyark login {} --ca FILE`",
                connection.url, connection.url
            )));
        }
    };
    let pem = std::fs::read(path).map_err(Failure::at(path))?;
    let mut found = Vec::new();
    for item in parse_pem(&pem) {
        match item {
            Ok(PemItem::Certificate(certificate)) => found.push(certificate),
            Ok(_) => {}
            Err(e) => return Err(Failure::Damaged(format!("{}: {e}", path.display()))),
        }
    }
    if found.is_empty() {
        return Err(Failure::Damaged(format!("{} holds no certificate in PEM", path.display())));
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::client;
    use crate::failure::Failure;
    use crate::profile::Connection;

    fn connection(url: &str, insecure: bool) -> Connection {
        Connection {
            profile: "default".into(),
            url: url.into(),
            user: None,
            domain: None,
            auth_domain: None,
            ca: Some("/nowhere/ca.pem".into()),
            anchor: None,
            insecure,
            output: None,
        }
    }

    #[test]
    fn nothing_goes_out_unprotected_or_to_a_stranger() {
        assert!(client(&connection("http://127.0.0.1:9443", false)).is_ok());
        assert!(client(&connection("https://[::1]:9443", true)).is_ok());
        for (url, insecure) in
            [("http://example.org", false), ("http://example.org", true), ("https://example.org", true)]
        {
            assert!(matches!(client(&connection(url, insecure)), Err(Failure::Refused(_))), "{url}");
        }
        assert!(matches!(client(&connection("https://example.org", false)), Err(Failure::File { .. })));
        assert!(matches!(client(&connection("example.org", false)), Err(Failure::Usage(_))));
    }
}
