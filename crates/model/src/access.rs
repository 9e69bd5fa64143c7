//! Who may do what: the built-in groups and the rights that each gives in its own domain.

/// A built-in group. Being in it gives its rights in the domain of the group, and only there.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub enum Role {
    Admin,
    UserAdmins,
    KeyAdmins,
    KeyUsers,
    BackupAdmins,
    RestoreAdmins,
    DomainAdmins,
    DomainBackupAdmins,
    DomainRestoreAdmins,
    Auditors,
}

impl Role {
    /// Every built-in group, in the order of the documentation.
    pub const ALL: [Role; 10] = [
        Role::Admin,
        Role::UserAdmins,
        Role::KeyAdmins,
        Role::KeyUsers,
        Role::BackupAdmins,
        Role::RestoreAdmins,
        Role::DomainAdmins,
        Role::DomainBackupAdmins,
        Role::DomainRestoreAdmins,
        Role::Auditors,
    ];

    /// The group's name on the wire.
    pub fn name(self) -> &'static str {
        match self {
            Role::Admin => "admin",
            Role::UserAdmins => "User Admins",
            Role::KeyAdmins => "Key Admins",
            Role::KeyUsers => "Key Users",
            Role::BackupAdmins => "Backup Admins",
            Role::RestoreAdmins => "Restore Admins",
            Role::DomainAdmins => "Domain Admins",
            Role::DomainBackupAdmins => "Domain Backup Admins",
            Role::DomainRestoreAdmins => "Domain Restore Admins",
            Role::Auditors => "Auditors",
        }
    }

    /// The role of a group's name; other groups give no right of their own.
    pub fn from_name(name: &str) -> Option<Role> {
        Role::ALL.into_iter().find(|r| r.name() == name)
    }
}

/// What an endpoint needs. One endpoint needs one right; some depend on the request (scope of a backup).
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub enum Right {
    /// No token at all.
    Public,
    /// Any valid token: what concerns the caller alone.
    Authenticated,
    UserRead,
    UserWrite,
    DomainRead,
    DomainWrite,
    KekRead,
    KekRotate,
    KeyRead,
    KeyWrite,
    /// Cryptography with keys; a key's own permissions may give it to further groups.
    KeyUse,
    KeyExport,
    SecretRead,
    SecretWrite,
    SecretValue,
    PolicyRead,
    PolicyWrite,
    /// See backup keys, backups and their status.
    BackupRead,
    SystemBackup,
    SystemRestore,
    DomainBackup,
    DomainRestore,
    /// Keep what a domain's backup instances sent from everybody, and let it go again.
    LegalHold,
    AuditRead,
    JobRead,
    SystemWrite,
}

impl Right {
    /// Every right, in the order of the documentation.
    pub const ALL: [Right; 26] = [
        Right::Public,
        Right::Authenticated,
        Right::UserRead,
        Right::UserWrite,
        Right::DomainRead,
        Right::DomainWrite,
        Right::KekRead,
        Right::KekRotate,
        Right::KeyRead,
        Right::KeyWrite,
        Right::KeyUse,
        Right::KeyExport,
        Right::SecretRead,
        Right::SecretWrite,
        Right::SecretValue,
        Right::PolicyRead,
        Right::PolicyWrite,
        Right::BackupRead,
        Right::SystemBackup,
        Right::SystemRestore,
        Right::DomainBackup,
        Right::DomainRestore,
        Right::LegalHold,
        Right::AuditRead,
        Right::JobRead,
        Right::SystemWrite,
    ];

    /// The groups that have it. System-wide rights count in the root domain only (`in_root_only`).
    pub fn roles(self) -> &'static [Role] {
        use Role::{
            Admin, Auditors, BackupAdmins, DomainAdmins, DomainBackupAdmins, DomainRestoreAdmins, KeyAdmins, KeyUsers,
            RestoreAdmins, UserAdmins,
        };
        match self {
            Right::Public | Right::Authenticated => &Role::ALL,
            Right::UserRead => &[Admin, UserAdmins, DomainAdmins, Auditors],
            Right::UserWrite => &[Admin, UserAdmins, DomainAdmins],
            Right::DomainRead => &[Admin, DomainAdmins, Auditors],
            Right::DomainWrite => &[Admin],
            Right::KekRead => &[Admin, DomainAdmins, Auditors],
            Right::KekRotate => &[Admin, DomainAdmins],
            Right::KeyRead => &[Admin, KeyAdmins, KeyUsers, DomainAdmins, Auditors],
            Right::KeyWrite => &[Admin, KeyAdmins, DomainAdmins],
            Right::KeyUse => &[Admin, KeyAdmins, KeyUsers, DomainAdmins],
            Right::KeyExport => &[Admin, KeyAdmins, DomainAdmins],
            Right::SecretRead => &[Admin, KeyAdmins, KeyUsers, DomainAdmins, Auditors],
            Right::SecretWrite => &[Admin, KeyAdmins, DomainAdmins],
            Right::SecretValue => &[Admin, KeyAdmins, KeyUsers, DomainAdmins],
            Right::PolicyRead => &[Admin, KeyAdmins, KeyUsers, DomainAdmins, Auditors],
            Right::PolicyWrite => &[Admin, KeyAdmins, DomainAdmins],
            Right::BackupRead => {
                &[Admin, BackupAdmins, RestoreAdmins, DomainAdmins, DomainBackupAdmins, DomainRestoreAdmins, Auditors]
            }
            Right::SystemBackup => &[Admin, BackupAdmins],
            Right::SystemRestore => &[Admin, RestoreAdmins],
            Right::DomainBackup => &[Admin, BackupAdmins, DomainAdmins, DomainBackupAdmins],
            Right::DomainRestore => &[Admin, RestoreAdmins, DomainAdmins, DomainRestoreAdmins],
            Right::LegalHold => &[Admin, DomainAdmins],
            Right::AuditRead => &[Admin, DomainAdmins, Auditors],
            Right::JobRead => {
                &[Admin, BackupAdmins, RestoreAdmins, DomainAdmins, DomainBackupAdmins, DomainRestoreAdmins, Auditors]
            }
            Right::SystemWrite => &[Admin],
        }
    }

    /// Rights over the whole system, which exist in the root domain only.
    pub fn in_root_only(self) -> bool {
        matches!(
            self,
            Right::DomainRead | Right::DomainWrite | Right::SystemBackup | Right::SystemRestore | Right::SystemWrite
        )
    }

    /// The right to see the same thing: who lacks this one learns nothing of its existence.
    pub fn to_see(self) -> Right {
        match self {
            Right::UserWrite => Right::UserRead,
            Right::DomainWrite => Right::DomainRead,
            Right::KekRotate => Right::KekRead,
            Right::KeyWrite | Right::KeyUse | Right::KeyExport => Right::KeyRead,
            Right::SecretWrite | Right::SecretValue => Right::SecretRead,
            Right::PolicyWrite => Right::PolicyRead,
            Right::SystemBackup
            | Right::SystemRestore
            | Right::DomainBackup
            | Right::DomainRestore
            | Right::LegalHold => Right::BackupRead,
            same => same,
        }
    }
}

/// The roles a caller has in the domain where the call happens.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Roles(u16);

impl Roles {
    /// From group names; names of other groups are passed over.
    pub fn from_names<'a>(names: impl IntoIterator<Item = &'a str>) -> Roles {
        Roles(names.into_iter().filter_map(Role::from_name).fold(0, |bits, r| bits | 1 << r as u16))
    }

    pub fn has(self, role: Role) -> bool {
        self.0 & (1 << role as u16) != 0
    }

    /// Whether these roles give `right` in the root domain (`root`) or in another one.
    pub fn give(self, right: Right, root: bool) -> bool {
        match right {
            Right::Public | Right::Authenticated => true,
            _ => (root || !right.in_root_only()) && right.roles().iter().any(|r| self.has(*r)),
        }
    }

    /// Whether these roles may put somebody into a group. Nobody gives more than they could take themselves:
    /// administrators of the domain give everything, user administrators what gives no right of its own and `Key Users`.
    pub fn may_grant(self, group: &str) -> bool {
        if self.has(Role::Admin) || self.has(Role::DomainAdmins) && group != Role::Admin.name() {
            return true;
        }
        let harmless = matches!(Role::from_name(group), None | Some(Role::KeyUsers));
        self.has(Role::UserAdmins) && harmless
    }
}

#[cfg(test)]
mod tests {
    use super::{Right, Role, Roles};

    #[test]
    fn whoever_may_do_may_also_see_and_system_rights_stay_in_root() {
        for right in Right::ALL {
            for role in Role::ALL {
                let roles = Roles::from_names([role.name()]);
                for root in [true, false] {
                    if roles.give(right, root) && !right.in_root_only() {
                        assert!(roles.give(right.to_see(), root), "{role:?} {right:?}");
                    }
                    assert!(!(right.in_root_only() && !root && roles.give(right, root)), "{role:?} {right:?}");
                }
            }
        }
        assert!(!Roles::from_names(["Some Team"]).give(Right::KeyRead, true));
    }

    #[test]
    fn nobody_grants_more_than_they_have() {
        let of = |r: Role| Roles::from_names([r.name()]);
        assert!(of(Role::Admin).may_grant("admin"));
        assert!(!of(Role::DomainAdmins).may_grant("admin"));
        assert!(of(Role::UserAdmins).may_grant("Key Users") && of(Role::UserAdmins).may_grant("Team"));
        assert!(!of(Role::UserAdmins).may_grant("Restore Admins"));
        assert!(!of(Role::KeyAdmins).may_grant("Team"));
    }
}
