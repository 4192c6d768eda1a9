//! Who asks, and whether they may.
//!
//! Identity comes from the client certificate, a service account token, or the operator's `tokens.csv`; without any the caller is
//! `system:anonymous`. What a caller may do is what its roles say ([`rbac`]), besides the little that needs none
//! ([`rights`]) and what the agents of nodes need ([`nodes`]). Nobody hands out rights that they lack ([`escalation`]).

mod claims;
pub(super) mod escalation;
mod identity;
mod jwt;
pub(crate) mod nodes;
mod rbac;
mod rights;
mod tokens;

pub(crate) use escalation::everything;
pub use identity::{Extra, Identity, Peer};
pub(crate) use rbac::{allowed, granted, reason, rules};
pub(crate) use rights::{Attributes, denial, selected};
pub(crate) use tokens::{Bound, ISSUER, Named, ServiceAccountClaim, Tokens, Verified};
