//! cloudcore as an edge sees it before it has a certificate: the HTTPS endpoints that `join` depends on.
//!
//! Owns: connecting without trust, finding out what is wrong ([`survey`]), and asking with trust ([`Trusted`]).
//! May call: the network, `proto` for tokens. Called by: `join`, `init` (is it ready).

mod connect;
mod judge;
mod survey;

pub(crate) use connect::{Answer, ConnectError, Identity, Trusted, fetch_plain, fetch_untrusted};
pub(crate) use survey::{Questions, survey};
