//! Users and groups: who may be made, changed, taken out.

use keyark_api::ErrorCode;
use keyark_model::access::Role;
use keyark_testkit::server::PASSWORD;
use keyark_testkit::{Client, TestServer};
use serde_json::{Value, json};

fn names(page: &Value, field: &str) -> Vec<String> {
    page["resources"].as_array().unwrap().iter().map(|r| r[field].as_str().unwrap().to_owned()).collect()
}

fn user(by: &Client, username: &str) -> Value {
    by.post("/v1/usermgmt/users", json!({ "username": username, "password": PASSWORD })).ok(201)
}

fn path(user: &Value) -> String {
    format!("/v1/usermgmt/users/{}", user["user_id"].as_str().unwrap())
}

fn member(group: &str, user_id: &str) -> String {
    format!("/v1/usermgmt/groups/{}/users/{user_id}", group.replace(' ', "%20"))
}

#[test]
fn login_flags_are_kept() {
    let server = TestServer::start();
    let flags = |set: bool| json!({ "prevent_ui_login": set });
    let body = json!({ "username": "robot", "password": PASSWORD, "login_flags": flags(true) });
    let made = server.admin.post("/v1/usermgmt/users", body).ok(201);
    assert_eq!(made["login_flags"], flags(true));
    let path = format!("/v1/usermgmt/users/{}", made["user_id"].as_str().unwrap());
    assert_eq!(server.admin.patch(&path, json!({ "nickname": "r" })).ok(200)["login_flags"], flags(true));
    assert_eq!(server.admin.patch(&path, json!({ "login_flags": {} })).ok(200)["login_flags"], flags(false));
    let unknown = json!({ "login_flags": { "prevent_fun": true } });
    server.admin.patch(&path, unknown).fails(ErrorCode::BadRequest, "prevent_fun");
}

#[test]
fn a_user_is_made_shown_changed_and_deleted() {
    let server = TestServer::start();
    let made = server.admin.post(
        "/v1/usermgmt/users/",
        json!({ "username": "Ada", "password": PASSWORD, "nickname": "countess", "user_metadata": { "team": "engines" } }),
    );
    assert_eq!(made.header("etag"), "\"1\"");
    let made = made.ok(201);
    assert!(made["user_id"].as_str().unwrap().starts_with("local|"));
    assert_eq!(
        (&made["name"], &made["email"], &made["nickname"]),
        (&json!("Ada"), &json!("Ada@local"), &json!("countess"))
    );
    assert_eq!(made["user_metadata"], json!({ "team": "engines" }));
    let fields: std::collections::BTreeSet<&str> = made.as_object().unwrap().keys().map(String::as_str).collect();
    let expected = [
        "created_at",
        "disabled",
        "email",
        "failed_logins_count",
        "is_domain_user",
        "login_flags",
        "logins_count",
        "name",
        "nickname",
        "password_change_required",
        "password_changed_at",
        "updated_at",
        "user_id",
        "user_metadata",
        "username",
    ];
    assert_eq!(fields.into_iter().collect::<Vec<_>>(), expected);
    assert_eq!((&made["logins_count"], &made["failed_logins_count"]), (&json!(0), &json!(0)));
    assert_eq!((&made["is_domain_user"], &made["disabled"]), (&json!(false), &json!(false)));
    assert_eq!(made["password_changed_at"], "2026-01-01T00:00:00.000000000Z");
    server.nobody().log_in(json!({ "username": "ada", "password": PASSWORD }));
    let seen = server.admin.get(&path(&made)).ok(200);
    assert_eq!((&seen["logins_count"], &seen["last_login"]), (&json!(1), &json!("2026-01-01T00:00:00.000000000Z")));
    // A user name is for ever.
    let renamed = server.admin.patch(&path(&made), json!({ "username": "Countess" }));
    renamed.fails(ErrorCode::BadRequest, "username");
    assert_eq!(server.admin.get(&path(&made)).ok(200)["username"], "Ada");
    for secret in ["password", "verifier", "body"] {
        assert!(made.get(secret).is_none(), "{made}");
    }
    let bare = made["user_id"].as_str().unwrap().trim_start_matches("local|").to_owned();
    assert_eq!(server.admin.get(&format!("/v1/usermgmt/users/{bare}")).ok(200)["username"], "Ada");
    assert_eq!(server.admin.get(&path(&made).replace('|', "%7C")).ok(200)["username"], "Ada");
    server.advance(1);
    let change = json!({ "name": "Ada King", "email": "ada@example.org", "user_metadata": { "team": "poetry" } });
    let changed = server.admin.patch(&path(&made), change).ok(200);
    assert_eq!((&changed["name"], &changed["email"]), (&json!("Ada King"), &json!("ada@example.org")));
    assert_eq!(changed["user_metadata"], json!({ "team": "poetry" }));
    assert_ne!(changed["updated_at"], made["updated_at"]);
    assert_eq!(changed["created_at"], made["created_at"]);
    server.admin.delete(&path(&made)).ok(204);
    server.admin.get(&path(&made)).fails(ErrorCode::NotFound, "not found");
    server.admin.delete(&path(&made)).fails(ErrorCode::NotFound, "not found");
}

#[test]
fn names_are_unique_whatever_their_case() {
    let server = TestServer::start();
    let ada = user(&server.admin, "Ada");
    let again = server.admin.post("/v1/usermgmt/users", json!({ "username": "aDA", "password": PASSWORD }));
    again.fails(ErrorCode::AlreadyExists, "taken");
    let domain = server.domain("tenant");
    user(&domain.admin, "ada");
    server.admin.delete(&path(&ada)).ok(204);
    user(&server.admin, "ADA");
    server.admin.post("/v1/usermgmt/groups", json!({ "name": "Team" })).ok(201);
    let again = server.admin.post("/v1/usermgmt/groups", json!({ "name": "Team" }));
    again.fails(ErrorCode::AlreadyExists, "taken");
    let built_in = server.admin.post("/v1/usermgmt/groups", json!({ "name": "admin" }));
    built_in.fails(ErrorCode::AlreadyExists, "taken");
}

#[test]
fn names_and_passwords_follow_their_rules() {
    let server = TestServer::start();
    for bad in ["", "a/b", "a|b", "a\\b", "a<b", "a>b", "global", "GLOBAL", "a\nb", &"x".repeat(256)] {
        let made = server.admin.post("/v1/usermgmt/users", json!({ "username": bad, "password": PASSWORD }));
        made.fails(ErrorCode::InvalidParam, "user name");
        let made = server.admin.post("/v1/usermgmt/groups", json!({ "name": bad }));
        made.fails(ErrorCode::InvalidParam, "group name");
    }
    for bad in ["", "1234567", &"x".repeat(1025)] {
        let made = server.admin.post("/v1/usermgmt/users", json!({ "username": "ada", "password": bad }));
        made.fails(ErrorCode::InvalidParam, "8 to 1024");
    }
    for good in ["Zoë Ünïcode", "a b", &"x".repeat(255)] {
        user(&server.admin, good);
    }
}

#[test]
fn lists_are_filtered_and_paged() {
    let server = TestServer::start();
    for name in ["anna", "annika", "bert"] {
        user(&server.admin, name);
    }
    let list = |query: &str| server.admin.get(&format!("/v1/usermgmt/users?{query}")).ok(200);
    let all = list("limit=-1");
    assert_eq!(all["total"], 4);
    let mut found = names(&list("username=ANN*"), "username");
    found.sort();
    assert_eq!(found, ["anna", "annika"]);
    assert_eq!(names(&list("username=ann?"), "username"), ["anna"]);
    assert_eq!(names(&list("email=bert@*"), "username"), ["bert"]);
    assert_eq!(names(&list("groups=admin"), "username"), ["admin"]);
    let page = list("skip=1&limit=2");
    assert_eq!((&page["skip"], &page["limit"], &page["total"]), (&json!(1), &json!(2), &json!(4)));
    assert_eq!(names(&page, "username"), names(&all, "username")[1..3]);
    assert_eq!(list("username=nobody")["resources"], json!([]));
    let unknown = server.admin.get("/v1/usermgmt/users?usrname=anna");
    unknown.fails(ErrorCode::BadRequest, "usrname");
    let gone = server.admin.get("/v1/usermgmt/users?groups=none");
    gone.fails(ErrorCode::NotFound, "not found");
}

#[test]
fn a_password_set_by_somebody_else_must_be_changed_first() {
    let server = TestServer::start();
    let client = server.as_user(&[Role::KeyAdmins]);
    let at = format!("/v1/usermgmt/users/{}", client.user_id);
    let name = client.get("/v1/auth/self/user").ok(200)["username"].clone();
    let set = server.admin.patch(&at, json!({ "password": "set by an administrator" })).ok(200);
    assert_eq!(set["password_change_required"], true);
    let login = json!({ "username": name, "password": "set by an administrator" });
    let issued = server.nobody().post("/v1/auth/tokens", login).ok(200);
    assert_eq!(issued["password_change_required"], true);
    let early = server.nobody().with_token(issued["jwt"].as_str().unwrap());
    early.get("/v1/vault/keys2").fails(ErrorCode::PasswordChangeRequired, "change the password first");
    // Who had the old password is out too.
    let old = client.get("/v1/vault/keys2");
    assert!(old.status == 401 || old.status == 403, "{old}");
    let change =
        json!({ "username": name, "password": "set by an administrator", "new_password": "chosen by its user" });
    server.nobody().patch("/v1/auth/changepw", change).ok(204);
    server
        .nobody()
        .log_in(json!({ "username": name, "password": "chosen by its user" }))
        .get("/v1/vault/keys2")
        .ok(200);
}

#[test]
fn a_password_reset_ends_the_sessions_of_its_user() {
    let server = TestServer::start();
    let client = server.as_user(&[Role::KeyAdmins]);
    let name = client.get("/v1/auth/self/user").ok(200)["username"].clone();
    let issued = server.nobody().post("/v1/auth/tokens", json!({ "username": name, "password": PASSWORD })).ok(200);
    let at = format!("/v1/usermgmt/users/{}", client.user_id);
    let reset = json!({ "password": "set by an administrator", "password_change_required": false });
    server.admin.patch(&at, reset).ok(200);
    client.get("/v1/vault/keys2").fails(ErrorCode::Unauthorized, "Token has been revoked");
    let refresh = json!({ "refresh_token": issued["refresh_token"] });
    server.nobody().post("/v1/auth/tokens", refresh).fails(ErrorCode::Unauthorized, "refresh token");
}

#[test]
fn enabling_a_disabled_user_does_not_revive_its_sessions() {
    let server = TestServer::start();
    let client = server.as_user(&[Role::KeyAdmins]);
    let at = format!("/v1/usermgmt/users/{}", client.user_id);
    server.admin.patch(&at, json!({ "disabled": true })).ok(200);
    client.get("/v1/vault/keys2").fails(ErrorCode::Unauthorized, "Token has been revoked");
    server.admin.patch(&at, json!({ "disabled": false })).ok(200);
    client.get("/v1/vault/keys2").fails(ErrorCode::Unauthorized, "Token has been revoked");
    client.renew();
    client.get("/v1/vault/keys2").ok(200);
}

#[test]
fn the_last_admin_stays() {
    let server = TestServer::start();
    let me = server.admin.user_id.clone();
    let at = format!("/v1/usermgmt/users/{me}");
    server.admin.delete(&at).fails(ErrorCode::LastAdmin, "last member");
    server.admin.patch(&at, json!({ "disabled": true })).fails(ErrorCode::LastAdmin, "last member");
    server.admin.delete(&member("admin", &me)).fails(ErrorCode::LastAdmin, "last member");
    let second = server.as_user(&[Role::Admin]);
    server.admin.patch(&format!("/v1/usermgmt/users/{}", second.user_id), json!({ "disabled": true })).ok(200);
    // A disabled one does not count.
    server.admin.delete(&member("admin", &me)).fails(ErrorCode::LastAdmin, "last member");
    server.admin.patch(&format!("/v1/usermgmt/users/{}", second.user_id), json!({ "disabled": false })).ok(200);
    second.renew();
    second.delete(&member("admin", &me)).ok(204);
    second.delete(&at).ok(204);
    second.delete(&member("admin", &second.user_id)).fails(ErrorCode::LastAdmin, "last member");
}

#[test]
fn two_admins_who_remove_each_other_leave_one() {
    let server = TestServer::start();
    let (one, two) = (server.as_user(&[Role::Admin]), server.as_user(&[Role::Admin]));
    let first = server.admin.user_id.clone();
    one.delete(&member("admin", &first)).ok(204);
    let mut done = Vec::new();
    std::thread::scope(|s| {
        let a = s.spawn(|| one.delete(&member("admin", &two.user_id)).status);
        let b = s.spawn(|| two.delete(&member("admin", &one.user_id)).status);
        done.extend([a.join().unwrap(), b.join().unwrap()]);
    });
    // One of them was first; the other one is refused, as a conflict, as the last admin, or as an admin no more.
    assert_eq!(done.iter().filter(|s| **s == 204).count(), 1, "{done:?}");
    assert!(done.iter().all(|s| [204, 403, 404, 409].contains(s)), "{done:?}");
}

#[test]
fn two_admins_who_disable_each_other_leave_one() {
    for _ in 0..4 {
        let server = TestServer::start();
        let (one, two) = (server.as_user(&[Role::Admin]), server.as_user(&[Role::Admin]));
        one.delete(&member("admin", &server.admin.user_id)).ok(204);
        let disable = |by: &Client, whom: &Client| {
            by.patch(&format!("/v1/usermgmt/users/{}", whom.user_id), json!({ "disabled": true })).status
        };
        let both = std::thread::scope(|s| {
            let (a, b) = (s.spawn(|| disable(&one, &two)), s.spawn(|| disable(&two, &one)));
            [a.join().unwrap(), b.join().unwrap()]
        });
        assert_eq!(both.iter().filter(|s| **s == 200).count(), 1, "{both:?}");
    }
}

#[test]
fn nobody_grants_what_they_could_not_take() {
    let server = TestServer::start();
    let keeper = server.as_user(&[Role::UserAdmins]);
    let domain_admin = server.as_user(&[Role::DomainAdmins]);
    let target = user(&server.admin, "target");
    let id = target["user_id"].as_str().unwrap();
    keeper.post(&member("Key Users", id), json!({})).ok(200);
    keeper.delete(&member("Key Users", id)).ok(204);
    keeper.post("/v1/usermgmt/groups", json!({ "name": "Team" })).ok(201);
    keeper.post(&member("Team", id), json!({})).ok(200);
    for role in Role::ALL.into_iter().filter(|r| *r != Role::KeyUsers) {
        keeper.post(&member(role.name(), id), json!({})).fails(ErrorCode::Forbidden, role.name());
        keeper.delete(&member(role.name(), id)).fails(ErrorCode::Forbidden, role.name());
    }
    domain_admin.post(&member("Restore Admins", id), json!({})).ok(200);
    domain_admin.post(&member("admin", id), json!({})).fails(ErrorCode::Forbidden, "admin");
    // Nor by way of somebody who has more: a new password for an admin would be a way in.
    for body in [json!({ "password": "mine from now on" }), json!({ "disabled": true }), json!({ "name": "x" })] {
        keeper.patch(&path(&target), body.clone()).fails(ErrorCode::Forbidden, "may not give");
        let admin = format!("/v1/usermgmt/users/{}", server.admin.user_id);
        domain_admin.patch(&admin, body).fails(ErrorCode::Forbidden, "may not give");
    }
    keeper.delete(&path(&target)).fails(ErrorCode::Forbidden, "may not give");
}

#[test]
fn groups_have_members_and_built_in_ones_stay() {
    let server = TestServer::start();
    let ada = user(&server.admin, "ada");
    let id = ada["user_id"].as_str().unwrap();
    let listed = server.admin.get("/v1/usermgmt/groups?limit=-1").ok(200);
    let mut built_in = names(&listed, "name");
    built_in.sort();
    let mut expected: Vec<_> = Role::ALL.iter().map(|r| r.name().to_owned()).collect();
    expected.sort();
    assert_eq!(built_in, expected);
    let team = server.admin.post("/v1/usermgmt/groups", json!({ "name": "Team", "description": "d" })).ok(201);
    assert_eq!((&team["built_in"], &team["users_count"]), (&json!(false), &json!(0)));
    for _ in 0..2 {
        let team = server.admin.post(&member("Team", id), json!({})).ok(200);
        assert_eq!((&team["users"], &team["users_count"]), (&json!([id]), &json!(1)));
    }
    assert_eq!(server.admin.get(&path(&ada)).ok(200)["groups"], json!(["Team"]));
    assert_eq!(names(&server.admin.get("/v1/usermgmt/groups/Team/users").ok(200), "username"), ["ada"]);
    assert_eq!(names(&server.admin.get(&format!("/v1/usermgmt/groups?users={id}")).ok(200), "name"), ["Team"]);
    assert_eq!(names(&server.admin.get("/v1/usermgmt/groups?name=T*").ok(200), "name"), ["Team"]);
    let changed = server.admin.patch("/v1/usermgmt/groups/Team", json!({ "description": "e" })).ok(200);
    assert_eq!(changed["description"], "e");
    // A deleted user is in no group any more.
    server.admin.delete(&path(&ada)).ok(204);
    assert_eq!(server.admin.get("/v1/usermgmt/groups/Team").ok(200)["users"], json!([]));
    server.admin.post(&member("Team", id), json!({})).fails(ErrorCode::NotFound, "not found");
    server.admin.delete("/v1/usermgmt/groups/Team").ok(204);
    server.admin.get("/v1/usermgmt/groups/Team").fails(ErrorCode::NotFound, "not found");
    for role in Role::ALL {
        let built_in = format!("/v1/usermgmt/groups/{}", role.name().replace(' ', "%20"));
        server.admin.delete(&built_in).fails(ErrorCode::Conflict, "built-in");
        server.admin.patch(&built_in, json!({ "name": "other" })).fails(ErrorCode::InvalidParam, "path");
    }
    let nobody = "/v1/usermgmt/groups/Key%20Users/users/local|00000000-0000-0000-0000-000000000001";
    server.admin.post(nobody, json!({})).fails(ErrorCode::NotFound, "not found");
}

#[test]
fn if_match_guards_users_and_groups() {
    let server = TestServer::start();
    let ada = user(&server.admin, "ada");
    let send = |method: &str, at: &str, tag: &str| server.admin.send(method, at, Some(b"{}"), &[("if-match", tag)]);
    send("PATCH", &path(&ada), "\"9\"").fails(ErrorCode::PreconditionFailed, "revision is 1");
    send("DELETE", &path(&ada), "\"9\"").fails(ErrorCode::PreconditionFailed, "revision is 1");
    assert_eq!(send("PATCH", &path(&ada), "\"1\"").header("etag"), "\"2\"");
    server.admin.post("/v1/usermgmt/groups", json!({ "name": "Team" })).ok(201);
    send("PATCH", "/v1/usermgmt/groups/Team", "\"9\"").fails(ErrorCode::PreconditionFailed, "revision is 1");
    send("DELETE", "/v1/usermgmt/groups/Team", "\"9\"").fails(ErrorCode::PreconditionFailed, "revision is 1");
    send("PATCH", "/v1/usermgmt/groups/Team", "rubbish").fails(ErrorCode::PreconditionFailed, "number in quotes");
    send("PATCH", "/v1/usermgmt/groups/Team", "*").ok(200);
}
