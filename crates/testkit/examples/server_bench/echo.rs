//! The limit of any server here: a process that reads so many bytes and writes so many, without looking at them.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Runtime;

use crate::client::Dial;
use crate::figures::Outcome;

/// The word by which this program is told to be the echo.
pub const ROLE: &str = "echo";

/// A running echo.
pub struct Echo {
    child: Child,
    pub dial: Dial,
}

impl Echo {
    /// Starts one that answers every `request` bytes with `answer` bytes.
    pub fn start(request: usize, answer: usize) -> Outcome<Echo> {
        let mut command = Command::new(std::env::current_exe()?);
        command.args([ROLE, &request.to_string(), &answer.to_string()]);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let stdout = child.stdout.take().expect("it was piped");
        let mut line = String::new();
        BufReader::new(stdout).read_line(&mut line)?;
        Ok(Echo { child, dial: Dial::plain(line.trim().parse()?) })
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for Echo {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What the process does: tells its address, and answers until its standard input ends with its parent.
pub fn serve(sizes: &[String]) -> Outcome {
    let size = |at: usize| -> Outcome<usize> { Ok(sizes.get(at).ok_or("the echo needs two sizes")?.parse()?) };
    let (request, answer) = (size(0)?, answer_of(size(1)?));
    let runtime = Runtime::new()?;
    let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0"))?;
    println!("{}", listener.local_addr()?);
    runtime.spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(echo(stream, request, answer.clone()));
        }
    });
    std::io::copy(&mut std::io::stdin(), &mut std::io::sink())?;
    Ok(())
}

async fn echo(mut stream: TcpStream, request: usize, answer: Arc<[u8]>) {
    let _ = stream.set_nodelay(true);
    let mut buffer = vec![0; request];
    while stream.read_exact(&mut buffer).await.is_ok() && stream.write_all(&answer).await.is_ok() {}
}

/// An answer of that many bytes that a client of HTTP takes.
fn answer_of(total: usize) -> Arc<[u8]> {
    let head = |length: usize| format!("HTTP/1.1 200 OK\r\ncontent-length: {length:08}\r\n\r\n").into_bytes();
    let length = total.saturating_sub(head(0).len());
    let mut answer = head(length);
    answer.resize(answer.len() + length, b' ');
    answer.into()
}
