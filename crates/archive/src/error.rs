//! The ways an archive fails to be written or read: each names the culprit and says what to do next.

use keyark_model::DomainId;

/// Why an archive was not written, opened or believed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ArchiveError {
    #[error(
        "this is not a Keyark archive: it does not start with the magic bytes; check that the right file was named"
    )]
    NotAnArchive,
    #[error(
        "the archive is cut or has bytes behind its end: {part} does not fit in {length} bytes; fetch the file again, \
         or take another copy"
    )]
    Truncated { part: &'static str, length: u64 },
    #[error("the archive's header is damaged: {0}; take another copy")]
    HeaderDamaged(String),
    #[error("the archive's footer is damaged: {0}; take another copy")]
    FooterDamaged(String),
    #[error("the archive's body is damaged in segment {segment} (1 MiB each, from 0); take another copy")]
    BodyDamaged { segment: u32 },
    #[error("the archive's body is not the one that was signed (its SHA-256 differs); take another copy")]
    BodyReplaced,
    #[error("the archive's index is damaged: {0}; take another copy")]
    IndexDamaged(&'static str),
    #[error("block {block} of the archive is damaged: {what}; take another copy")]
    BlockDamaged { block: usize, what: &'static str },
    #[error("the archive's signature is bad: {0}; do not restore from it, take another copy")]
    SignatureBad(&'static str),
    #[error(
        "the archive is whole, but the key that signed it ({key_id}) is not pinned: name that key to accept it, \
         or pin the anchor of the system that made it"
    )]
    UnknownSigner { key_id: String },
    #[error("the archive needs one of these keys: {needs}; import the key, or name its file")]
    NeedsKey { needs: String },
    #[error("this key does not open the archive although it has the right id ({id}); export it again from its system")]
    WrongKey { id: String },
    #[error("the unwrapped key belongs to another archive (the commitment differs); the wrap was swapped or altered")]
    CommitmentDiffers,
    #[error("the archive also needs: {needs}")]
    MissingFactor { needs: String },
    #[error(
        "a wrap opens with {wrap}, which is none of the doors that the signed header declares; do not trust this file"
    )]
    FewerFactors { wrap: String },
    #[error("the archive has format {format}, made by Keyark {product}; open it with that version or a later one")]
    NewerFormat { format: u64, product: String },
    #[error("{what} is larger ({size} bytes) than an archive allows ({limit}); it was refused before it was inflated")]
    TooLarge { what: &'static str, size: u64, limit: u64 },
    #[error("{what} came out of order; an archive is written and read sorted")]
    OutOfOrder { what: &'static str },
    #[error("domain {found} does not belong in this archive, which is of domain {expected}")]
    OtherDomain { found: DomainId, expected: DomainId },
    #[error("a record is of kind number {0}, which this version does not know; open the archive with a later version")]
    UnknownKind(u64),
    #[error("the header to be written is not valid: {0}")]
    BadDraft(&'static str),
    #[error("reading or writing the archive failed: {0}")]
    Io(#[from] std::io::Error),
}

/// The result of everything in this crate that touches an archive.
pub type Result<T> = std::result::Result<T, ArchiveError>;
