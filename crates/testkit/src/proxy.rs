//! Between a client and a server of HTTP: passes requests on, and now and then does it badly.

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

/// What goes wrong with one request.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fault {
    /// It is answered so, and never arrives.
    Status(u16),
    /// It is done, and nobody hears of it.
    Lost,
    /// It is done, and the answer ends in its middle.
    Cut,
}

/// Listens on a port of this machine, until it is dropped.
pub struct Proxy {
    pub endpoint: String,
    address: SocketAddr,
    ended: Arc<AtomicBool>,
    accepting: Option<JoinHandle<()>>,
}

impl Proxy {
    /// `fault` looks at the method of each request.
    pub fn start(endpoint: &str, fault: impl Fn(&str) -> Option<Fault> + Send + Sync + 'static) -> Proxy {
        let (server, folder) = parts(endpoint);
        let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a free port");
        let address = listener.local_addr().expect("an address");
        let (ended, fault) = (Arc::new(AtomicBool::new(false)), Arc::new(fault));
        let over = ended.clone();
        let accepting = std::thread::spawn(move || {
            for client in listener.incoming().filter_map(Result::ok) {
                if over.load(Ordering::Acquire) {
                    return;
                }
                let (server, fault) = (server.clone(), fault.clone());
                // Whoever hangs up early has its reasons.
                std::thread::spawn(move || drop(pass_on(client, &server, &*fault)));
            }
        });
        Proxy { endpoint: format!("http://{address}{folder}"), address, ended, accepting: Some(accepting) }
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::Release);
        // It waits for the next connection: here it is.
        let _ = TcpStream::connect(self.address);
        if let Some(accepting) = self.accepting.take() {
            let _ = accepting.join();
        }
    }
}

/// Host and port of an address, and the path behind them.
fn parts(endpoint: &str) -> (String, &str) {
    let rest = endpoint.strip_prefix("http://").expect("an address of HTTP");
    let (server, folder) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    (server.to_owned(), folder)
}

/// One request a connection.
fn pass_on(mut client: TcpStream, server: &str, fault: &dyn Fn(&str) -> Option<Fault>) -> io::Result<()> {
    let Some(head) = head_of(&mut client)? else { return Ok(()) };
    let fault = fault(head.split(' ').next().unwrap_or_default());
    let mut body = (&client).take(length_of(&head));
    if let Some(Fault::Status(status)) = fault {
        io::copy(&mut body, &mut io::sink())?;
        return write!(client, "HTTP/1.1 {status} As Ordered\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
    }
    let mut upstream = TcpStream::connect(server)?;
    let head = head.trim_end();
    write!(upstream, "{head}\r\nconnection: close\r\n\r\n")?;
    io::copy(&mut body, &mut upstream)?;
    let mut answer = Vec::new();
    upstream.read_to_end(&mut answer)?;
    match fault {
        Some(Fault::Lost) => {}
        Some(Fault::Cut) => client.write_all(&answer[..answer.len() - answer.len() / 4])?,
        _ => client.write_all(&answer)?,
    }
    client.shutdown(Shutdown::Both)
}

/// Everything up to the empty line; none: the connection was not used.
fn head_of(client: &mut TcpStream) -> io::Result<Option<String>> {
    let (mut head, mut byte) = (Vec::new(), [0]);
    while !head.ends_with(b"\r\n\r\n") {
        if client.read(&mut byte)? == 0 {
            return Ok(None);
        }
        head.push(byte[0]);
    }
    Ok(Some(String::from_utf8_lossy(&head).into_owned()))
}

fn length_of(head: &str) -> u64 {
    let lines = head.lines().filter_map(|line| line.split_once(':'));
    let length =
        lines.filter(|(name, _)| name.eq_ignore_ascii_case("content-length")).find_map(|(_, n)| n.trim().parse().ok());
    length.unwrap_or(0)
}
