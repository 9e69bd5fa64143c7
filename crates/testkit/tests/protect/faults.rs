//! Object stores whose answers are refusals, come late or never: nothing is taken for what it is not.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex};

use keyark_backup::destination::{Content, Destination, DestinationError, create_or_same, list_all};
use keyark_model::protection::{Lock, LockMode};
use keyark_testkit::azure::AzureServer;
use keyark_testkit::proxy::{Fault, Proxy};
use keyark_testkit::s3::{self, S3Server};

type Plan = Arc<Mutex<VecDeque<(&'static str, Fault)>>>;

/// A proxy that does these things to the next requests of a method.
fn behind(endpoint: &str) -> (Proxy, Plan) {
    let plan = Plan::default();
    let due = plan.clone();
    let proxy = Proxy::start(endpoint, move |head| {
        let mut due = due.lock().unwrap();
        let next = due.front().is_some_and(|(method, _)| head.starts_with(method));
        next.then(|| due.pop_front()).flatten().map(|(_, fault)| fault)
    });
    (proxy, plan)
}

#[test]
fn what_was_refused_or_not_heard_of_is_tried_again_and_is_there_once() {
    let (server, azure, folder) = (S3Server::start(), AzureServer::start(), tempfile::tempdir().unwrap());
    let file = folder.path().join("large");
    std::fs::write(&file, vec![7; 17 << 20]).unwrap();
    let (small, large) = (Content::Bytes(b"seven"), Content::File(&file));
    let (proxy, plan) = behind(&server.endpoint);
    let plain = server.open_at(&proxy.endpoint, s3::BUCKET, "", s3::ACCESS);
    let locked = server.open_at(&proxy.endpoint, s3::LOCKED, "", s3::ACCESS);
    let locked = locked.locking(Some(Lock { mode: LockMode::Governance, days: 2 }));
    let (azure_proxy, azure_plan) = behind(&azure.endpoint);
    let blob = azure.open_at(&azure_proxy.endpoint, "");
    // The library tries small objects again by itself, but for conflicts; then it may find that the first try was not in vain.
    for (n, fault) in [409, 412, 429, 503].map(Fault::Status).into_iter().chain([Fault::Lost]).enumerate() {
        for (place, plan, what, content) in [
            (&plain, &plan, "small", small),
            (&plain, &plan, "large", large),
            (&locked, &plan, "locked", small),
            (&blob, &azure_plan, "small", small),
            (&blob, &azure_plan, "large", large),
        ] {
            let name = format!("a/{what}-{n}");
            plan.lock().unwrap().push_back(("PUT", fault.clone()));
            let first = place.create(&name, content);
            assert!(plan.lock().unwrap().is_empty(), "{name}: {fault:?} happened");
            match (what, &fault) {
                ("small", Fault::Status(429 | 503)) => assert_eq!(first, Ok(()), "{name}: {fault:?}"),
                ("small", Fault::Lost) => assert_eq!(first, Err(DestinationError::Exists(name.clone()))),
                _ => assert!(first.as_ref().is_err_and(|e| e.is_transient()), "{name}: {fault:?} {first:?}"),
            }
            create_or_same(place, &name, content).unwrap_or_else(|e| panic!("{name}: {fault:?}: {e}"));
            assert_eq!(place.create(&name, Content::Bytes(b"eight")), Err(DestinationError::Exists(name.clone())));
            assert_eq!(place.size(&name), Ok(content.size().unwrap()));
        }
    }
}

#[test]
fn half_an_answer_is_no_answer() {
    let server = S3Server::start();
    let (proxy, plan) = behind(&server.endpoint);
    let place = server.open_at(&proxy.endpoint, s3::BUCKET, "", s3::ACCESS);
    let content: Vec<u8> = (0..100_000_u32).map(|n| (n % 251) as u8).collect();
    for n in 0..40 {
        place.create(&format!("a/{n:02}"), Content::Bytes(&content)).unwrap();
    }
    let mut told = BTreeMap::new();
    for fault in [Fault::Cut, Fault::Lost, Fault::Status(503), Fault::Status(500)] {
        let fail = |times| (0..times).for_each(|_| plan.lock().unwrap().push_back(("GET", fault.clone())));
        fail(1);
        // Read again by itself, or an error: never a part.
        let read = place.read("a/07", 10..90_000);
        assert!(read.as_ref().map_or_else(|e| e.is_transient(), |bytes| *bytes == content[10..90_000]), "{fault:?}");
        told.insert(format!("{fault:?} read"), read.is_ok());
        plan.lock().unwrap().clear();
        fail(1);
        let listed = list_all(&place, "a/");
        assert!(listed.as_ref().map_or_else(|e| e.is_transient(), |all| all.len() == 40), "{fault:?} {listed:?}");
        told.insert(format!("{fault:?} list"), listed.is_ok());
        plan.lock().unwrap().clear();
    }
    assert!(told["Status(503) read"] && told["Status(503) list"], "a pause is waited for: {told:?}");
    // A deletion that nobody heard of was one.
    plan.lock().unwrap().push_back(("DELETE", Fault::Lost));
    let gone = place.delete("a/07");
    assert!(gone.as_ref().is_err_and(DestinationError::is_transient), "{gone:?}");
    assert_eq!(place.delete("a/07"), Err(DestinationError::NotFound("a/07".into())));
}
