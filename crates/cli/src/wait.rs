//! `--wait`: follows a job until it has ended, through restarts of the server.

use std::time::{Duration, Instant};

use keyark_api::client::ClientError;
use keyark_api::error::{ErrorCode, Exit};
use keyark_model::access::Right;
use serde_json::Value;

use crate::caller::Caller;
use crate::failure::Failure;
use crate::progress;

const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);
/// How long the server may be away: a system restore ends its old life before it begins the new one.
const AWAY: Duration = Duration::from_secs(600);

/// What a job's answer says.
#[derive(PartialEq, Eq, Debug)]
enum State {
    Running { done: u64, total: u64 },
    Completed,
    Ended { status: String, message: String, code: Option<ErrorCode> },
}

/// Waits for a job; any end but a good one is an error.
pub fn job(caller: &mut Caller<'_>, id: &str) -> Result<(), Failure> {
    let path = format!("/v1/jobs/{}", keyark_api::address::percent(id));
    let bar = progress::work(&format!("job {id}"));
    let mut pause = FIRST_PAUSE;
    let mut seen = Instant::now();
    loop {
        match caller.with(Right::Authenticated, |client| client.get(&path)?.read::<Value>()) {
            Ok(job) => {
                seen = Instant::now();
                match state(&job) {
                    State::Running { done, total } => progress::set(&bar, done, total),
                    State::Completed => {
                        bar.finish_and_clear();
                        return Ok(());
                    }
                    State::Ended { status, message, code } => {
                        bar.finish_and_clear();
                        return Err(Failure::Job { id: id.into(), status, message, code });
                    }
                }
            }
            Err(Failure::Client(e)) if is_away(&e) && seen.elapsed() < AWAY => {}
            Err(e) => {
                bar.finish_and_clear();
                return Err(e);
            }
        }
        std::thread::sleep(pause);
        pause = (pause * 3 / 2).min(LONGEST_PAUSE);
    }
}

fn is_away(e: &ClientError) -> bool {
    e.exit() == Exit::Unavailable || matches!(e, ClientError::Foreign { status: 502..=504, .. })
}

fn state(job: &Value) -> State {
    let status = job["status"].as_str().unwrap_or_default().to_lowercase().replace(' ', "_");
    let progress = |name: &str| job["progress"][name].as_u64().or_else(|| job[name].as_u64()).unwrap_or(0);
    match status.as_str() {
        "completed" => State::Completed,
        "in_progress" | "queued" => State::Running { done: progress("done"), total: progress("total") },
        _ => State::Ended {
            status,
            message: ["/error/message", "/error", "/message"]
                .iter()
                .find_map(|place| job.pointer(place)?.as_str().filter(|text| !text.is_empty()))
                .unwrap_or("the server's log has the reason")
                .into(),
            code: job.pointer("/error/code").and_then(Value::as_u64).and_then(|n| ErrorCode::from_number(n as u32)),
        },
    }
}

#[cfg(test)]
mod tests {
    use keyark_api::ErrorCode;
    use serde_json::json;

    use super::{State, state};

    #[test]
    fn a_job_runs_completes_or_ends_with_its_reason() {
        assert_eq!(state(&json!({ "status": "completed" })), State::Completed);
        let running = json!({ "status": "in_progress", "progress": { "done": 3, "total": 9, "percent": 33 } });
        assert_eq!(state(&running), State::Running { done: 3, total: 9 });
        let ended =
            |status: &str, message: &str, code| State::Ended { status: status.into(), message: message.into(), code };
        let failed = json!({ "status": "failed", "error": "the disk is full", "progress": null });
        assert_eq!(state(&failed), ended("failed", "the disk is full", None));
        let coded = json!({ "status": "failed", "error": { "code": 1010, "message": "full" } });
        assert_eq!(state(&coded), ended("failed", "full", Some(ErrorCode::StorageFull)));
        assert!(matches!(state(&json!({})), State::Ended { .. }));
    }
}
