//! Which receiver has still to be told what; tried again until it was.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use keyark_api::ErrorCode;
use keyark_api::protection::Alarm;
use keyark_model::access::{Role, Roles};
use keyark_model::webhook::{AlarmName, WebhookHeader};
use keyark_model::{DomainId, Id, Time};
use serde_json::{Value, json};

use super::send::{Receiver, message};
use crate::app::App;
use crate::app::core::Core;
use crate::app::ctx::Ctx;
use crate::app::error::Result;

/// Seconds from a failed try to the next; each waits twice as long as the one before.
const AGAIN: i64 = 30;
const LONGEST_WAIT: i64 = 3_600;
/// Tries after which somebody is told in another way.
const FAILING: u32 = 3;
const FAILS: &str = "webhook_failing";

/// What is remembered of a webhook beside its record.
struct State {
    /// As the record was when somebody changed it last: what is older is forgotten.
    updated_at: Time,
    /// The receiver knows of these, whether or not that could be written down.
    known: BTreeSet<AlarmName>,
    delivered: u64,
    busy: bool,
    failures: u32,
    next: Option<Time>,
    error: Option<String>,
}

impl State {
    fn of(h: &WebhookHeader) -> State {
        let (known, delivered) = (h.known.clone(), h.delivered);
        State { updated_at: h.updated_at, known, delivered, busy: false, failures: 0, next: None, error: None }
    }

    /// A clock that was set back makes nobody wait for longer than was meant.
    fn waits(&self, now: Time) -> bool {
        self.busy || self.next.is_some_and(|next| (1..=LONGEST_WAIT * 1_000_000).contains(&(next.0 - now.0)))
    }
}

/// How deliveries go.
#[derive(Default)]
pub struct Webhooks(Mutex<HashMap<Id, State>>);

impl Webhooks {
    fn states(&self) -> MutexGuard<'_, HashMap<Id, State>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Why the last try failed, and when the next one comes.
    pub fn told(&self, id: Id) -> (Option<String>, Option<Time>) {
        self.states().get(&id).map(|s| (s.error.clone(), s.next)).unwrap_or_default()
    }

    pub fn forget(&self, id: Id) {
        self.states().remove(&id);
    }

    /// Receivers that do not answer.
    pub fn alarms(&self, core: &Core) -> Result<Vec<Alarm>> {
        let states = self.states();
        let mut all = Vec::new();
        for hook in core.load_all::<WebhookHeader>(DomainId::ROOT)?.iter().filter(|h| !h.header.disabled) {
            if let Some(state) = states.get(&hook.id()).filter(|s| s.failures >= FAILING) {
                let why = state.error.as_deref().unwrap_or_default();
                let message = format!("{} tries failed, alarms do not arrive there: {why}", state.failures);
                let (code, resource) = (FAILS.into(), hook.header.name.clone());
                all.push(Alarm { code, resource, destination: None, message });
            }
        }
        Ok(all)
    }
}

/// Something that a receiver has still to be told.
pub struct Delivery {
    app: Arc<App>,
    core: Arc<Core>,
    receiver: Receiver,
    updated_at: Time,
    events: Vec<Value>,
    known: BTreeSet<AlarmName>,
    number: u64,
    now: Time,
}

fn name_of(alarm: &Alarm) -> AlarmName {
    let Alarm { code, resource, destination, .. } = alarm;
    AlarmName { code: code.clone(), resource: resource.clone(), destination: destination.clone() }
}

/// What changed since a receiver was told: alarms that were raised, and those that are over.
fn events(alarms: &[Alarm], known: &BTreeSet<AlarmName>, names: &BTreeSet<AlarmName>) -> Vec<Value> {
    let mut told = BTreeSet::new();
    let raised = alarms.iter().filter(|a| !known.contains(&name_of(a)) && told.insert(name_of(a)));
    let raised = raised.map(|a| {
        json!({ "event": "raised", "code": a.code, "resource": a.resource, "destination": a.destination, "message": a.message })
    });
    let cleared = known.difference(names);
    let cleared = cleared
        .map(|a| json!({ "event": "cleared", "code": a.code, "resource": a.resource, "destination": a.destination }));
    raised.chain(cleared).collect()
}

/// The deliveries that are due now. Nothing while a restored system waits for its activation.
pub fn due(app: &Arc<App>) -> Result<Vec<Delivery>> {
    let (core, now) = (app.core()?, app.now());
    if core.suspended() {
        return Ok(Vec::new());
    }
    let mut hooks = core.load_all::<WebhookHeader>(DomainId::ROOT)?;
    hooks.retain(|h| !h.header.disabled);
    if hooks.is_empty() {
        return Ok(Vec::new());
    }
    let roles = Roles::from_names([Role::Auditors.name()]);
    let looking = Ctx::of_server(app, &core, (Core::new_id(now), "webhooks"), DomainId::ROOT, roles, "alarm_list", now);
    let alarms = looking.alarms()?;
    let mut all = Vec::new();
    for hook in hooks {
        let h = &hook.header;
        // It is not told of itself: whoever hears that hears the contrary.
        let its = |a: &&Alarm| a.code != FAILS || a.resource != h.name;
        let alarms: Vec<Alarm> = alarms.iter().filter(its).cloned().collect();
        let names: BTreeSet<AlarmName> = alarms.iter().map(name_of).collect();
        let mut states = app.webhooks.states();
        let state = states.entry(hook.id()).or_insert_with(|| State::of(h));
        if state.updated_at != h.updated_at {
            *state = State::of(h);
        }
        let events = events(&alarms, &state.known, &names);
        if events.is_empty() || state.waits(now) {
            continue;
        }
        let number = state.delivered + 1;
        state.busy = true;
        drop(states);
        let updated_at = h.updated_at;
        match core.webhook_receiver(&hook) {
            Ok(receiver) => all.push(Delivery {
                app: app.clone(),
                core: core.clone(),
                receiver,
                updated_at,
                events,
                known: names,
                number,
                now,
            }),
            Err(e) => {
                app.webhooks.forget(hook.id());
                tracing::error!(webhook = %hook.id(), error = %e, "a webhook cannot be opened");
            }
        }
    }
    Ok(all)
}

impl Drop for Delivery {
    fn drop(&mut self) {
        // However it ended, also when the server stopped in its middle: the next look begins anew.
        if let Some(state) = self.app.webhooks.states().get_mut(&self.receiver.id) {
            state.busy = false;
        }
    }
}

impl Delivery {
    /// Sends it, and notes how that went.
    pub async fn run(self) {
        let body = message(&self.core, self.receiver.id, &self.number.to_string(), self.now, self.events.clone());
        let sent = self.receiver.send(&body, self.now).await;
        if let Some(state) =
            self.app.webhooks.states().get_mut(&self.receiver.id).filter(|s| s.updated_at == self.updated_at)
        {
            match &sent {
                Ok(()) => {
                    (state.known, state.delivered) = (self.known.clone(), self.number);
                    (state.failures, state.next, state.error) = (0, None, None);
                }
                Err(why) => {
                    let wait = (AGAIN << state.failures.min(7)).min(LONGEST_WAIT);
                    state.failures = state.failures.saturating_add(1);
                    (state.next, state.error) = (Some(self.app.now().plus_seconds(wait)), Some(why.clone()));
                }
            }
        }
        match sent {
            Ok(()) => {
                let noted = tokio::task::spawn_blocking(move || self.note().map_err(|e| e.to_string())).await;
                if let Ok(Err(e)) = noted {
                    tracing::warn!(error = e, "a delivery could not be noted; after a restart it is made again");
                }
            }
            Err(why) => tracing::warn!(webhook = %self.receiver.id, why, "an alarm did not arrive"),
        }
    }

    /// Writes down what the receiver knows now.
    fn note(&self) -> Result<()> {
        let stored = match self.core.load::<WebhookHeader>(DomainId::ROOT, self.receiver.id) {
            Err(e) if e.code == ErrorCode::NotFound => return Ok(()),
            other => other?,
        };
        // Where a person decides first which state counts, nothing is written; and who changed it meanwhile meant it.
        if self.core.rolled_back().is_some() || stored.header.updated_at != self.updated_at {
            return Ok(());
        }
        let header = WebhookHeader {
            known: self.known.clone(),
            delivered: self.number,
            delivered_at: Some(self.now),
            ..stored.header.clone()
        };
        let write = self.core.put_header(&stored, &header)?;
        self.core.commit_as_system(self.now, DomainId::ROOT, "webhook_deliver", vec![], vec![write])?;
        Ok(())
    }
}
