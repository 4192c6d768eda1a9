//! Sets up clouds and edges: init, join, reset, gettoken, backup, restore, export, device, version.
//!
//! Owns: the command line, the checks before anything is changed, the files and services of an installation.
//! May call: `proto` for configuration, certificates and CRDs; the Kubernetes API; the container runtime; the
//! host. Called by: `main.rs` only.

mod backup;
mod bundle;
mod checked;
mod cli;
mod cloud;
mod cluster;
mod completion;
mod cri;
mod device;
mod docker;
mod document;
mod export;
mod gettoken;
mod hook;
mod host;
mod init;
mod join;
mod layout;
mod output;
mod problem;
mod progress;
mod reset;
mod restore;
mod runtime;
mod service;
mod set;
mod version;

pub use cli::Cli;
pub use problem::{Exit, Failure, Problem};

/// Runs one command.
///
/// # Errors
/// A [`Failure`] that lists everything that is wrong, each with its cause and what to do next.
pub async fn run(cli: Cli) -> Result<(), Failure> {
    Box::pin(cli.run()).await
}
