//! The cloud agent: sessions with edge nodes beside a Kubernetes API.
//!
//! Owns: everything of cloudcore but the embedded control plane. May call: proto, tasks, controlplane. `main.rs` is
//! the wiring diagram; the rooms are below.

#![forbid(unsafe_code)]

pub mod app;
pub mod cloudhub;
pub mod desired;
pub mod devicecontroller;
pub mod edgecontroller;
pub mod kubeapi;
pub mod listen;
pub mod metrics;
pub mod router;
pub mod taskmanager;
