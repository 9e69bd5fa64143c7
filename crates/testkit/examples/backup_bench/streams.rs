//! A stream: what shipping costs, and what a second in the middle of many changes costs to restore.

use std::fs::File;
use std::io::Write as _;
use std::path::Path;
use std::time::Duration;

use keyark_backup::destination::local::Local;
use keyark_backup::destination::{Destination, Found, list_all};
use keyark_backup::source::SourceError;
use keyark_backup::stream::point::{self, Opener};
use keyark_backup::stream::{
    Catalogue, Chosen, PointError, SegmentName, Shipper, Shipping, StreamObject, StreamPlace, Until, ship::Shipped,
};
use keyark_crypto::seal::RecordName;
use keyark_model::{Id, Kind, Outcome as Ended, Time};
use keyark_store::{Batch, Draft, Page, Write};
use keyark_testkit::counted::Counted;
use uuid::Uuid;

use crate::base::{Base, NOW, domain};
use crate::clock::{Spent, repeated, timed};
use crate::figures::{Figure, Outcome, Target, number};
use crate::{continuous, proofs};

/// Entries that one commit brings.
const BATCH: u64 = 200;
const STREAM: Uuid = Uuid::from_u128(1);
/// Seals for what is changed under load.
const SPARE: u64 = 200_000;

impl Base {
    pub fn ship(
        &self,
        shipper: &mut Shipper,
        stream: Uuid,
        to: &dyn Destination,
        spool: &Path,
        now: Time,
    ) -> Outcome<Shipped> {
        let shipping = Shipping {
            store: &self.store,
            keyring: &self.keyring,
            signer: &self.signer,
            stream,
            domain: None,
            backup_key: self.backup_key,
            backup_key_material: &self.backup_key_material,
            destination: to,
            spool,
            audit_from: NOW,
            day: NOW,
            heartbeat: 300,
        };
        Ok(shipper.step(&shipping, now)?)
    }

    /// Writes every key once more, an entry for each.
    fn change_all(&self, now: Time) -> Outcome<u64> {
        let (mut after, mut changed) = (None, 0);
        loop {
            let (next, some) = self.change(after, BATCH, now)?;
            changed += some;
            match next {
                None => return Ok(changed),
                next => after = next,
            }
        }
    }

    /// Writes the next keys once more in one commit, an entry for each; behind which one to go on, and how many. After the last
    /// one it begins anew.
    pub fn change(&self, after: Option<Id>, limit: u64, now: Time) -> Outcome<(Option<Id>, u64)> {
        let records = self.store.page(domain(), Kind::Key, &Page { after, limit, ..Page::default() })?;
        let Some(last) = records.last().map(|r| r.id) else { return Ok((None, 0)) };
        let mut changes = Vec::new();
        for r in records {
            let named = |revision| RecordName { domain: r.domain, kind: r.kind, id: r.id, version: 0, revision };
            let body = self.keyring.open(&named(r.revision), &r.header, &r.body)?;
            let revision = r.revision + 1;
            let body = self.keyring.seal(&named(revision), &r.header, body.expose())?;
            changes.push(Write::Put { kind: r.kind, id: r.id, revision, header: r.header, body, purge: false });
        }
        Ok((Some(last), self.commit("key_update", changes, now)?))
    }

    /// Deletes every fourth key, an entry for each; how many.
    fn delete_some(&self, now: Time) -> Outcome<u64> {
        let (mut after, mut deleted) = (None, 0);
        loop {
            let page = Page { after, limit: 4 * BATCH, ..Page::default() };
            let records = self.store.page(domain(), Kind::Key, &page)?;
            let Some(last) = records.last() else { return Ok(deleted) };
            after = Some(last.id);
            let some = records.iter().filter(|r| r.id != self.wanted).step_by(4);
            let gone = some.map(|r| Write::Delete { kind: r.kind, id: r.id, revision: r.revision + 1 });
            deleted += self.commit("key_delete", gone.collect(), now)?;
        }
    }

    /// Commits changes, an entry for each; how many.
    fn commit(&self, action: &str, changes: Vec<Write>, now: Time) -> Outcome<u64> {
        let entry = |change| Draft {
            domain: domain(),
            actor: "local|bench".into(),
            request_id: String::new(),
            action: action.into(),
            target: String::new(),
            outcome: Ended::Success,
            changes: vec![change],
        };
        let entries: Vec<_> = changes.into_iter().map(entry).collect();
        let count = entries.len() as u64;
        self.store.commit(Batch { must: Vec::new(), entries }, now)?;
        Ok(count)
    }
}

pub fn run(base: &Base, folder: &Path, plain: Spent) -> Outcome {
    let keys = base.keys;
    let (there, spool) = (folder.join("there"), folder.join("spool"));
    std::fs::create_dir(&there)?;
    std::fs::create_dir(&spool)?;
    let (place, mut shipper) = (Local::open(&there)?, Shipper::default());
    base.keyring.reserved(keyark_crypto::keyring::KekOwner::Domain(domain()), 1, 3 * keys + SPARE);
    base.ship(&mut shipper, STREAM, &place, &spool, NOW)?;
    let changed = base.change_all(NOW.plus_seconds(10))?;
    let (sent, shipped) = timed(|| base.ship(&mut shipper, STREAM, &place, &spool, NOW.plus_seconds(20)))?;
    let raw = written_raw(&folder.join("raw-bytes"), sent.bytes)?;
    Figure::new(format!("ship {changed} changes: entries a second"), sent.entries as f64 / shipped.wall, "/s")
        .note(format!("{} s CPU", number(shipped.cpu)))
        .limit(
            sent.bytes as f64 / raw / (sent.bytes as f64 / sent.entries as f64),
            "writing and fsync of as many bytes",
        )
        .target(Target::AtLeast(10_000.0))
        .print();
    Figure::new(format!("ship {changed} changes: bytes a change"), sent.bytes as f64 / sent.entries as f64, "B")
        .print();

    // A second in the middle of them.
    let middle = base.store.head().seq - changed / 2;
    let opener = Opener::with_key(&place, &base.anchor, (base.backup_key, &base.backup_key_material));
    let identity = base.store.identity();
    let stream = StreamPlace { system: identity.system, incarnation: identity.incarnation, stream: STREAM };
    let into = folder.join("point.db");
    let (objects, restored) = timed(|| {
        let point = point::open(&opener, &stream, Until::Number(middle), &spool)?;
        point
            .with_links::<(), Failed>(|links| base.built(links, &into).map(drop).map_err(|e| Failed(e.to_string())))
            .map_err(|e| e.0)?;
        Ok(point.objects)
    })?;
    keyark_server::boot::remove_database(&into);
    Figure::new(format!("restore to a second within {keys} keys and {changed} changes"), restored.wall, "s")
        .note(format!("{objects} objects, {} s CPU", number(restored.cpu)))
        .limit(plain.wall, "a plain full restore")
        .target(Target::Ratio(2.0))
        .print();

    // One key of that second: of each object its ends, its index and the blocks that tell of the key.
    let chosen = Chosen { domain: domain(), records: [(Kind::Key, base.wanted)].into() };
    let place = Counted::new(place);
    let opener = Opener::with_key(&place, &base.anchor, (base.backup_key, &base.backup_key_material));
    let one_key = || -> Outcome {
        let plan = Catalogue::read(&place, stream)?.plan(Until::Number(middle))?;
        let point = opener.point_of(&stream, &plan, Some(&chosen), &spool)?;
        let mut held = 0;
        let read = point.with_links::<(), Failed>(|links| {
            let opened = links.each_record::<SourceError>(|r, link| {
                held += usize::from(!links.body(&r, link)?.expose().is_empty());
                Ok(())
            });
            opened.map_err(|e| Failed(e.to_string()))
        });
        read.map_err(|e| e.0)?;
        if held == 1 { Ok(()) } else { Err("the key of that second was not there".into()) }
    };
    let ((), first) = timed(one_key)?;
    let (objects, bytes) = place.take();
    let ((), one) = repeated(Duration::from_secs(2), |_| timed(one_key))?;
    Figure::new(format!("one key at a second within {keys} keys and {changed} changes"), one.wall * 1e3, "ms")
        .note(format!(
            "{objects} objects, {} MB read; the first, with what the disk brings, {} ms",
            number(bytes as f64 / 1e6),
            number(first.wall * 1e3)
        ))
        .target(Target::AtMost(100.0))
        .print();

    // A year of daily full archives and merged segments, and today's small ones: what a list of them costs.
    let names = year(&stream);
    let count = names.len();
    let (stretches, listed) = timed(|| Ok(Catalogue::of(stream, names).points().len()))?;
    if stretches != 1 {
        return Err("a year without a gap is one stretch".into());
    }
    let (_, list) = timed(|| Ok(list_all(&place, "")?))?;
    Figure::new(format!("points of a year: {count} names read and joined"), listed.wall, "s")
        .note(format!("a list of the bench's own folder: {} ms", number(list.wall * 1e3)))
        .target(Target::AtMost(1.0))
        .print();
    let deleted = base.delete_some(NOW.plus_seconds(30))?;
    base.ship(&mut shipper, STREAM, &place, &spool, NOW.plus_seconds(40))?;
    proofs::apart(base, deleted, &there, &stream, &spool)?;
    std::fs::remove_dir_all(&there)?;
    continuous::age(base, folder, &spool)?;
    continuous::day(base, &spool)
}

#[derive(Debug)]
struct Failed(String);

impl From<PointError> for Failed {
    fn from(e: PointError) -> Self {
        Failed(e.to_string())
    }
}

/// Seconds to write and sync so many bytes.
fn written_raw(path: &Path, bytes: u64) -> Outcome<f64> {
    let content = vec![7; usize::try_from(bytes)?];
    let ((), spent) = timed(|| {
        let mut file = File::create(path)?;
        file.write_all(&content)?;
        Ok(file.sync_all()?)
    })?;
    std::fs::remove_file(path)?;
    Ok(spent.wall)
}

/// Every 5 seconds an entry: a year of days merged, today as it was shipped.
fn year(stream: &StreamPlace) -> Vec<Found> {
    let (day, mut all) = (17_280_u64, Vec::new());
    let at = |n: u64| NOW.plus_seconds(5 * n as i64);
    let mut add = |object: StreamObject| all.push(Found { name: stream.name(&object), size: 1 });
    for d in 0..365 {
        add(StreamObject::Full { seq: d * day, time: at(d * day) });
        for part in 0..if d == 364 { day } else { 17 } {
            let size = if d == 364 { 1 } else { day.div_ceil(17) };
            let first = d * day + part * size + 1;
            let last = ((part + 1) * size).min(day) + d * day;
            let level = if d == 364 { 0 } else { 2 };
            add(StreamObject::Segment(SegmentName { level, first, last, first_time: at(first), last_time: at(last) }));
        }
    }
    all
}
