//! `keadm device`: a device's manifests without writing YAML by hand, and its values live.
//!
//! Owns: the words of the command line for devices ([`property`]), the questions ([`ask`]), and the live view ([`watch`]). May call:
//! `cluster`, the Kubernetes API, `proto` for what makes sense. Called by: the command line.

mod ask;
mod new;
mod property;
mod view;
mod watch;

use clap::{Args, Subcommand};

use crate::layout::Layout;
use crate::problem::Failure;

/// Write the manifests of a device, and watch devices live.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  keadm device new                                     # asks for everything
  keadm device new room-2 --node=edge1 --protocol=mqtt-direct --property=temperature:float,unit=celsius | kubectl apply -f -
  keadm device watch")]
pub(crate) struct DeviceArgs {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    New(Box<new::NewArgs>),
    Watch(watch::WatchArgs),
}

impl DeviceArgs {
    pub(crate) async fn run(self, layout: &Layout) -> Result<(), Failure> {
        match self.command {
            Command::New(args) => args.run(),
            Command::Watch(args) => Box::pin(args.run(layout)).await,
        }
    }
}
