//! The link to the cloud: bootstrap, connect, resume, send what the cloud has not confirmed.
//!
//! Owns: this node's certificate, the one session with the cloud, what is in flight on it. May call: metamanager
//! (to store what the cloud pushes) and every registered [`Outbox`]. Called through [`Handle`] by metamanager and edged.
//!
//! The pure part is `session`: what to say and store, given what was heard and the time. `connection` is the shell
//! around one session, `run` makes one connection after the other, `bootstrap` and `rotation` keep the certificate.

mod bootstrap;
mod connection;
mod courier;
mod dial;
mod failure;
mod handle;
mod http;
mod keepers;
mod outbox;
mod rotation;
mod run;
mod session;
mod settings;
mod tls;
mod word;

pub use bootstrap::BootstrapError;
pub use failure::LinkError;
pub use handle::{Connection, Handle, Link, RequestError, channel};
pub use outbox::{Outbox, OutboxError, Report, RowKey};
pub use run::{Hub, run};
pub use session::{Rate, Settings as SessionSettings};
pub use settings::{InvalidSetting, Settings};
pub use tls::TlsError;
pub use word::{Tell, Word};
