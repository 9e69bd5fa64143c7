//! Users and groups as they are stored.

use serde::{Deserialize, Serialize};

use crate::{Id, Time};

/// Clear attributes of a user; the body is the password verifier.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct UserHeader {
    /// The user name in lower case: what is unique.
    pub name: String,
    /// The user name as it was typed.
    pub username: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub full_name: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nickname: Option<String>,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub email: String,
    pub created_at: Time,
    pub updated_at: Time,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub password_changed_at: Option<Time>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub password_change_required: bool,
    /// The first password made by the server is good until then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first_password_until: Option<Time>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub is_domain_user: bool,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub disabled: bool,
    /// From then on as if disabled.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<Time>,
    /// Kept for clients; there is no page to log in to.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub prevent_ui_login: bool,
    #[serde(default, skip_serializing_if = "serde_json::Map::is_empty")]
    pub user_metadata: serde_json::Map<String, serde_json::Value>,
}

impl UserHeader {
    /// Whether the account is not to be used now.
    pub fn out(&self, now: Time) -> bool {
        self.disabled || self.expires_at.is_some_and(|at| at <= now)
    }

    pub fn new(username: &str, now: Time) -> UserHeader {
        UserHeader {
            name: username.to_lowercase(),
            username: username.into(),
            full_name: username.into(),
            nickname: None,
            email: format!("{username}@local"),
            created_at: now,
            updated_at: now,
            password_changed_at: Some(now),
            password_change_required: false,
            first_password_until: None,
            is_domain_user: false,
            disabled: false,
            expires_at: None,
            prevent_ui_login: false,
            user_metadata: serde_json::Map::new(),
        }
    }
}

/// Clear attributes of a group; the body is empty and sealed, so that nobody who writes the disk adds a member.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct GroupHeader {
    pub name: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub description: String,
    pub created_at: Time,
    pub updated_at: Time,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub members: Vec<Id>,
}
