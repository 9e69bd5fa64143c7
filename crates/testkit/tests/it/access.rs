//! Who may do what: every endpoint by every role, in root and in another domain, against a table written by hand.

mod ground;
mod recorded;
mod table;

use std::collections::{BTreeMap, BTreeSet, HashSet};

use keyark_api::{EndpointInfo, Method};
use keyark_model::access::{Right, Role};
use keyark_testkit::client::{job_ended, text};
use keyark_testkit::server::PASSWORD;
use keyark_testkit::{Client, TestServer};
use serde_json::json;

use Right::{Authenticated, BackupRead, JobRead, Public};
use ground::Ground;
use recorded::Asked;
use table::{CASES, Case, RIGHTS, line, rights_of};

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
