//! The link to the cloud: bootstrap, connect, resume, send what the cloud has not confirmed.
//!
//! Owns: this node's certificate, the one session with the cloud, what is in flight on it. May call: metamanager
//! (to store what the cloud pushes) and every registered [`Outbox`]. Called through [`Handle`] by metamanager and edged.

mod handle;
mod outbox;
mod session;

pub use handle::{Connection, Handle, Link, RequestError, channel};
pub use outbox::{Outbox, OutboxError, Report, RowKey};
