//! Owner marks: whose system this is (rules B1). Whoever finds itself superseded writes nothing more.

use keyark_archive::Decimal;
use keyark_crypto::sign::Signer;
use keyark_model::{Incarnation, SystemId, Time};

use super::names::{owner_folder, owner_name, owner_number};
use super::note::{MAX_NOTE, Note, OwnerNote};
use crate::destination::{Content, Destination, DestinationError, list_all, read_small};

/// What a system's owner marks say to one incarnation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ownership {
    /// The newest mark is its own.
    Mine,
    /// No mark, or the newest is that of a life that this one goes back to.
    Free { next: u64 },
    /// Another incarnation goes on there.
    Superseded { by: Incarnation, n: u64 },
}

/// Why marks cannot be judged.
#[derive(Debug, thiserror::Error)]
pub enum OwnerError {
    #[error(transparent)]
    Destination(#[from] DestinationError),
    #[error("{name} is no owner mark of this system ({why}); somebody wrote there: look at it and remove it")]
    Strange { name: String, why: String },
    #[error(
        "the incarnation {by} took this place over (mark {n}): this server is a copy that was left behind, and ships no more"
    )]
    Superseded { by: Incarnation, n: u64 },
    #[error("another system ({system}) sends here already: give each a folder or prefix of its own")]
    Taken { system: SystemId },
}

/// Refuses a place that another system uses: a prefix belongs to one.
fn alone(place: &dyn Destination, claim: &Claim<'_>) -> Result<(), OwnerError> {
    for name in place.folders("")? {
        let other = name.parse::<SystemId>().ok().filter(|system| *system != claim.system);
        if let Some(system) = other
            && !place.list(&owner_folder(system), "", 1)?.is_empty()
        {
            return Err(OwnerError::Taken { system });
        }
    }
    Ok(())
}

/// Who is asking.
#[derive(Clone, Copy, Debug)]
pub struct Claim<'a> {
    pub system: SystemId,
    pub incarnation: Incarnation,
    /// The lives before this one, the one that it was restored from last.
    pub ancestors: &'a [Incarnation],
}

/// Reads the newest mark.
pub fn look(place: &dyn Destination, claim: &Claim<'_>) -> Result<Ownership, OwnerError> {
    let marks = list_all(place, &owner_folder(claim.system))?;
    let Some(newest) = marks.last() else { return Ok(Ownership::Free { next: 1 }) };
    let strange = |why: &str| OwnerError::Strange { name: newest.name.clone(), why: why.into() };
    let n = owner_number(claim.system, &newest.name).ok_or_else(|| strange("its name has no number"))?;
    let signed = Note::parse(&read_small(place, &newest.name, MAX_NOTE)?).map_err(|e| strange(&e.to_string()))?;
    let Note::Owner(mark) = signed.note else { return Err(strange("it is another note")) };
    if mark.system != claim.system || mark.n.0 != n {
        return Err(strange("its name and its text differ"));
    }
    Ok(match mark.incarnation {
        mine if mine == claim.incarnation => Ownership::Mine,
        before if claim.ancestors.contains(&before) => Ownership::Free { next: n + 1 },
        by => Ownership::Superseded { by, n },
    })
}

/// Makes the place this incarnation's, or says who has it. Goes before everything else that is written there.
pub fn claim(place: &dyn Destination, claim: &Claim<'_>, signer: &Signer, now: Time) -> Result<(), OwnerError> {
    loop {
        match look(place, claim)? {
            Ownership::Mine => return Ok(()),
            Ownership::Superseded { by, n } => return Err(OwnerError::Superseded { by, n }),
            Ownership::Free { next } => {
                alone(place, claim)?;
                let Claim { system, incarnation, ancestors } = *claim;
                let parent = ancestors.last().copied();
                let mark = OwnerNote { system, incarnation, parent, n: Decimal(next), created_at: now };
                let bytes = Note::Owner(mark).sign(signer);
                match place.create(&owner_name(system, next), Content::Bytes(&bytes)) {
                    Ok(()) => return Ok(()),
                    // Somebody was first, or the answer got lost: the mark says which.
                    Err(DestinationError::Exists(_)) => {}
                    Err(e) => return Err(e.into()),
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use keyark_crypto::sign::Signer;
    use keyark_model::{Incarnation, SystemId, Time};

    use super::{Claim, OwnerError, Ownership, claim, look};
    use crate::destination::memory::Memory;

    fn life(n: u8) -> Incarnation {
        Incarnation::from_bytes([n; 16])
    }

    fn of(n: u8, ancestors: &[Incarnation]) -> Claim<'_> {
        Claim { system: SystemId::from_bytes([9; 16]), incarnation: life(n), ancestors }
    }

    #[test]
    fn two_systems_do_not_share_a_place() {
        let (place, signer) = (Memory::default(), Signer::generate());
        claim(&place, &of(1, &[]), &signer, Time(1)).unwrap();
        let system = SystemId::from_bytes([8; 16]);
        let other = Claim { system, ..of(1, &[]) };
        let refused = claim(&place, &other, &signer, Time(2)).unwrap_err();
        assert!(matches!(refused, OwnerError::Taken { system } if system == of(1, &[]).system), "{refused}");
        claim(&place, &of(1, &[]), &signer, Time(3)).unwrap();
    }

    #[test]
    fn a_restored_copy_takes_over_and_the_old_server_finds_itself_superseded() {
        let (place, signer) = (Memory::default(), Signer::generate());
        claim(&place, &of(1, &[]), &signer, Time(1)).unwrap();
        claim(&place, &of(1, &[]), &signer, Time(2)).unwrap();
        assert_eq!(look(&place, &of(1, &[])).unwrap(), Ownership::Mine);
        claim(&place, &of(2, &[life(1)]), &signer, Time(3)).unwrap();
        let by = life(2);
        assert_eq!(look(&place, &of(1, &[])).unwrap(), Ownership::Superseded { by, n: 2 });
        // A second copy of the same parent is too late, and so is a stranger.
        for late in [of(1, &[]), of(3, &[life(1)]), of(4, &[])] {
            assert!(matches!(claim(&place, &late, &signer, Time(4)), Err(OwnerError::Superseded { n: 2, .. })));
        }
        // One whose parent never came here goes back to the same line all the same.
        claim(&place, &of(6, &[life(1), life(2), life(5)]), &signer, Time(5)).unwrap();
        assert_eq!(look(&place, &of(6, &[])).unwrap(), Ownership::Mine);
    }
}
