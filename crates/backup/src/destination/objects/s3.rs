//! Buckets of S3, and of servers that speak it.

use std::sync::Arc;

use object_store::aws::{AmazonS3Builder, S3ConditionalPut};

use super::{Dialect, Objects, client_options, other, retry};
use crate::destination::{Credentials, DestinationError};

/// A bucket. Without credentials those of the environment count. `shown`: what it is called in messages.
pub fn s3(
    shown: &str,
    bucket: &str,
    prefix: &str,
    region: &str,
    endpoint: Option<&str>,
    credentials: Option<&Credentials>,
) -> Result<Objects, DestinationError> {
    let mut builder = match credentials {
        None => AmazonS3Builder::from_env(),
        Some(c) => AmazonS3Builder::new().with_access_key_id(&c.id).with_secret_access_key(c.text()),
    };
    builder = builder
        .with_bucket_name(bucket)
        .with_region(region)
        .with_conditional_put(S3ConditionalPut::ETagMatch)
        .with_client_options(client_options())
        .with_retry(retry());
    if let Some(endpoint) = endpoint {
        // Whoever names a server by http:// wants that; credentials themselves are never sent, only signatures.
        let plain = endpoint.starts_with("http://");
        builder = builder.with_endpoint(endpoint).with_virtual_hosted_style_request(false).with_allow_http(plain);
    }
    let store = Arc::new(builder.build().map_err(other)?);
    Objects::new(store.clone(), Dialect::S3(store), prefix, shown)
}
