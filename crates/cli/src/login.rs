//! `keyark login`: pins the server's anchor, logs in, and keeps both as a profile.

use std::path::PathBuf;

use clap::parser::ArgMatches;
use clap::{Arg, Command};
use keyark_api::auth::PasswordChange;
use keyark_api::client::Client;
use keyark_archive::anchor::Anchor;
use serde_json::Value;

use crate::failure::Failure;
use crate::options::{self, Given};
use crate::profile::{Config, Connection, Places};
use crate::{ask, files, session, tls};

/// Where a server shows its anchor.
const ANCHOR: &str = "/v1/system/anchor";

pub fn command() -> Command {
    Command::new("login")
        .about("Logs in, pins the server's anchor, and remembers both")
        .arg(Arg::new("server").value_name("URL").help("The server; the same as --url"))
        .arg(
            Arg::new("fingerprint")
                .long("fingerprint")
                .value_name("AB:CD:…")
                .help("The anchor's fingerprint as the server's own machine shows it; pins without asking"),
        )
        .args(options::args())
}

pub fn run(given: &Given<'_>, matches: &ArgMatches) -> Result<(), Failure> {
    let places = Places::of(given)?;
    let mut config = places.config()?;
    let mut connection = Connection::resolve(given, &config)?;
    if let Some(url) = matches.get_one::<String>("server") {
        connection.url = url.clone();
    }
    if let Some(ca) = &connection.ca {
        connection.ca = Some(absolute(ca)?);
    } else {
        let beside = PathBuf::from(crate::profile::DEFAULT_DATA).join("ca.pem");
        connection.ca = if beside.exists() { Some(absolute(&beside)?) } else { None };
    }
    let client = tls::client(&connection)?;
    let anchor = anchor_of(&client)?;
    pin(&mut connection, &anchor, matches.get_one::<String>("fingerprint"), given.has("yes"))?;
    let (user, password) = session::credentials(&connection, given)?;
    connection.user = Some(user.clone());
    let must_change = session::login_anew(&connection, &client, &places, (user.clone(), password.clone()))?;
    files::write_private(&places.anchor_file(&connection.profile), &anchor.to_json())?;
    remember(&mut config, &connection);
    places.save(&config)?;
    eprintln!("Logged in at {} as {user}; profile {:?}.", connection.url, connection.profile);
    if must_change {
        first_change(&connection, &client, &places, user, password)?;
    }
    Ok(())
}

/// The anchor that the server shows, checked in itself.
fn anchor_of(client: &Client) -> Result<Anchor, Failure> {
    let shown: Value = client.get(ANCHOR)?.read()?;
    let anchor = shown.get("anchor").filter(|a| a.is_object()).unwrap_or(&shown);
    Ok(Anchor::parse(anchor.to_string().as_bytes())?)
}

/// Accepts the anchor if it is the pinned one, the named one, or a person says so.
fn pin(connection: &mut Connection, anchor: &Anchor, named: Option<&String>, yes: bool) -> Result<(), Failure> {
    let shown = anchor.fingerprint();
    let same = |a: &str| a.eq_ignore_ascii_case(&shown);
    match (&connection.anchor, named) {
        (_, Some(named)) if !same(named) => {
            return Err(Failure::Refused(format!(
                "the anchor of {} is {shown}, not the one named: this is another system, or somebody stands between",
                connection.url
            )));
        }
        (_, Some(_)) => {}
        (Some(pinned), None) if same(pinned) => {}
        (Some(pinned), None) => {
            return Err(Failure::Refused(format!(
                "the anchor of {} is {shown}, but {pinned} is pinned in profile {:?}: after a recovery compare it with \
                 the server's own machine and name it with --fingerprint, otherwise do not trust this server",
                connection.url, connection.profile
            )));
        }
        (None, None) => {
            eprintln!("The anchor of {}:\n\n    {shown}\n", connection.url);
            ask::confirm("Is it what `keyark serve` shows on the server's own machine?", yes)?;
        }
    }
    connection.anchor = Some(shown);
    Ok(())
}

fn remember(config: &mut Config, connection: &Connection) {
    let kept = config.profiles.entry(connection.profile.clone()).or_default();
    kept.url = Some(connection.url.clone());
    kept.user = connection.user.clone();
    kept.domain = connection.domain.clone();
    kept.auth_domain = connection.auth_domain.clone();
    kept.ca = connection.ca.clone();
    kept.anchor = connection.anchor.clone();
    config.profile.get_or_insert_with(|| connection.profile.clone());
}

/// A first password can do nothing but change itself: do that at once if somebody is there.
fn first_change(
    connection: &Connection,
    client: &Client,
    places: &Places,
    username: String,
    password: String,
) -> Result<(), Failure> {
    if !ask::somebody() {
        eprintln!("This password can do nothing but be changed: `keyark self changepw --new-password-file FILE`.");
        return Ok(());
    }
    eprintln!("This password can do nothing but be changed.");
    let new_password = ask::password_new("New password: ")?;
    let auth_domain = connection.auth_domain.clone();
    client.call(&PasswordChange {
        username: username.clone(),
        password,
        new_password: new_password.clone(),
        auth_domain,
    })?;
    session::login_anew(connection, client, places, (username, new_password))?;
    eprintln!("The password was changed.");
    Ok(())
}

fn absolute(path: &std::path::Path) -> Result<PathBuf, Failure> {
    std::fs::canonicalize(path).map_err(Failure::at(path))
}
