//! `/docs`: one page that renders `/v1/openapi.json`, with nothing from elsewhere.

use std::sync::OnceLock;

use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Response};
use keyark_crypto::hash;

const PAGE: &str = include_str!("docs.html");

pub async fn docs() -> Response {
    static POLICY: OnceLock<HeaderValue> = OnceLock::new();
    let policy = POLICY.get_or_init(|| HeaderValue::from_str(&policy(PAGE)).expect("base64 is a header value"));
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8")),
        (header::CONTENT_SECURITY_POLICY, policy.clone()),
        (header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
        (header::REFERRER_POLICY, HeaderValue::from_static("no-referrer")),
        (header::CACHE_CONTROL, HeaderValue::from_static("no-cache")),
    ];
    (headers, PAGE).into_response()
}

/// Allows this page's one script and one style by their hashes, requests to this server, and nothing else.
fn policy(page: &str) -> String {
    let digest = |tag: &str| base64_simd::STANDARD.encode_to_string(hash::sha256(&[inside(page, tag).as_bytes()]).0);
    format!(
        "default-src 'none'; script-src 'sha256-{}'; style-src 'sha256-{}'; connect-src 'self'; base-uri 'none'; \
         form-action 'none'; frame-ancestors 'none'",
        digest("script"),
        digest("style")
    )
}

/// What stands between a tag and its end.
fn inside<'p>(page: &'p str, tag: &str) -> &'p str {
    let after = page.split_once(&format!("<{tag}>")).map_or("", |(_, after)| after);
    after.split_once(&format!("</{tag}>")).map_or("", |(inside, _)| inside)
}

#[cfg(test)]
mod tests {
    use super::{PAGE, inside, policy};

    #[test]
    fn the_page_fetches_nothing_from_elsewhere_and_its_policy_fits_it() {
        for tag in ["script", "style"] {
            assert!(!inside(PAGE, tag).is_empty(), "{tag}");
            assert_eq!(PAGE.matches(&format!("<{tag}")).count(), 1, "the policy names one {tag}");
        }
        for what in ["://", " src=", "@import", "url(", " style=", " onclick=", "innerHTML", "eval("] {
            assert!(!PAGE.contains(what), "{what}");
        }
        let policy = policy(PAGE);
        assert!(policy.starts_with("default-src 'none'; script-src 'sha256-"), "{policy}");
        assert!(!policy.contains("unsafe"));
        assert_ne!(super::policy("<script>a</script>"), super::policy("<script>b</script>"));
    }
}
