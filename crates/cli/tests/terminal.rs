//! What a person at a terminal sees and types: a pseudo terminal, with Python's own library.

use std::path::Path;
use std::process::Command;

/// Runs the binary on a terminal: waits for each text (a regular expression), then types; everything that the terminal showed, and the exit status.
fn on_a_terminal(home: &Path, arguments: &[&str], dialogue: &[(&str, &str)]) -> (String, i32) {
    const SCRIPT: &str = "import json, os, pty, re, sys, termios
pid, terminal = pty.fork()
if pid == 0:
    os.execv(sys.argv[2], sys.argv[2:])
shown = b''
def more():
    global shown
    try:
        part = os.read(terminal, 4096)
    except OSError:
        part = b''
    shown += part
    return part
at = 0
for expected, typed in json.loads(sys.argv[1]):
    while not re.search(expected.encode(), shown[at:]):
        if not more():
            sys.exit('it ended without %r: %r' % (expected, shown))
    at = len(shown)
    # A prompt comes before the echo is off; nobody types that fast.
    while typed.endswith('\\n') and termios.tcgetattr(terminal)[3] & termios.ECHO:
        pass
    os.write(terminal, typed.encode())
while more():
    pass
sys.stdout.buffer.write(shown)
sys.exit(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))";
    let mut python = Command::new("timeout");
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("KEYARK") || name.to_string_lossy().starts_with("XDG") {
            python.env_remove(name);
        }
    }
    python.args(["20", "python3", "-c", SCRIPT]).arg(serde_json::to_string(dialogue).unwrap());
    python.arg(env!("CARGO_BIN_EXE_keyark")).args(arguments);
    python.current_dir(home).env("HOME", home).env("TERM", "xterm").env("KEYARK_LISTEN", "127.0.0.1:0");
    let done = python.output().unwrap();
    let status = done.status.code().unwrap_or(-1);
    assert!(done.stderr.is_empty(), "{}", String::from_utf8_lossy(&done.stderr));
    (String::from_utf8_lossy(&done.stdout).into_owned(), status)
}

/// A golden archive, its exported backup key and the passphrase of that.
fn golden() -> (String, String, String) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/archive-v1");
    let page = std::fs::read_to_string(folder.join("README.md")).unwrap();
    let line = page.lines().find_map(|l| l.strip_prefix("| system | `")).unwrap();
    let file = |name: &str| folder.join(name).to_str().unwrap().to_owned();
    (file("system.keyark"), file("system-backup-key.jwe"), line.trim_end_matches("` |").to_owned())
}

#[test]
fn a_password_is_typed_and_never_shown() {
    let home = tempfile::tempdir().unwrap();
    let (archive, key, passphrase) = golden();
    let list = ["archive", "list", &archive, "--key", &key, "--kind", "keys", "--output", "table"];
    let typed = format!("{passphrase}\n");
    let (shown, status) = on_a_terminal(home.path(), &list, &[("Password of", &typed)]);
    assert_eq!(status, 0, "{shown:?}");
    assert!(shown.contains("NAME") && !shown.contains(&passphrase), "{shown}");
    let (shown, status) = on_a_terminal(home.path(), &list, &[("Password of", "wrong\n")]);
    assert_eq!(status, 6, "{shown:?}");
    assert!(!shown.contains("wrong\r"), "{shown}");
}

#[test]
fn a_terminal_has_colour_and_a_bar_and_a_pipe_has_neither() {
    let home = tempfile::tempdir().unwrap();
    let (archive, key, passphrase) = golden();
    let verify = ["archive", "verify", &archive, "--key", &key];
    let typed = format!("{passphrase}\n");
    let (shown, _) = on_a_terminal(home.path(), &verify, &[("Password of", &typed)]);
    assert!(shown.contains("reading") && shown.contains("10.88 KiB/10.88 KiB"), "what passed, of how much: {shown:?}");
    assert!(shown.contains("\u{1b}["), "{shown:?}");
    let password = home.path().join("password");
    std::fs::write(&password, &passphrase).unwrap();
    let mut piped = Command::new(env!("CARGO_BIN_EXE_keyark"));
    piped.args(verify).arg("--password-file").arg(&password).env("HOME", home.path()).current_dir(home.path());
    let piped = piped.output().unwrap();
    let all = [piped.stdout, piped.stderr].concat();
    assert!(!all.contains(&0x1b), "{}", String::from_utf8_lossy(&all));
}

#[test]
fn the_first_password_is_shown_on_a_terminal_and_written_nowhere() {
    let home = tempfile::tempdir().unwrap();
    let (shown, status) = on_a_terminal(home.path(), &["serve"], &[("hours:\\s+[0-9a-f-]{35}\\s", "\u{3}")]);
    assert_eq!(status, 0, "{shown:?}");
    let shown = shown.replace("^C", "");
    let mut words = shown.split(|c: char| !c.is_ascii_hexdigit() && c != '-');
    let password = words.find(|w| w.len() == 35 && w.matches('-').count() == 3);
    let password = password.unwrap_or_else(|| panic!("{shown:?}"));
    let mut folders = vec![home.path().to_owned()];
    while let Some(folder) = folders.pop() {
        for file in std::fs::read_dir(folder).unwrap() {
            let path = file.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                let bytes = std::fs::read(&path).unwrap();
                assert!(!bytes.windows(35).any(|w| w == password.as_bytes()), "{path:?} holds it");
                assert_ne!(path.file_name().unwrap(), "first-password");
            }
        }
    }
}

#[test]
fn the_password_of_an_exported_backup_key_is_typed_twice() {
    use std::io::{BufRead, BufReader};
    let home = tempfile::tempdir().unwrap();
    let mut serve = Command::new(env!("CARGO_BIN_EXE_keyark"));
    serve.args(["serve", "--no-tls"]).env("HOME", home.path()).env("KEYARK_LISTEN", "127.0.0.1:0");
    let mut server = serve.current_dir(home.path()).stdout(std::process::Stdio::piped()).spawn().unwrap();
    let told = BufReader::new(server.stdout.take().unwrap()).lines();
    let told: Vec<String> = told.map(Result::unwrap).take_while(|l| !l.starts_with("First password")).collect();
    let url = told.iter().find_map(|l| l.strip_prefix("Keyark serves at ")).unwrap().trim().to_owned();
    let result = std::panic::catch_unwind(|| {
        let first = std::fs::read_to_string(home.path().join("keyark-data/first-password")).unwrap();
        let run = |arguments: &[&str], dialogue: &[(&str, &str)]| on_a_terminal(home.path(), arguments, dialogue);
        let new = "correct horse battery staple\n";
        let change = ["self", "changepw", "--url", &url, "--username", "admin"];
        let (shown, status) = run(&change, &[("new password", new), ("again", new), ("assword", &first)]);
        assert_eq!(status, 0, "{shown:?}");
        let at = ["--url", url.as_str(), "--user", "admin"];
        let create = [&["backupkeys", "create"][..], &at].concat();
        let (made, status) = run(&create, &[("Password of admin", new)]);
        assert_eq!(status, 0, "{made}");
        let id = made.split("\"id\": \"").nth(1).and_then(|rest| rest.split('"').next()).unwrap();
        let export = |file: &str, first: &str, second: &str| {
            let download = [&["backupkeys", "download", "--id", id, "--file", file][..], &at].concat();
            run(&download, &[("exported file", first), ("again", second)])
        };
        let (shown, status) = export("own.jwe", "my own passphrase\n", "my own passphrase\n");
        assert_eq!(status, 0, "{shown:?}");
        assert!(!shown.contains("my own passphrase") && !shown.contains("shown this once"), "{shown}");
        let (shown, status) = run(
            &["backupkeys", "download", "--id", id, "--file", "made.jwe", "--url", &url, "--user", "admin"],
            &[("exported file", "\n")],
        );
        assert_eq!(status, 0, "{shown:?}");
        assert!(shown.contains("shown this once"), "nothing typed: a strong one is made and shown: {shown}");
        let inspect = ["backupkeys", "inspect", "own.jwe"];
        assert!(home.path().join(inspect[2]).is_file() && !home.path().join("own.jwe.passphrase").exists());
    });
    server.kill().unwrap();
    server.wait().unwrap();
    result.unwrap();
}
