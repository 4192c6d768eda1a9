//! Who asks, and whether they may.
//!
//! Identity comes from the client certificate, a service account token, or the operator's `tokens.csv`; without any the caller is
//! `system:anonymous`. Until RBAC decides, only `system:masters` may touch objects.

mod identity;
mod jwt;
mod rights;
mod tokens;

pub use identity::{Identity, Peer};
pub(crate) use rights::{Attributes, allowed, denial};
pub(crate) use tokens::{ServiceAccountClaim, Tokens, Verified};
