//! Files up and down, with a bar; a download that broke off goes on where it stopped.

use std::fs::File;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use keyark_api::client::{Answer, ClientError, Download};
use keyark_api::{ErrorCode, Method};
use serde_json::Value;

use crate::caller::Caller;
use crate::failure::Failure;
use crate::tree::Verb;
use crate::{ask, files, progress};

/// Sends a file.
pub fn upload(caller: &mut Caller<'_>, verb: &Verb, request: &Value, path: &Path) -> Result<Answer, Failure> {
    let file = File::open(path).map_err(Failure::at(path))?;
    let length = file.metadata().map_err(Failure::at(path))?.len();
    let bar = progress::bytes(&path.display().to_string(), Some(length));
    let answer = caller.with(verb.endpoint.right, |client| {
        // A second try with a new token reads the file again from its start.
        let mut again = &file;
        std::io::Seek::rewind(&mut again).map_err(|e| ClientError::Request(e.to_string()))?;
        bar.set_position(0);
        client.upload(&verb.endpoint, request.clone(), &mut bar.wrap_read(again), length)
    });
    bar.finish_and_clear();
    answer
}

/// Fetches a file: to `path.part` first, named when it is whole and on disk. Gives its length.
pub fn download(caller: &mut Caller<'_>, verb: &Verb, request: &Value, path: &Path) -> Result<u64, Failure> {
    ask::replace(path, caller.given.has("yes"))?;
    let (part, tag) = (files::beside(path, ".part"), files::beside(path, ".part.etag"));
    // What another method answers may differ each time, so it cannot be continued.
    let from = if verb.endpoint.method == Method::GET { broken_off(&part, &tag)? } else { None };
    let fetch = |caller: &mut Caller<'_>, from: Option<(u64, &str)>| {
        caller.with(verb.endpoint.right, |client| client.download(&verb.endpoint, request.clone(), from))
    };
    let coming = match fetch(&mut *caller, from.as_ref().map(|(offset, etag)| (*offset, etag.as_str()))) {
        // All of it had arrived, or it is another file now.
        Err(Failure::Client(e)) if e.code() == Some(ErrorCode::RangeNotSatisfiable) => fetch(caller, None)?,
        other => other?,
    };
    if let Some(etag) = &coming.etag {
        files::write_private(&tag, etag.as_bytes())?;
    }
    let written = write(coming, &part)?;
    files::publish(&part, path)?;
    match std::fs::remove_file(&tag) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => Err(Failure::at(&tag)(e)),
        _ => Ok(written),
    }
}

/// How much of which bytes an earlier try has left.
fn broken_off(part: &Path, tag: &Path) -> Result<Option<(u64, String)>, Failure> {
    let Some(etag) = files::bytes_if_there(tag)?.and_then(|b| String::from_utf8(b).ok()) else { return Ok(None) };
    let length = std::fs::metadata(part).map_or(0, |m| m.len());
    Ok((length > 0 && etag.starts_with('"')).then_some((length, etag)))
}

fn write(mut coming: Download, part: &Path) -> Result<u64, Failure> {
    let mut options = File::options();
    options.write(true).create(true).mode(0o600).truncate(coming.offset == 0).append(coming.offset > 0);
    let mut file = options.open(part).map_err(Failure::at(part))?;
    let bar = progress::bytes(&part.display().to_string(), coming.length);
    bar.set_position(coming.offset);
    let mut written = coming.offset;
    let mut chunk = vec![0; 256 << 10];
    loop {
        let got = std::io::Read::read(&mut coming.reader, &mut chunk).map_err(|e| broken(&e, written))?;
        if got == 0 {
            break;
        }
        file.write_all(&chunk[..got]).map_err(Failure::at(part))?;
        written += got as u64;
        bar.set_position(written);
    }
    bar.finish_and_clear();
    if coming.length.is_some_and(|length| length != written) {
        return Err(broken(&"the connection ended early", written));
    }
    file.sync_all().map_err(Failure::at(part))?;
    Ok(written)
}

fn broken(why: &dyn std::fmt::Display, written: u64) -> Failure {
    Failure::Server(format!(
        "the download broke off after {written} bytes ({why}): the same command goes on from there"
    ))
}
