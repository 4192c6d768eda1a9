//! The nodes' door: certificates over HTTPS, sessions over websocket.
//!
//! Owns: the two listeners, who is connected ([`Sessions`]), the cloud's identity ([`pki`]). May call: desired, the
//! Kubernetes API (identity, and whether a node name is taken), and an [`session::Upstream`] that it is handed.
//! Called by: the wiring.

pub mod https;
pub mod pki;
pub mod session;
mod sessions;
pub(crate) mod tls;
pub mod websocket;

pub use sessions::{Full, Seat, Sessions};
