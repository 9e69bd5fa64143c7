//! The local administration socket: one HTTP exchange over a Unix socket that only the server's own user can open.

use std::io::{IsTerminal, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use keyark_api::client::ClientError;
use keyark_server::Folder;
use serde_json::{Value, json};

use crate::failure::Failure;
use crate::files;
use crate::output::{self, Format};

const PATIENCE: Duration = Duration::from_secs(60);
/// The largest answer in bytes.
const LARGEST: u64 = 1 << 20;

/// `keyark user reset-admin`: a new first password for `admin`.
pub fn reset_admin(data: &Path, format: Format) -> Result<(), Failure> {
    let folder = Folder::at(data);
    let mut answer = post(&folder.admin_socket(), "/v1/local/reset-admin", &json!({}))?;
    if !std::io::stdout().is_terminal()
        && let Some(Value::String(password)) = answer.as_object_mut().and_then(|fields| fields.remove("password"))
    {
        let path = folder.first_password();
        files::write_private(&path, format!("{password}\n").as_bytes())?;
        eprintln!("The new password, good for 24 hours, is in {}.", path.display());
    }
    output::show_value(&answer, format)
}

fn post(socket: &Path, path: &str, body: &Value) -> Result<Value, Failure> {
    let mut stream = UnixStream::connect(socket).map_err(|e| match e.kind() {
        std::io::ErrorKind::NotFound | std::io::ErrorKind::ConnectionRefused => Failure::Refused(format!(
            "no server runs on the data folder of {}: start it, or name its folder with --data",
            socket.display()
        )),
        _ => Failure::at(socket)(e),
    })?;
    let body = body.to_string();
    let request = format!(
        "POST {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Type: application/json\r\n\
         Content-Length: {}\r\n\r\n{body}",
        body.len()
    );
    let mut answer = Vec::new();
    let exchanged = stream.set_read_timeout(Some(PATIENCE)).and_then(|()| {
        stream.write_all(request.as_bytes())?;
        (&mut stream).take(LARGEST).read_to_end(&mut answer)
    });
    exchanged.map_err(Failure::at(socket))?;
    parse(&answer, &socket.display().to_string())
}

/// Status and body of an answer whose end is the end of the connection.
fn parse(answer: &[u8], url: &str) -> Result<Value, Failure> {
    let foreign = |status| Failure::Client(ClientError::Foreign { url: url.into(), status });
    let end = answer.windows(4).position(|w| w == b"\r\n\r\n").ok_or_else(|| foreign(0))?;
    let head = String::from_utf8_lossy(&answer[..end]).to_ascii_lowercase();
    let status: u16 = head.split(' ').nth(1).and_then(|s| s.parse().ok()).ok_or_else(|| foreign(0))?;
    if head.contains("transfer-encoding:") {
        return Err(foreign(status));
    }
    let body = &answer[end + 4..];
    match status {
        204 => Ok(Value::Null),
        200..=299 => serde_json::from_slice(body).map_err(|e| Failure::Client(e.into())),
        _ => Err(match serde_json::from_slice(body) {
            Ok(body) => Failure::Client(ClientError::Refused { status, body, retry_after: None }),
            Err(_) => foreign(status),
        }),
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::os::unix::net::UnixListener;

    use keyark_api::error::Exit;
    use serde_json::json;

    use super::{parse, post};

    #[test]
    fn an_exchange_over_a_socket() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("admin.sock");
        let listener = UnixListener::bind(&path).unwrap();
        let server = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut seen = Vec::new();
            let mut byte = [0];
            while !seen.ends_with(b"\r\n\r\n{}") && stream.read(&mut byte).unwrap() == 1 {
                seen.push(byte[0]);
            }
            stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 16\r\n\r\n{\"user\":\"admin\"}").unwrap();
            String::from_utf8(seen).unwrap()
        });
        assert_eq!(post(&path, "/v1/local/x", &json!({})).unwrap(), json!({ "user": "admin" }));
        let seen = server.join().unwrap();
        assert!(seen.starts_with("POST /v1/local/x HTTP/1.1\r\n") && seen.contains("Content-Length: 2\r\n"), "{seen}");
        std::fs::remove_file(&path).unwrap();
        assert_eq!(post(&path, "/", &json!({})).unwrap_err().exit(), Exit::Refused);
    }

    #[test]
    fn refusals_keep_their_code_and_nonsense_is_no_answer() {
        let refused =
            b"HTTP/1.1 403 Forbidden\r\n\r\n{\"code\":1001,\"codeDesc\":\"c\",\"message\":\"m\",\"requestID\":\"r\"}";
        assert_eq!(parse(refused, "s").unwrap_err().exit(), Exit::Denied);
        for bad in [&b""[..], b"hello", b"HTTP/1.1 500 x\r\n\r\n", b"HTTP/1.1 200 OK\r\n\r\n{", b"HTTP/1.1\r\n\r\n"] {
            assert_eq!(parse(bad, "s").unwrap_err().exit(), Exit::Failure);
        }
    }
}
