//! Benchmarks that print a number and its unit.
//!
//! Owns: the measurements that `SPECIFICATION.md` promises numbers for. Each starts its own installation of the
//! real binaries ([`e2e::Stack`]) and returns [`Measure`]s; `main.rs` prints them as a table and as JSON, and the
//! crate `promise` compares them with what is promised.

mod acid;
mod device;
mod disk;
mod fleet;
mod load;
mod mapper;
mod measure;
mod memory;
mod plane;
mod pod;
mod reconnect;
mod sensors;
mod suite;

pub use measure::{Measure, Unit, quantile, table};
pub use suite::{Benchmark, NAMES, Settings};
