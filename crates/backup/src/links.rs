//! A backup and the increments that continue it, read as one: the state at the point of the last.

use std::cmp::Reverse;

use itertools::kmerge_by;
use keyark_archive::{ArchiveError, RecordRef, Scope, StoredEntry, Tombstone};
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

/// Opened archives, each the base of the next.
pub struct Links<'b, 'a> {
    all: Vec<&'b Opened<'a>>,
}

impl<'b, 'a> Links<'b, 'a> {
    /// A whole backup and what continues it, in the order in which they were made.
    pub fn of(all: Vec<&'b Opened<'a>>) -> Result<Links<'b, 'a>, SourceError> {
        let first = all[0].unlocked.archive().header();
        if let Some(base) = &first.base {
            return Err(ChainError::NoBase { id: first.id.to_string(), base: base.id.to_string() }.into());
        }
        Links::joined(all)
    }

    /// Each names the one before and where that ended, so none is missing; what the first continues is not looked at.
    pub(crate) fn joined(all: Vec<&'b Opened<'a>>) -> Result<Links<'b, 'a>, SourceError> {
        for pair in all.windows(2) {
            let [before, this] = [pair[0], pair[1]].map(|o| o.unlocked.archive().header());
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
        }
        Ok(Links { all })
    }

    /// The one that the others continue.
    pub(crate) fn first(&self) -> &'b Opened<'a> {
        self.all[0]
    }

    /// The archive whose point is restored.
    pub fn last(&self) -> &'b Opened<'a> {
        self.all[self.all.len() - 1]
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
    pub fn each_record<E: From<SourceError>>(
        &self,
        mut f: impl FnMut(RecordRef<'_>, usize) -> Result<(), E>,
    ) -> Result<(), E> {
        let first = self.first();
        let mut later = self.newest_items(1)?.peekable();
        // The first link is the largest by far: its records are shown where they lie.
        let mut of_first = |r: RecordRef<'_>| {
            let here = place(&r);
            while let Some(item) = later.next_if(|item| item.as_ref().map_or(true, |s| s.place < here)) {
                item?.show(&mut f)?;
            }
            match later.next_if(|item| item.as_ref().is_ok_and(|s| s.place == here)) {
                Some(item) => item?.show(&mut f),
                None => f(r, 0),
            }
        };
        let read = first.unlocked.each_record(|r| of_first(r).map_err(Through));
        read.map_err(|Through(e)| e)?;
        later.try_for_each(|item| item?.show(&mut f))
    }

    /// What people read of the log, in its order.
    pub fn each_audit_entry<E: From<SourceError>>(
        &self,
        mut f: impl FnMut(StoredEntry) -> Result<(), E>,
    ) -> Result<(), E> {
        for opened in &self.all {
            for entry in opened.unlocked.audit_entries().map_err(SourceError::from)? {
                f(entry.map_err(SourceError::from)?)?;
            }
        }
        Ok(())
    }

    /// What is gone at the point, ascending by (domain, kind, id), each as the last link has it that names it. A record
    /// that went away in one domain may stand in another.
    pub fn each_tombstone<E: From<SourceError>>(&self, mut f: impl FnMut(Tombstone) -> Result<(), E>) -> Result<(), E> {
        if self.all.iter().all(|o| o.unlocked.index().counts.tombstones == 0) {
            return Ok(());
        }
        self.newest_items(0)?.try_for_each(|item| match item?.content {
            Content::Record(_) => Ok(()),
            Content::Tombstone(tombstone) => f(tombstone),
        })
    }

    /// Of each place the item of the last link that names it, with tombstones from one link on. Without the records of the
    /// first link, which take nothing back.
    fn newest_items(
        &self,
        tombstones_from: usize,
    ) -> Result<impl Iterator<Item = Found> + use<'_, 'b, 'a>, SourceError> {
        let mut streams: Vec<Box<dyn Iterator<Item = Found> + '_>> = Vec::new();
        for (link, opened) in self.all.iter().enumerate() {
            if link > 0 {
                let all = opened.unlocked.records()?;
                streams.push(Box::new(all.map(move |r| Ok(Item::record(r?, link)))));
            }
            if link >= tombstones_from {
                let all = opened.unlocked.tombstones()?;
                streams.push(Box::new(all.map(move |t| Ok(Item::tombstone(t?, link)))));
            }
        }
        let mut decided = None;
        // What cannot be read comes first, so that its error is met.
        let rank = |item: &Found| item.as_ref().ok().map(Item::rank);
        let all = kmerge_by(streams, move |a: &Found, b: &Found| rank(a) < rank(b));
        Ok(all.filter(move |item| item.as_ref().map_or(true, |s| decided.replace(s.place) != Some(s.place))))
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

/// A caller's error on its way through the reader of an archive, whose own errors become ours first.
struct Through<E>(E);

impl<E: From<SourceError>> From<ArchiveError> for Through<E> {
    fn from(e: ArchiveError) -> Self {
        Through(SourceError::from(e).into())
    }
}

/// A record or tombstone, and the link that it stands in.
struct Item {
    place: Place,
    link: usize,
    content: Content,
}

type Found = Result<Item, SourceError>;

enum Content {
    Record(Record),
    Tombstone(Tombstone),
}

impl Item {
    fn record(r: Record, link: usize) -> Item {
        Item { place: (r.domain, r.kind, r.id), link, content: Content::Record(r) }
    }

    fn tombstone(t: Tombstone, link: usize) -> Item {
        Item { place: (t.domain, t.kind, t.id), link, content: Content::Tombstone(t) }
    }

    /// Shows the record, if one stands there.
    fn show<E>(self, f: &mut impl FnMut(RecordRef<'_>, usize) -> Result<(), E>) -> Result<(), E> {
        match self.content {
            Content::Record(record) => f(RecordRef::of(&record), self.link),
            Content::Tombstone(_) => Ok(()),
        }
    }

    /// Where it stands among all items: of one place the one that counts comes first.
    fn rank(&self) -> (Place, Reverse<usize>, bool) {
        (self.place, Reverse(self.link), matches!(self.content, Content::Tombstone(_)))
    }
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
