//! The product's own verbs on a base: take, restore up to the first decryption, verify, one key out of the archive.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use keyark_archive::{Archive, Counting, FactorKind, OpeningKey, RecordRef};
use keyark_backup::restore_system::{Extra, SystemRestore, build};
use keyark_backup::take::name_of;
use keyark_backup::{Facts, Links, Progress, RestoreOptions, TakeRequest, source, take};
use keyark_crypto::algorithm::{KeyBody, symmetric};
use keyark_crypto::hash::Sha256;
use keyark_crypto::seal::{Kek, generation_of};
use keyark_crypto::{SecretBytes, random};
use keyark_model::key::KeyHeader;
use keyark_model::system::NodeHeader;
use keyark_model::{ArchiveId, Id, Kind};
use keyark_server::app::Core;
use keyark_server::app::backups::made_new;
use keyark_server::boot;
use keyark_store::{Options, Store};

use crate::base::{Base, MESSAGE, NOW, domain};
use crate::clock::{Spent, timed};
use crate::figures::Outcome;
use crate::least::least_bytes;

impl Base {
    fn opening<'a>(&'a self, id: &'a str) -> OpeningKey<'a> {
        OpeningKey { kind: FactorKind::BackupKey, id, key: &self.backup_key_material }
    }

    /// A full backup of the system, read back.
    pub fn take(&self, path: &Path) -> Outcome<Spent> {
        let request = TakeRequest {
            store: &self.store,
            keyring: &self.keyring,
            signer: &self.signer,
            id: ArchiveId(random::uuid_v7(NOW)),
            domain: None,
            backup_key: self.backup_key,
            backup_key_material: &self.backup_key_material,
            creator: "local|bench".into(),
            description: String::new(),
            filters: BTreeMap::new(),
            select: None,
            since: None,
            stream: None,
            audit_from: NOW,
            now: NOW,
        };
        let (taken, spent) = timed(|| Ok(take(&request, path, &Progress::default())?))?;
        match taken.summary.counts.records.get(&Kind::Key) == Some(&self.keys) {
            true => Ok(spent),
            false => Err("the backup does not hold every key".into()),
        }
    }

    /// From the archive to a message that was encrypted before: verified, built, opened as by a server, decrypted.
    pub fn restore(&self, archive: &Path, into: &Path) -> Outcome<Spent> {
        let (core, spent) = timed(|| {
            let archive = source::open(archive, &self.anchor, None)?;
            let opened = source::unlock(&archive, self.backup_key, &self.backup_key_material)?;
            self.built(&Links::of(vec![&opened])?, into)
        })?;
        drop(core);
        boot::remove_database(into);
        Ok(spent)
    }

    /// Builds a store of a chain, opens it as a server does, and decrypts.
    pub fn built(&self, links: &Links<'_, '_>, into: &Path) -> Outcome<Core> {
        let mut extras = made_new(NOW)?;
        extras.push(signing()?);
        let (facts, options, root) = (Facts::default(), RestoreOptions::default(), &self.root);
        let restore = SystemRestore { links, root, facts: &facts, options: &options, extras, replaced: None, now: NOW };
        build(&restore, into, &Progress::default())?;
        let core = boot::open(Store::open(into, Options::default())?, &self.root)?;
        let stored = core.load::<KeyHeader>(domain(), self.wanted)?;
        let material = KeyBody::decode_one(stored.header.spec, &core.open_body(&stored)?, 0)?;
        let message = symmetric::decrypt(&material.ok_or("a key without material")?, b"", &self.ciphertext)?;
        match message.expose() == MESSAGE {
            true => Ok(core),
            false => Err("the restored key decrypts to something else".into()),
        }
    }

    /// Signature and hash of the file, as anybody with the anchor can check them.
    pub fn verify(&self, path: &Path) -> Outcome<Spent> {
        let ((), spent) = timed(|| {
            let archive = Archive::open(File::open(path)?)?;
            Ok(archive.verify(&self.anchor)?.require_pinned()?)
        })?;
        Ok(spent)
    }

    /// Signature, hash, GCM, decompression, order and counts, with the backup key.
    pub fn verify_full(&self, path: &Path) -> Outcome<Spent> {
        let id = self.backup_key.to_string();
        let (counts, spent) = timed(|| {
            let archive = Archive::open(File::open(path)?)?;
            archive.verdict(&self.anchor).require_pinned()?;
            let unlocked = archive.unlock(&self.opening(&id))?;
            Ok(unlocked.verify_full(|_| {})?)
        })?;
        match counts.records.get(&Kind::Key) == Some(&self.keys) {
            true => Ok(spent),
            false => Err("verification counts other keys than were backed up".into()),
        }
    }

    /// One key, opened, out of the closed archive. Besides the time: bytes read, and the least that must be read.
    pub fn one_key(&self, path: &Path) -> Outcome<((u64, u64), Spent)> {
        let counting = Counting::new(File::open(path)?);
        let id = self.backup_key.to_string();
        let ((), spent) = timed(|| self.key_out(&Archive::open(&counting)?, &id))?;
        let (_, read) = counting.take();
        let archive = Archive::open(&counting)?;
        let least = least_bytes(&archive, &archive.unlock(&self.opening(&id))?, domain(), self.wanted)?;
        Ok(((read, least), spent))
    }

    fn key_out(&self, archive: &Archive<&Counting<File>>, id: &str) -> Outcome {
        archive.verdict(&self.anchor).require_pinned()?;
        let unlocked = archive.unlock(&self.opening(id))?;
        let record = unlocked.record(domain(), Kind::Key, self.wanted)?.ok_or("the key is not in the archive")?;
        let generation = generation_of(&record.body).ok_or("a body that is too short")?;
        let kek = unlocked.kek(domain(), u64::from(generation))?.ok_or("the archive lacks the KEK of the key")?;
        let named = name_of(&RecordRef::of(&record));
        let body: SecretBytes = Kek::new(generation, kek).open(&named, &record.header, &record.body)?;
        let header: KeyHeader = serde_json::from_slice(&record.header)?;
        KeyBody::decode_one(header.spec, &body, 0)?.ok_or("a key without material")?;
        Ok(())
    }

    /// Where the n-th archive lies.
    pub fn archive(folder: &Path, n: usize) -> PathBuf {
        folder.join(format!("{n}.keyark"))
    }
}

/// What a system signs with; made new where the old machine is lost.
fn signing() -> Outcome<Extra> {
    let header = serde_json::to_vec(&NodeHeader { name: "signing".into(), public: String::new() })?;
    let body = SecretBytes::new(random::bytes::<32>().to_vec());
    Ok(Extra { kind: Kind::Node, id: Id(random::uuid_v7(NOW)), revision: 1, time: NOW, header, body })
}

/// Reading so many bytes of a file and hashing them, in seconds.
pub fn read_and_hash(path: &Path, bytes: u64) -> Outcome<f64> {
    let (digest, spent) = timed(|| {
        let mut file = File::open(path)?.take(bytes);
        let (mut hash, mut chunk) = (Sha256::default(), vec![0; 1 << 20]);
        loop {
            match file.read(&mut chunk)? {
                0 => return Ok(hash.finish()),
                n => hash.update(&chunk[..n]),
            }
        }
    })?;
    std::hint::black_box(digest);
    Ok(spent.wall)
}
