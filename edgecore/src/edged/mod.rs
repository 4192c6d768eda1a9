//! Owns pods on this node: workers, volumes, images, events, status; and the node's own registration and heartbeat.

pub mod node;
pub mod quantity;
pub mod runtime;
