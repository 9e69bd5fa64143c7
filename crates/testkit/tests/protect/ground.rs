//! A store with a keyring, the records that it had at every entry, and the streams that protect it.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::sync::Arc;

use keyark_archive::{Anchor, AnchorKey};
use keyark_backup::destination::Destination;
use keyark_backup::source::SourceError;
use keyark_backup::stream::point::{self, Opener};
use keyark_backup::stream::{
    Catalogue, Chosen, Point, PointError, ShipError, Shipper, Shipping, StreamPlace, Until, ship::Shipped,
};
use keyark_crypto::keyring::{KekOwner, Keyring, Mkek};
use keyark_crypto::seal::{Kek, RecordName};
use keyark_crypto::sign::Signer;
use keyark_crypto::{Key256, random};
use keyark_model::{DomainId, Id, Incarnation, Kind, Outcome, SystemId, Time};
use keyark_store::{Batch, Draft, Identity, Options, Store, Write};
use uuid::Uuid;

pub const START: Time = Time(1_767_225_600_000_000);

/// A record in clear.
pub type Clear = (u64, Vec<u8>, Vec<u8>);
/// Every record at a moment.
pub type State = BTreeMap<(DomainId, Kind, Id), Clear>;

/// The state after each entry.
pub struct Moment {
    pub seq: u64,
    pub domain: DomainId,
    pub domain_seq: u64,
    pub time: Time,
    pub state: Arc<State>,
}

pub struct Ground {
    folder: tempfile::TempDir,
    pub store: Store,
    pub keyring: Keyring,
    pub signer: Signer,
    pub anchor: Anchor,
    pub backup_key: Id,
    pub key: Key256,
    pub now: Time,
    pub state: State,
    pub history: Vec<Moment>,
    generations: HashMap<DomainId, u32>,
}

pub fn domain(n: u8) -> DomainId {
    if n == 0 { DomainId::ROOT } else { DomainId::from_bytes([n; 16]) }
}

impl Ground {
    pub fn new() -> Ground {
        let folder = tempfile::tempdir().unwrap();
        let system = SystemId(random::uuid_v7(START));
        let identity = Identity { system, incarnation: Incarnation::from_bytes(random::bytes()), parent: None };
        let options = Options { reserve_bytes: 0, ..Options::default() };
        let store = Store::create(&folder.path().join("store.db"), &identity, START, options).unwrap();
        let signer = Signer::generate();
        let anchor = Anchor::new(vec![AnchorKey::pinned(system, identity.incarnation, &signer.public(), 0)]);
        let mut ground = Ground {
            folder,
            store,
            keyring: Keyring::new(Mkek::generate(system)),
            signer,
            anchor,
            backup_key: Id(random::uuid_v7(START)),
            key: random::secret(),
            now: START,
            state: State::new(),
            history: Vec::new(),
            generations: HashMap::new(),
        };
        for n in 0..3 {
            ground.rotate_kek(domain(n));
            ground.put(domain(n), Kind::Group, Id(random::uuid_v7(START)), b"");
        }
        ground
    }

    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Keeps the store's file as it is now.
    pub fn snapshot_machine(&self) {
        let from = rusqlite::Connection::open(self.path().join("store.db")).unwrap();
        from.execute("VACUUM INTO ?1", [self.path().join("older.db").to_str().unwrap()]).unwrap();
    }

    /// Goes on with the file that was kept.
    pub fn set_back(&mut self) {
        let options = Options { reserve_bytes: 0, ..Options::default() };
        self.store = Store::open(&self.path().join("older.db"), options).unwrap();
        self.history.truncate(self.store.head().seq as usize);
        self.state = (*self.history.last().unwrap().state).clone();
    }

    pub fn rotate_kek(&mut self, of: DomainId) {
        let generation = self.generations.entry(of).or_default();
        *generation += 1;
        let owner = KekOwner::Domain(of);
        self.keyring.add(owner, Arc::new(Kek::generate(*generation)), 0, true);
        self.keyring.reserved(owner, *generation, 1 << 20);
    }

    pub fn tick(&mut self, seconds: i64) {
        self.now = self.now.plus_seconds(seconds);
    }

    /// The write of a record with this secret.
    fn write(&mut self, of: DomainId, kind: Kind, id: Id, secret: &[u8]) -> Write {
        let before = self.state.get(&(of, kind, id)).map(|(revision, ..)| *revision);
        let gone = self.store.tombstone(kind, id).unwrap().map(|t| t.revision);
        let revision = before.or(gone).unwrap_or(0) + 1;
        let header = format!("{{\"name\":\"{id}\",\"n\":{revision}}}").into_bytes();
        let name = RecordName { domain: of, kind, id, version: 0, revision };
        let body = self.keyring.seal(&name, &header, secret).unwrap();
        self.state.insert((of, kind, id), (revision, header.clone(), secret.to_vec()));
        Write::Put { kind, id, revision, header: header.into(), body, purge: false }
    }

    pub fn commit(&mut self, of: DomainId, changes: Vec<Write>) {
        let draft = Draft {
            domain: of,
            actor: "local|somebody".into(),
            request_id: String::new(),
            action: "key_change".into(),
            target: String::new(),
            outcome: Outcome::Success,
            changes,
        };
        let done = self.store.commit(Batch { must: vec![], entries: vec![draft] }, self.now).unwrap();
        let domain_seq = self.store.domain_head(of).unwrap().domain_seq;
        let state = Arc::new(self.state.clone());
        self.history.push(Moment { seq: done.position.seq, domain: of, domain_seq, time: done.time, state });
    }

    pub fn put(&mut self, of: DomainId, kind: Kind, id: Id, secret: &[u8]) {
        let write = self.write(of, kind, id, secret);
        self.commit(of, vec![write]);
    }

    pub fn delete(&mut self, of: DomainId, kind: Kind, id: Id) {
        let (revision, ..) = self.state.remove(&(of, kind, id)).unwrap();
        self.commit(of, vec![Write::Delete { kind, id, revision: revision + 1 }]);
    }

    pub fn stream(&self, stream: Uuid) -> StreamPlace {
        let Identity { system, incarnation, .. } = self.store.identity();
        StreamPlace { system, incarnation, stream }
    }

    pub fn ship(
        &self,
        shipper: &mut Shipper,
        to: &dyn Destination,
        stream: Uuid,
        of: Option<DomainId>,
    ) -> Result<Shipped, ShipError> {
        let day = Time(self.now.0 - self.now.0.rem_euclid(86_400_000_000));
        let shipping = Shipping {
            store: &self.store,
            keyring: &self.keyring,
            signer: &self.signer,
            stream,
            domain: of,
            backup_key: self.backup_key,
            backup_key_material: &self.key,
            destination: to,
            spool: self.path(),
            audit_from: START,
            day,
            heartbeat: 300,
        };
        shipper.step(&shipping, self.now)
    }

    /// With so little memory that a point has as many parts as entries, until they are joined.
    pub fn opener<'a>(&'a self, to: &'a dyn Destination) -> Opener<'a> {
        Opener { hold: 1, ..Opener::with_key(to, &self.anchor, (self.backup_key, &self.key)) }
    }

    pub fn point(&self, to: &dyn Destination, stream: Uuid, until: Until) -> Result<Point, PointError> {
        point::open(&self.opener(to), &self.stream(stream), until, self.path())
    }

    /// A point of chosen records, read in parts.
    pub fn point_of(
        &self,
        to: &dyn Destination,
        stream: Uuid,
        until: Until,
        chosen: &Chosen,
    ) -> Result<Point, PointError> {
        let plan = Catalogue::read(to, self.stream(stream)).unwrap().plan(until)?;
        self.opener(to).point_of(&self.stream(stream), &plan, Some(chosen), self.path())
    }

    /// What a point holds, every body opened.
    pub fn restored(&self, to: &dyn Destination, stream: Uuid, until: Until) -> Result<State, PointError> {
        Ground::held(&self.point(to, stream, until)?)
    }

    pub fn held(point: &Point) -> Result<State, PointError> {
        point.with_links(|links| {
            let mut state = State::new();
            links.each_record::<SourceError>(|r, link| {
                let body = links.body(&r, link)?;
                state.insert((r.domain, r.kind, r.id), (r.revision, r.header.to_vec(), body.expose().to_vec()));
                Ok(())
            })?;
            links.each_tombstone::<SourceError>(|gone| {
                assert_eq!(gone.name, Some(gone.id.to_string()), "what was deleted keeps its name: {}", gone.kind);
                assert!(!state.contains_key(&(gone.domain, gone.kind, gone.id)), "what stands is not deleted");
                Ok(())
            })?;
            let mut told = Vec::new();
            links.each_audit_entry::<SourceError>(|e| {
                told.push(e.seq);
                Ok(())
            })?;
            assert!(
                told.windows(2).all(|pair| pair[1] == pair[0] + 1),
                "what people read of the log is whole: {told:?}"
            );
            Ok(state)
        })
    }
}

/// What a stream of the system, or of one domain, carries of a state.
pub fn carried(state: &State, of: Option<DomainId>) -> State {
    let carrier = match of {
        None => keyark_model::Carrier::System,
        Some(_) => keyark_model::Carrier::DomainStream,
    };
    let mine = state.iter().filter(|((d, kind, _), _)| of.is_none_or(|of| of == *d) && kind.travels(carrier));
    mine.map(|(at, clear)| (*at, clear.clone())).collect()
}
