//! Passwords: Argon2id verifiers in PHC form, and stretching a passphrase into a key (rules E1).

use argon2::password_hash::{PasswordHash, PasswordHasher, PasswordVerifier, SaltString};
use argon2::{Algorithm, Argon2, Params, Version};

use crate::{Key256, Secret, SecretBytes, random};

fn argon2id() -> Argon2<'static> {
    let params = Params::new(19 * 1024, 2, 1, None).expect("m = 19 MiB, t = 2, p = 1 are valid");
    Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
}

/// A PHC string (`$argon2id$v=19$m=19456,t=2,p=1$…`) that verifies this password. Takes about 20 ms of one core.
pub fn hash(password: &SecretBytes) -> String {
    let salt = SaltString::encode_b64(&random::bytes::<16>()).expect("16 bytes are a valid salt");
    argon2id()
        .hash_password(password.expose(), &salt)
        .expect("a password of any length can be hashed with these parameters")
        .to_string()
}

/// Whether the password fits the verifier; a damaged verifier fits nothing.
pub fn verify(password: &SecretBytes, phc: &str) -> bool {
    PasswordHash::new(phc).is_ok_and(|hash| argon2id().verify_password(password.expose(), &hash).is_ok())
}

/// Whether a verifier was made with weaker parameters than today's and should be made again at the next login.
pub fn is_outdated(phc: &str) -> bool {
    !phc.starts_with("$argon2id$v=19$m=19456,t=2,p=1$")
}

/// 256 bits out of a passphrase and a salt of at least 8 bytes.
pub fn stretch(passphrase: &SecretBytes, salt: &[u8]) -> Key256 {
    let mut key = Secret::new([0; 32]);
    argon2id()
        .hash_password_into(passphrase.expose(), salt, key.expose_mut())
        .expect("the salt is long enough and 32 bytes can be made");
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
