//! The program as a person starts it: what `serve` says, where it keeps things, how it stops, completions and manuals.

use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

mod serving;

use serving::{Serving, keyark, out};

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

    // The second start is the same system: the same anchor, no password; nobody has used the first one.
    let again = Serving::start(keyark(home.path()).arg("serve").envs([any_port]), "keyark users reset-admin");
    assert_eq!(again.said("keyark users reset-admin"), "--data keyark-data");
    assert_eq!(again.said("anchor"), anchor);
    let exported = keyark(home.path()).args(["anchor", "export"]).output().unwrap();
    assert!(!out(&exported).is_empty());
    again.end();
}

#[test]
fn where_the_port_is_taken_nothing_is_made() {
    let home = tempfile::tempdir().unwrap();
    let held = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let listen = ["serve", "--data", "d", "--listen", &held.local_addr().unwrap().to_string()].map(str::to_owned);
    let refused = keyark(home.path()).args(&listen).output().unwrap();
    let told = String::from_utf8(refused.stderr).unwrap();
    assert!(!refused.status.success() && told.contains("stop the program that holds it"), "{told}");
    assert!(!home.path().join("d").exists(), "no system whose first password nobody was told");
    drop(held);
    Serving::start(keyark(home.path()).args(&listen), "First password").end();
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
