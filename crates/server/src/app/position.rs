//! Position tokens: what a write answers with says where it stands in the log, to this server alone (rules A6).

use keyark_crypto::{kdf, wrap};
use keyark_model::DomainId;

use super::core::Core;
use super::error::{AppError, Result};

impl Core {
    fn position_key(&self) -> &[u8; 32] {
        self.position_key.get_or_init(|| kdf::hkdf(self.jwt_key.expose(), &[b"keyark/position/1"])).expose()
    }

    /// The token of a position that a caller in this domain may learn of. AES-KWP: equal positions give equal tokens, and
    /// nobody can tell from two of them how much other domains wrote in between.
    pub fn position_token(&self, domain: DomainId, seq: u64) -> Result<String> {
        let content = [domain.as_bytes().as_slice(), &seq.to_be_bytes()].concat();
        let sealed = wrap::kwp_wrap(self.position_key(), &content).map_err(AppError::internal)?;
        Ok(base64_simd::URL_SAFE_NO_PAD.encode_to_string(sealed))
    }

    /// The position in a token that this server gave to a caller in this domain.
    pub fn position_read(&self, domain: DomainId, token: &str) -> Result<u64> {
        let refused = || {
            AppError::invalid(
                "this is no position token of this domain and of this life of the system (a system restore ends it): \
                 take the keyark-position header of a write's answer",
            )
        };
        let sealed = base64_simd::URL_SAFE_NO_PAD.decode_to_vec(token).map_err(|_| refused())?;
        let content = wrap::kwp_unwrap(self.position_key(), &sealed).map_err(|_| refused())?;
        match content.expose().split_at_checked(16) {
            Some((of, seq)) if of == domain.as_bytes() => {
                Ok(u64::from_be_bytes(seq.try_into().map_err(|_| refused())?))
            }
            _ => Err(refused()),
        }
    }
}
