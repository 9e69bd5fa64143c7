//! Restores of a domain's data by others than it, or into another domain: who may, and what its ids become.

use keyark_api::ErrorCode;
use keyark_model::access::Role;
use keyark_testkit::TestServer;
use keyark_testkit::client::text;
use serde_json::{Value, json};

use crate::support::{
    backup_key, domain_with_key, download, exported, key_delete, key_names, lines, plan, restore, secret, secret_value,
    take_domain, take_system, upload, upload_key,
};

#[test]
fn a_deleted_domain_is_taken_by_root_out_of_a_system_backup_into_a_new_one() {
    let server = TestServer::start();
    let d = domain_with_key(&server, "d");
    d.admin.key(json!({ "name": "k" }));
    secret(&d.admin, "s", "k", "kept-value-1");
    let old = d.admin.encrypt("k", "kept");
    let other = domain_with_key(&server, "other");
    other.admin.key(json!({ "name": "not-yours" }));
    backup_key(&server.admin, "system");
    let backup = take_system(&server);
    let new = server.domain("d2");
    let rescue = json!({ "fromDomain": d.id, "intoDomain": "d2" });
    let asked = |more: Value| {
        let mut asked = rescue.clone();
        asked.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        plan(&server.admin, &backup, asked)
    };
    asked(json!({})).fails(ErrorCode::WrongScope, "its own restorers");
    server.admin.delete(&format!("/v1/domains/{}?force=true&confirm=d", d.id)).ok(204);
    asked(json!({ "intoDomain": other.id })).fails(ErrorCode::WrongScope, "not new");
    asked(json!({ "intoDomain": "root" })).fails(ErrorCode::WrongScope, "not new");
    asked(json!({ "intoDomain": "nowhere" })).fails(ErrorCode::NotFound, "not found");
    asked(json!({ "fromDomain": new.id })).fails(ErrorCode::WrongScope, "its own restorers");
    let unknown = "01890000-0000-7000-8000-000000000001";
    asked(json!({ "fromDomain": unknown })).fails(ErrorCode::NotFound, unknown);
    asked(json!({ "includeUsers": true })).fails(ErrorCode::InvalidParam, "not its users");
    asked(json!({ "mode": "exact" })).fails(ErrorCode::InvalidParam, "nothing is deleted");
    plan(&server.admin, &backup, json!({ "fromDomain": d.id })).fails(ErrorCode::InvalidParam, "together");
    // A domain's restorer has no business with what another one held.
    plan(&new.admin, &backup, rescue.clone()).fails(ErrorCode::WrongScope, "root");
    let planned = asked(json!({})).ok(200);
    assert!(
        planned["resources"].to_string().contains("\"k\"") && !planned.to_string().contains("not-yours"),
        "{planned}"
    );
    let mut options = rescue.clone();
    options["digest"] = planned["digest"].clone();
    restore(&server.admin, &backup, options);
    assert_eq!(new.admin.decrypt(&old), "kept");
    assert_eq!(secret_value(&new.admin, "s"), "kept-value-1");
    assert_eq!(key_names(&new.admin), ["k"]);
    asked(json!({})).fails(ErrorCode::WrongScope, "not new");
}

#[test]
fn out_of_a_system_archive_a_domain_comes_back_by_its_own_restorers_and_nowhere_else() {
    let server = TestServer::start();
    let (d, e) = (server.domain("d"), server.domain("e"));
    let key = text(&d.admin.key(json!({ "name": "k" })), "id");
    let old = d.admin.encrypt("k", "mine");
    server.admin.key(json!({ "name": "root-key" }));
    backup_key(&server.admin, "system");
    let backup = take_system(&server);
    key_delete(&d.admin, "k");
    // Root's administrators do not reach into the domain.
    let root = plan(&server.admin, &backup, json!({ "items": [format!("keys:{key}")] })).ok(200);
    assert_eq!(lines(&root, "create"), []);
    // Another domain gets nothing out of it.
    let theirs = plan(&e.admin, &backup, json!({ "items": [format!("keys:{key}")], "includeDeleted": true })).ok(200);
    assert_eq!(theirs["total"], 0, "{theirs}");
    e.admin.get(&format!("/v1/backups/{backup}")).fails(ErrorCode::NotFound, "");
    // Who may only take backups does not restore.
    let taker = server.as_user_of(&d, &[Role::DomainBackupAdmins]);
    assert_ne!(plan(&taker, &backup, json!({})).status, 200);
    let restorer = server.as_user_of(&d, &[Role::DomainRestoreAdmins]);
    restore(&restorer, &backup, json!({ "items": [format!("keys:{key}")], "includeDeleted": true }));
    assert_eq!(d.admin.decrypt(&old), "mine");
    assert_eq!(key_names(&e.admin), Vec::<String>::new());
}

#[test]
fn a_deleted_domain_comes_back_in_a_new_one() {
    let server = TestServer::start();
    let d = domain_with_key(&server, "d");
    d.admin.key(json!({ "name": "k" }));
    let old = d.admin.encrypt("k", "kept");
    let backup = take_domain(&server, &d.admin);
    server.admin.delete(&format!("/v1/domains/{}?force=true&confirm=d", d.id)).ok(204);
    // Its backup and its key are root's now, who cannot restore them into root.
    let left = server.admin.get(&format!("/v1/backups/{backup}")).ok(200);
    assert_eq!(left["status"], "Completed");
    plan(&server.admin, &backup, json!({})).fails(ErrorCode::WrongScope, "new domain");
    let file = exported(&server.admin, &text(&left, "backupKey"));
    let bytes = download(&server.admin, &backup);
    let new = server.domain("d2");
    new.admin.get(&format!("/v1/backups/{backup}")).fails(ErrorCode::NotFound, "");
    upload_key(&new.admin, &file).ok(201);
    assert_eq!(text(&upload(&new.admin, &bytes).ok(201), "id"), backup);
    restore(&new.admin, &backup, json!({}));
    assert_eq!(new.admin.decrypt(&old), "kept");
    server.admin.get(&format!("/v1/backups/{backup}")).fails(ErrorCode::NotFound, "");
}

#[test]
fn into_another_domain_of_the_same_system_ids_that_are_taken_get_new_ones() {
    let server = TestServer::start();
    let d = domain_with_key(&server, "d");
    let e = server.domain("e");
    let key = text(&d.admin.key(json!({ "name": "k" })), "id");
    secret(&d.admin, "s", "k", "shared-value-1");
    let old = d.admin.encrypt("k", "copied");
    let backup = take_domain(&server, &d.admin);
    let bytes = download(&d.admin, &backup);
    // Until it has the bytes and the key, the other domain knows nothing of them.
    e.admin.get(&format!("/v1/backups/{backup}")).fails(ErrorCode::NotFound, "");
    let key_id = text(&d.admin.get("/v1/backupkeys").ok(200)["resources"][0], "id");
    e.admin.get(&format!("/v1/backupkeys/{key_id}")).fails(ErrorCode::NotFound, "");
    let file = exported(&d.admin, &key_id);
    let shown = upload(&e.admin, &bytes).ok(201);
    assert_eq!(shown["domainID"], e.id.as_str(), "{shown}");
    plan(&e.admin, &backup, json!({})).fails(ErrorCode::BackupKeyMissing, "upload its file");
    let shown = upload_key(&e.admin, &file).ok(201);
    assert_eq!((&shown["domainID"], &shown["isDefault"]), (&Value::from(e.id.as_str()), &Value::from(false)));
    e.admin.post(&format!("/v1/backupkeys/{key_id}/default"), json!({})).fails(ErrorCode::Conflict, "to restore");
    let clash = plan(&e.admin, &backup, json!({})).ok(200);
    assert_eq!(lines(&clash, "refuse").len(), 2, "{clash}");
    restore(&e.admin, &backup, json!({ "conflict": "rename" }));
    let new = text(&e.admin.get("/v1/vault/keys2/k-restored").ok(200), "id");
    assert_ne!(new, key);
    let mut through_new = old;
    through_new["id"] = Value::from(new);
    assert_eq!(e.admin.decrypt(&through_new), "copied");
    assert_eq!(secret_value(&e.admin, "s-restored"), "shared-value-1");
    assert_eq!(key_names(&d.admin), ["k"]);
    // What one of them gives up is still the other's.
    d.admin.delete(&format!("/v1/backups/{backup}")).ok(204);
    d.admin.delete(&format!("/v1/backupkeys/{key_id}")).ok(204);
    d.admin.get(&format!("/v1/backups/{backup}")).fails(ErrorCode::NotFound, "");
    d.admin.get(&format!("/v1/backupkeys/{key_id}")).fails(ErrorCode::NotFound, "");
    plan(&e.admin, &backup, json!({ "conflict": "skip" })).ok(200);
    e.admin.delete(&format!("/v1/backups/{backup}")).ok(204);
    e.admin.get(&format!("/v1/backups/{backup}")).fails(ErrorCode::NotFound, "");
}
