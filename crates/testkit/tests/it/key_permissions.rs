//! Who may use a key besides the roles: groups by its permissions, its owner.

use keyark_api::ErrorCode;
use keyark_model::access::Role;
use keyark_testkit::client::base64;
use keyark_testkit::{Client, TestServer};
use serde_json::json;

use crate::keys::at;

#[test]
fn permissions_give_groups_single_operations() {
    let server = TestServer::start();
    server.admin.post("/v1/usermgmt/groups", json!({ "name": "Readers" })).ok(201);
    server.admin.post("/v1/usermgmt/groups", json!({ "name": "Writers" })).ok(201);
    let (reader, writer) = (server.as_member(&["Readers"]), server.as_member(&["Writers"]));
    let outsider = server.as_member(&[]);
    let permissions = json!({ "EncryptWithKey": ["Writers"], "DecryptWithKey": ["Readers"], "ExportKey": ["Readers"] });
    server.admin.key(json!({ "name": "shared", "meta": { "permissions": permissions } }));
    server.admin.key(json!({ "name": "private" }));
    let encrypt = |c: &Client, key: &str| c.post("/v1/crypto/encrypt", json!({ "id": key, "plaintext": base64("x") }));
    let made = encrypt(&writer, "shared").ok(200);
    encrypt(&reader, "shared").fails(ErrorCode::Forbidden, "encrypt");
    assert_eq!(reader.decrypt(&made), "x");
    writer.post("/v1/crypto/decrypt", made.clone()).fails(ErrorCode::Forbidden, "decrypt");
    reader.post(&format!("{}/export", at("shared")), json!({})).ok(200);
    writer.post(&format!("{}/export", at("shared")), json!({})).fails(ErrorCode::Forbidden, "key_export");
    for member in [&reader, &writer] {
        assert_eq!(member.get(&at("shared")).ok(200)["meta"]["permissions"], permissions);
        member.patch(&at("shared"), json!({ "description": "x" })).fails(ErrorCode::Forbidden, "key_update");
        member.get(&at("private")).fails(ErrorCode::NotFound, "not found");
        encrypt(member, "private").fails(ErrorCode::NotFound, "not found");
        member.get("/v1/vault/keys2").fails(ErrorCode::Forbidden, "key_list");
    }
    for key in ["shared", "private", "none"] {
        outsider.get(&at(key)).fails(ErrorCode::NotFound, &format!("{key:?} was not found"));
        encrypt(&outsider, key).fails(ErrorCode::NotFound, &format!("{key:?} was not found"));
    }
    // ReadKey shows a key and lends nothing else.
    let permissions = json!({ "ReadKey": ["Readers"] });
    server.admin.key(json!({ "name": "seen", "meta": { "permissions": permissions } }));
    assert_eq!(reader.get(&at("seen")).ok(200)["name"], "seen");
    encrypt(&reader, "seen").fails(ErrorCode::Forbidden, "encrypt");
    reader.post(&format!("{}/export", at("seen")), json!({})).fails(ErrorCode::Forbidden, "key_export");
    writer.get(&at("seen")).fails(ErrorCode::NotFound, "not found");
    // Taken away, it is gone at once.
    server.admin.patch(&at("shared"), json!({ "meta": { "permissions": {} } })).ok(200);
    encrypt(&writer, "shared").fails(ErrorCode::NotFound, "not found");
}

#[test]
fn an_owner_uses_its_key() {
    let server = TestServer::start();
    let owner = server.as_user(&[]);
    let other = server.as_user(&[]);
    server.admin.key(json!({ "name": "k", "meta": { "ownerId": owner.user_id } }));
    assert_eq!(owner.decrypt(&owner.encrypt("k", "x")), "x");
    assert_eq!(owner.get(&at("k")).ok(200)["meta"]["ownerId"], owner.user_id);
    other.get(&at("k")).fails(ErrorCode::NotFound, "not found");
    let admin = server.as_user(&[Role::KeyAdmins]);
    let own = admin.key(json!({ "assignSelfAsOwner": true }));
    assert_eq!(own["meta"]["ownerId"], admin.user_id);
}

#[test]
fn an_auditor_sees_keys_and_uses_none() {
    let server = TestServer::start();
    let auditor = server.as_user(&[Role::Auditors]);
    server.admin.key(json!({ "name": "k" }));
    auditor.get(&at("k")).ok(200);
    auditor.post("/v1/crypto/encrypt", json!({ "id": "k", "plaintext": "" })).fails(ErrorCode::Forbidden, "encrypt");
    auditor.post(&format!("{}/export", at("k")), json!({})).fails(ErrorCode::Forbidden, "key_export");
    auditor.delete(&at("k")).fails(ErrorCode::Forbidden, "key_delete");
}
