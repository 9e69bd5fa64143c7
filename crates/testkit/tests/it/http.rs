//! Requests that are wrong in every way a request can be, and the pages without a token.

use std::collections::HashSet;

use keyark_api::{EndpointInfo, ErrorCode};
use keyark_model::access::Right;
use keyark_testkit::TestServer;
use serde_json::{Value, json};

#[test]
fn unknown_paths_and_methods() {
    let server = TestServer::start();
    for path in ["/", "/v1", "/v1/nothing", "/v2/vault/keys", "/v1/vault/keys2/a/b/c/d", "/V1/vault/keys"] {
        server.admin.get(path).fails(ErrorCode::NotFound, "no such path");
    }
    let wrong = server.admin.send("PUT", "/v1/vault/keys2", Some(b"{}"), &[]);
    wrong.fails(ErrorCode::MethodNotAllowed, "method");
    assert!(wrong.header("allow").contains("GET") && wrong.header("allow").contains("POST"), "{:?}", wrong.headers);
    server.admin.delete("/v1/auth/self/user").fails(ErrorCode::MethodNotAllowed, "method");
    server.admin.send("PUT", "/healthz", Some(b""), &[]).fails(ErrorCode::MethodNotAllowed, "method");
}

#[test]
fn every_path_is_also_under_api() {
    let server = TestServer::start();
    for endpoint in keyark_api::list::endpoints() {
        for path in std::iter::once(endpoint.path).chain(endpoint.also.iter().copied()) {
            let at: Vec<_> = path.split('/').map(|s| if s.starts_with('{') { "x" } else { s }).collect();
            let at = at.join("/");
            for (prefix, end) in [("", ""), ("/api", ""), ("", "/"), ("/api", "/")] {
                let at = at.trim_end_matches('/');
                let answer = server.nobody().send(endpoint.method.as_str(), &format!("{prefix}{at}{end}"), None, &[]);
                let message = answer.json["message"].as_str().unwrap_or_default();
                assert!(!message.contains("no such path") && !message.contains("this method"), "{answer}");
                assert_ne!(answer.status, 500, "{answer}");
            }
        }
    }
    server.nobody().get("/api/v1/openapi.json").ok(200);
}

#[test]
fn bodies_that_cannot_be_read() {
    let server = TestServer::start();
    let post = |body: &str| server.admin.send("POST", "/v1/vault/keys2", Some(body.as_bytes()), &[]);
    for (body, text) in [
        ("{", "ends too early"),
        ("{\"name\": 7}", "string"),
        ("{\"name\": \"a\" \"b\"}", "expected"),
        ("[]", ""),
        ("\"text\"", ""),
        ("{\"nme\": \"a\"}", "nme"),
        ("{\"name\": \"a\", \"name\": \"b\"}", "duplicate"),
        ("{\"size\": 1e400}", ""),
        ("{\"size\": -1}", ""),
        ("{\"name\": \"\\ud800\"}", ""),
    ] {
        post(body).fails(ErrorCode::BadRequest, text);
    }
    server.admin.send("POST", "/v1/vault/keys2", Some(b"{\"name\": \"\xff\"}"), &[]).fails(ErrorCode::BadRequest, "");
    assert_eq!(server.admin.get("/v1/vault/keys2").ok(200)["total"], 0, "nothing of it was done");
    // An empty body is an empty object.
    server.admin.send("POST", "/v1/vault/keys2", None, &[]).ok(201);
    server.admin.send("POST", "/v1/vault/keys2", Some(b"  "), &[]).ok(201);
}

#[test]
fn json_that_is_too_deep_and_bodies_that_are_too_large() {
    let server = TestServer::start();
    let deep = format!("{{\"meta\": {{\"a\": {}{}}}}}", "[".repeat(100_000), "]".repeat(100_000));
    let answer = server.admin.send("POST", "/v1/vault/keys2", Some(deep.as_bytes()), &[]);
    answer.fails(ErrorCode::BadRequest, "");
    let nested = |n: usize| format!("{{\"meta\": {{\"a\": {}{}}}}}", "[".repeat(n), "]".repeat(n));
    server.admin.send("POST", "/v1/vault/keys2", Some(nested(20).as_bytes()), &[]).ok(201);
    let many = json!({ "description": "x".repeat(2 << 20) });
    server.admin.post("/v1/vault/keys2", many).fails(ErrorCode::TooLarge, "1048576 bytes");
    server.admin.get("/v1/vault/keys2").ok(200);
}

#[test]
fn nobody_fills_memory_or_disk_without_a_token() {
    let server = TestServer::start();
    let large = json!({ "description": "x".repeat(200 << 10) }).to_string();
    let answer = server.nobody().send("POST", "/v1/vault/keys2", Some(large.as_bytes()), &[]);
    answer.fails(ErrorCode::Unauthorized, "log in");
    server.as_user(&[]).send("POST", "/v1/vault/keys2", Some(large.as_bytes()), &[]).fails(ErrorCode::Forbidden, "");
    for endpoint in keyark_api::list::endpoints() {
        if endpoint.body == keyark_api::endpoint::Body::File && endpoint.right != Right::Public {
            let path = endpoint.path.replace(['{', '}'], "");
            let answer = server.nobody().send(endpoint.method.as_str(), &path, Some(&[7; 1000]), &[]);
            answer.fails(ErrorCode::Unauthorized, "log in");
        }
    }
    let uploads = std::fs::read_dir(server.settings.data.join("uploads")).unwrap().count();
    assert_eq!(uploads, 0);
}

#[test]
fn media_types() {
    let server = TestServer::start();
    let with = |kind: &str| server.admin.send("POST", "/v1/vault/keys2", Some(b"{}"), &[("content-type", kind)]);
    for refused in ["text/plain", "application/x-www-form-urlencoded", "application/jsonp", "multipart/form-data"] {
        with(refused).fails(ErrorCode::UnsupportedMedia, "application/json");
    }
    for taken in ["application/json", "application/json; charset=utf-8", "Application/JSON"] {
        with(taken).ok(201);
    }
}

#[test]
fn queries_are_checked() {
    let server = TestServer::start();
    let get = |query: &str| server.admin.get(&format!("/v1/vault/keys2?{query}"));
    get("skip=1&skip=2").fails(ErrorCode::InvalidParam, "skip is given twice");
    get("skip=x").fails(ErrorCode::InvalidParam, "skip is a whole number");
    get("skip=-1").fails(ErrorCode::BadRequest, "");
    get("unexportable=maybe").fails(ErrorCode::InvalidParam, "true or false");
    get("nme=a").fails(ErrorCode::BadRequest, "nme");
    get("createdBefore=yesterday").fails(ErrorCode::BadRequest, "RFC 3339");
    get("sort=size").fails(ErrorCode::InvalidParam, "createdAt or name");
    get("name=a&name=b&name=c").ok(200);
    // What the path says cannot be said otherwise beside it.
    server.admin.key(json!({ "name": "a" }));
    server.admin.patch("/v1/vault/keys2/a", json!({ "id": "b" })).fails(ErrorCode::InvalidParam, "path");
    server.admin.get("/v1/vault/keys2/a?id=b").fails(ErrorCode::InvalidParam, "path");
}

#[test]
fn query_and_body_are_one_request() {
    let server = TestServer::start();
    let made = server.admin.post("/v1/vault/keys2?name=a", json!({ "size": 128 })).ok(201);
    assert_eq!((&made["name"], &made["size"]), (&json!("a"), &json!(128)));
    let twice = server.admin.post("/v1/vault/keys2?name=a", json!({ "name": "b" }));
    twice.fails(ErrorCode::InvalidParam, "name is given twice");
}

#[test]
fn request_ids_are_echoed_or_made() {
    let server = TestServer::start();
    let with = |id: &str| server.admin.send("GET", "/v1/vault/keys2/none", None, &[("x-request-id", id)]);
    let echoed = with("Ab-1_2.3");
    assert_eq!((echoed.header("x-request-id"), echoed.text("requestID").as_str()), ("Ab-1_2.3", "Ab-1_2.3"));
    for strange in ["a b", "a\"b", "<script>", &"x".repeat(65)] {
        let made = with(strange);
        assert_eq!(made.header("x-request-id"), made.text("requestID"));
        assert_eq!(made.header("x-request-id").len(), 32, "{made}");
    }
    let (one, two) = (server.admin.get("/v1/vault/keys2"), server.admin.get("/v1/vault/keys2"));
    assert_ne!(one.header("x-request-id"), two.header("x-request-id"));
    for answer in [server.admin.get("/v1/nothing"), server.admin.delete("/v1/vault/keys2")] {
        assert_eq!(answer.header("x-request-id"), answer.text("requestID"), "{answer}");
    }
    let unknown = server.admin.send("GET", "/v1/nothing", None, &[("x-request-id", "mine")]);
    assert_eq!(unknown.text("requestID"), "mine");
}

#[test]
fn errors_have_one_shape() {
    let server = TestServer::start();
    let answer = server.admin.get("/v1/vault/keys2/none");
    assert_eq!(answer.header("content-type"), "application/json");
    assert_eq!(answer.header("cache-control"), "no-store");
    let mut fields: Vec<_> = answer.json.as_object().unwrap().keys().map(String::as_str).collect();
    fields.sort_unstable();
    assert_eq!(fields, ["code", "codeDesc", "message", "requestID"]);
    assert_eq!(answer.json["code"], 16);
    assert_eq!(answer.json["codeDesc"], "NCERRResourceNotFound: Resource not found");
}

#[test]
fn names_in_a_path_may_hold_anything_percent_encoded() {
    let server = TestServer::start();
    for (name, path) in
        [("a/b", "a%2Fb"), ("50% of it", "50%25%20of%20it"), ("schlüssel?", "schl%C3%BCssel%3F"), ("..", "%2E%2E")]
    {
        let made = server.admin.key(json!({ "name": name }));
        assert_eq!(server.admin.get(&format!("/v1/vault/keys2/{path}")).ok(200)["id"], made["id"], "{name}");
    }
    server.admin.get("/v1/vault/keys2/%FF").fails(ErrorCode::BadRequest, "");
}

#[test]
fn the_pages_without_a_token() {
    let server = TestServer::start();
    let nobody = server.nobody();
    for page in ["/healthz", "/readyz"] {
        assert_eq!(nobody.get(page).status, 200);
    }
    let held = server.app().swap_core(None);
    assert_eq!(nobody.get("/healthz").status, 200);
    let ready = nobody.get("/readyz");
    ready.fails(ErrorCode::Unavailable, "restore");
    assert!(ready.header("retry-after").parse::<u32>().unwrap() > 0);
    let busy = server.admin.get("/v1/vault/keys2");
    busy.fails(ErrorCode::Unavailable, "restore");
    assert!(busy.header("retry-after").parse::<u32>().unwrap() > 0);
    server.app().swap_core(held);
    server.admin.get("/v1/vault/keys2").ok(200);
}

/// Every `$ref` in some JSON.
fn references(value: &Value, found: &mut Vec<String>) {
    match value {
        Value::Object(map) => {
            found.extend(map.get("$ref").and_then(Value::as_str).map(str::to_owned));
            map.values().for_each(|v| references(v, found));
        }
        Value::Array(all) => all.iter().for_each(|v| references(v, found)),
        _ => {}
    }
}

#[test]
fn the_openapi_document_is_complete_and_joins() {
    let server = TestServer::start();
    let document = server.nobody().get("/v1/openapi.json").ok(200);
    assert_eq!(document["openapi"], "3.1.0");
    let mut ids = HashSet::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            let id = operation["operationId"].as_str().unwrap();
            assert!(ids.insert(id.to_owned()), "{id} stands there twice");
            let all = operation["parameters"].as_array().cloned().unwrap_or_default();
            let in_path: HashSet<&str> =
                all.iter().filter(|p| p["in"] == "path").map(|p| p["name"].as_str().unwrap()).collect();
            let named: HashSet<&str> = EndpointInfo::path_parameters(path).into_iter().collect();
            assert_eq!(in_path, named, "{method} {path}");
            assert!(all.iter().filter(|p| p["in"] == "path").all(|p| p["required"] == true), "{method} {path}");
            let mut unique = HashSet::new();
            assert!(all.iter().all(|p| unique.insert((p["in"].clone(), p["name"].clone()))), "{method} {path}");
            assert!(!operation["summary"].as_str().unwrap().is_empty());
            assert!(operation["responses"].as_object().unwrap().keys().any(|s| s.starts_with('2')), "{method} {path}");
        }
    }
    let listed: HashSet<String> = keyark_api::list::endpoints().iter().map(|e| e.id.to_owned()).collect();
    assert_eq!(ids, listed);
    let mut found = Vec::new();
    references(&document, &mut found);
    for reference in found {
        let pointer = reference.strip_prefix('#').unwrap_or_else(|| panic!("{reference} is elsewhere"));
        assert!(document.pointer(pointer).is_some(), "{reference} leads nowhere");
    }
    let commands: HashSet<&str> = keyark_api::list::endpoints().iter().map(|e| e.cli).collect();
    assert_eq!(commands.len(), listed.len(), "two endpoints share a command");
}

#[test]
fn tls_with_the_local_authority() {
    let server = TestServer::start_tls();
    server.admin.key(json!({ "name": "over TLS" }));
    let authority = server.authority().unwrap();
    assert!(authority.contains("BEGIN CERTIFICATE"));
    // Who does not trust this authority gets no answer, and plain HTTP none either.
    let other = TestServer::start_tls();
    let foreign = keyark_testkit::client::agent_trusting(other.authority().unwrap());
    let port = server.address().port();
    assert!(foreign.get(format!("https://127.0.0.1:{port}/healthz")).call().is_err());
    assert!(keyark_testkit::client::agent().get(format!("http://127.0.0.1:{port}/healthz")).call().is_err());
}
