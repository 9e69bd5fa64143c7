//! Why an operation with a key failed, and what to do instead.

use keyark_model::key::KeySpec;

use crate::CryptoError;

/// One error for all algorithms. None of its messages says anything of a key or of data.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AlgorithmError {
    /// A key of another kind is needed.
    #[error("{spec} keys cannot {op}: use {use_instead}")]
    WrongAlgorithm { op: &'static str, spec: KeySpec, use_instead: &'static str },
    /// The caller can mend the request.
    #[error("{0}")]
    BadInput(&'static str),
    /// The caller must send less, or use a way without that limit.
    #[error("at most {limit} bytes can be done with this key in one go: {use_instead}")]
    TooLarge { limit: usize, use_instead: &'static str },
    /// A tag, signature, MAC or check value does not fit, or stored material is damaged. Says no more on purpose.
    #[error("the cryptographic check failed: wrong key, wrong parameters or altered data")]
    CheckFailed,
}

impl From<CryptoError> for AlgorithmError {
    fn from(_: CryptoError) -> AlgorithmError {
        AlgorithmError::CheckFailed
    }
}

/// What the library says of a failed operation: nothing, and so do we.
impl From<aws_lc_rs::error::Unspecified> for AlgorithmError {
    fn from(_: aws_lc_rs::error::Unspecified) -> AlgorithmError {
        AlgorithmError::CheckFailed
    }
}
