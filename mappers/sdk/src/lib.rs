//! Everything of a device mapper but the protocol.
//!
//! A mapper is a program beside edgecore that speaks what devices speak. This crate registers it, keeps its devices as the
//! cloud wants them, reads each property in its cycle, writes desired values, tells states, and keeps what edgecore cannot
//! take now, newest value first, until it can. A protocol is one trait, [`Protocol`]:
//!
//! ```no_run
//! use clap::Parser;
//! use mapper::{Device, Error, Options, Property, Protocol};
//!
//! /// Throws dice.
//! #[derive(Parser)]
//! struct Cli {
//!     #[command(flatten)]
//!     mapper: Options,
//! }
//!
//! struct Dice;
//!
//! #[mapper::async_trait]
//! impl Protocol for Dice {
//!     const NAME: &'static str = "dice";
//!     type Link = ();
//!
//!     async fn connect(&self, _device: &Device) -> Result<(), Error> {
//!         Ok(())
//!     }
//!
//!     async fn read(&self, _link: &mut (), _property: &Property) -> Result<Option<String>, Error> {
//!         Ok(Some("4".to_owned()))
//!     }
//!
//!     async fn write(&self, _link: &mut (), property: &Property, _value: &str) -> Result<(), Error> {
//!         Err(Error::property(format!("{} cannot be written", property.name)))
//!     }
//! }
//!
//! fn main() -> std::process::ExitCode {
//!     mapper::run(Dice, Cli::parse().mapper)
//! }
//! ```
//!
//! Owns: the mapper's socket, a task for each device, reports that wait, readings that are pushed elsewhere. May call: edgecore over its socket, the protocol.
//! Called by: mappers' `main`.

mod config;
mod device;
mod fleet;
mod metrics;
mod options;
mod protocol;
mod push;
mod receipt;
mod reports;
mod server;
mod session;
mod worker;

pub use async_trait::async_trait;
pub use config::{Config, ConfigError};
pub use device::{Device, Kind, Property};
pub use options::Options;
pub use protocol::{Error, Protocol};
pub use receipt::Receipt;
pub use session::{MapperError, run, serve};
