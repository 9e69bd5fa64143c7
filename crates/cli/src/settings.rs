//! The server's settings: defaults, then one TOML file, then `KEYARK_…`, then flags; the list is that of the struct.

use clap::parser::ArgMatches;
use clap::{Arg, ArgAction};
use keyark_server::Settings;
use serde::Deserialize;
use serde_json::{Map, Value};

use crate::failure::Failure;
use crate::files;
use crate::options::Given;
use crate::words::kebab;

/// What each setting means; one without a line here still is a flag.
const HELP: &[(&str, &str)] = &[
    ("data", "The data folder"),
    ("listen", "Address and port to listen on"),
    ("tls", "TLS; without it the server listens on this machine only"),
    ("names", "Further names and addresses for the server's certificate"),
    ("disk_reserve", "Writes are refused while fewer bytes of disk are free"),
    ("largest_body", "Largest JSON request in bytes"),
    ("largest_upload", "Largest uploaded file in bytes"),
    ("audit", "When a usage record is on disk: batched (within 200 ms), or before-answer"),
    ("audit_days", "Days that usage records are kept"),
    ("log_max_lag", "Hours after which a destination that does not answer holds destroyed content no longer"),
    ("time_zone", "At whose midnight backup instances make their daily full archive"),
    ("webhooks_http", "Webhooks on this machine may be plain HTTP"),
];

fn defaults() -> Map<String, Value> {
    match serde_json::to_value(Settings::default()) {
        Ok(Value::Object(all)) => all,
        _ => unreachable!("settings are a struct of plain fields"),
    }
}

/// One flag for each setting.
pub fn args() -> Vec<Arg> {
    let mut args = vec![
        Arg::new("config").long("config").value_name("FILE").help("TOML file with settings [KEYARK_CONFIG]"),
        Arg::new("no-tls").long("no-tls").action(ArgAction::SetTrue).help("The same as --tls=false"),
    ];
    for (name, default) in defaults() {
        let flag = kebab(&name);
        let help = HELP.iter().find(|(n, _)| *n == name).map_or("", |(_, help)| *help);
        let variable = variable_of(&name);
        let shown = match &default {
            Value::Array(list) if list.is_empty() => format!("{help} [{variable}]"),
            Value::String(text) => format!("{help} [{variable}; default {text}]"),
            other => format!("{help} [{variable}; default {other}]"),
        };
        let arg = Arg::new(flag.clone()).long(flag).help(shown);
        args.push(match default {
            Value::Bool(_) => {
                arg.num_args(0..=1).require_equals(true).default_missing_value("true").value_parser(["true", "false"])
            }
            Value::Array(_) => arg.action(ArgAction::Append).value_name("TEXT"),
            Value::Number(_) => arg.value_name("NUMBER"),
            _ => arg.value_name("TEXT"),
        });
    }
    args
}

fn variable_of(name: &str) -> String {
    format!("KEYARK_{}", name.to_uppercase())
}

/// Reads them all.
pub fn read(given: &Given<'_>, matches: &ArgMatches) -> Result<Settings, Failure> {
    let mut all = defaults();
    if let Some(path) = given.text("config") {
        let text = files::text(&path)?;
        let found: Map<String, Value> = toml::from_str(&text).map_err(|e| Failure::Usage(format!("{path}: {e}")))?;
        all.extend(found);
    }
    for (name, default) in defaults() {
        let variable = variable_of(&name);
        if let Some(text) = given.variable(&variable) {
            let texts: Vec<&str> =
                if default.is_array() { text.split(',').map(str::trim).collect() } else { vec![text.as_str()] };
            all.insert(name.clone(), typed(&default, &texts, &variable)?);
        }
        let flag = kebab(&name);
        let texts: Vec<&str> = matches
            .try_get_many::<String>(&flag)
            .ok()
            .flatten()
            .map(|texts| texts.map(String::as_str).collect())
            .unwrap_or_default();
        if !texts.is_empty() {
            all.insert(name, typed(&default, &texts, &format!("--{flag}"))?);
        }
    }
    if matches.try_get_one::<bool>("no-tls").ok().flatten().is_some_and(|set| *set) {
        all.insert("tls".into(), Value::Bool(false));
    }
    Settings::deserialize(&all).map_err(|e| {
        // The error says what is wrong but not with which: that is the one that is wrong alone.
        let wrong = all.into_iter().find(|(name, value)| {
            let mut one = defaults();
            one.insert(name.clone(), value.clone());
            serde_json::from_value::<Settings>(Value::Object(one)).is_err()
        });
        let which = wrong.map_or_else(|| "a setting".into(), |(name, value)| format!("the setting {name} = {value}"));
        Failure::Usage(format!("{which} cannot be read: {e}; `keyark serve --help` shows each with its default"))
    })
}

/// Text as the type that the default has.
fn typed(default: &Value, texts: &[&str], whence: &str) -> Result<Value, Failure> {
    let text = texts.last().copied().unwrap_or_default();
    let bad = |what: &str| Failure::Usage(format!("{whence} takes {what}, not {text:?}"));
    match default {
        Value::Bool(_) => text.parse::<bool>().map(Value::from).map_err(|_| bad("true or false")),
        Value::Number(_) => text.parse::<u64>().map(Value::from).map_err(|_| bad("a whole number")),
        Value::Array(_) => Ok(texts.iter().copied().map(Value::from).collect()),
        _ => Ok(Value::from(text)),
    }
}

#[cfg(test)]
mod tests {
    use clap::Command;

    use super::{args, defaults, read};
    use crate::failure::Failure;
    use crate::options::Given;

    fn settings(line: &[&str]) -> Result<keyark_server::Settings, Failure> {
        let root = Command::new("keyark").get_matches_from(["keyark"]);
        let matches = Command::new("serve").args(args()).get_matches_from([["serve"].as_slice(), line].concat());
        read(&Given::new(&root, &matches, Vec::new()), &matches)
    }

    #[test]
    fn every_setting_is_a_flag_and_wins_over_the_file() {
        let known = args();
        for name in defaults().keys() {
            assert!(known.iter().any(|a| a.get_long() == Some(crate::words::kebab(name).as_str())), "{name}");
        }
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "listen = \"127.0.0.1:1\"\nnames = [\"a\"]\nlargest_body = 5\n").unwrap();
        let path = file.path().to_str().unwrap();
        let line = ["--config", path, "--listen", "127.0.0.1:2", "--names", "b", "--names", "c", "--no-tls"];
        let found = settings(&line).unwrap();
        assert_eq!((found.listen.port(), found.largest_body, found.tls), (2, 5, false));
        assert_eq!(found.names, ["b", "c"]);
    }

    #[test]
    fn without_any_setting_it_serves_tls_on_this_machine_only() {
        let found = settings(&[]).unwrap();
        assert!(found.tls && found.listen.ip().is_loopback());
        assert_eq!(format!("https://{}", found.listen), crate::profile::DEFAULT_URL);
        assert_eq!(found.data, std::path::Path::new(crate::profile::DEFAULT_DATA));
    }

    #[test]
    fn what_is_unknown_or_of_another_type_is_refused() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "no_such_setting = 1\n").unwrap();
        let path = file.path().to_str().unwrap();
        for (line, named) in [
            (["--config", path], "no_such_setting"),
            (["--largest-body", "much"], "--largest-body"),
            (["--listen", "everywhere"], "the setting listen = \"everywhere\""),
        ] {
            let Err(Failure::Usage(told)) = settings(&line) else { panic!("{line:?}") };
            assert!(told.contains(named), "{told}");
        }
    }
}
