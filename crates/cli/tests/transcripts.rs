//! Replays every file of `transcripts/`, a recorded exchange of commands with their exact answers, against the binary.
//!
//! `$ ` stands before a command (`> ` where it goes on), then what it wrote: standard output, standard error behind
//! `! `, and `# exit N` if that is not 0. Other lines with `#` are remarks. `<uuid>` is any id, `<key:uuid>` one that
//! gets a name, `${key}` the same one again, in commands too; `url` and `anchor` are known from the start, `other_url`
//! and `other_anchor` where the profile `other` is used: that is a second server. `ssh_port` brings along an SSH server. `KEYARK_BLESS=1` writes the answers
//! anew.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::Mutex;

mod mask;
mod serving;

use keyark_testkit::ssh::{self, SshServer};

use mask::{Values, fits, masked};

/// A command, the remarks before it, its answer.
#[derive(Default)]
struct Exchange {
    remarks: Vec<String>,
    command: String,
    answer: Vec<String>,
}

fn parse(text: &str) -> Vec<Exchange> {
    let mut all: Vec<Exchange> = Vec::new();
    let mut remarks = Vec::new();
    for line in text.lines() {
        if let Some(command) = line.strip_prefix("$ ") {
            let command = command.to_owned();
            all.push(Exchange { remarks: std::mem::take(&mut remarks), command, ..Exchange::default() });
        } else if line.starts_with('#') && !line.starts_with("# exit ") {
            remarks.push(line.to_owned());
        } else if let Some(last) = all.last_mut() {
            match line.strip_prefix("> ").filter(|_| last.answer.is_empty()) {
                Some(more) => last.command += &format!("\n{more}"),
                None => last.answer.push(line.to_owned()),
            }
        }
    }
    for exchange in &mut all {
        let used = exchange.answer.iter().rposition(|line| !line.is_empty()).map_or(0, |last| last + 1);
        exchange.answer.truncate(used);
    }
    all
}

fn written(exchanges: &[Exchange]) -> String {
    let one = |e: &Exchange| {
        let command = format!("$ {}", e.command.replace('\n', "\n> "));
        let lines: Vec<&str> = e.remarks.iter().chain([&command]).chain(&e.answer).map(String::as_str).collect();
        lines.join("\n") + "\n"
    };
    exchanges.iter().map(one).collect::<Vec<_>>().join("\n")
}

/// A program in this home that knows these values.
fn program(name: impl AsRef<OsStr>, home: &Path, values: &Values) -> Command {
    let mut command = serving::program(name, home);
    command.env("LC_ALL", "C").envs(values);
    command
}

/// What a command answers, in the lines of a transcript.
fn answer(home: &Path, values: &Values, command: &str) -> Vec<String> {
    let done = program("timeout", home, values).args(["60", "bash", "-c", command]).output().unwrap();
    let (out, err) = (String::from_utf8_lossy(&done.stdout), String::from_utf8_lossy(&done.stderr));
    let out = out.trim_end_matches('\n').lines().map(str::to_owned);
    let err = err.trim_end_matches('\n').lines().map(|line| format!("! {line}").trim_end().to_owned());
    let exit = done.status.code().filter(|code| *code != 0).map(|code| format!("# exit {code}"));
    out.chain(err).chain(exit).collect()
}

/// A running server; killed when it goes.
struct Server(Child, BufReader<ChildStdout>);

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Starts a server on a new data folder and logs `admin` in, with the anchor that it printed pinned.
fn serve(home: &Path, values: &mut Values, data: &str, prefix: &str, profile: &str) -> Result<Server, String> {
    let log = home.join(format!("{data}.log"));
    let mut command = program(env!("CARGO_BIN_EXE_keyark"), home, &Values::new());
    command.args(["serve", "--no-tls", "--listen", "127.0.0.1:0", "--data", data]);
    let mut child = command.stdout(Stdio::piped()).stderr(File::create(&log).unwrap()).spawn().unwrap();
    let out = child.stdout.take().expect("it is piped");
    let mut server = Server(child, BufReader::new(out));
    let mut line = String::new();
    while !line.starts_with("First password") {
        line.clear();
        if server.1.read_line(&mut line).unwrap() == 0 {
            return Err(format!("the server did not start: {}", std::fs::read_to_string(&log).unwrap()));
        }
        let name = if line.starts_with("Keyark serves") { "url" } else { line.split_whitespace().next().unwrap_or("") };
        if let ("url" | "anchor", Some(value)) = (name, line.split_whitespace().next_back()) {
            values.insert(format!("{prefix}{name}"), value.to_owned());
        }
    }
    let change = format!("keyark --url ${{{prefix}url}} self changepw --username admin --new-password-file password");
    let login = format!("keyark {profile} login ${{{prefix}url}} --user admin --password-file password");
    let both = format!("{change} --password-file {data}/first-password && {login} --fingerprint ${{{prefix}anchor}}");
    let said = answer(home, values, &both);
    let failed = said.last().is_some_and(|line| line.starts_with("# exit"));
    if failed { Err(said.join("\n")) } else { Ok(server) }
}

/// The answer with marks: `-` was expected, `+` came.
fn difference(expected: &[String], actual: &[String], values: &Values) -> String {
    let fit = |(e, a): &(&String, &String)| fits(e, a, values).is_some();
    let before = expected.iter().zip(actual).take_while(fit).count();
    let after = expected[before..].iter().rev().zip(actual[before..].iter().rev()).take_while(fit).count();
    let marked =
        |mark: &'static str, lines: &[String]| lines.iter().map(|l| format!("{mark}{l}\n")).collect::<String>();
    let (last, end) = (expected.len() - after, actual.len() - after);
    let changed = marked("  - ", &expected[before..last]) + &marked("  + ", &actual[before..end]);
    marked("    ", &actual[..before]) + &changed + &marked("    ", &actual[end..])
}

/// The recorded answer if it is the actual one; the values that it names are kept.
fn check(exchange: &Exchange, actual: &[String], values: &mut Values) -> Result<(), String> {
    let mut same = exchange.answer.len() == actual.len();
    for (expected, line) in exchange.answer.iter().zip(actual) {
        match fits(expected, line, values) {
            Some(found) => values.extend(found),
            None => same = false,
        }
    }
    if same { Ok(()) } else { Err(difference(&exchange.answer, actual, values)) }
}

/// The actual answer, recorded: lines with masks that still fit stay as they are.
fn bless(exchange: &mut Exchange, actual: &[String], values: &mut Values) {
    let old = std::mem::take(&mut exchange.answer);
    let mut rest = old.iter().filter(|line| line.contains('<') || line.contains("${")).collect::<Vec<_>>();
    for line in actual {
        let kept = rest.iter().position(|e| fits(e, line, values).is_some());
        exchange.answer.push(match kept {
            Some(at) => rest.drain(..=at).next_back().expect("it holds the one found").clone(),
            None => masked(line, values, &exchange.command),
        });
        let recorded = exchange.answer.last().expect("it was just put there");
        values.extend(fits(recorded, line, values).unwrap_or_default());
    }
}

/// Replays one file in a folder of its own, or records its answers anew.
fn replay(file: &Path, blessing: bool) -> Result<(), String> {
    let text = std::fs::read_to_string(file).unwrap();
    let mut exchanges = parse(&text);
    if exchanges.is_empty() {
        return Err("there is no command in it".to_owned());
    }
    let folder = tempfile::tempdir().unwrap();
    let (home, mut values) = (folder.path(), Values::new());
    std::fs::write(home.join("password"), "correct horse battery staple\n").unwrap();
    let mut servers = vec![serve(home, &mut values, "keyark-data", "", "")?];
    if text.contains("--profile other") {
        servers.push(serve(home, &mut values, "other-data", "other_", "--profile other")?);
    }
    let far = text.contains("${ssh_port}").then(SshServer::start);
    if let Some(far) = &far {
        far.room("backups");
        std::fs::write(home.join("ssh-password"), ssh::PASSWORD).unwrap();
        std::fs::write(home.join("host-key"), &far.host_key).unwrap();
        values.insert("ssh_port".into(), far.port.to_string());
        values.insert("authorized_keys".into(), far.authorized_keys().display().to_string());
    }
    for exchange in &mut exchanges {
        let actual = answer(home, &values, &exchange.command);
        match blessing {
            true => bless(exchange, &actual, &mut values),
            false => check(exchange, &actual, &mut values).map_err(|e| format!("$ {}\n{e}", exchange.command))?,
        }
    }
    if blessing {
        std::fs::write(file, written(&exchanges)).unwrap();
    }
    Ok(())
}

#[test]
fn every_transcript_is_what_the_binary_says() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/transcripts");
    let mut files: Vec<PathBuf> = std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    assert!(!files.is_empty(), "{} holds no transcript", folder.display());
    let blessing = std::env::var_os("KEYARK_BLESS").is_some_and(|v| v == "1");
    let (queue, failures) = (Mutex::new(files.iter()), Mutex::new(Vec::new()));
    let work = || {
        for file in std::iter::from_fn(|| queue.lock().unwrap().next()) {
            if let Err(why) = replay(file, blessing) {
                failures.lock().unwrap().push(format!("{}\n{why}", file.display()));
            }
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(work);
        }
    });
    let failures = failures.into_inner().unwrap();
    let help =
        "if the new answers are right: KEYARK_BLESS=1 cargo test -p keyark-cli --test transcripts, then read the diff";
    assert!(failures.is_empty(), "{}\n{help}", failures.join("\n"));
}

#[test]
fn a_transcript_is_written_as_it_was_read_and_a_difference_shows() {
    let text = "# why\n$ one\n> two\nout\n\n! err\n# exit 2\n\n$ three\n";
    assert_eq!(written(&parse(text)), text);
    let lines = |text: &str| text.lines().map(str::to_owned).collect::<Vec<_>>();
    assert_eq!(difference(&lines("a\nb\nc"), &lines("a\nx\nc"), &Values::new()), "    a\n  - b\n  + x\n    c\n");
}
