//! A program that is told of alarms.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::sync::{Arc, Mutex, PoisonError};

use serde_json::Value;

use crate::listening::{Listening, head_of, header_of, length_of};

/// One request as it came.
#[derive(Clone, Debug)]
pub struct Received {
    pub path: String,
    pub signature: String,
    pub body: Vec<u8>,
}

impl Received {
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).expect("it is JSON")
    }
}

/// Takes every request, and answers as it was told last.
pub struct Receiver {
    pub url: String,
    seen: Arc<Mutex<Vec<Received>>>,
    answer: Arc<Mutex<String>>,
    _listening: Listening,
}

impl Receiver {
    pub fn start() -> Receiver {
        let (seen, answer) = (Arc::new(Mutex::new(Vec::new())), Arc::new(Mutex::new("204 No Content".to_owned())));
        let (kept, told) = (seen.clone(), answer.clone());
        let listening = Listening::start(move |client| take(client, &kept, &told));
        Receiver { url: format!("http://{}/hooks/of-keyark", listening.address), seen, answer, _listening: listening }
    }

    /// Status and reason, and further headers behind a line end.
    pub fn answers(&self, answer: &str) {
        *self.answer.lock().unwrap_or_else(PoisonError::into_inner) = answer.into();
    }

    /// What came since it was asked last.
    pub fn taken(&self) -> Vec<Received> {
        std::mem::take(&mut *self.seen.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

fn take(mut client: TcpStream, seen: &Mutex<Vec<Received>>, answer: &Mutex<String>) -> io::Result<()> {
    let Some(head) = head_of(&mut client)? else { return Ok(()) };
    let mut body = Vec::new();
    (&client).take(length_of(&head)).read_to_end(&mut body)?;
    let path = head.split(' ').nth(1).unwrap_or_default().to_owned();
    let signature = header_of(&head, "keyark-signature").unwrap_or_default().to_owned();
    seen.lock().unwrap_or_else(PoisonError::into_inner).push(Received { path, signature, body });
    let answer = answer.lock().unwrap_or_else(PoisonError::into_inner).clone();
    write!(client, "HTTP/1.1 {answer}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")
}
