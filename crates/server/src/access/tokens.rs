//! Tokens: JWTs of 300 seconds signed with one pinned algorithm, and refresh tokens of 256 random bits (rules E2).

use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header as JwtHeader, Validation};
use keyark_crypto::{hash, random};
use keyark_model::{Digest, DomainId, Id, Kind, Time};
use serde::{Deserialize, Serialize};

use crate::app::core::Core;
use crate::app::error::{AppError, Result};
use crate::app::records::Header;

/// Seconds that a JWT lives.
pub const JWT_SECONDS: u32 = 300;

/// What a JWT says. The server believes only `sub`, `jwtid` and the domains, and looks the rest up.
#[derive(Debug, Serialize, Deserialize)]
pub struct Claims {
    pub sub: String,
    pub iss: String,
    pub aud: String,
    pub acc: String,
    pub preferred_username: String,
    pub cust: Custom,
    pub jwtid: String,
    pub iat: i64,
    pub exp: i64,
}

#[derive(Debug, Serialize, Deserialize)]
pub struct Custom {
    pub groups: Vec<String>,
    pub domain_id: String,
    pub auth_domain_id: String,
    /// The refresh token's family; empty without one.
    pub sid: String,
}

/// A refresh token's family.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct SessionHeader {
    pub user: Id,
    pub username: String,
    pub domain: DomainId,
    pub auth_domain: DomainId,
    pub created_at: Time,
    pub refreshed_at: Time,
    pub expires_at: Time,
    /// Seconds after which it ends when unused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unused_seconds: Option<i64>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub labels: Vec<String>,
    /// SHA-256 of the one refresh token that is good now.
    pub current: Digest,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub revoked: bool,
}

impl Header for SessionHeader {
    const KIND: Kind = Kind::Session;
}

/// A refresh token: the family's id and 256 random bits.
pub fn refresh_token_new(family: Id) -> (String, Digest) {
    let secret = random::secret::<32>();
    let text = format!("{}.{}", family, base64_simd::URL_SAFE_NO_PAD.encode_to_string(secret.expose()));
    let digest = hash::sha256(&[text.as_bytes()]);
    (text, digest)
}

/// The family that a refresh token names.
pub fn refresh_token_family(token: &str) -> Option<Id> {
    token.split_once('.')?.0.parse().ok()
}

/// Signs a JWT.
pub fn jwt_sign(core: &Core, claims: &Claims) -> Result<String> {
    let key = EncodingKey::from_secret(core.jwt_key.expose());
    jsonwebtoken::encode(&JwtHeader::new(Algorithm::HS256), claims, &key).map_err(AppError::internal)
}

/// Checks signature, algorithm, issuer, audience and expiry.
pub fn jwt_verify(core: &Core, token: &str, now: Time) -> Result<Claims> {
    let mut validation = Validation::new(Algorithm::HS256);
    validation.validate_exp = false; // checked below against the clock that was passed in
    validation.set_audience(&["keyark"]);
    validation.set_issuer(&[core.incarnation.to_string()]);
    let key = DecodingKey::from_secret(core.jwt_key.expose());
    let claims = jsonwebtoken::decode::<Claims>(token, &key, &validation).map_err(|_| AppError::unauthorized())?.claims;
    if now.unix_seconds() >= claims.exp {
        return Err(expired());
    }
    Ok(claims)
}

/// Clients written for this API search for these words and then refresh.
pub fn expired() -> AppError {
    AppError::new(keyark_api::ErrorCode::Unauthorized, "Token is expired: refresh it or log in again")
}
