//! Black-box tests of the real binaries on real parts, and the harness that starts them.
//!
//! Owns: temporary installations ([`Stack`]) of `cloudcore` and `edgecore` that share nothing with the host
//! they run on, a private container runtime ([`Containerd`], [`Docker`], either as [`Engine`]) with images of its own, a link between them that can
//! be cut ([`Link`]), an image registry with a password ([`Registry`]), sensors ([`Sensor`]), an operator's work ([`mirror`]), and waiting with a bound ([`eventually`]).
//! Used by the crates `faults`, `bench`, `promise` and by the tests of this crate.

pub mod containerd;
mod daemon;
pub mod device;
pub mod disk;
mod docker;
mod engine;
pub mod firewall;
pub mod image;
mod link;
pub mod mirror;
pub mod pod;
pub mod registry;
mod sensor;
mod stack;
mod wait;

pub use containerd::Containerd;
pub use daemon::{Daemon, binary};
pub use docker::Docker;
pub use engine::{Engine, Runtime};
pub use link::{Fault, Link};
pub use registry::Registry;
pub use sensor::Sensor;
pub use stack::{EdgeOptions, Stack, StackOptions, free_ports};
pub use wait::eventually;
