//! TLS with a local CA, made at first start; its keys are sealed records like every other secret.

use std::net::IpAddr;
use std::sync::Arc;

use keyark_crypto::SecretBytes;
use keyark_model::Time;
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
    SanType,
};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::TlsAcceptor;

/// A certificate in PEM and its private key in PEM.
pub struct Identity {
    pub certificate: String,
    pub key: SecretBytes,
}

/// Certificates could not be made or used.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    #[error("a certificate could not be made: {0}")]
    Make(#[from] rcgen::Error),
    #[error("the certificate or its key cannot be used: {0}")]
    Use(#[from] rustls::Error),
    #[error("the stored certificate or key is damaged")]
    Damaged,
}

fn day(time: Time, plus_days: i64) -> time::OffsetDateTime {
    time::OffsetDateTime::from_unix_timestamp(time.plus_seconds(plus_days * 86_400).unix_seconds())
        .unwrap_or(time::OffsetDateTime::UNIX_EPOCH)
}

fn authority_params(name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, format!("Keyark local CA {name}"));
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params
}

/// A new local CA of this name, good for ten years.
pub fn authority_new(now: Time, name: &str) -> Result<Identity, TlsError> {
    let key = KeyPair::generate()?;
    let mut params = authority_params(name);
    (params.not_before, params.not_after) = (day(now, -1), day(now, 3650));
    let certificate = params.self_signed(&key)?.pem();
    Ok(Identity { certificate, key: SecretBytes::new(key.serialize_pem().into_bytes()) })
}

/// A server certificate of the local CA, good for a year, for these names and addresses.
pub fn server_new(authority: &Identity, name: &str, now: Time, names: &[String]) -> Result<Identity, TlsError> {
    let text = std::str::from_utf8(authority.key.expose()).map_err(|_| TlsError::Damaged)?;
    // The issuer is what the certificate was made of: the same name and key.
    let issuer = Issuer::new(authority_params(name), KeyPair::from_pem(text)?);
    let key = KeyPair::generate()?;
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, "Keyark");
    params.subject_alt_names = names
        .iter()
        .map(|name| match name.parse::<IpAddr>() {
            Ok(ip) => Ok(SanType::IpAddress(ip)),
            Err(_) => name.as_str().try_into().map(SanType::DnsName),
        })
        .collect::<Result<_, _>>()?;
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    (params.not_before, params.not_after) = (day(now, -1), day(now, 397));
    let certificate = params.signed_by(&key, &issuer)?.pem();
    Ok(Identity { certificate, key: SecretBytes::new(key.serialize_pem().into_bytes()) })
}

/// What accepts TLS connections as this server.
pub fn acceptor(server: &Identity) -> Result<TlsAcceptor, TlsError> {
    let chain: Vec<CertificateDer<'static>> = CertificateDer::pem_slice_iter(server.certificate.as_bytes())
        .collect::<Result<_, _>>()
        .map_err(|_| TlsError::Damaged)?;
    let key = PrivateKeyDer::from_pem_slice(server.key.expose()).map_err(|_| TlsError::Damaged)?;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(chain, key)?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(TlsAcceptor::from(Arc::new(config)))
}
