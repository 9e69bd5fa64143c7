//! What a plan does where a record's id or name is taken, by the rule that was chosen.

use std::collections::BTreeSet;

use keyark_archive::RecordRef;
use keyark_crypto::hash::sha256;
use keyark_model::{Digest, DomainId, Id, Kind, RecordFacts, Time};
use keyark_store::Fault;

use crate::options::Conflict;
use crate::plan::{Action, Planner};

impl Planner<'_> {
    pub(crate) fn conflict(
        &mut self,
        r: &RecordRef<'_>,
        facts: RecordFacts,
        why: &str,
        current: u64,
    ) -> Result<(), Fault> {
        let name = facts.name.clone();
        match self.input.options.conflict {
            Conflict::Fail => {
                let reason = format!("{why}; choose skip, overwrite or rename");
                self.line(r, name, Action::Refuse, &reason, current, 0);
            }
            Conflict::Skip => self.line(r, name, Action::Skip, why, current, current),
            Conflict::Overwrite if current > 0 => {
                self.line(r, name, Action::Overwrite, why, current, current + 1);
            }
            Conflict::Overwrite => {
                let reason = format!("{why}; it cannot be overwritten, choose skip or rename");
                self.line(r, name, Action::Refuse, &reason, current, 0);
            }
            Conflict::NewVersion if r.kind == Kind::Secret && current > 0 => {
                let here = self.input.store.get(self.input.into, r.kind, r.id)?;
                let (held, newest) = (here.map(|h| secret_values(&h.header)), secret_values(r.header).pop());
                match newest {
                    None => {
                        self.line(r, name, Action::Skip, "its newest value was destroyed by then", current, current)
                    }
                    Some(value) if held.is_some_and(|held| held.contains(&value)) => {
                        self.line(r, name, Action::Skip, "its value is a version here already", current, current);
                    }
                    Some(_) => self.line(r, name, Action::NewVersion, why, current, current + 1),
                }
            }
            Conflict::NewVersion => {
                let reason = format!("{why}; a new version is for secrets, choose skip, overwrite or rename");
                self.line(r, name, Action::Refuse, &reason, current, 0);
            }
            Conflict::Rename => {
                let new_name = self.free_name(r.kind, name.as_deref().unwrap_or("restored"))?;
                let new_id = derived_id(self.input.into, r);
                self.rewritten.insert(r.id, new_id);
                self.arrives(r, facts.weight);
                self.line(r, name, Action::Rename, why, 0, 1);
                if let Some(line) = self.items.last_mut() {
                    (line.new_id, line.new_name) = (Some(new_id), Some(new_name));
                    line.revision = self.input.store.tombstone(r.kind, new_id)?.map_or(1, |t| t.revision + 1);
                    if self.input.store.get_any(r.kind, new_id)?.is_some() {
                        line.action = Action::Skip;
                        line.reason = format!("it was restored before, as {new_id}");
                    }
                }
            }
        }
        Ok(())
    }

    /// `name-restored`, `name-restored-2`, …
    fn free_name(&mut self, kind: Kind, name: &str) -> Result<String, Fault> {
        for n in 1_u64.. {
            let candidate = if n == 1 { format!("{name}-restored") } else { format!("{name}-restored-{n}") };
            let mine = (kind, candidate.clone());
            if !self.taken.contains(&mine) && self.input.store.find(self.input.into, kind, &candidate)?.is_none() {
                self.taken.insert(mine);
                return Ok(candidate);
            }
        }
        Ok(name.to_owned())
    }
}

/// The id of a renamed record: the same for the same record and destination, so that a plan can be made twice.
fn derived_id(into: DomainId, r: &RecordRef<'_>) -> Id {
    let digest =
        sha256(&[b"keyark/rename/1", into.as_bytes(), &[r.kind as u8], r.id.as_bytes(), &r.revision.to_be_bytes()]);
    let bytes: [u8; 16] = digest.0[..16].try_into().expect("a digest has 32 bytes");
    Id(uuid::Builder::from_custom_bytes(bytes).into_uuid())
}

/// What a restore looks at in a version of a secret.
#[derive(serde::Deserialize)]
struct SecretVersion {
    key_id: Option<Id>,
    /// Of the ciphertext.
    sha256: Option<Digest>,
    destroyed_at: Option<Time>,
}

fn secret_versions(header: &[u8]) -> Vec<SecretVersion> {
    #[derive(serde::Deserialize)]
    struct Lens {
        #[serde(default)]
        history: Vec<SecretVersion>,
    }
    serde_json::from_slice::<Lens>(header).map(|l| l.history).unwrap_or_default()
}

/// The keys that a secret's header names.
pub(crate) fn secret_keys(header: &[u8]) -> BTreeSet<Id> {
    secret_versions(header).into_iter().filter_map(|v| v.key_id).collect()
}

/// Digests of the values that a secret has, oldest first.
fn secret_values(header: &[u8]) -> Vec<Digest> {
    secret_versions(header).into_iter().filter(|v| v.destroyed_at.is_none()).filter_map(|v| v.sha256).collect()
}
