//! Users.

use keyark_model::Time;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::endpoint::NoBody;
use crate::{Page, endpoint};

/// A person or program that logs in.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct User {
    /// `local|<uuid>`.
    pub user_id: String,
    pub username: String,
    pub name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub nickname: Option<String>,
    pub email: String,
    pub created_at: Time,
    pub updated_at: Time,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub password_changed_at: Option<Time>,
    pub password_change_required: bool,
    /// Since this server started; usage is in no backup.
    pub logins_count: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_login: Option<Time>,
    pub failed_logins_count: u64,
    /// Until when further attempts are refused.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub account_lockout_at: Option<Time>,
    pub is_domain_user: bool,
    pub disabled: bool,
    /// From then on the account is as if disabled.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<Time>,
    pub login_flags: LoginFlags,
    #[serde(default)]
    pub user_metadata: serde_json::Map<String, serde_json::Value>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub groups: Vec<String>,
}

/// How a user may log in.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct LoginFlags {
    /// Kept and shown; there is no page to log in to.
    #[serde(default)]
    pub prevent_ui_login: bool,
}

#[derive(Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct UserCreate {
    /// Unique in its domain whatever its case; none of `/ | \ < >`, not `global`.
    pub username: String,
    /// 8 to 1024 characters.
    pub password: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub nickname: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub email: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub password_change_required: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub is_domain_user: Option<bool>,
    /// From then on the account is as if disabled; empty: never.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub login_flags: Option<LoginFlags>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user_metadata: Option<serde_json::Map<String, serde_json::Value>>,
}

#[derive(Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct UserList {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub skip: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<i64>,
    /// With `*` and `?`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// With `*` and `?`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub username: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub email: Option<String>,
    /// Only members of this group.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub groups: Option<String>,
}

#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct UserGet {
    /// `local|<uuid>`, the bare UUID, or `self`.
    pub id: String,
}

#[derive(Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct UserUpdate {
    pub id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub nickname: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub email: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub password: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub password_change_required: Option<bool>,
    /// A disabled user cannot log in; its tokens end.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub disabled: Option<bool>,
    /// From then on the account is as if disabled; empty: never.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub login_flags: Option<LoginFlags>,
    /// False lifts the lockout after failed attempts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub locked: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user_metadata: Option<serde_json::Map<String, serde_json::Value>>,
}

#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct UserDelete {
    pub id: String,
}

endpoint! {
    user_create: UserCreate => User, POST "/v1/usermgmt/users" | "/v1/usermgmt/users/", Json 201, UserWrite, "users create", "Creates a user.";
    user_list: UserList => Page<User>, GET "/v1/usermgmt/users" | "/v1/usermgmt/users/", Query 200, UserRead, "users list", "Lists users.";
    user_get: UserGet => User, GET "/v1/usermgmt/users/{id}", Query 200, UserRead, "users get", "Shows a user.";
    user_update: UserUpdate => User, PATCH "/v1/usermgmt/users/{id}", Json 200, UserWrite, "users modify", "Changes a user.";
    user_delete: UserDelete => NoBody, DELETE "/v1/usermgmt/users/{id}", Query 204, UserWrite, "users delete", "Deletes a user, out of all groups too.";
}
