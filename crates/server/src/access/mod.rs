//! Authentication: passwords, tokens, lockout, and who a caller is.

mod cache;
mod lockout;
pub mod tokens;

pub use cache::{PrincipalCache, principal};
pub use lockout::Lockout;
