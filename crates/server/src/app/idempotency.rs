//! Idempotency keys: the same POST of the same caller under the same key is done once and answered twice.
//!
//! In memory, for a day (`docs/decisions/0011-idempotency.md`). Only what succeeded is kept: a refusal did nothing.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use keyark_api::endpoint::Body;
use keyark_api::{EndpointInfo, ErrorCode, Method};
use keyark_crypto::{SecretBytes, hash, random};
use keyark_model::access::Right;
use keyark_model::{Digest, DomainId, Id, Time};

use super::ctx::Request;
use super::error::{AppError, Result};
use super::handler::Written;
use super::{App, Content};

/// How long a reply is kept in seconds.
const KEPT_SECONDS: i64 = 24 * 3600;
/// Replies kept at most, and their bytes; the oldest go first.
const MOST_REPLIES: usize = 10_000;
const MOST_BYTES: usize = 16 << 20;
/// A longer reply is not kept.
const LONGEST_REPLY: usize = 256 << 10;
const LONGEST_KEY: usize = 128;

/// Who sent which key where.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
struct Name {
    user: Id,
    domain: DomainId,
    path: String,
    key: String,
}

/// The first reply. Wiped from memory when it is forgotten: it may hold key material.
#[derive(Clone)]
pub struct Kept {
    pub status: u16,
    pub revision: Option<u64>,
    /// Absent for an answer without a body.
    pub json: Option<Arc<SecretBytes>>,
}

struct Slot {
    at: Time,
    fingerprint: Digest,
    /// Absent while the first one runs.
    reply: Option<Kept>,
}

/// The keys that are remembered.
pub struct Idempotency {
    salt: [u8; 16],
    slots: Mutex<Slots>,
}

#[derive(Default)]
struct Slots {
    known: HashMap<Name, Slot>,
    /// In order of arrival; a name that was released and taken again stands twice.
    order: VecDeque<(Time, Name)>,
    bytes: usize,
}

/// What to do with a request.
pub enum Once {
    /// No key, or one that means nothing here.
    Untracked,
    /// Do it, and tell the ticket how it ended.
    First(Ticket),
    Again(Kept),
}

/// The right to do it. Dropped without an outcome (a failure, a panic), the key is free again.
pub struct Ticket {
    app: Arc<App>,
    name: Option<Name>,
}

impl Default for Idempotency {
    fn default() -> Self {
        Idempotency { salt: random::bytes(), slots: Mutex::default() }
    }
}

impl Slots {
    fn forget(&mut self, name: &Name) {
        if let Some(slot) = self.known.remove(name) {
            self.bytes -= slot.size();
        }
    }

    /// Forgets what is too old, then what is too much; what still runs stays.
    fn shrink(&mut self, now: Time) {
        let mut running = Vec::new();
        while let Some((at, name)) = self.order.front() {
            let old = now.0 - at.0 >= KEPT_SECONDS * 1_000_000;
            if !old && self.known.len() < MOST_REPLIES && self.bytes <= MOST_BYTES {
                break;
            }
            let stale = self.known.get(name).is_none_or(|slot| slot.at != *at);
            let runs = !stale && self.known.get(name).is_some_and(|slot| slot.reply.is_none());
            let Some((at, name)) = self.order.pop_front() else { break };
            match (stale, runs) {
                (true, _) => {}
                (false, true) => running.push((at, name)),
                (false, false) => self.forget(&name),
            }
        }
        for entry in running.into_iter().rev() {
            self.order.push_front(entry);
        }
    }
}

impl Slot {
    fn size(&self) -> usize {
        self.reply.as_ref().and_then(|r| r.json.as_ref()).map_or(0, |json| json.expose().len())
    }
}

impl Idempotency {
    fn slots(&self) -> MutexGuard<'_, Slots> {
        self.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells two requests apart. Salted: a body may hold a password.
    pub fn fingerprint(&self, query: &str, body: &[u8]) -> Digest {
        hash::sha256(&[&self.salt, &(query.len() as u64).to_be_bytes(), query.as_bytes(), body])
    }

    /// Forgets every reply: the system that gave them is not the one that runs now.
    pub fn clear(&self) {
        let mut slots = self.slots();
        slots.known.retain(|_, slot| slot.reply.is_none());
        slots.bytes = 0;
    }

    /// The reply under this name, or nothing: then it is reserved.
    fn begin(&self, name: &Name, fingerprint: Digest, now: Time) -> Result<Option<Kept>> {
        let mut slots = self.slots();
        slots.shrink(now);
        if let Some(slot) = slots.known.get(name) {
            if slot.fingerprint != fingerprint {
                return Err(AppError::new(
                    ErrorCode::IdempotencyMismatch,
                    "this Idempotency-Key was sent with another request; use a new key for a new request",
                ));
            }
            return match &slot.reply {
                Some(reply) => Ok(Some(reply.clone())),
                None => {
                    let mut e = AppError::conflict("the first request with this Idempotency-Key still runs; ask again");
                    e.retry_after = Some(1);
                    Err(e)
                }
            };
        }
        if slots.known.len() >= MOST_REPLIES {
            let mut e =
                AppError::new(ErrorCode::Unavailable, "too many requests with an Idempotency-Key run; try again");
            e.retry_after = Some(1);
            return Err(e);
        }
        slots.known.insert(name.clone(), Slot { at: now, fingerprint, reply: None });
        slots.order.push_back((now, name.clone()));
        Ok(None)
    }

    fn finish(&self, name: &Name, reply: Option<Kept>) {
        let mut slots = self.slots();
        let Some(reply) = reply else { return slots.forget(name) };
        if let Some(slot) = slots.known.get_mut(name) {
            slot.reply = Some(reply);
            let size = slot.size();
            slots.bytes += size;
        }
    }
}

/// Whether doing it twice would do harm, and its reply may be kept: logging in and cryptography are excluded, and so
/// are exports, which change nothing.
fn applies(endpoint: &EndpointInfo) -> bool {
    let excluded = endpoint.path.starts_with("/v1/auth/") || endpoint.path.starts_with("/v1/crypto/");
    let exports =
        matches!(endpoint.right, Right::KeyExport | Right::SecretValue) || endpoint.id == "backup_key_download";
    endpoint.method == Method::POST && endpoint.body == Body::Json && !excluded && !exports
}

/// Looks a request's key up, or reserves it.
pub fn begin(app: &Arc<App>, endpoint: &EndpointInfo, request: &Request, path: &str) -> Result<Once> {
    let (Some(key), true) = (&request.idempotency_key, applies(endpoint)) else { return Ok(Once::Untracked) };
    if key.is_empty() || key.len() > LONGEST_KEY || !key.bytes().all(|b| b.is_ascii_graphic()) {
        return Err(AppError::invalid(format!("Idempotency-Key has 1 to {LONGEST_KEY} visible ASCII characters")));
    }
    let Some(fingerprint) = request.fingerprint else { return Ok(Once::Untracked) };
    let now = app.now();
    // Who cannot be known is refused, and recorded, where every call is.
    let Ok(caller) = app.core().and_then(|core| app.principals.authenticate(&core, request, now)) else {
        return Ok(Once::Untracked);
    };
    if caller.must_change_password {
        return Ok(Once::Untracked);
    }
    let path = path.strip_prefix("/api").unwrap_or(path).to_owned();
    let name = Name { user: caller.user, domain: caller.domain, path, key: key.clone() };
    Ok(match app.idempotency.begin(&name, fingerprint, now)? {
        Some(reply) => Once::Again(reply),
        None => Once::First(Ticket { app: app.clone(), name: Some(name) }),
    })
}

impl Ticket {
    /// The call has ended: a success is kept, everything else frees the key.
    pub fn finish(mut self, result: &Result<Written>, usual: u16) {
        let kept = result.as_ref().ok().and_then(|reply| {
            let json = match &reply.content {
                Content::Json(text) if text.len() > LONGEST_REPLY => return None,
                Content::Json(text) => Some(Arc::new(SecretBytes::new(text.clone()))),
                Content::None => None,
                Content::File { .. } => return None,
            };
            Some(Kept { status: reply.status.unwrap_or(usual), revision: reply.revision, json })
        });
        if let Some(name) = self.name.take() {
            self.app.idempotency.finish(&name, kept);
        }
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        if let Some(name) = self.name.take() {
            self.app.idempotency.finish(&name, None);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use keyark_api::backupkeys::BackupKeyDownload;
    use keyark_api::crypto::Encrypt;
    use keyark_api::keys::{KeyCreate, KeyExport, KeyGet};
    use keyark_api::{Endpoint, EndpointInfo, ErrorCode};
    use keyark_crypto::SecretBytes;
    use keyark_model::{DomainId, Id, Time};

    use super::{Idempotency, KEPT_SECONDS, Kept, MOST_BYTES, MOST_REPLIES, Name};

    fn applies<E: Endpoint>() -> bool {
        super::applies(&EndpointInfo::of::<E>())
    }

    fn name(key: &str) -> Name {
        Name { user: Id::from_bytes([1; 16]), domain: DomainId::ROOT, path: "/v1/x".into(), key: key.into() }
    }

    fn kept(bytes: usize) -> Option<Kept> {
        Some(Kept { status: 201, revision: Some(1), json: Some(Arc::new(SecretBytes::new(vec![b' '; bytes]))) })
    }

    #[test]
    fn the_same_request_runs_once_and_is_answered_again() {
        let all = Idempotency::default();
        let (one, two) = (all.fingerprint("", b"{1}"), all.fingerprint("", b"{2}"));
        let now = Time(0);
        let code = |result: super::Result<Option<Kept>>| result.err().map(|e| e.code);
        assert!(all.begin(&name("a"), one, now).unwrap().is_none());
        assert_eq!(code(all.begin(&name("a"), one, now)), Some(ErrorCode::Conflict), "it still runs");
        all.finish(&name("a"), kept(2));
        let again = all.begin(&name("a"), one, now).unwrap().unwrap();
        assert_eq!((again.status, again.revision), (201, Some(1)));
        assert_eq!(code(all.begin(&name("a"), two, now)), Some(ErrorCode::IdempotencyMismatch));
        let other = Name { user: Id::from_bytes([2; 16]), ..name("a") };
        assert!(all.begin(&other, two, now).unwrap().is_none(), "another caller's key is another key");
        assert!(all.begin(&name("a"), two, now.plus_seconds(KEPT_SECONDS)).unwrap().is_none(), "a day later");
    }

    #[test]
    fn what_failed_may_be_tried_again() {
        let all = Idempotency::default();
        let print = all.fingerprint("", b"{}");
        assert!(all.begin(&name("a"), print, Time(0)).unwrap().is_none());
        all.finish(&name("a"), None);
        assert!(all.begin(&name("a"), print, Time(1)).unwrap().is_none());
        all.finish(&name("a"), kept(1));
        all.clear();
        assert!(all.begin(&name("a"), print, Time(2)).unwrap().is_none());
    }

    #[test]
    fn the_oldest_replies_go_first_and_what_runs_stays() {
        let all = Idempotency::default();
        let print = all.fingerprint("", b"{}");
        assert!(all.begin(&name("runs"), print, Time(0)).unwrap().is_none());
        for n in 0..MOST_REPLIES + 10 {
            assert!(all.begin(&name(&n.to_string()), print, Time(1)).unwrap().is_none(), "{n}");
            all.finish(&name(&n.to_string()), kept(1));
        }
        assert!(all.slots().known.len() <= MOST_REPLIES);
        assert!(all.begin(&name("runs"), print, Time(2)).is_err());
        assert!(all.begin(&name("0"), print, Time(2)).unwrap().is_none(), "forgotten");
        assert!(all.begin(&name(&(MOST_REPLIES + 9).to_string()), print, Time(2)).unwrap().is_some());
        all.finish(&name("0"), kept(MOST_BYTES + 1));
        assert!(all.begin(&name("next"), print, Time(3)).unwrap().is_none());
        assert!(all.slots().bytes <= MOST_BYTES);
    }

    #[test]
    fn only_what_changes_something_is_tracked() {
        assert!(applies::<KeyCreate>());
        assert!(!applies::<KeyGet>() && !applies::<Encrypt>() && !applies::<KeyExport>());
        assert!(!applies::<BackupKeyDownload>());
    }
}
