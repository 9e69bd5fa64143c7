//! Tokens and the caller's own account.

use keyark_model::Time;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::endpoint::NoBody;
use crate::{Page, endpoint};

/// Log in with a password, or refresh.
#[derive(Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TokenCreate {
    /// `password` (default) or `refresh_token`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub grant_type: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub username: Option<String>,
    /// Another word for `username`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub password: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub refresh_token: Option<String>,
    /// The domain to work in, by name or id; root by default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub domain: Option<String>,
    /// The domain where the user was created; root by default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub auth_domain: Option<String>,
    /// Only `local_account`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub connection: Option<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub labels: Vec<String>,
    /// False: no refresh token is issued.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub issue_refresh_token: Option<bool>,
    /// Life of the refresh token in minutes; default 30, at most 43200 (30 days).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub refresh_token_lifetime: Option<u32>,
    /// Minutes after which an unused refresh token ends.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub refresh_token_revoke_unused_in: Option<u32>,
}

/// A fresh token.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct TokenIssued {
    pub jwt: String,
    /// Life of the JWT in seconds.
    pub duration: u32,
    pub token_type: String,
    pub client_id: String,
    /// The refresh token's id, as in the list of tokens.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub refresh_token_id: Option<String>,
    /// Good for one use; a second use revokes the whole family.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub refresh_token: Option<String>,
    /// Seconds until the refresh token expires.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub refresh_token_expires_in: Option<u32>,
    /// The password must be changed before anything else.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub password_change_required: bool,
}

/// A refresh token's family, without the token.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Token {
    pub id: String,
    pub uri: String,
    pub account: String,
    pub created_at: Time,
    pub updated_at: Time,
    pub user_id: String,
    pub expires_at: Time,
    pub labels: Vec<String>,
    pub revoked: bool,
}

/// List the caller's own tokens.
#[derive(Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TokenList {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub skip: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<i64>,
}

#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TokenGet {
    pub id: String,
}

/// Ends a token's family; JWTs made from it end within their 300 seconds at the latest, here at once.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TokenRevoke {
    pub id: String,
}

#[derive(Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SelfUser {}

#[derive(Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SelfDomains {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub skip: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<i64>,
}

/// A domain that the caller may work in.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct SelfDomain {
    pub id: String,
    pub name: String,
}

/// Change a password with the old one; needs no token.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PasswordChange {
    pub username: String,
    pub password: String,
    /// 8 to 1024 characters.
    pub new_password: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub auth_domain: Option<String>,
}

endpoint! {
    token_create: TokenCreate => TokenIssued, POST "/v1/auth/tokens" | "/v1/auth/tokens/",
        Json 200, Public, "tokens create", "Logs in or refreshes: a JWT for 300 seconds.";
    token_list: TokenList => Page<Token>, GET "/v1/auth/tokens", Query 200, Authenticated, "tokens list", "Lists the caller's refresh tokens.";
    token_get: TokenGet => Token, GET "/v1/auth/tokens/{id}", Query 200, Authenticated, "tokens get", "Shows one of the caller's refresh tokens.";
    token_revoke: TokenRevoke => NoBody, DELETE "/v1/auth/tokens/{id}", Query 204, Authenticated, "tokens revoke", "Revokes one of the caller's refresh tokens with all JWTs made from it.";
    self_user: SelfUser => crate::users::User, GET "/v1/auth/self/user", Query 200, Authenticated, "self user", "Shows the caller's own account.";
    self_domains: SelfDomains => Page<SelfDomain>, GET "/v1/auth/self/domains", Query 200, Authenticated, "self domains", "Lists the domains that the caller may work in.";
    password_change: PasswordChange => NoBody, PATCH "/v1/auth/changepw", Json 204, Public, "self changepw", "Changes a password, proven by the old one.";
}
