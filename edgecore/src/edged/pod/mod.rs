//! Owns what happens to one pod: a pure reconciler ([`plan::step`]), a pure status ([`status::build`]), pure translations of
//! a pod into what a runtime is told, and the worker that does the I/O around them.
//! May call: runtime, volumes, images, events, metamanager. Called by the edged manager.

pub mod container;
pub mod env;
pub mod hash;
pub mod members;
pub mod observed;
pub mod plan;
pub mod policy;
pub mod resources;
pub mod sandbox;
pub mod security;
pub mod status;
pub mod words;
pub mod worker;
