//! Users and groups in a restore: nobody comes back with a working password or with rights that the restorer could not give.

use keyark_model::Id;
use keyark_model::people::{GroupHeader, UserHeader};

/// A user of a domain's archive arrives disabled until an administrator resets the password (rules A3).
pub fn user_arrives(header: &[u8]) -> Option<Vec<u8>> {
    let mut user: UserHeader = serde_json::from_slice(header).ok()?;
    user.disabled = true;
    user.password_change_required = true;
    serde_json::to_vec(&user).ok()
}

/// A group that is not here arrives with those of its members that are here or come along.
pub fn group_arrives(header: &[u8], known: impl Fn(Id) -> bool) -> Option<Vec<u8>> {
    let mut group: GroupHeader = serde_json::from_slice(header).ok()?;
    group.members.retain(|m| known(*m));
    serde_json::to_vec(&group).ok()
}
