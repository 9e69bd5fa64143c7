//! Authentication: passwords, tokens, lockout, and who a caller is.

mod argon;
mod cache;
mod lockout;
pub mod tokens;

pub use argon::Argon;
pub use cache::{PrincipalCache, principal};
pub use lockout::Lockout;
