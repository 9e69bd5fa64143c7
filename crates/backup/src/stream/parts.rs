//! The parts of a point: local archives, each the base of the next, and never more than can be read at once.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::BufWriter;
use std::path::Path;

use keyark_archive::{Archive, ArchiveError, Chain, Closing, EntryRef, Header, RecordRef, Writer};
use keyark_crypto::sign::Signer;
use keyark_crypto::{Key256, random};
use keyark_model::{DomainId, Id, Kind};
use tempfile::TempPath;

use super::point::PointError;
use crate::links::Links;
use crate::source::{self, Opened};

/// So many are read at once at most: each takes some 5 MiB of memory then.
const MOST: usize = 12;
/// So many neighbours become one when there are more.
const JOINED: usize = 8;

/// The KEKs that bodies of all parts are sealed under.
pub(super) type Keks = BTreeMap<(DomainId, u64), Key256>;

/// An archive in a local file that goes away with it, and the key that opens it.
pub(super) struct Part {
    pub path: TempPath,
    pub dek: Key256,
}

/// In the order of the log; the first is whole.
pub(super) struct Parts<'a> {
    folder: &'a Path,
    signer: Signer,
    all: Vec<Part>,
}

impl<'a> Parts<'a> {
    pub fn within(folder: &'a Path, first: Option<Part>) -> Parts<'a> {
        Parts { folder, signer: Signer::generate(), all: first.into_iter().collect() }
    }

    pub fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    pub fn into_all(self) -> Vec<Part> {
        self.all
    }

    /// Adds an archive that continues the last; behind its KEKs comes what the caller writes.
    pub fn add(
        &mut self,
        header: Header,
        keks: &Keks,
        fill: impl FnOnce(&mut Writer<BufWriter<File>>) -> Result<Closing, PointError>,
    ) -> Result<(), PointError> {
        let part = self.write(header, keks, fill)?;
        self.all.push(part);
        if self.all.len() > MOST {
            self.join(keks)?;
        }
        Ok(())
    }

    /// Shows those of some records that parts hold, the newest of each.
    pub fn each_of(
        &self,
        mut wanted: BTreeSet<(DomainId, Kind, Id)>,
        mut f: impl FnMut(&RecordRef<'_>),
    ) -> Result<(), PointError> {
        for part in self.all.iter().rev() {
            if wanted.is_empty() {
                break;
            }
            let archive = Archive::open(File::open(&part.path)?)?;
            let unlocked = archive.unlock_with_dek(&part.dek)?;
            let mut found = Vec::new();
            unlocked.each_of::<ArchiveError>(wanted.iter().copied(), |r| {
                f(&r);
                found.push((r.domain, r.kind, r.id));
                Ok(())
            })?;
            for record in found {
                wanted.remove(&record);
            }
        }
        Ok(())
    }

    fn write(
        &self,
        header: Header,
        keks: &Keks,
        fill: impl FnOnce(&mut Writer<BufWriter<File>>) -> Result<Closing, PointError>,
    ) -> Result<Part, PointError> {
        let dek = random::secret::<32>();
        let (file, path) = tempfile::Builder::new().suffix(".keyark").tempfile_in(self.folder)?.into_parts();
        let mut writer = Writer::new(BufWriter::with_capacity(1 << 20, file), header, &dek)?;
        for ((domain, generation), kek) in keks {
            writer.kek(*domain, *generation, kek)?;
        }
        let closing = fill(&mut writer)?;
        writer.finish(&closing, &self.signer)?;
        Ok(Part { path, dek })
    }

    /// Makes one of the neighbours that weigh least, so that nothing is written often. What follows them continues the
    /// last of them, and that is what the one stands for.
    fn join(&mut self, keks: &Keks) -> Result<(), PointError> {
        let sizes = self.all.iter().map(|part| Ok(std::fs::metadata(&part.path)?.len()));
        let sizes = sizes.collect::<std::io::Result<Vec<_>>>()?;
        // The first is whole and by far the largest: it stays.
        let weight = |at: &usize| sizes[*at..at + JOINED].iter().sum::<u64>();
        let at = (1..=self.all.len() - JOINED).min_by_key(weight).expect("there are more than are joined");
        let one = opened(&self.all[at..at + JOINED], |neighbours| {
            let links = Links::joined(neighbours)?;
            let ends = |o: &Opened<'_>| (o.unlocked.archive().header().clone(), o.unlocked.archive().footer().clone());
            let ((first, begun), (last, ended)) = (ends(links.first()), ends(links.last()));
            self.write(Header { base: first.base, ..last }, keks, |writer| {
                links.each_record::<PointError>(|r, _| Ok(writer.record(&r)?))?;
                links.each_tombstone::<PointError>(|gone| Ok(writer.tombstone(&gone)?))?;
                links.each_audit_entry::<PointError>(|e| Ok(writer.audit_entry(&EntryRef::of(&e))?))?;
                let chain = Chain { before: begun.chain.before, after: ended.chain.after };
                let record_digests = ended.record_digests.into_iter().map(|(d, bytes)| (d, bytes.0)).collect();
                Ok(Closing { chain, record_digests })
            })
        })?;
        self.all.splice(at..at + JOINED, [one]);
        Ok(())
    }
}

/// Opens parts, in their order.
pub(super) fn opened<T, E: From<PointError>>(
    parts: &[Part],
    work: impl FnOnce(Vec<&Opened<'_>>) -> Result<T, E>,
) -> Result<T, E> {
    let read = |part: &Part| Ok::<_, PointError>(Archive::open(File::open(&part.path)?)?);
    let archives = parts.iter().map(read).collect::<Result<Vec<_>, _>>()?;
    let mut opened = Vec::new();
    for (archive, part) in archives.iter().zip(parts) {
        let unlocked = archive.unlock_with_dek(&part.dek).map_err(PointError::from)?;
        opened.push(source::opened(unlocked).map_err(PointError::from)?);
    }
    work(opened.iter().collect())
}
