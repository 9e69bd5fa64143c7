//! Who may do what: every endpoint by every role, in root and in another domain, against a table written by hand.

mod ground;
mod recorded;

use std::collections::{BTreeMap, BTreeSet, HashSet};

use keyark_api::{EndpointInfo, Method};
use keyark_model::access::{Right, Role};
use keyark_testkit::client::{job_ended, text};
use keyark_testkit::server::PASSWORD;
use keyark_testkit::{Client, TestServer};
use serde_json::json;

use Right::{
    AuditRead, Authenticated, BackupRead, DomainBackup, DomainRead, DomainRestore, DomainWrite, JobRead, KekRead,
    KekRotate, KeyExport, KeyRead, KeyUse, KeyWrite, LegalHold, PolicyRead, PolicyWrite, Public, SecretRead,
    SecretValue, SecretWrite, SystemBackup, SystemRestore, SystemWrite, UserRead, UserWrite,
};
use Role::{
    Admin, Auditors, BackupAdmins, DomainAdmins, DomainBackupAdmins, DomainRestoreAdmins, KeyAdmins, KeyUsers,
    RestoreAdmins, UserAdmins,
};
use ground::Ground;
use recorded::Asked;

/// Right, the roles that give it, whether it exists in the root domain only, and the right that shows the same things.
/// Written a second time on purpose: what `crates/model/src/access.rs` says must be what was meant.
#[rustfmt::skip]
const RIGHTS: [(Right, &[Role], bool, Right); 26] = [
    (Public, &Role::ALL, false, Public),
    (Authenticated, &Role::ALL, false, Authenticated),
    (UserRead, &[Admin, UserAdmins, DomainAdmins, Auditors], false, UserRead),
    (UserWrite, &[Admin, UserAdmins, DomainAdmins], false, UserRead),
    (DomainRead, &[Admin, DomainAdmins, Auditors], true, DomainRead),
    (DomainWrite, &[Admin], true, DomainRead),
    (KekRead, &[Admin, DomainAdmins, Auditors], false, KekRead),
    (KekRotate, &[Admin, DomainAdmins], false, KekRead),
    (KeyRead, &[Admin, KeyAdmins, KeyUsers, DomainAdmins, Auditors], false, KeyRead),
    (KeyWrite, &[Admin, KeyAdmins, DomainAdmins], false, KeyRead),
    (KeyUse, &[Admin, KeyAdmins, KeyUsers, DomainAdmins], false, KeyRead),
    (KeyExport, &[Admin, KeyAdmins, DomainAdmins], false, KeyRead),
    (SecretRead, &[Admin, KeyAdmins, KeyUsers, DomainAdmins, Auditors], false, SecretRead),
    (SecretWrite, &[Admin, KeyAdmins, DomainAdmins], false, SecretRead),
    (SecretValue, &[Admin, KeyAdmins, KeyUsers, DomainAdmins], false, SecretRead),
    (PolicyRead, &[Admin, KeyAdmins, KeyUsers, DomainAdmins, Auditors], false, PolicyRead),
    (PolicyWrite, &[Admin, KeyAdmins, DomainAdmins], false, PolicyRead),
    (BackupRead, &[Admin, BackupAdmins, RestoreAdmins, DomainAdmins, DomainBackupAdmins, DomainRestoreAdmins, Auditors], false, BackupRead),
    (SystemBackup, &[Admin, BackupAdmins], true, BackupRead),
    (SystemRestore, &[Admin, RestoreAdmins], true, BackupRead),
    (DomainBackup, &[Admin, BackupAdmins, DomainAdmins, DomainBackupAdmins], false, BackupRead),
    (DomainRestore, &[Admin, RestoreAdmins, DomainAdmins, DomainRestoreAdmins], false, BackupRead),
    (LegalHold, &[Admin, DomainAdmins], false, BackupRead),
    (AuditRead, &[Admin, DomainAdmins, Auditors], false, AuditRead),
    (JobRead, &[Admin, BackupAdmins, RestoreAdmins, DomainAdmins, DomainBackupAdmins, DomainRestoreAdmins, Auditors], false, JobRead),
    (SystemWrite, &[Admin], true, SystemWrite),
];

/// One request: endpoint, path and body with names of things in braces, the right that it needs, and what those who
/// have it are answered. 412 comes of an If-Match that fits nothing, 400 of a request that says too little: both are
/// past the decision and change nothing.
type Case = (&'static str, &'static str, &'static str, Right, u16);

#[rustfmt::skip]
const CASES: &[Case] = &[
    ("token_create", "/v1/auth/tokens", "{}", Public, 400),
    ("token_list", "/v1/auth/tokens", "", Authenticated, 200),
    ("token_get", "/v1/auth/tokens/{nothing}", "", Authenticated, 404),
    ("token_revoke", "/v1/auth/tokens/{nothing}", "", Authenticated, 404),
    ("self_user", "/v1/auth/self/user", "", Authenticated, 200),
    ("self_domains", "/v1/auth/self/domains", "", Authenticated, 200),
    ("password_change", "/v1/auth/changepw", "{}", Public, 400),
    ("user_create", "/v1/usermgmt/users", r#"{"username": "new{n}", "password": "short"}"#, UserWrite, 400),
    ("user_list", "/v1/usermgmt/users", "", UserRead, 200),
    ("user_get", "/v1/usermgmt/users/{user}", "", UserRead, 200),
    ("user_update", "/v1/usermgmt/users/{user}", "{}", UserWrite, 200),
    ("user_delete", "/v1/usermgmt/users/{user}", "", UserWrite, 412),
    ("group_create", "/v1/usermgmt/groups", r#"{"name": "new{n}"}"#, UserWrite, 201),
    ("group_list", "/v1/usermgmt/groups", "", UserRead, 200),
    ("group_get", "/v1/usermgmt/groups/Team", "", UserRead, 200),
    ("group_update", "/v1/usermgmt/groups/Team", "{}", UserWrite, 200),
    ("group_delete", "/v1/usermgmt/groups/Team", "", UserWrite, 412),
    ("group_users", "/v1/usermgmt/groups/Team/users", "", UserRead, 200),
    ("group_add_user", "/v1/usermgmt/groups/Team/users/{user}", "{}", UserWrite, 200),
    ("group_remove_user", "/v1/usermgmt/groups/Team/users/{user}", "", UserWrite, 412),
    ("key_create", "/v1/vault/keys2", "{}", KeyWrite, 201),
    ("key_list", "/v1/vault/keys2", "", KeyRead, 200),
    ("key_query", "/v1/vault/query-keys", "{}", KeyRead, 200),
    ("key_labels", "/v1/vault/key-labels", "", KeyRead, 200),
    ("key_get", "/v1/vault/keys2/{key}", "", KeyRead, 200),
    ("key_update", "/v1/vault/keys2/{key}", "{}", KeyWrite, 412),
    ("key_delete", "/v1/vault/keys2/{key}", "", KeyWrite, 412),
    ("key_undelete", "/v1/vault/keys2/{key}/undelete", "{}", KeyWrite, 412),
    ("key_version_create", "/v1/vault/keys2/{key}/versions", "{}", KeyWrite, 412),
    ("key_version_list", "/v1/vault/keys2/{key}/versions", "", KeyRead, 200),
    ("key_activate", "/v1/vault/keys2/{key}/activate", "{}", KeyWrite, 412),
    ("key_suspend", "/v1/vault/keys2/{key}/suspend", "{}", KeyWrite, 412),
    ("key_resume", "/v1/vault/keys2/{key}/resume", "{}", KeyWrite, 412),
    ("key_deactivate", "/v1/vault/keys2/{key}/deactivate", "{}", KeyWrite, 412),
    ("key_reactivate", "/v1/vault/keys2/{key}/reactivate", "{}", KeyWrite, 412),
    ("key_revoke", "/v1/vault/keys2/{key}/revoke", r#"{"reason": "Unspecified"}"#, KeyWrite, 412),
    ("key_archive", "/v1/vault/keys2/{key}/archive", "{}", KeyWrite, 412),
    ("key_recover", "/v1/vault/keys2/{key}/recover", "{}", KeyWrite, 412),
    ("key_destroy", "/v1/vault/keys2/{key}/destroy", "{}", KeyWrite, 412),
    ("key_undestroy", "/v1/vault/keys2/{key}/undestroy", "{}", KeyWrite, 412),
    ("key_clone", "/v1/vault/keys2/{key}/clone", "{}", KeyWrite, 412),
    ("key_export", "/v1/vault/keys2/{key}/export", "{}", KeyExport, 200),
    ("key_alias_add", "/v1/vault/keys2/{key}/aliases", r#"{"alias": "a"}"#, KeyWrite, 412),
    ("key_alias_delete", "/v1/vault/keys2/{key}/aliases/0", "", KeyWrite, 412),
    ("key_link_list", "/v1/vault/keys2/{key}/links", "", KeyRead, 200),
    ("key_link_add", "/v1/vault/keys2/{key}/links", r#"{"type": "parent", "target": "{rsa}"}"#, KeyWrite, 412),
    ("key_link_delete", "/v1/vault/keys2/{key}/links/{nothing}", "", KeyWrite, 412),
    ("encrypt", "/v1/crypto/encrypt", r#"{"id": "{key}", "plaintext": ""}"#, KeyUse, 200),
    ("decrypt", "/v1/crypto/decrypt", r#"{"id": "{key}"}"#, KeyUse, 400),
    ("reencrypt", "/v1/crypto/reencrypt", r#"{"id": "{key}"}"#, KeyUse, 400),
    ("data_key", "/v1/crypto/datakey", r#"{"id": "{key}"}"#, KeyUse, 200),
    ("sign", "/v1/crypto/sign", r#"{"id": "{ec}", "data": ""}"#, KeyUse, 200),
    ("verify", "/v1/crypto/verify", r#"{"id": "{ec}", "data": "", "signature": ""}"#, KeyUse, 200),
    ("mac", "/v1/crypto/mac", r#"{"id": "{hmac}", "data": ""}"#, KeyUse, 200),
    ("mac_verify", "/v1/crypto/macv", r#"{"id": "{hmac}", "data": "", "mac": ""}"#, KeyUse, 200),
    ("wrap", "/v1/crypto/wrap", r#"{"id": "{key}", "material": "AAAAAAAAAAAAAAAAAAAAAA=="}"#, KeyUse, 200),
    ("unwrap", "/v1/crypto/unwrap", r#"{"id": "{key}"}"#, KeyUse, 400),
    ("random", "/v1/crypto/random", "{}", Authenticated, 200),
    ("encapsulate", "/v1/crypto/encapsulate", r#"{"id": "{kem}"}"#, KeyUse, 200),
    ("decapsulate", "/v1/crypto/decapsulate", r#"{"id": "{kem}"}"#, KeyUse, 400),
    ("backup_key_create", "/v1/backupkeys", r#"{"scope": "domain"}"#, DomainBackup, 201),
    ("backup_key_create", "/v1/backupkeys", r#"{"scope": "system"}"#, SystemBackup, 201),
    ("backup_key_list", "/v1/backupkeys", "", BackupRead, 200),
    ("backup_key_get", "/v1/backupkeys/{backup_key}", "", BackupRead, 200),
    ("backup_key_default", "/v1/backupkeys/{backup_key}/default", "{}", DomainBackup, 200),
    ("backup_key_default", "/v1/backupkeys/{system_backup_key}/default", "{}", SystemBackup, 200),
    ("backup_key_delete", "/v1/backupkeys/{backup_key}?force=true&confirm={backup_key}", "", DomainBackup, 412),
    ("backup_key_delete", "/v1/backupkeys/{system_backup_key}?force=true&confirm={system_backup_key}", "", SystemBackup, 412),
    ("backup_key_shred_plan", "/v1/backupkeys/{backup_key}/shred-plan", "{}", DomainBackup, 409),
    ("backup_key_shred_plan", "/v1/backupkeys/{system_backup_key}/shred-plan", "{}", SystemBackup, 409),
    ("backup_key_shred", "/v1/backupkeys/{backup_key}/shred", r#"{"digest": "x"}"#, DomainBackup, 409),
    ("backup_key_shred", "/v1/backupkeys/{system_backup_key}/shred", r#"{"digest": "x"}"#, SystemBackup, 409),
    ("backup_key_upload", "/v1/backupkeys/upload", r#"{"file": {key_file}, "password": "not the one"}"#, DomainRestore, 400),
    ("backup_key_upload", "/v1/backupkeys/upload", r#"{"file": {system_key_file}, "password": "not the one"}"#, SystemRestore, 400),
    ("backup_key_inspect", "/v1/backupkeys/inspect", r#"{"file": "x"}"#, BackupRead, 400),
    ("backup_key_check", "/v1/backupkeys/check", r#"{"file": "x", "password": "x"}"#, BackupRead, 400),
    ("backup_create", "/v1/backups", r#"{"scope": "domain", "tiedToHSM": true}"#, DomainBackup, 400),
    ("backup_create", "/v1/backups", r#"{"scope": "system", "tiedToHSM": true}"#, SystemBackup, 400),
    ("backup_list", "/v1/backups", "", BackupRead, 200),
    ("backup_get", "/v1/backups/{backup}", "", BackupRead, 200),
    ("backup_delete", "/v1/backups/{backup}", "", DomainBackup, 412),
    ("backup_delete", "/v1/backups/{system_backup}", "", SystemBackup, 412),
    ("backup_status", "/v1/backupStatus", "", BackupRead, 200),
    ("backup_download", "/v1/backups/{backup}/download", "", DomainBackup, 200),
    ("backup_download", "/v1/backups/{system_backup}/download", "", SystemBackup, 200),
    ("backup_upload", "/v1/backups/upload", "@archive", DomainRestore, 409),
    ("backup_upload", "/v1/backups/upload", "@system_archive", SystemRestore, 409),
    ("backup_inspect", "/v1/backups/inspect", "@archive", BackupRead, 200),
    ("backup_plan", "/v1/backups/{backup}/plan", "{}", DomainRestore, 200),
    ("backup_plan", "/v1/backups/{system_backup}/plan", "{}", SystemRestore, 200),
    ("backup_restore", "/v1/backups/{backup}/restore", r#"{"mode": "some"}"#, DomainRestore, 400),
    ("backup_restore", "/v1/backups/{system_backup}/restore", r#"{"mode": "some"}"#, SystemRestore, 400),
    ("backup_contents", "/v1/backups/{backup}/contents", "", BackupRead, 200),
    ("backup_scp", "/v1/backups/{backup}/scp", r#"{"protocol": "ftp"}"#, DomainBackup, 400),
    ("backup_scp", "/v1/backups/{system_backup}/scp", r#"{"protocol": "ftp"}"#, SystemBackup, 400),
    ("backup_scp_status", "/v1/backups/{backup}/scp", "", BackupRead, 200),
    ("scp_public_key_get", "/v1/scp/public-key", "", BackupRead, 200),
    ("scp_public_key_rotate", "/v1/scp/public-key/rotate", "{}", DomainBackup, 400),
    ("scp_connection_create", "/v1/connectionmgmt/services/scp/connections", r#"{"name": "c{n}"}"#, DomainBackup, 400),
    ("scp_connection_list", "/v1/connectionmgmt/services/scp/connections", "", BackupRead, 200),
    ("scp_connection_get", "/v1/connectionmgmt/services/scp/connections/{connection}", "", BackupRead, 200),
    ("scp_connection_update", "/v1/connectionmgmt/services/scp/connections/{connection}", "{}", DomainBackup, 412),
    ("scp_connection_delete", "/v1/connectionmgmt/services/scp/connections/{connection}", "", DomainBackup, 412),
    ("scp_connection_try", "/v1/connectionmgmt/services/scp/connections/{connection}/test", "{}", DomainBackup, 412),
    ("scp_connection_test", "/v1/connectionmgmt/services/scp/connection-test", "{}", DomainBackup, 400),
    ("destination_create", "/v1/destinations", r#"{"name": "d{n}", "path": "relative"}"#, SystemBackup, 400),
    ("destination_list", "/v1/destinations", "", BackupRead, 200),
    ("destination_get", "/v1/destinations/nas", "", BackupRead, 200),
    ("destination_update", "/v1/destinations/nas", "{}", SystemBackup, 412),
    ("destination_delete", "/v1/destinations/{system_destination}", "", SystemBackup, 412),
    ("destination_check", "/v1/destinations/nas/check", "{}", SystemBackup, 200),
    ("backup_instance_create", "/v1/backup-instances", r#"{"alias": "i{n}", "rangeDays": 1}"#, DomainBackup, 400),
    ("backup_instance_create", "/v1/backup-instances", r#"{"type": "system", "alias": "i{n}", "rangeDays": 1}"#, SystemBackup, 400),
    ("backup_instance_list", "/v1/backup-instances", "", BackupRead, 200),
    ("backup_instance_get", "/v1/backup-instances/{instance}", "", BackupRead, 200),
    ("backup_instance_hold", "/v1/backup-instances/{instance}/hold", r#"{"reason": "a case"}"#, LegalHold, 412),
    ("backup_instance_hold", "/v1/backup-instances/{system_instance}/hold", r#"{"reason": "a case"}"#, SystemWrite, 412),
    ("backup_instance_enable", "/v1/backup-instances/{instance}/enable", r#"{"destinations": ["nas"]}"#, DomainBackup, 412),
    ("backup_instance_enable", "/v1/backup-instances/{system_instance}/enable", r#"{"destinations": ["nas"]}"#, SystemBackup, 412),
    ("backup_instance_extend", "/v1/backup-instances/{instance}/extend", r#"{"rangeDays": 60}"#, DomainBackup, 412),
    ("backup_instance_extend", "/v1/backup-instances/{system_instance}/extend", r#"{"rangeDays": 60}"#, SystemBackup, 412),
    ("backup_instance_renew", "/v1/backup-instances/{instance}/renew", r#"{"durationDays": 9}"#, DomainBackup, 412),
    ("backup_instance_renew", "/v1/backup-instances/{system_instance}/renew", r#"{"durationDays": 9}"#, SystemBackup, 412),
    ("backup_instance_delete", "/v1/backup-instances/{instance}?confirm=guard", "", DomainBackup, 412),
    ("backup_instance_delete", "/v1/backup-instances/{system_instance}?confirm=guard-all", "", SystemBackup, 412),
    ("backup_instance_lift", "/v1/backup-instances/{instance}/hold?confirm=guard", "", LegalHold, 412),
    ("backup_instance_lift", "/v1/backup-instances/{system_instance}/hold?confirm=guard-all", "", SystemWrite, 412),
    ("backup_instance_points", "/v1/backup-instances/{instance}/points", "", BackupRead, 200),
    ("backup_instance_extract", "/v1/backup-instances/{instance}/backups", "{}", DomainBackup, 412),
    ("backup_instance_extract", "/v1/backup-instances/{system_instance}/backups", "{}", SystemBackup, 412),
    ("backup_instance_verify", "/v1/backup-instances/{instance}/verify", "{}", DomainBackup, 412),
    ("backup_instance_verify", "/v1/backup-instances/{system_instance}/verify", "{}", SystemBackup, 412),
    ("backup_instance_drill", "/v1/backup-instances/{instance}/drill", "{}", DomainRestore, 412),
    ("backup_instance_drill", "/v1/backup-instances/{system_instance}/drill", "{}", SystemRestore, 412),
    ("backup_instance_download", "/v1/backup-instances/{instance}/download", "{}", DomainBackup, 412),
    ("backup_instance_download", "/v1/backup-instances/{system_instance}/download", "{}", SystemBackup, 412),
    ("backup_instance_upload", "/v1/backup-instances/upload", r#"{"backup": "{backup}", "encryptionKey": "x", "alias": "u{n}"}"#, DomainRestore, 400),
    ("backup_instance_upload", "/v1/backup-instances/upload", r#"{"backup": "{system_backup}", "encryptionKey": "x", "alias": "u{n}"}"#, SystemRestore, 400),
    ("backup_instance_rotate_key", "/v1/backup-instances/{instance}/rotate-key", "{}", DomainBackup, 412),
    ("backup_instance_rotate_key", "/v1/backup-instances/{system_instance}/rotate-key", "{}", SystemBackup, 412),
    ("backup_instance_data", "/v1/backup-instances/{instance}/data?date=soon", "", BackupRead, 400),
    ("backup_instance_restore", "/v1/backup-instances/{instance}/restore", "{}", DomainRestore, 412),
    ("backup_instance_restore", "/v1/backup-instances/{system_instance}/restore", "{}", SystemRestore, 412),
    ("backup_instance_reset", "/v1/backup-instances/{instance}/reset", r#"{"confirm": "guard"}"#, DomainBackup, 412),
    ("backup_instance_reset", "/v1/backup-instances/{system_instance}/reset", r#"{"confirm": "guard-all"}"#, SystemBackup, 412),
    ("protection_status", "/v1/protection/status", "", BackupRead, 200),
    ("protection_destroyed", "/v1/protection/destroyed", "", BackupRead, 200),
    ("alarm_list", "/v1/system/alarms", "", BackupRead, 200),
    ("job_config_create", "/v1/scheduler/job-configs", r#"{"name": "s{n}", "operation": "database_backup", "run_at": "soon", "database_backup_params": {"scope": "domain"}}"#, DomainBackup, 400),
    ("job_config_create", "/v1/scheduler/job-configs", r#"{"name": "s{n}", "operation": "database_backup", "run_at": "soon"}"#, SystemBackup, 400),
    ("job_config_list", "/v1/scheduler/job-configs", "", BackupRead, 200),
    ("job_config_get", "/v1/scheduler/job-configs/{schedule}", "", BackupRead, 200),
    ("job_config_run_now", "/v1/scheduler/job-configs/{schedule}/run-now", "{}", DomainBackup, 412),
    ("job_config_run_now", "/v1/scheduler/job-configs/{system_schedule}/run-now", "{}", SystemBackup, 412),
    ("scheduled_job_list", "/v1/scheduler/jobs", "", BackupRead, 200),
    ("job_config_update", "/v1/scheduler/job-configs/{schedule}", "{}", DomainBackup, 412),
    ("job_config_update", "/v1/scheduler/job-configs/{system_schedule}", "{}", SystemBackup, 412),
    ("job_config_delete", "/v1/scheduler/job-configs/{schedule}", "", DomainBackup, 412),
    ("job_config_delete", "/v1/scheduler/job-configs/{system_schedule}", "", SystemBackup, 412),
    ("upload_create", "/v1/uploads", "{}", DomainRestore, 201),
    ("upload_get", "/v1/uploads/{nothing}", "", DomainRestore, 404),
    ("upload_append", "/v1/uploads/{nothing}?offset=0", "@archive", DomainRestore, 404),
    ("upload_delete", "/v1/uploads/{nothing}", "", DomainRestore, 404),
    ("job_list", "/v1/jobs", "", JobRead, 200),
    ("job_get", "/v1/jobs/{job}", "", JobRead, 200),
    ("job_cancel", "/v1/jobs/{job}/cancel", "{}", DomainBackup, 409),
    ("job_cancel", "/v1/jobs/{system_job}/cancel", "{}", SystemBackup, 409),
    ("system_info", "/v1/system/info", "", Authenticated, 200),
    ("system_services", "/v1/system/services/status", "", Public, 200),
    ("system_anchor", "/v1/system/anchor", "", Public, 200),
    ("clock_accept", "/v1/system/clock/accept", r#"{"confirm": "accept"}"#, SystemWrite, 200),
    ("system_activate", "/v1/system/activate", "{}", SystemWrite, 400),
    ("webhook_create", "/v1/system/webhooks", r#"{"name": "w{n}", "url": "ftp://x"}"#, SystemWrite, 400),
    ("webhook_list", "/v1/system/webhooks", "", SystemWrite, 200),
    ("webhook_get", "/v1/system/webhooks/{system_webhook}", "", SystemWrite, 200),
    ("webhook_update", "/v1/system/webhooks/{system_webhook}", "{}", SystemWrite, 412),
    ("webhook_delete", "/v1/system/webhooks/{system_webhook}", "", SystemWrite, 412),
    ("webhook_test", "/v1/system/webhooks/{system_webhook}/test", "{}", SystemWrite, 412),
    ("audit_list", "/v1/audit/records", "", AuditRead, 200),
    ("client_record_list", "/v1/audit/client-records", "", AuditRead, 200),
    ("secret_create", "/v1/vault/secrets", r#"{"name": "new{n}", "key": "{key}", "material": "AAAA"}"#, SecretWrite, 201),
    ("secret_list", "/v1/vault/secrets", "", SecretRead, 200),
    ("secret_get", "/v1/vault/secrets/{secret}", "", SecretRead, 200),
    ("secret_get", "/v1/vault/secrets/{secret}?includeMaterial=true", "", SecretValue, 200),
    ("secret_update", "/v1/vault/secrets/{secret}", "{}", SecretWrite, 412),
    ("secret_delete", "/v1/vault/secrets/{secret}", "", SecretWrite, 412),
    ("secret_export", "/v1/vault/secrets/{secret}/export", "{}", SecretValue, 200),
    ("secret_version_create", "/v1/vault/secrets/{secret}/versions", r#"{"material": "AAAA"}"#, SecretWrite, 412),
    ("secret_version_list", "/v1/vault/secrets/{secret}/versions", "", SecretRead, 200),
    ("secret_version_get", "/v1/vault/secrets/{secret}/versions/0", "", SecretRead, 200),
    ("secret_version_get", "/v1/vault/secrets/{secret}/versions/0?includeMaterial=true", "", SecretValue, 200),
    ("secret_undelete", "/v1/vault/secrets/{secret}/undelete", "{}", SecretWrite, 412),
    ("secret_destroy", "/v1/vault/secrets/{secret}/destroy", "{}", SecretWrite, 412),
    ("secret_rewrap", "/v1/vault/secrets/{secret}/rewrap", "{}", SecretWrite, 412),
    ("policy_create", "/v1/transparent-encryption/policies", r#"{"name": "new{n}", "policy_type": "STANDARD"}"#, PolicyWrite, 201),
    ("policy_list", "/v1/transparent-encryption/policies", "", PolicyRead, 200),
    ("policy_get", "/v1/transparent-encryption/policies/{policy}", "", PolicyRead, 200),
    ("policy_update", "/v1/transparent-encryption/policies/{policy}", "{}", PolicyWrite, 412),
    ("policy_delete", "/v1/transparent-encryption/policies/{policy}", "", PolicyWrite, 412),
    ("policy_rule_create", "/v1/transparent-encryption/policies/{policy}/securityrules", r#"{"effect": "deny"}"#, PolicyWrite, 412),
    ("policy_rule_list", "/v1/transparent-encryption/policies/{policy}/securityrules", "", PolicyRead, 200),
    ("policy_rule_get", "/v1/transparent-encryption/policies/{policy}/securityrules/{rule}", "", PolicyRead, 200),
    ("policy_rule_update", "/v1/transparent-encryption/policies/{policy}/securityrules/{rule}", "{}", PolicyWrite, 412),
    ("policy_rule_delete", "/v1/transparent-encryption/policies/{policy}/securityrules/{rule}", "", PolicyWrite, 412),
    ("policy_set_create", "/v1/transparent-encryption/usersets", r#"{"name": "new{n}"}"#, PolicyWrite, 201),
    ("policy_set_list", "/v1/transparent-encryption/usersets", "", PolicyRead, 200),
    ("policy_set_get", "/v1/transparent-encryption/usersets/{set}", "", PolicyRead, 200),
    ("policy_set_update", "/v1/transparent-encryption/usersets/{set}", "{}", PolicyWrite, 412),
    ("policy_set_delete", "/v1/transparent-encryption/usersets/{set}", "", PolicyWrite, 412),
    ("domain_create", "/v1/domains", r#"{"name": "root"}"#, DomainWrite, 400),
    ("domain_list", "/v1/domains", "", DomainRead, 200),
    ("domain_get", "/v1/domains/{domain}", "", DomainRead, 200),
    ("domain_update", "/v1/domains/{domain}", "{}", DomainWrite, 412),
    ("domain_delete", "/v1/domains/{domain}", "", DomainWrite, 412),
    ("kek_list", "/v1/domains/{domain}/keks", "", KekRead, 200),
    ("kek_get", "/v1/domains/{domain}/keks/1", "", KekRead, 200),
    ("kek_rotate", "/v1/domains/{domain}/rotate-kek", "{}", KekRotate, 200),
    ("backup_key_download", "/v1/backupkeys/{backup_key}/download", r#"{"password": "short"}"#, DomainBackup, 400),
    ("backup_key_download", "/v1/backupkeys/{system_backup_key}/download", r#"{"password": "short"}"#, SystemBackup, 400),
];

/// Downloading a backup key is the one thing that either of two rights gives.
const OR_RESTORE: &str = "backup_key_download";

/// The table's line of a right.
fn line(right: Right) -> (&'static [Role], bool, Right) {
    let (_, roles, root_only, sees) =
        RIGHTS.iter().find(|r| r.0 == right).unwrap_or_else(|| panic!("{right:?} has no line in the table"));
    (roles, *root_only, *sees)
}

/// Whether somebody with this one role, or none, has a right.
fn has(role: Option<Role>, right: Right, root: bool) -> bool {
    let (roles, root_only, _) = line(right);
    matches!(right, Public | Authenticated) || (root || !root_only) && role.is_some_and(|r| roles.contains(&r))
}

fn rights_of(case: &Case) -> Vec<Right> {
    match (case.0 == OR_RESTORE, case.3) {
        (true, DomainBackup) => vec![DomainBackup, DomainRestore],
        (true, SystemBackup) => vec![SystemBackup, SystemRestore],
        (_, right) => vec![right],
    }
}

fn infos() -> BTreeMap<&'static str, EndpointInfo> {
    keyark_api::list::endpoints().into_iter().map(|e| (e.id, e)).collect()
}

#[test]
fn every_endpoint_has_a_case_and_every_case_its_endpoint() {
    let infos = infos();
    let cases: HashSet<&str> = CASES.iter().map(|c| c.0).collect();
    for id in infos.keys() {
        assert!(cases.contains(id), "{id} has no case here: who may do it?");
    }
    for case in CASES {
        let info = infos.get(case.0).unwrap_or_else(|| panic!("{} is no endpoint", case.0));
        let (template, path) = (info.path.split('/'), case.1.split('?').next().unwrap().split('/'));
        let fits = template.clone().count() == path.clone().count()
            && template.zip(path).all(|(t, p)| t == p || t.starts_with('{'));
        assert!(fits, "{} is at {}, not at {}", case.0, info.path, case.1);
        // The endpoint demands the case's right, or lets in whoever sees such things and decides by the request.
        let decides = [line(case.3).2, BackupRead, JobRead].contains(&info.right);
        assert!(info.right == case.3 || decides, "{} needs {:?} and not {:?}", case.0, info.right, case.3);
    }
}

#[test]
fn the_table_is_what_the_code_says() {
    assert_eq!(RIGHTS.map(|r| r.0), Right::ALL, "each right has one line, in the same order");
    for (right, roles, root_only, sees) in RIGHTS {
        assert_eq!((right.roles(), right.in_root_only(), right.to_see()), (roles, root_only, sees), "{right:?}");
    }
}

#[test]
fn every_endpoint_by_every_role() {
    let server = TestServer::start();
    let tenant = server.domain("tenant");
    let infos = infos();
    let mut root = Ground::new(&server, &server.admin, "root");
    let mut other = Ground::new(&server, &tenant.admin, "tenant");
    let roles: Vec<_> = std::iter::once(None).chain(Role::ALL.into_iter().map(Some)).collect();
    for role in roles {
        let in_groups: Vec<Role> = role.into_iter().collect();
        root.callers.push((role, server.as_user(&in_groups)));
        other.callers.push((role, server.as_user_of(&tenant, &in_groups)));
    }
    let mut wrong = Vec::new();
    let (mut asked, mut calls) = (0, Vec::new());
    for ground in [&root, &other] {
        for case in CASES.iter().filter(|c| ground.fits(c)) {
            let info = &infos[case.0];
            for (role, client) in &ground.callers {
                asked += 1;
                let answer = ground.send(case, info, client, asked);
                let expected = ground.expected(case, *role);
                let denied = expected == 403 && case.3 != Public;
                let names_it = answer.json["message"].as_str().is_some_and(|m| m.contains(case.0));
                if answer.status != expected || denied && !names_it {
                    let place = if ground.root { "root" } else { "tenant" };
                    wrong.push(format!("{role:?} in {place}: {expected} expected, {answer}"));
                }
                calls.push(Asked::of(info, client, ground.root, answer));
            }
        }
    }
    assert!(wrong.is_empty(), "{} of {asked} wrong:\n{}", wrong.len(), wrong.join("\n"));
    assert!(asked > 2000, "{asked}");
    recorded::all(&calls, &server.admin, &tenant.admin);
}

#[test]
fn what_nobody_may_is_recorded_without_a_name_and_what_changes_something_with_one() {
    let server = TestServer::start();
    let tenant = server.domain("tenant");
    let infos = infos();
    let mut calls = Vec::new();
    for (ground, admin) in [
        (Ground::new(&server, &server.admin, "root"), &server.admin),
        (Ground::new(&server, &tenant.admin, "tenant"), &tenant.admin),
    ] {
        let nobody = server.nobody();
        // Changes that the walk stops short of: what is inside before what holds it, the removals last.
        let (removals, changes): (Vec<&Case>, Vec<&Case>) = CASES
            .iter()
            .rev()
            .filter(|c| ground.fits(c) && c.4 == 412)
            .partition(|c| infos[c.0].method == Method::DELETE || c.0.ends_with("destroy"));
        for case in changes.into_iter().chain(removals) {
            let info = &infos[case.0];
            calls.push(Asked::of(info, &nobody, true, ground.send(case, info, &nobody, 0)));
            let answer = ground.send_anyway(case, info, admin);
            // What goes on behind it would decide how the next calls are answered.
            if let Some(job) = answer.json["jobId"].as_str() {
                job_ended(admin, job);
            }
            calls.push(Asked::of(info, admin, ground.root, answer));
        }
    }
    recorded::all(&calls, &server.admin, &tenant.admin);
    let done: BTreeSet<_> = calls.iter().filter(|c| c.status < 300).map(|c| c.action).collect();
    let tried: BTreeSet<_> = calls.iter().map(|c| c.action).collect();
    // These want another state before, or a confirmation; here they are refused, and that is recorded.
    let another = "backup_instance_download backup_instance_drill backup_instance_extract backup_instance_restore backup_instance_rotate_key backup_instance_verify domain_delete key_activate key_link_delete key_resume key_suspend key_undelete key_undestroy secret_destroy secret_undelete";
    assert_eq!(tried.difference(&done).copied().collect::<Vec<_>>().join(" "), another);
}

#[test]
fn no_endpoint_but_the_public_ones_answers_without_a_good_token() {
    let server = TestServer::start();
    let infos = infos();
    let ground = Ground::new(&server, &server.admin, "root");
    let login = json!({ "username": "admin", "password": PASSWORD });
    let revoked = server.nobody().post("/v1/auth/tokens", login).ok(200);
    let token = server.nobody().with_token(&text(&revoked, "jwt"));
    token.delete(&format!("/v1/auth/tokens/{}", text(&revoked, "refresh_token_id"))).ok(204);
    let expired = server.nobody().with_token(&server.admin.token());
    let mut wrong = Vec::new();
    let mut ask = |says: &str, client: &Client| {
        for case in CASES {
            let answer = ground.send(case, &infos[case.0], client, 0);
            let message = answer.json["message"].as_str().unwrap_or_default();
            let fits = match case.3 {
                Public => answer.status == case.4,
                _ => answer.status == 401 && answer.json["code"] == 5 && message.contains(says),
            };
            if !fits {
                wrong.push(format!("{says}: {answer}"));
            }
        }
    };
    ask("log in first", &server.nobody());
    ask("log in first", &server.nobody().with_token("rubbish"));
    ask("Token has been revoked", &token);
    server.advance(300);
    ask("Token is expired", &expired);
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn the_page_about_access_is_up_to_date() {
    let mut page = String::from(
        "# Who may do what\n\n\
         This page is made from the table in `crates/testkit/tests/it/access.rs`, which a test holds against every \
         endpoint, with every role, in the root domain and in another one.\n\n\
         A role is membership of the built-in group of that name, and counts in the domain of the group only. What a \
         caller may not see is answered with 404, as if it did not exist; what it may see but not do, with 403 and the \
         name of the action. The owner of a key may use and export it, and `meta.permissions` of a key gives single \
         operations with it to any group.\n\n\
         ## Rights of the roles\n\n\
         Rights marked with * exist in the root domain only.\n\n| right |",
    );
    for role in Role::ALL {
        page.push_str(&format!(" {} |", role.name()));
    }
    page.push_str("\n| --- |");
    page.push_str(&" --- |".repeat(Role::ALL.len()));
    page.push('\n');
    for (right, roles, root_only, _) in RIGHTS.iter().filter(|r| !matches!(r.0, Public | Authenticated)) {
        page.push_str(&format!("| {right:?}{} |", if *root_only { "*" } else { "" }));
        for role in Role::ALL {
            page.push_str(if roles.contains(&role) { " yes |" } else { " – |" });
        }
        page.push('\n');
    }
    page.push_str("\n## Endpoints\n\n| action | request | needs |\n| --- | --- | --- |\n");
    for info in keyark_api::list::endpoints() {
        let mut needs: Vec<String> = Vec::new();
        for right in CASES.iter().filter(|c| c.0 == info.id).flat_map(rights_of) {
            let word = match right {
                Public => "nothing".to_owned(),
                Authenticated => "any token".to_owned(),
                right => format!("{right:?}"),
            };
            if !needs.contains(&word) {
                needs.push(word);
            }
        }
        let by = if needs.len() > 1 { ", by what the request names" } else { "" };
        page.push_str(&format!(
            "| {} | {} {} | {}{by} |\n",
            info.id,
            info.method.as_str(),
            info.path,
            needs.join(" or ")
        ));
    }
    keyark_testkit::committed::compare("docs/access.md", &page);
}
