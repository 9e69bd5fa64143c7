//! `Secret<T>`: cannot be printed, cloned or serialised; wiped on drop; one named method exposes it.

use zeroize::Zeroize;

/// A value that must not leave memory.
pub struct Secret<T: Zeroize>(T);

/// A 256-bit symmetric key.
pub type Key256 = Secret<[u8; 32]>;
/// Secret bytes of any length.
pub type SecretBytes = Secret<Vec<u8>>;

impl<T: Zeroize> Secret<T> {
    /// Takes the value over; the caller's copy must be the only one.
    pub fn new(value: T) -> Self {
        Secret(value)
    }

    /// The value in clear. The reference must not be copied into anything that is not wiped.
    pub fn expose(&self) -> &T {
        &self.0
    }

    /// The value in clear, to be filled in place.
    pub fn expose_mut(&mut self) -> &mut T {
        &mut self.0
    }
}

impl<T: Zeroize> Drop for Secret<T> {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

impl<T: Zeroize> std::fmt::Debug for Secret<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secret(…)")
    }
}

impl Secret<[u8; 32]> {
    /// From a slice of exactly 32 bytes.
    pub fn from_slice(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok().map(Secret)
    }
}

impl<T: Zeroize + AsRef<[u8]>> Secret<T> {
    /// Equality in constant time (the lengths may show).
    pub fn eq_ct(&self, other: &[u8]) -> bool {
        use subtle::ConstantTimeEq;
        self.0.as_ref().ct_eq(other).into()
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::rc::Rc;

    use super::Secret;

    /// Notes that it was wiped.
    struct Probe(Rc<Cell<bool>>);

    impl zeroize::Zeroize for Probe {
        fn zeroize(&mut self) {
            self.0.set(true);
        }
    }

    #[test]
    fn a_secret_is_wiped_when_it_goes_and_is_not_printed() {
        let wiped = Rc::new(Cell::new(false));
        let secret = Secret::new(Probe(wiped.clone()));
        assert_eq!(format!("{secret:?}"), "Secret(…)");
        assert!(!wiped.get());
        drop(secret);
        assert!(wiped.get());
        assert_eq!(format!("{:?}", Secret::new(b"hunter2".to_vec())), "Secret(…)");
    }

    /// Does not compile for a type with that trait: `_` could then be either of two.
    trait Lacks<A> {
        fn holds() {}
    }
    struct Cloned;
    struct Serialised;
    impl<T> Lacks<()> for T {}
    impl<T: Clone> Lacks<Cloned> for T {}
    impl<T: serde::Serialize> Lacks<Serialised> for T {}

    #[test]
    fn a_secret_can_neither_be_cloned_nor_serialised() {
        <Secret<[u8; 32]> as Lacks<_>>::holds();
        <Secret<Vec<u8>> as Lacks<_>>::holds();
    }
}
