//! Errors as a caller sees them: one table of codes with HTTP status and the command line's exit status.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The body of every error answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ErrorBody {
    /// Number of the code, see `docs/errors.md`.
    pub code: u32,
    /// `NCERR…: text`.
    #[serde(rename = "codeDesc")]
    pub code_desc: String,
    /// What happened and what to do next.
    pub message: String,
    /// Names this request in the audit log.
    #[serde(rename = "requestID")]
    pub request_id: String,
}

/// Exit statuses of the command line.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Exit {
    Success = 0,
    Failure = 1,
    Usage = 2,
    NotFound = 3,
    Denied = 4,
    Conflict = 5,
    Refused = 6,
    Damaged = 7,
    Unavailable = 8,
    Full = 9,
}

macro_rules! codes {
    ($($name:ident = $number:literal, $wire:literal, $status:literal, $exit:ident, $text:literal;)*) => {
        /// Every error code.
        #[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
        pub enum ErrorCode { $(#[doc = $text] $name,)* }

        impl ErrorCode {
            pub const ALL: &'static [ErrorCode] = &[$(ErrorCode::$name,)*];

            pub fn number(self) -> u32 { match self { $(ErrorCode::$name => $number,)* } }
            /// The `NCERR…` name.
            pub fn wire(self) -> &'static str { match self { $(ErrorCode::$name => $wire,)* } }
            /// HTTP status.
            pub fn status(self) -> u16 { match self { $(ErrorCode::$name => $status,)* } }
            /// Exit status of the command line.
            pub fn exit(self) -> Exit { match self { $(ErrorCode::$name => Exit::$exit,)* } }
            /// The general description.
            pub fn text(self) -> &'static str { match self { $(ErrorCode::$name => $text,)* } }
            pub fn from_number(number: u32) -> Option<ErrorCode> {
                match number { $($number => Some(ErrorCode::$name),)* _ => None }
            }
        }
    };
}

codes! {
    Unauthorized = 5, "NCERRUnauthorizedAccess", 401, Denied, "Not authenticated: the token or password is missing, wrong, expired or revoked";
    InvalidParam = 9, "NCERRInvalidParamValue", 400, Refused, "A parameter has a value that is not allowed";
    BadRequest = 15, "NCERRBadRequest", 400, Refused, "The request cannot be read";
    NotFound = 16, "NCERRResourceNotFound", 404, NotFound, "Resource not found";
    CryptoFailed = 106, "NCERRCryptoOperationFailed", 400, Refused, "The cryptographic operation failed";
    Forbidden = 1001, "NCERRInsufficientPermissions", 403, Denied, "The caller may not do this";
    Conflict = 1002, "NCERRConflict", 409, Conflict, "The resource changed in between or its state does not allow this";
    AlreadyExists = 1003, "NCERRConflict", 409, Conflict, "A resource with this name or id exists";
    KeyAlreadyExists = 1004, "NCERRKeyAlreadyExists", 409, Conflict, "A key with this name, alias or id exists";
    PreconditionFailed = 1005, "NCERRPreconditionFailed", 412, Conflict, "If-Match names another revision than the current one";
    TooLarge = 1006, "NCERRRequestTooLarge", 413, Refused, "The request is larger than allowed";
    TooManyAttempts = 1007, "NCERRTooManyAttempts", 429, Denied, "Too many failed attempts: wait and try again";
    Internal = 1008, "NCERRInternalServerError", 500, Failure, "The server failed; its log has the reason under the request id";
    Unavailable = 1009, "NCERRServiceUnavailable", 503, Unavailable, "The server cannot answer now: a restore is running or it is stopping";
    StorageFull = 1010, "NCERRInsufficientStorage", 507, Full, "The disk is nearly full: writes are refused, reads go on";
    QuotaExceeded = 1011, "NCERRQuotaExceeded", 409, Conflict, "The domain's quota does not allow more";
    OperationRunning = 1012, "NCERROperationInProgress", 409, Unavailable, "Another backup or restore operation is running";
    KeyState = 1013, "NCERRKeyStateInvalid", 409, Conflict, "The key's state does not allow this operation";
    ConfirmNeeded = 1014, "NCERRConfirmationRequired", 400, Refused, "Name the resource again in `confirm`";
    UsageLimit = 1015, "NCERRUsageLimitReached", 409, Conflict, "This key version has reached its limit of encryptions: rotate the key";
    NotAnArchive = 1016, "NCERRNotABackup", 400, Damaged, "The file is no backup of this product";
    ArchiveDamaged = 1017, "NCERRBackupDamaged", 400, Damaged, "The backup was cut or altered";
    WrongBackupKey = 1018, "NCERRWrongBackupKey", 400, Refused, "The backup key does not open this backup";
    UnknownSigner = 1019, "NCERRUnknownSigner", 409, Refused, "The backup is intact but its signer is not pinned here";
    NewerFormat = 1020, "NCERRNewerVersion", 409, Refused, "Made by a newer version of the product";
    WrongScope = 1021, "NCERRWrongScope", 409, Refused, "The backup or backup key is of another scope";
    PlanChanged = 1022, "NCERRPlanChanged", 409, Conflict, "What the plan names has changed since it was made";
    RestoreConflict = 1023, "NCERRRestoreConflict", 409, Conflict, "The restore meets resources that exist or lacks something that it needs";
    PasswordChangeRequired = 1024, "NCERRPasswordChangeRequired", 403, Denied, "This password can do nothing but be changed";
    LastAdmin = 1025, "NCERRLastAdmin", 409, Conflict, "At least one member of the group admin must remain";
    Undeletable = 1026, "NCERRUndeletable", 409, Conflict, "The key is marked undeletable";
    Unexportable = 1027, "NCERRUnexportable", 403, Denied, "The key is marked unexportable";
    WrongPassword = 1028, "NCERRWrongPassword", 400, Refused, "The password does not open this file";
    InUse = 1029, "NCERRResourceInUse", 409, Conflict, "Something else still needs this resource";
    BackupKeyMissing = 1030, "NCERRBackupKeyMissing", 409, Refused, "The backup key is not here: upload it first";
    MethodNotAllowed = 1031, "NCERRMethodNotAllowed", 405, Refused, "This path does not know this method";
    UnsupportedMedia = 1032, "NCERRUnsupportedMediaType", 415, Refused, "The body must be application/json";
    RangeNotSatisfiable = 1033, "NCERRRangeNotSatisfiable", 416, Refused, "The range lies outside the file";
    IdempotencyMismatch = 1034, "NCERRIdempotencyMismatch", 422, Conflict, "This Idempotency-Key was used with another request";
    Suspended = 1035, "NCERRSystemSuspended", 409, Refused, "The system was restored and is not activated yet";
    DestinationFailed = 1037, "NCERRDestinationFailed", 502, Unavailable, "A destination did not do what was asked of it";
    NoPoint = 1038, "NCERRNoRestorePoint", 404, NotFound, "There is no such point in time; the message names the nearest ones";
    InstanceExpired = 1039, "NCERRBackupInstanceExpired", 409, Refused, "The backup instance has expired: renew it";
    EncryptionKeyMissing = 1046, "NCERREncryptionKeyMissing", 409, Conflict, "A secret to be restored needs a key that is neither here nor comes along";
    StoreRolledBack = 1045, "NCERRStoreRolledBack", 409, Refused, "This machine was set back to an older state: writes wait for a decision, reads go on";
    LegalHold = 1047, "NCERRLegalHold", 409, Refused, "A legal hold keeps this: lift it first";
    Cancelled = 1036, "NCERRCancelled", 409, Failure, "The operation was cancelled";
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::ErrorCode;

    #[test]
    fn every_code_has_its_own_number_and_name_a_status_and_a_failing_exit() {
        let numbers: HashSet<_> = ErrorCode::ALL.iter().map(|c| c.number()).collect();
        let names: HashSet<_> = ErrorCode::ALL.iter().map(|c| c.wire()).collect();
        // Clients know one name for two of them.
        assert_eq!(ErrorCode::AlreadyExists.wire(), ErrorCode::Conflict.wire());
        assert_eq!((numbers.len(), names.len()), (ErrorCode::ALL.len(), ErrorCode::ALL.len() - 1));
        for code in ErrorCode::ALL {
            assert!((400..600).contains(&code.status()), "{code:?}");
            assert_ne!(code.exit() as i32, 0, "{code:?}");
            assert_eq!(ErrorCode::from_number(code.number()), Some(*code));
            assert!(code.wire().starts_with("NCERR"));
        }
    }
}
