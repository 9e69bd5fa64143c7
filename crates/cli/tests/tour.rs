//! The tour is a test: the main job from beginning to end, through the program that people run.

use std::process::Command;

#[test]
fn the_tour_brings_every_key_back_on_an_empty_machine() {
    let output = Command::new(env!("CARGO_BIN_EXE_keyark")).args(["tour", "--keys", "300"]).output().unwrap();
    let told = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{told}{}", String::from_utf8_lossy(&output.stderr));
    assert!(told.contains("60 of 60 ciphertexts opened"), "{told}");
    assert!(told.contains("(100 keys in payments)"), "{told}");
    assert!(told.contains("read back and verified"), "{told}");
    // A step that is done is a line with the seconds that it took.
    let seconds = |line: &&str| line.trim_start().split_once(" s  ").is_some_and(|(n, _)| n.parse::<f64>().is_ok());
    assert!(told.lines().filter(seconds).count() >= 6, "{told}");
}

#[test]
fn a_tour_leaves_nothing_behind() {
    let place = tempfile::tempdir().unwrap();
    let mut tour = Command::new(env!("CARGO_BIN_EXE_keyark"));
    let output = tour.args(["tour", "--keys", "3"]).env("TMPDIR", place.path()).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(std::fs::read_dir(place.path()).unwrap().count(), 0);
}
