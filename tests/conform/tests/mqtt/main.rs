//! edgecore's MQTT broker by the statements of the standards, through restarts, behind its doors, and with the clients
//! that people have already. The statements of MQTT 3.1.1 are in `edgecore/tests/eventbus_clauses.rs`.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

mod broker;
mod clients;
mod doors;
mod five;
mod lasting;
mod peer;
