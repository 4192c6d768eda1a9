//! Devices and their twins.
pub mod engine;
