//! Between a client and a server of HTTP: passes requests on, and now and then does it badly.

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpStream};

use crate::listening::{Listening, head_of, length_of};

/// What goes wrong with one request.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Fault {
    /// It is answered so, and never arrives.
    Status(u16),
    /// It is answered so with these words, and never arrives.
    Refused(u16, &'static str),
    /// It is done, and the answer has these header lines too, each with its end.
    Headers(String),
    /// It is done, and nobody hears of it.
    Lost,
    /// It is done, and the answer ends in its middle.
    Cut,
}

/// Listens on a port of this machine, until it is dropped.
pub struct Proxy {
    pub endpoint: String,
    _listening: Listening,
}

impl Proxy {
    /// `fault` looks at the head of each request.
    pub fn start(endpoint: &str, fault: impl Fn(&str) -> Option<Fault> + Send + Sync + 'static) -> Proxy {
        let (server, folder) = parts(endpoint);
        let listening = Listening::start(move |client| pass_on(client, &server, &fault));
        Proxy { endpoint: format!("http://{}{folder}", listening.address), _listening: listening }
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
    let fault = fault(&head);
    let mut body = (&client).take(length_of(&head));
    let refusal = match fault {
        Some(Fault::Status(status)) => Some((status, "")),
        Some(Fault::Refused(status, words)) => Some((status, words)),
        _ => None,
    };
    if let Some((status, words)) = refusal {
        io::copy(&mut body, &mut io::sink())?;
        let length = words.len();
        let head = format!("HTTP/1.1 {status} As Ordered\r\ncontent-length: {length}\r\nconnection: close");
        return write!(client, "{head}\r\n\r\n{words}");
    }
    let mut upstream = TcpStream::connect(server)?;
    let head = head.trim_end();
    write!(upstream, "{head}\r\nconnection: close\r\n\r\n")?;
    io::copy(&mut body, &mut upstream)?;
    let mut answer = Vec::new();
    upstream.read_to_end(&mut answer)?;
    match fault {
        Some(Fault::Lost) => {}
        Some(Fault::Headers(lines)) => {
            let end = answer.windows(2).position(|w| w == b"\r\n").map_or(0, |at| at + 2);
            answer.splice(end..end, lines.into_bytes());
            client.write_all(&answer)?;
        }
        Some(Fault::Cut) => client.write_all(&answer[..answer.len() - answer.len() / 4])?,
        _ => client.write_all(&answer)?,
    }
    client.shutdown(Shutdown::Both)
}
