//! What every destination must do, and a wrapper that makes one do it badly.

use std::ops::Range;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use keyark_backup::destination::{
    Content, Destination, DestinationError, Found, create_or_same, fetch, list_all, read_small,
};
use keyark_model::Time;

/// Half-written files below `a/` are in no list, and go once nobody can be writing them; `a/b` stays. `root`: where it keeps its files.
pub fn abandoned_parts_go(place: &dyn Destination, root: &Path) {
    let (now, old) = (SystemTime::UNIX_EPOCH + Duration::from_secs(2_000_000_000), root.join("a/c/.part-old"));
    let new = root.join("a/.part-new");
    // The folder is made by whoever may remove things in it.
    place.create("a/c/d", Content::Bytes(b"x")).unwrap();
    place.delete("a/c/d").unwrap();
    for (path, age) in [(&old, 90_000), (&new, 60)] {
        std::fs::write(path, b"half").unwrap();
        let file = std::fs::File::options().write(true).open(path).unwrap();
        file.set_modified(now - Duration::from_secs(age)).unwrap();
    }
    let listed = || -> Vec<String> { place.list("", "", 9).unwrap().into_iter().map(|f| f.name).collect() };
    assert_eq!(listed(), ["a/b"]);
    place.clear("a/", Time((2_000_000_000 - 86_400) * 1_000_000)).unwrap();
    assert!(!old.exists() && new.exists());
    assert_eq!(listed(), ["a/b"]);
    std::fs::remove_file(new).unwrap();
}

/// The suite: it leaves nothing behind. Object stores, folders and other machines are held to the same.
pub fn conformance(place: &dyn Destination) {
    let unreadable = |e: DestinationError| panic!("{}: {e}", place.describe());
    // Created once, whole, at once readable.
    place.create("a/full/1.keyark", Content::Bytes(b"first")).unwrap_or_else(unreadable);
    assert_eq!(place.read("a/full/1.keyark", 0..5).unwrap(), b"first");
    assert_eq!(place.read("a/full/1.keyark", 1..3).unwrap(), b"ir");
    let again = place.create("a/full/1.keyark", Content::Bytes(b"other"));
    assert_eq!(again, Err(DestinationError::Exists("a/full/1.keyark".into())));
    assert_eq!(place.read("a/full/1.keyark", 0..5).unwrap(), b"first", "what is there stays");
    assert!(create_or_same(place, "a/full/1.keyark", Content::Bytes(b"first")).is_ok());
    for other in [&b"other"[..], b"firs", b"first!"] {
        let outcome = create_or_same(place, "a/full/1.keyark", Content::Bytes(other));
        assert!(matches!(outcome, Err(DestinationError::Exists(_))), "{outcome:?}");
    }
    assert_eq!(place.size("a/full/1.keyark"), Ok(5));
    assert_eq!(place.size("a/full"), Err(DestinationError::NotFound("a/full".into())));
    // Ranges outside and absent objects are errors, not short answers.
    assert!(place.read("a/full/1.keyark", 3..9).is_err());
    assert_eq!(place.read("a/full/2.keyark", 0..1), Err(DestinationError::NotFound("a/full/2.keyark".into())));
    assert_eq!(read_small(place, "a/full", 9), Err(DestinationError::NotFound("a/full".into())));
    assert!(read_small(place, "a/full/1.keyark", 4).is_err());
    for bad in ["", "/a", "../a", "a//b", "a/../../b", ".part"] {
        assert_eq!(place.create(bad, Content::Bytes(b"")), Err(DestinationError::BadName(bad.into())));
        assert!(place.read(bad, 0..1).is_err() && place.delete(bad).is_err());
    }
    assert!(place.list("../", "", 9).is_err() && place.folders("..").is_err() && place.folders("a").is_err());

    // A file of more than one piece goes there and comes back.
    let folder = tempfile::tempdir().expect("a temporary folder");
    let (big, back) = (folder.path().join("big"), folder.path().join("back"));
    let bytes: Vec<u8> = (0..(17 << 20) + 5_u32).map(|n| (n % 251) as u8).collect();
    std::fs::write(&big, &bytes).unwrap();
    place.create("a/full/big.keyark", Content::File(&big)).unwrap_or_else(unreadable);
    let found = place.list("a/full/b", "", 9).unwrap();
    assert_eq!(found, [Found { name: "a/full/big.keyark".into(), size: bytes.len() as u64 }]);
    fetch(place, &found[0], &back).unwrap();
    assert!(std::fs::read(&back).unwrap() == bytes);
    assert!(create_or_same(place, "a/full/big.keyark", Content::File(&big)).is_ok());

    // Lists are complete, sorted by the bytes of names, and go on behind any name.
    let mut names: Vec<String> = (0..25).map(|n| format!("a/log/{n:03}.keyark")).collect();
    names.extend(["a-b/1", "a.c/1", "b/1/2/3"].map(String::from));
    for name in &names {
        place.create(name, Content::Bytes(name.as_bytes())).unwrap_or_else(unreadable);
    }
    names.extend(["a/full/1.keyark", "a/full/big.keyark"].map(String::from));
    names.sort();
    let listed = |prefix: &str, after: &str, limit| -> Vec<String> {
        place.list(prefix, after, limit).unwrap().into_iter().map(|f| f.name).collect()
    };
    assert_eq!(listed("", "", 100), names);
    let mut paged: Vec<String> = Vec::new();
    loop {
        let page = listed("", paged.last().map_or("", |n| n), 7);
        let ended = page.len() < 7;
        paged.extend(page);
        if ended {
            break;
        }
    }
    assert_eq!(paged, names);
    assert_eq!(listed("a/log/01", "a/log/012.keyark", 3), ["a/log/013.keyark", "a/log/014.keyark", "a/log/015.keyark"]);
    assert_eq!(listed("a/nothing/", "", 9), Vec::<String>::new());
    assert_eq!(place.folders("").unwrap(), ["a", "a-b", "a.c", "b"]);
    assert_eq!(place.folders("a/").unwrap(), ["full", "log"]);
    assert_eq!(place.folders("b/1/").unwrap(), ["2"]);
    assert_eq!(place.folders("a/log/").unwrap(), Vec::<String>::new());
    assert_eq!(place.folders("nothing/").unwrap(), Vec::<String>::new());

    // Of many that create one name at once, one wins.
    let wins = AtomicU64::new(0);
    std::thread::scope(|scope| {
        for n in 0..8_u8 {
            let wins = &wins;
            scope.spawn(move || match place.create("race/owner", Content::Bytes(&[n; 100])) {
                Ok(()) => {
                    wins.fetch_add(1, Ordering::Relaxed);
                }
                Err(e) => assert_eq!(e, DestinationError::Exists("race/owner".into())),
            });
        }
    });
    assert_eq!(wins.into_inner(), 1);
    let winner = place.read("race/owner", 0..100).unwrap();
    assert!(winner.iter().all(|b| *b == winner[0]));

    for found in list_all(place, "").unwrap() {
        place.delete(&found.name).unwrap_or_else(unreadable);
    }
    assert_eq!(place.delete("race/owner"), Err(DestinationError::NotFound("race/owner".into())));
    assert_eq!(list_all(place, "").unwrap(), []);
}

/// Another destination that answers badly now and then: refuses, loses the answer of what it did, lists what was a while ago.
pub struct Faulty<D> {
    pub inner: D,
    /// Calls in a thousand that go wrong.
    pub per_mille: AtomicU64,
    /// Nothing gets through.
    pub dead: AtomicBool,
    state: AtomicU64,
    recent: Mutex<Vec<String>>,
}

impl<D: Destination> Faulty<D> {
    pub fn new(inner: D, seed: u64) -> Faulty<D> {
        let state = AtomicU64::new(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
        Faulty { inner, per_mille: AtomicU64::new(0), dead: AtomicBool::new(false), state, recent: Mutex::default() }
    }

    fn roll(&self) -> u64 {
        let mut x = self.state.load(Ordering::Relaxed);
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        self.state.store(x, Ordering::Relaxed);
        x
    }

    fn bad(&self) -> bool {
        self.roll() % 1000 < self.per_mille.load(Ordering::Relaxed)
    }

    fn before(&self) -> Result<(), DestinationError> {
        match self.dead.load(Ordering::Relaxed) || self.bad() {
            true => Err(DestinationError::Unreachable("503".into())),
            false => Ok(()),
        }
    }
}

impl<D: Destination> Destination for Faulty<D> {
    fn create(&self, name: &str, content: Content<'_>) -> Result<(), DestinationError> {
        self.before()?;
        self.inner.create(name, content)?;
        let mut recent = self.recent.lock().unwrap_or_else(PoisonError::into_inner);
        recent.push(name.into());
        if recent.len() > 3 {
            recent.remove(0);
        }
        match self.bad() {
            true => Err(DestinationError::Unreachable("the connection was reset".into())),
            false => Ok(()),
        }
    }

    fn size(&self, name: &str) -> Result<u64, DestinationError> {
        self.before()?;
        self.inner.size(name)
    }

    fn read(&self, name: &str, range: Range<u64>) -> Result<Vec<u8>, DestinationError> {
        self.before()?;
        self.inner.read(name, range)
    }

    fn list(&self, prefix: &str, after: &str, limit: usize) -> Result<Vec<Found>, DestinationError> {
        self.before()?;
        let mut found = self.inner.list(prefix, after, limit)?;
        if found.len() < limit && self.bad() {
            let recent = self.recent.lock().unwrap_or_else(PoisonError::into_inner);
            found.retain(|f| !recent.contains(&f.name));
        }
        Ok(found)
    }

    fn folders(&self, folder: &str) -> Result<Vec<String>, DestinationError> {
        self.before()?;
        self.inner.folders(folder)
    }

    fn delete(&self, name: &str) -> Result<(), DestinationError> {
        self.before()?;
        self.inner.delete(name)
    }

    fn check_free(&self, name: &str) -> Result<(), DestinationError> {
        self.before()?;
        self.inner.check_free(name)
    }

    fn describe(&self) -> String {
        self.inner.describe()
    }
}
