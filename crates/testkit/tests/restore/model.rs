//! A model: random operations against a map; each backup, recovered on an empty machine, is exactly the map of its moment.

use std::collections::BTreeMap;

use keyark_testkit::client::text;
use keyark_testkit::server::PASSWORD;
use keyark_testkit::{Client, TestServer};
use proptest::prelude::{Just, Strategy, any, prop_oneof};
use proptest::test_runner::{Config, TestRunner};
use serde_json::json;

use crate::support::{archive_path, backup_key, exported, material, recovery, secret_value, take_system};

#[derive(Clone, Debug)]
enum Operation {
    Create,
    Rotate,
    Describe,
    Suspend,
    Delete,
    Secret,
    SecretDelete,
}

/// Everything that people see of a domain: by noun and name.
type Model = BTreeMap<(usize, &'static str, String), String>;

fn operations() -> impl Strategy<Value = Vec<(Operation, usize, u8)>> {
    let operation = prop_oneof![
        4 => Just(Operation::Create),
        2 => Just(Operation::Rotate),
        2 => Just(Operation::Describe),
        1 => Just(Operation::Suspend),
        2 => Just(Operation::Delete),
        3 => Just(Operation::Secret),
        1 => Just(Operation::SecretDelete),
    ];
    proptest::collection::vec((operation, 0..2_usize, any::<u8>()), 36)
}

fn key_shown(by: &Client, name: &str) -> String {
    let key = by.get(&format!("/v1/vault/keys2/{name}")).ok(200);
    let state = text(&key, "state");
    let bytes = if state == "Active" { material(by, name) } else { String::new() };
    format!("{} {state} {} {} {bytes}", key["id"], key["versionsCount"], key["description"])
}

/// What a server shows, in the model's words.
fn seen(domains: [&Client; 2]) -> Model {
    let mut all = Model::new();
    for (n, by) in domains.into_iter().enumerate() {
        for name in crate::support::key_names(by) {
            all.insert((n, "key", name.clone()), key_shown(by, &name));
        }
        let page = by.get("/v1/vault/secrets?limit=-1").ok(200);
        for secret in page["resources"].as_array().unwrap() {
            let name = text(secret, "name");
            all.insert((n, "secret", name.clone()), secret_value(by, &name));
        }
    }
    all
}

/// Does it to the server and to the model.
fn apply(by: &Client, model: &mut Model, serial: usize, (operation, domain, choice): (Operation, usize, u8)) {
    let of = |noun: &str, model: &Model| -> Option<String> {
        let names: Vec<&String> = model.keys().filter(|k| k.0 == domain && k.1 == noun).map(|k| &k.2).collect();
        (!names.is_empty()).then(|| names[usize::from(choice) % names.len()].clone())
    };
    let active = |name: &String, model: &Model| model[&(domain, "key", name.clone())].contains(" Active ");
    let key = of("key", model);
    match (operation, key) {
        (Operation::Create, _) | (_, None) => {
            let name = format!("k{serial}");
            by.key(json!({ "name": name }));
            model.insert((domain, "key", name.clone()), key_shown(by, &name));
        }
        (Operation::Rotate, Some(name)) if active(&name, model) => {
            by.post(&format!("/v1/vault/keys2/{name}/rotate"), json!({})).ok(201);
            model.insert((domain, "key", name.clone()), key_shown(by, &name));
        }
        (Operation::Describe, Some(name)) => {
            let description = format!("d{serial}");
            by.patch(&format!("/v1/vault/keys2/{name}"), json!({ "description": description })).ok(200);
            let shown = key_shown(by, &name);
            assert!(shown.contains(&description));
            model.insert((domain, "key", name), shown);
        }
        (Operation::Secret, Some(name)) if active(&name, model) => {
            let secret = format!("s{serial}");
            crate::support::secret(by, &secret, &name, &format!("value-{serial}-{choice}"));
            model.insert((domain, "secret", secret), format!("value-{serial}-{choice}"));
        }
        (Operation::SecretDelete, Some(_)) => {
            if let Some(name) = of("secret", model) {
                by.delete(&format!("/v1/vault/secrets/{name}?confirm={name}")).ok(204);
                model.remove(&(domain, "secret", name));
            }
        }
        // Only keys without secrets: those of the others would not open any more.
        (Operation::Delete | Operation::Suspend, Some(name)) => {
            let keeps = by.get(&format!("/v1/vault/secrets?key={name}")).ok(200);
            if keeps["total"] == 0 {
                match choice % 2 {
                    0 => {
                        crate::support::key_delete(by, &name);
                        model.remove(&(domain, "key", name));
                    }
                    _ if active(&name, model) => {
                        by.post(&format!("/v1/vault/keys2/{name}/suspend"), json!({})).ok(200);
                        model.insert((domain, "key", name.clone()), key_shown(by, &name));
                    }
                    _ => {}
                }
            }
        }
        _ => {}
    }
}

#[test]
fn every_backup_is_exactly_the_model_of_its_moment() {
    let config = Config { cases: 2, failure_persistence: None, max_shrink_iters: 0, ..Config::default() };
    let done = TestRunner::new(config).run(&operations(), |operations| {
        let server = TestServer::start();
        let domains = [server.domain("d0"), server.domain("d1")];
        let file = exported(&server.admin, &backup_key(&server.admin, "system"));
        let (mut model, mut moments) = (Model::new(), Vec::new());
        for (serial, operation) in operations.into_iter().enumerate() {
            let by = &domains[operation.1].admin;
            apply(by, &mut model, serial, operation);
            if serial % 12 == 11 {
                moments.push((take_system(&server), model.clone()));
            }
        }
        assert_eq!(seen([&domains[0].admin, &domains[1].admin]), model, "the server itself is what the model says");
        for (backup, model) in moments {
            let folder = tempfile::tempdir().unwrap();
            let data = folder.path().join("data");
            recovery(&data, &archive_path(&server, &backup), &file).unwrap();
            let new = TestServer::start_again(&data);
            let log_in = |n: usize| {
                let name = format!("d{n}");
                new.admin
                    .log_in(json!({ "username": format!("{name}-admin"), "password": PASSWORD, "auth_domain": name }))
            };
            assert_eq!(seen([&log_in(0), &log_in(1)]), model);
        }
        Ok(())
    });
    done.unwrap();
}
