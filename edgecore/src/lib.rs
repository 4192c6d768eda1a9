//! The edge agent: pods, devices and their reports, with or without the cloud.

pub mod devicetwin;
pub mod dmi;
pub mod edged;
pub mod edgehub;
pub mod eventbus;
mod exposition;
mod folder;
pub mod local_api;
pub mod lock;
mod machine;
pub mod metamanager;
pub mod metrics;
pub mod rules;
pub mod servicebus;
pub mod takeover;
pub mod taskmanager;
