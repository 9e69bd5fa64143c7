//! Typed access to records: headers as structs, bodies sealed and opened.

use std::ops::ControlFlow;

use keyark_crypto::SecretBytes;
use keyark_crypto::keyring::KeyringError;
use keyark_crypto::seal::RecordName;
use keyark_model::{DomainId, Id, Kind, Record, protection, schedule, ssh, system, webhook};
use keyark_store::Write;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::core::Core;
use super::error::{AppError, Result};

/// A header struct: which kind of record it heads, and which version its body belongs to.
pub trait Header: Serialize + DeserializeOwned {
    const KIND: Kind;

    /// Number of the newest version; 0 for kinds without versions.
    fn version(&self) -> u64 {
        0
    }
}

macro_rules! headers {
    ($($header:path: $kind:ident;)*) => {
        $(impl Header for $header {
            const KIND: Kind = Kind::$kind;
        })*
    };
}

headers! {
    system::KekHeader: Kek;
    system::NodeHeader: Node;
    system::SettingHeader: Setting;
    system::BackupKeyHeader: BackupKey;
    system::BackupHeader: Backup;
    system::JobHeader: Job;
    system::CounterHeader: Counter;
    protection::DestinationHeader: Destination;
    protection::InstanceHeader: BackupInstance;
    schedule::ScheduleHeader: Schedule;
    ssh::ConnectionHeader: Connection;
    webhook::WebhookHeader: Webhook;
}

/// A record with its header read.
pub struct Stored<H> {
    pub record: Record,
    pub header: H,
}

impl<H: Header> Stored<H> {
    pub fn id(&self) -> Id {
        self.record.id
    }

    pub fn revision(&self) -> u64 {
        self.record.revision
    }
}

impl Core {
    /// A record's header, read.
    pub fn read_header<H: Header>(&self, record: Record) -> Result<Stored<H>> {
        let header = serde_json::from_slice(&record.header)
            .map_err(|e| AppError::internal(format!("header of {} {}: {e}", record.kind, record.id)))?;
        Ok(Stored { record, header })
    }

    /// By id; not found is an error that says so.
    pub fn load<H: Header>(&self, domain: DomainId, id: Id) -> Result<Stored<H>> {
        let record = self.store.get(domain, H::KIND, id)?;
        self.read_header(record.ok_or_else(|| AppError::not_found(format_args!("{} {id}", H::KIND)))?)
    }

    /// By name or alias.
    pub fn load_named<H: Header>(&self, domain: DomainId, name: &str) -> Result<Stored<H>> {
        let found = self.find_named(domain, name)?;
        found.ok_or_else(|| AppError::not_found(format_args!("{} {name:?}", H::KIND)))
    }

    /// By name or alias, if there is one.
    pub fn find_named<H: Header>(&self, domain: DomainId, name: &str) -> Result<Option<Stored<H>>> {
        self.store.find(domain, H::KIND, name)?.map(|record| self.read_header(record)).transpose()
    }

    /// By id if it reads as one, else by name or alias.
    pub fn load_any<H: Header>(&self, domain: DomainId, id_or_name: &str) -> Result<Stored<H>> {
        if let Ok(id) = id_or_name.parse::<Id>() {
            match self.load(domain, id) {
                Err(e) if e.code == keyark_api::ErrorCode::NotFound => {}
                other => return other,
            }
        }
        self.load_named(domain, id_or_name)
    }

    /// Every record of a kind in a domain, in order of ids; for kinds of which a domain has few.
    pub fn load_all<H: Header>(&self, domain: DomainId) -> Result<Vec<Stored<H>>> {
        let mut all = Vec::new();
        self.store.scan(domain, H::KIND, |record| {
            all.push(record.to_record());
            ControlFlow::Continue(())
        })?;
        all.into_iter().map(|r| self.read_header(r)).collect()
    }

    /// The body in clear.
    pub fn open_body<H: Header>(&self, stored: &Stored<H>) -> Result<SecretBytes> {
        let name = record_name(&stored.record, stored.header.version());
        Ok(self.keyring.open(&name, &stored.record.header, &stored.record.body)?)
    }

    /// A new record, or the next revision of one.
    pub fn put<H: Header>(&self, domain: DomainId, id: Id, revision: u64, header: &H, body: &[u8]) -> Result<Write> {
        let bytes = serde_json::to_vec(header).map_err(AppError::internal)?;
        let name = RecordName { domain, kind: H::KIND, id, version: header.version(), revision };
        let body = self.seal(&name, &bytes, body)?;
        Ok(Write::Put { kind: H::KIND, id, revision, header: bytes.into(), body, purge: false })
    }

    /// The next revision with the same body, sealed against the new header.
    pub fn put_header<H: Header>(&self, stored: &Stored<H>, header: &H) -> Result<Write> {
        let body = self.open_body(stored)?;
        self.put(stored.record.domain, stored.id(), stored.revision() + 1, header, body.expose())
    }

    /// The tombstone that ends a record.
    pub fn delete<H: Header>(&self, stored: &Stored<H>) -> Write {
        Write::Delete { kind: H::KIND, id: stored.id(), revision: stored.revision() + 1 }
    }

    /// Seals; reserves more seals of the KEK when they run out (rules C2).
    pub fn seal(&self, name: &RecordName, header: &[u8], plaintext: &[u8]) -> Result<Box<[u8]>> {
        loop {
            match self.keyring.seal(name, header, plaintext) {
                Err(KeyringError::NeedsReservation { owner, generation }) => self.reserve_seals(owner, generation)?,
                other => return Ok(other?),
            }
        }
    }
}

/// The sealing name of a stored record.
pub fn record_name(record: &Record, version: u64) -> RecordName {
    RecordName { domain: record.domain, kind: record.kind, id: record.id, version, revision: record.revision }
}
