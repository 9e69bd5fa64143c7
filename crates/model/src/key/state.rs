//! The states of a key version and the one table of their transitions (SP 800-57 part 1, 7; KMIP 2.1, 4.57).

use super::usage::{Class, Operation};

words! {
    /// Where a key version stands in its life.
    "key state" State {
        PreActive = "Pre-Active" | "PreActive",
        Active = "Active",
        /// Put aside for a while, for example until a suspicion is cleared up.
        Suspended = "Suspended",
        Deactivated = "Deactivated",
        Compromised = "Compromised",
        /// Its material is gone.
        Destroyed = "Destroyed",
        DestroyedCompromised = "Destroyed Compromised" | "DestroyedCompromised",
    }
}

words! {
    /// Why a key version was revoked (KMIP's revocation reasons).
    "revocation reason" RevocationReason {
        Unspecified = "Unspecified",
        KeyCompromise = "KeyCompromise",
        CACompromise = "CACompromise",
        AffiliationChanged = "AffiliationChanged",
        Superseded = "Superseded",
        CessationOfOperation = "CessationOfOperation",
        PrivilegeWithdrawn = "PrivilegeWithdrawn",
    }
}

impl RevocationReason {
    /// Whether somebody else may know the material.
    pub const fn is_compromise(self) -> bool {
        matches!(self, RevocationReason::KeyCompromise | RevocationReason::CACompromise)
    }
}

/// What may be done to the state of a key version.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Transition {
    Activate,
    Suspend,
    /// Ends a suspension.
    Resume,
    Deactivate,
    /// Deactivates, or marks as compromised: the reason decides.
    Revoke(RevocationReason),
    /// Takes a deactivation back.
    Reactivate,
    /// Removes the material for good.
    Destroy,
}

impl std::fmt::Display for Transition {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Transition::Activate => "activate",
            Transition::Suspend => "suspend",
            Transition::Resume => "resume",
            Transition::Deactivate => "deactivate",
            Transition::Revoke(_) => "revoke",
            Transition::Reactivate => "reactivate",
            Transition::Destroy => "destroy",
        })
    }
}

/// The columns of the table; a revocation has two.
const COLUMNS: [&str; 8] =
    ["activate", "suspend", "resume", "deactivate", "revoke", "revoke: compromise", "reactivate", "destroy"];

const NO: Option<State> = None;
const ACT: Option<State> = Some(State::Active);
const SUS: Option<State> = Some(State::Suspended);
const DEA: Option<State> = Some(State::Deactivated);
const COM: Option<State> = Some(State::Compromised);
const DES: Option<State> = Some(State::Destroyed);
const DCO: Option<State> = Some(State::DestroyedCompromised);

/// Who was compromised never gets out of the two compromised states; who was destroyed gets out of the two destroyed
/// ones only by a restore that names it. What would change nothing is refused, so that nobody takes it for an effect.
#[rustfmt::skip]
const TABLE: [(State, [Option<State>; 8]); 7] = [
    //                            activate suspend resume deactivate revoke compromise reactivate destroy
    (State::PreActive,            [ACT,    NO,     NO,    NO,        NO,    COM,       NO,        DES]),
    (State::Active,               [NO,     SUS,    NO,    DEA,       DEA,   COM,       NO,        DES]),
    (State::Suspended,            [NO,     NO,     ACT,   DEA,       DEA,   COM,       NO,        DES]),
    (State::Deactivated,          [NO,     NO,     NO,    NO,        NO,    COM,       ACT,       DES]),
    (State::Compromised,          [NO,     NO,     NO,    NO,        NO,    NO,        NO,        DCO]),
    (State::Destroyed,            [NO,     NO,     NO,    NO,        NO,    DCO,       NO,        NO ]),
    (State::DestroyedCompromised, [NO,     NO,     NO,    NO,        NO,    NO,        NO,        NO ]),
];

/// A transition that the state does not allow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("cannot {transition} a key version that is {state}: {}", advice(.state, .transition))]
pub struct Refused {
    pub state: State,
    pub transition: Transition,
}

/// What to do instead.
fn advice(state: &State, transition: &Transition) -> &'static str {
    match (state, transition) {
        (State::PreActive, _) => "activate it first, or destroy it",
        (State::Active, _) => "it is active already",
        (State::Suspended, Transition::Suspend) => "it is suspended already",
        (State::Suspended, _) => "resume it",
        (State::Deactivated, Transition::Activate | Transition::Resume) => "reactivate it, or make a new version",
        (State::Deactivated, Transition::Suspend) => "it protects nothing any more",
        (State::Deactivated, _) => "it is deactivated already",
        (State::Compromised, _) => "what is compromised stays so; make a new version, and destroy this one at last",
        (State::Destroyed | State::DestroyedCompromised, _) => {
            "its material is gone; restore it by its id from a backup, or make a new key"
        }
    }
}

/// The state after a transition.
pub fn transition(state: State, transition: Transition) -> Result<State, Refused> {
    let column = match transition {
        Transition::Activate => 0,
        Transition::Suspend => 1,
        Transition::Resume => 2,
        Transition::Deactivate => 3,
        Transition::Revoke(reason) => 4 + usize::from(reason.is_compromise()),
        Transition::Reactivate => 6,
        Transition::Destroy => 7,
    };
    TABLE
        .iter()
        .find(|(row, _)| *row == state)
        .and_then(|(_, cells)| cells[column])
        .ok_or(Refused { state, transition })
}

impl State {
    /// Whether a key version in this state may be used in this way. NIST would let a suspended key process at the
    /// reader's risk; here it rests.
    pub const fn permits(self, class: Class) -> bool {
        match self {
            State::Active => true,
            State::Deactivated | State::Compromised => matches!(class, Class::Process),
            State::PreActive | State::Suspended | State::Destroyed | State::DestroyedCompromised => false,
        }
    }

    /// Whether the material is gone.
    pub const fn is_destroyed(self) -> bool {
        matches!(self, State::Destroyed | State::DestroyedCompromised)
    }

    /// Whether somebody else may know, or have known, the material.
    pub const fn is_compromised(self) -> bool {
        matches!(self, State::Compromised | State::DestroyedCompromised)
    }
}

/// The two tables as Markdown: the content of `docs/key-states.md`.
pub fn key_states_markdown() -> String {
    let mut out = String::from(
        "# The states of a key version\n\n\
         This page is made from the tables in `crates/model/src/key/state.rs`; change those.\n\n\
         ## Transitions\n\n\
         Each cell is the state after the transition; `–` means that it is refused. A revocation for KeyCompromise or \
         CACompromise has the column of its own.\n\n",
    );
    let states: Vec<&str> = TABLE.iter().map(|(state, _)| state.word()).collect();
    table(&mut out, "from", &COLUMNS, &states, |row, column| TABLE[row].1[column].map_or("–", State::word));
    out.push_str(
        "\nThe dates of a version act by the clock: Pre-Active becomes Active at its activation date, Active and \
         Suspended become Deactivated at the deactivation date. Before its process start date a version does not \
         process, from its protect stop date on it does not protect.\n\n\
         ## Operations\n\n",
    );
    let operations: Vec<&str> = Operation::ALL.iter().map(|o| o.word()).collect();
    table(&mut out, "state", &operations, &states, |row, column| {
        if TABLE[row].0.permits(Operation::ALL[column].class()) { "yes" } else { "–" }
    });
    out
}

fn table(out: &mut String, corner: &str, heads: &[&str], rows: &[&str], cell: impl Fn(usize, usize) -> &'static str) {
    line(out, corner, heads.iter().copied());
    line(out, "---", heads.iter().map(|_| "---"));
    for (row, name) in rows.iter().enumerate() {
        line(out, name, (0..heads.len()).map(|column| cell(row, column)));
    }
}

fn line<'a>(out: &mut String, first: &str, cells: impl Iterator<Item = &'a str>) {
    out.push_str("| ");
    out.push_str(first);
    for text in cells {
        out.push_str(" | ");
        out.push_str(text);
    }
    out.push_str(" |\n");
}

#[cfg(test)]
mod tests {
    use super::{Refused, RevocationReason, State, Transition, key_states_markdown, transition};
    use crate::key::usage::{Class, Operation};

    fn transitions() -> Vec<Transition> {
        let mut all = vec![
            Transition::Activate,
            Transition::Suspend,
            Transition::Resume,
            Transition::Deactivate,
            Transition::Reactivate,
            Transition::Destroy,
        ];
        all.extend(RevocationReason::ALL.iter().map(|r| Transition::Revoke(*r)));
        all
    }

    /// Every cell, written once more as the rules say it and not as the table does.
    #[test]
    fn every_state_and_every_transition() {
        use State::{Active, Compromised, Deactivated, Destroyed, DestroyedCompromised, PreActive, Suspended};
        for &state in State::ALL {
            for t in transitions() {
                let want = match (state, t) {
                    (PreActive, Transition::Activate) => Some(Active),
                    (Active, Transition::Suspend) => Some(Suspended),
                    (Suspended, Transition::Resume) => Some(Active),
                    (Active | Suspended, Transition::Deactivate) => Some(Deactivated),
                    (Deactivated, Transition::Reactivate) => Some(Active),
                    (PreActive | Active | Suspended | Deactivated, Transition::Destroy) => Some(Destroyed),
                    (Compromised, Transition::Destroy) => Some(DestroyedCompromised),
                    (PreActive | Active | Suspended | Deactivated, Transition::Revoke(r)) if r.is_compromise() => {
                        Some(Compromised)
                    }
                    (Destroyed, Transition::Revoke(r)) if r.is_compromise() => Some(DestroyedCompromised),
                    (Active | Suspended, Transition::Revoke(_)) => Some(Deactivated),
                    _ => None,
                };
                assert_eq!(transition(state, t), want.ok_or(Refused { state, transition: t }), "{state} {t:?}");
            }
        }
    }

    #[test]
    fn what_is_compromised_stays_so_and_what_is_destroyed_stays_so() {
        for &state in State::ALL {
            for next in transitions().into_iter().filter_map(|t| transition(state, t).ok()) {
                assert_ne!(next, state, "a transition changes something");
                assert!(!state.is_compromised() || next.is_compromised());
                assert!(!state.is_destroyed() || next.is_destroyed());
            }
        }
    }

    #[test]
    fn every_state_and_every_operation() {
        for &state in State::ALL {
            for &operation in Operation::ALL {
                let want = match state {
                    State::Active => true,
                    State::Deactivated | State::Compromised => matches!(
                        operation,
                        Operation::Decrypt
                            | Operation::Verify
                            | Operation::MacVerify
                            | Operation::Unwrap
                            | Operation::Decapsulate
                            | Operation::Detokenize
                    ),
                    _ => false,
                };
                assert_eq!(state.permits(operation.class()), want, "{state} {operation}");
            }
            assert_eq!(state.permits(Class::Export), state == State::Active);
        }
    }

    #[test]
    fn the_words_are_those_on_the_wire() {
        let words: Vec<_> = State::ALL.iter().map(|s| serde_json::to_string(s).unwrap()).collect();
        assert_eq!(
            words.join(","),
            r#""Pre-Active","Active","Suspended","Deactivated","Compromised","Destroyed","Destroyed Compromised""#
        );
        assert_eq!("active".parse::<State>(), Ok(State::Active));
        let error = serde_json::from_str::<State>(r#""Paused""#).unwrap_err().to_string();
        assert!(error.contains("Pre-Active, Active, Suspended"), "{error}");
    }

    #[test]
    fn a_refusal_says_what_to_do() {
        let refused = transition(State::Compromised, Transition::Reactivate).unwrap_err();
        assert_eq!(
            refused.to_string(),
            "cannot reactivate a key version that is Compromised: what is compromised stays so; make a new version, \
             and destroy this one at last"
        );
    }

    #[test]
    fn the_page_shows_every_cell() {
        let page = key_states_markdown();
        assert!(page.contains(
            "| from | activate | suspend | resume | deactivate | revoke | revoke: compromise | reactivate | destroy |"
        ));
        assert!(
            page.contains("| Active | – | Suspended | – | Deactivated | Deactivated | Compromised | – | Destroyed |")
        );
        assert!(page.contains("| Compromised | – | – | – | – | – | – | – | Destroyed Compromised |"));
        assert!(
            page.contains("| Deactivated | – | yes | – | yes | – | yes | – | yes | – | yes | – | – | – | yes | – |")
        );
        assert_eq!(page.lines().filter(|l| l.starts_with("| ")).count(), 2 * (2 + State::ALL.len()));
    }
}
