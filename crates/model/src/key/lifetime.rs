//! The dates of a key version, which act by the clock, and whether an operation is permitted at a moment.

use crate::Time;

use super::state::State;
use super::usage::{Class, Operation};

/// KMIP's dates of an object. The first four act; the others record what happened.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Dates {
    /// From here on a Pre-Active version is Active.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub activation: Option<Time>,
    /// Before this it processes nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub process_start: Option<Time>,
    /// From here on it protects nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub protect_stop: Option<Time>,
    /// From here on an Active or Suspended version is Deactivated.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub deactivation: Option<Time>,
    /// When it was put into the archive.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub archive: Option<Time>,
    /// When its material was destroyed; of a version that is not, when it will be: until then it rests.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub destroy: Option<Time>,
    /// When it became known that it is compromised.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub compromise: Option<Time>,
    /// When that is believed to have happened.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub compromise_occurrence: Option<Time>,
}

/// Dates that contradict each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the {later_name} date {later} must not be before the {earlier_name} date {earlier}")]
pub struct BadDates {
    pub earlier_name: &'static str,
    pub earlier: Time,
    pub later_name: &'static str,
    pub later: Time,
}

impl Dates {
    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        *self == Dates::default()
    }

    /// The acting dates in the order that KMIP asks for: activation, then process start and protect stop, then
    /// deactivation.
    pub fn check(&self) -> Result<(), BadDates> {
        for (earlier_name, earlier, later_name, later) in [
            ("activation", self.activation, "process start", self.process_start),
            ("activation", self.activation, "protect stop", self.protect_stop),
            ("activation", self.activation, "deactivation", self.deactivation),
            ("process start", self.process_start, "deactivation", self.deactivation),
            ("protect stop", self.protect_stop, "deactivation", self.deactivation),
        ] {
            if let (Some(earlier), Some(later)) = (earlier, later)
                && later < earlier
            {
                return Err(BadDates { earlier_name, earlier, later_name, later });
            }
        }
        Ok(())
    }

    /// The state of a version that is made now: Active, unless its activation lies ahead.
    pub fn initial_state(&self, now: Time) -> State {
        let first = if self.activation.is_some_and(|at| at > now) { State::PreActive } else { State::Active };
        effective_state(first, self, now)
    }
}

/// The state that a stored state has become by now.
pub fn effective_state(stored: State, dates: &Dates, now: Time) -> State {
    let reached = |date: Option<Time>| date.is_some_and(|at| at <= now);
    let state = match stored {
        State::PreActive if reached(dates.activation) => State::Active,
        other => other,
    };
    match state {
        State::Active | State::Suspended if reached(dates.deactivation) => State::Deactivated,
        other => other,
    }
}

/// Why an operation is not permitted now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NotPermitted {
    #[error("cannot {operation} with a key version that is {state}: {}", state_advice(.state))]
    State { operation: Operation, state: State },
    #[error("cannot {operation} before the process start date {until}: wait, or change the date")]
    BeforeProcessStart { operation: Operation, until: Time },
    #[error("cannot {operation} since the protect stop date {since}: use a newer version of the key")]
    AfterProtectStop { operation: Operation, since: Time },
    #[error("cannot {operation} with a key version that is to be destroyed at {at}: cancel that with undestroy")]
    ToBeDestroyed { operation: Operation, at: Time },
}

fn state_advice(state: &State) -> &'static str {
    match state {
        State::PreActive => "activate it, or wait for its activation date",
        State::Active => "its dates forbid it",
        State::Suspended => "resume it, or use another version",
        State::Deactivated | State::Compromised => {
            "it only opens and verifies what it protected before; use a newer version of the key"
        }
        State::Destroyed | State::DestroyedCompromised => "its material is gone; restore it by its id from a backup",
    }
}

/// Whether an operation is permitted at a moment. The usage mask is another question.
pub fn permit(stored: State, dates: &Dates, now: Time, operation: Operation) -> Result<(), NotPermitted> {
    let state = effective_state(stored, dates, now);
    let class = operation.class();
    if !state.permits(class) {
        return Err(NotPermitted::State { operation, state });
    }
    if let Some(at) = dates.destroy {
        return Err(NotPermitted::ToBeDestroyed { operation, at });
    }
    match (class, dates.process_start, dates.protect_stop) {
        (Class::Process, Some(until), _) if now < until => Err(NotPermitted::BeforeProcessStart { operation, until }),
        (Class::Protect, _, Some(since)) if since <= now => Err(NotPermitted::AfterProtectStop { operation, since }),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::{Dates, NotPermitted, effective_state, permit};
    use crate::Time;
    use crate::key::state::State;
    use crate::key::usage::Operation;

    const EARLY: Time = Time(1_000_000);
    const LATE: Time = Time(2_000_000);

    #[test]
    fn dates_act_by_the_clock() {
        let activation = |at| Dates { activation: Some(at), ..Dates::default() };
        let deactivation = |at| Dates { deactivation: Some(at), ..Dates::default() };
        let both = Dates { activation: Some(EARLY), deactivation: Some(LATE), ..Dates::default() };
        for (stored, dates, now, want) in [
            (State::PreActive, Dates::default(), LATE, State::PreActive),
            (State::PreActive, activation(LATE), EARLY, State::PreActive),
            (State::PreActive, activation(LATE), LATE, State::Active),
            (State::PreActive, deactivation(EARLY), LATE, State::PreActive),
            (State::PreActive, both, EARLY, State::Active),
            (State::PreActive, both, LATE, State::Deactivated),
            (State::Active, deactivation(LATE), EARLY, State::Active),
            (State::Active, deactivation(LATE), LATE, State::Deactivated),
            (State::Suspended, deactivation(LATE), EARLY, State::Suspended),
            (State::Suspended, deactivation(LATE), LATE, State::Deactivated),
        ] {
            assert_eq!(effective_state(stored, &dates, now), want, "{stored} {dates:?} {now}");
        }
        for stored in [State::Deactivated, State::Compromised, State::Destroyed, State::DestroyedCompromised] {
            assert_eq!(effective_state(stored, &both, LATE), stored);
        }
        assert_eq!(Dates::default().initial_state(EARLY), State::Active);
        assert_eq!(activation(LATE).initial_state(EARLY), State::PreActive);
        assert_eq!(activation(EARLY).initial_state(EARLY), State::Active);
        assert_eq!(both.initial_state(LATE), State::Deactivated);
    }

    #[test]
    fn process_start_and_protect_stop_bound_the_two_sides() {
        let dates = Dates { process_start: Some(LATE), protect_stop: Some(LATE), ..Dates::default() };
        let permitted = |now, operation| permit(State::Active, &dates, now, operation);
        assert_eq!(permitted(EARLY, Operation::Encrypt), Ok(()));
        assert_eq!(permitted(EARLY, Operation::Export), Ok(()));
        assert_eq!(
            permitted(EARLY, Operation::Decrypt),
            Err(NotPermitted::BeforeProcessStart { operation: Operation::Decrypt, until: LATE })
        );
        assert_eq!(permitted(LATE, Operation::Decrypt), Ok(()));
        assert_eq!(
            permitted(LATE, Operation::Sign),
            Err(NotPermitted::AfterProtectStop { operation: Operation::Sign, since: LATE })
        );
    }

    #[test]
    fn what_is_to_be_destroyed_rests() {
        let dates = Dates { destroy: Some(LATE), ..Dates::default() };
        for &operation in Operation::ALL {
            assert_eq!(
                permit(State::Active, &dates, EARLY, operation),
                Err(NotPermitted::ToBeDestroyed { operation, at: LATE })
            );
        }
    }

    #[test]
    fn an_operation_is_permitted_by_the_effective_state() {
        let dates = Dates { deactivation: Some(LATE), ..Dates::default() };
        assert_eq!(permit(State::Active, &dates, EARLY, Operation::Encrypt), Ok(()));
        let refused = permit(State::Active, &dates, LATE, Operation::Encrypt).unwrap_err();
        assert_eq!(refused, NotPermitted::State { operation: Operation::Encrypt, state: State::Deactivated });
        assert!(
            refused.to_string().starts_with("cannot encrypt with a key version that is Deactivated: it only opens")
        );
        assert_eq!(permit(State::Active, &dates, LATE, Operation::Decrypt), Ok(()));
        for &state in State::ALL {
            for &operation in Operation::ALL {
                let permitted = permit(state, &Dates::default(), EARLY, operation).is_ok();
                assert_eq!(permitted, state.permits(operation.class()), "{state} {operation}");
            }
        }
    }

    #[test]
    fn dates_that_contradict_each_other_are_refused() {
        let dates = Dates { activation: Some(LATE), deactivation: Some(EARLY), ..Dates::default() };
        assert!(dates.check().unwrap_err().to_string().starts_with("the deactivation date 1970-01-01T00:00:01"));
        assert!(Dates { process_start: Some(LATE), deactivation: Some(EARLY), ..Dates::default() }.check().is_err());
        assert!(Dates { protect_stop: Some(LATE), deactivation: Some(EARLY), ..Dates::default() }.check().is_err());
        assert!(Dates { activation: Some(EARLY), deactivation: Some(LATE), ..Dates::default() }.check().is_ok());
        assert!(Dates::default().check().is_ok() && Dates::default().is_empty());
    }
}
