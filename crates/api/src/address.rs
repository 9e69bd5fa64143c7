//! Where a request goes: its path, its query and what is left for the body; and whose machine a URL names.

use serde_json::{Map, Value};

use crate::client::ClientError;
use crate::endpoint::{Body, EndpointInfo, Method};

/// Where a request goes: path with parameters and query; and the JSON of its body, if it has one.
pub fn address(endpoint: &EndpointInfo, request: Value) -> Result<(String, Option<Value>), ClientError> {
    let Value::Object(mut fields) = request else {
        return Err(ClientError::Request("it is not an object".into()));
    };
    let mut target = String::new();
    for segment in endpoint.path.split('/').skip(1) {
        target.push('/');
        match segment.strip_prefix('{').and_then(|s| s.strip_suffix('}')) {
            None => target.push_str(segment),
            Some(name) => {
                let text = fields.remove(name).and_then(|value| text_of(&value)).filter(|text| !text.is_empty());
                let text = text.ok_or_else(|| ClientError::Request(format!("{name} is missing")))?;
                // A path of dots would be taken for a folder by proxies on the way.
                let dots = text.bytes().all(|b| b == b'.');
                target.push_str(&if dots { text.replace('.', "%2E") } else { percent(&text) });
            }
        }
    }
    fields.retain(|_, value| !value.is_null());
    if endpoint.body == Body::Json {
        let needs_none = fields.is_empty() && matches!(endpoint.method, Method::GET | Method::DELETE);
        return Ok((target, (!needs_none).then_some(Value::Object(fields))));
    }
    target.push_str(&query(&fields));
    Ok((target, None))
}

fn query(fields: &Map<String, Value>) -> String {
    let mut out = String::new();
    for (name, value) in fields {
        let one = std::slice::from_ref(value);
        for value in value.as_array().map_or(one, Vec::as_slice) {
            out.push(if out.is_empty() { '?' } else { '&' });
            let text = text_of(value).unwrap_or_else(|| value.to_string());
            out.push_str(&format!("{}={}", percent(name), percent(&text)));
        }
    }
    out
}

/// A plain value as text; objects and lists have none.
fn text_of(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(_) | Value::Bool(_) => Some(value.to_string()),
        Value::Null | Value::Array(_) | Value::Object(_) => None,
    }
}

/// Percent-encodes all but the characters that mean themselves everywhere (RFC 3986, 2.3).
pub fn percent(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for b in text.bytes() {
        match b {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => out.push(char::from(b)),
            _ => out.push_str(&format!("%{b:02X}")),
        }
    }
    out
}

/// The host of a URL without its port: `https://[::1]:9443/x` gives `::1`.
pub fn host_of(url: &str) -> &str {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    match host.strip_prefix('[') {
        Some(six) => six.split(']').next().unwrap_or_default(),
        None => host.split(':').next().unwrap_or_default(),
    }
}

/// Whether a URL stays on this machine.
pub fn is_loopback(url: &str) -> bool {
    let host = host_of(url);
    host.eq_ignore_ascii_case("localhost") || host.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{address, host_of, is_loopback};
    use crate::endpoint::EndpointInfo;
    use crate::users::{UserGet, UserList, UserUpdate};

    #[test]
    fn path_parameters_are_escaped_and_the_rest_is_query_or_body() {
        let get = EndpointInfo::of::<UserGet>();
        for (id, path) in [
            ("local|7/..?a=b#c", "/v1/usermgmt/users/local%7C7%2F..%3Fa%3Db%23c"),
            ("..", "/v1/usermgmt/users/%2E%2E"),
            ("Zoë 50%", "/v1/usermgmt/users/Zo%C3%AB%2050%25"),
        ] {
            assert_eq!(address(&get, json!({ "id": id })).unwrap(), (path.to_owned(), None));
        }
        for bad in [json!({}), json!({ "id": "" }), json!({ "id": null }), json!([])] {
            assert!(address(&get, bad).is_err());
        }
        let list = EndpointInfo::of::<UserList>();
        let (target, body) = address(&list, json!({ "limit": -1, "name": "a*&b", "groups": null })).unwrap();
        assert_eq!((target.as_str(), body), ("/v1/usermgmt/users?limit=-1&name=a%2A%26b", None));
        let update = EndpointInfo::of::<UserUpdate>();
        let (target, body) = address(&update, json!({ "id": "u", "disabled": false })).unwrap();
        assert_eq!((target.as_str(), body), ("/v1/usermgmt/users/u", Some(json!({ "disabled": false }))));
    }

    #[test]
    fn lists_repeat_in_a_query() {
        let list = EndpointInfo::of::<UserList>();
        let (target, _) = address(&list, json!({ "name": ["a", "b"], "skip": 3 })).unwrap();
        assert_eq!(target, "/v1/usermgmt/users?name=a&name=b&skip=3");
    }

    #[test]
    fn a_host_is_read_out_of_a_url() {
        for (url, host, loopback) in [
            ("https://[::1]:9443/api/v1", "::1", true),
            ("https://localhost:9443", "localhost", true),
            ("http://127.9.9.9", "127.9.9.9", true),
            ("https://localhost.example.org", "localhost.example.org", false),
            ("https://127.0.0.1@evil.example", "evil.example", false),
            ("https://10.0.0.1/127.0.0.1", "10.0.0.1", false),
        ] {
            assert_eq!((host_of(url), is_loopback(url)), (host, loopback), "{url}");
        }
    }
}
