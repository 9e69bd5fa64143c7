//! The older `scp` protocol, as OpenSSH's `scp -O` speaks it: one file there, one file back.

use std::path::Path;

use russh::ChannelStream;
use russh::client::Msg;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufStream};

use super::Connection;
use crate::destination::DestinationError;

type Talk = BufStream<ChannelStream<Msg>>;

/// In the shell of the other side.
fn quoted(path: &str) -> String {
    format!("'{}'", path.replace('\'', r"'\''"))
}

fn broken(e: std::io::Error) -> DestinationError {
    match e.kind() {
        std::io::ErrorKind::UnexpectedEof => {
            DestinationError::Other("the host ended the transfer; does it have the program scp?".into())
        }
        _ => DestinationError::Unreachable(e.to_string()),
    }
}

/// What the other side says of itself: nothing if all is well, else a line.
async fn accepted(talk: &mut Talk) -> Result<(), DestinationError> {
    match talk.read_u8().await.map_err(broken)? {
        0 => Ok(()),
        _ => Err(said(&line(talk).await?)),
    }
}

async fn line(talk: &mut Talk) -> Result<String, DestinationError> {
    let mut bytes = Vec::new();
    let limited = &mut talk.take(4096);
    limited.read_until(b'\n', &mut bytes).await.map_err(broken)?;
    Ok(String::from_utf8_lossy(&bytes).trim().to_owned())
}

fn said(line: &str) -> DestinationError {
    let line: String = line.chars().filter(|c| !c.is_control()).collect();
    match line.as_str() {
        l if l.contains("No such file") => DestinationError::NotFound(line),
        l if l.contains("Permission denied") => DestinationError::Denied(line),
        l if l.contains("No space left") || l.contains("quota") => DestinationError::Full(line),
        _ => DestinationError::Other(line),
    }
}

async fn tell(talk: &mut Talk, bytes: &[u8]) -> Result<(), DestinationError> {
    talk.write_all(bytes).await.map_err(broken)?;
    talk.flush().await.map_err(broken)
}

/// Whether a folder can take files.
pub async fn folder_takes(connection: &Connection, folder: &str) -> Result<(), DestinationError> {
    let command = format!("scp -t -d -- {}", quoted(folder));
    let mut talk = BufStream::new(connection.run(&command).await?);
    accepted(&mut talk).await
}

/// Sends a file to a path; what is there is overwritten, so ask before.
pub async fn send(connection: &Connection, path: &str, file: &Path) -> Result<(), DestinationError> {
    let local = |e: std::io::Error| DestinationError::Other(format!("{}: {e}", file.display()));
    let mut content = tokio::fs::File::open(file).await.map_err(local)?;
    let length = content.metadata().await.map_err(local)?.len();
    let mut talk = BufStream::new(connection.run(&format!("scp -t -- {}", quoted(path))).await?);
    accepted(&mut talk).await?;
    let name = path.rsplit('/').next().unwrap_or(path);
    tell(&mut talk, format!("C0600 {length} {name}\n").as_bytes()).await?;
    accepted(&mut talk).await?;
    tokio::io::copy(&mut content, &mut talk).await.map_err(broken)?;
    tell(&mut talk, &[0]).await?;
    accepted(&mut talk).await
}

/// Reads a file, piece by piece; its length.
pub async fn fetch(
    connection: &Connection,
    path: &str,
    mut each: impl FnMut(&[u8]) -> Result<(), DestinationError>,
) -> Result<u64, DestinationError> {
    let mut talk = BufStream::new(connection.run(&format!("scp -f -- {}", quoted(path))).await?);
    tell(&mut talk, &[0]).await?;
    let head = match talk.read_u8().await.map_err(broken)? {
        b'C' => line(&mut talk).await?,
        _ => return Err(said(&line(&mut talk).await?)),
    };
    let length = head.split(' ').nth(1).and_then(|n| n.parse::<u64>().ok());
    let length = length.ok_or_else(|| DestinationError::Other(format!("the host's scp says {head:?}")))?;
    tell(&mut talk, &[0]).await?;
    let (mut left, mut piece) = (length, vec![0; 1 << 18]);
    while left > 0 {
        let want = piece.len().min(usize::try_from(left).unwrap_or(usize::MAX));
        let got = talk.read(&mut piece[..want]).await.map_err(broken)?;
        if got == 0 {
            return Err(broken(std::io::ErrorKind::UnexpectedEof.into()));
        }
        each(&piece[..got])?;
        left -= got as u64;
    }
    accepted(&mut talk).await?;
    tell(&mut talk, &[0]).await?;
    Ok(length)
}

#[cfg(test)]
mod tests {
    use super::quoted;

    #[test]
    fn a_path_is_one_word_for_the_shell() {
        assert_eq!(quoted("/a b/$(c)"), "'/a b/$(c)'");
        assert_eq!(quoted("it's"), r"'it'\''s'");
    }
}
