//! `keyark archive`: looks into archives without a server; only `list` and `extract` need the backup key.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use clap::parser::ArgMatches;
use clap::{Arg, Command};
use indicatif::ProgressBar;
use keyark_archive::keyfile::{BackupKeyFile, keyfile_open};
use keyark_archive::{Anchor, Archive, ArchiveError, FactorKind, OpeningKey, ReadAt, RecordRef, Unlocked};
use keyark_crypto::seal::{self, RecordName};
use keyark_model::{DomainId, Id, Kind, Record};
use serde_json::{Value, json};

use crate::failure::Failure;
use crate::options::{self, Given};
use crate::output::{self, Format};
use crate::profile::{Config, Connection, DEFAULT_DATA, Places};
use crate::{ask, files, progress};

/// The verbs.
pub fn commands() -> Vec<(&'static str, Command)> {
    let command = |verb: &'static str, about: &'static str| {
        let help = "The pinned anchor [default: the profile's, then keyark-data/anchor.json]";
        Command::new(verb)
            .about(about)
            .arg(Arg::new("archive").value_name("ARCHIVE").required(true).help("The archive's file"))
            .arg(Arg::new("anchor").long("anchor").value_name("FILE").help(help))
            .args(options::args())
    };
    let key = |required: bool| {
        let help = "Exported backup key; its password: --password-file, or typed";
        Arg::new("key").long("key").value_name("FILE").required(required).help(help)
    };
    let text = |flag: &'static str, value: &'static str, help: &'static str| {
        Arg::new(flag).long(flag).value_name(value).help(help)
    };
    let kind = || text("kind", "KIND", "Only records of this kind: keys, secrets, users …");
    let list = command("list", "Lists the records of an archive").arg(key(true)).arg(kind());
    let extract = command("extract", "Writes one record's content in clear to a file")
        .arg(key(true))
        .arg(kind().required(true))
        .arg(text("id", "ID", "The record's id").required(true))
        .arg(text("file", "FILE", "Where to write the content; mode 0600").required(true));
    vec![
        ("archive inspect", command("inspect", "Shows what an archive says of itself; needs no key")),
        ("archive verify", command("verify", "Checks every byte, and with the key every record").arg(key(false))),
        ("archive list", list),
        ("archive extract", extract),
    ]
}

/// Does one of them.
pub fn run(verb: &str, given: &Given<'_>, matches: &ArgMatches) -> Result<(), Failure> {
    let path = matches.get_one::<String>("archive").map(PathBuf::from).unwrap_or_default();
    let file = File::open(&path).map_err(Failure::at(&path))?;
    let bar = progress::bytes("reading", file.metadata().ok().map(|m| m.len()));
    let archive = Archive::open(Watched { file, bar: bar.clone() })?;
    let connection = Connection::resolve(given, &config(given))?;
    let format = Format::of(connection.output.as_deref())?;
    let anchor = anchor(given, matches, &connection)?;
    let key = matches.try_get_one::<String>("key").ok().flatten();
    let key = key.map(|path| open_key(path, given)).transpose()?;
    let done = match verb {
        "inspect" => inspect(&archive, &path, anchor.as_ref(), format),
        "verify" => verify(&archive, &path, anchor.as_ref(), key.as_ref(), format),
        "list" => list(&unlock(&archive, key.as_ref())?, matches, &bar, format),
        _ => extract(&unlock(&archive, key.as_ref())?, matches, format),
    };
    bar.finish_and_clear();
    done
}

/// Offline verbs do without a home folder too.
fn config(given: &Given<'_>) -> Config {
    Places::of(given).and_then(|places| places.config()).unwrap_or_default()
}

fn anchor(given: &Given<'_>, matches: &ArgMatches, connection: &Connection) -> Result<Option<Anchor>, Failure> {
    let pinned = Places::of(given).map(|places| places.anchor_file(&connection.profile)).ok();
    let beside = Path::new(DEFAULT_DATA).join("anchor.json");
    let named = matches.get_one::<String>("anchor").map(PathBuf::from);
    if let Some(path) = &named {
        return Ok(Some(Anchor::parse(&std::fs::read(path).map_err(Failure::at(path))?)?));
    }
    for path in pinned.into_iter().chain([beside]) {
        if let Some(bytes) = files::bytes_if_there(&path)? {
            return Ok(Some(Anchor::parse(&bytes)?));
        }
    }
    Ok(None)
}

fn open_key(path: &str, given: &Given<'_>) -> Result<BackupKeyFile, Failure> {
    let text = files::text(path)?;
    let password = match given.flag("password-file") {
        Some(file) => ask::secret_in_file(&file)?,
        None if ask::somebody() => ask::password(&format!("Password of {path}: "))?,
        None => return Err(Failure::Usage("give the key file's password with --password-file".into())),
    };
    Ok(keyfile_open(&text, &password)?)
}

fn unlock<'a>(archive: &'a Archive<Watched>, key: Option<&BackupKeyFile>) -> Result<Unlocked<'a, Watched>, Failure> {
    let key = key.ok_or_else(|| Failure::Usage("name the exported backup key with --key".into()))?;
    let id = key.info.keyid.to_string();
    Ok(archive.unlock(&OpeningKey { kind: FactorKind::BackupKey, id: &id, key: &key.key })?)
}

/// A name is a claim (rules D4): what differs from the header is told.
fn findings(path: &Path, id: &str) -> Vec<String> {
    let named = path.file_stem().and_then(|stem| stem.to_str()).and_then(|stem| stem.parse::<Id>().ok());
    let differs = named.filter(|named| named.to_string() != id);
    differs
        .map(|named| format!("the file is named {named} and holds archive {id}: it was renamed or exchanged"))
        .into_iter()
        .collect()
}

fn inspect(archive: &Archive<Watched>, path: &Path, anchor: Option<&Anchor>, format: Format) -> Result<(), Failure> {
    #[derive(serde::Serialize)]
    struct Shown {
        #[serde(flatten)]
        claimed: keyark_archive::Inspection,
        #[serde(skip_serializing_if = "Vec::is_empty")]
        findings: Vec<String>,
    }
    let claimed = archive.inspect(anchor);
    let findings = findings(path, &claimed.id);
    output::show_value(&Shown { claimed, findings }, format)
}

fn verify(
    archive: &Archive<Watched>,
    path: &Path,
    anchor: Option<&Anchor>,
    key: Option<&BackupKeyFile>,
    format: Format,
) -> Result<(), Failure> {
    let counts = key.map(|key| unlock(archive, Some(key))?.verify_full(|_| {}).map_err(Failure::from)).transpose()?;
    let nobody = Anchor::new(Vec::new());
    let anchor = anchor.unwrap_or(&nobody);
    // With the key the body was hashed on the way.
    let verdict = if counts.is_some() { archive.verdict(anchor) } else { archive.verify(anchor)? };
    let shown = archive.inspect(Some(anchor));
    let records = counts.as_ref().map(|c| c.records.iter().map(|(k, n)| (k.word(), *n)).collect::<Vec<_>>());
    let mut report =
        json!({ "id": shown.id, "verdict": shown.verdict, "checksum": shown.checksum, "opened": counts.is_some() });
    if let Some(records) = records {
        report["records"] = records.into_iter().map(|(k, n)| (k.to_owned(), Value::from(n))).collect();
    }
    let found = findings(path, &shown.id);
    if !found.is_empty() {
        report["findings"] = found.into();
    }
    output::show_value(&report, format)?;
    verdict.require_pinned().map_err(Failure::from)
}

fn list(
    unlocked: &Unlocked<'_, Watched>,
    matches: &ArgMatches,
    bar: &ProgressBar,
    format: Format,
) -> Result<(), Failure> {
    let kind = matches.get_one::<String>("kind").map(|word| kind_of(word)).transpose()?;
    let mut resources = Vec::new();
    unlocked.each_record(|record| {
        if kind.is_none_or(|k| k == record.kind) {
            resources.push(line(&record));
        }
        Ok::<(), ArchiveError>(())
    })?;
    bar.finish_and_clear();
    output::show_value(&json!({ "total": resources.len(), "resources": resources }), format)
}

fn line(record: &RecordRef<'_>) -> Value {
    let header: Value = serde_json::from_slice(record.header).unwrap_or_default();
    json!({
        "kind": record.kind.word(), "id": record.id, "name": header["name"], "domain": record.domain,
        "revision": record.revision, "time": record.time,
    })
}

fn extract(unlocked: &Unlocked<'_, Watched>, matches: &ArgMatches, format: Format) -> Result<(), Failure> {
    let text = |flag: &str| matches.get_one::<String>(flag).map(String::as_str).unwrap_or_default();
    let kind = kind_of(text("kind"))?;
    let id: Id = text("id").parse().map_err(|_| Failure::Usage("--id takes a UUID".into()))?;
    let domains = unlocked.index().blocks.iter().map(|b| b.domain).collect::<std::collections::BTreeSet<DomainId>>();
    for domain in domains {
        if let Some(record) = unlocked.record(domain, kind, id)? {
            let path = Path::new(text("file"));
            files::write_private(path, opened(unlocked, &record)?.expose())?;
            let header: Value = serde_json::from_slice(&record.header).unwrap_or_default();
            return output::show_value(
                &json!({ "kind": kind.word(), "id": id, "domain": domain, "header": header }),
                format,
            );
        }
    }
    Err(Failure::NotFound(format!("the archive holds no {kind} {id}")))
}

/// The record's body in clear.
fn opened(unlocked: &Unlocked<'_, Watched>, record: &Record) -> Result<keyark_crypto::SecretBytes, Failure> {
    let damaged = |what: &str| Failure::Damaged(format!("{} {}: {what}", record.kind, record.id));
    let generation = seal::generation_of(&record.body).ok_or_else(|| damaged("its body is cut"))?;
    let key = unlocked.kek(record.domain, u64::from(generation))?.ok_or_else(|| damaged("its KEK is missing"))?;
    let kek = seal::Kek::new(generation, key);
    let header: Value = serde_json::from_slice(&record.header).unwrap_or_default();
    // The body names the newest version, which each kind's header keeps in its own place; only the right one opens it.
    let versions = header["versions"].as_array();
    let last = versions.and_then(|all| all.last()?["version"].as_u64());
    let count = versions.map_or(0, Vec::len) as u64;
    let guesses = [Some(0), header["version"].as_u64(), last, Some(count), count.checked_sub(1)];
    guesses
        .into_iter()
        .flatten()
        .find_map(|version| {
            let Record { domain, kind, id, revision, .. } = *record;
            kek.open(&RecordName { domain, kind, id, version, revision }, &record.header, &record.body).ok()
        })
        .ok_or_else(|| damaged("its body does not open"))
}

fn kind_of(word: &str) -> Result<Kind, Failure> {
    Kind::ALL.iter().copied().find(|k| k.word() == word).ok_or_else(|| {
        let words: Vec<&str> = Kind::ALL.iter().map(|k| k.word()).collect();
        Failure::Usage(format!("--kind is one of {}", words.join(", ")))
    })
}

/// A file whose reading is shown.
struct Watched {
    file: File,
    bar: ProgressBar,
}

impl ReadAt for Watched {
    fn length(&self) -> io::Result<u64> {
        self.file.length()
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        self.bar.set_position(offset + buffer.len() as u64);
        ReadAt::read_at(&self.file, offset, buffer)
    }
}
