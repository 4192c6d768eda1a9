//! Programs that people have already, unmodified, against our control plane and its controllers: the clients of other languages,
//! operators by the kube crate, and what Helm sends.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

mod chart;
mod informer;
mod operator;
mod prometheus;
mod runner;
mod scripts;
#[path = "../../../../cloudcore/controllers/tests/support/mod.rs"]
mod support;
