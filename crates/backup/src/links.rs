//! A backup and the increments that continue it, read as one: the state at the point of the last.

use std::collections::HashMap;
use std::iter::Peekable;

use keyark_archive::scan::Owned;
use keyark_archive::{ArchiveError, RecordRef, Scope, Tombstone};
use keyark_crypto::SecretBytes;
use keyark_model::{DomainId, Id, Kind, Record};

use crate::source::{Opened, SourceError};
use crate::take::name_of;

/// Why archives are no chain.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum ChainError {
    #[error("the backup {id} holds only what changed after backup {base}; restore that one first, or upload it too")]
    NoBase { id: String, base: String },
    #[error("the backup {id} does not continue the backup {before}: it was made after {named}")]
    OtherBase { id: String, before: String, named: String },
    #[error(
        "the backup {id} continues {before} from position {named}, but that one ends at {ends}: take other archives"
    )]
    OtherPosition { id: String, before: String, named: u64, ends: u64 },
    #[error("the backups {before} and {id} are of another system, incarnation or domain: they are no chain")]
    OtherStream { id: String, before: String },
}

/// Opened archives, each the base of the next; the first is whole.
pub struct Links<'b, 'a> {
    all: Vec<&'b Opened<'a>>,
    /// What later links say is gone: the last of them that says so.
    gone: HashMap<(Kind, Id), usize>,
}

impl<'b, 'a> Links<'b, 'a> {
    /// In the order in which they were made. Each names the one before and where that ended, so none is missing.
    pub fn of(all: Vec<&'b Opened<'a>>) -> Result<Links<'b, 'a>, SourceError> {
        let header = |o: &Opened<'a>| o.unlocked.archive().header().clone();
        let mut before = header(all[0]);
        if let Some(base) = &before.base {
            return Err(ChainError::NoBase { id: before.id.to_string(), base: base.id.to_string() }.into());
        }
        let mut gone = HashMap::new();
        for (n, link) in all.iter().enumerate().skip(1) {
            let this = header(link);
            let (id, last) = (this.id.to_string(), before.id.to_string());
            if (this.system, this.incarnation, this.domain) != (before.system, before.incarnation, before.domain) {
                return Err(ChainError::OtherStream { id, before: last }.into());
            }
            match &this.base {
                Some(base) if base.id == before.id => {
                    let (named, ends) = (base.position.0, before.positions.last.0);
                    if named != ends {
                        return Err(ChainError::OtherPosition { id, before: last, named, ends }.into());
                    }
                }
                other => {
                    let named = other.as_ref().map_or_else(|| "nothing".into(), |b| b.id.to_string());
                    return Err(ChainError::OtherBase { id, before: last, named }.into());
                }
            }
            for tombstone in link.unlocked.tombstones()? {
                let tombstone = tombstone?;
                gone.insert((tombstone.kind, tombstone.id), n);
            }
            before = this;
        }
        Ok(Links { all, gone })
    }

    /// The archive whose point is restored.
    pub fn last(&self) -> &'b Opened<'a> {
        self.all.last().expect("`of` was given at least one")
    }

    /// All of them, the whole backup first.
    pub fn archives(&self) -> impl Iterator<Item = &'b Opened<'a>> + '_ {
        self.all.iter().copied()
    }

    /// Ids in order, the whole backup first.
    pub fn ids(&self) -> Vec<String> {
        self.all.iter().map(|o| o.unlocked.archive().header().id.to_string()).collect()
    }

    /// Whether nothing was left out by a filter.
    pub fn unfiltered(&self) -> bool {
        self.all.iter().all(|o| o.unlocked.archive().header().filters.is_empty())
    }

    /// Records of all links at most, to show progress.
    pub fn count(&self) -> u64 {
        let footers = self.all.iter().map(|o| o.unlocked.archive().footer());
        footers.flat_map(|f| f.counts.iter().flat_map(|c| c.values())).map(|n| n.0).sum()
    }

    /// Every record of the state, ascending by (domain, kind, id), each as the last link has it that holds it, with the
    /// link that it stands in. Stops at the caller's first error.
    pub fn each_record<E: From<ArchiveError>>(
        &self,
        mut f: impl FnMut(RecordRef<'_>, usize) -> Result<(), E>,
    ) -> Result<(), E> {
        let (first, later) = (self.all[0], &self.all[1..]);
        if later.is_empty() {
            return first.unlocked.each_record(|r| f(r, 0));
        }
        let mut ahead = Vec::new();
        for link in later {
            ahead.push(link.unlocked.records()?.peekable());
        }
        first.unlocked.each_record::<E>(|r| {
            let here = place(&r);
            while let Some(next) = least(&mut ahead).filter(|next| *next < here) {
                self.emit(&mut ahead, next, &mut f)?;
            }
            if least(&mut ahead) == Some(here) {
                return self.emit(&mut ahead, here, &mut f);
            }
            match self.gone.contains_key(&(r.kind, r.id)) {
                true => Ok(()),
                false => f(r, 0),
            }
        })?;
        while let Some(next) = least(&mut ahead) {
            self.emit(&mut ahead, next, &mut f)?;
        }
        Ok(())
    }

    /// Takes one record out of every link that holds it and shows the newest, unless it went away after that.
    fn emit<E: From<ArchiveError>>(
        &self,
        ahead: &mut [Peekable<Owned<'_, 'a, std::fs::File, Record>>],
        at: Place,
        f: &mut impl FnMut(RecordRef<'_>, usize) -> Result<(), E>,
    ) -> Result<(), E> {
        let mut newest = None;
        for (n, records) in ahead.iter_mut().enumerate() {
            // An error is taken out here too, and ends the reading.
            let taken = records.next_if(|r| r.as_ref().map_or(true, |r| place(&RecordRef::of(r)) == at));
            if let Some(record) = taken {
                newest = Some((record?, n + 1));
            }
        }
        match newest {
            Some((r, n)) if self.gone.get(&(r.kind, r.id)).is_none_or(|gone| *gone <= n) => f(RecordRef::of(&r), n),
            _ => Ok(()),
        }
    }

    /// What is gone at the point, each as the last link has it that names it.
    pub fn tombstones(&self) -> Result<HashMap<(Kind, Id), Tombstone>, SourceError> {
        let mut all = HashMap::new();
        for link in &self.all {
            for gone in link.unlocked.tombstones()? {
                let gone = gone?;
                all.insert((gone.kind, gone.id), gone);
            }
        }
        if self.all.len() > 1 {
            self.each_record::<ArchiveError>(|r, _| {
                all.remove(&(r.kind, r.id));
                Ok(())
            })?;
        }
        Ok(all)
    }

    /// A record's body in clear. A system's archives carry the KEKs in use, and those of the last are the ones that
    /// are restored: every body must open under them. A domain's archive has a KEK of its own.
    pub fn body(&self, r: &RecordRef<'_>, link: usize) -> Result<SecretBytes, SourceError> {
        let whose = match self.last().unlocked.archive().header().scope {
            Scope::System => self.last(),
            Scope::Domain => self.all[link],
        };
        whose.body(r)
    }
}

type Place = (DomainId, Kind, Id);

fn place(r: &RecordRef<'_>) -> Place {
    (r.domain, r.kind, r.id)
}

/// The least place that any link is at. A link that cannot be read any further comes first, so that its error is met.
fn least(ahead: &mut [Peekable<Owned<'_, '_, std::fs::File, Record>>]) -> Option<Place> {
    let at = |r: &Result<Record, ArchiveError>| match r {
        Ok(r) => place(&RecordRef::of(r)),
        Err(_) => (DomainId::ROOT, Kind::Domain, Id::from_bytes([0; 16])),
    };
    ahead.iter_mut().filter_map(|records| records.peek().map(at)).min()
}

impl Opened<'_> {
    /// A record's body in clear, under the KEKs of this archive.
    pub fn body(&self, r: &RecordRef<'_>) -> Result<SecretBytes, SourceError> {
        let bad = || SourceError::Record { kind: r.kind, id: r.id };
        let generation = keyark_crypto::seal::generation_of(r.body).ok_or_else(bad)?;
        let kek = self.keks.get(&(r.domain, generation)).ok_or_else(bad)?;
        kek.open(&name_of(r), r.header, r.body).map_err(|_| bad())
    }
}
