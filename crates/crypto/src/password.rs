//! Passwords: Argon2id verifiers in PHC form, and stretching a passphrase into a key (rules E1).

use argon2::password_hash::phc::{Ident, Output, ParamsString, PasswordHash, Salt};
use argon2::{Algorithm, Argon2, Block, Params, Version};

use crate::{Key256, Secret, SecretBytes, random};

/// Blocks of 1 KiB that are asked for at least, though not touched. The allocator keeps pieces of up to 32 MiB for
/// later; a larger one goes back to the system at once, with the 19 MiB of it that were used.
const ROOM: usize = 40 << 10;

fn argon2id() -> Argon2<'static> {
    let params = Params::new(19 * 1024, 2, 1, None).expect("m = 19 MiB, t = 2, p = 1 are valid");
    Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
}

fn derive(argon: &Argon2<'_>, password: &SecretBytes, salt: &[u8], out: &mut [u8]) -> argon2::Result<()> {
    let blocks = argon.params().block_count();
    let mut memory = Vec::with_capacity(blocks.max(ROOM));
    memory.resize(blocks, Block::default());
    argon.hash_password_into_with_memory(password.expose(), salt, out, &mut memory)
}

/// A PHC string (`$argon2id$v=19$m=19456,t=2,p=1$…`) that verifies this password. Takes about 20 ms of one core.
pub fn hash(password: &SecretBytes) -> String {
    let (argon, salt, mut out) = (argon2id(), random::bytes::<16>(), [0; 32]);
    derive(&argon, password, &salt, &mut out).expect("a password of any length can be hashed with these parameters");
    PasswordHash {
        algorithm: Algorithm::Argon2id.ident(),
        version: Some(Version::V0x13.into()),
        params: ParamsString::try_from(argon.params()).expect("its own parameters fit"),
        salt: Some(Salt::new(&salt).expect("16 bytes are a valid salt")),
        hash: Some(Output::new(&out).expect("32 bytes are a valid output")),
    }
    .to_string()
}

/// Whether the password fits the verifier; a damaged verifier fits nothing.
pub fn verify(password: &SecretBytes, phc: &str) -> bool {
    fits(password, phc).unwrap_or(false)
}

/// `None` when the verifier is damaged. Outputs are compared in constant time.
fn fits(password: &SecretBytes, phc: &str) -> Option<bool> {
    let verifier = PasswordHash::new(phc).ok()?;
    if verifier.algorithm != Ident::new_unwrap("argon2id") || verifier.version != Some(Version::V0x13.into()) {
        return None;
    }
    let (expected, salt) = (verifier.hash?, verifier.salt?);
    let mut out = vec![0; expected.len()];
    let argon = Argon2::new(Algorithm::Argon2id, Version::V0x13, Params::try_from(&verifier).ok()?);
    derive(&argon, password, &salt, &mut out).ok()?;
    Some(Output::new(&out).ok()? == expected)
}

/// Whether a verifier was made with weaker parameters than today's and should be made again at the next login.
pub fn is_outdated(phc: &str) -> bool {
    !phc.starts_with("$argon2id$v=19$m=19456,t=2,p=1$")
}

/// 256 bits out of a passphrase and a salt of at least 8 bytes.
pub fn stretch(passphrase: &SecretBytes, salt: &[u8]) -> Key256 {
    let mut key = Secret::new([0; 32]);
    derive(&argon2id(), passphrase, salt, key.expose_mut()).expect("the salt is long enough and 32 bytes can be made");
    key
}

#[cfg(test)]
mod tests {
    use super::{hash, is_outdated, verify};
    use crate::SecretBytes;

    #[test]
    fn a_password_fits_its_own_verifier_only() {
        let right = SecretBytes::new(b"right".to_vec());
        let phc = hash(&right);
        assert!(verify(&right, &phc) && !is_outdated(&phc));
        assert!(!verify(&SecretBytes::new(b"wrong".to_vec()), &phc));
        assert!(!verify(&right, "not a verifier"));
        assert!(is_outdated("$argon2id$v=19$m=4096,t=1,p=1$x$y"));
        assert_ne!(hash(&right), phc, "salted");
    }
}
