//! One connection as one caller: the token is fetched when it is needed, and once more when the server refuses it.

use keyark_api::ErrorCode;
use keyark_api::client::{Client, ClientError};
use keyark_model::access::Right;

use crate::failure::Failure;
use crate::options::Given;
use crate::profile::{Connection, Places};
use crate::{session, tls};

/// Who calls, and where.
pub struct Caller<'a> {
    pub connection: Connection,
    pub given: &'a Given<'a>,
    client: Client,
    places: Places,
}

impl<'a> Caller<'a> {
    pub fn new(given: &'a Given<'a>) -> Result<Caller<'a>, Failure> {
        let places = Places::of(given)?;
        let connection = Connection::resolve(given, &places.config()?)?;
        Ok(Caller { client: tls::client(&connection)?, connection, given, places })
    }

    /// Runs `send` with a token, unless everybody may do it.
    pub fn with<T>(
        &mut self,
        right: Right,
        mut send: impl FnMut(&Client) -> Result<T, ClientError>,
    ) -> Result<T, Failure> {
        if right == Right::Public {
            return Ok(send(&self.client)?);
        }
        let token = self.token(None)?;
        self.client.set_token(Some(token.clone()));
        match send(&self.client) {
            Err(e) if e.code() == Some(ErrorCode::Unauthorized) => {
                let token = self.token(Some(&token))?;
                self.client.set_token(Some(token));
                Ok(send(&self.client)?)
            }
            other => Ok(other?),
        }
    }

    fn token(&mut self, refused: Option<&str>) -> Result<String, Failure> {
        self.client.set_token(None);
        session::token(&self.connection, &self.client, self.given, &self.places, refused)
    }
}
