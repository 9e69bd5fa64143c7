//! What a stream holds of a day: what was there when it began, and what became of it until it ended.

use std::collections::{BTreeMap, HashMap};

use keyark_archive::RecordRef;
use keyark_model::{Id, Kind, Time};

use super::catalogue::Moment;
use super::point::{Point, PointError};
use crate::source::SourceError;

/// The kinds that a view shows.
const SHOWN: [Kind; 2] = [Kind::Key, Kind::Secret];

/// In which list of a day something stands. It may stand in several.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Category {
    /// It was there when the day began.
    Full,
    /// Created on that day.
    Incremental,
    /// Got a new version on that day.
    Rotated,
    /// Its newest version has another state than when the day began.
    Changed,
    /// A version of it was destroyed on that day.
    Destroyed,
    /// Deleted on that day.
    Deleted,
}

/// One line of a day.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct DayItem {
    pub kind: Kind,
    pub id: Id,
    pub name: String,
    pub category: Category,
    /// The newest version, as it was at the end of the day, or before it was deleted.
    pub version: u64,
    pub state: String,
}

/// A day.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct DayView {
    /// The points that are compared.
    pub from: Moment,
    pub to: Moment,
    pub counts: BTreeMap<(Kind, Category), u64>,
    /// The lines that were asked for.
    pub items: Vec<DayItem>,
    /// How many there are of what was asked for.
    pub total: u64,
}

/// Which lines are wanted.
pub struct Wanted {
    pub kind: Option<Kind>,
    pub category: Option<Category>,
    pub skip: u64,
    pub limit: u64,
}

/// What counts of a header here.
#[derive(Clone, Default, PartialEq, Eq)]
struct Facts {
    version: u64,
    state: String,
    destroyed: usize,
}

#[derive(serde::Deserialize)]
struct Lens {
    #[serde(default)]
    name: String,
    #[serde(default)]
    versions: Vec<Version>,
    #[serde(default)]
    history: Vec<Version>,
    #[serde(default, alias = "deletedAt")]
    deleted_at: Option<serde::de::IgnoredAny>,
}

#[derive(serde::Deserialize)]
struct Version {
    #[serde(default)]
    version: u64,
    #[serde(default)]
    state: Option<String>,
    #[serde(default, alias = "destroyedAt")]
    destroyed_at: Option<serde::de::IgnoredAny>,
}

fn facts_of(header: &[u8]) -> (String, Facts) {
    let Ok(lens) = serde_json::from_slice::<Lens>(header) else { return Default::default() };
    let versions = if lens.versions.is_empty() { &lens.history } else { &lens.versions };
    let gone = |v: &&Version| v.destroyed_at.is_some() || v.state.as_ref().is_some_and(|s| s.starts_with("Destroyed"));
    let destroyed = versions.iter().filter(gone).count();
    let last = versions.last();
    let of_secret = if lens.deleted_at.is_some() { "Deleted" } else { "Active" };
    let state = last.and_then(|v| v.state.clone()).unwrap_or_else(|| of_secret.into());
    (lens.name, Facts { version: last.map_or(0, |v| v.version), state, destroyed })
}

/// Collects lines and counts them.
struct Lines<'w> {
    wanted: &'w Wanted,
    view: DayView,
}

impl Lines<'_> {
    fn add(&mut self, kind: Kind, id: Id, category: Category, name: &str, facts: &Facts) {
        *self.view.counts.entry((kind, category)).or_default() += 1;
        let w = self.wanted;
        if w.kind.is_some_and(|k| k != kind) || w.category.is_some_and(|c| c != category) {
            return;
        }
        if self.view.total >= w.skip && (self.view.items.len() as u64) < w.limit {
            let (name, version, state) = (name.to_owned(), facts.version, facts.state.clone());
            self.view.items.push(DayItem { kind, id, name, category, version, state });
        }
        self.view.total += 1;
    }
}

/// Compares a day's first point with its last. Memory grows with the keys and secrets, some tens of bytes each.
pub fn day(first: &Point, last: &Point, since: Time, wanted: &Wanted) -> Result<DayView, PointError> {
    let moment = |p: &Point| Moment { number: p.number, time: p.time };
    let view = DayView { from: moment(first), to: moment(last), counts: BTreeMap::new(), items: Vec::new(), total: 0 };
    let mut lines = Lines { wanted, view };
    let mut before: HashMap<(Kind, Id), Facts> = HashMap::new();
    let shown = |r: &RecordRef<'_>| SHOWN.contains(&r.kind);
    first.with_links::<(), PointError>(|links| {
        Ok(links.each_record::<SourceError>(|r, _| {
            if shown(&r) {
                let (name, facts) = facts_of(r.header);
                lines.add(r.kind, r.id, Category::Full, &name, &facts);
                before.insert((r.kind, r.id), facts);
            }
            Ok(())
        })?)
    })?;
    last.with_links::<(), PointError>(|links| {
        links.each_record::<SourceError>(|r, _| {
            if shown(&r) {
                let (name, now) = facts_of(r.header);
                let mut add = |category| lines.add(r.kind, r.id, category, &name, &now);
                let then = before.remove(&(r.kind, r.id));
                if then.is_none() {
                    add(Category::Incremental);
                }
                let new = then.is_none();
                let then = then.unwrap_or_default();
                if now.version > then.version {
                    add(Category::Rotated);
                }
                if !new && now.state != then.state {
                    add(Category::Changed);
                }
                if now.destroyed > then.destroyed {
                    add(Category::Destroyed);
                }
            }
            Ok(())
        })?;
        // What was there and is not, and what came and went on that very day.
        Ok(links.each_tombstone::<SourceError>(|gone| {
            let (kind, id) = (gone.kind, gone.id);
            if SHOWN.contains(&kind) && (before.contains_key(&(kind, id)) || gone.time >= since) {
                let facts = before.remove(&(kind, id)).unwrap_or_default();
                lines.add(kind, id, Category::Deleted, gone.name.as_deref().unwrap_or_default(), &facts);
            }
            Ok(())
        })?)
    })?;
    Ok(lines.view)
}
