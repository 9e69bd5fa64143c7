//! Sessions: tokens kept between commands, refreshed before they expire, one refresh at a time.

use std::fs::File;
use std::path::Path;

use keyark_api::ErrorCode;
use keyark_api::auth::{TokenCreate, TokenIssued};
use keyark_api::client::{Client, ClientError};
use serde::{Deserialize, Serialize};

use crate::ask;
use crate::clock;
use crate::failure::Failure;
use crate::files;
use crate::options::Given;
use crate::profile::{Connection, Places};

/// Seconds before its end from which a token is not used any more.
const MARGIN: i64 = 10;

/// Tokens of one account at one server in one domain.
#[derive(Clone, Serialize, Deserialize)]
struct Session {
    url: String,
    user: String,
    domain: Option<String>,
    auth_domain: Option<String>,
    jwt: String,
    /// Unix seconds.
    jwt_until: i64,
    refresh_token: Option<String>,
    refresh_until: i64,
}

impl Session {
    fn of(connection: &Connection, user: &str, issued: TokenIssued) -> Session {
        let now = clock::now().unix_seconds();
        Session {
            url: connection.url.clone(),
            user: user.into(),
            domain: connection.domain.clone(),
            auth_domain: connection.auth_domain.clone(),
            jwt: issued.jwt,
            jwt_until: now + i64::from(issued.duration),
            refresh_token: issued.refresh_token,
            refresh_until: now + i64::from(issued.refresh_token_expires_in.unwrap_or(0)),
        }
    }

    fn serves(&self, connection: &Connection) -> bool {
        self.url == connection.url
            && connection.user.as_ref().is_none_or(|user| *user == self.user)
            && self.domain == connection.domain
            && self.auth_domain == connection.auth_domain
    }
}

/// A JWT for the connection: kept, refreshed, or by logging in. `refused`: one that the server takes no more.
pub fn token(
    connection: &Connection,
    client: &Client,
    given: &Given<'_>,
    places: &Places,
    refused: Option<&str>,
) -> Result<String, Failure> {
    if let Some(token) = given.variable("KEYARK_TOKEN") {
        return match refused {
            None => Ok(token),
            Some(_) => Err(Failure::Refused("the token in KEYARK_TOKEN is not valid (any more): get a new one".into())),
        };
    }
    let path = places.session_file(&connection.profile);
    let _one_at_a_time = lock(&path)?;
    let mut sessions = load(&path)?;
    let now = clock::now().unix_seconds();
    let kept = sessions.iter().position(|s| s.serves(connection)).map(|i| sessions.remove(i));
    if let Some(session) = kept {
        if session.jwt_until > now + MARGIN && refused != Some(session.jwt.as_str()) {
            return Ok(session.jwt);
        }
        if session.refresh_until > now + MARGIN
            && let Some(issued) = refresh(client, &session)?
        {
            return keep(&path, sessions, Session::of(connection, &session.user, issued));
        }
    }
    let (user, password) = credentials(connection, given)?;
    let issued = login(connection, client, &user, password)?;
    keep(&path, sessions, Session::of(connection, &user, issued))
}

/// Logs in with a password, whatever is kept, and keeps the result. Gives whether the password
/// must be changed before anything else.
pub fn login_anew(
    connection: &Connection,
    client: &Client,
    places: &Places,
    (user, password): (String, String),
) -> Result<bool, Failure> {
    let issued = login(connection, client, &user, password)?;
    let must_change = issued.password_change_required;
    let path = places.session_file(&connection.profile);
    let _one_at_a_time = lock(&path)?;
    let mut sessions = load(&path)?;
    sessions.retain(|s| !s.serves(connection));
    keep(&path, sessions, Session::of(connection, &user, issued))?;
    Ok(must_change)
}

/// User and password: flag, variable, or typed.
pub fn credentials(connection: &Connection, given: &Given<'_>) -> Result<(String, String), Failure> {
    let nobody = || Failure::Refused("not logged in: `keyark login`, or set KEYARK_USER and KEYARK_PASSWORD".into());
    let user = match &connection.user {
        Some(user) => user.clone(),
        None if ask::somebody() => ask::line("User: ")?,
        None => return Err(nobody()),
    };
    let file = given.flag("password-file");
    let password = match given.variable("KEYARK_PASSWORD").filter(|_| file.is_none()) {
        Some(password) => password,
        None => match file.or_else(|| given.variable("KEYARK_PASSWORD_FILE")) {
            Some(path) => ask::secret_in_file(&path)?,
            None if ask::somebody() => ask::password(&format!("Password of {user} at {}: ", connection.url))?,
            None => return Err(nobody()),
        },
    };
    Ok((user, password))
}

fn login(connection: &Connection, client: &Client, user: &str, password: String) -> Result<TokenIssued, Failure> {
    let request = TokenCreate {
        grant_type: Some("password".into()),
        username: Some(user.into()),
        password: Some(password),
        domain: connection.domain.clone(),
        auth_domain: connection.auth_domain.clone(),
        ..TokenCreate::default()
    };
    Ok(client.call(&request)?)
}

/// `None`: the refresh token is not taken any more.
fn refresh(client: &Client, session: &Session) -> Result<Option<TokenIssued>, Failure> {
    let Some(token) = session.refresh_token.clone() else { return Ok(None) };
    let request =
        TokenCreate { grant_type: Some("refresh_token".into()), refresh_token: Some(token), ..TokenCreate::default() };
    match client.call(&request) {
        Ok(issued) => Ok(Some(issued)),
        Err(e @ ClientError::Refused { .. }) if e.code() != Some(ErrorCode::Unavailable) => Ok(None),
        Err(e) => Err(e.into()),
    }
}

fn keep(path: &Path, mut sessions: Vec<Session>, session: Session) -> Result<String, Failure> {
    let now = clock::now().unix_seconds();
    sessions.retain(|s| s.jwt_until.max(s.refresh_until) > now);
    let jwt = session.jwt.clone();
    sessions.push(session);
    let bytes = serde_json::to_vec_pretty(&sessions).expect("strings and numbers serialise");
    files::write_private(path, &bytes)?;
    Ok(jwt)
}

/// A file that does not parse is one of another version: its tokens are lost, not the command.
fn load(path: &Path) -> Result<Vec<Session>, Failure> {
    let bytes = files::bytes_if_there(path)?;
    Ok(bytes.and_then(|b| serde_json::from_slice(&b).ok()).unwrap_or_default())
}

/// Held while tokens are looked at and replaced: a refresh token used twice would end the whole session.
fn lock(path: &Path) -> Result<File, Failure> {
    files::lock(&files::beside(path, ".lock"))
}
