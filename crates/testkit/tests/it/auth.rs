//! Logging in, refreshing, revoking, lockout, passwords.

use keyark_api::ErrorCode;
use keyark_model::access::Role;
use keyark_testkit::server::PASSWORD;
use keyark_testkit::{Client, TestServer};
use serde_json::{Value, json};

fn login(server: &TestServer, username: &str) -> Value {
    server.nobody().post("/v1/auth/tokens", json!({ "username": username, "password": PASSWORD })).ok(200)
}

fn text(value: &Value, field: &str) -> String {
    keyark_testkit::client::text(value, field)
}

fn refresh(server: &TestServer, token: &str) -> keyark_testkit::Answer {
    server.nobody().post("/v1/auth/tokens", json!({ "grant_type": "refresh_token", "refresh_token": token }))
}

fn username(client: &Client) -> String {
    text(&client.get("/v1/auth/self/user").ok(200), "username")
}

#[test]
fn a_login_answers_a_token_of_300_seconds_and_a_refresh_token() {
    let server = TestServer::start();
    let issued = login(&server, "ADMIN");
    assert_eq!(issued["duration"], 300);
    assert_eq!(issued["token_type"], "Bearer");
    assert_eq!(issued["refresh_token_expires_in"], 1800);
    assert!(issued.get("password_change_required").is_none());
    let claims = text(&issued, "jwt");
    let claims = claims.split('.').nth(1).unwrap();
    let claims: Value = serde_json::from_slice(&base64_simd::URL_SAFE_NO_PAD.decode_to_vec(claims).unwrap()).unwrap();
    assert_eq!(claims["aud"], "keyark");
    let core = server.app().core().unwrap();
    assert_eq!(claims["iss"], core.incarnation.to_string());
    assert_eq!(claims["cust"]["domain_id"], "00000000-0000-0000-0000-000000000000", "{claims}");
    assert_eq!(claims["exp"].as_i64().unwrap() - claims["iat"].as_i64().unwrap(), 300);
    assert_eq!(claims["cust"]["groups"], json!(["admin"]));
    let me = server.nobody().with_token(&text(&issued, "jwt"));
    assert_eq!(username(&me), "admin");
    let own = me.get("/v1/auth/self/domains").ok(200);
    assert_eq!(own["resources"][0]["name"], "root");
    let without = json!({ "username": "admin", "password": PASSWORD, "issue_refresh_token": false });
    assert!(server.nobody().post("/v1/auth/tokens", without).ok(200).get("refresh_token").is_none());
}

#[test]
fn what_a_login_refuses() {
    let server = TestServer::start();
    let post = |body: Value| server.nobody().post("/v1/auth/tokens", body);
    for unknown in [
        json!({ "username": "admin", "password": "wrong password" }),
        json!({ "username": "nobody", "password": PASSWORD }),
    ] {
        post(unknown).fails(ErrorCode::Unauthorized, "the user name or the password is wrong");
    }
    for elsewhere in ["domain", "auth_domain"] {
        let mut body = json!({ "username": "admin", "password": PASSWORD });
        body[elsewhere] = "no such domain".into();
        post(body).fails(ErrorCode::Unauthorized, "wrong");
    }
    post(json!({ "username": "admin" })).fails(ErrorCode::InvalidParam, "password is missing");
    post(json!({ "password": PASSWORD })).fails(ErrorCode::InvalidParam, "username is missing");
    post(json!({ "grant_type": "client_credential" })).fails(ErrorCode::InvalidParam, "grant_type");
    post(json!({ "grant_type": "refresh_token" })).fails(ErrorCode::InvalidParam, "refresh_token is missing");
    let ldap = json!({ "username": "admin", "password": PASSWORD, "connection": "ldap" });
    post(ldap).fails(ErrorCode::InvalidParam, "local_account");
    let long = json!({ "username": "admin", "password": PASSWORD, "refresh_token_lifetime": 43_201 });
    post(long).fails(ErrorCode::InvalidParam, "43200");
}

/// Everything that lies in the store's files.
fn store_bytes(server: &TestServer) -> Vec<u8> {
    let files = std::fs::read_dir(server.app().folder.path()).unwrap().map(|file| file.unwrap().path());
    let of_store = files.filter(|path| path.file_name().unwrap().to_string_lossy().starts_with("store.db"));
    of_store.flat_map(|path| std::fs::read(path).unwrap()).collect()
}

fn holds(bytes: &[u8], text: &str) -> bool {
    bytes.windows(text.len()).any(|window| window == text.as_bytes())
}

#[test]
fn a_refresh_rotates_and_a_second_use_revokes_the_family() {
    let server = TestServer::start();
    let first = login(&server, "admin");
    let second = refresh(&server, &text(&first, "refresh_token")).ok(200);
    assert_ne!(first["refresh_token"], second["refresh_token"]);
    let token = text(&second, "refresh_token");
    let (family, secret) = token.split_once('.').unwrap();
    assert_eq!(family, text(&second, "refresh_token_id"));
    assert_eq!(base64_simd::URL_SAFE_NO_PAD.decode_to_vec(secret).unwrap().len(), 32, "256 random bits");
    // The store has the hash of the token and not the token.
    let stored = store_bytes(&server);
    let hash = keyark_crypto::hash::sha256(&[token.as_bytes()]).to_string();
    assert!(holds(&stored, &hash) && !holds(&stored, secret));
    assert_eq!(first["refresh_token_id"], second["refresh_token_id"]);
    let me = server.nobody().with_token(&text(&second, "jwt"));
    me.get("/v1/auth/self/user").ok(200);
    refresh(&server, &text(&first, "refresh_token")).fails(ErrorCode::Unauthorized, "refresh token");
    refresh(&server, &text(&second, "refresh_token")).fails(ErrorCode::Unauthorized, "refresh token");
    me.get("/v1/auth/self/user").fails(ErrorCode::Unauthorized, "Token has been revoked");
    refresh(&server, "rubbish").fails(ErrorCode::Unauthorized, "refresh token");
}

#[test]
fn refresh_tokens_end_with_their_life_or_when_unused() {
    let server = TestServer::start();
    let post = |body: Value| server.nobody().post("/v1/auth/tokens", body).ok(200);
    let short = post(json!({ "username": "admin", "password": PASSWORD, "refresh_token_lifetime": 10 }));
    let unused = post(json!({ "username": "admin", "password": PASSWORD, "refresh_token_revoke_unused_in": 5 }));
    assert_eq!(short["refresh_token_expires_in"], 600);
    server.advance(299);
    let short = refresh(&server, &text(&short, "refresh_token")).ok(200);
    assert_eq!(short["refresh_token_expires_in"], 301, "a refresh does not lengthen a life");
    server.advance(1);
    refresh(&server, &text(&unused, "refresh_token")).fails(ErrorCode::Unauthorized, "refresh token");
    server.advance(300);
    refresh(&server, &text(&short, "refresh_token")).fails(ErrorCode::Unauthorized, "refresh token");
}

#[test]
fn labels_of_a_token_are_shown_and_kept_over_a_refresh() {
    let server = TestServer::start();
    let body = json!({ "username": "admin", "password": PASSWORD, "labels": ["laptop", "ci"],
        "refresh_token_lifetime": 20, "refresh_token_revoke_unused_in": 7 });
    let issued = server.nobody().post("/v1/auth/tokens", body).ok(200);
    let family = text(&issued, "refresh_token_id");
    let shown = || server.admin.get(&format!("/v1/auth/tokens/{family}")).ok(200);
    assert_eq!(shown()["labels"], json!(["laptop", "ci"]));
    let listed = server.admin.get("/v1/auth/tokens?limit=-1").ok(200);
    let of = listed["resources"].as_array().unwrap().iter().find(|t| t["id"] == family.as_str()).unwrap();
    assert_eq!(of["labels"], json!(["laptop", "ci"]));
    refresh(&server, &text(&issued, "refresh_token")).ok(200);
    assert_eq!(shown()["labels"], json!(["laptop", "ci"]));
}

#[test]
fn expired_and_revoked_tokens_say_which() {
    let server = TestServer::start();
    let issued = login(&server, "admin");
    let me = server.nobody().with_token(&text(&issued, "jwt"));
    server.advance(299);
    me.get("/v1/auth/self/user").ok(200);
    server.advance(1);
    let expired = me.get("/v1/auth/self/user");
    expired.fails(ErrorCode::Unauthorized, "Token is expired");
    assert_eq!(expired.header("www-authenticate"), "Bearer");

    let issued = login(&server, "admin");
    let me = server.nobody().with_token(&text(&issued, "jwt"));
    let family = text(&issued, "refresh_token_id");
    assert_eq!(me.get(&format!("/v1/auth/tokens/{family}")).ok(200)["revoked"], false);
    me.delete(&format!("/v1/auth/tokens/{family}")).ok(204);
    me.get("/v1/auth/self/user").fails(ErrorCode::Unauthorized, "Token has been revoked");
    server.nobody().with_token("a.b.c").get("/v1/auth/self/user").fails(ErrorCode::Unauthorized, "log in");
    server.nobody().get("/v1/auth/self/user").fails(ErrorCode::Unauthorized, "log in");
}

#[test]
fn a_token_of_another_system_or_algorithm_is_worth_nothing() {
    let (one, other) = (TestServer::start(), TestServer::start());
    let foreign = one.nobody().with_token(&other.admin.token());
    foreign.get("/v1/auth/self/user").fails(ErrorCode::Unauthorized, "log in");
    let token = one.admin.token();
    let (_, rest) = token.split_once('.').unwrap();
    let (payload, _) = rest.split_once('.').unwrap();
    let none = base64_simd::URL_SAFE_NO_PAD.encode_to_string(br#"{"alg":"none","typ":"JWT"}"#);
    for forged in [format!("{none}.{payload}."), format!("{}x", token), format!("{none}.{rest}")] {
        one.nobody().with_token(&forged).get("/v1/auth/self/user").fails(ErrorCode::Unauthorized, "log in");
    }
}

#[test]
fn everybody_sees_and_revokes_only_their_own_tokens() {
    let server = TestServer::start();
    let user = server.as_user(&[Role::Admin]);
    let other = login(&server, "admin");
    let path = format!("/v1/auth/tokens/{}", text(&other, "refresh_token_id"));
    user.get(&path).fails(ErrorCode::NotFound, "not found");
    user.delete(&path).fails(ErrorCode::NotFound, "not found");
    let listed = user.get("/v1/auth/tokens?limit=-1").ok(200);
    assert!(listed["total"].as_u64().unwrap() >= 1);
    for token in listed["resources"].as_array().unwrap() {
        assert_eq!(text(token, "userId"), user.user_id);
    }
    refresh(&server, &text(&other, "refresh_token")).ok(200);
}

#[test]
fn failed_attempts_are_delayed_and_the_delay_ends() {
    let server = TestServer::start();
    let user = server.as_user(&[]);
    let name = username(&user);
    let try_with =
        |password: &str| server.nobody().post("/v1/auth/tokens", json!({ "username": name, "password": password }));
    for _ in 0..5 {
        try_with("wrong password").fails(ErrorCode::Unauthorized, "wrong");
    }
    let locked = try_with(PASSWORD);
    locked.fails(ErrorCode::TooManyAttempts, "wait");
    let seconds: i64 = locked.header("retry-after").parse().unwrap();
    assert!((1..=5).contains(&seconds), "{locked}");
    let unknown = server.nobody().post("/v1/auth/tokens", json!({ "username": "else", "password": PASSWORD }));
    unknown.fails(ErrorCode::Unauthorized, "wrong");
    let seen = server.admin.get(&format!("/v1/usermgmt/users/{}", user.user_id)).ok(200);
    assert_eq!(seen["failed_logins_count"], 5);
    assert!(seen["account_lockout_at"].is_string());
    server.advance(seconds);
    try_with(PASSWORD).ok(200);
    let seen = server.admin.get(&format!("/v1/usermgmt/users/{}", user.user_id)).ok(200);
    assert_eq!(seen["failed_logins_count"], 0);
}

#[test]
fn an_administrator_lifts_a_lockout() {
    let server = TestServer::start();
    let user = server.as_user(&[]);
    let name = username(&user);
    let try_with =
        |password: &str| server.nobody().post("/v1/auth/tokens", json!({ "username": name, "password": password }));
    for _ in 0..5 {
        try_with("wrong password");
    }
    try_with(PASSWORD).fails(ErrorCode::TooManyAttempts, "wait");
    server.admin.patch(&format!("/v1/usermgmt/users/{}", user.user_id), json!({ "locked": false })).ok(200);
    try_with(PASSWORD).ok(200);
}

#[test]
fn changing_a_password_ends_every_session_of_its_user() {
    let server = TestServer::start();
    let user = server.as_user(&[]);
    let name = username(&user);
    let issued = login(&server, &name);
    let change = |old: &str, new: &str| {
        let body = json!({ "username": name, "password": old, "new_password": new });
        server.nobody().patch("/v1/auth/changepw", body)
    };
    change(PASSWORD, "short").fails(ErrorCode::InvalidParam, "8 to 1024");
    change(PASSWORD, PASSWORD).fails(ErrorCode::InvalidParam, "equals the old one");
    change("wrong password", "a new password").fails(ErrorCode::Unauthorized, "wrong");
    user.get("/v1/auth/self/user").ok(200);
    change(PASSWORD, "a new password").ok(204);
    user.get("/v1/auth/self/user").fails(ErrorCode::Unauthorized, "Token has been revoked");
    refresh(&server, &text(&issued, "refresh_token")).fails(ErrorCode::Unauthorized, "refresh token");
    let old = json!({ "username": name, "password": PASSWORD });
    server.nobody().post("/v1/auth/tokens", old).fails(ErrorCode::Unauthorized, "wrong");
    server.nobody().post("/v1/auth/tokens", json!({ "username": name, "password": "a new password" })).ok(200);
}

#[test]
fn the_first_password_changes_itself_and_nothing_else() {
    let server = TestServer::unclaimed();
    let first = server.first_password.clone();
    assert_eq!(first.len(), 4 * 8 + 3, "128 bits in four groups");
    let nobody = server.nobody();
    let issued = nobody.post("/v1/auth/tokens", json!({ "username": "admin", "password": first })).ok(200);
    assert_eq!(issued["password_change_required"], true);
    assert!(issued.get("refresh_token").is_none());
    let early = nobody.with_token(&text(&issued, "jwt"));
    early.get("/v1/auth/self/user").fails(ErrorCode::PasswordChangeRequired, "change the password first");
    early.get("/v1/vault/keys2").fails(ErrorCode::PasswordChangeRequired, "change the password first");
    early.post("/v1/vault/keys2", json!({})).fails(ErrorCode::PasswordChangeRequired, "changepw");
    let change = json!({ "username": "admin", "password": first, "new_password": PASSWORD });
    nobody.patch("/v1/auth/changepw", change).ok(204);
    nobody
        .post("/v1/auth/tokens", json!({ "username": "admin", "password": first }))
        .fails(ErrorCode::Unauthorized, "");
    login(&server, "admin");
}

#[test]
fn the_first_password_is_good_for_24_hours() {
    let server = TestServer::unclaimed();
    let first = server.first_password.clone();
    server.advance(24 * 3600 - 1);
    server.nobody().post("/v1/auth/tokens", json!({ "username": "admin", "password": first })).ok(200);
    server.advance(1);
    let late = server.nobody().post("/v1/auth/tokens", json!({ "username": "admin", "password": first }));
    late.fails(ErrorCode::Unauthorized, "expired");
    let change = json!({ "username": "admin", "password": first, "new_password": PASSWORD });
    server.nobody().patch("/v1/auth/changepw", change).fails(ErrorCode::Unauthorized, "expired");
}

#[test]
fn a_disabled_or_deleted_user_is_out_at_once() {
    let server = TestServer::start();
    let (disabled, deleted) = (server.as_user(&[Role::KeyAdmins]), server.as_user(&[Role::KeyAdmins]));
    let name = username(&disabled);
    server.admin.patch(&format!("/v1/usermgmt/users/{}", disabled.user_id), json!({ "disabled": true })).ok(200);
    server.admin.delete(&format!("/v1/usermgmt/users/{}", deleted.user_id)).ok(204);
    for gone in [&disabled, &deleted] {
        gone.get("/v1/vault/keys2").fails(ErrorCode::Unauthorized, "Token has been revoked");
    }
    let again = json!({ "username": name, "password": PASSWORD });
    server.nobody().post("/v1/auth/tokens", again).fails(ErrorCode::Unauthorized, "wrong");
}

#[test]
fn an_account_ends_at_its_time_and_comes_back_when_that_is_lifted() {
    let server = TestServer::start();
    let guest = server.as_user(&[Role::KeyAdmins]);
    let path = format!("/v1/usermgmt/users/{}", guest.user_id);
    let until = server.now().plus_seconds(120).to_string();
    assert_eq!(server.admin.patch(&path, json!({ "expires_at": until })).ok(200)["expires_at"], until.as_str());
    server.admin.patch(&path, json!({ "expires_at": "tomorrow" })).fails(ErrorCode::InvalidParam, "RFC 3339");
    guest.renew();
    server.advance(119);
    guest.get("/v1/vault/keys2").ok(200);
    server.advance(1);
    guest.get("/v1/vault/keys2").fails(ErrorCode::Unauthorized, "");
    let again = json!({ "username": username_of(&server, &path), "password": PASSWORD });
    server.nobody().post("/v1/auth/tokens", again).fails(ErrorCode::Unauthorized, "wrong");
    assert_eq!(server.admin.patch(&path, json!({ "nickname": "g" })).ok(200)["expires_at"], until.as_str());
    assert!(server.admin.patch(&path, json!({ "expires_at": "" })).ok(200).get("expires_at").is_none());
    guest.renew();
    guest.get("/v1/vault/keys2").ok(200);
    // Nobody sets a day on which no administrator is left.
    let own = format!("/v1/usermgmt/users/{}", server.admin.user_id);
    server.admin.patch(&own, json!({ "expires_at": until })).fails(ErrorCode::LastAdmin, "last member");
    let second = server.as_user(&[Role::Admin]);
    server.admin.patch(&format!("/v1/usermgmt/users/{}", second.user_id), json!({ "expires_at": until })).ok(200);
    server.admin.patch(&own, json!({ "disabled": true })).fails(ErrorCode::LastAdmin, "last member");
}

fn username_of(server: &TestServer, path: &str) -> String {
    text(&server.admin.get(path).ok(200), "username")
}

#[test]
fn a_weak_verifier_is_made_anew_at_a_login_and_unknown_users_cost_the_same() {
    use argon2::{Algorithm, Argon2, Params, PasswordHasher, Version};
    use keyark_model::{DomainId, people::UserHeader};
    let server = TestServer::start();
    let user = server.as_user(&[]);
    let name = username(&user);
    let core = server.app().core().unwrap();
    let load = || core.load_named::<UserHeader>(DomainId::ROOT, &name).unwrap();
    let verifier = || String::from_utf8(core.open_body(&load()).unwrap().expose().clone()).unwrap();
    let weak = Argon2::new(Algorithm::Argon2id, Version::V0x13, Params::new(4096, 1, 1, None).unwrap());
    let weak = weak.hash_password_with_salt(PASSWORD.as_bytes(), b"somesaltsomesalt").unwrap().to_string();
    let stored = load();
    let id = stored.id();
    let write = core.put(DomainId::ROOT, id, stored.revision() + 1, &stored.header, weak.as_bytes()).unwrap();
    core.commit_as_system(server.now(), DomainId::ROOT, "test", vec![], vec![write]).unwrap();
    let login = |name: &str, password: &str| {
        let runs = server.app().argon_runs();
        let answer = server.nobody().post("/v1/auth/tokens", json!({ "username": name, "password": password }));
        (answer.status, server.app().argon_runs() - runs)
    };
    assert_eq!(login(&name, "wrong password"), (401, 1));
    assert_eq!(verifier(), weak, "a wrong password changes nothing");
    assert_eq!(login(&name, PASSWORD), (200, 1));
    let strong = verifier();
    assert!(!keyark_crypto::password::is_outdated(&strong) && strong != weak, "{strong}");
    assert_eq!(login(&name, PASSWORD), (200, 1));
    assert_eq!(verifier(), strong, "a strong one stays");
    assert_eq!(login("nobody-of-this-name", PASSWORD), (401, 1), "an unknown user costs what a known one costs");
}

#[test]
fn a_user_works_in_its_own_domain_or_where_a_group_has_it() {
    let server = TestServer::start();
    let domain = server.domain("tenant");
    let visitor = server.as_user(&[]);
    let name = username(&visitor);
    let there = json!({ "username": name, "password": PASSWORD, "domain": "tenant" });
    server
        .nobody()
        .post("/v1/auth/tokens", there.clone())
        .fails(ErrorCode::Unauthorized, "may not work in this domain");
    domain.admin.post(&format!("/v1/usermgmt/groups/Key%20Users/users/{}", visitor.user_id), json!({})).ok(200);
    let inside = server.nobody().log_in(there);
    inside.get("/v1/vault/keys2").ok(200);
    assert_eq!(visitor.get("/v1/auth/self/domains").ok(200)["total"], 2);
    // Out of the group, out of the domain, though the token lives on.
    domain.admin.delete(&format!("/v1/usermgmt/groups/Key%20Users/users/{}", visitor.user_id)).ok(204);
    inside.get("/v1/vault/keys2").fails(ErrorCode::Unauthorized, "Token has been revoked");
    let inward = json!({ "username": "tenant-admin", "password": PASSWORD, "auth_domain": "tenant", "domain": "root" });
    server.nobody().post("/v1/auth/tokens", inward).fails(ErrorCode::Unauthorized, "may not work");
}
