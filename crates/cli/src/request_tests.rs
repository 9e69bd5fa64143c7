//! Requests as command lines give them.

use keyark_api::address::address;
use keyark_api::list::endpoints;
use serde_json::{Value, json};

use super::{build, missing};
use crate::failure::Failure;
use crate::tree::Tree;

fn request(line: &[&str]) -> Result<Value, Failure> {
    let tree = Tree::of(endpoints());
    let matches = tree.command().try_get_matches_from([["keyark"].as_slice(), line].concat()).expect("the flags exist");
    let (mut words, mut at) = (Vec::new(), &matches);
    while let Some((word, inner)) = at.subcommand() {
        words.push(word);
        at = inner;
    }
    build(tree.find(&words).expect("the words exist"), at).map(Value::Object)
}

#[test]
fn flags_are_typed_by_the_schema() {
    let line = ["users", "list", "--limit", "-1", "--skip=20", "--username", "a*"];
    assert_eq!(request(&line).unwrap(), json!({ "limit": -1, "skip": 20, "username": "a*" }));
    let line = ["users", "modify", "local|7", "--disabled", "--locked=false", "--user-metadata", r#"{"a":[1]}"#];
    let expected = json!({ "id": "local|7", "disabled": true, "locked": false, "user_metadata": { "a": [1] } });
    assert_eq!(request(&line).unwrap(), expected);
    let line = ["domains", "create", "--name", "d", "--admins", "a", "--admins", "b", "--quotas", r#"{"keys":5}"#];
    assert_eq!(request(&line).unwrap(), json!({ "name": "d", "admins": ["a", "b"], "quotas": { "keys": 5 } }));
}

#[test]
fn the_path_takes_flags_or_arguments_in_its_order() {
    let expected = json!({ "name": "Key Users", "user_id": "local|1" });
    for line in [
        ["groups", "adduser", "Key Users", "local|1"].as_slice(),
        &["groups", "adduser", "--name", "Key Users", "--user-id", "local|1"],
        &["groups", "adduser", "--user-id", "local|1", "Key Users"],
        &["group", "adduser", "--name=Key Users", "local|1"],
    ] {
        assert_eq!(request(line).unwrap_or_else(|e| panic!("{line:?}: {e}")), expected);
    }
    assert!(matches!(request(&["users", "get", "--id", "a", "b"]), Err(Failure::Usage(_))));
}

#[test]
fn what_a_command_line_names_arrives_at_an_escaped_path() {
    let tree = Tree::of(endpoints());
    let verb = tree.find(&["groups", "deleteuser"]).unwrap();
    let fields = request(&["groups", "deleteuser", "a/b c", "local|1"]).unwrap();
    let (target, body) = address(&verb.endpoint, fields).unwrap();
    assert_eq!((target.as_str(), body), ("/v1/usermgmt/groups/a%2Fb%20c/users/local%7C1", None));
}

#[test]
fn json_comes_from_files_too_and_flags_come_on_top() {
    let folder = tempfile::tempdir().unwrap();
    let (whole, part, password) = (folder.path().join("a"), folder.path().join("b"), folder.path().join("c"));
    std::fs::write(&whole, r#"{"username":"bob","email":"b@example.org"}"#).unwrap();
    std::fs::write(&part, r#"{"team":"x"}"#).unwrap();
    std::fs::write(&password, "correct horse\n").unwrap();
    let text = |p: &std::path::Path| p.to_str().unwrap().to_owned();
    let (whole, part, password) = (text(&whole), text(&part), text(&password));
    let flags =
        ["--jsonfile", &whole, "--user-metadata-jsonfile", &part, "--password-file", &password, "--username", "eve"];
    let expected = json!({
        "username": "eve", "email": "b@example.org", "user_metadata": { "team": "x" }, "password": "correct horse"
    });
    assert_eq!(request(&[["users", "create"].as_slice(), &flags].concat()).unwrap(), expected);
    std::fs::write(&part, "not JSON").unwrap();
    let line = ["users", "create", "--user-metadata-jsonfile", &part];
    assert!(matches!(request(&line), Err(Failure::Usage(text)) if text.contains("not JSON")));
}

#[test]
fn a_wrong_type_names_the_flag() {
    for (line, word) in [
        (["users", "list", "--limit", "ten"], "--limit"),
        (["users", "create", "--user-metadata", "{oops"], "--user-metadata"),
    ] {
        assert!(matches!(request(&line), Err(Failure::Usage(text)) if text.contains(word)), "{line:?}");
    }
}

#[test]
fn what_is_required_and_absent_is_named() {
    let tree = Tree::of(endpoints());
    let verb = tree.find(&["users", "create"]).unwrap();
    let given = json!({ "username": "bob" });
    let lacking: Vec<&str> = missing(verb, given.as_object().unwrap()).map(|f| f.wire.as_str()).collect();
    assert_eq!(lacking, ["password"]);
}

#[test]
fn the_words_of_ksctl_mean_the_same() {
    let filters = r#"[{"resourceType":"Keys"}]"#;
    let line = ["backup", "create", "--scope", "domain", "--filters", filters, "--keyid", "7", "--tied-to-hsm"];
    let expected =
        json!({ "scope": "domain", "filters": [{ "resourceType": "Keys" }], "backupKey": "7", "tiedToHSM": true });
    assert_eq!(request(&line).unwrap(), expected);
    let line = ["backupkeys", "create", "--scope", "domain", "--default"];
    assert_eq!(request(&line).unwrap(), json!({ "scope": "domain", "isDefault": true }));
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("filters.json");
    std::fs::write(&path, filters).unwrap();
    let line = ["backup", "create", "--filters-jsonfile", path.to_str().unwrap()];
    assert_eq!(request(&line).unwrap(), json!({ "filters": [{ "resourceType": "Keys" }] }));
}

#[test]
fn maps_times_and_key_files_are_written_as_people_write_them() {
    let line = [
        "keys",
        "create",
        "--name",
        "k",
        "--labels",
        "team=a",
        "--labels",
        "b=c=d",
        "--activation-date",
        "2030-01-01T00:00:00Z",
    ];
    let expected =
        json!({ "name": "k", "labels": { "team": "a", "b": "c=d" }, "activationDate": "2030-01-01T00:00:00Z" });
    assert_eq!(request(&line).unwrap(), expected);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("key.jwe");
    std::fs::write(&path, "eyJ\n").unwrap();
    let line = ["backupkeys", "inspect", "--file", path.to_str().unwrap()];
    assert_eq!(request(&line).unwrap(), json!({ "file": "eyJ\n" }));
}
