//! The ground that the cases stand on: a domain with one thing of each kind in it.

use std::collections::BTreeMap;

use keyark_api::EndpointInfo;
use keyark_model::access::Role;
use keyark_testkit::client::text;
use keyark_testkit::server::PASSWORD;
use keyark_testkit::{Answer, Client, TestServer};
use serde_json::{Value, json};

use super::table::{Case, has, line, rights_of};

/// A domain with one thing of each kind in it, and the names that cases use for them.
pub struct Ground {
    pub root: bool,
    names: BTreeMap<&'static str, String>,
    files: BTreeMap<&'static str, Vec<u8>>,
    pub callers: Vec<(Option<Role>, Client)>,
}

fn made(answer: Answer, field: &str) -> String {
    assert!((200..300).contains(&answer.status), "{answer}");
    answer.text(field)
}

impl Ground {
    /// The root's comes first: it makes what all domains use.
    pub fn new(server: &TestServer, admin: &Client, domain: &str) -> Ground {
        let root = domain == "root";
        let mut names = BTreeMap::from([
            ("domain", domain.to_owned()),
            ("nothing", "01890000-0000-7000-8000-000000000000".to_owned()),
        ]);
        let mut files = BTreeMap::new();
        for (name, fields) in [
            ("key", json!({})),
            ("rsa", json!({ "algorithm": "RSA", "size": 2048 })),
            ("ec", json!({ "algorithm": "EC", "curveid": "secp256r1" })),
            ("hmac", json!({ "algorithm": "HMAC-SHA256" })),
            ("kem", json!({ "algorithm": "ML-KEM-768" })),
        ] {
            names.insert(name, text(&admin.key(fields), "id"));
        }
        let user = json!({ "username": "target", "password": PASSWORD });
        let user = made(admin.post("/v1/usermgmt/users", user), "user_id");
        names.insert("user", user.trim_start_matches("local|").to_owned());
        admin.post("/v1/usermgmt/groups", json!({ "name": "Team" })).ok(201);
        let secret = json!({ "name": "secret", "key": names["key"], "material": "AAAA" });
        names.insert("secret", made(admin.post("/v1/vault/secrets", secret), "id"));
        let policy = json!({ "name": "policy", "policy_type": "STANDARD", "security_rules": [{ "effect": "permit" }] });
        let policy = admin.post("/v1/transparent-encryption/policies", policy);
        names.insert("rule", text(&policy.json["security_rules"][0], "id"));
        names.insert("policy", made(policy, "id"));
        let set = json!({ "name": "set", "users": [{ "uname": "ada" }] });
        names.insert("set", made(admin.post("/v1/transparent-encryption/usersets", set), "id"));
        let host_key = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIBHZ+4Go6hvD+xGhnYzgHdXAGJsq+kgJZ7lqtZ4XcCVB";
        let fields =
            json!({ "name": "offsite", "host": "localhost", "username": "u", "path_to": "p", "public_key": host_key });
        let connections = "/v1/connectionmgmt/services/scp/connections";
        names.insert("connection", made(admin.post(connections, fields), "id"));
        if root {
            for (name, called) in [("nas", "nas"), ("system_destination", "spare")] {
                let path = server.settings.data.join(called);
                std::fs::create_dir(&path).unwrap();
                let fields = json!({ "name": called, "path": path });
                names.insert(name, made(admin.post("/v1/destinations", fields), "id"));
            }
            let fields = json!({ "name": "alerts", "url": "https://alerts.invalid/x", "disabled": true });
            names.insert("system_webhook", made(admin.post("/v1/system/webhooks", fields), "id"));
        } else {
            let quotas = json!({ "quotas": { "backupRangeDays": 600 } });
            server.admin.patch(&format!("/v1/domains/{domain}"), quotas).ok(200);
        }
        let scopes: &[_] = if root { &["domain", "system"] } else { &["domain"] };
        for scope in scopes {
            let of = |domain: &'static str, system: &'static str| if *scope == "system" { system } else { domain };
            let key = made(admin.post("/v1/backupkeys", json!({ "scope": scope })), "id");
            let file = admin.post(&format!("/v1/backupkeys/{key}/download"), json!({ "password": PASSWORD }));
            names.insert(of("key_file", "system_key_file"), Value::from(made(file, "file")).to_string());
            names.insert(of("backup_key", "system_backup_key"), key);
            let backup = admin.backup(json!({ "scope": scope }));
            let (id, job) = (text(&backup, "id"), text(&backup, "jobId"));
            let archive = admin.get(&format!("/v1/backups/{id}/download"));
            assert_eq!(archive.status, 200, "{archive}");
            files.insert(of("archive", "system_archive"), archive.body);
            names.insert(of("backup", "system_backup"), id);
            names.insert(of("job", "system_job"), job);
            let kind = of("extended", "system");
            let fields = json!({ "type": kind, "alias": of("guard", "guard-all"), "durationDays": 300 });
            let instance = made(admin.post("/v1/backup-instances", fields), "id");
            let order = json!({ "destinations": ["nas"] });
            admin.post(&format!("/v1/backup-instances/{instance}/enable"), order).ok(200);
            names.insert(of("instance", "system_instance"), instance);
            let params = json!({ "scope": scope });
            let fields = json!({ "name": kind, "operation": "database_backup", "run_at": "0 3 * * *", "database_backup_params": params, "disabled": true });
            let schedule = made(admin.post("/v1/scheduler/job-configs", fields), "id");
            names.insert(of("schedule", "system_schedule"), schedule);
        }
        Ground { root, names, files, callers: Vec::new() }
    }

    fn filled(&self, text: &str, n: usize) -> String {
        let mut text = text.replace("{n}", &n.to_string());
        for (name, value) in &self.names {
            text = text.replace(&format!("{{{name}}}"), value);
        }
        text
    }

    /// Whether the case speaks of something that this domain has: what is the system's is in root only.
    pub fn fits(&self, case: &Case) -> bool {
        self.root || !(case.1.contains("{system_") || case.2.contains("system_"))
    }

    pub fn send(&self, case: &Case, info: &EndpointInfo, client: &Client, n: usize) -> Answer {
        let headers: &[_] = if case.4 == 412 { &[("if-match", "\"999999\"")] } else { &[] };
        self.send_with(case, info, client, n, headers)
    }

    /// Without the If-Match that keeps a case from changing anything.
    pub fn send_anyway(&self, case: &Case, info: &EndpointInfo, client: &Client) -> Answer {
        self.send_with(case, info, client, 0, &[])
    }

    fn send_with(
        &self,
        case: &Case,
        info: &EndpointInfo,
        client: &Client,
        n: usize,
        headers: &[(&str, &str)],
    ) -> Answer {
        let path = self.filled(case.1, n);
        let body = match case.2.strip_prefix('@') {
            Some(file) => Some(self.files[file].clone()),
            None if case.2.is_empty() => None,
            None => Some(self.filled(case.2, n).into_bytes()),
        };
        client.send(info.method.as_str(), &path, body.as_deref(), headers)
    }

    /// What this caller must be answered.
    pub fn expected(&self, case: &Case, role: Option<Role>) -> u16 {
        let rights = rights_of(case);
        if rights.iter().any(|r| has(role, *r, self.root)) {
            return case.4;
        }
        let names_something = case.1.contains('{')
            || case.1.contains("Team")
            || case.1.contains("/nas")
            || case.1.starts_with("/v1/crypto/");
        let of_a_rule_list = case.1.contains("/policies/") || case.1.contains("/usersets");
        let sees = has(role, line(rights[0]).2, self.root);
        if (names_something || of_a_rule_list) && !sees { 404 } else { 403 }
    }
}
