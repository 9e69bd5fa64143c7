//! Containers of Azure Blob, and of servers that speak it.

use std::sync::Arc;

use keyark_model::Time;
use object_store::HeaderMap;
use object_store::azure::{AzureAuthorizer, AzureConfigKey, AzureCredentialProvider, MicrosoftAzureBuilder};
use object_store::client::{HttpRequest, HttpRequestBody};
use object_store::path::Path;
use reqwest::Method;

use super::{Dialect, Objects, client_options, failed, other, retry};
use crate::destination::{Credentials, DestinationError};

/// A container of a storage account. Credentials are a key of the account or a shared access signature; without them those of the
/// environment count. The address of another server than Azure's has the account in its path if that server wants it there.
/// `shown`: what it is called in messages.
pub fn azure(
    shown: &str,
    account: &str,
    container: &str,
    prefix: &str,
    endpoint: Option<&str>,
    credentials: Option<&Credentials>,
) -> Result<Objects, DestinationError> {
    let mut builder = match credentials {
        None => MicrosoftAzureBuilder::from_env(),
        Some(c) if is_signature(c.text()) => MicrosoftAzureBuilder::new().with_config(AzureConfigKey::SasKey, c.text()),
        Some(c) => MicrosoftAzureBuilder::new().with_access_key(c.text()),
    };
    builder = builder
        .with_account(account)
        .with_container_name(container)
        .with_client_options(client_options())
        .with_retry(retry());
    if let Some(endpoint) = endpoint {
        // Whoever names a server by http:// wants that; the key itself is never sent, only signatures.
        builder = builder.with_endpoint(endpoint.into()).with_allow_http(endpoint.starts_with("http://"));
    }
    let store = Arc::new(builder.build().map_err(other)?);
    let server = endpoint.map_or_else(|| format!("https://{account}.blob.core.windows.net"), str::to_owned);
    let account = Account {
        credentials: store.credentials().clone(),
        name: account.into(),
        container: format!("{}/{container}", server.trim_end_matches('/')),
    };
    Objects::new(store, Dialect::Azure(account), prefix, shown)
}

/// Whether credentials are a shared access signature, and no key, which has nothing of the sort in it.
pub fn is_signature(text: &str) -> bool {
    text.trim_start_matches('?').split('&').any(|pair| pair.starts_with("sig="))
}

/// When a shared access signature ends: a moment or the begin of a day.
pub fn signature_end(text: &str) -> Option<Time> {
    let mut pairs = form_urlencoded::parse(text.trim_start_matches('?').as_bytes()).filter(|_| is_signature(text));
    let end = pairs.find_map(|(name, value)| (name == "se").then_some(value))?;
    end.parse().or_else(|_| format!("{end}T00:00:00Z").parse()).ok()
}

/// Who this system is at a container, for requests that the library has no call for.
pub(super) struct Account {
    credentials: AzureCredentialProvider,
    name: String,
    /// Its address.
    container: String,
}

impl Account {
    /// The address and all headers of a request that these credentials stand for.
    pub(super) async fn authorized(
        &self,
        method: &Method,
        path: &Path,
        query: &[(&str, &str)],
        headers: HeaderMap,
    ) -> Result<(String, HeaderMap), DestinationError> {
        let mut address = format!("{}/{path}", self.container);
        for (n, pair) in query.iter().enumerate() {
            let joint = if n == 0 { '?' } else { '&' };
            address = format!("{address}{joint}{}={}", pair.0, pair.1);
        }
        let mut request = HttpRequest::new(HttpRequestBody::empty());
        *request.method_mut() = method.clone();
        *request.uri_mut() = address.parse().map_err(other)?;
        *request.headers_mut() = headers;
        let credential = self.credentials.get_credential().await.map_err(failed(path.as_ref()))?;
        AzureAuthorizer::new(&credential, &self.name).try_authorize(&mut request).map_err(failed(path.as_ref()))?;
        Ok((request.uri().to_string(), request.headers().clone()))
    }
}

#[cfg(test)]
mod tests {
    use super::{is_signature, signature_end};

    #[test]
    fn a_signature_says_when_it_ends() {
        for (text, end) in [
            ("?sv=2021-10-04&se=2027-01-04T18%3A15%3A00Z&sr=c&sp=rcl&sig=C7%2B", Some("2027-01-04T18:15:00Z")),
            ("sig=C7%2B&se=2027-01-04T18:15Z", Some("2027-01-04T18:15:00Z")),
            ("se=2027-01-04&sig=x", Some("2027-01-04T00:00:00Z")),
            ("sig=x&si=a-stored-policy", None),
            ("sig=x&se=soon", None),
            ("se=2027-01-04", None::<&str>),
        ] {
            let end = end.map(|end| end.parse().unwrap());
            assert_eq!(signature_end(text), end, "{text}");
        }
        assert!(!is_signature(
            "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
        ));
    }
}
