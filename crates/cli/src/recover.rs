//! `keyark recover`: an empty machine, an archive or a destination, and the backup key's file make the system again.

use std::path::{Path, PathBuf};

use clap::parser::ArgMatches;
use clap::{Arg, Command};
use keyark_backup::Progress;
use keyark_backup::stream::{PointError, Until};
use keyark_model::Time;
use keyark_server::recover::{Origin, RecoverError, Recovery, recover};

use crate::failure::Failure;
use crate::options::Given;
use crate::{ask, clock, files, output, places, progress, settings};

pub fn command() -> Command {
    Command::new("recover")
        .about("Makes a system again on an empty machine, out of what was backed up and the exported backup key")
        .arg(Arg::new("from").long("from").value_name("ARCHIVE|DESTINATION").required(true).help(
            "The archive of a system backup, or the destination of a backup instance: a folder, s3://bucket/prefix/, \
             azure://account/container/prefix/ or sftp://user@host/folder/",
        ))
        .arg(
            Arg::new("at")
                .long("at")
                .value_name("TIME")
                .conflicts_with("position")
                .help("From a destination: as it was after the last change up to then [default: the newest point]"),
        )
        .arg(
            Arg::new("position")
                .long("position")
                .value_name("NUMBER")
                .value_parser(clap::value_parser!(u64))
                .help("From a destination: as it was after this entry of the log"),
        )
        .arg(
            Arg::new("backup-key")
                .long("backup-key")
                .value_name("FILE")
                .required(true)
                .help("The exported backup key; the anchor in it verifies the archive"),
        )
        .arg(
            Arg::new("password-file")
                .long("password-file")
                .value_name("FILE")
                .help("Passphrase of the backup key's file, - for standard input; else it is asked for"),
        )
        .args(settings::args())
}

pub fn run(given: &Given<'_>, matches: &ArgMatches) -> Result<(), Failure> {
    let settings = settings::read(given, matches)?;
    let named = |name: &str| matches.get_one::<String>(name).map(PathBuf::from).unwrap_or_default();
    let (archive, key) = (named("from"), named("backup-key"));
    let passphrase = match matches.get_one::<String>("password-file") {
        Some(file) => ask::secret_in_file(file)?,
        None if ask::somebody() => ask::password(&format!("Passphrase of {}: ", key.display()))?,
        None => return Err(Failure::Usage("give the key file's passphrase with --password-file".into())),
    };
    let key_file = files::text(&key.display().to_string())?;
    let until = until(matches)?;
    let place;
    let from = match places::is_destination(&archive.to_string_lossy()) {
        true => {
            place = places::destination(&archive.display().to_string())?;
            Origin::Stream { destination: place.as_ref(), until: until.unwrap_or(Until::Newest) }
        }
        false if until.is_some() => {
            return Err(Failure::Usage("an archive shows one moment: --at and --position are for destinations".into()));
        }
        false => Origin::Archive(&archive),
    };
    let recovery =
        Recovery { settings: &settings, from, key_file: &key_file, passphrase: &passphrase, now: clock::now() };
    let done = watched(|progress| recover(&recovery, progress))?;
    let mut text = format!(
        "Recovered {} records of {} into {}\n  signing key  {}  (new: pin it)\n\nNot in any archive:\n",
        done.built.loaded.records,
        done.at,
        settings.data.display(),
        done.fingerprint,
    );
    for line in &done.missing {
        text += &format!("  - {line}\n");
    }
    text += &format!(
        "\nNothing goes out until you have looked at it. Next:\n  keyark serve --data {}\n  keyark login --user admin\n  \
         keyark system activate --confirm activate\n",
        settings.data.display()
    );
    output::print(&text)
}

/// Which point is asked for, if any.
fn until(matches: &ArgMatches) -> Result<Option<Until>, Failure> {
    if let Some(position) = matches.get_one::<u64>("position") {
        return Ok(Some(Until::Number(*position)));
    }
    let time =
        matches.get_one::<String>("at").map(|t| t.parse::<Time>().map_err(|e| Failure::Usage(format!("--at: {e}"))));
    Ok(time.transpose()?.map(Until::Time))
}

/// Runs work that tells its progress, with a bar on the terminal.
fn watched<T>(work: impl FnOnce(&Progress) -> Result<T, RecoverError> + Send) -> Result<T, Failure>
where
    T: Send,
{
    let told = Progress::default();
    let bar = progress::work("recovering");
    let outcome = std::thread::scope(|scope| {
        let worker = scope.spawn(|| work(&told));
        while !worker.is_finished() {
            let (done, total) = told.read();
            progress::set(&bar, done, total);
            std::thread::park_timeout(std::time::Duration::from_millis(50));
        }
        worker.join()
    });
    bar.finish_and_clear();
    match outcome {
        Ok(result) => result.map_err(failure),
        Err(_) => {
            Err(Failure::Server("recovery ended unexpectedly; the data folder holds no system, try again".into()))
        }
    }
}

fn failure(e: RecoverError) -> Failure {
    match e {
        RecoverError::KeyFile(e) => Failure::KeyFile(e),
        RecoverError::Source(keyark_backup::SourceError::Archive(e)) => Failure::Archive(e),
        RecoverError::Point(PointError::Archive(e)) => Failure::Archive(e),
        RecoverError::Point(e @ PointError::NoPoint(_)) => Failure::NotFound(e.to_string()),
        RecoverError::NoStream => Failure::NotFound(e.to_string()),
        RecoverError::NotEmpty(_) | RecoverError::Scope => Failure::Refused(e.to_string()),
        RecoverError::Io { path, source } => Failure::at(Path::new(&path))(source),
        e => Failure::Damaged(e.to_string()),
    }
}
