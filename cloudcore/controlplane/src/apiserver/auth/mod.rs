//! Who asks, and whether they may.
//!
//! Identity comes from the client certificate, a service account token, or the operator's `tokens.csv`; without any the caller is
//! `system:anonymous`. What a caller may do is what its roles say ([`rbac`]), besides the little that needs none
//! ([`rights`]).

mod identity;
mod jwt;
mod rbac;
mod rights;
mod tokens;

pub use identity::{Identity, Peer};
pub(crate) use rbac::{allowed, rules};
pub(crate) use rights::{Attributes, denial};
pub(crate) use tokens::{ServiceAccountClaim, Tokens, Verified};
