//! One server in an empty folder with its administrator logged in, and how to put load on it.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use keyark_crypto::random;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::runtime::Runtime;

use crate::client::{Dial, request};
use crate::figures::{Order, Outcome};
use crate::load::{Bound, Load, Work, closed};
use crate::server::{Server, binary};

/// Keys that the load encrypts with.
const USED: usize = 100;
/// 32 bytes in base64.
const PLAINTEXT: &str = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";
/// Measured runs that share the time, about; the last part of them are half as long.
const RUNS: u32 = 38;

/// The server and what the figures share.
pub struct Bench {
    pub keys: u64,
    /// How long one run is.
    pub slice: Duration,
    pub server: Server,
    /// Goes after the server that writes into it.
    pub folder: TempDir,
    pub dial: Dial,
    /// Ids of the keys that the load encrypts with.
    pub used: Vec<String>,
    /// Keys created or imported otherwise; the n-th is `name(n)`.
    pub made: Arc<AtomicU64>,
    runtime: Runtime,
    binary: PathBuf,
    password: String,
}

/// The n-th key's name: all differ, and they come in no order.
pub fn name(n: u64) -> String {
    format!("key-{:016x}", n.wrapping_mul(0x9e37_79b9_7f4a_7c15))
}

impl Bench {
    /// Starts a server for the first time and logs in.
    pub fn start(order: &Order) -> Outcome<Bench> {
        let binary = binary(order)?;
        let folder = crate::figures::folder()?;
        let mut server = Server::start(&binary, folder.path(), false)?;
        // Its password is in the file when this line is out.
        server.line("First password of admin")?;
        let first = std::fs::read_to_string(folder.path().join("data/first-password"))?;
        let password = format!("{:032x}", u128::from_be_bytes(random::bytes()));
        let dial = Dial::plain(server.address);
        let seconds = order.seconds(if order.keys <= 10_000 { 9.0 } else { 38.0 })?;
        let bench = Bench {
            keys: order.keys,
            slice: seconds / RUNS,
            server,
            folder,
            dial,
            used: Vec::new(),
            made: Arc::default(),
            runtime: Runtime::new()?,
            binary,
            password,
        };
        let change = json!({ "username": "admin", "password": first.trim(), "new_password": bench.password });
        bench.call("PATCH", "/v1/auth/changepw", "", &change)?;
        Ok(bench)
    }

    /// One request with success.
    pub fn call(&self, method: &str, path: &str, token: &str, body: &Value) -> Outcome<Value> {
        let body = if body.is_null() { String::new() } else { body.to_string() };
        self.runtime.block_on(self.dial.call(method, path, token, &body))
    }

    /// A fresh token: each is good for 300 s.
    pub fn token(&self) -> Outcome<String> {
        let login = json!({ "username": "admin", "password": self.password, "issue_refresh_token": false });
        let issued = self.call("POST", "/v1/auth/tokens", "", &login)?;
        Ok(issued["jwt"].as_str().ok_or("a login without a token")?.to_owned())
    }

    /// Makes the keys to encrypt with, and uses each once: a key's first encryption is accounted for on disk.
    pub fn keys_use(&mut self) -> Outcome {
        let token = self.token()?;
        for n in 0..USED {
            let asked = json!({ "name": format!("used-{n:03}"), "algorithm": "AES", "size": 256 });
            let key = self.call("POST", "/v1/vault/keys2", &token, &asked)?;
            let id = key["id"].as_str().ok_or("a key without an id")?;
            self.used.push(id.to_owned());
            let done = self.call("POST", "/v1/crypto/encrypt", &token, &json!({ "id": id, "plaintext": PLAINTEXT }))?;
            done["ciphertext"].as_str().ok_or("an encryption without a ciphertext")?;
        }
        Ok(())
    }

    /// Encryptions of 32 bytes, one key after the other.
    pub fn encrypting(&self, token: &str) -> Work {
        let body = |id: &String| json!({ "id": id, "plaintext": PLAINTEXT }).to_string();
        Work::cycle(self.used.iter().map(|id| request("POST", "/v1/crypto/encrypt", token, &body(id))).collect())
    }

    /// Encryptions of so many items at once.
    pub fn encrypting_batches(&self, token: &str, items: usize) -> Outcome<Work> {
        let batch = vec![json!({ "plaintext": PLAINTEXT }); items];
        let body = |id: &String| json!({ "id": id, "items": batch });
        let done = self.call("POST", "/v1/crypto/encrypt", token, &body(&self.used[0]))?;
        // Single items may fail in an answer of success.
        if !done["items"].as_array().is_some_and(|all| all.len() == items && all.iter().all(|i| i["tag"].is_string())) {
            return Err("a batch whose items were not all encrypted".into());
        }
        let requests = self.used.iter().map(|id| request("POST", "/v1/crypto/encrypt", token, &body(id).to_string()));
        Ok(Work::cycle(requests.collect()))
    }

    /// Creations of keys with names that were not used before.
    pub fn creating(&self, token: &str) -> Work {
        let token = token.to_owned();
        Work::new(201, self.made.clone(), move |n| {
            let body = format!(r#"{{"name":"{}","algorithm":"AES","size":256}}"#, name(n));
            request("POST", "/v1/vault/keys2", &token, &body)
        })
    }

    /// Imports of keys with names that were not used before.
    pub fn importing(&self, token: &str) -> Work {
        let token = token.to_owned();
        Work::new(201, self.made.clone(), move |n| {
            let body = format!(r#"{{"name":"{}","algorithm":"AES","size":256,"material":"{n:064x}"}}"#, name(n));
            request("POST", "/v1/vault/keys2", &token, &body)
        })
    }

    /// Keys in the store.
    pub fn count(&self) -> u64 {
        self.made.load(Ordering::Relaxed) + self.used.len() as u64
    }

    /// Bytes of the answer to a request that is answered 200.
    pub fn answer_length(&self, request: &[u8]) -> Outcome<usize> {
        self.runtime.block_on(async { self.dial.connect().await?.expect(request, 200).await })
    }

    /// One run in the closed loop.
    pub fn run(&self, clients: usize, work: &Work) -> Outcome<Load> {
        self.run_against(&self.dial, self.server.pid(), clients, Bound::Time(self.slice), work)
    }

    /// The same against another process, or until another end.
    pub fn run_against(&self, dial: &Dial, pid: u32, clients: usize, bound: Bound, work: &Work) -> Outcome<Load> {
        self.runtime.block_on(closed(dial, pid, clients, bound, work))
    }

    /// Starts the stopped server again and gives the time from then to its first answer, in seconds: an encryption.
    pub fn start_again(&mut self, tls: bool, token: &str) -> Outcome<f64> {
        let begun = Instant::now();
        self.server = Server::start(&self.binary, self.folder.path(), tls)?;
        let address = self.server.address;
        self.dial = match tls {
            true => Dial::trusting(address, &self.folder.path().join("data/ca.pem"))?,
            false => Dial::plain(address),
        };
        let asked = json!({ "id": self.used[0], "plaintext": PLAINTEXT });
        self.call("POST", "/v1/crypto/encrypt", token, &asked)?;
        Ok(begun.elapsed().as_secs_f64())
    }
}
