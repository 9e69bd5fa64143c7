//! Why a command failed, in one line for the person and one exit status for the script.

use std::path::{Path, PathBuf};

use keyark_api::client::ClientError;
use keyark_api::error::{ErrorCode, Exit};
use keyark_archive::ArchiveError;
use keyark_archive::anchor::AnchorError;
use keyark_archive::keyfile::KeyFileError;

/// What every command of this program fails with.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// The command line is not one that can be done.
    #[error("{0}")]
    Usage(String),
    /// It could be done, but must not, or not without being asked.
    #[error("{0}")]
    Refused(String),
    /// Something offline is not what it should be.
    #[error("{0}")]
    Damaged(String),
    #[error("{0}")]
    NotFound(String),
    /// The server on this machine could not start or stop.
    #[error("{0}")]
    Server(String),
    #[error("{path}: {source}")]
    File { path: PathBuf, source: std::io::Error },
    #[error("{0}")]
    Terminal(std::io::Error),
    #[error(transparent)]
    Client(#[from] ClientError),
    /// A job ended otherwise than well.
    #[error("the job {id} ended as {status:?}: {message}")]
    Job { id: String, status: String, message: String, code: Option<ErrorCode> },
    #[error(transparent)]
    Archive(#[from] ArchiveError),
    #[error(transparent)]
    KeyFile(#[from] KeyFileError),
    #[error(transparent)]
    Anchor(#[from] AnchorError),
}

impl Failure {
    /// For `map_err`: names the file that an operation failed on.
    pub fn at(path: &Path) -> impl FnOnce(std::io::Error) -> Failure {
        let path = path.to_owned();
        move |source| Failure::File { path, source }
    }

    /// The exit status, by the table of `docs/errors.md`.
    pub fn exit(&self) -> Exit {
        match self {
            Failure::Usage(_) => Exit::Usage,
            Failure::Refused(_) => Exit::Refused,
            Failure::Damaged(_) | Failure::Anchor(_) => Exit::Damaged,
            Failure::NotFound(_) => Exit::NotFound,
            Failure::Server(_) | Failure::Terminal(_) => Exit::Failure,
            Failure::File { source, .. } => exit_of_io(source),
            Failure::Client(e) => e.exit(),
            Failure::Job { code, .. } => code.map_or(Exit::Failure, ErrorCode::exit),
            Failure::Archive(e) => exit_of_archive(e),
            Failure::KeyFile(e) => match e {
                KeyFileError::NotAKeyFile(_) | KeyFileError::Contradicts | KeyFileError::Anchor(_) => Exit::Damaged,
                _ => Exit::Refused,
            },
        }
    }

    /// What stands below the message: the server's code, and the request to look for in its log.
    pub fn detail(&self) -> Option<String> {
        match self {
            Failure::Client(ClientError::Refused { status, body, retry_after }) => {
                let again = retry_after.map(|s| format!(", try again in {s} s")).unwrap_or_default();
                Some(format!(
                    "{} (code {}, HTTP status {status}, request {}{again})",
                    body.code_desc, body.code, body.request_id
                ))
            }
            _ => None,
        }
    }
}

fn exit_of_io(e: &std::io::Error) -> Exit {
    match e.kind() {
        std::io::ErrorKind::NotFound => Exit::NotFound,
        std::io::ErrorKind::PermissionDenied => Exit::Denied,
        std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded => Exit::Full,
        _ => Exit::Failure,
    }
}

fn exit_of_archive(e: &ArchiveError) -> Exit {
    match e {
        ArchiveError::UnknownSigner { .. }
        | ArchiveError::NeedsKey { .. }
        | ArchiveError::WrongKey { .. }
        | ArchiveError::MissingFactor { .. }
        | ArchiveError::NewerFormat { .. } => Exit::Refused,
        ArchiveError::Io(e) => exit_of_io(e),
        _ => Exit::Damaged,
    }
}
