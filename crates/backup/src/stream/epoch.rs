//! The key of an epoch: it wraps the DEKs of a stream's archives, and the backup key wraps it (rules D5).

use keyark_archive::json::Base64;
use keyark_archive::{Door, Factor, FactorKind, OpeningKey, Scope};
use keyark_crypto::{Key256, random, wrap};
use keyark_model::{DomainId, Id, Time};
use uuid::Uuid;

use super::names::StreamPlace;
use super::note::EpochNote;

/// A full archive begins a new one, so does a start of the server: its key stands in epoch files only.
pub struct Epoch {
    pub id: Uuid,
    pub since: Time,
    key: Key256,
    text: String,
}

/// Why an epoch file does not give its key.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EpochError {
    #[error("the epoch file needs more than the backup key: {0}")]
    Factors(String),
    #[error(
        "backup key {0} does not open this epoch file, although it has that key's id: the file or the key was exchanged"
    )]
    WrongKey(Id),
}

fn purpose<'a>(epoch: &'a Uuid, domain: &'a DomainId) -> wrap::Purpose<'a> {
    wrap::Purpose { name: "epoch-key", context: epoch.as_bytes(), domain: domain.as_bytes(), generation: 0 }
}

impl Epoch {
    pub fn begin(now: Time) -> Epoch {
        Epoch::with(random::uuid_v7(now), now, random::secret::<32>())
    }

    fn with(id: Uuid, since: Time, key: Key256) -> Epoch {
        Epoch { id, since, key, text: id.hyphenated().to_string() }
    }

    /// What opens the archives of this epoch.
    pub fn opening(&self) -> OpeningKey<'_> {
        OpeningKey { kind: FactorKind::EpochKey, id: &self.text, key: &self.key }
    }

    /// The epoch file that gives this key to whoever has the backup key.
    pub fn note(&self, place: &StreamPlace, domain: Option<DomainId>, backup_key: Id, material: &Key256) -> EpochNote {
        let wrapped = wrap::wrap(material, &purpose(&self.id, &domain.unwrap_or(DomainId::ROOT)), self.key.expose());
        EpochNote {
            system: place.system,
            incarnation: place.incarnation,
            stream: place.stream,
            scope: domain.map_or(Scope::System, |_| Scope::Domain),
            domain,
            epoch: self.id,
            created_at: self.since,
            factors: Door::backup_key(backup_key).factors,
            wrapped: Base64(wrapped),
        }
    }

    /// The key out of an epoch file.
    pub fn open(note: &EpochNote, backup_key: Id, material: &Key256) -> Result<Epoch, EpochError> {
        let wanted = Factor { kind: FactorKind::BackupKey, id: backup_key.to_string() };
        if note.factors != [wanted] {
            let all: Vec<String> = note.factors.iter().map(ToString::to_string).collect();
            return Err(EpochError::Factors(all.join(", ")));
        }
        let domain = note.domain.unwrap_or(DomainId::ROOT);
        let key = wrap::unwrap(material, &purpose(&note.epoch, &domain), &note.wrapped.0).ok();
        let key = key.and_then(|key| Key256::from_slice(key.expose())).ok_or(EpochError::WrongKey(backup_key))?;
        Ok(Epoch::with(note.epoch, note.created_at, key))
    }
}
