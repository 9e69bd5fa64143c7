//! What was asked must be found again: changes in the change log, everything else in the usage log.

use std::collections::HashMap;

use keyark_api::{EndpointInfo, Method};
use keyark_model::access::Right;
use keyark_testkit::client::text;
use keyark_testkit::{Answer, Client};
use serde_json::Value;

/// A call as its caller knows it.
pub struct Asked {
    pub action: &'static str,
    pub status: u16,
    reads: bool,
    root: bool,
    user: String,
    request_id: String,
}

impl Asked {
    pub fn of(info: &EndpointInfo, client: &Client, root: bool, answer: Answer) -> Asked {
        let reads = info.method == Method::GET || info.path.starts_with("/v1/crypto/");
        let request_id = answer.header("x-request-id").to_owned();
        // Nobody is asked who calls what is open to everybody.
        let public = info.right == Right::Public;
        let user = if public { String::new() } else { client.user_id.clone() };
        Asked { action: info.id, status: answer.status, reads, root: root || public, user, request_id }
    }
}

/// All records of a log that this caller sees, by the request that they are of.
fn records(admin: &Client, path: &str) -> HashMap<String, Vec<Value>> {
    let mut by_request = HashMap::<_, Vec<_>>::new();
    let mut before = String::new();
    loop {
        let page = admin.get(&format!("{path}?limit=-1{before}")).ok(200);
        let Some(last) = page["resources"].as_array().and_then(|r| r.last()) else { return by_request };
        before = format!("&before={}", last["position"]);
        for record in page["resources"].as_array().into_iter().flatten() {
            by_request.entry(text(record, "requestID")).or_default().push(record.clone());
        }
    }
}

/// Holds every call against both logs: a change is in the change log, a read, a use and a refusal in the usage log,
/// with caller, action and outcome; what was malformed and did nothing is in neither.
pub fn all(calls: &[Asked], root: &Client, tenant: &Client) {
    let logs = [root, tenant].map(|c| (records(c, "/v1/audit/records"), records(c, "/v1/audit/client-records")));
    let mut wrong = Vec::new();
    for call in calls {
        let (changes, uses) = &logs[usize::from(!call.root)];
        let of_call = |log: &HashMap<String, Vec<Value>>, success: bool| {
            log.get(&call.request_id).into_iter().flatten().any(|r| {
                let actor = r["userId"].as_str().unwrap_or_default();
                r["action"] == call.action && r["success"] == success && actor == call.user
            })
        };
        let known = changes.contains_key(&call.request_id) || uses.contains_key(&call.request_id);
        let fits = match call.status {
            200..300 if call.reads => of_call(uses, true),
            200..300 => of_call(changes, true) || of_call(uses, true),
            401 | 403 | 404 | 429 => of_call(uses, false) && !changes.contains_key(&call.request_id),
            _ if call.reads || call.action == "token_create" => of_call(uses, false),
            _ => !known,
        };
        if !fits {
            let of = |log: &HashMap<String, Vec<Value>>| format!("{:?}", log.get(&call.request_id));
            wrong.push(format!("{} {} by {:?}: {} / {}", call.action, call.status, call.user, of(changes), of(uses)));
        }
    }
    assert!(wrong.is_empty(), "{} of {}:\n{}", wrong.len(), calls.len(), wrong.join("\n"));
}
