//! The power goes: what the disk had at that moment holds every acknowledged batch. The control, with fsync switched off, loses some.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use keyark_model::Kind;
use keyark_store::Store;
use keyark_store::failpoint::NO_FSYNC;

use crate::crash::{FOLDER, commit_until_killed};
use crate::fixture::{A, T0, id, identity, options};

const NAME: &str = "power::a_power_cut_loses_no_acknowledged_batch";
/// Acknowledged batches before the power goes.
const BATCHES: usize = 300;

fn run(program: &str, arguments: &[&dyn AsRef<std::ffi::OsStr>]) -> bool {
    let mut command = Command::new(program);
    command.args(arguments.iter().map(|a| a.as_ref())).stdout(Stdio::null()).stderr(Stdio::null());
    command.status().is_ok_and(|s| s.success())
}

/// A disk: ext4 in a file that lives in memory, so that the file is what was written through, and nothing else.
struct Disk {
    mounted: PathBuf,
    image: PathBuf,
}

impl Disk {
    fn mount(image: PathBuf, mounted: PathBuf) -> Option<Disk> {
        std::fs::create_dir(&mounted).unwrap();
        // The journal is committed by fsync alone, not by a clock that happens to tick.
        run("mount", &[&"-o", &"loop,commit=300", &image, &mounted]).then_some(Disk { mounted, image })
    }

    fn new(folder: &Path) -> Option<Disk> {
        let image = folder.join("disk");
        File::create(&image).unwrap().set_len(96 << 20).unwrap();
        let made = run("mkfs.ext4", &[&"-q", &"-F", &image]);
        made.then(|| Disk::mount(image, folder.join("mounted")))?
    }

    /// The disk as a machine finds it that is switched on again.
    fn after_a_power_cut(&self, folder: &Path) -> Disk {
        let image = folder.join("copy");
        std::fs::copy(&self.image, &image).unwrap();
        Disk::mount(image, folder.join("again")).expect("ext4 replays its journal")
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        run("umount", &[&"-l", &self.mounted]);
    }
}

/// A writer, killed at the latest when the test ends.
struct Writer(Child);

impl Writer {
    fn start(folder: &Path, fsync: bool) -> Writer {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--exact", NAME, "--nocapture"]).env(FOLDER, folder);
        if !fsync {
            command.env(NO_FSYNC, "1");
        }
        Writer(command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap())
    }

    /// Stops it dead after so many acknowledgements; answers their numbers.
    fn stop_after(&mut self, count: usize) -> Vec<u128> {
        let lines = BufReader::new(self.0.stdout.take().unwrap()).lines().map_while(Result::ok);
        let number = |line: String| line.rsplit_once("acknowledged ").and_then(|(_, n)| n.parse::<u128>().ok());
        let acknowledged: Vec<u128> = lines.filter_map(number).take(count).collect();
        assert!(run("kill", &[&"-STOP", &self.0.id().to_string()]));
        acknowledged
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Acknowledged batches that are not on the disk after the power went; none when this process may not mount.
fn lost(fsync: bool) -> Option<usize> {
    let folder = tempfile::tempdir_in("/dev/shm").unwrap();
    let disk = Disk::new(folder.path())?;
    let path = disk.mounted.join("db");
    drop(Store::create(&path, &identity(), T0, options()).unwrap());
    assert!(run("sync", &[&"-f", &path]));
    let mut writer = Writer::start(&disk.mounted, fsync);
    let acknowledged = writer.stop_after(BATCHES);
    assert_eq!(acknowledged.len(), BATCHES);
    let after = disk.after_a_power_cut(folder.path());
    let lost = match Store::open(&after.mounted.join("db"), options()) {
        Ok(store) => {
            let missing = acknowledged.iter().filter(|n| {
                [2 * **n, 2 * **n + 1].iter().any(|key| store.get(A, Kind::Key, id(*key)).unwrap().is_none())
            });
            if fsync {
                assert_eq!(store.check().unwrap().findings, []);
            }
            missing.count()
        }
        Err(e) => {
            assert!(!fsync, "the store does not open: {e}");
            BATCHES
        }
    };
    Some(lost)
}

#[test]
fn a_power_cut_loses_no_acknowledged_batch() {
    if let Ok(folder) = std::env::var(FOLDER) {
        return commit_until_killed(&Path::new(&folder).join("db"));
    }
    for _ in 0..2 {
        match lost(true) {
            Some(lost) => assert_eq!(lost, 0),
            None => {
                return eprintln!(
                    "NOT TESTED: a power cut needs mkfs.ext4 and the right to mount; run the tests as root"
                );
            }
        }
    }
    // The control: the same without fsync must lose something, or the test above shows nothing.
    let lost = lost(false).expect("it could be mounted before");
    assert!(lost > 0, "nothing was lost without fsync: this power cut is none");
}
