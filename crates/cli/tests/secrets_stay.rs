//! Key material, passwords and tokens are in no file, no log line and no error of a real server that logs all it can.

use std::fs::File;
use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use serde_json::{Value, json};

const PASSWORD: &str = "correct-horse-Battery-7-staple";
const WRONG: &str = "wrong-horse-Battery-8-staple";
const PLAINTEXT: &str = "cGxhaW50ZXh0LWNhbmFyeS1vZi10aGlzLXRlc3Q=";
const VALUE: &str = "value-canary-of-a-secret";

/// Killed when the test fails half way.
struct Server(Child);

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// What every answer that is not meant to show a secret said, and the way to the server.
struct Talk {
    agent: ureq::Agent,
    url: String,
    token: String,
    errors: String,
}

impl Talk {
    fn send(&mut self, method: &str, path: &str, body: &Value) -> (u16, Value) {
        let request = ureq::http::Request::builder()
            .method(method)
            .uri(format!("{}{path}", self.url))
            .header("content-type", "application/json")
            .header("authorization", format!("Bearer {}", self.token))
            .body(body.to_string())
            .unwrap();
        let mut answer = self.agent.run(request).unwrap();
        let (status, text) = (answer.status().as_u16(), answer.body_mut().read_to_string().unwrap());
        if status >= 400 {
            self.errors.push_str(&text);
        }
        (status, serde_json::from_str(&text).unwrap_or_default())
    }

    fn refused(&mut self, method: &str, path: &str, body: &Value) {
        let (status, answer) = self.send(method, path, body);
        assert!(status >= 400, "{path} was not refused: {answer}");
    }

    fn done(&mut self, method: &str, path: &str, body: &Value) -> Value {
        let (status, answer) = self.send(method, path, body);
        assert!(status < 300, "{path}: {answer}");
        answer
    }
}

fn files(folder: &Path, all: &mut Vec<(String, Vec<u8>)>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files(&path, all);
        } else if path.is_file() {
            all.push((path.display().to_string(), std::fs::read(path).unwrap()));
        }
    }
}

#[test]
fn no_secret_is_in_a_file_a_log_line_or_an_error() {
    let home = tempfile::tempdir().unwrap();
    let (data, log) = (home.path().join("data"), home.path().join("log"));
    let mut command = Command::new(env!("CARGO_BIN_EXE_keyark"));
    command.args(["serve", "--no-tls", "--listen", "127.0.0.1:0", "--data"]).arg(&data).env("KEYARK_LOG", "trace");
    let mut child = command.stdout(Stdio::piped()).stderr(File::create(&log).unwrap()).spawn().unwrap();
    let mut told = BufReader::new(child.stdout.take().unwrap());
    let server = Server(child);
    let (mut line, mut url) = (String::new(), String::new());
    while !line.starts_with("First password") {
        line.clear();
        assert!(told.read_line(&mut line).unwrap() > 0, "{}", std::fs::read_to_string(&log).unwrap());
        if line.starts_with("Keyark serves") {
            url = line.split_whitespace().next_back().unwrap().to_owned();
        }
    }
    let first = std::fs::read_to_string(data.join("first-password")).unwrap().trim().to_owned();
    let config = ureq::Agent::config_builder().http_status_as_error(false).build();
    let mut talk = Talk { agent: config.into(), url, token: String::new(), errors: String::new() };
    let change = json!({ "username": "admin", "password": first, "new_password": PASSWORD });
    talk.done("PATCH", "/v1/auth/changepw", &change);
    let login = talk.done("POST", "/v1/auth/tokens", &json!({ "username": "admin", "password": PASSWORD }));
    let text = |value: &Value, field: &str| value[field].as_str().unwrap().to_owned();
    talk.token = text(&login, "jwt");

    // What is kept, used and exported.
    let key = (0..32).map(|n| n * 7 + 3).collect::<Vec<u8>>();
    let hex: String = key.iter().map(|b| format!("{b:02x}")).collect();
    talk.done("POST", "/v1/vault/keys2", &json!({ "name": "k", "algorithm": "AES", "size": 256, "material": hex }));
    talk.done("POST", "/v1/crypto/encrypt", &json!({ "id": "k", "plaintext": PLAINTEXT }));
    let secret = json!({ "name": "s", "dataType": "password", "material": VALUE, "key": "k" });
    talk.done("POST", "/v1/vault/secrets", &secret);
    let backup_key = talk.done("POST", "/v1/backupkeys", &json!({ "scope": "system" }));
    let exported = talk.done("POST", &format!("/v1/backupkeys/{}/download", text(&backup_key, "id")), &json!({}));
    talk.done("POST", "/v1/backups", &json!({ "scope": "system" }));

    // What is refused, with a secret in the request.
    talk.refused("POST", "/v1/auth/tokens", &json!({ "username": "admin", "password": WRONG }));
    talk.refused("POST", "/v1/vault/keys2", &json!({ "name": "b", "size": 128, "material": hex }));
    talk.refused("POST", "/v1/vault/keys2", &json!({ "name": "b", "material": format!("{hex}zz") }));
    talk.refused("POST", "/v1/vault/keys2", &json!({ "name": "b", "unknown": hex }));
    talk.refused("POST", "/v1/vault/secrets", &secret);
    talk.refused("POST", "/v1/crypto/encrypt", &json!({ "id": "nobody", "plaintext": PLAINTEXT }));
    let wrong = json!({ "file": text(&exported, "file"), "password": WRONG });
    talk.refused("POST", "/v1/backupkeys/upload", &wrong);

    let pid = server.0.id().to_string();
    assert!(Command::new("kill").args(["-TERM", &pid]).status().unwrap().success());
    let mut server = server;
    assert!(server.0.wait().unwrap().success(), "{}", std::fs::read_to_string(&log).unwrap());

    let mut places = vec![("the errors".to_owned(), std::mem::take(&mut talk.errors).into_bytes())];
    files(home.path(), &mut places);
    let logged = places.iter().find(|(name, _)| name.ends_with("/log")).unwrap();
    assert!(String::from_utf8_lossy(&logged.1).contains("key_create"), "the control: the log says what was called");
    use base64::Engine as _;
    let canaries: Vec<(&str, Vec<u8>)> = vec![
        ("the key", key.clone()),
        ("the key in hexadecimal", hex.into_bytes()),
        ("the key in base64", base64::engine::general_purpose::STANDARD.encode(&key).into_bytes()),
        ("the plaintext", PLAINTEXT.into()),
        ("the secret's value", VALUE.into()),
        ("the password", PASSWORD.into()),
        ("a wrong password", WRONG.into()),
        ("the token", talk.token.clone().into_bytes()),
        ("the refresh token", text(&login, "refresh_token").into_bytes()),
        ("the passphrase of the exported key", text(&exported, "passphrase").into_bytes()),
        ("the first password", first.into_bytes()),
    ];
    for (place, bytes) in &places {
        for (what, canary) in &canaries {
            let found = bytes.windows(canary.len()).any(|w| w == canary.as_slice());
            assert!(!found, "{what} is in {place}");
        }
    }
}
