//! A socket of this machine that somebody answers, until it is dropped.

use std::io::{self, Read};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

pub struct Listening {
    pub address: SocketAddr,
    ended: Arc<AtomicBool>,
    accepting: Option<JoinHandle<()>>,
}

impl Listening {
    /// `answer` has a thread for each connection.
    pub fn start(answer: impl Fn(TcpStream) -> io::Result<()> + Send + Sync + 'static) -> Listening {
        let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a free port");
        let address = listener.local_addr().expect("an address");
        let (ended, answer) = (Arc::new(AtomicBool::new(false)), Arc::new(answer));
        let over = ended.clone();
        let accepting = std::thread::spawn(move || {
            for client in listener.incoming().filter_map(Result::ok) {
                if over.load(Ordering::Acquire) {
                    return;
                }
                let answer = answer.clone();
                // Whoever hangs up early has its reasons.
                std::thread::spawn(move || drop(answer(client)));
            }
        });
        Listening { address, ended, accepting: Some(accepting) }
    }
}

impl Drop for Listening {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::Release);
        // It waits for the next connection: here it is.
        let _ = TcpStream::connect(self.address);
        if let Some(accepting) = self.accepting.take() {
            let _ = accepting.join();
        }
    }
}

/// Everything up to the empty line; none: the connection was not used.
pub fn head_of(client: &mut TcpStream) -> io::Result<Option<String>> {
    let (mut head, mut byte) = (Vec::new(), [0]);
    while !head.ends_with(b"\r\n\r\n") {
        if client.read(&mut byte)? == 0 {
            return Ok(None);
        }
        head.push(byte[0]);
    }
    Ok(Some(String::from_utf8_lossy(&head).into_owned()))
}

/// A header of such a head.
pub fn header_of<'a>(head: &'a str, wanted: &str) -> Option<&'a str> {
    let mut lines = head.lines().filter_map(|line| line.split_once(':'));
    lines.find(|(name, _)| name.eq_ignore_ascii_case(wanted)).map(|(_, value)| value.trim())
}

pub fn length_of(head: &str) -> u64 {
    header_of(head, "content-length").and_then(|n| n.parse().ok()).unwrap_or(0)
}
