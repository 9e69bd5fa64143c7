//! What a manager asks: does it come back?

use keyark_testkit::TestServer;
use keyark_testkit::server::PASSWORD;
use serde_json::json;

use crate::support::{
    archive_path, backup_key, download, exported, key_delete, key_names, plan, recovery, restore, secret, secret_value,
    take_domain, take_system, upload, upload_key,
};

#[test]
fn a_lost_key_comes_back_and_opens_yesterdays_data() {
    let server = TestServer::start();
    let payments = server.domain("payments");
    let key = payments.admin.key(json!({ "name": "card-numbers" }));
    let yesterday = payments.admin.encrypt("card-numbers", "4000 0012 3456 7899");
    backup_key(&payments.admin, "domain");
    let backup = take_domain(&server, &payments.admin);

    server.advance_days(1);
    payments.admin.renew();
    key_delete(&payments.admin, "card-numbers");
    assert_eq!(payments.admin.post("/v1/crypto/decrypt", yesterday.clone()).status, 404);

    // Nobody brings back by accident what somebody deleted: the plan says that it stays away.
    let careful = plan(&payments.admin, &backup, json!({})).ok(200);
    assert_eq!(careful["negativeFacts"][0]["fact"], "deleted", "{careful}");
    let job = restore(&payments.admin, &backup, json!({}));
    assert_eq!(job["result"]["restored"], 0, "{job}");
    assert_eq!(payments.admin.post("/v1/crypto/decrypt", yesterday.clone()).status, 404);

    let item = format!("keys:{}", key["id"].as_str().unwrap());
    restore(&payments.admin, &backup, json!({ "items": [item], "includeDeleted": true }));
    assert_eq!(payments.admin.decrypt(&yesterday), "4000 0012 3456 7899");
}

#[test]
fn the_data_folder_burns_and_the_company_does_not() {
    let server = TestServer::start();
    let payments = server.domain("payments");
    payments.admin.key(json!({ "name": "card-numbers" }));
    server.admin.key(json!({ "name": "root-key" }));
    let old = payments.admin.encrypt("card-numbers", "yesterday");
    secret(&payments.admin, "db", "card-numbers", "hunter2hunter2");
    let system_key = backup_key(&server.admin, "system");
    let safe = exported(&server.admin, &system_key);
    let backup = take_system(&server);
    let elsewhere = tempfile::tempdir().unwrap();
    let archive = elsewhere.path().join("backup.keyark");
    std::fs::copy(archive_path(&server, &backup), &archive).unwrap();
    let info = server.admin.get("/v1/system/info").ok(200);
    drop(server);

    let data = elsewhere.path().join("new-machine");
    let recovered = recovery(&data, &archive, &safe).unwrap();
    assert!(!recovered.missing.is_empty() && !recovered.fingerprint.is_empty());
    let server = TestServer::start_again(&data);
    let login = json!({ "username": "payments-admin", "password": PASSWORD, "auth_domain": "payments" });
    let admin = server.admin.log_in(login);
    assert_eq!(admin.decrypt(&old), "yesterday");
    assert_eq!(secret_value(&admin, "db"), "hunter2hunter2");
    assert_eq!(key_names(&server.admin), ["root-key"]);
    let now = server.admin.get("/v1/system/info").ok(200);
    assert_eq!(now["system"], info["system"]);
    assert_ne!(now["incarnation"], info["incarnation"]);
    assert_ne!(now["anchor_fingerprint"], info["anchor_fingerprint"]);
    assert_eq!(now["outbound"], "suspended");
    let now = server.admin.post("/v1/system/activate", json!({ "confirm": "activate" })).ok(200);
    assert_eq!(now["outbound"], "active");
}

#[test]
fn restore_to_another_data_centre() {
    let north = TestServer::start();
    let tenant = north.domain("tenant");
    tenant.admin.key(json!({ "name": "k" }));
    let old = tenant.admin.encrypt("k", "moved");
    secret(&tenant.admin, "s", "k", "moved-too-123");
    let key = backup_key(&tenant.admin, "domain");
    let (archive, file) = {
        let backup = take_domain(&north, &tenant.admin);
        (download(&tenant.admin, &backup), exported(&tenant.admin, &key))
    };
    let south = TestServer::start();
    let other = south.domain("other");
    let backup = upload(&other.admin, &archive).ok(201)["id"].as_str().unwrap().to_owned();
    // Without the key nothing opens, and a signer that nobody pinned is believed only when named.
    plan(&other.admin, &backup, json!({})).fails(keyark_api::ErrorCode::BackupKeyMissing, "upload");
    upload_key(&other.admin, &file).ok(201);
    plan(&other.admin, &backup, json!({})).fails(keyark_api::ErrorCode::UnknownSigner, "");
    let facts = crate::support::send_file(&other.admin, "/v1/backups/inspect", &archive).ok(200);
    let signer = facts["signerKeyId"].as_str().unwrap();
    plan(&other.admin, &backup, json!({ "signer": "0".repeat(32) })).fails(keyark_api::ErrorCode::UnknownSigner, "");
    restore(&other.admin, &backup, json!({ "signer": signer }));
    assert_eq!(other.admin.decrypt(&old), "moved");
    assert_eq!(secret_value(&other.admin, "s"), "moved-too-123");
}
