//! What crosses a border: messages, resource paths, framing, CRD types, identity and configuration files.
//!
//! Owns every type that two processes of Skerry, or Skerry and KubeEdge, exchange, and the one place where each
//! is parsed. May call no other crate of the workspace; every other one calls it. Nothing here does network I/O.

pub mod answer;
pub mod backup;
pub mod config;
pub mod crds;
pub mod devices;
pub mod message;
pub mod operations;
pub mod pki;
pub mod quantity;
pub mod resource;
pub mod rules;
pub mod session;
