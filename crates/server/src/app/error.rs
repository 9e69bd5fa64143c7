//! An error of a handler: a code and a message for the caller, a reason for the log.

use keyark_api::{ErrorBody, ErrorCode};
use keyark_crypto::keyring::KeyringError;
use keyark_store::{CommitError, Fault, Must};

/// What a handler answers when it cannot do what was asked.
#[derive(Debug, Clone)]
pub struct AppError {
    pub code: ErrorCode,
    /// For the caller: what happened and what to do next.
    pub message: String,
    /// For the log only.
    pub internal: Option<String>,
    /// Seconds after which trying again makes sense.
    pub retry_after: Option<u32>,
}

pub type Result<T> = std::result::Result<T, AppError>;

impl AppError {
    pub fn new(code: ErrorCode, message: impl Into<String>) -> AppError {
        AppError { code, message: message.into(), internal: None, retry_after: None }
    }

    pub fn invalid(message: impl Into<String>) -> AppError {
        AppError::new(ErrorCode::InvalidParam, message)
    }

    /// What is not there, or must not be seen: both look the same.
    pub fn not_found(what: impl std::fmt::Display) -> AppError {
        AppError::new(ErrorCode::NotFound, format!("{what} was not found in this domain"))
    }

    pub fn conflict(message: impl Into<String>) -> AppError {
        AppError::new(ErrorCode::Conflict, message)
    }

    pub fn internal(reason: impl std::fmt::Display) -> AppError {
        AppError {
            code: ErrorCode::Internal,
            message: "the server could not do this; its log has the reason under the request id".into(),
            internal: Some(reason.to_string()),
            retry_after: None,
        }
    }

    pub fn unauthorized() -> AppError {
        AppError::new(
            ErrorCode::Unauthorized,
            "log in first: the token or password is missing, wrong, expired or revoked",
        )
    }

    pub fn forbidden(action: &str) -> AppError {
        AppError::new(ErrorCode::Forbidden, format!("the caller may not do {action} in this domain"))
    }

    pub fn body(&self, request_id: &str) -> ErrorBody {
        ErrorBody {
            code: self.code.number(),
            code_desc: format!("{}: {}", self.code.wire(), self.code.text()),
            message: self.message.clone(),
            request_id: request_id.into(),
        }
    }
}

impl std::fmt::Display for AppError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.code.wire(), self.message)?;
        self.internal.as_ref().map_or(Ok(()), |reason| write!(f, " ({reason})"))
    }
}

impl std::error::Error for AppError {}

impl From<keyark_backup::Cancelled> for AppError {
    fn from(e: keyark_backup::Cancelled) -> Self {
        AppError::new(ErrorCode::Cancelled, e.to_string())
    }
}

impl From<Fault> for AppError {
    fn from(e: Fault) -> Self {
        match e {
            Fault::Full(_) => full(),
            other => AppError::internal(other),
        }
    }
}

fn full() -> AppError {
    AppError::new(
        ErrorCode::StorageFull,
        "the disk is nearly full: writes are refused until space is freed; reads and cryptography go on",
    )
}

impl From<KeyringError> for AppError {
    fn from(e: KeyringError) -> Self {
        AppError::internal(e)
    }
}

impl From<CommitError> for AppError {
    fn from(e: CommitError) -> Self {
        match e {
            CommitError::NameTaken { kind, name, .. } => {
                let code = match kind {
                    keyark_model::Kind::Key => ErrorCode::KeyAlreadyExists,
                    _ => ErrorCode::AlreadyExists,
                };
                AppError::new(code, format!("the name {name:?} is taken in {kind} of this domain; choose another"))
            }
            CommitError::Unmet(Must::WeightAtMost { kind, limit, .. }) => AppError::new(
                ErrorCode::QuotaExceeded,
                format!("the domain may hold {limit} {kind}; delete some or ask for a larger quota"),
            ),
            CommitError::Elsewhere { kind, .. } => {
                AppError::new(ErrorCode::AlreadyExists, format!("this id is taken in {kind}; choose another"))
            }
            CommitError::Full(_) => full(),
            CommitError::Busy | CommitError::Closed => {
                let mut e = AppError::new(ErrorCode::Unavailable, "the server cannot take more now; try again");
                e.retry_after = Some(1);
                e
            }
            e @ (CommitError::Conflict { .. } | CommitError::Unmet(_)) => {
                AppError::conflict(format!("it changed in between ({e})"))
            }
            other => AppError::internal(other),
        }
    }
}
