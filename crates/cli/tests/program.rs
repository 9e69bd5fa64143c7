//! The program as a person starts it: what `serve` says, where it keeps things, how it stops, completions and manuals.

use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

use keyark_testkit::TestServer;
use keyark_testkit::s3::{self, S3Server};
use keyark_testkit::ssh::{self, SshServer};
use serde_json::json;

/// The binary in this home, with nothing of this machine's settings.
fn keyark(home: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_keyark"));
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("KEYARK") || name.to_string_lossy().starts_with("XDG") {
            command.env_remove(name);
        }
    }
    command.current_dir(home).env("HOME", home).stdin(Stdio::null());
    command
}

fn out(output: &Output) -> String {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// A server that was started, killed if its test fails.
struct Serving {
    child: Child,
    told: String,
    errors: BufReader<std::process::ChildStderr>,
}

impl Serving {
    /// Starts it and reads what it says up to a line that begins so.
    fn start(command: &mut Command, last: &str) -> Serving {
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let errors = BufReader::new(child.stderr.take().unwrap());
        let (mut told, mut lines) = (String::new(), BufReader::new(child.stdout.take().unwrap()));
        while !told.lines().last().unwrap_or_default().trim_start().starts_with(last) {
            assert_ne!(lines.read_line(&mut told).unwrap(), 0, "it ended after\n{told}");
        }
        Serving { child, told, errors }
    }

    /// What stands behind this word in what it said.
    fn said(&self, word: &str) -> String {
        let line = self.told.lines().find_map(|l| l.trim_start().strip_prefix(word));
        line.unwrap_or_else(|| panic!("no {word:?} in\n{}", self.told)).trim().to_owned()
    }

    /// What Ctrl-C sends.
    fn interrupt(&self) {
        let sent = Command::new("bash").args(["-c", &format!("kill -INT {}", self.child.id())]).status().unwrap();
        assert!(sent.success());
    }

    /// Reads its messages up to one with this text.
    fn wait_for(&mut self, text: &str) {
        let mut line = String::new();
        while !line.contains(text) {
            line.clear();
            assert_ne!(self.errors.read_line(&mut line).unwrap(), 0, "it never said {text:?}");
        }
    }

    /// Interrupts it and asserts that it ends well.
    fn end(mut self) {
        self.interrupt();
        self.wait_for("stopped");
        assert_eq!(self.child.wait().unwrap().code(), Some(0));
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn a_first_start_needs_no_setting_and_says_what_comes_next() {
    let home = tempfile::tempdir().unwrap();
    // Any free port, because the usual one may be taken on the machine of a test.
    let any_port = ("KEYARK_LISTEN", "127.0.0.1:0");
    let server = Serving::start(keyark(home.path()).arg("serve").envs([any_port]), "First password");
    let url = server.said("Keyark serves at");
    assert!(url.starts_with("https://127.0.0.1:"), "{url}");
    assert_eq!(server.said("data"), "keyark-data");
    let (ca, anchor) = (server.said("authority"), server.said("anchor"));
    let pem = std::fs::read_to_string(home.path().join(&ca)).unwrap();
    assert!(pem.starts_with("-----BEGIN CERTIFICATE-----"), "{pem}");
    let next = server.told.split_once("\nNext:\n").unwrap().1;
    let next: Vec<&str> = next.lines().take(3).map(str::trim).collect();
    let login = format!("keyark login {url} --ca {ca} --user admin");
    let expected = [
        login.as_str(),
        "keyark backupkeys create --scope system --default",
        "keyark keys create --name first-key --algorithm AES --size 256",
    ];
    assert_eq!(next, expected);
    assert_eq!(server.told.matches("keyark ").count(), 3, "three commands, no more\n{}", server.told);

    let file = home.path().join("keyark-data/first-password");
    let password = server.said("First password of admin, good for 24 hours, in");
    assert_eq!(home.path().join(&password).canonicalize().unwrap(), home.path().join(&password), "{file:?}");
    let mode = std::fs::metadata(home.path().join(&password)).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let secret = std::fs::read_to_string(home.path().join(&password)).unwrap();
    assert_eq!(secret.trim().len(), 4 * 8 + 3);
    assert!(!server.told.contains(secret.trim()), "a pipe never gets the password itself");
    server.end();

    // The second start is the same system: the same anchor, no password, nothing to do next.
    let again = Serving::start(keyark(home.path()).arg("serve").envs([any_port]), "anchor");
    assert_eq!(again.said("anchor"), anchor);
    let exported = keyark(home.path()).args(["anchor", "export"]).output().unwrap();
    assert!(!out(&exported).is_empty());
    again.end();
}

#[test]
fn an_interrupt_lets_requests_end_closes_the_log_and_is_no_error() {
    let home = tempfile::tempdir().unwrap();
    let mut serve = keyark(home.path());
    let mut server = Serving::start(serve.args(["serve", "--no-tls", "--listen", "127.0.0.1:0"]), "First password");
    let address = server.said("Keyark serves at").replace("http://", "");
    let file = server.said("First password of admin, good for 24 hours, in");
    let password = std::fs::read_to_string(home.path().join(file)).unwrap();
    let body = format!("{{\"username\": \"admin\", \"password\": \"{}\"}}", password.trim());
    let mut open = TcpStream::connect(&address).unwrap();
    let length = body.len();
    write!(open, "POST /v1/auth/tokens HTTP/1.1\r\nhost: {address}\r\ncontent-type: application/json\r\nexpect: 100-continue\r\ncontent-length: {length}\r\n\r\n").unwrap();
    let mut told = BufReader::new(open.try_clone().unwrap());
    let mut line = String::new();
    told.read_line(&mut line).unwrap();
    assert!(line.starts_with("HTTP/1.1 100"), "{line}");
    // The request is under way now.
    server.interrupt();
    server.wait_for("stopping: open requests may end");
    open.write_all(body.as_bytes()).unwrap();
    let mut answer = String::new();
    told.read_to_string(&mut answer).unwrap();
    assert!(answer.contains("HTTP/1.1 200") && answer.contains("password_change_required"), "{answer}");
    server.wait_for("stopped");
    assert_eq!(server.child.wait().unwrap().code(), Some(0));
    assert!(TcpStream::connect(&address).is_err(), "nobody listens any more");
    let checked = keyark(home.path()).args(["store", "check", "--output", "json"]).output().unwrap();
    assert!(!out(&checked).is_empty(), "the folder is free again and its log is whole");
}

#[test]
fn a_setting_comes_from_a_flag_then_a_variable_then_the_file() {
    let home = tempfile::tempdir().unwrap();
    std::fs::write(home.path().join("keyark.toml"), "listen = \"127.0.0.1:1\"\ndata = \"of-file\"\ntls = false\n")
        .unwrap();
    let mut serve = keyark(home.path());
    serve.args(["serve", "--data", "of-flag"]);
    serve.envs([("KEYARK_CONFIG", "keyark.toml"), ("KEYARK_DATA", "of-variable"), ("KEYARK_LISTEN", "127.0.0.1:0")]);
    let server = Serving::start(&mut serve, "First password");
    assert_eq!(server.said("data"), "of-flag", "a flag wins over a variable");
    let url = server.said("Keyark serves at");
    assert!(url.starts_with("http://127.0.0.1:") && !url.ends_with(":1"), "a variable wins over the file: {url}");
    assert!(home.path().join("of-flag").is_dir());
    assert!(!home.path().join("of-variable").exists() && !home.path().join("of-file").exists());
    server.end();
    for (variable, value) in [("KEYARK_LARGEST_BODY", "much"), ("KEYARK_TLS", "perhaps"), ("KEYARK_LISTEN", "here")] {
        let refused = keyark(home.path()).arg("serve").env(variable, value).output().unwrap();
        assert_eq!(refused.status.code(), Some(2), "{variable}");
    }
}

#[test]
fn profiles_lie_below_the_home_folder_unless_told_otherwise() {
    let home = tempfile::tempdir().unwrap();
    let config = |folder: &str, text: &str| {
        let folder = home.path().join(folder).join("keyark");
        std::fs::create_dir_all(&folder).unwrap();
        File::create(folder.join("config.toml")).unwrap().write_all(text.as_bytes()).unwrap();
    };
    let one = "[profiles.default]\nurl = \"http://127.0.0.1:1\"\n";
    config(".config", one);
    config("elsewhere", &one.replace(":1", ":2"));
    let errors = |command: &mut Command| {
        command.envs([("KEYARK_USER", "admin"), ("KEYARK_PASSWORD", "not used")]);
        let output = command.args(["keys", "list"]).output().unwrap();
        assert!(!output.status.success());
        String::from_utf8_lossy(&output.stderr).into_owned()
    };
    let at_home = errors(&mut keyark(home.path()));
    assert!(at_home.contains("http://127.0.0.1:1"), "{at_home}");
    let elsewhere = errors(keyark(home.path()).env("XDG_CONFIG_HOME", home.path().join("elsewhere")));
    assert!(elsewhere.contains("http://127.0.0.1:2"), "{elsewhere}");
    let variable = errors(keyark(home.path()).env("KEYARK_URL", "http://127.0.0.1:3"));
    assert!(variable.contains("http://127.0.0.1:3"), "{variable}");
    let flag =
        errors(keyark(home.path()).env("KEYARK_URL", "http://127.0.0.1:3").args(["--url", "http://127.0.0.1:4"]));
    assert!(flag.contains("http://127.0.0.1:4"), "{flag}");
}

#[test]
fn every_shell_has_completions_and_every_command_a_manual() {
    let home = tempfile::tempdir().unwrap();
    for shell in ["bash", "elvish", "fish", "powershell", "zsh"] {
        let text = out(&keyark(home.path()).args(["completions", shell]).output().unwrap());
        assert!(text.contains("rotate-kek") && text.contains("backupkeys"), "{shell}");
    }
    // A shell takes it, and it knows the nouns.
    let script = "eval \"$(\"$0\" completions bash)\"; COMP_WORDS=(keyark back); COMP_CWORD=1; _keyark keyark back keyark; echo \"${COMPREPLY[@]}\"";
    let done = Command::new("bash").args(["-c", script, env!("CARGO_BIN_EXE_keyark")]).output().unwrap();
    let offered = out(&done);
    let offered: Vec<&str> = offered.split_whitespace().collect();
    assert!(offered.contains(&"backupkeys") && offered.iter().all(|word| word.starts_with("back")), "{offered:?}");
    out(&keyark(home.path()).args(["man", "pages"]).output().unwrap());
    let page = |name: &str| std::fs::read_to_string(home.path().join("pages").join(name)).unwrap();
    for (name, word) in
        [("keyark.1", "serve"), ("keyark-keys-create.1", "algorithm"), ("keyark-serve.1", "KEYARK_LISTEN")]
    {
        let text = page(name);
        assert!(text.contains(".TH") && text.contains(word), "{name}: {text}");
    }
}

#[test]
fn after_a_recovery_a_person_pins_the_new_anchor_and_old_archives_verify_under_the_old_one() {
    let home = tempfile::tempdir().unwrap();
    let no_tls = ["--no-tls", "--listen", "127.0.0.1:0"];
    let run = |line: &str| keyark(home.path()).args(line.split(' ')).output().unwrap();
    let server = Serving::start(keyark(home.path()).arg("serve").args(no_tls), "First password");
    let (url, old) = (server.said("Keyark serves at"), server.said("anchor"));
    let first = server.said("First password of admin, good for 24 hours, in");
    std::fs::write(home.path().join("password"), "correct horse battery staple").unwrap();
    let change = "--username admin --new-password-file password";
    out(&run(&format!("self changepw --url {url} --password-file {first} {change}")));
    out(&run(&format!("login {url} --user admin --password-file password --yes")));
    out(&run("keys create --name kept"));
    let made = out(&run("backupkeys create"));
    let id = |made: &str| made.split("\"id\": \"").nth(1).unwrap().split('"').next().unwrap().to_owned();
    out(&run(&format!("backupkeys download --id {} --file key.jwe", id(&made))));
    let backup = id(&out(&run("backup create --wait")));
    out(&run(&format!("backup download --id {backup} --file system.keyark")));
    out(&run("anchor export --file old.json"));
    server.end();

    let files = "--from system.keyark --backup-key key.jwe --password-file key.jwe.passphrase";
    assert!(out(&run(&format!("recover {files} --data again"))).contains("new: pin it"));
    let server = Serving::start(keyark(home.path()).args(["serve", "--data", "again"]).args(no_tls), "anchor");
    let (url, new) = (server.said("Keyark serves at"), server.said("anchor"));
    assert_ne!(new, old);
    let login = format!("login {url} --user admin --password-file password");
    for more in ["", " --yes"] {
        let refused = run(&format!("{login}{more}"));
        let said = String::from_utf8_lossy(&refused.stderr).into_owned();
        assert!(!refused.status.success() && said.contains(&old) && said.contains("--fingerprint"), "{said}");
    }
    assert!(!run(&format!("{login} --fingerprint {old}")).status.success(), "the old one is not what is shown");
    out(&run(&format!("{login} --fingerprint {new}")));
    assert!(out(&run("keys list")).contains("kept"));
    out(&run(&login));
    let verified = out(&run("archive verify system.keyark --anchor old.json"));
    assert!(verified.contains("\"verdict\": \"signed\""), "{verified}");
    server.end();
}

#[test]
fn what_a_running_server_sent_is_listed_and_recovered() {
    let home = tempfile::tempdir().unwrap();
    let no_tls = ["--no-tls", "--listen", "127.0.0.1:0"];
    let run = |line: &str| keyark(home.path()).args(line.split(' ')).output().unwrap();
    let server = Serving::start(keyark(home.path()).arg("serve").args(no_tls), "First password");
    let url = server.said("Keyark serves at");
    let first = server.said("First password of admin, good for 24 hours, in");
    std::fs::write(home.path().join("password"), "correct horse battery staple").unwrap();
    let change = "--username admin --new-password-file password";
    out(&run(&format!("self changepw --url {url} --password-file {first} {change}")));
    out(&run(&format!("login {url} --user admin --password-file password --yes")));
    let made: serde_json::Value = serde_json::from_str(&out(&run("backupkeys create --scope system"))).unwrap();
    let key = made["id"].as_str().unwrap();
    out(&run(&format!("backupkeys download --id {key} --file key.jwe --password-file password")));
    let nas = home.path().join("nas");
    std::fs::create_dir(&nas).unwrap();
    out(&run(&format!("destination create --name nas --path {}", nas.display())));
    out(&run("backup-instance create --type system --alias all"));
    out(&run("backup-instance enable --id all --destinations nas --interval 1"));
    out(&run("keys create --name k1"));
    // The server ships by itself; what it says is what is there.
    let listed = || -> Option<serde_json::Value> {
        let shown = run("points --from nas");
        shown.status.success().then(|| serde_json::from_slice(&shown.stdout).unwrap())
    };
    let holds_after = |position: u64| {
        let until = std::time::Instant::now() + std::time::Duration::from_secs(60);
        loop {
            let all = listed();
            let last = all.as_ref().map_or(0, |all| all["resources"][0]["lastPosition"].as_u64().unwrap());
            if last > position {
                return all.unwrap()["resources"][0].clone();
            }
            assert!(std::time::Instant::now() < until, "nothing was sent after {position}: {all:?}");
        }
    };
    let before = holds_after(0);
    out(&run("keys create --name k2"));
    let after = holds_after(before["lastPosition"].as_u64().unwrap());
    assert_eq!((&after["scope"], &after["backupKeys"][0]), (&"system".into(), &key.into()));
    server.end();
    std::fs::remove_dir_all(home.path().join("keyark-data")).unwrap();

    let recover = "recover --from nas --backup-key key.jwe --password-file password --data";
    let position = before["lastPosition"].as_u64().unwrap();
    let told = out(&run(&format!("{recover} old --position {position}")));
    assert!(told.contains("Nothing goes out until you have looked at it"), "{told}");
    let newest = out(&run(&format!("{recover} new")));
    let count = |told: &str| -> u64 { told.split(' ').nth(1).unwrap().parse().unwrap() };
    assert!(count(&newest) > count(&told), "one key more: {told} {newest}");
    // Nothing is ripe yet, and a statement that this system did not sign is none.
    let anchor = home.path().join("old/anchor.json");
    let serve = Serving::start(keyark(home.path()).args(["serve", "--data", "old"]).args(no_tls), "anchor");
    serve.end();
    let retained = out(&run(&format!("retain --from nas --anchor {} --wait 0 --dry-run", anchor.display())));
    assert_eq!(retained.trim(), "[]");
    // Wrong times, places and options are told apart, by words and by exit status.
    for (line, code, words) in [
        (format!("{recover} no --at 2001-01-01T00:00:00Z"), 3, "the first point is"),
        (format!("{recover} no --at 2101-01-01T00:00:00Z"), 3, "the last point is"),
        (format!("{recover} no --at yesterday"), 2, "--at"),
        (format!("{recover} no --position 1"), 3, "the first point is"),
        ("points --from nowhere".to_owned(), 3, "cannot be reached"),
        ("retain --from nas --anchor nowhere.json".to_owned(), 3, "nowhere.json"),
        ("retain --from nas --anchor key.jwe".to_owned(), 7, ""),
        ("points --from old".to_owned(), 3, "there is nothing that a stream left there"),
    ] {
        let refused = run(&line);
        let said = String::from_utf8_lossy(&refused.stderr).into_owned();
        assert_eq!(refused.status.code(), Some(code), "{line}: {said}");
        assert!(said.contains(words), "{line}: {said}");
        assert!(!home.path().join("no/store.db").exists());
    }
}

#[test]
fn retention_runs_elsewhere_with_credentials_that_the_server_does_not_have() {
    let (home, server, bucket) = (tempfile::tempdir().unwrap(), TestServer::start(), S3Server::start());
    server.admin.post("/v1/backupkeys", json!({ "scope": "system" })).ok(201);
    let fields = json!({ "name": "s3", "kind": "s3", "bucket": s3::BUCKET, "endpoint": bucket.endpoint,
        "accessKeyId": s3::CREATOR, "secretAccessKey": s3::SECRET });
    server.admin.post("/v1/destinations", fields).ok(201);
    let told = server.admin.post("/v1/destinations/s3/check", json!({})).ok(200);
    assert_eq!((&told["usable"], &told["deletes"]), (&json!(true), &json!(false)), "{told}");
    server.admin.post("/v1/backup-instances", json!({ "type": "system", "alias": "all" })).ok(201);
    server.admin.post("/v1/backup-instances/all/enable", json!({ "destinations": ["s3"], "interval": 1 })).ok(200);
    // Enough small segments that one takes their place; a day later they are superfluous.
    for n in 0..34 {
        server.admin.key(json!({ "name": format!("k{n}") }));
        server.protect();
        server.advance(1);
    }
    for _ in 0..3 {
        server.advance_days(1);
        server.protect();
    }
    server.admin.renew();
    let shown = server.admin.get("/v1/backup-instances/all").ok(200);
    assert_eq!(shown["destinations"][0]["error"], json!(null), "what it may not delete stops nothing: {shown}");
    let segments = || bucket.files(s3::BUCKET).iter().filter(|p| p.to_string_lossy().contains("/log/00/")).count();
    assert!(segments() >= 34, "the server deletes nothing");

    let anchor = server.admin.get("/v1/system/anchor").ok(200)["anchor"].to_string();
    std::fs::write(home.path().join("anchor.json"), anchor).unwrap();
    let retain = |who: &str, more: &[&str]| {
        let from = format!("s3://{}/?endpoint={}", s3::BUCKET, bucket.endpoint);
        let mut command = keyark(home.path());
        command.args(["retain", "--from", &from, "--anchor", "anchor.json"]).args(more);
        command.env("AWS_ACCESS_KEY_ID", who).env("AWS_SECRET_ACCESS_KEY", s3::SECRET).output().unwrap()
    };
    let before = segments();
    let planned: serde_json::Value = serde_json::from_str(&out(&retain(s3::ACCESS, &["--dry-run"]))).unwrap();
    assert!(planned[0]["objects"].as_u64().unwrap() >= 32, "{planned}");
    let refused = retain(s3::CREATOR, &[]);
    assert!(String::from_utf8_lossy(&refused.stderr).contains("give it credentials that may"), "{refused:?}");
    assert_eq!(segments(), before);
    let done: serde_json::Value = serde_json::from_str(&out(&retain(s3::ACCESS, &[]))).unwrap();
    assert_eq!((&done[0]["names"], &done[0]["kept"]), (&planned[0]["names"], &json!([])));
    assert!(segments() <= before - 32, "{before} {}", segments());
    assert_eq!(out(&retain(s3::ACCESS, &[])).trim(), "[]", "what was done is done");
}

#[test]
fn a_folder_of_another_machine_is_named_by_its_address() {
    let (home, far) = (tempfile::tempdir().unwrap(), SshServer::start());
    far.room("vault");
    let key = far.host_key.replace('+', "%2B").replace(' ', "%20");
    let address = |query: &str| format!("sftp://{}@127.0.0.1:{}/~/vault/{query}", ssh::USER, far.port);
    let points = |from: &str, password: &str| {
        let mut command = keyark(home.path());
        command.args(["points", "--from", from]).env("KEYARK_SSH_PASSWORD", password).output().unwrap()
    };
    let pinned = address(&format!("?hostKey={key}"));
    for (from, password, code, words) in [
        (pinned.as_str(), ssh::PASSWORD, 3, "there is nothing that a stream left there"),
        (pinned.as_str(), "wrong", 7, "does not let"),
        (pinned.as_str(), "", 2, "KEYARK_SSH_IDENTITY"),
        (address("").as_str(), ssh::PASSWORD, 2, "known_hosts"),
        ("sftp://127.0.0.1/vault/", ssh::PASSWORD, 2, "sftp://user@host"),
    ] {
        let refused = points(from, password);
        let said = String::from_utf8_lossy(&refused.stderr).into_owned();
        assert_eq!(refused.status.code(), Some(code), "{from}: {said}");
        assert!(said.contains(words), "{from}: {said}");
    }
}
