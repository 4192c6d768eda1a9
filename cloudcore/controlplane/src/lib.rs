//! The embedded, kubectl-compatible control plane: what cloudcore talks to when no real cluster is configured.
//!
//! [`ControlPlane`] is what cloudcore holds. Layers, each of which calls only the ones below it:
//! `plane` (start, TLS, shutdown) → `housekeeping` (what runs by itself) →
//! `apiserver` (HTTP, verbs, authentication) → `registry`, `patch`, `fieldmanager`, `table`, `discovery`, `openapi` (what a kind is
//! and how it looks) → `store` (revisions, watch), `audit` (who asked for what), `encryption` (what is kept sealed, and how) and `status`, `selector`, `schema` (plain data).
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic))]

pub mod apiserver;
mod audit;
pub mod discovery;
mod encryption;
pub mod fieldmanager;
mod housekeeping;
pub mod openapi;
pub mod patch;
pub mod pki;
mod plane;
pub mod registry;
pub mod schema;
pub mod selector;
mod shares;
pub mod status;
pub mod store;
pub mod table;

pub use audit::{AuditConfig, AuditError, Level, Policy, PolicyError};
pub use encryption::EncryptionError;
pub use plane::{Config, ControlPlane, OpenError};
