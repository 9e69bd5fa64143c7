//! Groups: sets of users; the built-in ones give rights.

use keyark_model::Time;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::endpoint::NoBody;
use crate::users::User;
use crate::{Page, endpoint};

#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct Group {
    pub name: String,
    pub created_at: Time,
    pub updated_at: Time,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub description: String,
    /// `local|<uuid>` of each member.
    pub users: Vec<String>,
    pub users_count: u64,
    pub built_in: bool,
}

#[derive(Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct GroupCreate {
    /// Unique in the domain; none of `/ | \ < >`.
    pub name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
}

#[derive(Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct GroupList {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub skip: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<i64>,
    /// With `*` and `?`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Only groups with this member.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub users: Option<String>,
}

#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct GroupGet {
    pub name: String,
}

#[derive(Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct GroupUpdate {
    pub name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
}

#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct GroupDelete {
    pub name: String,
}

#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct GroupAddUser {
    pub name: String,
    pub user_id: String,
}

#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct GroupRemoveUser {
    pub name: String,
    pub user_id: String,
}

#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct GroupUsers {
    pub name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub skip: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<i64>,
}

endpoint! {
    group_create: GroupCreate => Group, POST "/v1/usermgmt/groups" | "/v1/usermgmt/groups/", Json 201, UserWrite, "groups create", "Creates a group.";
    group_list: GroupList => Page<Group>, GET "/v1/usermgmt/groups" | "/v1/usermgmt/groups/", Query 200, UserRead, "groups list", "Lists groups.";
    group_get: GroupGet => Group, GET "/v1/usermgmt/groups/{name}", Query 200, UserRead, "groups get", "Shows a group.";
    group_update: GroupUpdate => Group, PATCH "/v1/usermgmt/groups/{name}", Json 200, UserWrite, "groups modify", "Changes a group.";
    group_delete: GroupDelete => NoBody, DELETE "/v1/usermgmt/groups/{name}", Query 204, UserWrite, "groups delete", "Deletes a group; built-in ones stay.";
    group_users: GroupUsers => Page<User>, GET "/v1/usermgmt/groups/{name}/users", Query 200, UserRead, "groups users", "Lists the members of a group.";
    group_add_user: GroupAddUser => Group, POST "/v1/usermgmt/groups/{name}/users/{user_id}", Json 200, UserWrite, "groups adduser", "Puts a user into a group.";
    group_remove_user: GroupRemoveUser => NoBody, DELETE "/v1/usermgmt/groups/{name}/users/{user_id}", Query 204, UserWrite, "groups deleteuser", "Takes a user out of a group.";
}
