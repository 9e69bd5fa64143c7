//! Domains: made, filled, kept apart, deleted.

use keyark_api::ErrorCode;
use keyark_model::access::Role;
use keyark_testkit::TestServer;
use keyark_testkit::server::PASSWORD;
use serde_json::{Value, json};

#[test]
fn a_domain_is_made_shown_changed_and_deleted() {
    let server = TestServer::start();
    let made = server
        .admin
        .post(
            "/v1/domains",
            json!({ "name": "sales", "description": "d", "meta": { "a": 1 },
            "parent_ca_id": "a-ca", "hsm_connection_id": "", "allow_user_management": true }),
        )
        .ok(201);
    assert_eq!(server.admin.get("/v1/domains/sales").ok(200)["parent_ca_id"], "a-ca");
    for anchored in ["hsm_connection_id", "hsm_kek_label"] {
        let body = json!({ "name": "anchored", anchored: "x" });
        server.admin.post("/v1/domains", body).fails(ErrorCode::InvalidParam, "not on offer");
    }
    assert_eq!(
        (&made["name"], &made["meta"]["a"], &made["allow_user_management"]),
        (&json!("sales"), &json!(1), &json!(true))
    );
    assert_eq!(made["usage"], json!({ "keys": 0, "secrets": 0 }));
    for field in ["id", "uri", "account", "application", "devAccount", "createdAt", "updatedAt"] {
        assert!(made[field].as_str().is_some_and(|text| !text.is_empty()), "{field} of {made}");
    }
    assert_eq!((&made["description"], &made["quotas"]), (&json!("d"), &json!({})));
    assert_eq!(made["createdAt"], "2026-01-01T00:00:00.000000000Z");
    let id = made["id"].as_str().unwrap();
    for named in ["sales", id] {
        assert_eq!(server.admin.get(&format!("/v1/domains/{named}")).ok(200)["id"], made["id"]);
    }
    let changed = server.admin.patch("/v1/domains/sales", json!({ "name": "trade", "quotas": { "keys": 7 } })).ok(200);
    assert_eq!((&changed["name"], &changed["quotas"]), (&json!("trade"), &json!({ "keys": 7 })));
    server.admin.get("/v1/domains/sales").fails(ErrorCode::NotFound, "not found");
    assert_eq!(server.admin.get("/v1/domains?name=tr*").ok(200)["total"], 1);
    assert_eq!(server.admin.get("/v1/domains").ok(200)["total"], 2);
    server.admin.delete("/v1/domains/trade").ok(204);
    server.admin.get(&format!("/v1/domains/{id}")).fails(ErrorCode::NotFound, "not found");
}

#[test]
fn names_of_domains_are_unique_and_root_stays_root() {
    let server = TestServer::start();
    let create = |body: Value| server.admin.post("/v1/domains", body);
    create(json!({ "name": "sales" })).ok(201);
    create(json!({ "name": "sales" })).fails(ErrorCode::AlreadyExists, "taken");
    for bad in ["", "root", "a/b", "a<b", "global"] {
        create(json!({ "name": bad })).fails(ErrorCode::InvalidParam, "domain name");
    }
    create(json!({ "name": "x", "admins": ["no such user"] })).fails(ErrorCode::NotFound, "not found");
    assert_eq!(server.admin.get("/v1/domains").ok(200)["total"], 2, "a refused one leaves nothing");
    server.admin.delete("/v1/domains/root").fails(ErrorCode::Conflict, "root");
    server.admin.patch("/v1/domains/root", json!({ "name": "other" })).fails(ErrorCode::InvalidParam, "root stays");
    server.admin.patch("/v1/domains/sales", json!({ "name": "root" })).fails(ErrorCode::InvalidParam, "root stays");
    create(json!({ "name": "trade" })).ok(201);
    server.admin.patch("/v1/domains/sales", json!({ "name": "trade" })).fails(ErrorCode::AlreadyExists, "taken");
    let tag = server.admin.send("PATCH", "/v1/domains/sales", Some(b"{}"), &[("if-match", "\"7\"")]);
    tag.fails(ErrorCode::PreconditionFailed, "revision");
}

#[test]
fn the_named_admins_administer_a_new_domain() {
    let server = TestServer::start();
    let user = server.as_user(&[]);
    let name = user.get("/v1/auth/self/user").ok(200)["username"].clone();
    server.admin.post("/v1/domains", json!({ "name": "by-name", "admins": [name] })).ok(201);
    server.admin.post("/v1/domains", json!({ "name": "by-id", "admins": [user.user_id] })).ok(201);
    for domain in ["by-name", "by-id"] {
        let there = server.nobody().log_in(json!({ "username": name, "password": PASSWORD, "domain": domain }));
        there.key(json!({ "name": "k" }));
        let root = json!({ "username": "admin", "password": PASSWORD, "domain": domain });
        server.nobody().post("/v1/auth/tokens", root).fails(ErrorCode::Unauthorized, "may not work in this domain");
    }
}

#[test]
fn quotas_count_versions_and_hold() {
    let server = TestServer::start();
    let domain = server.domain("small");
    server.admin.patch("/v1/domains/small", json!({ "quotas": { "keys": 3 } })).ok(200);
    domain.admin.key(json!({ "name": "a" }));
    domain.admin.post("/v1/vault/keys2/a/versions", json!({})).ok(201);
    domain.admin.key(json!({ "name": "b" }));
    assert_eq!(server.admin.get("/v1/domains/small").ok(200)["usage"]["keys"], 3);
    domain.admin.post("/v1/vault/keys2", json!({ "name": "c" })).fails(ErrorCode::QuotaExceeded, "3 keys");
    domain.admin.post("/v1/vault/keys2/b/versions", json!({})).fails(ErrorCode::QuotaExceeded, "3 keys");
    domain.admin.delete("/v1/vault/keys2/a?confirm=a").ok(204);
    domain.admin.key(json!({ "name": "c" }));
    server.admin.patch("/v1/domains/small", json!({ "quotas": { "keys": 1 } })).ok(200);
    // A quota below what is there takes nothing away, and nothing comes on top.
    domain.admin.patch("/v1/vault/keys2/c", json!({ "description": "still mine" })).ok(200);
    domain.admin.post("/v1/vault/keys2", json!({ "name": "d" })).fails(ErrorCode::QuotaExceeded, "1 keys");
    server.admin.patch("/v1/domains/small", json!({ "quotas": {} })).ok(200);
    domain.admin.key(json!({ "name": "d" }));
    // Another domain's quota is its own.
    server.admin.key(json!({ "name": "d" }));
}

#[test]
fn the_quota_of_secrets_holds_beside_that_of_keys() {
    let server = TestServer::start();
    let domain = server.domain("small");
    server.admin.patch("/v1/domains/small", json!({ "quotas": { "secrets": 1 } })).ok(200);
    domain.admin.key(json!({ "name": "k" }));
    let secret = |name: &str| {
        let body = json!({ "name": name, "key": "k", "material": "aGVsbG8=" });
        domain.admin.post("/v1/vault/secrets", body)
    };
    secret("a").ok(201);
    secret("b").fails(ErrorCode::QuotaExceeded, "1 secrets");
    assert_eq!(server.admin.get("/v1/domains/small").ok(200)["usage"], json!({ "keys": 1, "secrets": 1 }));
    domain.admin.key(json!({ "name": "a key is no secret" }));
    domain.admin.delete("/v1/vault/secrets/a?confirm=a").ok(204);
    secret("b").ok(201);
}

#[test]
fn quotas_hold_when_many_ask_at_once() {
    let server = TestServer::start();
    let domain = server.domain("small");
    server.admin.patch("/v1/domains/small", json!({ "quotas": { "keys": 10 } })).ok(200);
    let made: usize = std::thread::scope(|s| {
        let threads: Vec<_> = (0..4)
            .map(|t| {
                let admin = &domain.admin;
                s.spawn(move || {
                    let key = |n: i32| admin.post("/v1/vault/keys2", json!({ "name": format!("{t}-{n}") })).status;
                    (0..5).map(key).filter(|status| *status == 201).count()
                })
            })
            .collect();
        threads.into_iter().map(|t| t.join().unwrap()).sum()
    });
    assert_eq!(made, 10);
    assert_eq!(domain.admin.get("/v1/vault/keys2").ok(200)["total"], 10);
}

#[test]
fn a_full_domain_is_deleted_only_when_named_twice() {
    let server = TestServer::start();
    let domain = server.domain("sales");
    domain.admin.key(json!({ "name": "k" }));
    server.admin.delete("/v1/domains/sales").fails(ErrorCode::InUse, "holds 1");
    for query in ["force=true", "force=true&confirm=sale"] {
        let refused = server.admin.delete(&format!("/v1/domains/sales?{query}"));
        refused.fails(ErrorCode::ConfirmNeeded, "confirm");
    }
    domain.admin.get("/v1/vault/keys2/k").ok(200);
    server.admin.delete("/v1/domains/sales?force=true&confirm=sales").ok(204);
    domain.admin.get("/v1/vault/keys2/k").fails(ErrorCode::Unauthorized, "Token has been revoked");
    let login = json!({ "username": "sales-admin", "password": PASSWORD, "auth_domain": "sales" });
    server.nobody().post("/v1/auth/tokens", login).fails(ErrorCode::Unauthorized, "wrong");
    // Its name is free for another domain, which has nothing of the old one.
    let again = server.domain("sales");
    assert_ne!(again.id, domain.id);
    assert_eq!(again.admin.get("/v1/vault/keys2").ok(200)["total"], 0);
    let by_id = server.domain("trade");
    by_id.admin.key(json!({ "name": "k" }));
    server.admin.delete(&format!("/v1/domains/trade?force=true&confirm={}", by_id.id)).ok(204);
}

#[test]
fn what_is_in_another_domain_does_not_exist() {
    let server = TestServer::start();
    let (mine, theirs) = (server.domain("mine"), server.domain("theirs"));
    let key = theirs.admin.key(json!({ "name": "treasure", "aliases": [{ "alias": "chest" }] }));
    let id = key["id"].as_str().unwrap();
    let made = theirs.admin.encrypt(id, "gold");
    let them = &theirs.admin.user_id;
    for client in [&mine.admin, &server.admin] {
        for named in [id, "treasure", "chest"] {
            let at = format!("/v1/vault/keys2/{named}");
            client.get(&at).fails(ErrorCode::NotFound, "not found");
            client.patch(&at, json!({ "description": "x" })).fails(ErrorCode::NotFound, "not found");
            client.delete(&format!("{at}?confirm={named}")).fails(ErrorCode::NotFound, "not found");
            client.post(&format!("{at}/export"), json!({})).fails(ErrorCode::NotFound, "not found");
            client.post(&format!("{at}/versions"), json!({})).fails(ErrorCode::NotFound, "not found");
            let mut opened = made.clone();
            opened["id"] = named.into();
            client.post("/v1/crypto/decrypt", opened).fails(ErrorCode::NotFound, "not found");
        }
        assert_eq!(client.get("/v1/vault/keys2?limit=-1").ok(200)["total"], 0);
        client.get(&format!("/v1/usermgmt/users/{them}")).fails(ErrorCode::NotFound, "not found");
        client.patch(&format!("/v1/usermgmt/users/{them}"), json!({})).fails(ErrorCode::NotFound, "not found");
        client.delete(&format!("/v1/usermgmt/users/{them}")).fails(ErrorCode::NotFound, "not found");
    }
    // The same words as for what is nowhere: who asks learns nothing.
    let real = mine.admin.get(&format!("/v1/vault/keys2/{id}")).text("message");
    let made_up = mine.admin.get("/v1/vault/keys2/01890000-0000-7000-8000-000000000000").text("message");
    assert_eq!(real.replace(id, "ID"), made_up.replace("01890000-0000-7000-8000-000000000000", "ID"));
    // The names are free here; the id is not, because ids are unique in the system.
    mine.admin.key(json!({ "name": "treasure", "aliases": [{ "alias": "chest" }] }));
    mine.admin.get(&format!("/v1/domains/{}", theirs.id)).fails(ErrorCode::NotFound, "not found");
    mine.admin.post("/v1/domains", json!({ "name": "x" })).fails(ErrorCode::Forbidden, "domain_create");
    assert_eq!(theirs.admin.decrypt(&made), "gold");
}

#[test]
fn members_of_a_domains_group_come_from_it_or_from_root() {
    let server = TestServer::start();
    let (mine, theirs) = (server.domain("mine"), server.domain("theirs"));
    let foreign = server.as_user_of(&theirs, &[]);
    let at = format!("/v1/usermgmt/groups/Key%20Users/users/{}", foreign.user_id);
    mine.admin.post(&at, json!({})).fails(ErrorCode::NotFound, "not found");
    let of_root = server.as_user(&[Role::Auditors]);
    let at = format!("/v1/usermgmt/groups/Key%20Users/users/{}", of_root.user_id);
    mine.admin.post(&at, json!({})).ok(200);
}

#[test]
fn a_kek_is_rotated_and_old_keys_still_open() {
    let server = TestServer::start();
    let domain = server.domain("sales");
    domain.admin.key(json!({ "name": "old" }));
    let made = domain.admin.encrypt("old", "before");
    let keks = domain.admin.get("/v1/domains/sales/keks").ok(200);
    assert_eq!((&keks["total"], &keks["resources"][0]["generation"]), (&json!(1), &json!(1)));
    let rotated = domain.admin.post("/v1/domains/sales/rotate-kek", json!({})).ok(200);
    assert_eq!((&rotated["generation"], &rotated["current"]), (&json!(2), &json!(true)));
    let keks = domain.admin.get("/v1/domains/sales/keks").ok(200);
    let current: Vec<_> = keks["resources"].as_array().unwrap().iter().map(|k| k["current"].clone()).collect();
    assert_eq!(current, [json!(false), json!(true)]);
    domain.admin.key(json!({ "name": "new" }));
    assert_eq!(domain.admin.decrypt(&made), "before");
    for named in [rotated["id"].as_str().unwrap(), "2"] {
        assert_eq!(domain.admin.get(&format!("/v1/domains/sales/keks/{named}")).ok(200), rotated);
    }
    domain.admin.get("/v1/domains/sales/keks/3").fails(ErrorCode::NotFound, "3");
    server.admin.get("/v1/domains/sales/keks/1").fails(ErrorCode::NotFound, "not found");
    server.admin.get("/v1/domains/sales/keks").fails(ErrorCode::NotFound, "not found");
    server.admin.post("/v1/domains/sales/rotate-kek", json!({})).fails(ErrorCode::NotFound, "not found");
}

#[test]
fn what_a_policy_names_is_in_its_domain() {
    let server = TestServer::start();
    let (mine, theirs) = (server.domain("mine"), server.domain("theirs"));
    for client in [&mine.admin, &theirs.admin] {
        client.key(json!({ "name": "common" }));
    }
    theirs.admin.key(json!({ "name": "k" }));
    let set = json!({ "name": "docs", "resources": [{ "directory": "/data", "file": "*" }] });
    theirs.admin.post("/v1/transparent-encryption/resourcesets", set).ok(201);
    let policy = |set: &str, key: &str| {
        json!({ "name": "p", "policy_type": "STANDARD",
            "security_rules": [{ "effect": "permit,applykey", "resource_set_id": set }], "key_rules": [{ "key_id": key }] })
    };
    let policies = "/v1/transparent-encryption/policies";
    for (client, set, key, missing) in [
        (&theirs.admin, "none", "k", "none"),
        (&theirs.admin, "docs", "none", "none"),
        (&mine.admin, "docs", "common", "docs"),
    ] {
        let refused = client.post(policies, policy(set, key));
        assert!((400..500).contains(&refused.status), "{refused}");
        assert!(refused.text("message").contains(missing), "{refused}");
        assert_eq!(client.get(policies).ok(200)["total"], 0, "a refused policy leaves nothing");
    }
    let made = theirs.admin.post(policies, policy("docs", "k")).ok(201);
    for field in ["id", "uri", "account", "application", "devAccount", "createdAt", "updatedAt"] {
        assert!(made[field].as_str().is_some_and(|text| !text.is_empty()), "{field} of {made}");
    }
}

#[test]
fn after_a_rotation_every_body_is_sealed_anew_and_nothing_else_changes() {
    use keyark_crypto::keyring::KekOwner;
    use keyark_crypto::seal::generation_of;
    use keyark_model::{DomainId, Kind};
    let server = TestServer::start();
    let domain = server.domain("sales");
    for n in 0..40 {
        domain.admin.key(json!({ "name": format!("k{n}") }));
    }
    let body = json!({ "name": "s", "dataType": "password", "material": "the value", "key": "k0" });
    domain.admin.post("/v1/vault/secrets", body).ok(201);
    let made = domain.admin.encrypt("k7", "before");
    let core = server.app().core().unwrap();
    let id = DomainId(domain.id.parse::<keyark_model::Id>().unwrap().0);
    // Of each record: what names it, its revision and header, and the generation that its body is sealed under.
    let records = || {
        let (mut all, mut generations) = (Vec::new(), Vec::new());
        for kind in Kind::ALL.iter().filter(|k| KekOwner::of(**k, id) == KekOwner::Domain(id)) {
            let scanned = core.store.scan(id, *kind, |r| {
                all.push((*kind, r.id, r.revision, r.header.to_vec()));
                generations.push((*kind, generation_of(r.body)));
                std::ops::ControlFlow::Continue(())
            });
            scanned.unwrap();
        }
        (all, generations)
    };
    let (before, generations) = records();
    assert!(before.len() > 42 && generations.iter().filter(|(_, g)| *g == Some(1)).count() > 42);
    let tag = domain.admin.get("/v1/vault/keys2/k7").header("etag").to_owned();
    domain.admin.post("/v1/domains/sales/rotate-kek", json!({})).ok(200);
    // Readers are served meanwhile, whichever generation a body stands under.
    let until = std::time::Instant::now() + std::time::Duration::from_secs(60);
    let of_domain = |g: &[(Kind, Option<u32>)], wanted| g.iter().filter(|(_, g)| *g == Some(wanted)).count();
    let sealed = of_domain(&generations, 1);
    loop {
        assert_eq!(domain.admin.decrypt(&made), "before");
        let (_, now) = records();
        if of_domain(&now, 2) == sealed {
            break;
        }
        assert!(std::time::Instant::now() < until, "{now:?}");
    }
    let (after, _) = records();
    assert_eq!(after, before, "headers and revisions are as they were");
    assert_eq!(domain.admin.get("/v1/vault/keys2/k7").header("etag"), tag);
    assert_eq!(domain.admin.post("/v1/vault/secrets/s/export", json!({})).ok(200)["material"], "the value");
}
