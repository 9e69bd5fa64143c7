//! A small blocking client: sends what a test says, byte for byte, and shows all of the answer.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use ureq::Agent;
use ureq::http;
use ureq::tls::{Certificate, RootCerts, TlsConfig};

/// All of an answer.
#[derive(Debug, Clone)]
pub struct Answer {
    pub status: u16,
    /// Null when the body is empty or is not JSON.
    pub json: Value,
    pub body: Vec<u8>,
    pub headers: http::HeaderMap,
    /// What was asked, for messages.
    pub asked: String,
}

impl Answer {
    /// The answer's JSON if its status is this one.
    ///
    /// # Panics
    /// When the status is another one, with the whole answer.
    #[track_caller]
    pub fn ok(self, status: u16) -> Value {
        assert_eq!(self.status, status, "{self}");
        self.json
    }

    /// Checks that it is this error: status, number, and a message that holds `text`.
    ///
    /// # Panics
    /// When it is not.
    #[track_caller]
    pub fn fails(&self, code: keyark_api::ErrorCode, text: &str) {
        assert_eq!(
            (self.status, self.json["code"].as_u64()),
            (code.status(), Some(u64::from(code.number()))),
            "expected {code:?}: {self}"
        );
        let message = self.json["message"].as_str().unwrap_or_default();
        assert!(message.contains(text), "the message lacks {text:?}: {self}");
    }

    /// A header as text, empty when absent.
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|v| v.to_str().ok()).unwrap_or_default()
    }

    /// A field as text.
    ///
    /// # Panics
    /// When it is not a string.
    #[track_caller]
    pub fn text(&self, field: &str) -> String {
        text(&self.json, field)
    }
}

/// A field of some JSON as text.
///
/// # Panics
/// When it is not a string.
#[track_caller]
pub fn text(json: &Value, field: &str) -> String {
    json[field].as_str().unwrap_or_else(|| panic!("{field} is no text in {json}")).to_owned()
}

impl std::fmt::Display for Answer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} answered {} {}", self.asked, self.status, String::from_utf8_lossy(&self.body))
    }
}

/// Somebody who talks to a server: logged in, or nobody.
pub struct Client {
    agent: Agent,
    base: String,
    login: Value,
    token: Mutex<Option<String>>,
    /// `local|<uuid>` of the user; empty for nobody.
    pub user_id: String,
}

/// A client agent that takes errors as answers.
pub fn agent() -> Agent {
    Agent::config_builder()
        .http_status_as_error(false)
        .timeout_global(Some(Duration::from_secs(60)))
        .build()
        .new_agent()
}

/// The same over TLS, trusting this authority (PEM) alone.
///
/// # Panics
/// When the PEM holds no certificate.
pub fn agent_trusting(authority: &str) -> Agent {
    let root = Certificate::from_pem(authority.as_bytes()).expect("a certificate in PEM");
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let tls = TlsConfig::builder()
        .root_certs(RootCerts::new_with_certs(&[root]))
        .unversioned_rustls_crypto_provider(provider)
        .build();
    let config = Agent::config_builder().http_status_as_error(false).timeout_global(Some(Duration::from_secs(60)));
    config.tls_config(tls).build().new_agent()
}

impl Client {
    /// Somebody without a token.
    pub fn nobody(agent: Agent, base: &str) -> Client {
        Client { agent, base: base.into(), login: Value::Null, token: Mutex::new(None), user_id: String::new() }
    }

    /// The same server without a token.
    pub fn without_token(&self) -> Client {
        Client::nobody(self.agent.clone(), &self.base)
    }

    /// The same server with a token of the caller's choice.
    pub fn with_token(&self, token: &str) -> Client {
        let other = self.without_token();
        other.set_token(Some(token.into()));
        other
    }

    /// Logs in with the fields of `POST /v1/auth/tokens`.
    ///
    /// # Panics
    /// When that is refused.
    #[track_caller]
    pub fn log_in(&self, login: Value) -> Client {
        let mut client = self.without_token();
        client.login = login;
        client.renew();
        client.user_id = text(&client.get("/v1/auth/self/user").ok(200), "user_id");
        client
    }

    /// Logs in once more, after the clock went past the token's end.
    ///
    /// # Panics
    /// When that is refused.
    #[track_caller]
    pub fn renew(&self) {
        let issued = self.without_token().post("/v1/auth/tokens", self.login.clone()).ok(200);
        self.set_token(Some(text(&issued, "jwt")));
    }

    /// The token in use, empty for nobody.
    pub fn token(&self) -> String {
        self.token.lock().unwrap_or_else(PoisonError::into_inner).clone().unwrap_or_default()
    }

    fn set_token(&self, token: Option<String>) {
        *self.token.lock().unwrap_or_else(PoisonError::into_inner) = token;
    }

    pub fn get(&self, path: &str) -> Answer {
        self.send("GET", path, None, &[])
    }

    pub fn post(&self, path: &str, body: Value) -> Answer {
        self.send("POST", path, Some(body.to_string().as_bytes()), &[])
    }

    pub fn patch(&self, path: &str, body: Value) -> Answer {
        self.send("PATCH", path, Some(body.to_string().as_bytes()), &[])
    }

    pub fn delete(&self, path: &str) -> Answer {
        self.send("DELETE", path, None, &[])
    }

    /// A key made with these fields.
    ///
    /// # Panics
    /// When it is refused.
    #[track_caller]
    pub fn key(&self, fields: Value) -> Value {
        self.post("/v1/vault/keys2", fields).ok(201)
    }

    /// Encrypts a text and answers what was made.
    ///
    /// # Panics
    /// When it is refused.
    #[track_caller]
    pub fn encrypt(&self, key: &str, plaintext: &str) -> Value {
        let plaintext = base64_simd::STANDARD.encode_to_string(plaintext);
        self.post("/v1/crypto/encrypt", json!({ "id": key, "plaintext": plaintext })).ok(200)
    }

    /// Decrypts what `encrypt` made.
    ///
    /// # Panics
    /// When it is refused or is no text.
    #[track_caller]
    pub fn decrypt(&self, made: &Value) -> String {
        let opened = self.post("/v1/crypto/decrypt", made.clone()).ok(200);
        let bytes = base64_simd::STANDARD.decode_to_vec(text(&opened, "plaintext")).expect("the server writes base64");
        String::from_utf8(bytes).expect("a text was encrypted")
    }

    /// Takes a backup with these fields and waits until it is there.
    ///
    /// # Panics
    /// When it is refused or fails.
    #[track_caller]
    pub fn backup(&self, fields: Value) -> Value {
        let begun = self.post("/v1/backups", fields).ok(202);
        job_ended(self, &text(&begun, "jobId"));
        let mut backup = self.get(&format!("/v1/backups/{}", text(&begun, "id"))).ok(200);
        assert_eq!(backup["status"], "Completed", "{backup}");
        backup["jobId"] = begun["jobId"].clone();
        backup
    }

    /// Sends exactly this. Bodies are JSON unless a header says otherwise.
    ///
    /// # Panics
    /// When no answer comes.
    pub fn send(&self, method: &str, path: &str, body: Option<&[u8]>, headers: &[(&str, &str)]) -> Answer {
        let mut request = http::Request::builder().method(method).uri(format!("{}{path}", self.base));
        let token = self.token();
        if !token.is_empty() {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        if body.is_some() && !headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("content-type")) {
            request = request.header("content-type", "application/json");
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let asked = format!("{method} {path}");
        let answered = match body {
            None => self.agent.run(request.body(()).expect("a test writes valid requests")),
            Some(bytes) => self.agent.run(request.body(bytes.to_vec()).expect("a test writes valid requests")),
        };
        let mut answered = answered.unwrap_or_else(|e| panic!("{asked}: {e}"));
        let body = answered.body_mut().with_config().limit(1 << 30).read_to_vec().expect("an answer ends");
        Answer {
            status: answered.status().as_u16(),
            json: serde_json::from_slice(&body).unwrap_or(Value::Null),
            body,
            headers: answered.headers().clone(),
            asked,
        }
    }
}

/// A text as standard base64.
pub fn base64(bytes: impl AsRef<[u8]>) -> String {
    base64_simd::STANDARD.encode_to_string(bytes)
}

/// How long a job of these small systems may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// Waits for the end of a job. During a system restore the server answers 503, and its callers log in again.
///
/// # Panics
/// When it takes longer than [`PATIENCE`].
#[track_caller]
pub fn job_ended(by: &Client, job: &str) -> Value {
    let until = Instant::now() + PATIENCE;
    while Instant::now() < until {
        let answer = by.get(&format!("/v1/jobs/{job}"));
        match answer.status {
            200 if answer.json["status"] != "in_progress" => return answer.json,
            401 if by.without_token().get("/readyz").status == 200 => by.renew(),
            _ => std::thread::yield_now(),
        }
    }
    panic!("the job {job} does not end");
}
