//! One delivery on its way: signed, straight to its receiver, and not for long.

use std::time::Duration;

use keyark_crypto::SecretBytes;
use keyark_crypto::hash::hmac_sha256;
use keyark_model::{Id, Time};
use reqwest::redirect::Policy;
use reqwest::{Client, Url};
use serde_json::{Value, json};

use crate::app::core::Core;

/// The longest that a receiver may take.
const LONGEST: Duration = Duration::from_secs(10);
/// `t=<seconds since 1970>,v1=<HMAC-SHA-256 of "<t>." and the body, in hexadecimal>`.
const SIGNATURE: &str = "keyark-signature";

/// Who is told.
pub struct Receiver {
    pub id: Id,
    pub url: Url,
    pub secret: SecretBytes,
}

/// The body of a delivery. The same number again is the same delivery, tried again.
pub fn message(core: &Core, webhook: Id, number: &str, now: Time, events: Vec<Value>) -> Vec<u8> {
    let told = json!({
        "webhook": webhook,
        "delivery": format!("{webhook}-{number}"),
        "system": core.system,
        "time": now,
        "events": events,
    });
    told.to_string().into_bytes()
}

impl Receiver {
    /// Sends; fails unless it is answered with success. A redirect is none: what is signed for one place does not go to another.
    pub async fn send(&self, body: &[u8], now: Time) -> Result<(), String> {
        let seconds = (now.0 / 1_000_000).to_string();
        let signature = hmac_sha256(self.secret.expose(), &[seconds.as_bytes(), b".", body]);
        let plain = self.url.scheme() == "http";
        let mut client = Client::builder().redirect(Policy::none()).timeout(LONGEST).https_only(!plain);
        if plain {
            // It is this machine.
            client = client.no_proxy();
        }
        let request = client.build().map_err(told)?.post(self.url.clone());
        let request = request
            .header("content-type", "application/json")
            .header("user-agent", concat!("keyark/", env!("CARGO_PKG_VERSION")))
            .header(SIGNATURE, format!("t={seconds},v1={signature}"));
        let answer = request.body(body.to_vec()).send().await.map_err(told)?;
        match answer.status() {
            status if status.is_success() => Ok(()),
            status if status.is_redirection() => Err(format!("it answered {status}; redirects are not followed")),
            status => Err(format!("it answered {status}")),
        }
    }
}

/// Why it did not arrive, without the address: that may hold a secret.
fn told(e: reqwest::Error) -> String {
    let e = e.without_url();
    let mut text = e.to_string();
    let mut cause = std::error::Error::source(&e);
    while let Some(e) = cause {
        text.push_str(&format!(": {e}"));
        cause = e.source();
    }
    text
}
