//! edgecore's MQTT broker by the statements of the standards, through restarts, behind its doors, and with the clients
//! that people have already. `docs/MQTT-STATEMENTS.md` says which test shows which statement; more of 3.1.1 is in
//! `edgecore/tests/eventbus_clauses.rs`.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

mod acl;
mod answering;
mod behaviour;
mod bounds;
mod broker;
mod clients;
mod connecting;
mod damage;
mod doors;
mod five;
mod format;
mod lasting;
mod leaving;
mod peer;
mod publishing;
mod raw;
mod renewal;
mod subscribing;
mod topics;
mod wills;
