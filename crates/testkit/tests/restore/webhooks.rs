//! Alarms on their way to a program elsewhere: each once, signed, and nothing waits for it.

use keyark_api::ErrorCode;
use keyark_crypto::hash::hmac_sha256;
use keyark_testkit::TestServer;
use keyark_testkit::client::text;
use keyark_testkit::receiver::{Received, Receiver};
use serde_json::{Value, json};

use crate::support::{backup_key, everything, restore, take_system};

fn started() -> TestServer {
    TestServer::start_with(|settings| settings.webhooks_http = true)
}

/// A webhook, and the secret that was shown.
fn hook(server: &TestServer, name: &str, receiver: &Receiver) -> String {
    let made = server.admin.post("/v1/system/webhooks", json!({ "name": name, "url": receiver.url })).ok(201);
    text(&made, "secret")
}

fn told(received: &[Received]) -> Vec<(String, String)> {
    let events = received.iter().flat_map(|r| r.json()["events"].as_array().unwrap().clone());
    events.map(|e| (text(&e, "event"), text(&e, "code"))).collect()
}

fn both(event: &str, code: &str) -> (String, String) {
    (event.into(), code.into())
}

fn shown(server: &TestServer, name: &str) -> Value {
    server.admin.get(&format!("/v1/system/webhooks/{name}")).ok(200)
}

#[test]
fn an_alarm_is_told_once_when_it_is_raised_and_once_when_it_is_over() {
    let mut server = started();
    let receiver = Receiver::start();
    let secret = hook(&server, "ops", &receiver);
    assert_eq!(server.tell(), 1);
    let first = receiver.taken();
    assert_eq!(told(&first), [both("raised", "not_protected"), both("raised", "no_schedule")]);
    // Whoever has the secret knows that it came from here, and when.
    let (path, body) = (&first[0].path, first[0].json());
    assert_eq!((path.as_str(), &body["time"]), ("/hooks/of-keyark", &json!(server.now())));
    let seconds = server.now().0 / 1_000_000;
    let signed = |secret: &str| {
        let sum = hmac_sha256(secret.as_bytes(), &[format!("{seconds}.").as_bytes(), &first[0].body]);
        format!("t={seconds},v1={sum}")
    };
    assert_eq!(first[0].signature, signed(&secret));
    assert_ne!(first[0].signature, signed("another"));
    assert!(text(&body, "delivery").ends_with("-1") && text(&body["events"][0], "message").contains("enable it"));
    // Once: also after a restart.
    assert_eq!(server.tell(), 0);
    server.restart();
    server.admin.renew();
    assert_eq!((server.tell(), receiver.taken().len()), (0, 0));
    let hidden = shown(&server, "ops");
    assert_eq!((&hidden["delivered"], hidden.get("secret"), hidden.get("error")), (&json!(1), None, None), "{hidden}");
    assert!(!hidden.to_string().contains("of-keyark"), "the path may be a secret: {hidden}");
    // One more, and one less.
    let folder = tempfile::tempdir().unwrap();
    backup_key(&server.admin, "domain");
    server.admin.post("/v1/destinations", json!({ "name": "nas", "path": folder.path() })).ok(201);
    server.admin.post("/v1/backup-instances/default/enable", json!({ "destinations": ["nas"] })).ok(200);
    server.protect();
    assert_eq!(server.tell(), 1);
    let second = receiver.taken();
    let over = ["no_schedule", "not_protected"].map(|code| both("cleared", code));
    assert_eq!(told(&second), [&[both("raised", "backup_key_not_escrowed")], &over[..]].concat());
    assert!(text(&second[0].json(), "delivery").ends_with("-2"));
    assert_eq!(server.tell(), 0);
    // Another receiver knows nothing yet.
    let other = Receiver::start();
    let change = json!({ "url": other.url, "rotateSecret": true });
    let changed = server.admin.patch("/v1/system/webhooks/ops", change).ok(200);
    assert_ne!(text(&changed, "secret"), secret);
    assert_eq!((server.tell(), told(&other.taken())), (1, vec![both("raised", "backup_key_not_escrowed")]));
    server.admin.patch("/v1/system/webhooks/ops", json!({ "disabled": true })).ok(200);
    server.advance(3600);
    assert_eq!((server.tell(), receiver.taken().len()), (0, 0));
}

#[test]
fn who_does_not_answer_is_asked_again_later_and_delays_nobody() {
    let server = started();
    let (good, bad) = (Receiver::start(), Receiver::start());
    hook(&server, "good", &good);
    hook(&server, "bad", &bad);
    bad.answers("500 Broken");
    assert_eq!(server.tell(), 2);
    assert_eq!((good.taken().len(), bad.taken().len()), (1, 1));
    assert_eq!(shown(&server, "bad")["error"], "it answered 500 Internal Server Error");
    // Not before its time, which doubles.
    for wait in [30, 60, 120] {
        server.advance(wait - 1);
        server.admin.renew();
        assert_eq!(bad.taken().len(), 0);
        server.tell();
        assert_eq!(bad.taken().len(), 0, "{wait}");
        server.advance(1);
        server.tell();
        let again = bad.taken();
        assert_eq!(again.len(), 1, "{wait}");
        assert!(text(&again[0].json(), "delivery").ends_with("-1"), "the same delivery, tried again");
    }
    // Others hear of it, itself not.
    assert_eq!(told(&good.taken()), [both("raised", "webhook_failing")]);
    // A redirect is no answer, and nobody goes there.
    let elsewhere = Receiver::start();
    bad.answers(&format!("302 Found\r\nlocation: {}", elsewhere.url));
    server.advance(3600);
    server.admin.renew();
    server.tell();
    assert_eq!((bad.taken().len(), elsewhere.taken().len()), (1, 0));
    assert!(text(&shown(&server, "bad"), "error").contains("redirects are not followed"));
    bad.answers("200 OK");
    server.advance(3600);
    server.admin.renew();
    server.tell();
    assert_eq!(told(&bad.taken()), [both("raised", "not_protected"), both("raised", "no_schedule")]);
    server.tell();
    assert_eq!(told(&good.taken()), [both("cleared", "webhook_failing")]);
    assert_eq!(shown(&server, "bad").get("error"), None);
    // Nobody there at all.
    drop(bad);
    let tried = server.admin.post("/v1/system/webhooks/bad/test", json!({})).ok(200);
    assert_eq!(tried["ok"], false);
    assert!(!text(&tried, "error").contains("of-keyark"), "{tried}");
    let tried = server.admin.post("/v1/system/webhooks/good/test", json!({})).ok(200);
    assert_eq!((&tried["ok"], told_test(&good.taken())), (&json!(true), vec!["test".to_owned()]));
}

fn told_test(received: &[Received]) -> Vec<String> {
    received.iter().map(|r| text(&r.json()["events"][0], "event")).collect()
}

#[test]
fn nothing_is_told_while_a_restored_system_waits() {
    let server = started();
    let receiver = Receiver::start();
    let secret = hook(&server, "ops", &receiver);
    server.tell();
    receiver.taken();
    let folder = tempfile::tempdir().unwrap();
    server.admin.post("/v1/destinations", json!({ "name": "nas", "path": folder.path() })).ok(201);
    backup_key(&server.admin, "system");
    let backup = take_system(&server);
    restore(&server.admin, &backup, json!({ "confirm": "system" }));
    server.admin.renew();
    server.admin.post("/v1/backup-instances", json!({ "type": "system", "alias": "more" })).ok(201);
    server.admin.post("/v1/backup-instances/more/enable", json!({ "destinations": ["nas"] })).ok(200);
    assert_eq!((server.tell(), receiver.taken().len()), (0, 0), "something was raised, and stays here");
    let refused = server.admin.post("/v1/system/webhooks/ops/test", json!({}));
    refused.fails(ErrorCode::Suspended, "keyark system activate");
    server.admin.post("/v1/system/activate", json!({ "confirm": "activate" })).ok(200);
    assert_eq!(server.tell(), 1);
    let all = receiver.taken();
    assert!(told(&all).contains(&both("raised", "no_point")), "{:?}", told(&all));
    assert!(!told(&all).contains(&both("raised", "not_protected")), "what it knew it still knows");
    let seconds = server.now().0 / 1_000_000;
    let sum = hmac_sha256(secret.as_bytes(), &[format!("{seconds}.").as_bytes(), &all[0].body]);
    assert_eq!(all[0].signature, format!("t={seconds},v1={sum}"), "the secret came back");
}

#[test]
fn an_address_that_others_could_read_is_refused_and_a_secret_is_shown_once() {
    let plain = TestServer::start();
    let make = |url: &str| plain.admin.post("/v1/system/webhooks", json!({ "name": "w", "url": url }));
    make("http://127.0.0.1:1/").fails(ErrorCode::InvalidParam, "webhooks_http");
    make("http://alerts.example.com/").fails(ErrorCode::InvalidParam, "this machine alone");
    make("https://user:password@alerts.example.com/").fails(ErrorCode::InvalidParam, "user and password");
    make("gopher://x/").fails(ErrorCode::InvalidParam, "not https");
    let secret = text(&make("https://alerts.example.com/hooks/HIDDEN?key=HIDDEN").ok(201), "secret");
    make("https://b.example.com/").fails(ErrorCode::AlreadyExists, "");
    plain.admin.patch("/v1/system/webhooks/w", json!({ "url": "http://x/" })).fails(ErrorCode::InvalidParam, "url");
    for path in ["/v1/system/webhooks", "/v1/system/webhooks/w"] {
        let shown = plain.admin.get(path).ok(200).to_string();
        assert!(!shown.contains("HIDDEN") && !shown.contains(&secret), "{shown}");
    }
    for (kind, _, header) in everything(&plain) {
        let header = String::from_utf8_lossy(&header);
        assert!(!header.contains("HIDDEN") && !header.contains(&secret), "{kind}: {header}");
    }
    plain.admin.delete("/v1/system/webhooks/w").ok(204);
    plain.admin.get("/v1/system/webhooks/w").fails(ErrorCode::NotFound, "");
}
