//! The clear header of a key record: everything about a key but its material.

use std::collections::BTreeMap;

use crate::record::mentions;
use crate::{Digest, Id, Time};

use super::algorithm::KeySpec;
use super::attributes::{Alias, KeyPermission, Link};
use super::lifetime::{Dates, NotPermitted, effective_state, permit};
use super::name::KeyName;
use super::state::{Refused, RevocationReason, State, Transition, transition};
use super::usage::{Operation, UsageMask};

/// Why a version was revoked.
#[derive(Clone, PartialEq, Eq, Debug, serde::Serialize, serde::Deserialize)]
pub struct Revocation {
    pub reason: RevocationReason,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub message: String,
}

/// One version of a key, without its material. JSON keeps what differs from the default.
#[derive(Clone, PartialEq, Eq, Debug, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct VersionHeader {
    /// Counts from 0; part of ciphertexts, never used again.
    pub version: u32,
    pub id: Id,
    /// As it was last written; what it is now is `state_at`.
    pub state: State,
    #[serde(default, skip_serializing_if = "Dates::is_empty")]
    pub dates: Dates,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revocation: Option<Revocation>,
    pub created_at: Time,
    /// HKDF of the material (`sha256Fingerprint` on the wire): equal for equal material, and says nothing else of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fingerprint: Option<Digest>,
    /// Whether the material was brought in rather than made here.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub imported: bool,
    /// The `muid` of an imported key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub muid: Option<String>,
    /// The `keyId` of an imported key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key_id: Option<String>,
    /// What was said with the last change of its state; of a revocation, that has its own.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub state_message: String,
}

/// The header of a record of kind `Key`: one JSON object, in clear, sealed against by the body. A million are stored:
/// JSON keeps what differs from the default.
#[derive(Clone, PartialEq, Eq, Debug, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct KeyHeader {
    pub name: KeyName,
    /// Algorithm with size or curve, of every version.
    pub spec: KeySpec,
    pub usage_mask: UsageMask,
    /// Who owns it, as `local|<uuid>`; empty if nobody does.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub owner_id: String,
    /// Permission → names of groups.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub permissions: BTreeMap<KeyPermission, Vec<String>>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub aliases: Vec<Alias>,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub description: String,
    /// Binds this server: the material never leaves it by an export.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub unexportable: bool,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub undeletable: bool,
    /// Whatever else the client keeps with the key.
    #[serde(default, skip_serializing_if = "serde_json::Map::is_empty")]
    pub meta: serde_json::Map<String, serde_json::Value>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub links: Vec<Link>,
    pub created_at: Time,
    pub updated_at: Time,
    /// When it will be deleted, if that was ordered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deletion_date: Option<Time>,
    /// Oldest first, never empty; each counts in the quota.
    pub versions: Vec<VersionHeader>,
}

/// Whether a stored header mentions a day on which something ends; only such headers need be read for that.
pub fn mentions_an_end(header: &[u8]) -> bool {
    mentions(header, b"\"deletionDate\"") || mentions(header, b"\"destroy\"")
}

impl KeyHeader {
    /// The version with the highest number; none only in a header that nobody wrote.
    pub fn newest(&self) -> Option<&VersionHeader> {
        self.versions.iter().max_by_key(|v| v.version)
    }

    /// The version with this number.
    pub fn version(&self, number: u32) -> Option<&VersionHeader> {
        self.versions.iter().find(|v| v.version == number)
    }

    /// The version with this number, to be changed.
    pub fn version_mut(&mut self, number: u32) -> Option<&mut VersionHeader> {
        self.versions.iter_mut().find(|v| v.version == number)
    }

    /// The version with this id.
    pub fn version_by_id(&self, id: Id) -> Option<&VersionHeader> {
        self.versions.iter().find(|v| v.id == id)
    }

    /// The number of the next version.
    pub fn next_version(&self) -> u32 {
        self.newest().map_or(0, |v| v.version + 1)
    }

    /// Whether one of these groups has been given this operation on this key.
    pub fn grants<'a>(&self, operation: Operation, groups: impl Iterator<Item = &'a str> + Clone) -> bool {
        self.permissions
            .iter()
            .filter(|(permission, _)| permission.grants(operation))
            .any(|(_, given)| groups.clone().any(|group| given.iter().any(|g| g == group)))
    }
}

impl VersionHeader {
    /// The state now: the stored one, moved on by its dates.
    pub fn state_at(&self, now: Time) -> State {
        effective_state(self.state, &self.dates, now)
    }

    /// Whether an operation is permitted now. The usage mask is another question.
    pub fn permit(&self, now: Time, operation: Operation) -> Result<(), NotPermitted> {
        permit(self.state, &self.dates, now, operation)
    }

    /// When its material will be destroyed, if that was ordered.
    pub fn destruction(&self) -> Option<Time> {
        self.dates.destroy.filter(|_| !self.state.is_destroyed())
    }

    /// Makes a transition and sets the dates that go with it. `message` is kept, of a revocation with its reason;
    /// `occurred` is when a compromise is believed to have happened. Refused, it changes nothing.
    pub fn apply(
        &mut self,
        order: Transition,
        message: &str,
        occurred: Option<Time>,
        now: Time,
    ) -> Result<(), Refused> {
        let next = transition(self.state_at(now), order)?;
        let revokes = matches!(order, Transition::Revoke(_));
        self.state_message = if revokes { String::new() } else { message.to_owned() };
        match order {
            Transition::Activate => self.dates.activation = Some(now),
            Transition::Suspend | Transition::Resume => {}
            Transition::Deactivate => self.dates.deactivation = Some(now),
            Transition::Reactivate => {
                self.dates.deactivation = None;
                self.dates.protect_stop = self.dates.protect_stop.filter(|at| *at > now);
                self.revocation = None;
            }
            Transition::Revoke(reason) => {
                self.revocation = Some(Revocation { reason, message: message.to_owned() });
                if reason.is_compromise() {
                    self.dates.compromise = Some(now);
                    self.dates.compromise_occurrence = occurred;
                } else {
                    self.dates.deactivation = Some(now);
                }
            }
            Transition::Destroy => self.dates.destroy = Some(now),
        }
        self.state = next;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::{Alias, KeyHeader, KeyPermission, Link, VersionHeader};
    use crate::key::{AliasType, Dates, KeyName, KeySpec, LinkType, Operation, RevocationReason, State, Transition};
    use crate::{Digest, Id, RecordFacts, Time};

    const NOW: Time = Time(1_777_777_777_000_000);

    fn version(version: u32) -> VersionHeader {
        VersionHeader {
            version,
            id: Id::from_bytes([version as u8; 16]),
            state: State::Active,
            dates: Dates::default(),
            revocation: None,
            created_at: NOW,
            fingerprint: Some(Digest([7; 32])),
            imported: false,
            muid: None,
            key_id: None,
            state_message: String::new(),
        }
    }

    fn header() -> KeyHeader {
        KeyHeader {
            name: KeyName::new("payments").unwrap(),
            spec: KeySpec::AES_256,
            usage_mask: KeySpec::AES_256.default_usage(),
            owner_id: String::new(),
            permissions: BTreeMap::new(),
            labels: BTreeMap::new(),
            aliases: Vec::new(),
            description: String::new(),
            unexportable: false,
            undeletable: false,
            meta: serde_json::Map::new(),
            links: Vec::new(),
            created_at: NOW,
            updated_at: NOW,
            deletion_date: None,
            versions: vec![version(0)],
        }
    }

    #[test]
    fn a_plain_header_is_short_and_keeps_its_form() {
        let json = serde_json::to_string(&header()).unwrap();
        assert_eq!(
            json,
            concat!(
                r#"{"name":"payments","spec":"AES-256","usageMask":124,"#,
                r#""createdAt":"2026-05-03T03:09:37.000000000Z","updatedAt":"2026-05-03T03:09:37.000000000Z","#,
                r#""versions":[{"version":0,"id":"00000000-0000-0000-0000-000000000000","state":"Active","#,
                r#""createdAt":"2026-05-03T03:09:37.000000000Z","#,
                r#""fingerprint":"0707070707070707070707070707070707070707070707070707070707070707"}]}"#
            )
        );
        assert_eq!(serde_json::from_str::<KeyHeader>(&json).unwrap(), header());
        assert_eq!(RecordFacts::of_header(json.as_bytes()).unwrap().weight, 1);
    }

    #[test]
    fn a_full_header_is_written_and_read_back() {
        let mut full = header();
        full.owner_id = "local|3f6f".into();
        full.permissions.insert(KeyPermission::MacVerifyWithKey, vec!["Tellers".into()]);
        full.labels.insert("team".into(), "cards".into());
        full.aliases.push(Alias { alias: KeyName::new("p1").unwrap(), index: 0, kind: AliasType::Uri });
        full.description = "the one for cards".into();
        full.unexportable = true;
        full.undeletable = true;
        full.meta.insert("cte".into(), serde_json::json!({ "persistent_on_client": true, "n": 1.5 }));
        full.links.push(Link { kind: LinkType::ReplacementObject, target: Id::from_bytes([9; 16]) });
        full.deletion_date = Some(NOW);
        full.versions.push(VersionHeader { imported: true, muid: Some("m".into()), ..version(1) });
        let order = Transition::Revoke(RevocationReason::KeyCompromise);
        full.version_mut(1).unwrap().apply(order, "found on a stick", Some(Time(1)), NOW).unwrap();
        let json = serde_json::to_string(&full).unwrap();
        assert!(json.contains(r#""permissions":{"MACVerifyWithKey":["Tellers"]}"#), "{json}");
        assert!(json.contains(r#""aliases":[{"alias":"p1","index":0,"type":"uri"}]"#), "{json}");
        assert!(json.contains(r#""revocation":{"reason":"KeyCompromise","message":"found on a stick"}"#), "{json}");
        assert_eq!(serde_json::from_str::<KeyHeader>(&json).unwrap(), full);
        let facts = RecordFacts::of_header(json.as_bytes()).unwrap();
        assert_eq!((facts.name.as_deref(), &*facts.aliases, facts.weight), (Some("payments"), &["p1".into()][..], 2));
    }

    #[test]
    fn versions_are_found_by_number_and_by_id() {
        let mut key = header();
        key.versions.push(version(1));
        assert_eq!(key.newest().unwrap().version, 1);
        assert_eq!(key.version(0).unwrap().version, 0);
        assert!(key.version(2).is_none());
        assert_eq!(key.version_by_id(Id::from_bytes([1; 16])).unwrap().version, 1);
        assert!(key.version_by_id(Id::from_bytes([2; 16])).is_none());
        assert_eq!(key.next_version(), 2);
    }

    #[test]
    fn a_transition_sets_its_dates_and_starts_from_the_state_of_now() {
        let mut v = VersionHeader { state: State::PreActive, ..version(0) };
        v.dates.activation = Some(Time(0));
        v.apply(Transition::Suspend, "", None, NOW).unwrap();
        assert_eq!(v.state, State::Suspended, "the activation date had passed");
        v.apply(Transition::Resume, "", None, NOW).unwrap();
        v.dates.protect_stop = Some(NOW);
        v.apply(Transition::Revoke(RevocationReason::Superseded), "by 1", None, NOW).unwrap();
        assert_eq!((v.state, v.dates.deactivation, v.dates.compromise), (State::Deactivated, Some(NOW), None));
        assert_eq!(v.revocation.as_ref().unwrap().message, "by 1");
        v.apply(Transition::Reactivate, "a mistake", None, NOW).unwrap();
        assert_eq!((v.dates.deactivation, v.dates.protect_stop, &v.revocation), (None, None, &None));
        assert!(v.permit(NOW, Operation::Encrypt).is_ok());
        assert_eq!(v.state_message, "a mistake");
        v.apply(Transition::Revoke(RevocationReason::CACompromise), "", Some(Time(5)), NOW).unwrap();
        assert_eq!((v.dates.compromise, v.dates.compromise_occurrence), (Some(NOW), Some(Time(5))));
        let before = v.clone();
        assert!(v.apply(Transition::Reactivate, "", None, NOW).is_err());
        assert_eq!(v, before);
        v.apply(Transition::Destroy, "", None, NOW).unwrap();
        assert_eq!((v.state, v.dates.destroy), (State::DestroyedCompromised, Some(NOW)));
        assert_eq!(v.revocation.as_ref().unwrap().reason, RevocationReason::CACompromise);
    }

    #[test]
    fn every_operation_is_granted_by_use_key_or_export_key_and_by_one_of_its_own() {
        for &operation in Operation::ALL {
            let by: Vec<_> = KeyPermission::ALL.iter().copied().filter(|p| p.grants(operation)).collect();
            if operation == Operation::Export {
                assert_eq!(by, [KeyPermission::ExportKey]);
            } else {
                assert_eq!((by.len(), by[0]), (2, KeyPermission::UseKey), "{operation}");
            }
        }
        let mut key = header();
        key.permissions.insert(KeyPermission::DecryptWithKey, vec!["Readers".into()]);
        assert!(key.grants(Operation::Decrypt, ["Others", "Readers"].into_iter()));
        assert!(!key.grants(Operation::Encrypt, ["Readers"].into_iter()));
        assert!(!key.grants(Operation::Decrypt, ["readers"].into_iter()));
    }
}
