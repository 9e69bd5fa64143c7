//! docs/lose-a-data-centre.md, command for command: prepared, proven, the machine lost, and everything back.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

mod serving;

use keyark_testkit::s3::{self, S3Server};

use serving::{Serving, program};

/// The blocks of commands in the page; a line that ends in a backslash goes on.
fn blocks(page: &str) -> Vec<Vec<String>> {
    let mut all = Vec::new();
    for block in page.split("```sh\n").skip(1) {
        let (block, _) = block.split_once("```").expect("a block ends");
        let joined = block.replace("\\\n", " ");
        let commands = joined.lines().map(|line| line.split(" # ").next().unwrap_or_default().trim().to_owned());
        all.push(commands.filter(|line| !line.is_empty()).collect());
    }
    all
}

/// What the page leaves to its reader: who is meant, and where.
struct Reader<'a> {
    home: &'a Path,
    filled: Vec<(String, String)>,
}

impl Reader<'_> {
    /// `bash -c LINE` in a home of its own.
    fn bash(&self, line: &str) -> Command {
        let mut command = program("bash", self.home);
        command.args(["-c", line]).env("AWS_ENDPOINT_URL", self.value("endpoint"));
        command.env("AWS_ACCESS_KEY_ID", s3::ACCESS).env("AWS_SECRET_ACCESS_KEY", s3::SECRET);
        command
    }

    fn value(&self, name: &str) -> &str {
        self.filled.iter().find(|(n, _)| n == name).map_or("", |(_, value)| value)
    }

    /// Does what a line says, with what the reader fills in; its output.
    fn does(&self, line: &str) -> String {
        let mut line = line.to_owned();
        for (name, value) in &self.filled {
            line = line.replace(name, value);
        }
        let done = self.bash(&line).output().unwrap();
        assert!(done.status.success(), "{line}\n{}", String::from_utf8_lossy(&done.stderr));
        String::from_utf8_lossy(&done.stdout).into_owned()
    }
}

/// Does a line that serves, on a free port; its address goes to the file `url`, its anchor to `anchor`.
fn serve(reader: &Reader<'_>, line: &str) -> Serving {
    let line = format!("exec {line} --no-tls --listen 127.0.0.1:0 2>>serve.log");
    let serving = Serving::start(&mut reader.bash(&line), "anchor ");
    for (name, word) in [("url", "Keyark serves at"), ("anchor", "anchor")] {
        std::fs::write(reader.home.join(name), serving.said(word)).unwrap();
    }
    serving
}

#[test]
fn the_page_for_that_night_is_true_word_for_word() {
    let page = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/lose-a-data-centre.md");
    let blocks = blocks(&std::fs::read_to_string(page).unwrap());
    let [before, monthly, points, recover, look, activate] = &blocks[..] else { panic!("{blocks:?}") };
    let (folder, bucket) = (tempfile::tempdir().unwrap(), S3Server::start());
    let home = folder.path();
    std::fs::write(home.join("password"), "correct horse battery staple").unwrap();
    std::fs::write(home.join("secret.txt"), s3::SECRET).unwrap();
    let filled = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    let mut reader = Reader {
        home,
        filled: vec![
            filled("endpoint", &bucket.endpoint),
            filled("--region eu-central-1", &format!("--region {} --endpoint {}", s3::REGION, bucket.endpoint)),
            filled("region=eu-central-1", &format!("region={}", s3::REGION)),
            filled("--access-key-id ID", &format!("--access-key-id {}", s3::ACCESS)),
            // Nobody is there to type.
            filled(
                "check --file keyark-backup-key.jwe",
                "check --file keyark-backup-key.jwe --password-file keyark-backup-key.jwe.passphrase",
            ),
            filled(
                "--backup-key keyark-backup-key.jwe",
                "--backup-key keyark-backup-key.jwe --password-file keyark-backup-key.jwe.passphrase",
            ),
            filled(
                "login --user admin",
                "login $(cat url) --user admin --password-file password --fingerprint $(cat anchor)",
            ),
        ],
    };
    let serving = serve(&reader, "keyark serve --data keyark-data");
    reader.does("keyark self changepw --url $(cat url) --username admin --password-file keyark-data/first-password --new-password-file password");
    reader.does("keyark login --user admin");
    for line in before {
        let said = reader.does(line);
        if line.starts_with("keyark backupkeys create") {
            let made: serde_json::Value = serde_json::from_str(&said).unwrap();
            reader.filled.push(filled("BACKUP-KEY", made["id"].as_str().unwrap()));
        }
    }
    reader.does("keyark keys create --name precious");
    // Once something is there, the month's proofs.
    let newest = |reader: &Reader<'_>| -> Option<serde_json::Value> {
        let line = points[0].replace(" -o table", "");
        let done = reader.bash(&reader.filled.iter().fold(line, |l, (n, v)| l.replace(n, v))).output().unwrap();
        let all: serde_json::Value = serde_json::from_slice(&done.stdout).ok()?;
        all["resources"].as_array()?.last().cloned()
    };
    let until = Instant::now() + Duration::from_secs(90);
    let position = |point: &serde_json::Value| point["lastPosition"].as_u64().unwrap();
    let first = loop {
        if let Some(point) = newest(&reader).filter(|p| position(p) > 0) {
            break position(&point);
        }
        assert!(Instant::now() < until, "nothing arrived");
    };
    for line in monthly {
        let said = reader.does(line);
        assert!(!said.contains("\"failed\""), "{line}: {said}");
    }
    reader.does("keyark keys create --name later");
    let point = loop {
        if let Some(point) = newest(&reader).filter(|p| position(p) > first + 1) {
            break point;
        }
        assert!(Instant::now() < until, "the second key did not arrive");
    };
    // The night.
    drop(serving);
    std::fs::remove_dir_all(home.join("keyark-data")).unwrap();
    assert!(reader.does(&points[0]).contains("KNOWNUNTIL"), "the page explains this column");
    reader.filled.push(filled("2026-05-01T02:59:59Z", point["to"].as_str().unwrap()));
    reader.does(&recover[0]);
    let [serving, login, list] = &look[..] else { panic!("{look:?}") };
    let _serving = serve(&reader, serving);
    reader.does(login);
    let keys = reader.does(list);
    assert!(keys.contains("precious") && keys.contains("later"), "{keys}");
    assert!(reader.does("keyark system info").contains("\"suspended\""));
    reader.does(&activate[0]);
    assert!(!reader.does("keyark system info").contains("\"suspended\""));
}
