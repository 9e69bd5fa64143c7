//! Containers of Azure Blob, and of servers that speak it.

use std::sync::Arc;

use object_store::azure::MicrosoftAzureBuilder;

use super::{Dialect, Objects, client_options, other, retry};
use crate::destination::{Credentials, DestinationError};

/// A container of a storage account. Without credentials those of the environment count. The address of another server than
/// Azure's has the account in its path if that server wants it there. `shown`: what it is called in messages.
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
    Objects::new(store.clone(), store, Dialect::Azure, prefix, shown)
}
