//! Generated passphrases: 128 random bits as 26 digits of Crockford's base32 and two check digits that name a typing slip.
//!
//! The check digits make the text a Reed–Solomon code over GF(32): any one wrong digit is found and placed, any two are noticed.

use keyark_crypto::{Secret, random};

const DIGITS: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";
const DATA: usize = 26;
const ALL: usize = DATA + 2;
const GROUP: usize = 4;

/// A passphrase as it is shown and used: seven groups of four with hyphens between, in upper case.
pub fn generate() -> Secret<String> {
    let bits = random::secret::<16>();
    let mut digits = Secret::new([0u8; ALL]);
    for (i, digit) in digits.expose_mut()[..DATA].iter_mut().enumerate() {
        // 26 × 5 = 130: the last two bits are zero.
        *digit = (0..5).fold(0, |n, b| n << 1 | bit(bits.expose(), 5 * i + b));
    }
    let [first, second] = check_digits(&digits.expose()[..DATA]);
    digits.expose_mut()[DATA] = first;
    digits.expose_mut()[DATA + 1] = second;
    Secret::new(text(digits.expose()))
}

fn bit(bytes: &[u8; 16], at: usize) -> u8 {
    bytes.get(at / 8).map_or(0, |b| b >> (7 - at % 8) & 1)
}

/// What a typed passphrase turned out to be.
pub enum Typed {
    /// A generated one, in its exact spelling whatever the case, hyphens, or O for 0 and I or L for 1.
    Generated(Secret<String>),
    /// It has the shape of a generated one, but digits are wrong; `group` (from 1) when it is surely one digit.
    Slip { group: Option<usize> },
    /// Something else, to be used as it is.
    Own,
}

/// Reads what somebody typed.
pub fn read(typed: &str) -> Typed {
    let mut digits = Secret::new(Vec::with_capacity(ALL));
    for c in typed.chars().filter(|c| !c.is_whitespace() && *c != '-') {
        let c = match c.to_ascii_uppercase() {
            'O' => '0',
            'I' | 'L' => '1',
            other => other,
        };
        let Some(digit) = DIGITS.iter().position(|d| char::from(*d) == c) else { return Typed::Own };
        digits.expose_mut().push(digit as u8);
    }
    let digits = digits.expose();
    if digits.len() != ALL {
        return Typed::Own;
    }
    match syndromes(digits) {
        [0, 0] => Typed::Generated(Secret::new(text(digits))),
        [0, _] | [_, 0] => Typed::Slip { group: None },
        [a, b] => {
            let power = (log(b) + 31 - log(a)) % 31;
            let at = (ALL - 1).checked_sub(power);
            Typed::Slip { group: at.map(|i| i / GROUP + 1) }
        }
    }
}

fn text(digits: &[u8]) -> String {
    let mut out = String::with_capacity(ALL + ALL / GROUP);
    for (i, d) in digits.iter().enumerate() {
        if i > 0 && i % GROUP == 0 {
            out.push('-');
        }
        out.push(char::from(DIGITS[usize::from(*d)]));
    }
    out
}

/// Multiplication in GF(32) = GF(2)[x] / (x⁵ + x² + 1).
fn times(mut a: u8, mut b: u8) -> u8 {
    let mut product = 0;
    while b > 0 {
        if b & 1 == 1 {
            product ^= a;
        }
        a <<= 1;
        if a & 32 != 0 {
            a ^= 0b10_0101;
        }
        b >>= 1;
    }
    product
}

/// The power of the generator 2 that gives `x`, which is not zero.
fn log(x: u8) -> usize {
    let mut power = 1;
    (0..31)
        .find(|_| {
            let found = power == x;
            power = times(power, 2);
            found
        })
        .expect("2 generates every element but zero")
}

/// The values of the polynomial of all digits (the last has degree 0) at 1 and 2: zero when the digits are right.
fn syndromes(digits: &[u8]) -> [u8; 2] {
    [1, 2].map(|point| digits.iter().fold(0, |value, d| times(value, point) ^ d))
}

/// The two digits that make both syndromes zero.
fn check_digits(data: &[u8]) -> [u8; 2] {
    let with = |first: u8, second: u8| syndromes(&[data, &[first, second]].concat());
    let pairs = (0..32).flat_map(|first| (0..32).map(move |second| (first, second)));
    let (first, second) =
        { pairs }.find(|(first, second)| with(*first, *second) == [0, 0]).expect("the two equations are independent");
    [first, second]
}

#[cfg(test)]
mod tests {
    use super::{DIGITS, Typed, generate, read};

    #[test]
    fn a_passphrase_is_read_back_however_it_is_typed() {
        let phrase = generate();
        assert_eq!((phrase.expose().len(), phrase.expose().matches('-').count()), (34, 6));
        let sloppy = phrase.expose().to_lowercase().replace('-', " ").replace('0', "o").replace('1', "l");
        for typed in [phrase.expose().clone(), sloppy] {
            match read(&typed) {
                Typed::Generated(found) => assert_eq!(found.expose(), phrase.expose()),
                _ => panic!("not recognised"),
            }
        }
        assert!(matches!(read("correct horse battery staple"), Typed::Own));
        assert_ne!(generate().expose(), phrase.expose());
    }

    #[test]
    fn every_single_slip_is_placed_and_every_exchange_of_neighbours_noticed() {
        let phrase = generate().expose().clone();
        for at in phrase.match_indices(|c| c != '-').map(|(at, _)| at) {
            for other in DIGITS.iter().filter(|d| **d != phrase.as_bytes()[at]) {
                let mut typed = phrase.clone().into_bytes();
                typed[at] = *other;
                let typed = String::from_utf8(typed).unwrap();
                assert!(matches!(read(&typed), Typed::Slip { group: Some(g) } if g == at / 5 + 1), "{typed}");
            }
            let mut swapped = phrase.clone().into_bytes();
            if at + 1 < swapped.len() && swapped[at + 1] != b'-' && swapped[at] != swapped[at + 1] {
                swapped.swap(at, at + 1);
                assert!(matches!(read(std::str::from_utf8(&swapped).unwrap()), Typed::Slip { .. }));
            }
        }
    }
}
