//! The device mapper interface: what edgecore and mappers say to each other over unix sockets.
//!
//! Owns: the messages and services of `v1beta1` (generated from `dmi.proto`), and how free-form values travel in them.
//! Called by: edgecore, which serves the manager and calls mappers; the `mapper` crate, which does the opposite.

pub mod value;

/// KubeEdge v1.23's `v1beta1`.
#[allow(missing_docs, clippy::all, rust_2018_idioms, unreachable_pub, reason = "generated")]
pub mod v1beta1 {
    tonic::include_proto!("v1beta1");
}

/// What server reflection tells about the services.
pub const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/dmi.bin"));
