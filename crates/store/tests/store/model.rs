//! A model: random operations against a map, and every position restores to what the map was then.

use std::collections::BTreeMap;

use keyark_model::{ChangeContent, DomainId, Entry, Id, Kind, Record};
use keyark_store::{BulkLoader, CommitError, Draft, Head, RecordView, Store, Write};
use proptest::prelude::{ProptestConfig, Strategy, any, prop_assert, prop_assert_eq, proptest};

use crate::fixture::{A, B, T0, draft, fixture, id, identity, options};

type Key = (DomainId, Kind, Id);

/// What a record is, wherever it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Held {
    revision: u64,
    header: Box<[u8]>,
    body: Box<[u8]>,
}

#[derive(Clone, Debug)]
struct Op {
    domain: bool,
    kind: Kind,
    id: u128,
    name: u8,
    what: What,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum What {
    Put,
    Delete,
    Reseal,
}

fn op() -> impl Strategy<Value = Op> {
    let kinds = proptest::sample::select(vec![Kind::Key, Kind::Key, Kind::Secret, Kind::Session]);
    let what = proptest::sample::select(vec![What::Put, What::Put, What::Put, What::Delete, What::Reseal]);
    (any::<bool>(), kinds, 0..12_u128, 0..16_u8, what).prop_map(|(domain, kind, id, name, what)| Op {
        domain,
        kind,
        id,
        name,
        what,
    })
}

/// The store's rules in the plainest form.
#[derive(Clone, Default)]
struct Model {
    records: BTreeMap<Key, Held>,
    gone: BTreeMap<(Kind, Id), u64>,
}

impl Model {
    /// Turns an operation into a write that follows on what stands.
    fn write(&self, op: &Op, n: usize) -> (DomainId, Write) {
        let (domain, kind, id) = (if op.domain { A } else { B }, op.kind, id(op.id));
        let home = [A, B].into_iter().find(|d| self.records.contains_key(&(*d, kind, id)));
        let current = match home {
            Some(home) => self.records[&(home, kind, id)].revision,
            None => self.gone.get(&(kind, id)).copied().unwrap_or(0),
        };
        let body = format!("body {n}").into_bytes().into();
        let write = match op.what {
            What::Put => {
                let header = format!("{{\"name\":\"{}\",\"n\":{n}}}", op.name).into_bytes().into();
                Write::Put { kind, id, revision: current + 1, header, body, purge: false }
            }
            What::Delete => Write::Delete { kind, id, revision: current + 1 },
            What::Reseal => Write::Reseal { kind, id, revision: current, body },
        };
        (domain, write)
    }

    /// Whether the store must take the write; applies it if so.
    fn apply(&mut self, domain: DomainId, write: &Write) -> bool {
        let (kind, id) = write.key();
        let key = (domain, kind, id);
        if [A, B].into_iter().any(|d| d != domain && self.records.contains_key(&(d, kind, id))) {
            return false;
        }
        match write {
            Write::Put { revision, header, body, .. } => {
                let name = |h: &[u8]| String::from_utf8(h.to_vec()).unwrap().split(',').next().unwrap().to_owned();
                let clash = |(k, held): (&Key, &Held)| {
                    (k.0, k.1) == (domain, kind) && k.2 != id && name(&held.header) == name(header)
                };
                if self.records.iter().any(clash) {
                    return false;
                }
                self.gone.remove(&(kind, id));
                let held = Held { revision: *revision, header: header.clone(), body: body.clone() };
                self.records.insert(key, held);
            }
            Write::Delete { revision, .. } => {
                if self.records.remove(&key).is_none() {
                    return false;
                }
                self.gone.insert((kind, id), *revision);
            }
            Write::Reseal { body, .. } => match self.records.get_mut(&key) {
                Some(held) => held.body = body.clone(),
                None => return false,
            },
        }
        true
    }

    /// What is shipped, and so can be restored.
    fn shipped(&self) -> BTreeMap<Key, Held> {
        self.records.iter().filter(|((_, kind, _), _)| *kind != Kind::Session).map(|(k, h)| (*k, h.clone())).collect()
    }
}

fn held(records: impl IntoIterator<Item = Record>) -> BTreeMap<Key, Held> {
    let pair = |r: Record| ((r.domain, r.kind, r.id), Held { revision: r.revision, header: r.header, body: r.body });
    records.into_iter().map(pair).collect()
}

fn replay(map: &mut BTreeMap<Key, Held>, entry: &Entry) {
    for change in entry.changes.iter().filter(|c| c.kind != Kind::Session) {
        let key = (entry.domain, change.kind, change.id);
        match &change.content {
            ChangeContent::Put { header, body } => {
                map.insert(key, Held { revision: change.revision, header: header.clone(), body: body.clone() });
            }
            ChangeContent::Delete => drop(map.remove(&key)),
            ChangeContent::Withheld => panic!("nothing was purged"),
        }
    }
}

/// Loads the records into a new store and gives its digests: a restore in miniature.
fn digests_of_a_restore(records: &BTreeMap<Key, Held>) -> Vec<keyark_model::Digest> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("restored");
    let base = Head { seq: 0, hash: keyark_model::Digest::ZERO, time: T0 };
    let mut loader = BulkLoader::create(&path, &identity(), base, Vec::new(), T0).unwrap();
    for ((domain, kind, id), held) in records {
        let (revision, header, body) = (held.revision, &*held.header, &*held.body);
        loader
            .add(&RecordView { kind: *kind, id: *id, domain: *domain, revision, seq: 0, time: T0, header, body })
            .unwrap();
    }
    loader.finish().unwrap();
    let store = Store::open(&path, options()).unwrap();
    [A, B].iter().map(|d| store.digest(*d).unwrap()).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]
    #[test]
    fn every_position_restores_to_what_the_model_was_then(
        ops in proptest::collection::vec((op(), 0..4_usize), 1..60), trim in any::<proptest::sample::Index>(),
    ) {
        let f = fixture();
        let mut model = Model::default();
        let mut history = vec![BTreeMap::new()];
        let mut group: Vec<Draft> = Vec::new();
        let mut staged = model.clone();
        for (n, (op, more)) in ops.iter().enumerate() {
            let (domain, write) = staged.write(op, n);
            let twice = group.iter().any(|d| d.changes[0].key() == write.key());
            if !twice {
                // A batch of several entries is taken only if each is; single ones show which are refused.
                let mut next = staged.clone();
                let taken = next.apply(domain, &write);
                if !taken && !group.is_empty() {
                    continue;
                }
                group.push(draft(domain, vec![write]));
                if taken && *more > 0 && n + 1 < ops.len() {
                    staged = next;
                    continue;
                }
                staged = next;
                let batch = keyark_store::Batch { must: vec![], entries: std::mem::take(&mut group) };
                let count = batch.entries.len();
                let result = f.store.commit(batch.clone(), T0);
                prop_assert_eq!(result.is_ok(), taken, "{:?}: {:?}", batch, result);
                if taken {
                    // The states between the entries of a batch are positions too.
                    for entry in &batch.entries {
                        model.apply(entry.domain, &entry.changes[0]);
                        history.push(model.shipped());
                    }
                } else {
                    prop_assert_eq!(count, 1);
                    prop_assert!(!matches!(result, Err(CommitError::Fault(_))));
                    staged = model.clone();
                }
            }
        }
        let head = f.store.head().seq;
        prop_assert_eq!(head as usize + 1, history.len());
        let report = f.store.check().unwrap();
        prop_assert_eq!(report.findings, vec![]);

        // Replaying from the base, and reading each position.
        let mut map = BTreeMap::new();
        for entry in f.store.entries(0, 999, None).unwrap() {
            replay(&mut map, &entry);
            prop_assert_eq!(&map, &history[entry.seq as usize]);
            let at = held(f.store.snapshot_at(entry.seq).unwrap().records(None).map(Result::unwrap));
            prop_assert_eq!(&at, &map);
        }
        let digests: Vec<_> = [A, B].iter().map(|d| f.store.digest(*d).unwrap()).collect();
        prop_assert_eq!(digests_of_a_restore(&map), digests);

        // The same from a base in the middle.
        let middle = trim.index(head as usize + 1) as u64;
        f.store.trim(middle).unwrap();
        let mut map = held(f.store.snapshot_at(middle).unwrap().records(None).map(Result::unwrap));
        prop_assert_eq!(&map, &history[middle as usize]);
        for entry in f.store.entries(middle, 999, None).unwrap() {
            replay(&mut map, &entry);
            prop_assert_eq!(&map, &history[entry.seq as usize]);
        }
        prop_assert_eq!(f.store.check().unwrap().findings, vec![]);
    }
}
