//! What an endpoint is: one request struct with its method, path, right and answer.

use keyark_model::access::Right;
use schemars::JsonSchema;
use serde::Serialize;
use serde::de::DeserializeOwned;

/// HTTP methods in use.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Method {
    GET,
    POST,
    PUT,
    PATCH,
    DELETE,
}

impl Method {
    pub fn as_str(self) -> &'static str {
        match self {
            Method::GET => "GET",
            Method::POST => "POST",
            Method::PUT => "PUT",
            Method::PATCH => "PATCH",
            Method::DELETE => "DELETE",
        }
    }
}

/// How a request's fields travel besides those named in the path.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Body {
    /// The rest is the query string.
    Query,
    /// The rest is one JSON object (query parameters are accepted too).
    Json,
    /// The rest is the query string; the body is a file.
    File,
}

/// One endpoint. The struct's fields are the path's parameters, then the query or the body.
pub trait Endpoint: Serialize + DeserializeOwned + JsonSchema + Send + 'static {
    /// Operation id and action in the audit log: `noun_verb`.
    const ID: &'static str;
    const METHOD: Method;
    /// Under `/v1`; parameters in braces.
    const PATH: &'static str;
    /// Further paths that do the same.
    const ALSO: &'static [&'static str];
    const BODY: Body;
    /// The status of success.
    const STATUS: u16;
    /// What the caller must have; a handler may demand more by what the request says.
    const RIGHT: Right;
    /// The words of the command line: noun and verb.
    const CLI: &'static str;
    /// One sentence.
    const SUMMARY: &'static str;
    type Response: Serialize + DeserializeOwned + JsonSchema + Send;
}

/// The answer is a file, not JSON.
#[derive(Debug, Serialize, serde::Deserialize, JsonSchema)]
pub struct FileBody {}

/// The answer has no body (204).
#[derive(Debug, Serialize, serde::Deserialize, JsonSchema)]
pub struct NoBody {}

/// An endpoint as data: what the router, OpenAPI, the command line and the access test walk.
#[derive(Clone, Copy)]
pub struct EndpointInfo {
    pub id: &'static str,
    pub method: Method,
    pub path: &'static str,
    pub also: &'static [&'static str],
    pub body: Body,
    pub status: u16,
    pub right: Right,
    pub cli: &'static str,
    pub summary: &'static str,
    pub request: fn(&mut schemars::SchemaGenerator) -> schemars::Schema,
    pub response: fn(&mut schemars::SchemaGenerator) -> schemars::Schema,
}

impl EndpointInfo {
    pub fn of<E: Endpoint>() -> EndpointInfo {
        EndpointInfo {
            id: E::ID,
            method: E::METHOD,
            path: E::PATH,
            also: E::ALSO,
            body: E::BODY,
            status: E::STATUS,
            right: E::RIGHT,
            cli: E::CLI,
            summary: E::SUMMARY,
            request: |g| g.subschema_for::<E>(),
            response: |g| g.subschema_for::<E::Response>(),
        }
    }

    /// The names in braces of a path.
    pub fn path_parameters(path: &str) -> Vec<&str> {
        path.split('/').filter_map(|s| s.strip_prefix('{')?.strip_suffix('}')).collect()
    }

    /// Whether the answer is a file.
    pub fn answers_file(&self) -> bool {
        let mut generator = schemars::SchemaGenerator::default();
        (self.response)(&mut generator);
        generator.definitions().contains_key("FileBody")
    }
}

/// Declares what a request struct is as an endpoint:
/// `endpoint! { key_list: KeyList -> Page<Key>, GET "/v1/vault/keys2" | "/v1/vault/keys", Query 200, KeyRead, "keys list", "Lists keys." }`
#[macro_export]
macro_rules! endpoint {
    ($($id:ident: $request:ty => $response:ty, $method:ident $path:literal $(| $also:literal)*,
       $body:ident $status:literal, $right:ident, $cli:literal, $summary:literal;)*) => {
        $(impl $crate::Endpoint for $request {
            const ID: &'static str = stringify!($id);
            const METHOD: $crate::Method = $crate::Method::$method;
            const PATH: &'static str = $path;
            const ALSO: &'static [&'static str] = &[$($also),*];
            const BODY: $crate::Body = $crate::Body::$body;
            const STATUS: u16 = $status;
            const RIGHT: keyark_model::access::Right = keyark_model::access::Right::$right;
            const CLI: &'static str = $cli;
            const SUMMARY: &'static str = $summary;
            type Response = $response;
        })*
    };
}
