//! Users and groups in a restore: nobody comes back with a working password or with rights that the restorer could not give.

use keyark_model::access::Role;
use keyark_testkit::client::text;
use keyark_testkit::server::PASSWORD;
use keyark_testkit::{Client, TestServer};
use serde_json::{Value, json};

use crate::support::{backup_key, lines, plan, restore, take_domain};

fn user(by: &Client, name: &str) -> String {
    text(&by.post("/v1/usermgmt/users", json!({ "username": name, "password": PASSWORD })).ok(201), "user_id")
}

fn names(by: &Client) -> Vec<String> {
    let page = by.get("/v1/usermgmt/users?limit=-1").ok(200);
    page["resources"].as_array().unwrap().iter().map(|u| text(u, "username")).collect()
}

fn members(by: &Client, group: &str) -> Vec<Value> {
    let page = by.get(&format!("/v1/usermgmt/users?limit=-1&groups={group}"));
    match page.status {
        200 => page.json["resources"].as_array().cloned().unwrap_or_default(),
        _ => panic!("{page}"),
    }
}

#[test]
fn users_arrive_disabled_and_existing_people_and_groups_are_left_alone() {
    let server = TestServer::start();
    let d = server.domain("d");
    backup_key(&d.admin, "domain");
    let (gone, kept) = (user(&d.admin, "gone"), user(&d.admin, "kept"));
    d.admin.post("/v1/usermgmt/groups", json!({ "name": "Team" })).ok(201);
    d.admin.post(&format!("/v1/usermgmt/groups/Team/users/{gone}"), json!({})).ok(200);
    d.admin.post(&format!("/v1/usermgmt/groups/Key%20Admins/users/{gone}"), json!({})).ok(200);
    let backup = take_domain(&server, &d.admin);
    d.admin.delete(&format!("/v1/usermgmt/users/{gone}")).ok(204);
    d.admin.delete("/v1/usermgmt/groups/Team").ok(204);
    d.admin.patch(&format!("/v1/usermgmt/users/{kept}"), json!({ "name": "New Name" })).ok(200);

    let without = plan(&d.admin, &backup, json!({ "includeDeleted": true })).ok(200);
    assert!(lines(&without, "create").iter().all(|(kind, _)| kind != "users" && kind != "groups"), "{without}");

    let asked = json!({ "includeDeleted": true, "includeUsers": true, "conflict": "overwrite" });
    restore(&d.admin, &backup, asked);
    assert!(names(&d.admin).contains(&"gone".to_owned()));
    let login = |name: &str| json!({ "username": name, "password": PASSWORD, "auth_domain": "d" });
    assert_eq!(server.nobody().post("/v1/auth/tokens", login("gone")).status, 401, "arrives disabled");
    server.nobody().post("/v1/auth/tokens", login("kept")).ok(200);
    d.admin.get("/v1/usermgmt/groups/Team").ok(200);
    assert_eq!(members(&d.admin, "Team").len(), 1);
    assert!(members(&d.admin, "Key%20Admins").is_empty(), "existing groups keep their members");
}

#[test]
fn a_restorer_brings_back_no_group_that_he_may_not_grant() {
    let server = TestServer::start();
    let d = server.domain("d");
    backup_key(&d.admin, "domain");
    d.admin.post("/v1/usermgmt/groups", json!({ "name": "Team" })).ok(201);
    let backup = take_domain(&server, &d.admin);
    d.admin.delete("/v1/usermgmt/groups/Team").ok(204);
    let restorer = server.as_user_of(&d, &[Role::DomainRestoreAdmins]);
    let asked = json!({ "includeDeleted": true, "includeUsers": true });
    let planned = plan(&restorer, &backup, asked.clone()).ok(200);
    assert!(lines(&planned, "create").iter().all(|(kind, _)| kind != "groups"), "{planned}");
    restore(&restorer, &backup, asked);
    assert_eq!(d.admin.get("/v1/usermgmt/groups/Team").status, 404);
}

#[test]
fn a_user_who_was_disabled_stays_disabled() {
    let server = TestServer::start();
    let d = server.domain("d");
    backup_key(&d.admin, "domain");
    let id = user(&d.admin, "leaver");
    let backup = take_domain(&server, &d.admin);
    d.admin.patch(&format!("/v1/usermgmt/users/{id}"), json!({ "disabled": true })).ok(200);
    restore(&d.admin, &backup, json!({ "includeUsers": true, "conflict": "overwrite", "includeDeleted": true }));
    let login = json!({ "username": "leaver", "password": PASSWORD, "auth_domain": "d" });
    assert_eq!(server.nobody().post("/v1/auth/tokens", login).status, 401);
}
