//! One verb of the tree: its flags become a request, the answer is shown.

use std::path::Path;

use clap::parser::ArgMatches;
use keyark_api::ErrorCode;
use keyark_api::client::{Answer, ClientError};
use keyark_model::access::Right;
use serde_json::{Map, Value};

use crate::caller::Caller;
use crate::failure::Failure;
use crate::options::Given;
use crate::output::{self, Format};
use crate::tree::{Tree, Verb, is_secret};
use crate::{ask, passphrase, request, transfer, wait, words};

/// Does what the command line says.
pub fn run(tree: &Tree, verb: &Verb, given: &Given<'_>, matches: &ArgMatches) -> Result<(), Failure> {
    warn_of_shown_secrets(verb, matches);
    let mut fields = request::build(verb, matches)?;
    let mut caller = Caller::new(given)?;
    let format = Format::of(caller.connection.output.as_deref())?;
    from_connection(verb, &caller, &mut fields);
    ask_passwords(verb, &mut fields)?;
    let missing: Vec<String> = request::missing(verb, &fields).map(|f| format!("--{}", f.flag)).collect();
    if !missing.is_empty() {
        return Err(Failure::Usage(format!("`keyark {}` needs {} as well", verb.name(), missing.join(" and "))));
    }
    if words::is_destructive(&verb.endpoint) {
        let question = format!("{}: {} at {}?", verb.endpoint.summary, target(verb, &fields), caller.connection.url);
        ask::confirm(&question, given.has("yes"))?;
    }
    let file = matches.try_get_one::<String>("file").ok().flatten().map(Path::new);
    let answer = match file {
        Some(path) if verb.downloads => {
            let length = transfer::download(&mut caller, verb, &Value::Object(fields), path)?;
            eprintln!("Wrote {} ({length} bytes).", path.display());
            return Ok(());
        }
        Some(path) if verb.saves => {
            ask::replace(path, given.has("yes"))?;
            passphrase::offer(verb, &mut fields)?;
            let mut answer: Map<String, Value> = send(&mut caller, verb, fields, matches)?.read()?;
            passphrase::save(&mut answer, path)?;
            return output::show_value(&answer, format);
        }
        Some(path) if verb.uploads() => transfer::upload(&mut caller, verb, &Value::Object(fields), path)?,
        _ => send(&mut caller, verb, fields, matches)?,
    };
    if !verb.waits || !matches.try_get_one::<bool>("wait").ok().flatten().is_some_and(|wait| *wait) {
        return output::show(&answer.bytes, format);
    }
    let answered: Value = answer.read()?;
    let Some(job) = answered["jobId"].as_str() else { return output::show(&answer.bytes, format) };
    wait::job(&mut caller, job)?;
    let now = as_it_is_now(tree, verb, &mut caller, &answered, job)?;
    output::show(&now.map_or(answer.bytes, |a| a.bytes), format)
}

/// Sends; asks for the name again when the server wants a thing named twice.
fn send(
    caller: &mut Caller<'_>,
    verb: &Verb,
    mut fields: Map<String, Value>,
    matches: &ArgMatches,
) -> Result<Answer, Failure> {
    let revision = matches.try_get_one::<String>("if-match").ok().flatten();
    let revision =
        revision.filter(|_| verb.field("if_match").is_none()).map(|r| format!("\"{}\"", r.trim_matches('"')));
    let headers: Vec<(&str, &str)> = revision.iter().map(|r| ("if-match", r.as_str())).collect();
    let once = |caller: &mut Caller<'_>, fields: &Map<String, Value>| {
        caller.with(verb.endpoint.right, |client| {
            client.send_with(&verb.endpoint, Value::Object(fields.clone()), &headers)
        })
    };
    match once(&mut *caller, &fields) {
        Err(Failure::Client(e)) if wants_confirmation(&e, verb, &fields) => {
            eprintln!("{e}");
            let again = ask::line("Type the name, id or word that confirms it: ")?;
            fields.insert("confirm".into(), Value::String(again));
            once(caller, &fields)
        }
        other => other,
    }
}

fn wants_confirmation(e: &ClientError, verb: &Verb, fields: &Map<String, Value>) -> bool {
    e.code() == Some(ErrorCode::ConfirmNeeded)
        && verb.field("confirm").is_some()
        && !fields.contains_key("confirm")
        && ask::somebody()
}

/// What a job made or did: the resource of the first answer, read again, if the job is its own; else the job itself,
/// whose result says what was done.
fn as_it_is_now(
    tree: &Tree,
    verb: &Verb,
    caller: &mut Caller<'_>,
    answered: &Value,
    job: &str,
) -> Result<Option<Answer>, Failure> {
    let (Some(get), Some(id)) = (tree.find(&[verb.words[0], "get"]), answered["id"].as_str()) else { return Ok(None) };
    let shown_job = |caller: &mut Caller<'_>| {
        let Some(shown) = tree.find(&["jobs", "get"]) else { return Ok(None) };
        let request = serde_json::json!({ "id": job });
        let sent = caller.with(shown.endpoint.right, |client| client.send(&shown.endpoint, request.clone()));
        sent.map(Some)
    };
    // A transfer is its job.
    if id == job {
        return shown_job(caller);
    }
    let request = serde_json::json!({ "id": id });
    match caller.with(get.endpoint.right, |client| client.send(&get.endpoint, request.clone())) {
        Ok(answer) if answer.read::<Value>()?["jobId"] == job => Ok(Some(answer)),
        Ok(_) => shown_job(caller),
        // The job may have removed it.
        Err(Failure::Client(e)) if e.code() == Some(ErrorCode::NotFound) => Ok(None),
        Err(e) => Err(e),
    }
}

/// What the request is about, for questions.
fn target(verb: &Verb, fields: &Map<String, Value>) -> String {
    let path = verb.fields.iter().filter(|f| f.in_path.is_some());
    let shown = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    path.filter_map(|f| fields.get(&f.wire)).map(shown).collect::<Vec<_>>().join(" ")
}

/// Before anybody is logged in, the connection says who is meant.
fn from_connection(verb: &Verb, caller: &Caller<'_>, fields: &mut Map<String, Value>) {
    if verb.endpoint.right != Right::Public || fields.contains_key("refresh_token") {
        return;
    }
    let connection = &caller.connection;
    let known = [
        ("username", connection.user.clone()),
        ("domain", connection.domain.clone()),
        ("auth_domain", connection.auth_domain.clone()),
        ("password", caller.given.variable("KEYARK_PASSWORD")),
    ];
    for (wire, value) in known {
        if let Some(value) = value.filter(|_| verb.field(wire).is_some() && !fields.contains_key(wire)) {
            fields.insert(wire.into(), Value::String(value));
        }
    }
}

/// Passwords that are required and absent are typed, new ones twice.
fn ask_passwords(verb: &Verb, fields: &mut Map<String, Value>) -> Result<(), Failure> {
    let wanted: Vec<(String, String)> = request::missing(verb, fields)
        .filter(|f| words::is_password(&f.wire))
        .map(|f| (f.wire.clone(), f.flag.clone()))
        .collect();
    for (wire, flag) in wanted {
        if !ask::somebody() {
            return Err(Failure::Usage(format!(
                "nobody is there to type the password: give it with --{flag}-file FILE"
            )));
        }
        let prompt = format!("{}: ", flag.replace('-', " "));
        let is_new = flag.starts_with("new-") || verb.words.last() == Some(&"create");
        let typed = if is_new { ask::password_new(&prompt)? } else { ask::password(&prompt)? };
        fields.insert(wire, Value::String(typed));
    }
    Ok(())
}

fn warn_of_shown_secrets(verb: &Verb, matches: &ArgMatches) {
    for field in verb.fields.iter().filter(|f| is_secret(f)) {
        if matches.try_get_raw(&field.flag).ok().flatten().is_some() {
            let flag = &field.flag;
            eprintln!("Warning: everybody on this machine can see --{flag} with `ps`: use --{flag}-file FILE.");
        }
    }
}
